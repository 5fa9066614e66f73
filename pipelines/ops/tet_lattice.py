"""Edges and tetrahedra of the A15 grid from its lattice steps, without sorting: tables in seconds and bounded memory.

Every cell of the grid repeats the same 46 tetrahedra, except that cells at the rim are cut (``tet_grid``).  What a cell
looks like depends only on which of three states it has along each axis: first, inner or last.  So for each of 27 kinds of
cells it is known once which tetrahedra exist, and from which of its ends and in which direction each edge leaves; an edge
is found by its first end and the rank of its direction among those that leave there.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from .marching_tets import LOCAL_EDGES, TetTopology
from .tet_grid import CELL, cell_tets, lattice_vertices, six_volumes

STATES = 3  # of a cell along one axis: first, inner, last
BITS = 32  # of a word that says in which directions edges leave a point
TOGETHER = 4096  # cells whose tables stay in a processor's cache


@lru_cache(maxsize=2)
def a15_topology(n: int) -> tuple[Tensor, TetTopology]:
    """The vertices of ``a15_grid(n)`` and what marching needs to know about it; shared tensors, do not write to them."""
    tables = lattice_tables(n)
    tets, edges, tet_edges = (torch.from_numpy(x) for x in tables[1:])
    return lattice_vertices(tables.points, n), TetTopology(tets, edges.long(), tet_edges, len(tables.points))


class Tables(NamedTuple):
    """What :class:`marching_tets.TetTopology` holds, in the same order as its ``build`` gives.

    points: [V, 3] int32 lattice points, ascending.  tets: [T, 4] int32.  edges: [E, 2] int32, ascending.
    tet_edges: [T, 6] int32.
    """

    points: np.ndarray
    tets: np.ndarray
    edges: np.ndarray
    tet_edges: np.ndarray


class _Kind(NamedTuple):
    """One of the 27 kinds of cells, with K tetrahedra.

    points: [P, 3] the corners they use, quarter cells from the cell's own corner.  corners: [K, 4] into ``points``.
    leaving: [Q, 2] the edges they use: the first end, into ``points``, and the direction, into all directions.
    edges: [K, 6] into ``leaving``, in the order of ``LOCAL_EDGES``.
    """

    points: np.ndarray
    corners: np.ndarray
    leaving: np.ndarray
    edges: np.ndarray


@lru_cache(maxsize=1)
def _kinds() -> tuple[dict[tuple[int, ...], _Kind], np.ndarray]:
    """The kinds with tetrahedra, by state along x, y, z; and the directions [D, 3] of edges, ascending."""
    bounds = np.array([[0, CELL], [-1, CELL], [-1, 0]])  # what is left of offsets -1 to 4 in each state
    kept = {}
    for state in np.ndindex(STATES, STATES, STATES):
        low, high = bounds[list(state)].T
        corners = np.clip(cell_tets(), low, high)
        corners = corners[six_volumes(corners) > 0]
        if len(corners):
            kept[state] = corners, _ascending(corners[:, np.array(LOCAL_EDGES)])  # [K, 4, 3], [K, 6, 2, 3]
    steps = [(ends[:, :, 1] - ends[:, :, 0]).reshape(-1, 3) for _, ends in kept.values()]
    directions = np.unique(np.concatenate(steps), axis=0)
    if len(directions) > BITS:
        raise AssertionError("more directions than bits")
    return {state: _kind(corners, ends, directions) for state, (corners, ends) in kept.items()}, directions


def _kind(tets: np.ndarray, ends: np.ndarray, directions: np.ndarray) -> _Kind:
    """From the corners [K, 4, 3] of the tetrahedra and the ends [K, 6, 2, 3] of their edges."""
    points, corners = np.unique(tets.reshape(-1, 3), axis=0, return_inverse=True)
    first, step = ends[:, :, 0], ends[:, :, 1] - ends[:, :, 0]
    pairs = np.stack([_find(points, first.reshape(-1, 3)), _find(directions, step.reshape(-1, 3))], -1)
    leaving, edges = np.unique(pairs, axis=0, return_inverse=True)
    return _Kind(points, corners.reshape(-1, 4), leaving, edges.reshape(-1, 6))


def _find(rows: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Where each of the ``wanted`` [N, 3] stands among ``rows`` [M, 3]."""
    return (wanted[:, None] == rows[None]).all(-1).argmax(1).reshape(-1)


def _ascending(ends: np.ndarray) -> np.ndarray:
    """Ends [..., 2, 3] of edges, swapped where the second comes first in the order of points."""
    turned = ((ends[..., 1, :] - ends[..., 0, :]) * np.array([81, 9, 1])).sum(-1) < 0
    return np.where(turned[..., None, None], ends[..., ::-1, :], ends)


def lattice_tables(n: int) -> Tables:
    """Points, tetrahedra and edges of the grid with ``n`` cells per side, in the order of ``a15_grid`` and ``build``.

    Holds little more than the tables themselves, 50 bytes per tetrahedron; ``n`` = 64 has 12 million.
    """
    kinds, directions = _kinds()
    used = np.zeros((CELL * n + 1) ** 3, dtype=bool)
    for kind, block in _blocks(n, kinds):
        used[block.keys(n, kind.points)] = True
    index = np.cumsum(used, dtype=np.int32) - 1
    present = np.flatnonzero(used)
    leaving = np.zeros(len(present), np.uint32)  # a bit for each direction in which an edge leaves
    row = _rows(n, kinds)
    tets = np.empty((int(row[-1]), 4), np.int32)
    for kind, block in _blocks(n, kinds):
        ids = index[block.keys(n, kind.points)]
        tets[block.rows(row, len(kind.corners))] = ids[kind.corners].transpose(2, 0, 1)
        for point, code in kind.leaving.tolist():
            leaving[ids[point]] |= np.uint32(1 << code)  # the same bit wherever a point stands twice
    degree = _bits(leaving)
    start = np.cumsum(degree, dtype=np.int32) - degree
    tet_edges = np.empty((len(tets), 6), np.int32)
    for kind, block in _blocks(n, kinds):
        ids = index[block.keys(n, kind.points)]
        ranks = np.stack([_rank(start, leaving, ids[point], code) for point, code in kind.leaving.tolist()])
        tet_edges[block.rows(row, len(kind.edges))] = ranks[kind.edges].transpose(2, 0, 1)
    edges = _edges(n, directions, index, present, start, leaving)
    points = np.stack(np.unravel_index(present, (CELL * n + 1,) * 3), axis=-1).astype(np.int32)
    return Tables(points, tets, edges, tet_edges)


class _Block(NamedTuple):
    """Cells of one kind: their numbers along each axis, and [M] their places among all (n + 1)^3 cells."""

    axes: tuple[np.ndarray, np.ndarray, np.ndarray]
    cells: np.ndarray

    def keys(self, n: int, points: np.ndarray) -> np.ndarray:
        """[P, M] places of ``points`` [P, 3] of every cell among all (4 n + 1)^3 points."""
        side = CELL * n + 1
        x, y, z = (CELL * axis + points[:, i, None] for i, axis in enumerate(self.axes))
        return (((x * side)[:, :, None] + y[:, None])[:, :, :, None] * side + z[:, None, None]).reshape(len(points), -1)

    def rows(self, row: np.ndarray, count: int) -> np.ndarray:
        """[M, count] numbers of the tetrahedra of every cell."""
        return row[self.cells][:, None] + np.arange(count)


def _blocks(n: int, kinds: dict[tuple[int, ...], _Kind]) -> Iterator[tuple[_Kind, _Block]]:
    """All cells by kind, at most ``TOGETHER`` at a time."""
    for state, kind in kinds.items():
        x, y, z = ((np.array([0]), np.arange(1, n), np.array([n]))[s] for s in state)
        if not (len(x) and len(y) and len(z)):
            continue
        lines = max(1, TOGETHER // len(z))
        for some in np.array_split(x, -(-len(x) // max(1, lines // len(y)))):
            for others in np.array_split(y, -(-len(y) // lines)):
                cells = (((some * (n + 1))[:, None] + others)[:, :, None] * (n + 1) + z).reshape(-1)
                yield kind, _Block((some, others, z), cells)


def _rows(n: int, kinds: dict[tuple[int, ...], _Kind]) -> np.ndarray:
    """[(n + 1)^3 + 1] the first tetrahedron of every cell, and behind them how many there are."""
    count = np.zeros((n + 1) ** 3 + 1, np.int64)
    for kind, block in _blocks(n, kinds):
        count[block.cells + 1] = len(kind.corners)
    return np.cumsum(count)


def _bits(words: np.ndarray) -> np.ndarray:
    """How many bits are set in each of ``words``."""
    if hasattr(np, "bitwise_count"):
        return np.bitwise_count(words)
    return np.unpackbits(words.view(np.uint8)).reshape(-1, BITS).sum(-1, dtype=np.uint8)  # before numpy 2


def _rank(start: np.ndarray, leaving: np.ndarray, ends: np.ndarray, code: int) -> np.ndarray:
    """Numbers of the edges that leave the points ``ends`` in one direction."""
    return start[ends] + _bits(leaving[ends] & np.uint32((1 << code) - 1))


def _edges(n: int, directions, index, present, start, leaving) -> np.ndarray:
    side = CELL * n + 1
    edges = np.empty((int(_bits(leaving).sum()), 2), np.int32)
    for code, (x, y, z) in enumerate(directions.tolist()):
        ends = np.flatnonzero(leaving & np.uint32(1 << code))
        place = _rank(start, leaving, ends, code)
        edges[place, 0] = ends
        edges[place, 1] = index[present[ends] + ((x * side) + y) * side + z]
    return edges
