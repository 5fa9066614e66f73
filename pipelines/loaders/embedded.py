"""The small networks that ship with the pack: how they are built, saved and loaded.

They are of the same classes as the public ones (diffusers UNet2DConditionModel and AutoencoderKL,
open_clip's CLIP) and are trained on toybox objects only; see ``pipelines/embedded/*.md``.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

import torch

from ..core.errors import InputError
from ..core.modules import AnyModule
from ..networks.clip import ClipScorer
from ..networks.depth import DepthEstimator, DepthNet
from ..networks.depth_text import Background, DepthTextDenoiser
from ..networks.latent import LatentRuntime, prepared
from ..networks.lifted import LiftNet
from ..networks.lifted_view import LiftedViewDenoiser
from ..networks.noise import scaled_linear_alphas
from ..networks.text import TextDenoiser
from ..networks.tokenizer import WordTokenizer
from ..networks.view import ViewConditioner, ViewDenoiser
from .embedded_files import FOLDER, has_file, read_settings, read_state

IMAGE_SIZE, LATENT_SIZE, CONTEXT_WIDTH, CLIP_WIDTH = 64, 16, 128, 128
LIFTED = "view_lift.safetensors"  # the view prior's file; earlier folders have a UNet's instead


class DepthTextKnows(TypedDict):
    """What a depth-text network has seen in training, by ``DepthTextDenoiser``'s names."""

    background: Background
    phrase: str


VAE_CONFIG = {
    "in_channels": 3, "out_channels": 3, "latent_channels": 4, "sample_size": IMAGE_SIZE,
    "block_out_channels": (16, 32, 64), "layers_per_block": 1, "norm_num_groups": 8,
    "down_block_types": ("DownEncoderBlock2D",) * 3, "up_block_types": ("UpDecoderBlock2D",) * 3,
    "mid_block_add_attention": False,
}
UNET_CONFIG = {
    "sample_size": LATENT_SIZE, "out_channels": 4, "layers_per_block": 1, "norm_num_groups": 16,
    "block_out_channels": (64, 96, 128), "cross_attention_dim": CONTEXT_WIDTH, "attention_head_dim": 4,
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
}
DEPTH_TEXT_KNOWS: DepthTextKnows = {"background": "white", "phrase": "{prompt}, {word} view"}  # all that it has seen in training
POSE_LABELS = {"class_embed_type": "projection", "projection_class_embeddings_input_dim": 8}
CLIP_CONFIG = {
    "embed_dim": CLIP_WIDTH,
    "vision_cfg": {"image_size": IMAGE_SIZE, "patch_size": 8, "width": 128, "layers": 4, "head_width": 32},
    "text_cfg": {"context_length": 16, "width": CONTEXT_WIDTH, "layers": 3, "heads": 4},
}


@dataclass(frozen=True)
class EmbeddedModels:
    """Everything a quickstart needs; all frozen, in eval mode, float32, on one device."""

    view: ViewDenoiser | LiftedViewDenoiser  # the former in folders that were written before there was the latter
    text: TextDenoiser
    clip: ClipScorer
    depth: DepthEstimator
    depth_text: DepthTextDenoiser


def build_vae(scaling_factor: float = 1.0) -> AnyModule:
    """An AutoencoderKL of the embedded size, untrained."""
    from diffusers import AutoencoderKL

    return AutoencoderKL(**VAE_CONFIG, scaling_factor=scaling_factor)


def build_unet(view: bool, depth: bool = False) -> AnyModule:
    """A UNet2DConditionModel of the embedded size, untrained: the view prior's, the text prior's, or the latter with depth."""
    from diffusers import UNet2DConditionModel

    return UNet2DConditionModel(in_channels=8 if view else 4 + depth, **UNET_CONFIG, **(POSE_LABELS if view else {}))


def build_clip(vocab_size: int) -> AnyModule:
    """An open_clip model of the embedded size, untrained."""
    from open_clip.model import CLIP

    config = {**CLIP_CONFIG, "text_cfg": {**CLIP_CONFIG["text_cfg"], "vocab_size": vocab_size}}
    return CLIP(**config)


def build_conditioner() -> ViewConditioner:
    """The view prior's conditioner with its extra tokens and labels, untrained."""
    return ViewConditioner(CLIP_WIDTH, CONTEXT_WIDTH, grid=LATENT_SIZE, labels=True)


def save_module(module: AnyModule, path: Path) -> None:
    """Writes a state dict as fp16 safetensors."""
    from safetensors.torch import save_file

    state = {k: v.detach().half().contiguous().cpu() if v.is_floating_point() else v for k, v in module.state_dict().items()}
    save_file(state, str(path))


def load_module(module: AnyModule, path: Path, device: torch.device | str = "cpu") -> AnyModule:
    """Loads fp16 safetensors strictly into ``module`` as float32, frozen and in eval mode.

    InputError for a file that is not there, that is not as it was published, or that belongs to another network.
    """
    return load_built(lambda names: module, path, device)


def load_built(build: Callable[[Collection[str]], AnyModule], path: Path, device: torch.device | str = "cpu") -> AnyModule:
    """:func:`load_module`, into what ``build`` makes for the names of the file's tensors."""
    state = {k: v.float() if v.is_floating_point() else v for k, v in read_state(path).items()}
    module = build(state.keys())
    load_exactly(module, state, path.name)
    return module.to(device).eval().requires_grad_(False)


def load_exactly(module: AnyModule, state: dict, name: str) -> None:
    """``module.load_state_dict``; InputError, in one sentence, for names or shapes of another network."""
    try:
        module.load_state_dict(state, strict=True)
    except RuntimeError as problem:
        got = " ".join(str(problem).splitlines()[1].split())[:200]
        raise InputError("embedded weights", f"the tensors of {name}", got, "Give the folder of one training.") from problem


def load_embedded(device: torch.device | str = "cpu", folder: Path = FOLDER) -> EmbeddedModels:
    """All embedded networks.  About a second; needs diffusers and open_clip."""
    settings = read_settings(folder)
    tokenizer = WordTokenizer(settings["words"], CLIP_CONFIG["text_cfg"]["context_length"])
    clip = ClipScorer(load_module(build_clip(tokenizer.vocab_size), folder / "clip.safetensors", device), tokenizer, IMAGE_SIZE)
    vae = load_module(build_vae(settings["scaling_factor"]), folder / "vae.safetensors", device)
    alphas = scaled_linear_alphas().to(device)

    def runtime(name: str, view: bool = False, depth: bool = False) -> LatentRuntime:
        unet = load_module(build_unet(view, depth), folder / f"{name}_unet.safetensors", device)
        return prepared(LatentRuntime(unet, vae, alphas, "v_prediction", IMAGE_SIZE), device, f"embedded {name}")

    view: ViewDenoiser | LiftedViewDenoiser
    if has_file(folder, LIFTED):
        view = LiftedViewDenoiser(load_module(LiftNet(), folder / LIFTED, device), alphas)
    else:
        conditioner = load_module(build_conditioner(), folder / "view_conditioner.safetensors", device)
        view = ViewDenoiser(runtime("view", view=True), conditioner, clip)
    depth = load_module(DepthNet(), folder / "depth.safetensors", device)
    return EmbeddedModels(
        view,
        TextDenoiser(runtime("text"), clip),
        clip,
        DepthEstimator(depth, IMAGE_SIZE),
        DepthTextDenoiser(runtime("depth_text", depth=True), clip, **DEPTH_TEXT_KNOWS),
    )
