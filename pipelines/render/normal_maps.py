"""Pictures of a surface's normals, and pictures brought back onto the surface (StdGEN, S-D.1, S-D.5, S-D.8)."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from ..core.ortho import OrthoCameras
from ..ops.interpolate import interpolate
from ..ops.rasterize import Raster, nearest_faces, rasterize
from ..ops.rasterizers import WARP
from .surface import project

LEAST_COSINE = 0.05  # a face turned further from the camera than this does not count as seen


def vertex_normals(points: Tensor, faces: Tensor, by_area: bool = False) -> Tensor:
    """[V, 3] unit normals, differentiable: the normalized sum of the unit normals of the faces around.

    by_area: faces count with their area (StdGEN's code), so that a vertex leans to its larger faces.
    """
    a, b, c = points[faces].unbind(1)
    normals = torch.linalg.cross(b - a, c - a)
    normals = normals if by_area else torch.nn.functional.normalize(normals, dim=-1, eps=1e-12)
    out = torch.zeros_like(points).index_add(0, faces.reshape(-1), normals.repeat_interleave(3, dim=0))
    return torch.nn.functional.normalize(out, dim=-1, eps=1e-12)


def orthographic_raster(points: Tensor, faces: Tensor, cameras: OrthoCameras) -> tuple[Raster, Tensor]:
    """(raster with true depths along each camera's axis, clip positions [B, V, 4])."""
    clip = project(points, cameras)
    raster = rasterize(clip, faces, cameras.height, cameras.width)
    with torch.no_grad():  # clip w is 1 everywhere; silhouettes ask who is nearer
        depth = interpolate((clip.detach()[..., 2:3] + 1).contiguous(), raster, faces)[..., 0]
    return replace(raster, depth=depth), clip


def render_attributes(points: Tensor, faces: Tensor, values: Tensor, cameras: OrthoCameras) -> Tensor:
    """[B, H, W, C + 1]: vertex values [V, C] and, last, coverage; black where nothing is; outlines blended.

    Differentiable with respect to ``points`` and ``values``.
    """
    raster, clip = orthographic_raster(points, faces, cameras)
    picture = torch.cat([interpolate(values, raster, faces), raster.covered[..., None].to(values.dtype)], dim=-1)
    return WARP.antialias(picture, raster, clip, faces)


def normal_colors(normals: Tensor) -> Tensor:
    """(n + 1) / 2 of unit normals in scene axes: what the six views show (S-D.1, in our frame without sign flips)."""
    return (normals + 1) / 2


def normal_target(normal: Tensor, alpha: Tensor) -> Tensor:
    """[B, H, W, 4] the picture :func:`render_attributes` should give: colored normals on black, and coverage."""
    alpha = alpha[..., None]
    return torch.cat([normal_colors(normal) * alpha, alpha], dim=-1)


@torch.no_grad()
def seen_vertices(points: Tensor, faces: Tensor, cameras: OrthoCameras, size: int = 512) -> tuple[Tensor, Tensor]:
    """(seen [B, V] bool, cosine [B, V] of the vertex normal to the camera).

    A vertex is seen when a face of it is the nearest at some pixel of a picture ``size`` high and faces the camera.
    """
    fine = cameras.resized(size, max(1, round(size * cameras.width / cameras.height)))
    triangle = nearest_faces(project(points.detach().float(), fine), faces, fine.height, fine.width)
    a, b, c = points.detach()[faces].unbind(1)
    unit = torch.nn.functional.normalize(torch.linalg.cross(b - a, c - a), dim=-1, eps=1e-12)
    backward = cameras.c2w[:, :3, 2].to(points)
    seen = torch.zeros(len(cameras), len(points), dtype=torch.bool, device=points.device)
    for view in range(len(cameras)):
        hit = torch.zeros(len(faces) + 1, dtype=torch.bool, device=points.device)
        hit[triangle[view].reshape(-1)] = True  # -1 marks the spare last entry
        hit = hit[:-1] & (unit @ backward[view] > LEAST_COSINE)
        seen[view, faces[hit].reshape(-1)] = True
    return seen, backward @ vertex_normals(points.detach(), faces).T


@torch.no_grad()
def sample_pictures(points: Tensor, pictures: Tensor, cameras: OrthoCameras) -> Tensor:
    """[B, V, C] bilinear samples of pictures [B, H, W, C] where each camera sees points [V, 3]; 0 outside."""
    clip = project(points.detach(), cameras)
    grid = torch.stack([clip[..., 0], -clip[..., 1]], dim=-1)[:, None]
    found = torch.nn.functional.grid_sample(pictures.permute(0, 3, 1, 2), grid, align_corners=False)
    return found[:, :, 0].transpose(1, 2)
