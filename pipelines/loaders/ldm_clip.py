"""CLIP towers of ldm checkpoints, told in transformers' terms.

Three layouts occur: OpenAI's visual tower inside Zero-1-to-3 (``cond_stage_model.model.visual.``), a transformers text
tower inside Stable Diffusion 1 (``cond_stage_model.transformer.``) and open_clip's text tower inside Stable Diffusion 2
(``cond_stage_model.model.``).  OpenAI and open_clip stack the three attention projections in one matrix and keep output
projections transposed.  Sources: Radford et al. 2021 (the towers), M-F.5; checked by ``tests/loaders/test_ldm_clip.py``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

_HEAD_WIDTH = 64  # of every published CLIP
_BLOCK = {
    "ln_1": "layer_norm1", "ln_2": "layer_norm2", "attn.out_proj": "self_attn.out_proj",
    "mlp.c_fc": "mlp.fc1", "mlp.c_proj": "mlp.fc2",
}
_VISION = {
    "class_embedding": "vision_model.embeddings.class_embedding",
    "conv1.weight": "vision_model.embeddings.patch_embedding.weight",
    "positional_embedding": "vision_model.embeddings.position_embedding.weight",
    "ln_pre.weight": "vision_model.pre_layrnorm.weight", "ln_pre.bias": "vision_model.pre_layrnorm.bias",
    "ln_post.weight": "vision_model.post_layernorm.weight", "ln_post.bias": "vision_model.post_layernorm.bias",
}
_TEXT = {
    "token_embedding.weight": "embeddings.token_embedding.weight",
    "positional_embedding": "embeddings.position_embedding.weight",
    "ln_final.weight": "final_layer_norm.weight", "ln_final.bias": "final_layer_norm.bias",
}


def vision_config(state: Mapping[str, Tensor]) -> dict:
    """Arguments of transformers' CLIPVisionConfig for an OpenAI visual tower (names without prefix); from shapes only."""
    conv, positions = _tensor(state, "conv1.weight"), _tensor(state, "positional_embedding")
    width, side = conv.shape[0], round((positions.shape[0] - 1) ** 0.5)
    return {
        **_sizes(state, width),
        "image_size": side * conv.shape[2], "patch_size": conv.shape[2],
        "projection_dim": _tensor(state, "proj").shape[1], "hidden_act": "quick_gelu",
    }


def convert_vision(state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
    """(state of CLIPVisionModelWithProjection, names without a place in it) of an OpenAI visual tower."""
    new, unknown = _convert(state, _VISION, "vision_model.encoder.layers", _layers(state))
    if "proj" in unknown:
        unknown.remove("proj")
        new["visual_projection.weight"] = state["proj"].T.contiguous()
    return new, unknown


def open_text_config(state: Mapping[str, Tensor], dropped: int = 1) -> dict:
    """Arguments of transformers' CLIPTextConfig for an open_clip text tower, without its last ``dropped`` layers.

    Stable Diffusion 2 reads the last but one layer and normalizes that, so the last one is never evaluated.
    """
    tokens = _tensor(state, "token_embedding.weight")
    sizes = _sizes(state, tokens.shape[1])
    return {
        **sizes, "num_hidden_layers": sizes["num_hidden_layers"] - dropped, "hidden_act": "gelu",
        "vocab_size": tokens.shape[0], "max_position_embeddings": _tensor(state, "positional_embedding").shape[0],
    }


def convert_open_text(state: Mapping[str, Tensor], dropped: int = 1) -> tuple[dict[str, Tensor], list[str]]:
    """(state of CLIPTextModel, names without a place in it) of an open_clip text tower."""
    return _convert(state, _TEXT, "encoder.layers", _layers(state) - dropped)


def text_config(state: Mapping[str, Tensor]) -> dict:
    """Arguments of CLIPTextConfig for a tower that is in transformers' layout already (names as in CLIPTextModel)."""
    tokens = _tensor(state, "embeddings.token_embedding.weight")
    return {
        "hidden_size": tokens.shape[1], "num_attention_heads": max(tokens.shape[1] // _HEAD_WIDTH, 1),
        "num_hidden_layers": len({m[1] for k in state if (m := re.match(r"encoder\.layers\.(\d+)\.", k))}),
        "intermediate_size": _tensor(state, "encoder.layers.0.mlp.fc1.weight").shape[0], "hidden_act": "quick_gelu",
        "vocab_size": tokens.shape[0],
        "max_position_embeddings": _tensor(state, "embeddings.position_embedding.weight").shape[0],
    }


def _sizes(state: Mapping[str, Tensor], width: int) -> dict:
    return {
        "hidden_size": width, "num_attention_heads": max(width // _HEAD_WIDTH, 1), "num_hidden_layers": _layers(state),
        "intermediate_size": _tensor(state, "transformer.resblocks.0.mlp.c_fc.weight").shape[0],
    }


def _layers(state: Mapping[str, Tensor]) -> int:
    return len({m[1] for k in state if (m := re.match(r"transformer\.resblocks\.(\d+)\.", k))})


def _convert(state: Mapping[str, Tensor], ends: dict, place: str, layers: int) -> tuple[dict[str, Tensor], list[str]]:
    new, unknown = {}, []
    for name, tensor in state.items():
        found = re.match(r"transformer\.resblocks\.(\d+)\.(.+?)(?:\.(weight|bias)|_(weight|bias))$", name)
        if name in ends:
            new[ends[name]] = tensor
        elif not found or int(found[1]) >= layers:
            unknown.append(name)
        elif found[2] == "attn.in_proj" and found[4]:
            for part, piece in zip("qkv", torch.chunk(tensor, 3)):
                new[f"{place}.{found[1]}.self_attn.{part}_proj.{found[4]}"] = piece
        elif found[2] in _BLOCK and found[3]:
            new[f"{place}.{found[1]}.{_BLOCK[found[2]]}.{found[3]}"] = tensor
        else:
            unknown.append(name)
    return new, unknown


def _tensor(state: Mapping[str, Tensor], name: str) -> Tensor:
    if name not in state:
        raise ValueError(f"it lacks {name}")
    return state[name]
