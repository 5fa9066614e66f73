"""CLIP from local folders, as a :class:`~.clip.ClipScorer`: open_clip's layout or transformers' CLIPModel."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ..core.errors import InputError
from ..core.modules import AnyModule
from ..io.archives import check_archive
from ..networks.clip import ClipScorer
from ..networks.towers import OPENAI_MEAN, OPENAI_STD, Tokenizer
from .folders import first_line, load_component, optional_json, read_json

FILES = ("open_clip_model.safetensors", "open_clip_pytorch_model.safetensors", "open_clip_pytorch_model.bin")


def open_clip_model(folder: Path, device) -> ClipScorer:
    """``open_clip_config.json`` (``model_cfg``, ``preprocess_cfg``) and one of FILES; strict."""
    config = read_json(folder / "open_clip_config.json")
    model_config, picture = config.get("model_cfg", {}), config.get("preprocess_cfg", {})
    text = model_config.get("text_cfg", {})
    foreign = {"hf_model_name", "hf_tokenizer_name"} & set(text) or "timm_model_name" in model_config.get("vision_cfg", {})
    if foreign or not {"embed_dim", "vision_cfg", "text_cfg"} <= set(model_config):
        raise InputError("checkpoint", "a CLIP of open_clip's own towers", f"other towers in {folder}",
                         "Use for example clip-vit-base-patch16.")
    path = next((folder / name for name in FILES if (folder / name).is_file()), None)
    if path is None:
        raise InputError("checkpoint", f"{FILES[0]} in {folder}", "no such file", "Put the file there.")
    return _scorer(model_config, picture, path, device)


def open_clip_file(path: Path, device, architecture: str) -> ClipScorer:
    """One file of weights of an architecture that open_clip knows by name; strict."""
    import open_clip

    config = open_clip.get_model_config(architecture) if architecture else None
    if config is None:
        raise InputError("checkpoint", "a CLIP file of the table, or a folder with open_clip_config.json", path.name,
                         "Use for example clip-vit-base-patch16.safetensors.")
    return _scorer(config, {}, path, device)


def _scorer(config: dict, picture: dict, path: Path, device) -> ClipScorer:
    import open_clip

    kind = open_clip.CustomTextCLIP if config.get("custom_text") else open_clip.CLIP
    model = kind(**{k: v for k, v in config.items() if k != "custom_text"})
    try:
        model.load_state_dict(_read(path), strict=True)
    except Exception as problem:
        raise InputError("checkpoint", f"the weights that open_clip_config.json describes in {path}", first_line(problem),
                         "Download both files again, from one place.") from problem
    tokenizer = open_clip.SimpleTokenizer(context_length=config["text_cfg"].get("context_length", 77))
    return ClipScorer(model.to(device).eval().requires_grad_(False), tokenizer, config["vision_cfg"].get("image_size", 224),
                      tuple(picture.get("mean", OPENAI_MEAN)), tuple(picture.get("std", OPENAI_STD)))


def _read(path: Path) -> dict[str, Tensor]:
    if path.suffix.lower() == ".safetensors":
        from safetensors.torch import load_file

        state = load_file(str(path))
    else:
        check_archive(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
        state = state.get("state_dict", state)
    return {k.removeprefix("module."): v.float() if v.is_floating_point() else v for k, v in state.items()}


class TwoTowers(torch.nn.Module):
    """transformers' CLIPModel with the two methods of open_clip's that a scorer calls."""

    def __init__(self, model: AnyModule):
        super().__init__()
        self.model = model

    def encode_image(self, pixels: Tensor) -> Tensor:
        """[B, 3, S, S] normalized -> [B, D]."""
        return self.model.visual_projection(self.model.vision_model(pixel_values=pixels).pooler_output)

    def encode_text(self, tokens: Tensor) -> Tensor:
        """[N, L] -> [N, D]."""
        return self.model.text_projection(self.model.text_model(input_ids=tokens).pooler_output)


@dataclass(frozen=True)
class Tokens:
    """A transformers tokenizer called as open_clip's: texts -> [N, length] int64, cut when too long."""

    tokenizer: Tokenizer
    length: int

    def __call__(self, texts: list[str]) -> Tensor:
        return self.tokenizer(texts, padding="max_length", max_length=self.length, truncation=True,
                              return_tensors="pt").input_ids


def transformers_clip(folder: Path, device) -> ClipScorer:
    """A folder of transformers' CLIPModel with its tokenizer files."""
    from transformers import CLIPModel, CLIPTokenizer

    model = load_component(CLIPModel, folder, "", device, torch.float32)
    picture = optional_json(folder / "preprocessor_config.json")
    tokenizer = CLIPTokenizer.from_pretrained(str(folder), local_files_only=True)
    length = model.config.text_config.max_position_embeddings
    return ClipScorer(TwoTowers(model).eval(), Tokens(tokenizer, length), model.config.vision_config.image_size,
                      tuple(picture.get("image_mean", OPENAI_MEAN)), tuple(picture.get("image_std", OPENAI_STD)))
