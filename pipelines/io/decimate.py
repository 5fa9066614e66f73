"""Mesh simplification by edge collapses with quadric error (Garland and Heckbert, 1997), many at a time.

Large meshes go to a library first (``decimate_fast``); what follows is "fine", slower and nearer to the surface.
Instead of a priority queue, every round collapses an independent set of cheap edges: edges that are the
cheapest within their own neighborhood, so that no two collapses of a round touch.  The link condition keeps
a closed manifold closed, and a collapse that would turn a face by more than about 75 degrees is refused.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Literal, get_args

import numpy as np
import torch

from ..core.mesh import Mesh
from ..core.pulse import beat
from ..ops.closest import closest_point
from ..ops.mesh_edges import compact, mesh_edges
from . import decimate_fast

log = logging.getLogger(__name__)
Decimation = Literal["fast", "fine"]
FAST_FACES = 5_000  # fewer are done within half a second by our own rounds

MAX_ROUNDS = 200
LEAST_COSINE = 0.25  # between a face's normals before and after
CHEAP_FRACTION = 0.35  # of the edges are looked at per round
STABILITY = 1e-3  # pulls the optimal point towards the edge's middle where the quadric leaves it free


def decimate(mesh: Mesh, face_budget: int, method: Decimation = "fast") -> Mesh:
    """``mesh`` with at most ``face_budget`` faces where its topology allows, else as few as possible.

    method: "fast" gives meshes above FAST_FACES faces to fast-simplification where it is installed, and only what that leaves
            over the budget to our own rounds; "fine" takes these alone: 20 to 70 times slower, no crumb vanishes, and
            the surface is as near (``benchmarks/results/way_out.md``) or, where faces are needles, up to a third nearer.
    Vertex colors are carried along (fast: those of the nearest place of the surface before); UVs and texture are dropped
    when anything changes.  Vertices on open edges stay where they are; with "fine" those on non-manifold ones, too.
    Deterministic.  ValueError for a budget below 4 and an unknown method.
    """
    if face_budget < 4:
        raise ValueError(f"the face budget must be at least 4, got {face_budget}")
    if method not in get_args(Decimation):
        raise ValueError(f"method must be one of {', '.join(get_args(Decimation))}, got {method!r}")
    if len(mesh.faces) <= face_budget:
        return mesh
    if method == "fast" and len(mesh.faces) > FAST_FACES and decimate_fast.available():
        mesh = _fast(mesh, face_budget)
    return mesh if len(mesh.faces) <= face_budget else _fine(mesh, face_budget)


def _fast(mesh: Mesh, face_budget: int) -> Mesh:
    """The library's mesh, perhaps still above the budget; ``mesh`` itself where it cannot be trusted with it."""
    points, faces = mesh.vertices.detach().cpu().double().numpy(), _drop_repeats(mesh.faces.cpu().numpy())
    if len(faces) <= face_budget or not np.isfinite(points).all():
        return mesh
    found = decimate_fast.simplified(points, faces, face_budget)
    if found is None:
        log.info("fast-simplification would tear this mesh: our own decimation takes it")
        return mesh
    vertices = torch.from_numpy(found[0]).to(mesh.vertices)
    colors = mesh.vertex_colors
    if colors is not None:
        near = closest_point(vertices, mesh.vertices.detach(), mesh.faces)
        colors = (colors[mesh.faces[near.face]] * near.barycentric[..., None].to(colors)).sum(1)
    return replace(mesh, vertices=vertices, faces=torch.from_numpy(found[1]).to(mesh.faces.device), vertex_colors=colors,
                   uvs=None, face_uvs=None, texture=None)


def _fine(mesh: Mesh, face_budget: int) -> Mesh:
    """About 2 s from 50,000 to 10,000 faces on one core."""
    state = _State(mesh)
    before = len(state.faces)
    for _ in range(MAX_ROUNDS):
        beat("decimating", before - len(state.faces), before - face_budget)
        if len(state.faces) <= face_budget or not state.round(face_budget):
            break
    if len(state.faces) > face_budget:
        log.warning("decimation stopped at %d faces, the budget is %d", len(state.faces), face_budget)
    return state.mesh(mesh)


class _State:
    def __init__(self, mesh: Mesh):
        self.points = mesh.vertices.detach().cpu().double().numpy()
        self.faces = _drop_repeats(mesh.faces.cpu().numpy())
        self.colors = None if mesh.vertex_colors is None else mesh.vertex_colors.detach().cpu().double().numpy()
        self.quadrics = _quadrics(self.points, self.faces)
        self.refused = np.empty(0, dtype=np.int64)  # edge keys that failed a check and wait for a new neighborhood

    def round(self, budget: int) -> bool:
        """One independent set of collapses; False when nothing more can be done."""
        edges = mesh_edges(torch.from_numpy(self.faces), len(self.points))
        ends = edges.ends.numpy()
        fixed = np.zeros(len(self.points), dtype=bool)
        fixed[ends[edges.count.numpy() != 2].reshape(-1)] = True
        keys = ends[:, 0] * len(self.points) + ends[:, 1]
        ends = ends[~fixed[ends].any(-1) & ~np.isin(keys, self.refused)]
        if not len(ends):
            return self._retry()
        beat()
        target, cost = self._place(ends)
        beat()
        cheap = np.argsort(cost, kind="stable")[: max(int(len(ends) * CHEAP_FRACTION), 64)]
        ends, target = ends[cheap], target[cheap]
        ring = _Ring(self.faces, len(self.points))
        chosen = _independent(ends, self.faces, len(self.points))
        ends, target = ends[chosen], target[chosen]
        beat()
        legal = ring.link_ok(ends) & self._keeps_winding(ring, ends, target)
        bad = ends[~legal]
        self.refused = np.concatenate([self.refused, bad[:, 0] * len(self.points) + bad[:, 1]])
        needed = (len(self.faces) - budget + 1) // 2
        ends, target = ends[legal][:needed], target[legal][:needed]
        if len(ends):
            self._collapse(ends, target)
        return bool(len(ends)) or bool(len(bad))

    def _retry(self) -> bool:
        again, self.refused = bool(len(self.refused)) and self.changed_since_retry, self.refused[:0]
        self.changed_since_retry = False
        return again

    changed_since_retry = False

    def _place(self, ends: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The best point [E, 3] of every edge and its cost [E]."""
        quadric = self.quadrics[ends[:, 0]] + self.quadrics[ends[:, 1]]
        a, b = self.points[ends[:, 0]], self.points[ends[:, 1]]
        middle, length = (a + b) / 2, np.linalg.norm(b - a, axis=-1)
        weight = STABILITY * np.trace(quadric[:, :3, :3], axis1=1, axis2=2) + 1e-12
        matrix = quadric[:, :3, :3] + weight[:, None, None] * np.eye(3)
        right = weight[:, None] * middle - quadric[:, :3, 3]
        best = np.linalg.solve(matrix, right[..., None])[..., 0]
        far = np.linalg.norm(best - middle, axis=-1) > 2 * length + 1e-12
        best[far] = middle[far]
        full = np.concatenate([best, np.ones((len(best), 1))], axis=-1)
        error = np.einsum("ei,eij,ej->e", full, quadric, full)
        return best, np.maximum(error, 0) + 1e-6 * weight * length**2

    def _keeps_winding(self, ring: "_Ring", ends: np.ndarray, target: np.ndarray) -> np.ndarray:
        ok = np.ones(len(ends), dtype=bool)
        for side in range(2):
            moved, other = ends[:, side], ends[:, 1 - side]
            edge, face = ring.faces_around(moved)
            corners = self.faces[face]
            stays = ~(corners == other[edge][:, None]).any(-1)  # faces on the edge vanish
            edge, corners = edge[stays], corners[stays]
            before = self.points[corners]
            after = np.where((corners == moved[edge][:, None])[..., None], target[edge][:, None], before)
            old, new = _normals(before), _normals(after)
            old_size, new_size = np.linalg.norm(old, axis=-1), np.linalg.norm(new, axis=-1)
            turned = (old * new).sum(-1) < LEAST_COSINE * old_size * new_size
            collapsed = (new_size < 1e-3 * old_size) & (old_size > 0)
            ok[edge[turned | collapsed]] = False
        return ok

    def _collapse(self, ends: np.ndarray, target: np.ndarray) -> None:
        keep, gone = ends[:, 0], ends[:, 1]
        if self.colors is not None:
            a, b = self.points[keep], self.points[gone]
            along = ((target - a) * (b - a)).sum(-1) / np.maximum(((b - a) ** 2).sum(-1), 1e-30)
            along = np.clip(along, 0, 1)[:, None]
            self.colors[keep] = (1 - along) * self.colors[keep] + along * self.colors[gone]
        self.points[keep] = target
        self.quadrics[keep] += self.quadrics[gone]
        name = np.arange(len(self.points))
        name[gone] = keep
        self.faces = _drop_repeats(name[self.faces])
        self.changed_since_retry = True

    def mesh(self, source: Mesh) -> Mesh:
        vertices = torch.from_numpy(self.points).to(source.vertices)
        vertices, faces, kept = compact(vertices, torch.from_numpy(self.faces).to(source.faces.device))
        colors = None
        if self.colors is not None:
            colors = torch.from_numpy(self.colors).to(source.vertices)[kept]
        return replace(
            source, vertices=vertices, faces=faces, vertex_colors=colors, uvs=None, face_uvs=None, texture=None
        )


class _Ring:
    """Faces around every vertex in compressed rows."""

    def __init__(self, faces: np.ndarray, vertex_count: int):
        self.faces = faces
        self.order = np.argsort(faces.reshape(-1), kind="stable") // 3
        self.count = np.bincount(faces.reshape(-1), minlength=vertex_count)
        self.start = np.cumsum(self.count) - self.count

    def faces_around(self, vertices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(row, face) pairs: all faces of vertices[row]."""
        count = self.count[vertices]
        row = np.repeat(np.arange(len(vertices)), count)
        step = np.arange(len(row)) - np.repeat(np.cumsum(count) - count, count)
        return row, self.order[self.start[vertices][row] + step]

    def link_ok(self, ends: np.ndarray) -> np.ndarray:
        """Whether the ends of each edge share exactly two neighbors, as they must to stay a manifold."""
        span = int(self.faces.max()) + 1
        around = []
        for side in range(2):
            row, face = self.faces_around(ends[:, side])
            around.append(np.unique((row[:, None] * span + self.faces[face]).reshape(-1)))
        shared = np.intersect1d(*around, assume_unique=True) // span
        return np.bincount(shared, minlength=len(ends)) == 4  # two neighbors and the two ends themselves


def _independent(ends: np.ndarray, faces: np.ndarray, vertex_count: int) -> np.ndarray:
    """Indices of edges (given cheapest first) that are the cheapest within one ring of both ends."""
    rank = np.arange(len(ends))
    nearest = np.full(vertex_count, len(ends))
    np.minimum.at(nearest, ends[:, 0], rank)
    np.minimum.at(nearest, ends[:, 1], rank)
    by_face = nearest[faces].min(-1)
    reach = np.full(vertex_count, len(ends))
    for corner in range(3):
        np.minimum.at(reach, faces[:, corner], by_face)
    return rank[(reach[ends] == rank[:, None]).all(-1)]


def _normals(corners: np.ndarray) -> np.ndarray:
    return np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])


def _drop_repeats(faces: np.ndarray) -> np.ndarray:
    a, b, c = faces.T
    return np.ascontiguousarray(faces[(a != b) & (b != c) & (c != a)])


def _quadrics(points: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """[V, 4, 4] area-weighted sums of squared distances to the planes of the faces around each vertex."""
    normal = _normals(points[faces])
    area = np.linalg.norm(normal, axis=-1)
    unit = normal / np.maximum(area, 1e-30)[:, None]
    plane = np.concatenate([unit, -(unit * points[faces[:, 0]]).sum(-1, keepdims=True)], axis=-1)
    each = area[:, None, None] * plane[:, :, None] * plane[:, None, :]
    total = np.zeros((len(points), 4, 4))
    for corner in range(3):
        np.add.at(total, faces[:, corner], each)
    return total
