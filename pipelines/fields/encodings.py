"""What a field's network is told about a point, beside the hash grid: plain frequencies, or three planes.

frequency  x, sin(2^k pi x), cos(2^k pi x) for k < BANDS (NeRF, Mildenhall et al. 2020, Eq. 4).  Nothing but the network learns.
triplane   bilinear samples of three feature planes, side by side (EG3D, Chan et al. 2022, Sec. 3; there they are added).
"""

from __future__ import annotations

import math
from typing import Literal, get_args

import torch
from torch import Tensor

Encoding = Literal["hash", "frequency", "triplane"]
ENCODINGS = get_args(Encoding)
BANDS, SIDE, CHANNELS = 6, 64, 8
PLANES = ((0, 1), (1, 2), (2, 0))  # the axes of each


def width(encoding: Encoding) -> int:
    """Numbers per point."""
    return 3 + 6 * BANDS if encoding == "frequency" else len(PLANES) * CHANNELS


def new_planes(encoding: Encoding, generator: torch.Generator) -> Tensor:
    """What is trained: [3, CHANNELS, SIDE, SIDE] small numbers, or nothing ([0])."""
    if encoding == "frequency":
        return torch.zeros(0, device=generator.device)
    return 0.1 * (2 * torch.rand(3, CHANNELS, SIDE, SIDE, generator=generator, device=generator.device) - 1)


def encoded(encoding: Encoding, points: Tensor, planes: Tensor) -> Tensor:
    """[N, 3] in [-1, 1] -> [N, width]; differentiable in both."""
    if encoding == "frequency":
        angles = points[:, None, :] * (math.pi * 2.0 ** torch.arange(BANDS, device=points.device))[:, None]
        return torch.cat([points, angles.sin().flatten(1), angles.cos().flatten(1)], 1)
    found = [torch.nn.functional.grid_sample(plane[None], points[None, None, :, axes], padding_mode="border",
                                             align_corners=True)[0, :, 0].T
             for plane, axes in zip(planes, (list(pair) for pair in PLANES), strict=True)]
    return torch.cat(found, 1)
