"""Textures for the layers of a character: unwrapped, then baked from what they wear, the six views and the picture (ours).

A texel begins with the color that its layer has there already (vertex colors, from which no view is needed).  Over it lie
the six views of the level that shows the layer outermost, and over those the A-pose picture at its full size, where the
layer is the outermost of all.  Each is laid on by a smooth map that is nothing at edges of depth, at the outline and at the
border to another layer, so that neither the background nor a neighbor's color gets in and no seam shows where one ends.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from ...core.character_views import CharacterViews
from ...core.errors import InputError, StopStage
from ...core.layers import LAYER_NAMES, LayeredMesh
from ...core.mesh import Mesh, merge
from ...core.ortho import OrthoCameras
from ...core.step import OnStep, Step, ignore_step
from ...ops.texture import sample_texture
from ...render.normal_maps import orthographic_raster, vertex_normals
from ...render.surface import project
from ..results.bake import bake, laid_out
from ..results.picture_texels import SOLID, PictureSettings, pooled, share_map
from .front_picture import FrontPicture
from .layer_clean import pushed_out
from .project_colors import ColorConfig, surface_colors
from .refine_layers import LEVEL_OF

NAME = "Texture layers"
LEAST_FACES = 100
ColorFn = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class TextureConfig:
    """size: side of each texture, pixels.  faces: triangles kept per layer, 0 = all.  padding: texels around every chart that
    repeat its rim.  supersample: sub-texels per side.  colors: the views' weights, by layer.  texels: how maps fade out.
    sides: pixels of the pictures in which surface and edges are looked at, at least and at most.  InputError for a few faces.
    """

    size: int = 1024
    faces: int = 20_000
    padding: int = 8
    supersample: int = 2
    colors: ColorConfig = field(default_factory=ColorConfig)
    texels: PictureSettings = field(default_factory=lambda: PictureSettings(feather=0.015))
    sides: tuple[int, int] = (512, 1024)

    def __post_init__(self):
        if 0 < self.faces < LEAST_FACES:
            raise InputError("face_budget", f"0 (all) or at least {LEAST_FACES}", str(self.faces), "No figure has so few.")


@dataclass(frozen=True)
class TexturedLayers:
    """layers: unwrapped, with textures and, for what knows none, the same colors at their vertices.

    seen: share of each layer's texels that some view or the picture changed.  notes: for people.
    """

    layers: LayeredMesh
    seen: dict[str, float]
    notes: tuple[str, ...]


@torch.no_grad()
def texture_layers(
    layers: LayeredMesh,
    views: CharacterViews | None = None,
    picture: FrontPicture | None = None,
    config: TextureConfig = TextureConfig(),
    on_step: OnStep = ignore_step,
    whole: bool = False,
) -> TexturedLayers:
    """Every layer with texture coordinates and a texture of its own.

    views:   six views of the levels that show the layers; None: their colors alone are baked.
    picture: the A-pose from the front (:func:`front_picture.front_picture`); needs nothing else.
    whole:   see ``RefinedLayers.whole``.
    on_step: hears of every layer; StopStage leaves the others as they came.
    Raises InputError for no layers and for views that lack a level.
    """
    if not len(layers):
        raise InputError("layers", "at least one layer with faces", "none", "Check the stage that made the layers.")
    views = views.whole() if views is not None and whole else views
    made, seen, notes = layers, {}, []
    for index, name in enumerate(layers):
        mesh = welded(laid_out(layers[name], config.faces or None, config.size, config.padding))
        inner = [made[n] for n in made.names[: made.names.index(name)]]
        if inner and len(mesh.faces) < len(layers[name].faces):  # fewer faces cut corners, through what lies inside them
            mesh = replace(mesh, vertices=pushed_out(mesh, inner, config.colors.tolerance / 2).vertices)
        sights = _sights(name, layers.replaced(name, mesh), views, picture, config)
        cover = _Over(surface_colors(layers[name]), sights)
        baked = bake(mesh, cover, config.size, config.padding, config.supersample)
        made = made.replaced(name, replace(baked, vertex_colors=cover(baked.vertices)))
        seen[name] = cover.share
        try:
            on_step(Step(NAME, index + 1, len(layers), {}, note=f"{name}: {cover.share:.0%} from views and picture"))
        except StopStage:
            notes.append(f"Stopped after the {name}.")
            break
    return TexturedLayers(made, seen, tuple(notes))


def welded(mesh: Mesh) -> Mesh:
    """The mesh with equal texture coordinates written once: where charts do not end, vertices are not split in files."""
    assert mesh.uvs is not None and mesh.face_uvs is not None  # it was unwrapped
    uvs, inverse = torch.unique(mesh.uvs, dim=0, return_inverse=True)
    return replace(mesh, uvs=uvs, face_uvs=inverse[mesh.face_uvs])


def untextured(layers: LayeredMesh) -> LayeredMesh:
    """The layers with vertex colors instead of textures."""
    return layers.map(lambda m: replace(m, uvs=None, face_uvs=None, texture=None) if m.vertex_colors is not None else m)


class _Over:
    """A color function: ``base`` with sights laid over it, the first below all others.  share: of the points asked for."""

    def __init__(self, base: ColorFn, sights: Sequence[tuple["Sight", ...]]):
        self.base, self.sights, self.asked, self.changed = base, sights, 0, 0

    def __call__(self, points: Tensor) -> Tensor:
        colors, any_of_it = self.base(points), torch.zeros(len(points), dtype=torch.bool, device=points.device)
        for together in self.sights:
            total, weight, most = torch.zeros_like(colors), colors.new_zeros(len(points), 1), colors.new_zeros(len(points), 1)
            for sight in together:
                found, share = sight.colors(points)
                total, weight = total + sight.weight * share * found, weight + sight.weight * share
                most = torch.maximum(most, share)
            blended = total / weight.clamp(min=1e-6)
            colors = torch.where(weight > 1e-6, colors + most * (blended - colors), colors)
            any_of_it |= most[:, 0] > 0.05
        self.asked, self.changed = self.asked + len(points), self.changed + int(any_of_it.sum())
        return colors.clamp(0, 1)

    @property
    def share(self) -> float:
        """Of all points so far, those that a sight changed."""
        return self.changed / max(self.asked, 1)


@dataclass(frozen=True)
class Sight:
    """One picture as it lies on the surface.

    picture: [H, W, 3]; camera: one orthographic camera whose window it fills.  map: [S, S] how much is taken; depth: [S, S] of
    the nearest surface, scene units; weight: against others that are laid on together.
    """

    picture: Tensor
    camera: OrthoCameras
    map: Tensor
    depth: Tensor
    tolerance: float
    weight: float

    def colors(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """(sRGB [N, 3], share [N, 1]) at surface points [N, 3]."""
        clip = project(points, self.camera)[0]
        uv, distance = torch.stack([clip[:, 0] / 2 + 0.5, 0.5 - clip[:, 1] / 2], -1), self.camera.depth(points)[0]
        height, width = self.depth.shape
        column, row = (uv[:, 0] * width).long().clamp(0, width - 1), (uv[:, 1] * height).long().clamp(0, height - 1)
        inside = ((uv > 0) & (uv < 1)).all(-1) & (distance <= self.depth[row, column] + self.tolerance)
        share = sample_texture(self.map[..., None], uv) * inside[:, None]
        return sample_texture(self.picture, uv), share


def _sights(name: str, layers: LayeredMesh, views: CharacterViews | None, picture: FrontPicture | None,
            config: TextureConfig) -> list[tuple[Sight, ...]]:
    """Views first, then the picture; each sees the layer in front of what lies inside it, the picture sees all."""
    found: list[tuple[Sight, ...]] = []
    if views is not None:
        try:
            level = views.level(LEVEL_OF[name])
        except ValueError as error:
            raise InputError("views", f"the peel level that shows the {name} outermost", ", ".join(views.levels),
                             "Make three levels of views, or leave the views out.") from error
        alpha = level.alpha[0]
        straight = ((level.color[0] - (1 - alpha[..., None])) / alpha[..., None].clamp(min=1e-3)).clamp(0, 1)
        weights = config.colors.hair_views if name == "hair" else config.colors.views
        inner = layers.select(LAYER_NAMES[: LAYER_NAMES.index(name) + 1])
        found.append(_looked(name, inner, views.cameras, straight, alpha, weights, config))
    if picture is not None:
        camera = picture.camera[0].to(layers[name].vertices.device)
        found.append(_looked(name, layers, camera, picture.rgb[None], picture.share[None], (1.0,), config))
    return found


def _looked(name: str, layers: LayeredMesh, cameras: OrthoCameras, pictures: Tensor, alpha: Tensor, weights: Sequence[float],
            config: TextureConfig) -> tuple[Sight, ...]:
    """The pictures [B, H, W, 3] that have a weight, with their maps; alpha: [B, H, W] where they count at all."""
    merged = merge([Mesh(layers[n].vertices, layers[n].faces) for n in layers])
    first = sum(len(layers[n].faces) for n in layers.names[: layers.names.index(name)])
    last, height = first + len(layers[name].faces), pictures.shape[1]
    size = min(max(config.sides[0], height), config.sides[1])
    normals, sights = vertex_normals(merged.vertices, merged.faces), []
    texels = replace(config.texels, edge=max(config.texels.edge, 1.0 / height))  # rims are mixtures one pixel wide
    for k, weight in enumerate(weights):
        if weight <= 0:
            continue
        camera = cameras[k].resized(size, round(size * pictures.shape[2] / height))
        raster, _ = orthographic_raster(merged.vertices, merged.faces, camera)
        triangle = raster.triangle[0]
        own = (triangle >= first) & (triangle < last)
        corners = merged.faces[triangle.clamp_min(0).long()]
        normal = (normals[corners] * raster.barycentric[0][..., None]).sum(-2)
        cosine = torch.nn.functional.normalize(normal, dim=-1, eps=1e-12) @ camera.c2w[0, :3, 2].to(normal) * own
        cover = torch.nn.functional.interpolate(alpha[k][None, None].float(), tuple(own.shape), mode="bilinear",
                                                align_corners=False)[0, 0]
        depth = (camera.depth(merged.vertices)[0][corners] * raster.barycentric[0]).sum(-1)
        depth = torch.where(raster.covered[0], depth, camera.far)
        share = share_map(own & (cover > SOLID), depth, cosine, texels, size)
        sights.append(Sight(pictures[k].float().contiguous(), camera, share * cover, pooled(depth), texels.tolerance,
                            float(weight)))
    return tuple(sights)
