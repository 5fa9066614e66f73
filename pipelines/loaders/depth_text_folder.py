"""Depth-conditioned Stable Diffusion 2 from a local folder in diffusers' layout; nothing here opens a connection."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from ..core.errors import InputError
from ..networks.depth import PublicDepth
from ..networks.depth_text import DepthTextDenoiser
from .depth_folders import transformers_depth
from .folders import config_of
from .public import check_folder, half_unless_cpu, latent_runtime, text_towers

PUBLISHED = (32, 512)  # its UNet's configuration gives half of the size that it was trained at, in latents; pixels
DEPTH_FOLDERS = ("depth_estimator", "feature_extractor")


def load_depth_text_folder(
    folder: Path, device: torch.device | str = "cpu", dtype: torch.dtype | None = None, image_size: int = 0
) -> DepthTextDenoiser:
    """A UNet with 5 input channels (4 latent, 1 depth), its autoencoder, text encoder and schedule.

    image_size: side of its pictures, pixels; 0 = 512 for the published network, else what its configuration says.
    InputError for networks with 4 (text) or 9 (inpainting) channels, and for incomplete folders.
    """
    folder, dtype = Path(folder), dtype or half_unless_cpu(device)
    check_folder(folder, "depth_text")
    runtime = latent_runtime(folder, device, dtype)
    shrink = 2 ** (len(config_of(folder, "vae")["block_out_channels"]) - 1)
    published = runtime.unet.config.sample_size == PUBLISHED[0] and shrink == 8
    size = image_size or (PUBLISHED[1] if published else runtime.image_size)
    step = shrink * 2 ** (len(runtime.unet.config.block_out_channels) - 1)
    if size % step:
        raise InputError("image_size", f"a multiple of {step} pixels", str(size), "Change it, or use 0.")
    return DepthTextDenoiser(replace(runtime, image_size=size), text_towers(folder, False, device, dtype))


def bundled_depth(folder: Path, device: torch.device | str = "cpu") -> PublicDepth:
    """The depth estimator that comes in the same folder (DPT-Hybrid in the published one), in float32: it has batch norms.

    InputError where there is none.
    """
    folder = Path(folder)
    config_of(folder, DEPTH_FOLDERS[0])
    return transformers_depth(folder / DEPTH_FOLDERS[0], device, "inverse", torch.float32, folder / DEPTH_FOLDERS[1])
