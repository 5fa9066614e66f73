"""Holes of a triangle mesh: the closed walks along edges that have one face only, and fans of triangles that fill them."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def boundary_loops(faces: Tensor) -> list[np.ndarray]:
    """Each hole's vertices in the order in which its faces run along it; one of each walk.

    faces: [F, 3] int64, vertices shared.  A vertex where holes touch ends a walk, so that each hole is counted once.
    What does not close (faces wound against each other) is left out.  Deterministic.
    """
    following = _boundary_edges(faces)
    starts: dict[int, list[int]] = {}
    for a, b in following.tolist():
        starts.setdefault(a, []).append(b)
    loops = []
    for first in sorted(starts):
        while starts[first]:
            loops += _walks(first, starts)
    return loops


def fill_holes(vertices: Tensor, faces: Tensor) -> tuple[Tensor, Tensor]:
    """(vertices, faces) in which every hole is closed: three edges by one face, longer ones by a fan around their middle.

    The new faces are wound as their neighbors.  Walks that do not close stay open.
    """
    loops = boundary_loops(faces)
    middles, added, count = [], [], len(vertices)
    for loop in loops:
        if len(loop) == 3:
            added.append(loop[::-1][None])
            continue
        middles.append(vertices[torch.from_numpy(loop)].mean(0))
        following = np.roll(loop, -1)
        added.append(np.stack([following, loop, np.full_like(loop, count + len(middles) - 1)], axis=-1))
    if not added:
        return vertices, faces
    new = torch.from_numpy(np.concatenate(added)).to(faces)
    return torch.cat([vertices, *([torch.stack(middles)] if middles else [])]), torch.cat([faces, new])


def _boundary_edges(faces: Tensor) -> np.ndarray:
    """[E, 2] directed edges, as their faces run, that belong to one face; ascending."""
    triangles = faces.cpu().numpy()
    edges = np.stack([triangles, np.roll(triangles, -1, axis=1)], axis=-1).reshape(-1, 2)
    _, inverse, count = np.unique(np.sort(edges, axis=1), axis=0, return_inverse=True, return_counts=True)
    found = edges[count[inverse.reshape(-1)] == 1]
    return found[np.lexsort((found[:, 1], found[:, 0]))]


def _walks(first: int, starts: dict[int, list[int]]) -> list[np.ndarray]:
    """The loops of one walk from ``first``; takes the edges it goes along out of ``starts``."""
    path, place, found = [first], {first: 0}, []
    while True:
        ahead = starts.get(path[-1])
        if not ahead:  # it does not close
            return found
        step = ahead.pop(0)
        if step not in place:
            place[step] = len(path)
            path.append(step)
            continue
        loop = path[place[step] :]
        if len(loop) > 2:
            found.append(np.array(loop, dtype=np.int64))
        for vertex in loop[1:]:
            del place[vertex]
        path = path[: place[step] + 1]
        if len(path) == 1:
            return found
