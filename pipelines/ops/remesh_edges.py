"""Who meets whom in a triangle mesh, as far as remeshing asks."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from .mesh_edges import sort_keys


@dataclass(frozen=True)
class EdgeTable:
    """Undirected edges with their faces.  Half edge h = 3 face + k runs from corner k to corner k + 1.

    faces:   [F, 3] int64 the table was made from.  vertex_count: V.
    ends:    [E, 2] int64, first < second, ascending.
    count:   [E] int64 faces per edge.
    of_face: [F, 3] int64 edge from corner k to k + 1.
    halves:  [E, 2] int64 the first two half edges, -1 where there is only one.
    """

    faces: Tensor
    vertex_count: int
    ends: Tensor
    count: Tensor
    of_face: Tensor
    halves: Tensor

    @cached_property
    def boundary_vertex(self) -> Tensor:
        """[V] bool: on an edge that has not exactly two faces."""
        out = torch.zeros(self.vertex_count, dtype=torch.bool, device=self.ends.device)
        out[self.ends[self.count != 2].reshape(-1)] = True
        return out

    def contains(self, a: Tensor, b: Tensor) -> Tensor:
        """[K] whether a and b [K] are joined by an edge."""
        if not len(self.ends):
            return torch.zeros_like(a, dtype=torch.bool)
        mine = self.ends[:, 0] * self.vertex_count + self.ends[:, 1]
        key = torch.minimum(a, b) * self.vertex_count + torch.maximum(a, b)
        return mine[torch.searchsorted(mine, key).clamp(max=len(mine) - 1)] == key

    @cached_property
    def _corner_lists(self) -> tuple[Tensor, Tensor]:
        owner, order = sort_keys(self.faces.reshape(-1))
        return order, _starts(owner, self.vertex_count)

    @cached_property
    def _neighbor_lists(self) -> tuple[Tensor, Tensor]:
        both = torch.cat([self.ends, self.ends.flip(1)])
        owner, order = sort_keys(both[:, 0].contiguous())
        return both[order, 1], _starts(owner, self.vertex_count)

    def corners_of(self, vertices: Tensor) -> tuple[Tensor, Tensor]:
        """(owner, corner): every face corner 3 f + k that is ``vertices[owner]``."""
        return _listed(*self._corner_lists, vertices)


def edge_table(faces: Tensor, vertex_count: int) -> EdgeTable:
    """The edges of [F, 3] int64 faces; deterministic; O(F log F)."""
    following = faces.roll(-1, dims=1)
    keys = (torch.minimum(faces, following) * vertex_count + torch.maximum(faces, following)).reshape(-1)
    keys, order = sort_keys(keys)
    start = torch.ones(len(keys), dtype=torch.bool, device=faces.device)
    start[1:] = keys[1:] != keys[:-1]
    first = torch.nonzero(start).reshape(-1)
    count = torch.diff(first, append=torch.tensor([len(keys)], device=faces.device))
    of_face = torch.empty(len(keys), dtype=torch.int64, device=faces.device)
    of_face[order] = start.long().cumsum(0) - 1
    second = torch.where(count > 1, order[(first + 1).clamp(max=max(len(keys) - 1, 0))], -1) if len(keys) else first
    low = torch.div(keys[first], max(vertex_count, 1), rounding_mode="floor")
    ends = torch.stack([low, keys[first] - low * vertex_count], dim=-1)
    return EdgeTable(faces, vertex_count, ends, count, of_face.reshape(-1, 3), torch.stack([order[first], second], -1))


def neighbors_of(edges: EdgeTable, vertices: Tensor) -> tuple[Tensor, Tensor]:
    """(owner, neighbor): every vertex joined to ``vertices[owner]``."""
    return _listed(*edges._neighbor_lists, vertices)


def pack_unique(keys: Tensor) -> tuple[Tensor, Tensor]:
    """(ascending distinct keys, how often each occurs)."""
    ordered, _ = sort_keys(keys)
    start = torch.ones(len(ordered), dtype=torch.bool, device=keys.device)
    start[1:] = ordered[1:] != ordered[:-1]
    first = torch.nonzero(start).reshape(-1)
    return ordered[first], torch.diff(first, append=torch.tensor([len(ordered)], device=keys.device))


def independent(ends: Tensor, candidates: Tensor, priority: Tensor, vertex_count: int, rounds: int) -> Tensor:
    """Of ``candidates`` (indices into ``ends`` [E, 2]) those that are the best within ``rounds`` steps of the graph.

    Every candidate has a rank (ties: the lower index is better); the ranks spread over all edges ``rounds`` times, and
    who meets no better one is chosen.  With two rounds no edge joins two chosen ones, with three no vertex does.
    """
    if not len(candidates):
        return candidates
    order = torch.argsort(priority, descending=True, stable=True)
    rank = torch.zeros(len(ends), dtype=torch.int64, device=ends.device)
    rank[candidates[order]] = torch.arange(len(order), 0, -1, device=ends.device)
    spread, flat = rank, ends.reshape(-1)
    for _ in range(rounds):
        top = torch.zeros(vertex_count, dtype=torch.int64, device=ends.device)
        top = top.scatter_reduce(0, flat, spread[:, None].expand(-1, 2).reshape(-1), "amax")
        spread = top[ends].amax(1)
    return candidates[spread[candidates] == rank[candidates]]


def _starts(owner: Tensor, count: int) -> Tensor:
    """[count + 1] where each owner's run begins in the ascending list ``owner``."""
    return torch.searchsorted(owner, torch.arange(count + 1, device=owner.device))


def _listed(items: Tensor, starts: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
    number = starts[wanted + 1] - starts[wanted]
    owner = torch.repeat_interleave(torch.arange(len(wanted), device=wanted.device), number)
    before = torch.cumsum(number, 0) - number
    local = torch.arange(len(owner), device=wanted.device) - before[owner]
    return owner, items[starts[wanted][owner] + local]
