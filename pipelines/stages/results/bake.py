"""Paints a texture from a color function by visiting every texel's point on the surface."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import torch
from torch import Tensor

from ...core.errors import InputError
from ...core.mesh import Mesh
from ...core.pulse import beat
from ...io.clean import drop_small_parts
from ...io.decimate import Decimation
from ...io.unwrap import unwrap
from ...ops.rasterize import rasterize

ColorFn = Callable[[Tensor], Tensor]
CHUNK = 1 << 17


def bake_asset(
    mesh: Mesh,
    albedo: ColorFn,
    face_budget: int | None = 20_000,
    size: int = 1024,
    padding: int = 8,
    supersample: int = 2,
    decimation: Decimation = "fast",
) -> Mesh:
    """Drops crumbs, decimates, unwraps and bakes: a mesh ready for :func:`write_glb`.

    See :func:`drop_small_parts`, :func:`decimate`, :func:`unwrap` and :func:`bake`.
    """
    return bake(laid_out(mesh, face_budget, size, padding, decimation), albedo, size, padding, supersample)


def laid_out(mesh: Mesh, face_budget: int | None = 20_000, size: int = 1024, padding: int = 8,
             decimation: Decimation = "fast") -> Mesh:
    """The mesh of :func:`bake_asset` before it is painted: without crumbs, decimated, unwrapped."""
    return unwrap(drop_small_parts(mesh.detach()), face_budget, size, _gutter(size, padding), decimation=decimation)


def laid_out_untouched(mesh: Mesh, size: int = 1024, padding: int = 8) -> Mesh:
    """As :func:`laid_out`, for a mesh whose vertices and faces must stay: its own UVs serve where it has any."""
    return unwrap(mesh.detach(), None, size, _gutter(size, padding)) if mesh.uvs is None else mesh


def _gutter(size: int, padding: int) -> int:
    return max(2, min(padding // 2, size // 64))


@torch.no_grad()
def bake(mesh: Mesh, albedo: ColorFn, size: int = 1024, padding: int = 8, supersample: int = 2) -> Mesh:
    """``mesh`` with a [size, size, 3] texture of ``albedo`` ([N, 3] scene points -> [N, 3] sRGB in [0, 1]).

    supersample: sub-texels per side, each colored at its own surface point and averaged.
    padding: texels around every chart that repeat the nearest painted texel, so that bilinear lookups and the first
             mip levels find no foreign color; further out lies the mean color.
    Raises InputError when the mesh has no UVs.
    """
    if mesh.uvs is None:
        raise InputError("mesh", "texture coordinates", "a mesh without UVs", "Unwrap the mesh first.")
    if size < 1 or supersample < 1 or padding < 0:
        raise ValueError(f"size {size}, supersample {supersample} and padding {padding} must be positive")
    total = torch.zeros(size * size, 3, device=mesh.vertices.device)
    count = torch.zeros(size * size, 1, device=mesh.vertices.device)
    for index, (texel, points) in enumerate(surface_points(mesh, size, supersample)):
        parts = points.split(CHUNK)
        found = []
        for k, x in enumerate(parts):
            beat("baking", index * len(parts) + k, supersample**2 * len(parts))
            found.append(albedo(x).to(total).clamp(0, 1))
        total[texel] += torch.cat(found)
        count[texel] += 1
    painted = (count > 0).reshape(size, size)
    texture = (total / count.clamp(min=1)).reshape(size, size, 3)
    return replace(mesh, texture=_pad(texture, painted, padding), vertex_colors=None)


def surface_points(mesh: Mesh, size: int, supersample: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Covered texels [N] and their scene points [N, 3], once per sub-texel (no texel twice in one piece)."""
    fine = size * supersample
    assert mesh.uvs is not None and mesh.face_uvs is not None  # it was unwrapped
    u, v = mesh.uvs.float().unbind(-1)
    clip = torch.stack([2 * u - 1, 1 - 2 * v, torch.zeros_like(u), torch.ones_like(u)], dim=-1)  # row 0 at v = 0
    raster = rasterize(clip[None], mesh.face_uvs, fine, fine)
    for row in range(supersample):
        for column in range(supersample):
            triangle = raster.triangle[0, row::supersample, column::supersample].reshape(-1)
            weights = raster.barycentric[0, row::supersample, column::supersample].reshape(-1, 3)
            texel = torch.nonzero(triangle >= 0).reshape(-1)
            corners = mesh.faces[triangle[texel].long()]
            yield texel, (mesh.vertices[corners] * weights[texel][..., None]).sum(1)


def _pad(texture: Tensor, painted: Tensor, padding: int) -> Tensor:
    from scipy.ndimage import distance_transform_edt

    if not bool(painted.any()):
        raise InputError("mesh", "UVs that cover at least one texel", "none", "Unwrap the mesh or enlarge the texture.")
    mean = texture[painted].mean(0)
    found = distance_transform_edt(~painted.cpu().numpy(), return_indices=True)
    assert isinstance(found, tuple)  # distances and indices: both were asked for
    distance, (row, column) = found
    row, column = (torch.from_numpy(i).long().to(texture.device) for i in (row, column))
    close = torch.from_numpy(distance <= padding).to(texture.device)
    return torch.where(close[..., None], texture[row, column], mean)
