"""The cube [-1, 1]^3 filled with the A15 tetrahedral lattice, generated instead of downloaded.

A15 (Pm-3n) has eight points per cubic cell and is the lattice of the published "tets.npz" grids
(Doran et al., "Isosurface stuffing improved", 2013; M-E.1, M-E.2): its tetrahedra are close to
regular (dihedral angles 53 to 79 degrees), so marched triangles are too.

All points are integers in quarter cells, so everything below is exact.  The lattice is cut at
the faces of the cube by clamping: the planes through cell faces are mirror planes of A15, a
tetrahedron that crosses one is its own mirror image with a single crossing edge, and moving that
edge's outer end onto the plane halves the tetrahedron exactly.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

CELL = 4  # lattice units per cell side
LATTICE = np.array(
    [[0, 0, 0], [2, 2, 2], [1, 2, 0], [3, 2, 0], [0, 1, 2], [0, 3, 2], [2, 0, 1], [2, 0, 3]], dtype=np.int64
)  # the points of one cell, in quarter cells
_LONGEST_EDGE_SQUARED = 6  # edges have squared lengths 4, 5, 6; the next distance is 8


def a15_grid(n: int) -> tuple[Tensor, Tensor]:
    """The lattice with ``n`` cells per side; the returned tensors are shared, do not write to them.

    Returns vertices [V, 3] float32 in [-1, 1]^3 and tets [T, 4] int64, all positively oriented
    (det[b - a, c - a, d - a] > 0), filling the cube exactly.  n = 32 has the density of the
    published grid "128": 277,793 vertices, 1.6 million tets.  Large grids: ``tet_lattice.a15_topology``.
    """
    if n < 1:
        raise ValueError(f"a grid needs at least one cell per side, got {n}")
    return _a15_grid(int(n))


@lru_cache(maxsize=4)
def _a15_grid(n: int) -> tuple[Tensor, Tensor]:
    side = CELL * n + 1
    cells = np.stack(np.meshgrid(*[np.arange(n + 1)] * 3, indexing="ij"), axis=-1).reshape(-1, 1, 1, 3)
    corners = np.clip(cells * CELL + cell_tets()[None], 0, CELL * n).reshape(-1, 4, 3)
    corners = corners[six_volumes(corners) > 0]
    keys = (corners[..., 0] * side + corners[..., 1]) * side + corners[..., 2]
    used = np.zeros(side**3, dtype=bool)
    used[keys.reshape(-1)] = True
    present = np.flatnonzero(used)
    index = np.zeros(side**3, dtype=np.int64)
    index[present] = np.arange(len(present))
    points = np.stack(np.unravel_index(present, (side, side, side)), axis=-1)
    return lattice_vertices(points, n), torch.from_numpy(index[keys])


def lattice_vertices(points: np.ndarray, n: int) -> Tensor:
    """[V, 3] float32 in [-1, 1]^3 for lattice points [V, 3] of the grid with ``n`` cells per side."""
    vertices = points.astype(np.float64) * (2.0 / (CELL * n)) - 1.0
    return torch.from_numpy(vertices.astype(np.float32))


def rim(vertices: Tensor) -> Tensor:
    """[V] bool: the vertices on the surface of the cube [-1, 1]^3."""
    return (vertices.abs() >= 1.0).any(dim=-1)


def nearest_vertices(points: Tensor, vertices: Tensor, cell: Tensor) -> Tensor:
    """[N] int64 numbers of the vertices [V, 3] of a stretched grid that are nearest to the points [N, 3], N > 0.

    cell: [3] side lengths of its cells; no point of the grid's box is farther than 0.56 of them from a vertex, so
    vertices more than a cell away from all points are left out before the search.
    """
    from scipy.spatial import KDTree

    low = torch.minimum(points.amin(0), vertices.amax(0)) - cell
    high = torch.maximum(points.amax(0), vertices.amin(0)) + cell
    near = ((vertices >= low) & (vertices <= high)).all(-1).nonzero().reshape(-1)
    tree = KDTree(vertices[near].cpu().numpy(), balanced_tree=False, compact_nodes=False)
    found = torch.from_numpy(tree.query(points.cpu().numpy())[1])
    return near[found.to(near.device)]


@lru_cache(maxsize=1)
def cell_tets() -> np.ndarray:
    """[46, 4, 3] lattice points (quarter cells, -1 to 4) of the tets whose centroid lies in the half-open unit cell.

    In A15 the Delaunay tets are exactly the sets of four mutual neighbors; the volume test below
    would fail otherwise.
    """
    shifts = np.stack(np.meshgrid(*[np.arange(-1, 2)] * 3, indexing="ij"), axis=-1).reshape(-1, 1, 3)
    points = (LATTICE[None] + CELL * shifts).reshape(-1, 3)
    gaps = ((points[:, None] - points[None]) ** 2).sum(-1)
    near = (gaps > 0) & (gaps <= _LONGEST_EDGE_SQUARED)
    tets = []
    for a in range(len(points)):
        for b in _later(near[a], a):
            for c in _later(near[a] & near[b], b):
                tets += [(a, b, c, d) for d in _later(near[a] & near[b] & near[c], c)]
    corners = points[np.array(tets)]
    centroid = corners.sum(1)  # four times the centroid
    corners = corners[((centroid >= 0) & (centroid < 4 * CELL)).all(-1)]
    volumes = six_volumes(corners)
    corners[volumes < 0] = corners[volumes < 0][:, [0, 1, 3, 2]]
    if len(corners) != 46 or np.abs(volumes).sum() != 6 * CELL**3:
        raise AssertionError("the A15 stencil does not fill its cell")
    return corners


def _later(mask: np.ndarray, index: int) -> np.ndarray:
    found = np.flatnonzero(mask)
    return found[found > index]


def six_volumes(corners: np.ndarray) -> np.ndarray:
    """Six times the signed volumes of [..., 4, 3] tets."""
    a, b, c, d = np.moveaxis(corners, -2, 0)
    return (np.cross(b - a, c - a) * (d - a)).sum(-1)
