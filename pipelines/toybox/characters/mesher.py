"""Closed meshes of a character's layers: marching tetrahedra where the surface is, finer where colors change."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
import torch
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from ...core.pulse import beat
from ...ops.marching_tets import TetTopology, marching_tets
from ...ops.tet_grid import CELL, LATTICE, cell_tets

COARSE = 4  # fine cells per coarse cell's side
NEAR = 1.75  # cells: a cell whose center is farther from the surface holds none of it
LIPSCHITZ = 1.35  # the distances of squashed parts may grow faster than 1
SMALLEST = 60  # vertices; smaller pieces are crumbs of a difference of solids


def mesh_field(sdf: Callable[[Tensor], Tensor], cells: int, half: float = 1.0) -> tuple[Tensor, Tensor]:
    """(vertices [V, 3], faces [F, 3] int64): the zero set of ``sdf`` inside [-half, half]^3, closed and outward.

    sdf:   [N, 3] scene units -> [N], negative inside, positive at the border of the cube.
    cells: A15 cells per side, a multiple of 4; edges are about 1.2 * half / cells long.
    Only cells near the surface are evaluated.  Pieces with fewer than 60 vertices are dropped; nothing left gives 0
    vertices.
    """
    if cells % COARSE:
        raise ValueError(f"cells must be a multiple of {COARSE}, got {cells}")
    cell = 2 * half / cells
    kept, inside = _near_cells(sdf, cells, cell, half)
    if not len(kept):
        return torch.zeros(0, 3), torch.zeros(0, 3, dtype=torch.int64)
    side = cells + 2  # one cell of margin on either side: the stencil reaches over
    base = ((kept[:, 0] + 1) * side + kept[:, 1] + 1) * side + kept[:, 2] + 1
    lattice = torch.from_numpy(LATTICE).long()
    points = ((kept[:, None] * CELL + lattice[None]).float() * (cell / CELL) - half).reshape(-1, 3)
    values = torch.where(inside, -1.0, 1.0)[:, None].repeat(1, len(LATTICE))
    values[base] = sdf(points).reshape(-1, len(LATTICE))
    where = _crossed(values, base, side)
    ids, corners = np.unique(where, return_inverse=True)
    tets = torch.from_numpy(corners.reshape(-1, 4).astype(np.int32))
    positions = _positions(torch.from_numpy(ids), side, cell, half)
    topology = TetTopology.build(tets, len(ids))
    vertices, faces = marching_tets(positions, values.reshape(-1)[torch.from_numpy(ids)], topology)
    return without_crumbs(vertices, faces)


def _near_cells(sdf, cells: int, cell: float, half: float) -> tuple[Tensor, Tensor]:
    """Fine cells near the surface [K, 3], and for the padded grid of cells whether they lie inside [(cells + 2)^3]."""
    coarse = cells // COARSE
    grid = torch.stack(torch.meshgrid(*[torch.arange(coarse)] * 3, indexing="ij"), -1).reshape(-1, 3)
    reach = (NEAR + 0.866 * (COARSE - 1)) * cell * LIPSCHITZ
    value = sdf((grid.float() + 0.5) * (cell * COARSE) - half)
    block = torch.where(value < 0, 1, 0).to(torch.uint8).reshape(coarse, coarse, coarse)
    for axis in range(3):
        block = block.repeat_interleave(COARSE, dim=axis)
    inside = torch.zeros(cells + 2, cells + 2, cells + 2, dtype=torch.uint8)
    inside[1:-1, 1:-1, 1:-1] = block
    inside = inside.reshape(-1)
    candidates = grid[value.abs() < reach]
    for step in (2, 1):
        half_steps = torch.stack(torch.meshgrid(*[torch.arange(2)] * 3, indexing="ij"), -1).reshape(-1, 3)
        candidates = (candidates[:, None] * 2 + half_steps).reshape(-1, 3)
        value = sdf((candidates.float() + 0.5) * (cell * step) - half)
        near = value.abs() < (NEAR + 0.866 * (step - 1)) * cell * LIPSCHITZ
        _mark(inside, candidates[~near], value[~near] < 0, step, cells + 2)
        candidates = candidates[near]
    return candidates, inside.bool()


def _mark(inside: Tensor, blocks: Tensor, is_inside: Tensor, step: int, side: int) -> None:
    offsets = torch.stack(torch.meshgrid(*[torch.arange(step)] * 3, indexing="ij"), -1).reshape(-1, 3) + 1
    fine = blocks[:, None] * step + offsets
    index = (fine[..., 0] * side + fine[..., 1]) * side + fine[..., 2]
    inside[index.reshape(-1)] = is_inside.to(torch.uint8).repeat_interleave(len(offsets))


def _crossed(values: Tensor, base: Tensor, side: int) -> np.ndarray:
    """Lattice point ids [C * 4] of the tets with corners on both sides."""
    offsets, basis = _stencil()
    constant = ((offsets[..., 0] * side + offsets[..., 1]) * side + offsets[..., 2]) * len(LATTICE) + basis
    corners = (base[:, None, None] * len(LATTICE) + constant[None]).reshape(-1, 4)
    flags = (values.reshape(-1) < 0).to(torch.uint8)[corners.reshape(-1)].reshape(-1, 4)
    count = flags.sum(1)
    return corners[(count > 0) & (count < 4)].reshape(-1).numpy()


@lru_cache(maxsize=1)
def _stencil() -> tuple[Tensor, Tensor]:
    """(cell offsets [46, 4, 3], index into the lattice's basis [46, 4]) of the tets of one cell."""
    tets = cell_tets()
    offsets = np.floor_divide(tets, CELL)
    inner = tets - offsets * CELL
    basis = (inner[:, :, None] == LATTICE[None, None]).all(-1).argmax(-1)
    return torch.from_numpy(offsets), torch.from_numpy(basis)


def _positions(ids: Tensor, side: int, cell: float, half: float) -> Tensor:
    basis, at = ids % len(LATTICE), ids // len(LATTICE)
    cells = torch.stack([at // (side * side), at // side % side, at % side], -1) - 1
    return (cells * CELL + torch.from_numpy(LATTICE)[basis]).float() * (cell / CELL) - half


def without_crumbs(vertices: Tensor, faces: Tensor, smallest: int = SMALLEST) -> tuple[Tensor, Tensor]:
    """The mesh without connected pieces of fewer than ``smallest`` vertices."""
    f, count = faces.numpy(), len(vertices)
    links = coo_matrix(
        (np.ones(2 * len(f), np.int8), (f[:, :2].T.reshape(-1), f[:, 1:].T.reshape(-1))), shape=(count, count)
    )
    _, label = connected_components(links, directed=False)
    keep = np.bincount(label)[label] >= smallest
    if keep.all():
        return vertices, faces
    index = torch.from_numpy(np.cumsum(keep) - 1)
    return vertices[torch.from_numpy(keep)], index[faces[torch.from_numpy(keep)[faces[:, 0]]]]


def sharpen(vertices: Tensor, faces: Tensor, color: Callable[[Tensor], Tensor], rounds: int = 2, step: float = 0.12):
    """(vertices, faces, colors [V, 3]) with edges halved where the color changes by more than ``step`` along them.

    color: [N, 3] -> [N, 3].  The surface stays what it was, and stays closed.
    """
    colors = color(vertices)
    for _ in range(rounds):
        beat()
        start, end = faces, faces.roll(-1, dims=1)
        uneven = (colors[start] - colors[end]).abs().amax(-1) > step
        if not bool(uneven.any()):
            break
        low, high = torch.minimum(start, end)[uneven], torch.maximum(start, end)[uneven]
        keys = torch.unique(low * len(vertices) + high)
        middle = (vertices[keys // len(vertices)] + vertices[keys % len(vertices)]) / 2
        faces = split_edges(faces, keys, len(vertices))
        vertices = torch.cat([vertices, middle])
        colors = torch.cat([colors, color(middle)])
    return vertices, faces, colors


def split_edges(faces: Tensor, keys: Tensor, count: int) -> Tensor:
    """Faces with the edges of ``keys`` halved; the new vertex of ``keys[i]`` is ``count + i``.

    keys: [K] ascending, low end * count + high end.  A face becomes two, three or four, whichever of its edges are halved.
    """
    start, end = faces, faces.roll(-1, dims=1)
    wanted = torch.minimum(start, end) * count + torch.maximum(start, end)
    slot = torch.searchsorted(keys, wanted).clamp(max=len(keys) - 1)
    halved = keys[slot] == wanted
    middle = slot + count
    out = [faces[~halved.any(1)]]
    for turn in range(3):  # rotate each face so that every pattern occurs in one form
        f, m, h = (t.roll(-turn, dims=1) for t in (faces, middle, halved))
        one = h[:, 0] & ~h[:, 1] & ~h[:, 2]
        a, b, c, ab = f[one, 0], f[one, 1], f[one, 2], m[one, 0]
        out += [torch.stack([a, ab, c], 1), torch.stack([ab, b, c], 1)]
        two = h[:, 0] & h[:, 1] & ~h[:, 2]
        a, b, c, ab, bc = f[two, 0], f[two, 1], f[two, 2], m[two, 0], m[two, 1]
        out += [torch.stack([ab, b, bc], 1), torch.stack([a, ab, bc], 1), torch.stack([a, bc, c], 1)]
    all_three = halved.all(1)
    (a, b, c), (ab, bc, ca) = faces[all_three].unbind(1), middle[all_three].unbind(1)
    out += [torch.stack(t, 1) for t in ((a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca))]
    return torch.cat(out)
