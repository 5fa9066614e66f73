"""Polygons become triangles: fans where they are convex, ears cut off one by one where they are not."""

from __future__ import annotations

import numpy as np

from .ears import cut, cut_together
from .limits import FACES, within
from .mesh_notes import Notes

EARS = 25_000_000  # pairs of corners, or as much work: what ear clipping may cost per file
_ONE_BY_ONE = 1000  # pairs of corners that cost as much as one step for a single polygon
_TOGETHER = 3  # polygons of one size that are cut in step
_FLAT = 1e-9  # a corner is reflex when its turn is below this share of the polygon's area


def triangulate(points: np.ndarray, corners: np.ndarray, sizes: np.ndarray, name: str, notes: Notes) -> np.ndarray:
    """[F, 3] positions in ``corners``, polygon after polygon; a polygon of n corners gives n - 2 triangles.

    points:  [V, 3] float64.  corners: [C] int64 into them (checked).  sizes: [P] corners of each polygon, 3 or more.
    notes:   hears of concave polygons that were too many for cutting ears.
    """
    starts, counts = np.cumsum(sizes) - sizes, sizes - 2
    out = np.empty((within(name, int(counts.sum()), FACES, "faces"), 3), np.int64)
    places, spent, left = np.cumsum(counts) - counts, 0, 0
    for n in np.unique(sizes).tolist():
        which = np.flatnonzero(sizes == n)
        fan = np.stack([np.zeros(n - 2, np.int64), np.arange(1, n - 1), np.arange(2, n)], -1)
        local = np.broadcast_to(fan, (len(which), n - 2, 3))
        if n > 3:
            shape = points[corners[starts[which, None] + np.arange(n)]]
            turns = _turns(shape)
            concave = np.flatnonzero((turns < -_FLAT).any(1))
            local = local.copy()
            if n == 4:  # from its reflex corner a quad is a fan
                local[concave] = (fan + turns[concave].argmin(1)[:, None, None]) % 4
            else:
                together = len(concave) >= _TOGETHER
                extra = _ONE_BY_ONE // len(concave) + 1 if together else _ONE_BY_ONE
                room = max(EARS - spent, 0) // (n * (n + extra))
                left += max(len(concave) - room, 0)
                concave = concave[:room]
                spent += len(concave) * n * (n + extra)
                if together and len(concave):
                    local[concave] = cut_together(shape[concave])
                else:
                    for k in concave:
                        local[k] = cut(shape[k])
        out[(places[which, None] + np.arange(n - 2)).reshape(-1)] = (local + starts[which, None, None]).reshape(-1, 3)
    if left:
        notes.say(f"{left} concave polygons were cut as if they were convex: too many corners")
    return out


def _turns(shape: np.ndarray) -> np.ndarray:
    """[P, n]: at every corner the turn's area over the polygon's, negative where it is reflex."""
    before, after = shape - np.roll(shape, 1, 1), np.roll(shape, -1, 1) - shape
    center = shape - shape.mean(1, keepdims=True)
    normal = np.cross(center, np.roll(center, -1, 1)).sum(1)
    area = np.linalg.norm(normal, axis=-1)
    safe = np.where(area > 0, area, 1)
    return np.einsum("pnk,pk->pn", np.cross(before, after), normal / safe[:, None]) / safe[:, None]
