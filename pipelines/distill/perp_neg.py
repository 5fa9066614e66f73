"""Perp-Neg (Armandpour et al. 2023, Eq. 8 and Sec. 4.2): of the words for other views only what is perpendicular counts.

eps = eps_u + s (d + sum_i w_i (d_i - (d_i . d) / |d|^2 d)),  d = eps_c - eps_u,  d_i = eps_i - eps_u,  w_i < 0,

where eps_c is told the words of the camera's own view, mixed by azimuth, and eps_i those of the two views beside it.
The network's words follow the camera, so a view's words are asked for with a camera that stands there.
Four evaluations per picture.
"""

from __future__ import annotations

import math
from typing import Protocol

import torch
from torch import Tensor

from ..core.cameras import Cameras


class Speaks(Protocol):
    """What is asked: a network's voices."""

    @property
    def guidance(self) -> float: ...

    def conditioned(self, noisy: Tensor, t: Tensor, cameras: Cameras) -> Tensor:
        """eps_c."""
        ...

    def unconditioned(self, noisy: Tensor, t: Tensor, cameras: Cameras) -> Tensor:
        """eps_u."""
        ...


# (a, b, c) of the weights a exp(-b r) + c, r the nearness to the view: the released code's
FRONT_SIDE, SIDE_BACK, FRONT_OF_BACK = (4.0, 0.5, -2.426), (1.0, 0.5, -0.606), (1.0, 0.5, 0.967)
FRONT, SIDE = 0.0, math.pi / 2


def perp_neg(voices: Speaks, noisy: Tensor, t: Tensor, cameras: Cameras) -> Tensor:
    """Guided eps [B, C, h, w] of noisy latents at times [B]."""
    unconditioned = voices.unconditioned(noisy, t, cameras)
    wanted = voices.conditioned(noisy, t, cameras) - unconditioned
    total, weights = wanted, view_weights(cameras.azimuth).to(noisy)
    for place, weight in ((FRONT, weights[:, 0]), (SIDE, weights[:, 1])):
        other = voices.conditioned(noisy, t, _standing(cameras, place)) - unconditioned
        total = total - weight[:, None, None, None] * perpendicular(other, wanted)
    return unconditioned + voices.guidance * total


def perpendicular(vector: Tensor, to: Tensor) -> Tensor:
    """The part of ``vector`` [B, ...] that is perpendicular to ``to``, row by row."""
    v, d = vector.flatten(1), to.flatten(1)
    share = (v * d).sum(1) / d.square().sum(1).clamp_min(1e-12)
    return vector - share.reshape(-1, *[1] * (vector.ndim - 1)) * to


def view_weights(azimuth: Tensor) -> Tensor:
    """[B] radians -> [B, 2]: how strongly the words of the front and of the side are pushed away."""
    x = azimuth.abs() / (math.pi / 2)  # 0 front, 1 side, 2 back
    near_front, near_side = (1 - x).clamp(0, 1), (2 - x).clamp(0, 1)
    ahead = torch.stack([_fall(FRONT_SIDE, near_front), _fall(FRONT_SIDE, 1 - near_front)], -1)
    behind = torch.stack([_fall(FRONT_OF_BACK, near_side), _fall(SIDE_BACK, near_side)], -1)
    return torch.where((x < 1)[:, None], ahead, behind)


def _fall(curve: tuple[float, float, float], r: Tensor) -> Tensor:
    a, b, c = curve
    return a * torch.exp(-b * r) + c


def _standing(cameras: Cameras, azimuth: float) -> Cameras:
    return Cameras.orbit(torch.full_like(cameras.azimuth, azimuth), cameras.elevation, cameras.radius, cameras.fovy,
                         cameras.height, cameras.width)
