"""Pictures of toy characters: six views of every peel level, semantics, and the picture a person would give."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from ...core.cameras import Cameras
from ...core.character_views import LEVEL_NAMES, CharacterViews
from ...core.layers import LayeredMesh
from ...core.mesh import Mesh
from ...core.ortho import OrthoCameras, six_views
from ...ops.rasterize import rasterize
from ...render.surface import project
from ..render import render_toy
from .character import STREAM, ToyCharacter
from .field import SEMANTICS
from .skeleton import Pose

FRAME = 1.2  # of a picture's height over the figure's longest side, as canonicalization frames its input


def render_levels(
    character: ToyCharacter | LayeredMesh, size: int, levels=(0, 1, 2), supersample: int = 2
) -> CharacterViews:
    """Six orthographic views of the A-pose per peel level: colors on white, normals, alpha.

    character: or its layers, already meshed.  size: pixels.  levels: of 0 (complete), 1 (no hair), 2 (body only).
    supersample: samples per pixel side.
    """
    layers = character.layers if isinstance(character, ToyCharacter) else character
    cameras, drawn, seen = six_views(size), {}, []
    for level in levels:
        shown = layers.level(level)
        if shown.names not in drawn:  # a bald character looks the same on levels 0 and 1
            drawn[shown.names] = render_toy(shown.merged(), cameras, supersample)
        seen.append(drawn[shown.names])
    color = torch.stack([v.on_background(1.0) for v in seen]).clamp(0, 1)
    normal, alpha = (torch.stack([getattr(v, name) for v in seen]) for name in ("normal", "alpha"))
    return CharacterViews(color, normal, alpha, tuple(LEVEL_NAMES[i] for i in levels))


class KnowsFaces(Protocol):
    """What semantics ask of a character."""

    def is_face(self, points: Tensor) -> Tensor:
        """[N] bool: the body nearest to points [N, 3] is the head's."""
        ...


def render_semantics(
    field: KnowsFaces, layers: LayeredMesh, cameras: OrthoCameras | Cameras, levels=(0,)
) -> Tensor:
    """[L, B, H, W] int64 class of what is seen (index into ``field.SEMANTICS``), -1 where nothing is.

    layers: in the frame of ``field``.  levels: peel levels to draw.
    """
    classes, maps = {name: _face_classes(field, name, layers[name]) for name in layers}, []
    for level in levels:
        shown = layers.level(level)
        mesh, table = shown.merged(), torch.cat([classes[name] for name in shown])
        raster = rasterize(project(mesh.vertices, cameras), mesh.faces, cameras.height, cameras.width)
        maps.append(torch.where(raster.covered, table[raster.triangle.long().clamp_min(0)], -1))
    return torch.stack(maps)


def _face_classes(field: KnowsFaces, name: str, mesh: Mesh) -> Tensor:
    if name != "body":
        return torch.full((len(mesh.faces),), SEMANTICS.index(name))
    head = field.is_face(mesh.vertices)[mesh.faces[:, 0]]
    return torch.where(head, SEMANTICS.index("face"), SEMANTICS.index("body"))


def input_camera(seed: int, index: int, layers: LayeredMesh, size: int, wide: float = 1.0):
    """A camera near the front, orthographic or pinhole, that frames the posed figure as canonicalization frames its input.

    The figure is centered, and its outline's height (or its width over ``wide``, if that is more) is 1 / 1.2 of the
    picture's height.  Direction and kind follow from the character's ``seed`` and ``index``.
    """
    rng = np.random.Generator(np.random.PCG64([seed, STREAM, 2, index]))
    azimuth, elevation = float(rng.uniform(-0.3, 0.3)), float(rng.uniform(-0.12, 0.2))
    if rng.uniform() < 0.5:
        camera = OrthoCameras.orbit(azimuth, elevation, FRAME, size, round(size * wide))
    else:
        fovy = math.radians(float(rng.uniform(18, 32)))
        camera = Cameras.orbit(azimuth, elevation, FRAME / math.tan(fovy / 2), fovy, size, round(size * wide))
    vertices = layers.merged().vertices
    for _ in range(4):
        camera = _framed(camera, vertices)
    return camera


def _framed(camera: Cameras | OrthoCameras, vertices: Tensor) -> Cameras | OrthoCameras:
    """The camera moved so that the vertices' outline is centered and fills 1 / FRAME; a step of a quick iteration."""
    clip = project(vertices, camera)[0]
    seen = clip[:, :2] / clip[:, 3:]
    low, high = seen.amin(0), seen.amax(0)
    right, up, backward = camera.c2w[0, :3, :3].T
    flat = isinstance(camera, OrthoCameras)
    half = camera.half_height if flat else camera.radius * torch.tan(camera.fovy / 2)
    middle = (low + high) / 2 * half * torch.tensor([camera.width / camera.height, 1.0])
    grow = float((high - low).max()) / 2 * FRAME
    c2w = camera.c2w.clone()
    c2w[0, :3, 3] += right * middle[0] + up * middle[1]
    if flat:
        return replace(camera, c2w=c2w, half_height=camera.half_height * grow)
    c2w[0, :3, 3] += backward * camera.radius * (grow - 1)
    return replace(camera, c2w=c2w)


def input_picture(
    character: ToyCharacter, pose: Pose | int, size: int, wide: float = 1.0, layers: LayeredMesh | None = None
) -> Tensor:
    """[size, size * wide, 4] straight RGBA in [0, 1]: the character in an arbitrary pose, as a person would picture it.

    pose: or the index of one of the character's own; cameras differ from character to character (and pose to pose).
    layers: the posed layers, where they were meshed before.
    """
    index = pose if isinstance(pose, int) else 0
    layers = layers or character.posed(character.pose(pose) if isinstance(pose, int) else pose)
    return posed_picture(layers, character.seed, index, size, wide)


def posed_picture(layers: LayeredMesh, seed: int, index: int, size: int, wide: float = 1.0) -> Tensor:
    """[size, size * wide, 4] straight RGBA in [0, 1] of any layers, from :func:`input_camera`."""
    camera = input_camera(seed, index, layers, size, wide)
    seen = render_toy(layers.merged(), camera)
    return torch.cat([seen.rgb[0].clamp(0, 1), seen.alpha[0][..., None]], dim=-1)
