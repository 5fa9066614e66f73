"""Bakes what decimation took away: the normals of a fine surface, in the tangent frames of a coarse one."""

from __future__ import annotations

import torch
from torch import Tensor

from ...core.errors import InputError
from ...core.mesh import Mesh
from ...core.pulse import beat
from ...io.glb import split_corners, vertex_normals
from ...ops.closest import closest_point
from ...ops.tangents import frames, normalize, vertex_tangents
from ...render.normal_maps import vertex_normals as area_normals
from .bake import padded, surface_texels

CHUNK = 1 << 17
STEEPEST = 0.1  # smallest cosine to the coarse normal that a map can tell; what turns further is left flat


@torch.no_grad()
def bake_normal_map(mesh: Mesh, fine: Mesh, size: int = 1024, padding: int = 8, supersample: int = 2) -> Tensor:
    """[size, size, 3] (n + 1) / 2: the normals of ``fine`` in the tangent frames that glTF readers build on ``mesh``.

    mesh: with UVs; fine: the same object in the same place, as many faces as one likes.  Each texel takes the smooth normal
    of the nearest point of ``fine``; where that one looks away (the other side of a thin wall) it stays flat.
    A reader that interpolates ``mesh``'s normals and tangents gets the fine normal back, but for 8-bit rounding.
    Raises InputError when the mesh has no UVs or one of both has no faces.
    """
    if mesh.uvs is None or not len(mesh.faces) or not len(fine.faces):
        raise InputError("mesh", "two meshes with faces, the coarse one with texture coordinates", "less",
                         "Unwrap the mesh first.")
    coarse_normals, tangents, corner = _corner_frames(mesh)
    fine_normals = area_normals(fine.vertices, fine.faces, by_area=True)  # slivers of extracted surfaces say little
    total = torch.zeros(size * size, 3)
    done = torch.zeros(size * size, dtype=torch.bool)
    for index, (texel, face, weights) in enumerate(surface_texels(mesh, size, supersample)):
        done[texel] = True
        for start in range(0, len(texel), CHUNK):
            beat("baking normals", index, supersample**2)
            part = slice(start, start + CHUNK)
            points = _mix(mesh.vertices[mesh.faces], face[part], weights[part])
            frame = frames(_mix(coarse_normals[corner], face[part], weights[part]),
                           _mix(tangents[corner], face[part], weights[part]))
            near = closest_point(points, fine.vertices, fine.faces)
            wanted = normalize(_mix(fine_normals[fine.faces], near.face, near.barycentric), dim=-1)
            total[texel[part]] += _inside(frame, wanted)
    painted = done.reshape(size, size)
    flat = torch.tensor([0.0, 0.0, 1.0])
    total[~done] = flat
    filled = padded(normalize(total, dim=-1).reshape(size, size, 3), painted, padding)
    return (normalize(filled, dim=-1) + 1) / 2


def _corner_frames(mesh: Mesh) -> tuple[Tensor, Tensor, Tensor]:
    """(normals [N, 3], tangents [N, 4], rows of each face's corners [F, 3]) as ``io.glb`` writes them."""
    vertex, corner, uv = split_corners(mesh)
    assert uv is not None and mesh.uvs is not None  # it has UVs
    normals = vertex_normals(mesh)[vertex]
    return normals, vertex_tangents(mesh.vertices[vertex], corner, mesh.uvs[uv], normals), corner


def _mix(values: Tensor, face: Tensor, weights: Tensor) -> Tensor:
    """[N, C]: corner values [F, 3, C] at points given by face [N] and weights [N, 3]."""
    return (values[face] * weights[..., None]).sum(1)


def _inside(frame: Tensor, wanted: Tensor) -> Tensor:
    """[N, 3] unit vectors in the frames [N, 3, 3] (columns T, B, N, not quite at right angles) of world directions [N, 3]."""
    usable = torch.linalg.det(frame).abs() > 1e-3
    safe = torch.where(usable[:, None, None], frame, torch.eye(3))
    found = normalize(torch.linalg.solve(safe, wanted[..., None])[..., 0], dim=-1)
    keep = usable & ((frame[..., 2] * wanted).sum(-1) > STEEPEST) & (found[:, 2] > 0)
    return torch.where(keep[:, None], found, torch.tensor([0.0, 0.0, 1.0]))
