"""The point of a triangle mesh nearest to each query point."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .kernels.launch import init_warp, launch

PIECE = 1 << 13  # points at once on the CPU: each descends a tree


@dataclass(frozen=True)
class Closest:
    """face: [N] int64, barycentric: [N, 3] weights of its corners, point: [N, 3], distance: [N] >= 0."""

    face: Tensor
    barycentric: Tensor
    point: Tensor
    distance: Tensor


@torch.no_grad()
def closest_point(points: Tensor, vertices: Tensor, faces: Tensor) -> Closest:
    """Exact nearest surface points of ``points`` [N, 3]; of equally near faces any one.  No gradients.

    ValueError for a mesh without faces and for non-finite coordinates.
    """
    if not len(faces):
        raise ValueError("closest_point needs at least one face")
    points, vertices = points.detach().float().contiguous(), vertices.detach().float().contiguous()
    if not bool(torch.isfinite(points).all() and torch.isfinite(vertices).all()):
        raise ValueError("closest_point needs finite coordinates")
    face = torch.full((len(points),), -1, dtype=torch.int32, device=points.device)
    weights = torch.zeros_like(points)
    if len(points):
        mesh, keep = _hierarchy(vertices, faces)
        reach = float((points.abs().max() + vertices.abs().max()) * 4 + 1)  # beyond any possible distance
        from .kernels.closest_kernels import nearest

        launch(nearest, len(points), [int(mesh.id), points, reach], [face, weights], points.device, split=64, piece=PIECE)
        del keep
    return _result(points, vertices, faces, face.long(), weights)


def closest_point_reference(points: Tensor, vertices: Tensor, faces: Tensor) -> Closest:
    """The specification: every point against every triangle (Ericson, "Real-time collision detection", 5.1.5)."""
    corners = vertices[faces]
    weights = torch.stack([_clamped_weights(points, c) for c in corners], dim=1)
    nearest = torch.einsum("nfk,fkd->nfd", weights, corners)
    face = (nearest - points[:, None]).norm(dim=-1).argmin(1)
    return _result(points, vertices, faces, face, weights[torch.arange(len(points)), face])


def _result(points: Tensor, vertices: Tensor, faces: Tensor, face: Tensor, weights: Tensor) -> Closest:
    nearest = (vertices[faces[face]] * weights[..., None]).sum(1)
    return Closest(face, weights, nearest, (nearest - points).norm(dim=-1))


def _hierarchy(vertices: Tensor, faces: Tensor):
    import warp as wp

    init_warp()
    keep = (vertices, faces.to(torch.int32).reshape(-1).contiguous())
    cuda = vertices.device.type == "cuda"
    stream = wp.stream_from_torch(torch.cuda.current_stream(vertices.device)) if cuda else None
    with wp.ScopedStream(stream):
        mesh = wp.Mesh(wp.from_torch(keep[0], dtype=wp.vec3), wp.from_torch(keep[1], dtype=wp.int32))
    return mesh, keep


def _clamped_weights(points: Tensor, corner: Tensor) -> Tensor:
    """[N, 3] weights of the nearest point of one triangle [3, 3]: inside, on an edge, or a corner."""
    options = [_plane_weights(points, corner)]
    for i, j in ((0, 1), (1, 2), (2, 0)):
        edge = corner[j] - corner[i]
        t = ((points - corner[i]) @ edge / (edge @ edge).clamp(min=1e-30)).clamp(0, 1)
        weights = torch.zeros(len(points), 3, dtype=points.dtype)
        weights[:, i], weights[:, j] = 1 - t, t
        options.append(weights)
    table = torch.stack(options)
    distance = (table @ corner - points).norm(dim=-1)
    distance[0][(table[0] < 0).any(-1)] = torch.inf  # the foot lies outside the triangle
    return table[distance.argmin(0), torch.arange(len(points))]


def _plane_weights(points: Tensor, corner: Tensor) -> Tensor:
    ab, ac = corner[1] - corner[0], corner[2] - corner[0]
    gram = torch.stack([torch.stack([ab @ ab, ab @ ac]), torch.stack([ab @ ac, ac @ ac])])
    right = torch.stack([(points - corner[0]) @ ab, (points - corner[0]) @ ac], dim=-1)
    if float(torch.linalg.det(gram)) < 1e-30:
        return torch.full((len(points), 3), -1.0, dtype=points.dtype)
    vw = torch.linalg.solve(gram, right.T).T
    return torch.cat([1 - vw.sum(-1, keepdim=True), vw], dim=-1)
