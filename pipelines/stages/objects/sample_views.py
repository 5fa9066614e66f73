"""What a view network believes about the other sides, one picture at a time (Zero-1-to-3 as published)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ...core.cameras import Cameras
from ...core.errors import InputError
from ...core.pulse import beat
from ..inputs.reference import ReferenceView


def around(reference: ReferenceView, count: int, elevation: float, azimuths: tuple[float, ...] = ()) -> Cameras:
    """Cameras [count] at the reference's distance and field of view: evenly spaced, beginning at its own azimuth.

    elevation: radians; azimuths: radians from the reference's own, in place of ``count`` even ones.
    """
    home = reference.camera.to("cpu")
    turns = torch.tensor(azimuths) if azimuths else torch.arange(count) * (2 * math.pi / count)
    return Cameras.orbit(home.azimuth + turns, elevation, home.radius, home.fovy, home.height, home.width)


def sample_views(denoiser, reference: ReferenceView, cameras: Cameras, steps: int, seed: int) -> Tensor:
    """[B, S, S, 3] sRGB on white, on the CPU, from ``cameras``, of which the network is told direction and distance.

    denoiser: a view denoiser with ``sample``; steps: of the sampler; seed: of the noise.
    Raises InputError for a network that cannot sample.
    """
    if not hasattr(denoiser, "sample"):
        raise InputError("view_network", "a network that can draw pictures", type(denoiser).__name__,
                         "Use it in View Prior, or choose another network here.")
    device = denoiser.alphas_cumprod.device
    conditioned = denoiser.with_reference(reference.on_background().to(device), reference.camera.to(device))
    cameras = cameras.resized(denoiser.image_size, denoiser.image_size).to(device)
    generator = torch.Generator().manual_seed(seed)
    pictures = []
    with torch.no_grad():
        for index in range(len(cameras)):
            beat("view", index, len(cameras))
            pictures.append(conditioned.sample(cameras[index], steps, generator))
    return torch.cat(pictures).clamp(0, 1).float().cpu()
