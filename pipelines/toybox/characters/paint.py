"""Colors of characters: functions of a point in the rest pose, so that they move with the bones.

A paint maps points [N, 3] (rest pose, scene units before framing) to sRGB colors [N, 3].  Soft edges are
:data:`SOFT` wide: about a vertex of the meshes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

SOFT = 0.004
Color = tuple  # (r, g, b), sRGB in [0, 1]


class Paint(Protocol):
    """Points [N, 3] of the rest pose -> [N, 3] sRGB in [0, 1]."""

    def __call__(self, points: Tensor) -> Tensor: ...


@dataclass(frozen=True)
class Plain:
    """One color."""

    color: Color

    def __call__(self, points: Tensor) -> Tensor:
        return filled(points, self.color)


@dataclass(frozen=True)
class Stripes:
    """Two colors in bands across a direction.

    axis: unit direction; origin: a point on an edge; period: scene units per pair of bands; share: of the second color.
    """

    first: Color
    second: Color
    axis: tuple = (0.0, 1.0, 0.0)
    origin: tuple = (0.0, 0.0, 0.0)
    period: float = 0.12
    share: float = 0.5

    def __call__(self, points: Tensor) -> Tensor:
        along = (points - points.new_tensor(self.origin)) @ points.new_tensor(self.axis)
        phase = (along / self.period) % 1.0
        edge = torch.minimum(phase, self.share - phase).abs() * torch.where(phase < self.share, 1.0, -1.0)
        return over(filled(points, self.first), self.second, ramp(edge * self.period))


@dataclass(frozen=True)
class Upright:
    """Two colors in upright bands around the body's axis, or around each leg's.

    count: bands of the second color around; center: |x| of the axes, 0 for the body's own.
    """

    first: Color
    second: Color
    count: int = 12
    share: float = 0.4
    center: float = 0.0

    def __call__(self, points: Tensor) -> Tensor:
        x = points[:, 0].abs() - self.center if self.center else points[:, 0]
        phase = (torch.atan2(x, points[:, 2]) * (self.count / (2 * math.pi)) + self.share / 2) % 1.0
        edge = torch.minimum(phase, self.share - phase).abs() * torch.where(phase < self.share, 1.0, -1.0)
        reach = torch.hypot(x, points[:, 2]) * (2 * math.pi / self.count)
        return over(filled(points, self.first), self.second, ramp(edge * reach))


@dataclass(frozen=True)
class Plaid:
    """A cloth with bands both ways."""

    first: Color
    second: Color
    period: float = 0.12
    share: float = 0.25

    def __call__(self, points: Tensor) -> Tensor:
        color = filled(points, self.first)
        around = torch.atan2(points[:, 0], points[:, 2]) * 0.22
        for along in (points[:, 1], around):
            inside = ((along / self.period) % 1.0) < self.share
            color = over(color, self.second, inside.float() * 0.55)
        return color


@dataclass(frozen=True)
class Dots:
    """Round spots on a grid around the vertical axis."""

    first: Color
    second: Color
    period: float = 0.1
    size: float = 0.028

    def __call__(self, points: Tensor) -> Tensor:
        around = torch.atan2(points[:, 0], points[:, 2]) * 0.2
        row = torch.floor(points[:, 1] / self.period)
        u = (around / self.period + 0.5 * (row % 2)) % 1.0 - 0.5
        v = (points[:, 1] / self.period) % 1.0 - 0.5
        return over(filled(points, self.first), self.second, ramp(self.size - torch.hypot(u, v) * self.period))


@dataclass(frozen=True)
class Banded:
    """Another paint with bands of one color where ``axis . p`` lies in an interval (cuffs, hems, socks, belts)."""

    base: Paint
    color: Color
    bands: tuple  # ((low, high), ...)
    axis: tuple = (0.0, 1.0, 0.0)

    def __call__(self, points: Tensor) -> Tensor:
        color = self.base(points)
        along = points @ points.new_tensor(self.axis)
        for low, high in self.bands:
            color = over(color, self.color, ramp(torch.minimum(along - low, high - along)))
        return color


@dataclass(frozen=True)
class FrontMarks:
    """Another paint with marks on the front: discs (buttons, logos), strips (zips, ties), heart or star.

    marks: ((kind, x, y, size, color), ...) with kind disc, strip, star, heart or tie; ``size`` is the radius, for
           strips (half width, half height).
    """

    base: Paint
    marks: tuple = field(default=())
    depth: float = 0.0  # marks are painted where z exceeds this

    def __call__(self, points: Tensor) -> Tensor:
        color = self.base(points)
        front = (points[:, 2] > self.depth).float()
        for kind, x, y, size, tone in self.marks:
            u, v = points[:, 0] - x, points[:, 1] - y
            color = over(color, tone, ramp(mark_distance(kind, u, v, size)) * front)
        return color


def mark_distance(kind: str, u: Tensor, v: Tensor, size) -> Tensor:
    """Positive inside a mark, about a distance in scene units."""
    if kind == "disc":
        return size - torch.hypot(u, v)
    if kind == "strip":
        return torch.minimum(size[0] - u.abs(), size[1] - v.abs())
    if kind == "tie":  # widens downwards to a point
        half, tall = size
        return torch.minimum(
            half * (0.45 + 0.55 * (tall - v) / (2 * tall)) - u.abs(), torch.minimum(tall - v, v + tall - u.abs())
        )
    if kind == "heart":
        a, b = u.abs() / size, v / size
        return size * 0.5 * (0.9 - torch.hypot(a, b - 0.7 * a.clamp_min(1e-6).sqrt() + 0.25))
    if kind == "star":
        angle = torch.atan2(u, v) * 5 / (2 * math.pi)
        fold = (angle - torch.round(angle)).abs() * 2  # 0 at a point, 1 in a notch
        return size * (1 - 0.58 * fold) - torch.hypot(u, v)
    raise ValueError(f"mark must be disc, strip, tie, heart or star, got {kind!r}")


def filled(points: Tensor, color: Color) -> Tensor:
    """[N, 3] one color."""
    return points.new_tensor(color).expand(len(points), 3)


def over(base: Tensor, color: Color, weight: Tensor) -> Tensor:
    """``color`` painted on ``base`` [N, 3] with opacity ``weight`` [N]."""
    return base + weight[:, None] * (base.new_tensor(color) - base)


def ramp(distance: Tensor, width: float = SOFT) -> Tensor:
    """0 outside (negative), 1 inside, linear across ``width``."""
    return (distance / width + 0.5).clamp(0, 1)
