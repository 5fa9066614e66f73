"""Tiny StdGEN networks for tests: the published classes at small width, and the published folders around them."""

from __future__ import annotations

import json
from pathlib import Path
from unittest import mock

import torch

from helpers import public_tiny as tiny

CHECKPOINTS = Path(__file__).resolve().parent.parent.parent.parent / "shared" / "checkpoints"
LENGTH = 77
SHAPES = {
    "layers_per_block": 1, "norm_num_groups": 4, "block_out_channels": (16, 32), "attention_head_dim": (2, 4),
    "cross_attention_dim": tiny.WIDTH, "use_linear_projection": True, "class_embed_type": "projection", "sample_size": 8,
    "down_block_types": ("CrossAttnDownBlockMV2D", "DownBlock2D"), "mid_block_type": "UNetMidBlockMV2DCrossAttn",
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlockMV2D"), "out_channels": 4,
}
MULTIVIEW = {
    **SHAPES, "in_channels": 8, "projection_class_embeddings_input_dim": 24, "num_views": 6, "regress_elevation": True,
    "regress_focal_length": True, "num_regress_blocks": 2, "projection_camera_embeddings_input_dim": 4,
}
ORTHO = {**MULTIVIEW, "regress_elevation": False, "regress_focal_length": False}
CANONICAL = {**SHAPES, "in_channels": 4, "cross_attention_dim": tiny.WIDTH, "num_views": 1}


def save(folder: Path, component: str, state: dict, config: dict, suffix: str = "safetensors") -> None:
    """A component as published: configuration and weights."""
    place = folder / component
    place.mkdir(parents=True, exist_ok=True)
    (place / "config.json").write_text(json.dumps({"_class_name": "UNetMV2DConditionModel", **config}), encoding="utf-8")
    if suffix == "safetensors":
        from safetensors.torch import save_file

        save_file({k: v.contiguous() for k, v in state.items()}, str(place / "diffusion_pytorch_model.safetensors"))
    else:
        torch.save(state, place / "diffusion_pytorch_model.bin")


def multiview_folder(folder: Path, build, config: dict = MULTIVIEW, suffix: str = "safetensors"):
    """StdGEN-multiview's layout at tiny width; returns its UNet.  build: ``multiview.build_multiview``."""
    unet = tiny.seeded(lambda: build(config), 21)
    save(folder, "unet", unet.state_dict(), config, suffix)
    around(folder)
    return unet


def canonical_folder(folder: Path, build_main, build_reference, dead: bool = True):
    """StdGEN-canonicalize's layout at tiny width, dead keys and the reference's tail included; returns (main, reference)."""
    main, reference = tiny.seeded(lambda: build_main(CANONICAL), 22), tiny.seeded(lambda: build_reference(CANONICAL), 23)
    extra = {"class_embedding.linear_1.weight": torch.ones(3, 2), "camera_embedding.0.weight": torch.ones(3, 12),
             "camera_embedding.2.bias": torch.ones(3)} if dead else {}
    tail = {"conv_out.weight": torch.ones(4, 16, 3, 3), "conv_norm_out.bias": torch.ones(16)} if dead else {}
    save(folder, "unet", {**main.state_dict(), **extra}, CANONICAL)
    save(folder, "ref_unet", {**reference.state_dict(), **extra, **tail}, CANONICAL)
    around(folder)
    return main, reference


def around(folder: Path) -> None:
    """Autoencoder, towers and tokenizer, as in both published folders."""
    tiny.vae(folder, 0.18215)
    tiny.vision(folder)
    with mock.patch.object(tiny, "LENGTH", LENGTH):  # its tokens are single letters
        tiny.text_encoder(folder, "text_encoder")
        tiny.tokenizer(folder)
