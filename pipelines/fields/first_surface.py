"""How a density becomes the first signed distances of a grid, whatever the grid's cells are (M-E.3).

Grids are [V, 3] points with edges [E, 2]; distances are negative inside, in units of roughly one grid edge.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, get_args

import torch
from torch import Tensor

from ..core.errors import InputError
from ..ops.mesh_edges import connected_parts
from ..ops.nearest import nearest

DensityFn = Callable[[Tensor], Tensor]
Init = Literal["log", "clamp"]  # of signed distances from densities, see ``TetSdf.from_density``
RIM_DISTANCE = 1e-3  # the outermost grid vertices stay outside by this much, so every surface is closed
CHUNK = 1 << 17


@torch.no_grad()
def box_around(density: DensityFn, grid: Tensor, threshold: float) -> Tensor:
    """[3] half extents that hold every point of ``grid`` [V, 3] above the threshold plus 0.1, within the scene.

    InputError when nothing lies above it, or when it is not positive.
    """
    if not threshold > 0:
        raise InputError("density threshold", "a positive number", str(threshold), "Use the occupancy grid's mean.")
    occupied = grid[_query(density, grid) > threshold]
    if not len(occupied):
        raise InputError(
            "density field", f"some density above the threshold {threshold:.4g}", "none anywhere",
            "Train the radiance field longer or lower the threshold.",
        )
    return (occupied.abs().amax(0) + 0.1).clamp(max=1.0)


@torch.no_grad()
def first_distances(density: DensityFn, points: Tensor, edges: Tensor, floor: Tensor, threshold: float, init: Init = "log",
                    keep_parts: float = 0.05, fill_cavities: bool = True) -> Tensor:
    """[V] signed distances of the surface density = threshold at ``points`` [V, 3]; options as ``TetSdf.from_density``.

    floor: [V] least distances; finite on the grid's rim, -inf elsewhere.
    """
    sdf = torch.maximum(_initial_sdf(_query(density, points), threshold, init, edges), floor)
    if keep_parts > 0:
        sdf = _drop_small_parts(sdf, edges, keep_parts)
    return _fill_cavities(sdf, edges, torch.isfinite(floor)) if fill_cavities else sdf


@torch.no_grad()
def put_inside(sdf: Tensor, vertices: Tensor, points: Tensor, distance: float) -> None:
    """Changes ``sdf`` [V]: the vertex nearest to each of the points [N, 3] lies inside by ``distance``."""
    if len(points):
        near = nearest(points, vertices).unique()
        sdf[near] = sdf[near].clamp(max=-distance)


@torch.no_grad()
def _query(density: DensityFn, points: Tensor) -> Tensor:
    return torch.cat([density(p).reshape(-1).float() for p in points.split(CHUNK)])


def _initial_sdf(sigma: Tensor, threshold: float, init: Init, edges: Tensor) -> Tensor:
    if init not in get_args(Init):
        raise ValueError(f'init must be "log" or "clamp", got {init!r}')
    if init == "clamp":
        return (threshold - sigma).clamp(-1, 1)
    level = -torch.log(sigma.clamp(min=1e-4 * threshold) / threshold)
    first, second = edges.unbind(-1)
    crossed = (level[first] < 0) != (level[second] < 0)
    steps = (level[first] - level[second]).abs()[crossed]
    unit = steps.median() if len(steps) else level.new_ones(())
    return (level / unit).clamp(-1, 1)


def _drop_small_parts(sdf: Tensor, edges: Tensor, fraction: float) -> Tensor:
    inside = sdf < 0
    labels = connected_parts(edges[inside[edges].all(-1)], len(sdf))
    sizes = torch.bincount(labels[inside], minlength=int(labels.max()) + 1)
    small = inside & (sizes[labels] < fraction * sizes.max())
    return torch.where(small, sdf.abs(), sdf)


def _fill_cavities(sdf: Tensor, edges: Tensor, on_rim: Tensor) -> Tensor:
    outside = sdf >= 0
    labels = connected_parts(edges[outside[edges].all(-1)], len(sdf))
    open_label = torch.zeros(int(labels.max()) + 1, dtype=torch.bool, device=sdf.device)
    open_label[labels[on_rim]] = True
    hollow = outside & ~open_label[labels]
    return torch.where(hollow, -sdf.abs().clamp(min=RIM_DISTANCE), sdf)
