"""Reads StdGEN's canonicalizer from the published folder, strictly (S-A.1)."""

from __future__ import annotations

from pathlib import Path

import torch

from ..core.modules import AnyModule
from ..networks.stdgen.attention import share_reference
from ..networks.stdgen.canonical import Canonicalizer, build_main, build_reference
from ..networks.stdgen.codec import VaeCodec
from ..networks.stdgen.schedule import ZERO_SNR
from ..networks.stdgen.vision import SquashedVision
from .folders import load_component
from .public import half_unless_cpu, text_towers
from .stdgen_files import CANONICAL, DEAD, UNUSED, fill, on_meta, read_schedule_file, read_unet

TEXTS = ("", "high quality, best quality")  # of the reference UNet, without and with guidance
REMEDY = "Choose the folder StdGEN-canonicalize-1024, with unet/ and ref_unet/ as published."


def load_canonical_folder(folder: Path, device: torch.device | str = "cpu", dtype: torch.dtype | None = None,
                          antialias: bool = False) -> Canonicalizer:
    """The published folder StdGEN-canonicalize-1024 (S-A.1) on ``device``; half precision except on a CPU.

    antialias: of the resize before CLIP.  InputError for an incomplete folder or another network.
    """
    from diffusers import AutoencoderKL
    from transformers import CLIPVisionModelWithProjection

    folder, dtype = Path(folder), dtype or half_unless_cpu(device)
    unet, reference = load_pair(folder, dtype)
    vision = load_component(CLIPVisionModelWithProjection, folder, "image_encoder", device, dtype)
    vae = load_component(AutoencoderKL, folder, "vae", device, torch.float32)
    texts = text_towers(folder, False, device, dtype).text_tokens(list(TEXTS))
    return Canonicalizer(unet.to(device), reference.to(device), VaeCodec(vae), SquashedVision(vision, False, antialias),
                         texts, read_schedule_file(folder, "scheduler-zerosnr", ZERO_SNR))


def load_pair(folder: Path, dtype: torch.dtype) -> tuple[AnyModule, AnyModule]:
    """(main, reference) UNet of a folder, connected, on the CPU."""
    config, state = read_unet(folder, "unet", (CANONICAL,), REMEDY)
    unet = fill(on_meta(lambda: build_main(config)), state, folder / "unet", DEAD, dtype)
    del state
    config, state = read_unet(folder, "ref_unet", (CANONICAL,), REMEDY)
    reference = fill(on_meta(lambda: build_reference(config)), state, folder / "ref_unet", UNUSED, dtype)
    share_reference(unet, reference)
    return unet, reference
