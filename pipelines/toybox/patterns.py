"""Named colors and surface patterns of toy objects."""

from __future__ import annotations

import numpy as np

PALETTE = {
    "red": (0.84, 0.13, 0.14),
    "orange": (0.96, 0.52, 0.10),
    "yellow": (0.97, 0.83, 0.18),
    "green": (0.18, 0.62, 0.25),
    "lime": (0.62, 0.83, 0.25),
    "teal": (0.10, 0.60, 0.60),
    "blue": (0.15, 0.33, 0.82),
    "sky": (0.45, 0.72, 0.95),
    "purple": (0.52, 0.25, 0.70),
    "pink": (0.96, 0.55, 0.70),
    "brown": (0.50, 0.31, 0.18),
    "beige": (0.88, 0.78, 0.60),
    "white": (0.93, 0.93, 0.92),
    "grey": (0.55, 0.56, 0.58),
    "black": (0.13, 0.13, 0.15),
}
PATTERNS = ("plain", "striped", "upright striped", "dotted", "two-tone", "shaded", "checkered")


def jittered(name: str, rng: np.random.Generator) -> np.ndarray:
    """[3] the named color with a small random change, sRGB in [0, 1]."""
    return np.clip(np.asarray(PALETTE[name]) + rng.normal(0, 0.03, 3), 0.03, 0.97)


def paint(points: np.ndarray, pattern: str, first, second, rng: np.random.Generator) -> np.ndarray:
    """[V, 3] sRGB colors of ``points`` [V, 3], given in the part's own frame (roughly a unit box)."""
    count = int(rng.integers(2, 5))
    phase = rng.uniform(0, 1)
    low, high = points.min(0), points.max(0)
    unit = (points - low) / np.maximum(high - low, 1e-6)
    angle = np.arctan2(points[:, 0], points[:, 2]) / (2 * np.pi) + 0.5
    if pattern == "plain":
        mix = np.zeros(len(points))
    elif pattern == "striped":
        mix = _soft_square(unit[:, 1] * count + phase)
    elif pattern == "upright striped":
        mix = _soft_square(angle * (2 * count))
    elif pattern == "dotted":
        cell = np.stack([angle * 2 * (count + 1), unit[:, 1] * (count + 1)], -1) % 1 - 0.5
        mix = _step(0.3 - np.linalg.norm(cell, axis=-1), 0.04)
    elif pattern == "two-tone":
        mix = _step(unit[:, 1] - (0.35 + 0.3 * phase), 0.02)
    elif pattern == "shaded":
        mix = unit[:, 1]
    elif pattern == "checkered":
        mix = 0.5 + 2 * (_soft_square(angle * 2 * count) - 0.5) * (_soft_square(unit[:, 1] * count + phase) - 0.5)
    else:
        raise ValueError(f"pattern must be one of {PATTERNS}, got {pattern!r}")
    return first + mix[:, None] * (second - first)


def bake_light(colors: np.ndarray, normals: np.ndarray) -> np.ndarray:
    """[V, 3] colors under one soft light fixed in the world (above and in front).

    Half-Lambert, so it is smooth and never black; fixed to the world, so it looks the same from
    every camera and a view-independent color field can represent it exactly.
    """
    light = np.asarray([0.0, 0.75, 0.6])
    light = light / np.linalg.norm(light)
    strength = 0.62 + 0.38 * (0.5 + 0.5 * normals @ light)
    return np.clip(colors * strength[:, None], 0, 1)


def bake_gloss(colors: np.ndarray, normals: np.ndarray) -> np.ndarray:
    """[V, 3] colors of a glossy surface: deeper shade, and highlights of three lamps.

    A highlight needs a viewer.  So that every camera sees the same colors, each lamp is answered by a viewer fixed in
    the world (one in front, one behind, one above): the lobes lie about fixed normals.
    """
    strength = 0.72 + 0.33 * (0.5 + 0.5 * normals @ _unit([0.0, 0.75, 0.6]))
    lobes = sum(np.clip(normals @ _unit(axis), 0, 1) ** 40 * peak for axis, peak in HIGHLIGHTS)
    lit = np.clip(colors * strength[:, None] * 0.9, 0, 1)
    return lit + (1 - lit) * np.clip(lobes, 0, 0.85)[:, None]


HIGHLIGHTS = (((-0.4, 0.55, 0.73), 0.85), ((0.5, 0.45, -0.74), 0.6), ((0.15, 0.98, 0.1), 0.35))  # normal, strength


def _unit(axis) -> np.ndarray:
    axis = np.asarray(axis, dtype=np.float64)
    return axis / np.linalg.norm(axis)


def _step(x: np.ndarray, width: float) -> np.ndarray:
    return np.clip(x / width * 0.5 + 0.5, 0, 1)


def _soft_square(x: np.ndarray) -> np.ndarray:
    return np.clip(np.sin(2 * np.pi * x) * 3 + 0.5, 0, 1)
