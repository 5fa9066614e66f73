"""Continuous remeshing: short edges collapse, long ones split, and flips even out the valences (StdGEN, S-D.9).

After Palfinger, "Continuous remeshing for inverse rendering" (Computer Animation and Virtual Worlds, 2022).  All edges
are looked at together: each step is a few sorts and scatters, on whichever device the mesh lies.  A mesh whose edges
belong to one or two faces keeps that property, its boundary and its Euler characteristic.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..core.errors import InputError
from .mesh_edges import compact
from .remesh_edges import EdgeTable, edge_table, independent, neighbors_of, pack_unique

NOMINATES_SHORTEST = 0.8  # a bad face offers its shortest edge so often, else one of the others


@dataclass(frozen=True)
class Surface:
    """A mesh that may be remeshed.

    points: [V, 3] scene units.  faces: [F, 3] int64.
    length: [V] the edge length wanted around each vertex, scene units.
    values: [V, A] whatever else vertices carry; a new vertex gets the mean of the two it came from.
    """

    points: Tensor
    faces: Tensor
    length: Tensor
    values: Tensor

    def normals(self) -> Tensor:
        """[F, 3] face normals; their length is twice the area."""
        a, b, c = self.points[self.faces].unbind(1)
        return torch.linalg.cross(b - a, c - a)

    def packed(self) -> Tensor:
        """[V, 4 + A]: points, length and values side by side."""
        return torch.cat([self.points, self.length[:, None], self.values], dim=1)

    def unpacked(self, packed: Tensor, faces: Tensor) -> "Surface":
        """Another surface with the same columns."""
        return Surface(packed[:, :3].contiguous(), faces, packed[:, 3].contiguous(), packed[:, 4:].contiguous())


def check_manifold(faces: Tensor, vertex_count: int, name: str = "mesh") -> None:
    """InputError, with the number of edges, when edges have more than two faces or two that run the same way."""
    edges = edge_table(faces, vertex_count)
    crowded = int((edges.count > 2).sum())
    if crowded:
        raise InputError(
            name, "edges of one or two faces (a manifold surface)", f"{crowded} edges of three or more faces",
            "Repair the mesh (merge or delete the faces that meet there), or rebuild the layer.",
        )
    first, second = edges.halves[edges.count == 2].unbind(1)
    starts = faces.reshape(-1)
    wrong = int((starts[first] == starts[second]).sum())
    if wrong:
        raise InputError(
            name, "faces wound the same way round", f"{wrong} edges whose two faces are wound against each other",
            "Recalculate the normals outside, or rebuild the layer.",
        )


@torch.no_grad()
def remesh(surface: Surface, generator: torch.Generator, shortest: float = 0.5, longest: float = 1.5) -> Surface:
    """One round of collapse, split and flip with bounds ``shortest`` and ``longest`` times the wanted length.

    generator: on the CPU; breaks the choice of a bad face's edge.  The same input and generator give the same mesh.
    """
    if not len(surface.faces):
        return surface
    surface = collapse_edges(surface, surface.length * shortest, generator)
    surface = split_edges(surface, surface.length * longest)
    return flip_edges(surface)


@torch.no_grad()
def collapse_edges(surface: Surface, shortest: Tensor, generator: torch.Generator) -> Surface:
    """Merges an independent set of edges to their midpoints: short ones, and those that bad faces nominate.

    shortest: [V] below the mean of its two ends an edge is short.  A bad face points against the sum of its corners'
    normals or has less than half the area of a square of side ``shortest``.  An edge stays when its ends have more than two
    common neighbors (the surface would pinch), touch the boundary, or when a face around would turn over.
    """
    edges = edge_table(surface.faces, len(surface.points))
    a, b = edges.ends.unbind(1)
    lengths = (surface.points[a] - surface.points[b]).norm(dim=-1)
    limit = ((shortest[a] + shortest[b]) / 2).clamp(min=1e-12)
    bad = _bad_faces(surface, shortest)
    priority = (1 - lengths / limit).clamp(min=0) + _nominated(edges, lengths, bad, generator)
    candidates = torch.nonzero((priority > 0) & ~edges.boundary_vertex[a] & ~edges.boundary_vertex[b]).reshape(-1)
    candidates = candidates[_link_allows(edges, candidates)]
    candidates = candidates[_keeps_orientation(surface, edges, candidates, bad)]
    luck = torch.rand(len(candidates), generator=generator).to(
        priority
    )  # lengths vary slowly: mixed, more edges can go at once
    chosen = independent(edges.ends, candidates, priority[candidates] * (0.5 + luck), len(surface.points), rounds=3)
    if not len(chosen):
        return surface
    return _merge(surface, edges, chosen)


@torch.no_grad()
def split_edges(surface: Surface, longest: Tensor) -> Surface:
    """Halves every edge longer than the mean of its ends' ``longest`` [V]; faces get 2, 3 or 4 pieces."""
    edges = edge_table(surface.faces, len(surface.points))
    a, b = edges.ends.unbind(1)
    long = (surface.points[a] - surface.points[b]).norm(dim=-1) > (longest[a] + longest[b]) / 2
    if not bool(long.any()):
        return surface
    return _split(surface, edges, long)


@torch.no_grad()
def subdivide(surface: Surface) -> Surface:
    """Every face in four, at the edges' midpoints."""
    edges = edge_table(surface.faces, len(surface.points))
    return _split(surface, edges, torch.ones(len(edges.ends), dtype=torch.bool, device=surface.points.device))


@torch.no_grad()
def flip_edges(surface: Surface) -> Surface:
    """Turns an independent set of inner edges whose turn brings the four valences closer to each other.

    2 + (valences of the opposite corners) - (valences of the ends) < 0 is half the change of the sum of squared
    valences.  An edge stays when the opposite corners are joined already or a new face would point against the old two.
    """
    count = len(surface.points)
    edges = edge_table(surface.faces, count)
    inner = torch.nonzero(edges.count == 2).reshape(-1)
    a, b, c, d = _quads(surface.faces, edges, inner)
    valence = torch.bincount(edges.ends.reshape(-1), minlength=count)
    gain = valence[a] + valence[b] - valence[c] - valence[d] - 2
    useful = torch.nonzero((gain > 0) & (c != d) & ~edges.contains(c, d)).reshape(-1)
    useful = useful[_flip_is_sound(surface.points, *(x[useful] for x in (a, b, c, d)))]
    corners = torch.stack([x[useful] for x in (a, b, c, d)], dim=1)
    chosen = useful[_best_apart(corners, gain[useful], count)]
    if not len(chosen):
        return surface
    first, second = (edges.halves[inner[chosen]] // 3).unbind(1)
    a, b, c, d = (x[chosen] for x in (a, b, c, d))
    faces = surface.faces.clone()
    faces[first] = torch.stack([c, a, d], dim=1)
    faces[second] = torch.stack([d, b, c], dim=1)
    return replace(surface, faces=faces)


def _bad_faces(surface: Surface, shortest: Tensor) -> Tensor:
    """[F] bool."""
    normals = surface.normals()
    around = torch.zeros_like(surface.points)
    unit = torch.nn.functional.normalize(normals, dim=-1, eps=1e-12)
    for corner in range(3):
        around = around.index_add(0, surface.faces[:, corner], unit)
    against = (around[surface.faces].sum(1) * normals).sum(-1) < 0
    return against | (normals.norm(dim=-1) / 2 < 0.5 * shortest[surface.faces].mean(1).square())


def _nominated(edges: EdgeTable, lengths: Tensor, bad: Tensor, generator: torch.Generator) -> Tensor:
    """[E] 1 where a bad face offers the edge."""
    out = torch.zeros_like(lengths)
    faces = torch.nonzero(bad).reshape(-1)
    if len(faces):
        luck = torch.rand(len(faces), 2, generator=generator).to(lengths.device)
        order = lengths[edges.of_face[faces]].argsort(dim=1, stable=True)
        which = torch.where(luck[:, 0] < NOMINATES_SHORTEST, 0, 1 + (luck[:, 1] < 0.5).long())
        corner = order.gather(1, which[:, None])
        out[edges.of_face[faces].gather(1, corner).reshape(-1)] = 1
    return out


def _link_allows(edges: EdgeTable, candidates: Tensor) -> Tensor:
    """[K] whether merging an edge's ends keeps the surface a surface: two common neighbors, and no tetrahedron."""
    ends = edges.ends[candidates]
    valence = torch.bincount(edges.ends.reshape(-1), minlength=edges.vertex_count)
    first_owner, first = neighbors_of(edges, ends[:, 0])
    second_owner, second = neighbors_of(edges, ends[:, 1])
    keys = torch.cat([first_owner * edges.vertex_count + first, second_owner * edges.vertex_count + second])
    values, count = pack_unique(keys)
    owner = torch.div(values[count == 2], edges.vertex_count, rounding_mode="floor")
    common = torch.bincount(owner, minlength=len(candidates))
    return (common == 2) & (valence[ends].amax(1) > 3)


def _keeps_orientation(surface: Surface, edges: EdgeTable, candidates: Tensor, bad: Tensor) -> Tensor:
    """[K] whether no sound face around the edge turns over when its ends move to the middle."""
    ok = torch.ones(len(candidates), dtype=torch.bool, device=candidates.device)
    ends = edges.ends[candidates]
    middle = surface.points[ends].mean(1)
    for side in (0, 1):
        owner, corner = edges.corners_of(ends[:, side])
        face = torch.div(corner, 3, rounding_mode="floor")
        around = surface.faces[face]
        other = ends[owner, 1 - side]
        stays = (around != other[:, None]).all(1) & ~bad[face]
        owner, corner, around = owner[stays], corner[stays], around[stays]
        local = corner - torch.div(corner, 3, rounding_mode="floor") * 3
        before = surface.points[around]
        after = before.clone()
        after[torch.arange(len(owner), device=owner.device), local] = middle[owner]
        turned = (_normal(before) * _normal(after)).sum(-1) <= 0
        ok[owner[turned]] = False
    return ok


def _normal(corners: Tensor) -> Tensor:
    a, b, c = corners.unbind(1)
    return torch.linalg.cross(b - a, c - a)


def _merge(surface: Surface, edges: EdgeTable, chosen: Tensor) -> Surface:
    keep, gone = edges.ends[chosen].unbind(1)
    packed = surface.packed()
    packed[keep] = (packed[keep] + packed[gone]) / 2
    target = torch.arange(len(packed), device=packed.device)
    target[gone] = keep
    faces = target[surface.faces]
    a, b, c = faces.unbind(1)
    packed, faces, _ = compact(packed, faces[(a != b) & (b != c) & (c != a)])
    return surface.unpacked(packed, faces)


def _split(surface: Surface, edges: EdgeTable, marked: Tensor) -> Surface:
    packed = surface.packed()
    chosen = torch.nonzero(marked).reshape(-1)
    middle = torch.full((len(marked),), -1, dtype=torch.int64, device=marked.device)
    middle[chosen] = torch.arange(len(chosen), device=marked.device) + len(packed)
    packed = torch.cat([packed, packed[edges.ends[chosen]].mean(1)])
    m = middle[edges.of_face]
    number = (m >= 0).sum(1)
    pieces = [surface.faces[number == 0]]
    for count, cut in ((1, _halves), (2, _thirds), (3, _quarters)):
        which = torch.nonzero(number == count).reshape(-1)
        if len(which):
            pieces.append(cut(*_turned(surface.faces[which], m[which]), packed[:, :3]))
    return surface.unpacked(packed, torch.cat(pieces))


def _turned(faces: Tensor, middle: Tensor) -> tuple[Tensor, Tensor]:
    """Corners turned so that a single split edge is edge 0, and of two split edges the whole one is edge 2."""
    has = middle >= 0
    alone = has if int(has[0].sum()) == 1 else ~has
    start = alone.long().argmax(1) + (0 if int(has[0].sum()) == 1 else 1)
    index = (start[:, None] + torch.arange(3, device=faces.device)) % 3
    return faces.gather(1, index), middle.gather(1, index)


def _halves(faces: Tensor, middle: Tensor, points: Tensor) -> Tensor:
    (a, b, c), m = faces.unbind(1), middle[:, 0]
    return torch.cat([torch.stack([a, m, c], 1), torch.stack([m, b, c], 1)])


def _thirds(faces: Tensor, middle: Tensor, points: Tensor) -> Tensor:
    (a, b, c), (m, n, _) = faces.unbind(1), middle.unbind(1)
    tip = torch.stack([m, b, n], 1)
    short = ((points[m] - points[c]).norm(dim=-1) < (points[a] - points[n]).norm(dim=-1))[:, None]
    one = torch.where(short, torch.stack([a, m, c], 1), torch.stack([a, m, n], 1))
    two = torch.where(short, torch.stack([m, n, c], 1), torch.stack([a, n, c], 1))
    return torch.cat([tip, one, two])


def _quarters(faces: Tensor, middle: Tensor, points: Tensor) -> Tensor:
    (a, b, c), (m, n, o) = faces.unbind(1), middle.unbind(1)
    parts = [(a, m, o), (m, b, n), (o, n, c), (m, n, o)]
    return torch.cat([torch.stack(part, 1) for part in parts])


def _quads(faces: Tensor, edges: EdgeTable, inner: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(a, b, c, d): the edge runs a -> b in the first face, whose third corner is c; d is that of the second face."""
    corners = faces.reshape(-1)
    first, second = edges.halves[inner].unbind(1)
    step = lambda half, k: torch.div(half, 3, rounding_mode="floor") * 3 + (half + k) % 3  # noqa: E731
    return corners[first], corners[step(first, 1)], corners[step(first, 2)], corners[step(second, 2)]


def _flip_is_sound(points: Tensor, a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> Tensor:
    p = [points[x] for x in (a, b, c, d)]
    old = _normal(torch.stack([p[0], p[1], p[2]], 1)) + _normal(torch.stack([p[1], p[0], p[3]], 1))
    first = _normal(torch.stack([p[2], p[0], p[3]], 1))
    second = _normal(torch.stack([p[3], p[1], p[2]], 1))
    return ((old * first).sum(-1) > 0) & ((old * second).sum(-1) > 0)


def _best_apart(corners: Tensor, gain: Tensor, vertex_count: int) -> Tensor:
    """Indices of quads that are the best at all of their four corners; ties go to the lower index."""
    order = torch.argsort(gain, descending=True, stable=True)
    rank = torch.empty_like(order)
    rank[order] = torch.arange(len(order), 0, -1, device=order.device)
    top = torch.zeros(vertex_count, dtype=rank.dtype, device=rank.device)
    top = top.scatter_reduce(0, corners.reshape(-1), rank[:, None].expand(-1, 4).reshape(-1), "amax")
    return torch.nonzero((top[corners] == rank[:, None]).all(1)).reshape(-1)
