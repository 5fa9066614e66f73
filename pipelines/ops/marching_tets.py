"""Marching tetrahedra: a signed distance on tet vertices becomes a triangle mesh.

Shen et al., "Deep Marching Tetrahedra" (2021), conventions of M-E.4 with this project's sign:
negative inside, faces counter-clockwise from outside, positively oriented tets.  The case table is
derived from that rule.  Only tets that the surface crosses are visited, and only the ends of
crossed edges enter the differentiable part, so cost follows the surface and not the volume.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from ..core.far import ask, far, select
from ..core.mesh import trust

LOCAL_EDGES = ((0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3))
_CANONICAL = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]], dtype=np.float64)  # positively oriented


@dataclass(frozen=True)
class TetTopology:
    """What marching needs to know about a tet mesh, computed once per mesh.

    tets:      [T, 4] int32, positively oriented.
    edges:     [E, 2] int64 unique edges, first end < second end.
    tet_edges: [T, 6] int32 into ``edges``, in the order of ``LOCAL_EDGES``.
    vertex_count: vertices of the tet mesh.
    """

    tets: Tensor
    edges: Tensor
    tet_edges: Tensor
    vertex_count: int

    @staticmethod
    def build(tets: Tensor, vertex_count: int) -> TetTopology:
        """From tets [T, 4]; about a second for 1.5 million tets."""
        corners = tets.detach().cpu().numpy()
        ends = np.stack([corners[:, list(pair)] for pair in LOCAL_EDGES], axis=1)
        keys = (ends.min(-1) * vertex_count + ends.max(-1)).reshape(-1)
        unique, index = np.unique(keys, return_inverse=True)
        edges = np.stack([unique // vertex_count, unique % vertex_count], axis=-1)
        tet_edges = torch.from_numpy(index.reshape(-1, 6).astype(np.int32))
        device = tets.device
        return TetTopology(tets.to(torch.int32), torch.from_numpy(edges).to(device), tet_edges.to(device), vertex_count)

    def to(self, device) -> TetTopology:
        """The same tables on another device."""
        return TetTopology(self.tets.to(device), self.edges.to(device), self.tet_edges.to(device), self.vertex_count)

    def crossed_tets(self, is_inside: Tensor) -> tuple[Tensor, Tensor]:
        """Tets with corners on both sides [M] ascending, and their corners' flags [M, 4] as 0 or 1."""
        # index_select on bytes and a test of four at once: 1.5 million tets in a few milliseconds
        flags = torch.index_select(is_inside.view(torch.uint8), 0, self.tets.reshape(-1)).reshape(-1, 4)
        packed = flags.view(torch.int32).reshape(-1)
        crossed = torch.nonzero((packed != 0) & (packed != 0x01010101)).reshape(-1)
        return crossed, flags[crossed]


@dataclass(frozen=True)
class Crossing:
    """Where the surface runs, without positions (so without gradients).

    inside, outside: [N] int64 tet-mesh vertices at the two ends of every crossed edge.
    faces:           [F, 3] int64 into the N crossed edges, counter-clockwise from outside.
    """

    inside: Tensor
    outside: Tensor
    faces: Tensor


def marching_tets(vertices: Tensor, sdf: Tensor, tets: Tensor | TetTopology) -> tuple[Tensor, Tensor]:
    """The zero set of ``sdf`` as (vertices [N, 3], faces [F, 3] int64), outward faces.

    vertices: [V, 3] tet-mesh positions; sdf: [V], negative inside (exactly 0 counts as outside);
    tets: [T, 4] positively oriented, or their :class:`TetTopology` (pass that when calling often).
    Gradients flow to ``vertices`` and ``sdf``.  Closed wherever the boundary of the tet mesh is outside.
    """
    topology = tets if isinstance(tets, TetTopology) else TetTopology.build(tets, len(vertices))
    crossing = find_crossing(sdf, topology)
    inside, outside = crossing.inside, crossing.outside
    return place(vertices[inside], vertices[outside], sdf[inside], sdf[outside]), crossing.faces


def place(x_in: Tensor, x_out: Tensor, s_in: Tensor, s_out: Tensor) -> Tensor:
    """[N, 3] zero of the linear interpolant on edges with s_in < 0 <= s_out; differentiable."""
    t = (s_in / (s_in - s_out))[:, None]
    return x_in + t * (x_out - x_in)


@torch.no_grad()
def find_crossing(sdf: Tensor, topology: TetTopology) -> Crossing:
    """The crossed edges and the triangles between them; not differentiable, deterministic."""
    if sdf.shape != (topology.vertex_count,):
        raise ValueError(f"sdf must be [{topology.vertex_count}], got {tuple(sdf.shape)}")
    if far(sdf.device):
        return _find_far_crossing(sdf, topology)
    if not bool(torch.isfinite(sdf).all()):
        raise ValueError("the signed distance holds NaN or infinite values")
    is_inside = sdf < 0
    crossed, flags = topology.crossed_tets(is_inside)
    cases = (flags.long() * torch.tensor([1, 2, 4, 8], device=sdf.device)).sum(-1)
    local, counts = (t.to(sdf.device) for t in case_table())
    tet_edges = topology.tet_edges[crossed].long()
    corners = torch.gather(tet_edges, 1, local[cases].reshape(-1, 6)).reshape(-1, 2, 3)
    keep = torch.arange(2, device=sdf.device)[None] < counts[cases][:, None]
    faces = corners[keep]
    used = torch.zeros(len(topology.edges), dtype=torch.bool, device=sdf.device)
    used[faces.reshape(-1)] = True
    edges = torch.nonzero(used).reshape(-1)
    index = torch.empty(len(topology.edges), dtype=torch.int64, device=sdf.device)
    index[edges] = torch.arange(len(edges), device=sdf.device)
    first, second = topology.edges[edges].unbind(-1)
    flip = is_inside[second]
    return Crossing(torch.where(flip, second, first), torch.where(flip, first, second), index[faces])


def _find_far_crossing(sdf: Tensor, topology: TetTopology) -> Crossing:
    """:func:`find_crossing` on a device that the host asks once: all counts first, then everything at its size."""
    is_inside, (local, counts) = sdf < 0, _far_case_table(sdf.device)
    flags = torch.index_select(is_inside.view(torch.uint8), 0, topology.tets.reshape(-1)).reshape(-1, 4)
    cases = (flags.long() << torch.arange(4, device=sdf.device)).sum(-1)
    triangles = counts[cases]
    cut = is_inside[topology.edges].sum(-1) == 1  # every edge belongs to a tet, which is crossed if the edge is
    sizes = ask((triangles > 0).sum(), triangles.sum(), cut.sum(), torch.isfinite(sdf).all())
    if not sizes[3]:
        raise ValueError("the signed distance holds NaN or infinite values")
    crossed, edges = select(triangles > 0, sizes[0]), select(cut, sizes[2])
    tet_edges = topology.tet_edges[crossed].long()
    corners = torch.gather(tet_edges, 1, local[cases[crossed]].reshape(-1, 6)).reshape(-1, 3)
    keep = torch.arange(2, device=sdf.device)[None] < triangles[crossed][:, None]
    index = torch.empty(len(topology.edges), dtype=torch.int64, device=sdf.device)
    index.scatter_(0, edges, torch.arange(len(edges), device=sdf.device))
    faces = index[corners[select(keep.reshape(-1), sizes[1])]]
    first, second = topology.edges[edges].unbind(-1)
    flip = is_inside[second]
    return Crossing(torch.where(flip, second, first), torch.where(flip, first, second), trust(faces, len(edges)))


@lru_cache(maxsize=4)
def _far_case_table(device: torch.device) -> tuple[Tensor, Tensor]:
    """:func:`case_table` on a device, copied there once."""
    local, counts = case_table()
    with torch.inference_mode(False):  # kept: must not become inference tensors of the first caller
        return local.to(device), counts.to(device)


@lru_cache(maxsize=1)
def case_table() -> tuple[Tensor, Tensor]:
    """Local edges [16, 2, 3] of up to two triangles for each inside/outside pattern, and how many [16].

    Bit i of the pattern says that corner i is inside.
    """
    table = torch.zeros(16, 2, 3, dtype=torch.int64)
    counts = torch.zeros(16, dtype=torch.int64)
    for case in range(16):
        triangles = _case_triangles([bool(case >> i & 1) for i in range(4)])
        counts[case] = len(triangles)
        for slot, triangle in enumerate(triangles):
            table[case, slot] = torch.tensor(triangle)
    return table, counts


def _case_triangles(inside: list[bool]) -> list[list[int]]:
    cut = [i for i, (a, b) in enumerate(LOCAL_EDGES) if inside[a] != inside[b]]
    if not cut:
        return []
    ring = cut if len(cut) == 3 else _ring(cut)
    middles = np.array([_CANONICAL[list(LOCAL_EDGES[i])].mean(0) for i in ring])
    normal = np.cross(middles[1] - middles[0], middles[2] - middles[0])
    flags = np.array(inside)
    outward = _CANONICAL[~flags].mean(0) - _CANONICAL[flags].mean(0)
    if normal @ outward < 0:
        ring = ring[::-1]
    return [ring] if len(ring) == 3 else [[ring[0], ring[1], ring[2]], [ring[0], ring[2], ring[3]]]


def _ring(cut: list[int]) -> list[int]:
    """The four cut edges in the order around the quad: neighbors share a corner of the tet."""
    for rest in itertools.permutations(cut[1:]):
        ring = [cut[0], *rest]
        if all(set(LOCAL_EDGES[a]) & set(LOCAL_EDGES[b]) for a, b in zip(ring, ring[1:] + ring[:1])):
            return ring
    raise AssertionError("a quad's edges form no ring")
