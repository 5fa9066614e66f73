"""Tangent frames along texture coordinates, as glTF 2.0 (section 3.7.2.1) stores and readers rebuild them.

A reader interpolates a vertex's normal N and tangent T over the face, normalizes both, and takes B = w cross(N, T).
T points where u grows and B to the top of the picture, against v, which grows downwards.
"""

from __future__ import annotations

import torch
from torch import Tensor

normalize = torch.nn.functional.normalize
_TINY = 1e-12


def vertex_tangents(points: Tensor, faces: Tensor, uvs: Tensor, normals: Tensor) -> Tensor:
    """[N, 4] float32: unit tangents at right angles to the normals, and handedness w, 1 or -1.

    points, normals: [N, 3]; uvs: [N, 2] (v down); faces: [F, 3] int64; one row per pair of vertex and texture coordinate.
    The tangent is the direction in which u grows, B = w cross(N, T) the one in which v shrinks (up in the picture).
    Where the coordinates say nothing, any tangent of the surface stands.
    """
    corners, coordinates = points.double()[faces], uvs.double()[faces]
    first, second = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    (u1, v1), (u2, v2) = (coordinates[:, 1] - coordinates[:, 0]).unbind(-1), (coordinates[:, 2] - coordinates[:, 0]).unbind(-1)
    area = u1 * v2 - u2 * v1
    turned = area.sign()[:, None]
    along = normalize((first * v2[:, None] - second * v1[:, None]) * turned, dim=-1, eps=_TINY)
    upwards = normalize((first * u2[:, None] - second * u1[:, None]) * turned, dim=-1, eps=_TINY)
    tangent, bitangent = (_gathered(x, faces, len(points)) for x in (along, upwards))
    normals = normalize(normals.double(), dim=-1, eps=_TINY)
    tangent = normalize(tangent - normals * (normals * tangent).sum(-1, keepdim=True), dim=-1, eps=_TINY)
    lost = tangent.norm(dim=-1) < 0.5
    tangent[lost] = _any_tangent(normals[lost])
    w = torch.where((torch.linalg.cross(normals, tangent) * bitangent).sum(-1) < 0, -1.0, 1.0)
    return torch.cat([tangent, w[:, None]], dim=-1).float()


def frames(normals: Tensor, tangents: Tensor) -> Tensor:
    """[N, 3, 3] float32, columns T, B, N as a reader builds them from interpolated normals [N, 3] and tangents [N, 4]."""
    normal, tangent = normalize(normals, dim=-1, eps=_TINY), normalize(tangents[:, :3], dim=-1, eps=_TINY)
    return torch.stack([tangent, torch.linalg.cross(normal, tangent) * tangents[:, 3:].sign(), normal], dim=-1)


def _gathered(values: Tensor, faces: Tensor, count: int) -> Tensor:
    """[count, 3] sums of the faces' values [F, 3] at their corners."""
    total = values.new_zeros(count, 3)
    return total.index_add(0, faces.reshape(-1), values.repeat_interleave(3, dim=0))


def _any_tangent(normals: Tensor) -> Tensor:
    axis = torch.zeros_like(normals).scatter(1, normals.abs().argmin(-1, keepdim=True), 1.0)
    return normalize(torch.linalg.cross(normals, axis), dim=-1)
