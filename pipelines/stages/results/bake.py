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
from ...ops.rasterize import PictureRows, rasterize
from ...ops.texels import add_colors, fill_around

ColorFn = Callable[[Tensor], Tensor]
CHUNK = 1 << 17
SAMPLES = 1 << 22  # of one band of a texture: what a bake holds at once beside the texture itself


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
    device = mesh.vertices.device
    texture = torch.zeros(size, size, 3, device=device)
    painted = torch.zeros(size, size, dtype=torch.bool, device=device)
    for first, end in _bands(size, supersample):
        total, seen = torch.zeros((end - first) * size, 3, device=device), _band(mesh, size, supersample, (first, end))
        for index, (texel, points) in enumerate(_samples(mesh, seen, supersample)):
            part = index / supersample**2 * (end - first)
            for where, x in zip(texel.split(CHUNK), points.split(CHUNK)):
                beat("baking", first + int(part), size)
                add_colors(total, where, albedo(x))
        count = seen[0].covered.reshape(-1, supersample, size, supersample).sum(3, dtype=torch.int16).sum(1).float()
        painted[first:end] = count > 0
        texture[first:end] = total.reshape(-1, size, 3) / count.clamp(min=1)[..., None]
    return replace(mesh, texture=padded(texture, painted, padding), vertex_colors=None)


def surface_points(mesh: Mesh, size: int, supersample: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Covered texels [N] and their scene points [N, 3], band by band, once per sub-texel (no texel twice in one piece)."""
    for band in _bands(size, supersample):
        for texel, points in _samples(mesh, _band(mesh, size, supersample, band), supersample):
            yield texel + band[0] * size, points


def _bands(size: int, supersample: int) -> list[tuple[int, int]]:
    """(first, end) rows of texels that are looked at together: one band up to 1024 texels of four samples."""
    rows = max(1, SAMPLES // (size * supersample**2))
    return [(first, min(first + rows, size)) for first in range(0, size, rows)]


def _band(mesh: Mesh, size: int, supersample: int, band: tuple[int, int]) -> tuple[PictureRows, Tensor]:
    """(what the sub-texels of a band see, corners [F', 3] of the faces that reach into it)."""
    fine, rows = size * supersample, (band[0] * supersample, band[1] * supersample)
    assert mesh.uvs is not None and mesh.face_uvs is not None  # it was unwrapped
    u, v = mesh.uvs.float().unbind(-1)
    height = v[mesh.face_uvs] * fine
    near = ~((height.amax(-1) < rows[0] - 1) | (height.amin(-1) > rows[1] + 1))  # in order, so that ties fall as they do at once
    clip = torch.stack([2 * u - 1, 1 - 2 * v, torch.zeros_like(u), torch.ones_like(u)], dim=-1)  # row 0 at v = 0
    return PictureRows(clip, mesh.face_uvs[near], rows, fine, fine), mesh.faces[near]


def _samples(mesh: Mesh, band: tuple[PictureRows, Tensor], supersample: int) -> Iterator[tuple[Tensor, Tensor]]:
    """(texel within the band [N], point [N, 3]), once per sub-texel."""
    seen, corners = band
    covered = seen.covered
    for row in range(supersample):
        for column in range(supersample):
            texel = torch.nonzero(covered[row::supersample, column::supersample].reshape(-1)).reshape(-1)
            yield texel, seen.points(texel, supersample, (row, column), mesh.vertices, corners)


def surface_texels(mesh: Mesh, size: int, supersample: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Covered texels [N], their faces [N] and the weights of the corners [N, 3], once per sub-texel; of the whole texture."""
    assert mesh.uvs is not None and mesh.face_uvs is not None  # it was unwrapped
    fine = size * supersample
    u, v = mesh.uvs.float().unbind(-1)
    clip = torch.stack([2 * u - 1, 1 - 2 * v, torch.zeros_like(u), torch.ones_like(u)], dim=-1)  # row 0 at v = 0
    raster = rasterize(clip[None], mesh.face_uvs, fine, fine)
    for row in range(supersample):
        for column in range(supersample):
            triangle = raster.triangle[0, row::supersample, column::supersample].reshape(-1)
            weights = raster.barycentric[0, row::supersample, column::supersample].reshape(-1, 3)
            texel = torch.nonzero(triangle >= 0).reshape(-1)
            yield texel, triangle[texel].long(), weights[texel]


def padded(texture: Tensor, painted: Tensor, padding: int) -> Tensor:
    """``texture`` [H, W, 3], changed in place: what is not ``painted`` [H, W] takes its nearest painted texel or the mean.

    padding: texels within which the nearest counts.  InputError where nothing is painted.
    """
    if not bool(painted.any()):
        raise InputError("mesh", "UVs that cover at least one texel", "none", "Unwrap the mesh or enlarge the texture.")
    fill_around(texture, painted, padding, texture[painted].mean(0))
    return texture
