"""How far one layer of a character reaches into another."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..core.mesh import Mesh
from ..core.pulse import beat
from ..core.threads import spread
from ..ops.antialias import edge_topology
from ..ops.closest import Closest, closest_point

_CHUNK = 1 << 17  # (point, face) pairs at once
_MOST_PAIRS = 100_000_000  # some ten seconds' work


@torch.no_grad()
def winding_numbers(points: Tensor, mesh: Mesh) -> Tensor:
    """[N] how often a mesh winds around points [N, 3]: 1 inside a closed outward mesh, 0 outside.

    The sum of the signed solid angles of all faces over 4 pi (van Oosterom and Strackee, 1983); O(N F).
    """
    a, b, c = mesh.vertices.detach().double()[mesh.faces].unbind(1)
    turns = torch.linalg.cross(a, b) + torch.linalg.cross(b, c) + torch.linalg.cross(c, a)
    volume = _plane(-turns, (a * torch.linalg.cross(b, c)).sum(-1))
    squared = [_plane(-2 * x, (x * x).sum(-1)) for x in (a, b, c)]
    products = [_plane(-(x + y), (x * y).sum(-1)) for x, y in ((a, b), (b, c), (c, a))]

    def wound(part: Tensor) -> Tensor:  # products of matrices: each pair costs little more than its roots and its angle
        beat()
        ones, far = torch.cat([part, torch.ones_like(part[:, :1])], -1), (part * part).sum(-1, keepdim=True)
        la, lb, lc = ((ones @ plane).add_(far).clamp_(min=0).sqrt_() for plane in squared)
        under = la * lb * lc
        for plane, length in zip(products, (lc, la, lb), strict=True):
            under.addcmul_((ones @ plane).add_(far), length)
        return torch.atan2(ones @ volume, under).sum(-1) / (2 * math.pi)

    parts = spread(wound, points.detach().double().split(max(1, _CHUNK // max(len(a), 1))), points.device)
    return torch.cat(parts).to(points.dtype) if parts else points.new_zeros(0)


def _plane(slope: Tensor, height: Tensor) -> Tensor:
    """[4, F]: what [N, 4] points with a 1 behind are multiplied by, for slope . point + height; slope: [F, 3], height: [F]."""
    return torch.cat([slope, height[:, None]], -1).T.contiguous()


@torch.no_grad()
def signed_distance(points: Tensor, mesh: Mesh) -> Tensor:
    """[N] scene units, negative inside: distance to a closed ``mesh`` without self-intersections.

    The sign is that of the angle-weighted normal at the nearest place, which is right on faces, edges and corners alike
    (Baerentzen and Aanaes, "Signed distance computation using the angle weighted pseudonormal", 2005).
    """
    mesh = mesh.detach()
    found = closest_point(points, mesh.vertices, mesh.faces)
    outside = ((points - found.point) * _pseudonormals(mesh, found)).sum(-1) >= 0
    return torch.where(outside, found.distance, -found.distance)


def _pseudonormals(mesh: Mesh, found: Closest) -> Tensor:
    """[N, 3] (not unit) normals by which to tell the side of a point."""
    beat()
    corners = mesh.vertices[mesh.faces]
    unit = torch.nn.functional.normalize(mesh.face_normals(), dim=-1, eps=1e-20)
    by_vertex = torch.zeros_like(mesh.vertices)
    for k in range(3):
        to_next, to_last = corners[:, (k + 1) % 3] - corners[:, k], corners[:, (k + 2) % 3] - corners[:, k]
        to_next, to_last = (torch.nn.functional.normalize(x, dim=-1, eps=1e-20) for x in (to_next, to_last))
        angle = torch.acos((to_next * to_last).sum(-1).clamp(-1, 1))
        by_vertex = by_vertex.index_add(0, mesh.faces[:, k], unit * angle[:, None])
    across = edge_topology(mesh.faces).neighbor.long()[found.face]  # beyond the edges 0-1, 1-2, 2-0
    out, zero = unit[found.face].clone(), found.barycentric < 1e-5
    for k in range(3):  # corner k has no weight: the place lies on the edge from k + 1 to k + 2
        beyond = across[:, (k + 1) % 3]
        on_edge = (zero.sum(1) == 1) & zero[:, k] & (beyond >= 0)
        out[on_edge] += unit[beyond[on_edge]]
    for k in range(3):
        at_corner = (zero.sum(1) == 2) & ~zero[:, k]
        out[at_corner] = by_vertex[mesh.faces[found.face[at_corner], k]]
    return out


@torch.no_grad()
def depth_inside(points: Tensor, mesh: Mesh, least: float = 0.0) -> Tensor:
    """[N] scene units: how deep points lie inside a closed ``mesh``; 0 outside and where it is at most ``least``.

    Points that seem inside are asked again by :func:`winding_numbers`, because folds of a mesh mislead the sign.
    """
    if not len(points) or not len(mesh.faces):
        return points.new_zeros(len(points))
    depth = -signed_distance(points, mesh)
    index = torch.nonzero(depth > least).reshape(-1)
    if len(index) * len(mesh.faces) <= _MOST_PAIRS:
        index = index[winding_numbers(points[index], mesh) > 0.5]
    return torch.zeros_like(depth).index_put((index,), depth[index].clamp(min=0))


def penetration(outer: Mesh, inner: Mesh, least: float = 0.0) -> dict:
    """{"deepest": scene units, "share": of the outer mesh's vertices inside the inner one by more than ``least``}."""
    depth = depth_inside(outer.vertices.detach(), inner.detach(), least)
    if not len(depth):
        return {"deepest": 0.0, "share": 0.0}
    return {"deepest": float(depth.max()), "share": float((depth > least).float().mean())}
