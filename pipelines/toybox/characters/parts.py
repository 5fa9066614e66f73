"""Rounded cones: the one shape from which characters are assembled, and its signed distance.

A part is the union of the balls whose centers run from one point to another and whose radii run from one value to
another, squashed along its own axes, optionally cut by two planes across its axis.  Balls, ellipsoids, limbs, locks of
hair and skirts are all parts.  Notation: N points, P parts; distances negative inside, scene units.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from .paint import Paint, Plain

FAR = 1.0e3  # a cut that cuts nothing
CUT_ROUND = 0.012  # radius of the edge along a cut
CHUNK = 32768  # points per pass: the working set stays in cache


@dataclass(frozen=True)
class Part:
    """One rounded cone in the rest pose (world axes); all lengths in scene units.

    bone:   name of the bone it moves with.
    a, b:   [3] centers of its first and last ball; equal for a single ball.
    ra, rb: their radii before squashing.
    scale:  [3] squash along the local axes (x sideways, y from a to b, z towards the front).
    low, high: cuts, measured along local y from ``a``.
    blend:  width of the smooth union with the parts before it.
    paint:  its colors.
    """

    bone: str
    a: np.ndarray
    b: np.ndarray
    ra: float
    rb: float
    scale: tuple = (1.0, 1.0, 1.0)
    low: float = -FAR
    high: float = FAR
    blend: float = 0.02
    paint: Paint = Plain((0.7, 0.7, 0.7))
    frame: np.ndarray | None = None

    @property
    def length(self) -> float:
        """From the first center to the last."""
        return float(np.linalg.norm(np.asarray(self.b) - self.a))

    def axes(self) -> np.ndarray:
        """[3, 3] local axes as columns; local z is as near to the world's as it can be."""
        if self.frame is not None:
            return self.frame
        length = self.length
        if length <= 1e-9:
            return np.eye(3)
        y = (np.asarray(self.b, dtype=np.float64) - self.a) / length
        x = np.array([y[1], -y[0], 0.0])  # y cross the world's z
        if math.hypot(y[0], y[1]) < 0.3:
            x = np.array([1.0, 0.0, 0.0]) - y * y[0]
        x = x / np.linalg.norm(x)
        return np.stack([x, y, np.cross(x, y)], axis=1)

    def inflated(self, by: float, **changes) -> "Part":
        """Thicker by ``by`` all around, with further changes."""
        mean = (self.ra + self.rb) / 2
        scale = tuple((s * mean + by) / (mean + by) for s in self.scale)
        return replace(self, **{"ra": self.ra + by, "rb": self.rb + by, "scale": scale, **changes})

    def surface_points(self) -> np.ndarray:
        """[M, 3] points on (or slightly outside) its surface, cuts respected; for bounds."""
        unit = _sphere() * self.scale
        local = np.concatenate([unit * self.ra, unit * self.rb + [0.0, self.length, 0.0]])
        local[:, 1] = np.clip(local[:, 1], self.low, self.high)
        return local @ self.axes().T + self.a


@lru_cache(maxsize=1)
def _sphere() -> np.ndarray:
    t, theta = np.meshgrid(np.linspace(-1, 1, 17), np.arange(12) * (np.pi / 6), indexing="ij")
    ring = np.sqrt(1 - t**2)
    return np.stack([ring * np.cos(theta), t, ring * np.sin(theta)], -1).reshape(-1, 3)


@dataclass(frozen=True)
class PackedParts:
    """P parts as tensors, posed: what the distance needs.

    matrix: [3P, 3] and offset [3P]: world points to the parts' squashed frames, component-major ([x of all, y ...]).
    shape:  [P, 10] rows (length, ra, slope, tan, scale x, y, z, low, high, blend).
    paints: the parts' paints.
    heads:  [P] bool, whether a part moves with the head.
    rest:   [P, 3, 4] world points to the rest pose, in which paints are defined.
    """

    matrix: Tensor
    offset: Tensor
    shape: Tensor
    rest: Tensor
    heads: Tensor
    paints: tuple

    def __len__(self) -> int:
        return len(self.shape)

    def to(self, device) -> "PackedParts":
        """The same parts on another device."""
        return replace(self, **{k: getattr(self, k).to(device) for k in ("matrix", "offset", "shape", "rest", "heads")})

    def distances(self, points: Tensor) -> list[Tensor]:
        """P tensors [N]: signed distance of [N, 3] points to each part, exact to first order at the surface.

        The nearest ball of a cone follows from the slope of its sides; what squashing does to distances is undone to
        first order (value over gradient length).
        """
        count = len(self)
        local = torch.addmm(self.offset[:, None], self.matrix, points.T).reshape(3, count, -1)
        rows = self.shape.tolist()
        return [_distance(local[0, p], local[1, p], local[2, p], rows[p]) for p in range(count)]


def _distance(x: Tensor, y: Tensor, z: Tensor, row: list) -> Tensor:
    length, ra, slope, tan, sx, sy, sz, low, high = row[:9]
    x2, z2 = x * x, z * z
    if length > 0:
        t = y
        if tan:
            t = torch.sub(y, (x2 + z2).sqrt_(), alpha=tan)
        t = t.clamp(0, length)
        rest = y - t
        radius = ra - slope * t
    else:
        rest, radius = y, ra
    y2 = rest * rest
    squared = x2 + y2 + z2
    distance = squared.sqrt()
    if sx == sy == sz:
        out = (distance - radius).mul_(sx)
    else:
        steep = x2.mul_(1 / sx**2).add_(z2, alpha=1 / sz**2).add_(y2, alpha=1 / sy**2).sqrt_().clamp_min_(1e-9)
        out = (distance - radius).mul_(distance).div_(steep)
        out = torch.where(distance < 1e-6, -min(sx, sy, sz) * ra, out)
    if low > -0.5 * FAR:
        out = smooth_max(out, low - y * sy, CUT_ROUND)
    if high < 0.5 * FAR:
        out = smooth_max(out, y * sy - high, CUT_ROUND)
    return out


def smooth_min(a: Tensor, b: Tensor, width: float) -> Tensor:
    """The lesser of two distances, rounded where they differ by less than ``width``."""
    low = torch.minimum(a, b)
    return low if width <= 0 else low.sub_((width - (a - b).abs_()).clamp_min_(0).square_().mul_(1 / (4 * width)))


def smooth_max(a: Tensor, b: Tensor, width: float) -> Tensor:
    """The greater of two distances, rounded where they differ by less than ``width``."""
    high = torch.maximum(a, b)
    return high if width <= 0 else high.add_((width - (a - b).abs_()).clamp_min_(0).square_().mul_(1 / (4 * width)))


def pack(parts: list[Part], bones: dict[str, np.ndarray], scale: float, offset: np.ndarray) -> PackedParts:
    """Parts posed by ``bones`` (name -> [3, 4] from the rest pose), then scaled and moved: x * scale + offset."""
    matrices, offsets, shapes, rests = [], [], [], []
    for part in parts:
        bone = bones[part.bone]
        axes, origin = bone[:, :3] @ part.axes(), bone[:, :3] @ part.a + bone[:, 3]
        squash = np.asarray(part.scale, dtype=np.float64)
        inverse = (axes / squash).T  # world -> local, squashed
        matrices.append(inverse)
        offsets.append(-inverse @ (origin * scale + offset))
        length = part.length / squash[1] * scale
        slope = (part.ra - part.rb) * scale / length if length > 1e-6 else 0.0
        slope = float(np.clip(slope, -0.95, 0.95))
        tan = slope / np.sqrt(1 - slope**2)
        cuts = (max(part.low * scale, -FAR), min(part.high * scale, FAR))
        shapes.append(
            [length if length > 1e-6 else 0.0, part.ra * scale, slope, tan, *squash, *cuts, part.blend * scale]
        )
        rotation = bone[:, :3].T / scale
        rests.append(np.concatenate([rotation, (-rotation @ offset - bone[:, :3].T @ bone[:, 3])[:, None]], axis=1))
    stacked = np.stack(matrices).transpose(1, 0, 2).reshape(-1, 3)
    moved = np.stack(offsets).T.reshape(-1)
    arrays = (stacked, moved, shapes, np.stack(rests))
    turn, shift, shape, rest = (torch.from_numpy(np.asarray(a)).float() for a in arrays)
    heads = torch.tensor([part.bone == "head" for part in parts])
    return PackedParts(turn, shift, shape, rest, heads, tuple(part.paint for part in parts))
