"""Six colored views onto the layers of a character: vertex colors, with hidden places filled in (StdGEN, S-D.8)."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from ...core.character_views import CharacterViews
from ...core.errors import InputError, StopStage
from ...core.layers import LAYER_NAMES, LayeredMesh
from ...core.mesh import Mesh, merge
from ...core.step import OnStep, Step, ignore_step
from ...core.threads import aside
from ...io.decimate import Decimation
from ...ops.closest import closest_point
from ...ops.mesh_edges import mesh_edges
from ...ops.rasterize import nearest_faces
from ...ops.remesh import Surface, subdivide
from ...ops.texture import sample_texture
from ...render.surface import project
from ..results.bake import bake_asset
from .layer_clean import pushed_out
from .layer_fit import blend_seen, seen_from
from .layer_masks import layer_mask
from .refine_layers import LEVEL_OF

_RINGS = 3  # edges around a vertex whose color is sure, within which its neighbors take it over
GRAY = 0.7  # sRGB of a layer that no view shows and that came without colors


@dataclass(frozen=True)
class ColorConfig:
    """How pictures become colors; defaults are those of the released code.

    subdivide:    times that every face is cut in four first, so that vertices carry the pictures' detail.
    most_vertices: a layer that would exceed it is not cut further.
    views, hair_views: weights of the six views for body and clothing, and for hair.
    power:        exponent of the cosine between surface and view in a view's weight.
    least:        total weight from which a vertex counts as seen.
    tolerance:    scene units that vertices made by cutting may lie inside inner layers; deeper ones are moved out; 0 = any.
    masked:       layers that take from the front view only what their mask shows.
    """

    subdivide: int = 1
    most_vertices: int = 400_000
    views: tuple[float, ...] = (2.0, 0.5, 0.0, 1.0, 0.0, 0.5)
    hair_views: tuple[float, ...] = (2.0, 0.0, 0.5, 1.0, 0.5, 0.0)
    power: float = 2.0
    least: float = 0.2
    tolerance: float = 0.005
    masked: tuple[str, ...] = ("hair",)


@dataclass(frozen=True)
class ColoredLayers:
    """layers: with vertex colors.  seen: share of each layer's vertices that some view shows.  notes: for people."""

    layers: LayeredMesh
    seen: dict
    notes: tuple[str, ...]


def project_colors(
    layers: LayeredMesh,
    views: CharacterViews,
    config: ColorConfig = ColorConfig(),
    on_step: OnStep = ignore_step,
    only: tuple[str, ...] | None = None,
    whole: bool = False,
) -> ColoredLayers:
    """``layers`` with the colors of the views; each layer takes those of the level that shows it outermost.

    A vertex takes the mean of the views that see it (nothing of this layer or an inner one in front of it), weighted by
    view, cosine and coverage; the others take their neighbors' colors, inwards from the seen ones.  Pixels where the layer
    meets another or the background are mixtures and count only where nothing better is near (ours).
    only: names of the layers to paint, the others keep what they have; None = all.
    whole: the layer "body" is a figure in one piece, which the complete character's level shows.
    on_step: hears of every layer; StopStage leaves the others with the colors they had.
    Raises InputError for no layers and for a missing level.
    """
    if not len(layers):
        raise InputError("layers", "at least one layer with faces", "none", "Check the stage that made the layers.")
    views = views.whole() if whole else views
    out, seen, notes = layers, {}, []
    names = [n for n in layers if only is None or n in only]
    paint = partial(_color_layer, layers=layers, views=views, config=config)
    with ExitStack() as stack:
        begun = {name: stack.enter_context(aside(partial(paint, name), views.color.device))
                 for name in names[:0:-1]}  # from the end: so nobody waits
        for index, name in enumerate(names):
            colored, share = begun[name]() if index else paint(name)
            out, seen[name] = out.replaced(name, colored), share
            if share == 0:
                notes.append(f"{name}: no view shows it; it keeps the colors it came with, or gray.")
            try:
                on_step(Step("Project colors", index + 1, len(names), {}, note=f"{name}: {share:.0%} of the vertices seen"))
            except StopStage:
                notes.append(f"Stopped after the {name}.")
                break
    return ColoredLayers(out, seen, tuple(notes))


def bake_layers(
    layers: LayeredMesh, size: int = 1024, face_budget: int | None = 20_000, supersample: int = 2,
    decimation: Decimation = "fast",
) -> LayeredMesh:
    """Every layer decimated, unwrapped and with a texture of its vertex colors (see ``stages.bake.bake_asset``).

    One that has a texture keeps it.
    """
    return layers.map(lambda mesh: mesh if mesh.texture is not None else bake_asset(
        mesh, surface_colors(mesh), face_budget, size, supersample=supersample, decimation=decimation))


def surface_colors(mesh: Mesh):
    """A color function: [N, 3] points -> [N, 3] sRGB of the nearest place of ``mesh``: texture, vertex colors, or gray."""
    if mesh.texture is not None:
        return _textured(mesh, mesh.texture)
    vertex_colors = mesh.vertex_colors
    if vertex_colors is None:
        return lambda points: torch.full_like(points, GRAY)

    def colors(points: Tensor) -> Tensor:
        found = closest_point(points, mesh.vertices, mesh.faces)
        return (vertex_colors[mesh.faces[found.face]] * found.barycentric[..., None]).sum(1)

    return colors


def _textured(mesh: Mesh, texture: Tensor):
    assert mesh.uvs is not None and mesh.face_uvs is not None  # a texture comes with both
    uvs, face_uvs = mesh.uvs, mesh.face_uvs

    def colors(points: Tensor) -> Tensor:
        found = closest_point(points, mesh.vertices, mesh.faces)
        uv = (uvs[face_uvs[found.face]] * found.barycentric[..., None]).sum(1)
        return sample_texture(texture, uv % 1.0)

    return colors


def _color_layer(name: str, layers: LayeredMesh, views: CharacterViews, config: ColorConfig) -> tuple[Mesh, float]:
    inner = [layers[n].detach() for n in layers.names[: layers.names.index(name)]]
    mesh = _finer(layers[name].detach(), config)
    if config.subdivide and inner and config.tolerance > 0:
        # a face may have cut through an inner layer between its corners: its new vertices show that
        mesh = replace(mesh, vertices=pushed_out(mesh, inner, config.tolerance / 2).vertices)
    level = _level(views, name)
    alpha = _eroded(level.alpha[0])
    if name in config.masked:
        upto = layers.select(LAYER_NAMES[: LAYER_NAMES.index(name) + 1])
        mask = layer_mask(upto, name, views, LEVEL_OF[name])
        if mask is not None:
            alpha = torch.where(mask.known[:, None, None], alpha * _eroded(mask.mask.to(alpha)), alpha)
    whole = merge([mesh, *(Mesh(m.vertices, m.faces) for m in inner)])
    weights = config.hair_views if name == "hair" else config.views
    pictures, count = _straight(level.color[0], level.alpha[0]), len(mesh.vertices)

    sight = seen_from(whole.vertices, whole.faces, views.cameras)

    def blended(coverage: Tensor) -> tuple[Tensor, Tensor]:
        found, weight = blend_seen(whole.vertices, sight, pictures, coverage, views.cameras, weights, config.power)
        return found[:count], weight[:count] > config.least

    sure, known = blended(alpha * _eroded(_own_pixels(whole, len(mesh.faces), views).to(alpha)))
    likely, seen = blended(alpha)
    ends = mesh_edges(mesh.faces, count).ends
    likely_only = seen & ~_grown(known, ends, _RINGS)  # thinner than an outline's blur: no sure vertex anywhere near
    base = torch.full_like(mesh.vertices, GRAY) if mesh.vertex_colors is None else mesh.vertex_colors
    colors = torch.where(known[:, None], sure, torch.where(likely_only[:, None], likely, base)).clamp(0, 1)
    if bool((known | likely_only).any()):
        colors = completed(colors, known | likely_only, mesh.vertices, ends)
    return replace(mesh, vertex_colors=colors, uvs=None, face_uvs=None, texture=None), float(seen.float().mean())


def _own_pixels(whole: Mesh, own_faces: int, views: CharacterViews) -> Tensor:
    """[6, H, W] bool: the nearest of ``whole`` is one of its first ``own_faces`` faces."""
    cameras = views.cameras
    triangle = nearest_faces(project(whole.vertices, cameras), whole.faces, cameras.height, cameras.width)
    return (triangle >= 0) & (triangle < own_faces)


def _grown(known: Tensor, ends: Tensor, rings: int) -> Tensor:
    """``known`` [V] and the vertices within so many edges ``ends`` [E, 2] of it."""
    a, b = ends.unbind(-1)
    for _ in range(rings):
        reached = known.clone()
        reached[b[known[a]]] = True
        reached[a[known[b]]] = True
        known = reached
    return known


def _level(views: CharacterViews, name: str) -> CharacterViews:
    try:
        return views.level(LEVEL_OF[name])
    except ValueError as error:
        raise InputError("views", f"the peel level that shows the {name} outermost", ", ".join(views.levels),
                         "Make three levels of views.") from error


def _finer(mesh: Mesh, config: ColorConfig) -> Mesh:
    colors = mesh.vertex_colors
    values = mesh.vertices[:, :0] if colors is None else colors
    surface = Surface(mesh.vertices, mesh.faces, mesh.vertices[:, 0], values)
    for _ in range(config.subdivide):
        if 4 * len(surface.points) > config.most_vertices:
            break
        surface = subdivide(surface)
    return Mesh(surface.points, surface.faces, None if colors is None else surface.values)


def _eroded(alpha: Tensor) -> Tensor:
    """Coverage [B, H, W] less one pixel all round: pixels at an outline are mixed with the background."""
    return -torch.nn.functional.max_pool2d(-alpha[:, None], 3, 1, 1)[:, 0]


def _straight(color: Tensor, alpha: Tensor) -> Tensor:
    """Colors on white [B, H, W, 3] without the white."""
    alpha = alpha[..., None]
    return ((color - (1 - alpha)) / alpha.clamp(min=1e-3)).clamp(0, 1)


@torch.no_grad()
def completed(colors: Tensor, known: Tensor, points: Tensor, ends: Tensor) -> Tensor:
    """[V, 3] colors in which vertices that are not ``known`` [V] took the mean of their colored neighbors.

    points: [V, 3], and ends: [E, 2] which of them edges join.
    Coverage grows ring by ring; as many rounds again smooth what was filled.  Parts without any known vertex take the
    color of the nearest known one.
    """
    target, source = torch.cat([ends, ends.flip(-1)]).unbind(-1)
    asked = ~known[target]  # what is known stays, and most vertices are
    unknown, row = torch.nonzero(~known).reshape(-1), torch.cumsum(~known, 0) - 1
    source, row = source[asked], row[target[asked]]
    values = torch.cat([colors, torch.ones_like(colors[:, :1])], -1) * known[:, None]  # colors, and whether there are any

    def mean() -> Tensor:
        total = values.new_zeros(len(unknown), 4).index_add(0, row, values[source])
        return total / total[:, 3:].clamp(min=1)

    rounds = 0
    while True:
        before, value = values[unknown], mean()
        fresh = (value[:, 3] > 0) & (before[:, 3] == 0)
        if not bool(fresh.any()):
            break
        values[unknown], rounds = torch.where(fresh[:, None], value, before), rounds + 1
    for _ in range(rounds):
        value = mean()
        values[unknown] = torch.where(value[:, 3:] > 0, value, values[unknown])
    colors, filled = values[:, :3].contiguous(), values[:, 3] > 0
    if not bool(filled.all()):
        from scipy.spatial import KDTree

        tree = KDTree(points[known].cpu().numpy())
        index = torch.from_numpy(tree.query(points[~filled].cpu().numpy())[1]).to(colors.device)
        colors[~filled] = colors[known][index]
    return colors
