"""What happens to a layer between and after its fits: crumbs, smoothing, tiny faces, and the way out of inner layers."""

from __future__ import annotations

import torch
from torch import Tensor

from ...core.mesh import Mesh, merge
from ...core.ortho import OrthoCameras
from ...core.threads import spread
from ...metrics.layers import depth_inside, signed_distance
from ...ops.closest import closest_point
from ...ops.dilate import carried, neighbor_mean
from ...ops.mesh_edges import compact, connected_parts, mesh_edges
from ...ops.remesh import Surface, collapse_edges, remesh
from ...render.normal_maps import seen_vertices, vertex_normals

_ROUNDS = 4  # of pushing out
_SMOOTH_HIDDEN = 3  # passes
_BELONGS = 0.04  # scene units from an inner layer within which that layer says where a hidden place belongs


@torch.no_grad()
def large_parts(mesh: Mesh, least: int) -> tuple[Mesh, str]:
    """(mesh without connected parts of fewer than ``least`` vertices, what was dropped); the largest always stays."""
    if not len(mesh.faces):
        return Mesh(mesh.vertices, mesh.faces), ""
    labels = connected_parts(mesh_edges(mesh.faces, len(mesh.vertices)).ends, len(mesh.vertices))
    used = torch.zeros(len(mesh.vertices), dtype=torch.long, device=mesh.faces.device)
    used[mesh.faces.reshape(-1)] = 1
    sizes = torch.bincount(labels, weights=used.double())
    keep = sizes >= least
    keep[sizes.argmax()] = True
    vertices, faces, _ = compact(mesh.vertices, mesh.faces[keep[labels[mesh.faces[:, 0]]]])
    dropped = int(((sizes > 0) & ~keep).sum())
    return Mesh(vertices, faces), f"{dropped} loose parts below {least} vertices were dropped." if dropped else ""


@torch.no_grad()
def evened(mesh: Mesh, length: float, rounds: int) -> Mesh:
    """``mesh`` remeshed towards edges of ``length`` (scene units) before a fit, at most ``rounds`` times.

    Stops when the number of vertices hardly changes any more.  A fine input costs every step of a fit otherwise.
    """
    surface = Surface(mesh.vertices, mesh.faces, torch.full_like(mesh.vertices[:, 0], length), mesh.vertices[:, :0])
    generator = torch.Generator().manual_seed(0)
    for _ in range(rounds):
        before = len(surface.points)
        surface = remesh(surface, generator)
        if abs(len(surface.points) - before) < 0.005 * before:
            break
    return Mesh(surface.points, surface.faces)


@torch.no_grad()
def smoothed(mesh: Mesh, passes: int, shrinks: bool, only: Tensor | None = None) -> Mesh:
    """Umbrella smoothing: every vertex to the mean of its neighbors, ``passes`` times.

    shrinks: False moves half the way and then 0.53 of a half back, which keeps the volume (Taubin, "A signal processing
    approach to fair surface design", 1995).  Vertices on boundaries stay, and those not in ``only`` [V] bool.
    """
    edges = mesh_edges(mesh.faces, len(mesh.vertices))
    stays = torch.zeros(len(mesh.vertices), dtype=torch.bool, device=mesh.faces.device)
    stays[edges.ends[edges.count != 2].reshape(-1)] = True
    if only is not None:
        stays |= ~only
    points = mesh.vertices
    for step in [1.0] * passes if shrinks else [0.5, -0.53] * passes:
        points = torch.where(stays[:, None], points, points + step * (_means(points, edges.ends) - points))
    return Mesh(points, mesh.faces)


def _means(points: Tensor, ends: Tensor) -> Tensor:
    a, b = ends.unbind(-1)
    total = torch.zeros_like(points).index_add(0, a, points[b]).index_add(0, b, points[a])
    return total / torch.bincount(ends.reshape(-1), minlength=len(points)).clamp(min=1)[:, None]


@torch.no_grad()
def merged_faces(mesh: Mesh, least_area: float) -> Mesh:
    """Faces smaller than ``least_area`` (scene units squared) collapse, as long as the surface stays one (S-D.8)."""
    if least_area <= 0 or not len(mesh.faces):
        return mesh
    generator = torch.Generator().manual_seed(0)
    surface = Surface(mesh.vertices, mesh.faces, mesh.vertices[:, 0] * 0, mesh.vertices[:, :0])
    for _ in range(20):
        before = len(surface.points)
        if not bool((surface.normals().norm(dim=-1) / 2 < least_area).any()):
            break
        surface = collapse_edges(surface, torch.full_like(surface.length, (2 * least_area) ** 0.5), generator)
        if len(surface.points) == before:
            break
    return Mesh(surface.points, surface.faces)


@torch.no_grad()
def followed(before: Mesh, after: Mesh, fixed: Mesh | None, cameras: OrthoCameras, reach: float) -> Mesh:
    """``after`` with the places that no camera sees moved as the seen surface near them moved since ``before``.

    Pictures do not move the inside of a shell, so a fit that moves its outside changes the shell's thickness; this undoes
    that (ours, not in the paper).  reach: scene units within which hidden places follow.  What lies close to ``fixed`` stays:
    there the inner layer says where it belongs.  Hidden places are smoothed besides: no picture speaks for their bumps.
    """
    both = spread(lambda mesh: _seen_faces(mesh, fixed, cameras), (before, after), cameras.c2w.device)
    (old_faces, _), (new_faces, seen) = both
    hidden = torch.nonzero(~seen).reshape(-1)
    if not len(hidden) or not len(old_faces) or not len(new_faces):
        return after
    points = after.vertices[hidden]
    move = carried(points, (before.vertices, old_faces), (after.vertices, new_faces), reach) - points
    if fixed is not None:
        distance = closest_point(points, fixed.vertices, fixed.faces).distance
        move = move * (1 - torch.exp(-((distance / _BELONGS) ** 2)))[:, None]
    moved = Mesh(after.vertices.index_put((hidden,), points + move), after.faces)
    moved = smoothed(moved, _SMOOTH_HIDDEN, False, only=~seen)
    return moved if fixed is None else _with_even_gap(moved, hidden, fixed)


def _with_even_gap(mesh: Mesh, hidden: Tensor, fixed: Mesh) -> Mesh:
    """Hidden places that face ``fixed`` from near take the mean gap of those around them: what lies on something lies evenly."""
    points = mesh.vertices[hidden]
    gap = signed_distance(points, fixed)
    found = closest_point(points, fixed.vertices, fixed.faces)
    around = vertex_normals(fixed.vertices, fixed.faces)[fixed.faces[found.face]]
    normal = torch.nn.functional.normalize((around * found.barycentric[..., None]).sum(1), dim=-1, eps=1e-12)
    facing = (vertex_normals(mesh.vertices, mesh.faces)[hidden] * normal).sum(-1) < -0.3
    near = facing & (gap.abs() < _BELONGS)
    if int(near.sum()) < 2:
        return mesh
    even = torch.from_numpy(neighbor_mean(points[near].cpu().double().numpy(), gap[near, None].cpu().double().numpy()))
    share = torch.exp(-((gap[near] / _BELONGS) ** 2))[:, None]  # near ones wholly, the farthest hardly
    goal = found.point[near] + normal[near] * even.to(points).clamp(min=0)
    place = points[near] + share * (goal - points[near])
    return Mesh(mesh.vertices.index_put((hidden[near],), place), mesh.faces)


def _seen_faces(mesh: Mesh, fixed: Mesh | None, cameras: OrthoCameras) -> tuple[Tensor, Tensor]:
    """(faces whose corners some camera sees [K, 3], seen [V])."""
    joined = mesh if fixed is None else merge([Mesh(mesh.vertices, mesh.faces), Mesh(fixed.vertices, fixed.faces)])
    fine = min(512, max(256, 2 * cameras.height))  # of what a fit to small pictures moves, no face is smaller
    seen = seen_vertices(joined.vertices, joined.faces, cameras, fine)[0].any(0)[: len(mesh.vertices)]
    return mesh.faces[seen[mesh.faces].all(1)], seen


@torch.no_grad()
def pushed_out(mesh: Mesh, inner: list[Mesh], margin: float) -> Mesh:
    """``mesh`` with every vertex that lies inside one of the closed ``inner`` meshes moved just out of it.

    margin: scene units above the inner surface.  Vertices inside by less than half of that are left alone.
    """
    points = mesh.vertices
    for _ in range(_ROUNDS):
        moved = False
        for other in inner:
            deep = depth_inside(points, other, margin / 2) > 0
            if not bool(deep.any()):
                continue
            moved = True
            index = torch.nonzero(deep).reshape(-1)
            found = closest_point(points[index], other.vertices, other.faces)
            around = vertex_normals(other.vertices, other.faces)[other.faces[found.face]]
            normal = torch.nn.functional.normalize((around * found.barycentric[..., None]).sum(1), dim=-1, eps=1e-12)
            points = points.index_put((index,), found.point + normal * margin)
        if not moved:
            break
    return Mesh(points, mesh.faces)
