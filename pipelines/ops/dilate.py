"""Moves an outer layer out of the way of an inner one (StdGEN Sec. 3.3 "Pre- and Post-dilation", S-D.6)."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from .closest import closest_point

NEIGHBORS, REACH = 25, 0.06  # of the outer mesh's own vertices, and how far (scene units) they may be


@torch.no_grad()
def dilate(points: Tensor, inner: Tensor, normals: Tensor, push: float = 0.01, falloff: float | None = None) -> Tensor:
    """``points`` [V, 3] of an outer mesh, moved outwards along the inner mesh's normals.

    inner, normals: [N, 3] vertices of the inner mesh and their unit outward normals.
    push:    scene units that every point moves at least; a point below the inner surface first comes up to it.
    falloff: scene units; moves shrink by exp(-distance / falloff) with the distance to the inner mesh, so that far points
             stay (the paper's words; the released code moves all).  None: no shrinking.
    A point's move is the mean over its nearest neighbors in the outer mesh, weighted by exp(-distance).
    """
    if not len(points) or not len(inner):
        return points
    from scipy.spatial import KDTree

    outer = points.detach().cpu().double().numpy()
    distance, index = KDTree(inner.detach().cpu().double().numpy()).query(outer)
    n = normals.detach().cpu().double().numpy()[index]
    gap = inner.detach().cpu().double().numpy()[index] - outer
    move = (np.maximum((gap * n).sum(-1), 0) + push)[:, None] * n
    if falloff is not None:
        move = move * np.exp(-distance / falloff)[:, None]
    moved = points.detach().cpu().double() + torch.from_numpy(neighbor_mean(outer, move))
    return moved.to(points)


def neighbor_mean(points: np.ndarray, values: np.ndarray, count: int = NEIGHBORS, reach: float = REACH) -> np.ndarray:
    """[V, C] means of ``values`` over each point's nearest ``count`` points (itself included) within ``reach``."""
    from scipy.spatial import KDTree

    count = min(count, len(points))
    distance, index = KDTree(points).query(points, k=count)
    distance, index = distance.reshape(-1, count), index.reshape(-1, count)
    weight = np.exp(-distance) * (distance <= reach)
    return (values[index] * weight[..., None]).sum(1) / weight.sum(1, keepdims=True)


@torch.no_grad()
def carried(
    points: Tensor, before: tuple[Tensor, Tensor], after: tuple[Tensor, Tensor], falloff: float = 0.1
) -> Tensor:
    """``points`` [V, 3] of an outer mesh, moved as the surface inside them moved (the paper's flow field).

    before, after: (vertices, faces) of the inner surface as it was and as it is.  The move of the old surface's nearest
    place is the way to the nearest place of the new one, shrunk by exp(-(distance / falloff)^2) and averaged over
    neighbors, so that what lies close follows and distant points stay.  falloff: scene units.
    """
    if not len(points) or not len(before[1]) or not len(after[1]):
        return points
    old = closest_point(points, *before)
    moves = closest_point(old.point, *after).point - old.point
    moves = moves * torch.exp(-((old.distance / falloff) ** 2))[:, None]
    mean = neighbor_mean(points.detach().cpu().double().numpy(), moves.cpu().double().numpy())
    return (points.detach().cpu().double() + torch.from_numpy(mean)).to(points)
