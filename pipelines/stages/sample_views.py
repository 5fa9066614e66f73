"""What a view network believes about the other sides, one picture at a time (Zero-1-to-3 as published)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..core.cameras import Cameras
from ..core.errors import InputError
from .reference import ReferenceView


def sample_views(denoiser, reference: ReferenceView, count: int, elevation: float, steps: int, seed: int) -> Tensor:
    """[count, S, S, 3] sRGB on white, on the CPU, from cameras evenly spaced around the reference's own azimuth.

    denoiser: a view denoiser with ``sample``; elevation: radians; steps: of the sampler; seed: of the noise.
    Raises InputError for a network that cannot sample.
    """
    if not hasattr(denoiser, "sample"):
        raise InputError("view_network", "a network that can draw pictures", type(denoiser).__name__,
                         "Use it in View Prior, or choose another network here.")  # fmt: skip
    device = denoiser.alphas_cumprod.device
    home, size = reference.camera, denoiser.image_size
    told = denoiser.with_reference(reference.on_background().to(device), home.to(device))
    azimuth = home.azimuth + torch.arange(count) * (2 * math.pi / count)
    cameras = Cameras.orbit(azimuth, elevation, home.radius, home.fovy, size, size).to(device)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        pictures = [told.sample(cameras[i], steps, generator) for i in range(count)]
    return torch.cat(pictures).clamp(0, 1).float().cpu()
