"""Ear clipping: the triangles of a polygon that is not convex, one polygon or many of one size in step.

Only the neighbors of an ear that is cut off can become ears (Eberly, Triangulation by Ear Clipping), so every cut asks
twice, and a polygon costs its corners squared.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

import numpy as np

_AT_ONCE = 1 << 18  # corners of polygons that are cut together


def cut(shape: np.ndarray) -> np.ndarray:
    """[n - 2, 3] corners of the triangles of a simple polygon [n, 3]; of one that crosses itself, some triangles."""
    return _ears(_flattened(shape[None])[0])


def cut_together(shapes: np.ndarray) -> np.ndarray:
    """[P, n - 2, 3] of polygons [P, n, 3]: what :func:`cut` gives for each."""
    size = max(_AT_ONCE // shapes.shape[1], 1)
    return np.concatenate([_all_ears(_flattened(shapes[k : k + size])) for k in range(0, len(shapes), size)])


def _flattened(shapes: np.ndarray) -> np.ndarray:
    """[P, n, 2] of polygons in their own planes, counter-clockwise."""
    center = shapes - shapes.mean(1, keepdims=True)
    normal = np.cross(center, np.roll(center, -1, 1)).sum(1)
    drop = np.abs(normal).argmax(1)
    kept = np.array([(1, 2), (2, 0), (0, 1)])[drop]
    flat = np.take_along_axis(center, kept[:, None], 2)
    up = np.take_along_axis(normal, drop[:, None], 1) > 0
    return np.where(up[:, None], flat, flat * (1, -1))


class _Polygons:
    """Many polygons [P, n, 2] of which ears are cut in step; each goes the way that :func:`_ears` would go alone."""

    def __init__(self, flat: np.ndarray):
        count, n = flat.shape[:2]
        self.flat, self.every = flat, np.arange(count)
        self.before, self.after = (np.tile(np.roll(np.arange(n), k), (count, 1)) for k in (1, -1))
        self.turn = _cross(flat - np.roll(flat, 1, 1), np.roll(flat, -1, 1) - flat)
        self.alive = np.ones((count, n), bool)
        self.queue = np.zeros((count, 3 * n), np.int64)
        self.queue[:, :n] = np.arange(n)
        self.head, self.tail = np.zeros(count, np.int64), np.full(count, n)
        self.found, self.cuts = np.zeros((count, n - 2, 3), np.int64), np.zeros(count, np.int64)

    def next_corners(self, which: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(corner, whether it goes) of polygons ``which``: the next of its queue, or the flattest where that is empty."""
        waits = self.head[which] < self.tail[which]
        k = np.empty(len(which), np.int64)
        k[waits] = self.queue[which[waits], self.head[which[waits]]]
        self.head[which] += waits
        rest = which[~waits]
        k[~waits] = np.where(self.alive[rest], np.abs(self.turn[rest]), np.inf).argmin(1)
        goes = ~waits
        goes[waits] = self.is_ear(which[waits], k[waits])
        return k, goes

    def is_ear(self, which: np.ndarray, k: np.ndarray) -> np.ndarray:
        """[P] bool, as in :func:`_ears`."""
        a, b, c = (self.flat[which, at][:, None] for at in (self.before[which, k], k, self.after[which, k]))
        points = self.flat[which]
        sides = [_cross(end - start, points - start) >= 0 for start, end in ((a, b), (b, c), (c, a))]
        other = (points != a).any(2) & (points != b).any(2) & (points != c).any(2)
        inside = sides[0] & sides[1] & sides[2] & other & self.alive[which] & (self.turn[which] <= 0)
        return self.alive[which, k] & (self.turn[which, k] > 0) & ~inside.any(1)

    def cut_off(self, which: np.ndarray, k: np.ndarray) -> None:
        """Takes corner ``k`` of each polygon away; its neighbors wait to be looked at."""
        left, right = self.before[which, k], self.after[which, k]
        self.found[which, self.cuts[which]] = np.stack([left, k, right], -1)
        self.cuts[which] += 1
        self.alive[which, k], self.after[which, left], self.before[which, right] = False, right, left
        for near in (left, right):
            here = self.flat[which, near]
            self.turn[which, near] = _cross(here - self.flat[which, self.before[which, near]],
                                            self.flat[which, self.after[which, near]] - here)
            self.queue[which, self.tail[which]] = near
            self.tail[which] += 1


def _all_ears(flat: np.ndarray) -> np.ndarray:
    """[P, n - 2, 3] of polygons [P, n, 2]."""
    state, n = _Polygons(flat), flat.shape[1]
    which = state.every
    while len(which):
        k, goes = state.next_corners(which)
        state.cut_off(which[goes], k[goes])
        which = which[state.cuts[which] < n - 3]
    last = state.alive.argmax(1)
    ends = state.before[state.every, last], last, state.after[state.every, last]
    state.found[:, -1] = np.stack(ends, -1)
    return state.found


def _ears(flat: np.ndarray) -> np.ndarray:
    """[n - 2, 3] corners of the triangles of one polygon [n, 2]."""
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
