"""Marching tetrahedra near the surface only, with the same result as everywhere.

A tetrahedron is crossed where its corners' signs differ.  If no sign outside of a set S of vertices has changed since all
tetrahedra were last looked at, those that are crossed now were crossed then or touch a vertex of S.  So the tetrahedra
that touch S are all that have to be visited, as long as S holds the corners of those that were crossed: a band.  The
condition is tested every time, and where it fails everything is looked at again.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..core.far import far
from .marching_tets import Crossing, TetTopology, find_crossing

WIDE = 0.5  # share of all tetrahedra from which a band is not worth its tables


class Band:
    """:func:`find_crossing` for signed distances that change little from call to call.

    renewed: how often everything has been looked at, for tests and measurements.
    """

    def __init__(self, topology: TetTopology):
        self.whole, self.part = topology, topology
        self.signs: Tensor | None = None  # [V] bool: which vertices were inside when everything was looked at
        self.free = torch.empty(0)  # [V] bool: S, those whose sign may have changed since
        self.renewed = 0

    @torch.no_grad()
    def crossing(self, sdf: Tensor) -> Crossing:
        """Of signed distances [V]: exactly ``find_crossing(sdf, topology)``, errors included."""
        if far(sdf.device):
            return find_crossing(sdf, self.whole)  # to look everywhere is cheaper there than to wait for an answer
        inside = sdf < 0
        known = self.signs
        if known is None or known.shape != inside.shape or bool(((inside != known) & ~self.free).any()):
            self._renew(inside)
        return find_crossing(sdf, self.part)

    def _renew(self, inside: Tensor) -> None:
        whole = self.whole
        self.signs, self.part, self.renewed = None, whole, self.renewed + 1
        if len(inside) != whole.vertex_count:
            return  # find_crossing refuses it
        crossed, _ = whole.crossed_tets(inside)
        free = torch.zeros_like(inside)
        free[whole.tets[crossed].long().reshape(-1)] = True
        free[whole.tets[_touching(whole, free)].long().reshape(-1)] = True  # one ring more, to last some steps
        band = _touching(whole, free)
        self.signs = inside
        if len(band) > WIDE * len(whole.tets):
            self.free = torch.ones_like(inside)
        else:
            self.free, self.part = free, _part(whole, band)


def _touching(topology: TetTopology, vertices: Tensor) -> Tensor:
    """[M] ascending numbers of the tetrahedra with a corner among ``vertices`` [V] bool."""
    flags = torch.index_select(vertices.view(torch.uint8), 0, topology.tets.reshape(-1)).view(torch.int32)
    return torch.nonzero(flags).reshape(-1)


def _part(topology: TetTopology, tets: Tensor) -> TetTopology:
    """The topology of some tetrahedra, in the same order; its edges keep theirs."""
    tet_edges = topology.tet_edges[tets]
    used = torch.zeros(len(topology.edges), dtype=torch.bool, device=tets.device)
    used[tet_edges.long().reshape(-1)] = True
    edges = torch.nonzero(used).reshape(-1)
    index = torch.empty(len(topology.edges), dtype=torch.int32, device=tets.device)
    index[edges] = torch.arange(len(edges), dtype=torch.int32, device=tets.device)
    local = index[tet_edges.long().reshape(-1)].reshape(-1, 6)
    return TetTopology(topology.tets[tets], topology.edges[edges], local, topology.vertex_count)
