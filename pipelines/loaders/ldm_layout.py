"""Latent-diffusion ("ldm") names and shapes of a UNet and an autoencoder, told in diffusers' terms.

An ldm state dict numbers the blocks of a network as one flat list; diffusers groups them by resolution.  Nothing else
differs: weights are only renamed, and the autoencoder's 1x1 attention convolutions become the linear layers they are.
Configurations are read from shapes, so a small network in the same layout converts like the published ones.  Sources:
Rombach et al. 2022 (the layout), the table of names in the module docstrings below; checked against ComfyUI's and
diffusers' own networks by ``tests/loaders/test_ldm.py``.

UNet                                            diffusers
``time_embed.0 / .2``                           ``time_embedding.linear_1 / linear_2``
``input_blocks.0.0``                            ``conv_in``
``input_blocks.i`` (i >= 1), L layers a level   ``down_blocks.b`` with b, l = divmod(i - 1, L + 1)
``middle_block.0 / .1 / .2``                    ``mid_block.resnets.0 / attentions.0 / resnets.1``
``output_blocks.i``                             ``up_blocks.b`` with b, l = divmod(i, L + 1)
``out.0 / out.2``                               ``conv_norm_out / conv_out``
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

_HEADS = 8  # Stable Diffusion 1 and Zero-1-to-3: a number of heads; convolutional projections mark them
_HEAD_WIDTH = 64  # Stable Diffusion 2: a width per head; linear projections mark it

_UNET_ENDS = {
    "time_embed.0": "time_embedding.linear_1", "time_embed.2": "time_embedding.linear_2",
    "input_blocks.0.0": "conv_in", "out.0": "conv_norm_out", "out.2": "conv_out",
}
_UNET_RESNET = {
    "in_layers.0": "norm1", "in_layers.2": "conv1", "emb_layers.1": "time_emb_proj",
    "out_layers.0": "norm2", "out_layers.3": "conv2", "skip_connection": "conv_shortcut",
}
_MIDDLE = {"0": "resnets.0", "1": "attentions.0", "2": "resnets.1"}
_VAE_ATTENTION = {"norm": "group_norm", "q": "to_q", "k": "to_k", "v": "to_v", "proj_out": "to_out.0"}


def unet_config(state: Mapping[str, Tensor]) -> dict:
    """Arguments of diffusers' UNet2DConditionModel for an ldm UNet (names without prefix); only shapes are read.

    Raises ValueError where the layout is none that this pack knows.
    """
    layers, levels = _layers_and_levels(state, "input_blocks.{}.0.op.weight", _count(state, "input_blocks"))
    firsts = [f"input_blocks.{1 + b * (layers + 1)}" for b in range(levels)]
    widths = tuple(_shape(state, f"{first}.0.out_layers.3.weight")[0] for first in firsts)
    attended = [f"{first}.1.proj_in.weight" in state for first in firsts]
    if not any(attended):
        raise ValueError("no cross-attention in its input blocks")
    inner = f"{firsts[attended.index(True)]}.1"
    linear = len(_shape(state, f"{inner}.proj_in.weight")) == 2
    config = {
        "in_channels": _shape(state, "input_blocks.0.0.weight")[1],
        "out_channels": _shape(state, "out.2.weight")[0],
        "block_out_channels": widths,
        "layers_per_block": layers,
        "down_block_types": tuple("CrossAttnDownBlock2D" if a else "DownBlock2D" for a in attended),
        "up_block_types": tuple("CrossAttnUpBlock2D" if a else "UpBlock2D" for a in reversed(attended)),
        "cross_attention_dim": _shape(state, f"{inner}.transformer_blocks.0.attn2.to_k.weight")[1],
        "attention_head_dim": tuple(max(w // _HEAD_WIDTH, 1) for w in widths) if linear else _HEADS,
        "use_linear_projection": linear,
    }
    depths = tuple(max(_count(state, f"{first}.1.transformer_blocks"), 1) for first in firsts)
    return {**config, "transformer_layers_per_block": depths} if set(depths) != {1} else config


def convert_unet(state: Mapping[str, Tensor], layers: int) -> tuple[dict[str, Tensor], list[str]]:
    """(diffusers state dict, names that have no place in it) of an ldm UNet with ``layers`` per level."""
    return _renamed(state, lambda name: _unet_name(name, layers, state))


def _unet_name(name: str, layers: int, state: Mapping[str, Tensor]) -> str | None:
    stem, _, leaf = name.rpartition(".")
    if stem in _UNET_ENDS:
        return f"{_UNET_ENDS[stem]}.{leaf}"
    parts = name.split(".")
    if parts[0] == "middle_block" and len(parts) > 3 and parts[1] in _MIDDLE:
        return _inside(f"mid_block.{_MIDDLE[parts[1]]}", ".".join(parts[2:-1]), leaf, parts[1] == "1")
    if parts[0] not in ("input_blocks", "output_blocks") or len(parts) < 5 or not (parts[1] + parts[2]).isdigit():
        return None
    down = parts[0] == "input_blocks"
    block, layer = divmod(int(parts[1]) - down, layers + 1)
    place, inner = f"{'down' if down else 'up'}_blocks.{block}", ".".join(parts[3:-1])
    if parts[2] == "0" and inner == "op" and down:
        return f"{place}.downsamplers.0.conv.{leaf}"
    if inner == "conv" and parts[2] in "12" and not down:
        return f"{place}.upsamplers.0.conv.{leaf}"
    attention = parts[2] == "1"
    return _inside(f"{place}.{'attentions' if attention else 'resnets'}.{layer}", inner, leaf, attention)


def _inside(place: str, inner: str, leaf: str, attention: bool) -> str | None:
    """A parameter of an attention (same names on both sides) or of a residual block."""
    if attention:
        known = inner in ("norm", "proj_in", "proj_out") or inner.startswith("transformer_blocks.")
        return f"{place}.{inner}.{leaf}" if known else None
    return f"{place}.{_UNET_RESNET[inner]}.{leaf}" if inner in _UNET_RESNET else None


def vae_config(state: Mapping[str, Tensor], scaling_factor: float = 0.18215) -> dict:
    """Arguments of diffusers' AutoencoderKL for an ldm autoencoder (names without prefix); only shapes are read.

    scaling_factor is not in a checkpoint; the default is the one of Stable Diffusion 1 and 2 and of Zero-1-to-3.
    """
    levels = _count(state, "encoder.down")
    widths = tuple(_shape(state, f"encoder.down.{i}.block.0.conv1.weight")[0] for i in range(levels))
    return {
        "in_channels": _shape(state, "encoder.conv_in.weight")[1],
        "out_channels": _shape(state, "decoder.conv_out.weight")[0],
        "latent_channels": _shape(state, "decoder.conv_in.weight")[1],
        "block_out_channels": widths,
        "layers_per_block": _count(state, "encoder.down.0.block"),
        "down_block_types": ("DownEncoderBlock2D",) * levels,
        "up_block_types": ("UpDecoderBlock2D",) * levels,
        "scaling_factor": scaling_factor,
    }


def convert_vae(state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
    """(diffusers state dict, names that have no place in it) of an ldm autoencoder."""
    levels = _count(state, "encoder.down")
    new, unknown = _renamed(state, lambda name: _vae_name(name, levels))
    linear = re.compile(r"mid_block\.attentions\.0\.to_(q|k|v|out\.0)\.weight$")
    return {k: v[:, :, 0, 0] if linear.search(k) and v.ndim == 4 else v for k, v in new.items()}, unknown


def _vae_name(name: str, levels: int) -> str | None:
    if re.match(r"(post_)?quant_conv\.", name):
        return name
    side, _, rest = name.partition(".")
    if side not in ("encoder", "decoder"):
        return None
    if found := re.match(r"(conv_in|conv_out|norm_out)\.(\w+)$", rest):
        return f"{side}.{'conv_norm_out' if found[1] == 'norm_out' else found[1]}.{found[2]}"
    if found := re.match(r"mid\.block_([12])\.(\w+)\.(\w+)$", rest):
        return f"{side}.mid_block.resnets.{int(found[1]) - 1}.{_shortcut(found[2])}.{found[3]}"
    if found := re.match(r"mid\.attn_1\.(\w+)\.(\w+)$", rest):
        inner = _VAE_ATTENTION.get(found[1])
        return inner and f"{side}.mid_block.attentions.0.{inner}.{found[2]}"
    way = "down" if side == "encoder" else "up"
    if found := re.match(way + r"\.(\d+)\.(block\.(\d+)\.(\w+)|" + way + r"sample\.conv)\.(\w+)$", rest):
        level = int(found[1]) if way == "down" else levels - 1 - int(found[1])
        inner = f"resnets.{found[3]}.{_shortcut(found[4])}" if found[3] else f"{way}samplers.0.conv"
        return f"{side}.{way}_blocks.{level}.{inner}.{found[5]}"
    return None


def _shortcut(inner: str) -> str:
    return "conv_shortcut" if inner == "nin_shortcut" else inner


def _renamed(state: Mapping[str, Tensor], rename) -> tuple[dict[str, Tensor], list[str]]:
    new, unknown = {}, []
    for name, tensor in state.items():
        other = rename(name)
        if other is None or other in new:
            unknown.append(name)
        else:
            new[other] = tensor
    return new, unknown


def _layers_and_levels(state: Mapping[str, Tensor], marker: str, blocks: int) -> tuple[int, int]:
    """(layers per level, levels) from where the downsamplers lie in the flat list."""
    marks = [i for i in range(blocks) if marker.format(i) in state]
    layers = marks[0] - 1 if marks else blocks - 1
    levels = len(marks) + 1
    even = marks == [(layers + 1) * (b + 1) for b in range(len(marks))]
    if layers < 1 or not even or blocks != levels * (layers + 1):
        raise ValueError(f"{blocks} input blocks with downsamplers at {marks}, which is no ldm UNet of even levels")
    return layers, levels


def _count(state: Mapping[str, Tensor], prefix: str) -> int:
    """How many numbered children ``prefix`` has."""
    start = prefix + "."
    return len({name[len(start) :].split(".", 1)[0] for name in state if name.startswith(start)})


def _shape(state: Mapping[str, Tensor], name: str) -> tuple[int, ...]:
    if name not in state:
        raise ValueError(f"it lacks {name}")
    return tuple(state[name].shape)
