"""Polygons become triangles: fans where they are convex, ears cut off one by one where they are not."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

import numpy as np

from .limits import FACES, within
from .mesh_notes import Notes

EARS = 20_000_000  # of squared corner counts: what ear clipping may cost per file
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
                for k in concave:
                    spent += n * n
                    if spent > EARS:
                        left += 1
                    else:
                        local[k] = _ears(_flattened(shape[k]))
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


def _flattened(shape: np.ndarray) -> np.ndarray:
    """[n, 2] of a polygon in its own plane, counter-clockwise."""
    center = shape - shape.mean(0)
    normal = np.cross(center, np.roll(center, -1, 0)).sum(0)
    drop = int(np.abs(normal).argmax())
    kept = [(1, 2), (2, 0), (0, 1)][drop]
    flat = center[:, kept]
    return flat if normal[drop] > 0 else flat * (1, -1)


def _ears(flat: np.ndarray) -> np.ndarray:
    """[n - 2, 3] corners of the triangles of a simple polygon; of one that crosses itself, some triangles.

    Only the neighbors of an ear that is cut off can become ears (Eberly, Triangulation by Ear Clipping), so every cut
    asks twice, and a polygon costs its corners squared.
    """
    count = len(flat)
    before, after = np.arange(count) - 1, (np.arange(count) + 1) % count
    before[0] = count - 1
    turn = _cross(flat - flat[before], flat[after] - flat)
    alive, waiting, found = np.ones(count, bool), deque(range(count)), []

    def is_ear(k: int) -> bool:
        reflex = flat[alive & (turn <= 0)]
        return bool(alive[k] and turn[k] > 0) and not _holds_any(flat[before[k]], flat[k], flat[after[k]], reflex)

    while len(found) < count - 3:
        k = next((k for k in _taken(waiting) if is_ear(k)), None)
        if k is None:  # it crosses itself, or touches itself everywhere: the flattest corner goes
            k = int(np.where(alive, np.abs(turn), np.inf).argmin())
        left, right = int(before[k]), int(after[k])
        found.append((left, k, right))
        alive[k], after[left], before[right] = False, right, left
        for near in (left, right):
            turn[near] = _cross(flat[near] - flat[before[near]], flat[after[near]] - flat[near])
            waiting.append(near)
    last = int(np.flatnonzero(alive)[0])
    return np.array([*found, (before[last], last, after[last])])


def _taken(waiting: deque) -> Iterator[int]:
    while waiting:
        yield waiting.popleft()


def _holds_any(a: np.ndarray, b: np.ndarray, c: np.ndarray, points: np.ndarray) -> bool:
    """Whether a point lies inside of a counter-clockwise triangle or on its border, its own corners left out."""
    points = points[(points != a).any(1) & (points != b).any(1) & (points != c).any(1)]
    sides = [_cross(end - start, points - start) >= 0 for start, end in ((a, b), (b, c), (c, a))]
    return bool((sides[0] & sides[1] & sides[2]).any())


def _cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]
