"""Pictures of triangle meshes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from ..core.cameras import Cameras
from ..core.far import send
from ..core.mesh import Mesh
from ..core.ortho import OrthoCameras
from ..core.views import RenderBuffers
from ..ops.rasterize import Raster
from ..ops.rasterizers import WARP, Rasterizer
from ..ops.texture import sample_texture
from .shading import Shading

GRAY = 0.7  # sRGB of a mesh without any color
Albedo = Callable[[Tensor], Tensor]
Lighting = Shading | Callable[[Tensor, Tensor], Tensor]


def render_surface(
    mesh: Mesh,
    cameras: Cameras | OrthoCameras,
    albedo: Albedo | None = None,
    shading: Lighting | None = None,
    antialias: bool = True,
    supersample: int = 1,
    want_normal: bool = True,
    grad: bool = True,
    flat_normals: bool = False,
    rasterizer: Rasterizer = WARP,
) -> RenderBuffers:
    """Renders B views of a mesh; both sides of a face are drawn.

    albedo:      [N, 3] world points of the covered pixels -> [N, 3] sRGB; without it the texture is used, else the
                 vertex colors, else gray 0.7.
    shading:     a :class:`Shading` with one light per camera, or any (albedo [N, 3], unit world normals [N, 3]) ->
                 [N, 3] on the covered pixels; None for no light.
    antialias:   blends silhouettes; without it no gradient tells a vertex to move an outline.
    supersample: renders at that many times the size and averages.
    grad:        False records no graph, whatever the inputs require.
    flat_normals: face normals instead of interpolated vertex normals.
    rasterizer:  who turns triangles into pixels.
    An empty mesh gives empty pictures.
    """
    if supersample < 1:
        raise ValueError(f"supersample must be at least 1, got {supersample}")
    with torch.set_grad_enabled(grad and torch.is_grad_enabled()):
        large = cameras.resized(cameras.height * supersample, cameras.width * supersample)
        clip = project(mesh.vertices, large)
        raster = rasterizer.rasterize(clip, mesh.faces, large.height, large.width)
        if isinstance(large, OrthoCameras):  # clip w, which a raster calls depth, is 1 everywhere
            depth = rasterizer.interpolate(large.depth(mesh.vertices)[..., None], raster, mesh.faces)
            raster = replace(raster, depth=depth[..., 0])
        values = _Values(mesh, raster, rasterizer)
        layers = _layers(values, albedo, shading, want_normal, flat_normals)
        if antialias:
            layers = rasterizer.antialias(layers, raster, clip, mesh.faces)
        return _buffers(_pool(layers, supersample), want_normal)


def project(vertices: Tensor, cameras: Cameras | OrthoCameras) -> Tensor:
    """[B, V, 4] clip coordinates of [V, 3] world points; differentiable."""
    matrix = send(cameras.world_to_clip(), vertices).transpose(1, 2)
    return vertices @ matrix[:, :3] + matrix[:, 3:]


@dataclass(frozen=True)
class _Values:
    """A mesh's attributes at the pixels of a raster, [B, H, W, C] each, 0 where nothing is seen."""

    mesh: Mesh
    raster: Raster
    rasterizer: Rasterizer

    @cached_property
    def where(self) -> tuple[Tensor, ...]:
        """(view, row, column) of the covered pixels; looked for once, as it makes the host wait."""
        return self.raster.covered.nonzero(as_tuple=True)

    def at_vertices(self, values: Tensor) -> Tensor:
        return self.rasterizer.interpolate(values, self.raster, self.mesh.faces)

    def uv(self) -> Tensor:
        assert self.mesh.uvs is not None and self.mesh.face_uvs is not None  # a texture comes with both
        return self.rasterizer.interpolate(self.mesh.uvs, self.raster, self.mesh.face_uvs)

    def face_normal(self) -> Tensor:
        corners = torch.arange(len(self.mesh.faces), device=self.mesh.faces.device)[:, None].expand(-1, 3)
        return self.rasterizer.interpolate(self.mesh.face_normals(), self.raster, corners.contiguous())


def _layers(values: _Values, albedo, shading, want_normal: bool, flat: bool) -> Tensor:
    """[B, H, W, 5 or 8]: premultiplied color, alpha, depth and, when wanted, normal."""
    raster, mesh = values.raster, values.mesh
    lit = shading is not None and not (isinstance(shading, Shading) and not shading.needs_normal)
    need_normal = want_normal or lit
    paint = mesh.vertex_colors if albedo is None and mesh.texture is None else None
    if paint is not None and need_normal and not flat:  # one pass over the pixels for both
        color, normal = values.at_vertices(torch.cat([paint, mesh.vertex_normals()], 1)).split(3, dim=-1)
    else:
        color = values.at_vertices(paint) if paint is not None else _colors(values, albedo)
        normal = None
        if need_normal:
            normal = values.face_normal() if flat else values.at_vertices(mesh.vertex_normals())
    if normal is not None:
        normal = torch.nn.functional.normalize(normal, dim=-1, eps=1e-12)
    if shading is not None and lit and normal is not None:
        where = values.where
        color = torch.zeros_like(color).index_put(where, _shade(shading, color[where], normal[where], where[0]))
    parts = [color, raster.covered.to(color.dtype)[..., None], raster.depth[..., None]]
    return torch.cat(parts + [normal] if want_normal else parts, dim=-1)


def _shade(shading: Lighting, albedo: Tensor, normal: Tensor, image: Tensor) -> Tensor:
    return shading.apply(albedo, normal, image) if isinstance(shading, Shading) else shading(albedo, normal)


def _colors(values: _Values, albedo: Albedo | None) -> Tensor:
    """[B, H, W, 3] colors of a function, a texture or nothing, 0 where nothing is seen."""
    covered, mesh = values.raster.covered, values.mesh
    blank = torch.zeros(*covered.shape, 3, device=covered.device)
    if albedo is not None:
        where = values.where
        return blank.index_put(where, albedo(values.at_vertices(mesh.vertices)[where]).to(blank))
    if mesh.texture is None:
        return blank + covered[..., None] * GRAY
    return blank.index_put(values.where, sample_texture(mesh.texture, values.uv()[values.where]))


def _pool(layers: Tensor, factor: int) -> Tensor:
    """Means of factor x factor blocks."""
    if factor == 1:
        return layers
    views, height, width, channels = layers.shape
    blocks = layers.reshape(views, height // factor, factor, width // factor, factor * channels)
    return blocks.sum(2).reshape(views, height // factor, width // factor, factor, channels).sum(3) / factor**2


def _buffers(layers: Tensor, want_normal: bool) -> RenderBuffers:
    return RenderBuffers(
        rgb=layers[..., :3], alpha=layers[..., 3], depth=layers[..., 4], normal=layers[..., 5:] if want_normal else None
    )
