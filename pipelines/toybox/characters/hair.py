"""Hair: a cap with the face left free, and locks laid over it, hanging from it or tied up."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .clothing import Solid
from .paint import Color, Paint, Plain, over
from .parts import Part
from .skeleton import SIDES, Skeleton

STYLES = ("short", "spiky", "bob", "long", "ponytail", "side ponytail", "twintails", "bun", "braid")
FRINGES = ("full", "parted", "swept", "none")


@dataclass(frozen=True)
class Strands:
    """Hair with darker strands around the head, a bright ring near the top, and tips of another tone."""

    base: Color
    tip: Color
    center: tuple
    radius: float
    tip_height: float
    strands: int = 22

    def __call__(self, points: Tensor) -> Tensor:
        local = (points - points.new_tensor(self.center)) / self.radius
        u, v, w = local.unbind(-1)
        angle = torch.atan2(u, w + 0.05)
        color = points.new_tensor(self.base).expand(len(points), 3)
        color = over(color, self.tip, ((self.tip_height - points[:, 1]) / 0.25).clamp(0, 1))
        wave = torch.sin(angle * self.strands) + 0.6 * torch.sin(angle * (self.strands * 0.53) + 1.0)
        shade = (1 + 0.085 * wave)[:, None]
        ring = (1 - ((v - 0.58 - 0.05 * torch.sin(angle * 9)) / 0.11).abs()).clamp(0, 1) * 0.5
        return over((color * shade).clamp(0, 1), (1.0, 1.0, 1.0), ring * (torch.hypot(u, w) < 1.3))


@dataclass(frozen=True)
class HairStyle:
    """Choices of a head of hair; ``style`` None for a bald character.

    style: of STYLES; fringe: of FRINGES; side: +1 or -1 for what is asymmetric (+1: the character's left).
    length: 0 to 1 within what the style allows.
    """

    style: str | None
    fringe: str
    side: float
    length: float
    base: Color
    tip: Color
    accent: Color
    ears: bool = False
    antenna: bool = False


class _Wig:
    """Collects locks on one head; positions are relative to the head's center and radius."""

    def __init__(self, s: Skeleton, style: HairStyle, floor: float):
        self.r, self.c = s.head, s.head_center
        tips = floor + 0.1 if style.style in ("long", "twintails", "ponytail", "side ponytail", "braid") else -9.0
        self.paint: Paint = Strands(style.base, style.tip, tuple(self.c), self.r, tips)
        self.parts: list[Part] = []
        self.carve: list[Part] = []

    def at(self, azimuth: float, height: float, reach: float) -> np.ndarray:
        """A point at ``reach`` radii from the head's axis, ``height`` radii above its center; azimuth in degrees, 0 front."""
        a = math.radians(azimuth)
        return np.array([math.sin(a) * reach, height, math.cos(a) * reach])

    def ball(self, at, radii, paint: Paint | None = None, **more) -> None:
        """An ellipsoid, in radii."""
        at = self.c + np.asarray(at, dtype=np.float64) * self.r
        self.parts.append(Part("head", at, at, self.r, self.r, tuple(radii), paint=paint or self.paint, **more))

    def lock(self, points, widths, flat: float = 0.55, blend: float = 0.03, paint: Paint | None = None) -> None:
        """A lock along ``points`` (radii), half as thick towards the head as it is wide."""
        points = [np.asarray(p, dtype=np.float64) for p in points]
        for p, q, wp, wq in zip(points, points[1:], widths, widths[1:]):
            y = (q - p) / max(np.linalg.norm(q - p), 1e-9)
            middle = (p + q) / 2
            outward = np.array([middle[0], 0.35 * middle[1], middle[2]])
            z = outward - y * (outward @ y)
            z = z / max(np.linalg.norm(z), 1e-9) if np.linalg.norm(z) > 1e-6 else np.array([0.0, 0.0, 1.0])
            frame = np.stack([np.cross(y, z), y, z], axis=1)
            self.parts.append(
                Part(
                    "head",
                    self.c + p * self.r,
                    self.c + q * self.r,
                    wp * self.r,
                    wq * self.r,
                    (1, 1, flat),
                    blend=blend,
                    paint=paint or self.paint,
                    frame=frame,
                )
            )


def make_hair(s: Skeleton, style: HairStyle, rng: np.random.Generator) -> list[Solid]:
    """The hair's solids; empty for a bald character.  ``rng`` jitters the locks."""
    if style.style is None:
        return []
    floor = _floor(s, style)
    wig = _Wig(s, style, floor)
    _cap(wig, style)
    _fringe(wig, style, rng)
    {"short": _short, "spiky": _spiky, "bob": _bob, "long": _long}.get(style.style, _tied)(wig, s, style, rng, floor)
    if style.ears:
        _cat_ears(wig, style)
    if style.antenna:
        wig.lock([(0, 1.0, 0), (0.1 * style.side, 1.32, 0.1), (0.32 * style.side, 1.38, 0.22)], (0.09, 0.07, 0.02), 0.6)
    return [Solid(tuple(wig.parts), tuple(wig.carve))]


def _floor(s: Skeleton, style: HairStyle) -> float:
    """Height where long hair ends, scene units."""
    hip, neck = s.joint("thigh_l")[1], s.joint("head")[1]
    return neck - (0.25 + 0.75 * style.length) * (neck - hip)


def _cap(wig: _Wig, style: HairStyle) -> None:
    tied = style.style in ("ponytail", "side ponytail", "twintails", "bun", "braid")
    low = -0.62 if not tied else -0.5
    thick = 1 + 0.046 / wig.r  # a shell that the meshes can resolve
    wig.ball((0, 0.08, -0.03), (thick, thick - 0.03, thick), low=low * wig.r)
    window = wig.c + np.array([0, -0.42, 0.95]) * wig.r
    wig.carve.append(Part("head", window, window, wig.r, wig.r, (0.8, 0.95, 0.85), blend=0.02))
    cheek = wig.c + np.array([0, -0.75, 0.55]) * wig.r
    wig.carve.append(Part("head", cheek, cheek, wig.r, wig.r, (1.25, 0.62, 0.72), blend=0.05))


def _fringe(wig: _Wig, style: HairStyle, rng) -> None:
    if style.fringe == "none":
        return
    count = int(rng.integers(5, 8))
    for i, turn in enumerate(np.linspace(-58, 58, count)):
        tip_turn, tip = turn * 0.94, 0.06 + 0.08 * float(rng.uniform(-1, 1)) - 0.06 * (i % 2)
        start = turn * 0.75
        if style.fringe == "parted":
            part = 16 * style.side
            tip_turn += 15 if turn > part else -15
            tip += 0.22 * max(0.0, 1 - abs(turn - part) / 26)
            start = part + (turn - part) * 0.55
        elif style.fringe == "swept":
            start = turn * 0.7 - 22 * style.side
            tip_turn += 16 * style.side
            tip += 0.004 * (turn * style.side + 20)
        low = abs(turn) / 58
        tip -= 0.42 * max(0.0, low - 0.72) / 0.28
        points = [
            wig.at(start, 0.86, 0.66),
            wig.at((start + tip_turn) / 2, 0.56, 0.99),
            wig.at(tip_turn, tip, 1.06 + 0.02 * (i % 2)),
        ]
        wig.lock(points, (0.2, 0.235, 0.045), 0.48)
    for sign in SIDES.values():  # sideburns
        wig.lock(
            [wig.at(sign * 66, 0.45, 1.02), wig.at(sign * 68, -0.1, 1.1), wig.at(sign * 64, -0.72, 1.02)],
            (0.2, 0.17, 0.04),
            0.5,
        )


def _back_locks(wig: _Wig, rng, turns, start: float, end: float, out: float, widths) -> None:
    for turn in turns:
        drop = end + float(rng.uniform(-0.09, 0.09))
        middle = (start + drop) / 2
        wig.lock(
            [wig.at(turn, start, 0.92), wig.at(turn, middle, out), wig.at(turn * 0.98 + 3, drop, out * 1.02)],
            widths,
            0.6,
        )


def _short(wig: _Wig, s, style: HairStyle, rng, floor: float) -> None:
    _back_locks(wig, rng, np.linspace(82, 278, 8), 0.1, -0.72 - 0.15 * style.length, 1.02, (0.3, 0.28, 0.06))


def _spiky(wig: _Wig, s, style: HairStyle, rng, floor: float) -> None:
    _back_locks(wig, rng, np.linspace(90, 270, 6), 0.1, -0.7, 1.02, (0.3, 0.25, 0.06))
    for turn, high in zip(rng.uniform(0, 360, 13) * 0.2 + np.arange(13) * 27.7, rng.uniform(0.25, 1.0, 13)):
        high = min(high, 0.55) if math.cos(math.radians(turn)) > 0.5 else high
        flat = math.sqrt(max(1 - high * high, 0.02))
        base = wig.at(turn, high * 0.85, flat * 0.85)
        tip = wig.at(turn + 14 * style.side, high * 1.25 + 0.1, flat * 1.42)
        wig.lock([base, tip], (0.3, 0.03), 0.7, 0.05)


def _bob(wig: _Wig, s, style: HairStyle, rng, floor: float) -> None:
    end = -0.85 - 0.25 * style.length
    turns = np.concatenate([np.linspace(76, 284, 10)])
    _back_locks(wig, rng, turns, 0.2, end, 1.1, (0.34, 0.34, 0.12))
    wig.ball((0, -0.35, -0.28), (1.02, 0.62, 0.82), low=(-0.5 - 0.1 * style.length) * wig.r, blend=0.06)


def _long(wig: _Wig, s, style: HairStyle, rng, floor: float) -> None:
    end = (floor - wig.c[1]) / wig.r
    wig.lock([(0, 0.0, -0.35), (0, -0.8, -0.62), (0, end + 0.25, -0.72)], (0.95, 0.86, 0.7), 0.42, 0.06)
    turns = np.concatenate([np.linspace(98, 262, 7)])
    for turn in turns:
        drop = end + float(rng.uniform(-0.12, 0.12))
        spread = wig.at(turn, drop, 0.98)
        spread[2] = min(spread[2], -0.3) * 0.8 - 0.1
        bend = wig.at(turn, -0.75, 1.06)
        bend[2] = bend[2] * 0.85 - 0.12
        wig.lock([wig.at(turn, 0.1, 0.95), bend, spread], (0.32, 0.3, 0.07), 0.5, 0.04)
    if style.length > 0.35:
        for sign in SIDES.values():  # strands over the shoulders
            wig.lock([wig.at(sign * 72, -0.2, 1.08), wig.at(sign * 62, -1.1, 1.0), wig.at(sign * 52, max(end, -2.2), 0.86)],
                     (0.17, 0.15, 0.03), 0.6)


def _tied(wig: _Wig, s, style: HairStyle, rng, floor: float) -> None:
    _back_locks(wig, rng, np.linspace(100, 260, 6), 0.2, -0.55, 1.0, (0.3, 0.26, 0.08))
    long = 1.1 + 1.3 * style.length
    if style.style == "twintails":
        for sign in SIDES.values():
            _tail(wig, style, np.array([sign * 0.92, 0.5, -0.35]), np.array([sign, 0.0, -0.1]), long)
    elif style.style == "side ponytail":
        _tail(wig, style, np.array([style.side * 0.98, 0.28, -0.3]), np.array([style.side, 0.1, -0.1]), long)
    elif style.style == "ponytail":
        _tail(wig, style, np.array([0.0, 0.48, -0.98]), np.array([0.0, 0.25, -1.0]), long)
    elif style.style == "braid":
        start, out = np.array([0.0, -0.1, -1.0]), np.array([0.0, -0.4, -1.0])
        for i in range(6):
            at = start + out * 0.12 * min(i, 2) + np.array([0.05 * (-1) ** i, -0.26 * i, 0])
            wig.ball(at, (0.2 - 0.012 * i, 0.19, 0.17), blend=0.015)
        wig.ball(start + out * 0.24 + [0, -1.5, 0], (0.1, 0.09, 0.1), Plain(style.accent), blend=0.0)
        wig.lock([start + out * 0.24 + [0, -1.52, 0], start + out * 0.24 + [0, -1.85, 0]], (0.13, 0.03), 0.8)
    else:
        spots = ((0.62, 0.8, -0.3), (-0.62, 0.8, -0.3)) if style.length > 0.5 else ((0.0, 0.9, -0.55),)
        for spot in spots:
            size = 0.3 if len(spots) == 2 else 0.4
            wig.ball(spot, (size, size, size), blend=0.01)
            wig.ball(np.asarray(spot) * 0.86, (size * 0.86, size * 0.45, size * 0.86), Plain(style.accent), blend=0.0)


def _tail(wig: _Wig, style: HairStyle, start: np.ndarray, out: np.ndarray, long: float) -> None:
    wig.ball(start + out * 0.06, (0.17, 0.19, 0.17), Plain(style.accent), blend=0.0)
    bend = start + out * 0.42 + [0, 0.02, 0]
    middle = start + out * 0.62 + [0, -0.45 * long, 0]
    tip = start + out * 0.52 + [0, -long, 0]
    wig.lock([start + out * 0.05, bend, middle, tip], (0.13, 0.26, 0.3, 0.04), 0.8, 0.05)


def _cat_ears(wig: _Wig, style: HairStyle) -> None:
    for sign in SIDES.values():
        base, tip = np.array([sign * 0.55, 0.85, 0.05]), np.array([sign * 0.72, 1.42, 0.05])
        wig.lock([base, tip], (0.3, 0.04), 0.5, 0.02)
        wig.lock([base + [0, 0.06, 0.12], tip + [0, -0.12, 0.06]], (0.17, 0.02), 0.4, 0.0, Plain(style.accent))
