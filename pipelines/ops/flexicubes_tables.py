"""How the surface runs through a cube, for every pattern of inside and outside corners: derived, not copied.

Dual marching cubes (Nielson 2004) puts one vertex into each patch of surface inside a cube.  On each face of the cube
the crossed edges are joined in pairs; following the pairs around the cube gives closed rings of edges, one per patch.
A face with four crossed edges can be paired in two ways.  Here each inside corner is cut off by itself, which both
cubes at that face decide alike.  One pitfall remains (Wenger 2013, section 5): where a ring passes twice through one
face and the neighbor's ring does so too, four quads would meet at one line.  Every pattern has at most one such face,
and pairing it the other way splits the ring; so a second set of rings with that face paired differently is kept for
cubes whose neighbor has the same trouble.  ``tests/ops/test_flexicubes.py`` checks these claims for all patterns.

Corner c of a cube lies at (c & 1, c >> 1 & 1, c >> 2 & 1); face 2 a + s has its corners at coordinate s of axis a.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

# The order of the released networks' twelve edge weights (S-C.9).
EDGES = ((0, 1), (1, 5), (4, 5), (0, 4), (2, 3), (3, 7), (6, 7), (2, 6), (2, 0), (3, 1), (7, 5), (6, 4))
FACES = tuple(tuple(c for c in range(8) if (c >> axis & 1) == side) for axis in range(3) for side in range(2))


@dataclass(frozen=True)
class CubeTables:
    """Rings of crossed edges for each pattern; bit c of the pattern says that corner c is inside.

    ring:    [256, 2, 12] int64, to which ring an edge belongs, -1 where it is not crossed.  Second axis: 0 as it is,
             1 with the trouble face paired the other way (the same where there is none).
    count:   [256, 2] int64 rings, 0 to 4.
    trouble: [256] int64 the face that one ring passes twice, or -1.
    """

    ring: Tensor
    count: Tensor
    trouble: Tensor

    def to(self, device) -> "CubeTables":
        """The same tables on another device."""
        return CubeTables(self.ring.to(device), self.count.to(device), self.trouble.to(device))


@lru_cache(maxsize=1)
def cube_tables() -> CubeTables:
    """The tables on the CPU, made once (some ten milliseconds); the tensors are shared, do not write to them."""
    ring = torch.full((256, 2, 12), -1)
    count = torch.zeros(256, 2, dtype=torch.int64)
    trouble = torch.full((256,), -1)
    for pattern in range(256):
        found = rings(pattern)
        twice = [face for _, faces in found for face in set(faces) if faces.count(face) > 1]
        if twice:
            trouble[pattern] = twice[0]
        for other, options in enumerate((found, rings(pattern, twice[0]) if twice else found)):
            count[pattern, other] = len(options)
            for index, (edges, _) in enumerate(options):
                ring[pattern, other, edges] = index
    return CubeTables(ring, count, trouble)


def rings(pattern: int, paired_otherwise: int | None = None) -> list[tuple[list[int], list[int]]]:
    """The rings of a pattern: (edges in order, faces passed between them, beginning behind the first edge).

    paired_otherwise: a face whose four crossings are joined around the outside corners instead of the inside ones.
    """
    links: dict[int, list[tuple[int, int]]] = {}
    for face in range(6):
        for a, b in _pairs(pattern, face, inside=face != paired_otherwise):
            links.setdefault(a, []).append((b, face))
            links.setdefault(b, []).append((a, face))
    found, seen = [], set()
    for first in sorted(links):
        if first in seen:
            continue
        edges, faces, edge, face = [], [], first, None
        while edge != first or not edges:
            edges.append(edge)
            edge, face = next(link for link in links[edge] if link[1] != face)
            faces.append(face)
        seen.update(edges)
        found.append((edges, faces))
    return found


def _pairs(pattern: int, face: int, inside: bool) -> list[tuple[int, ...]]:
    """Crossed edges of a face, joined in pairs; ``inside``: around which corners four of them are joined."""
    corners = FACES[face]
    is_inside = {c: bool(pattern >> c & 1) for c in corners}
    cut = [e for e, (a, b) in enumerate(EDGES) if a in corners and b in corners and is_inside[a] != is_inside[b]]
    if len(cut) < 4:
        return [tuple(cut)] if cut else []
    return [tuple(e for e in cut if c in EDGES[e]) for c in corners if is_inside[c] == inside]
