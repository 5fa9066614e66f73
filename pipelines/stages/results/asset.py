"""The last step of every paper that lifts objects: a scene's surface becomes a textured mesh."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from ...core.mesh import Mesh
from ..loop.scene import Scene
from ..objects.surfaces import is_fixed
from .bake import bake_asset, bake_untouched
from .render_views import scene_albedo, scene_mesh


@dataclass(frozen=True)
class BakeSettings:
    """Export: faces kept, texture side in pixels, padding in pixels, samples per texel side."""

    faces: int = 50_000
    size: int = 2048
    padding: int = 8
    supersample: int = 2


def textured_mesh(scene: Scene, settings: BakeSettings = BakeSettings(), device: torch.device | str = "cpu") -> Mesh:
    """The scene's surface, decimated, unwrapped and baked; ready for ``io.glb.write_glb``.

    An imported mesh that is to stay untouched is baked as it is.
    """
    mesh = replace(scene_mesh(scene, device), vertex_colors=None)
    if is_fixed(scene):
        return bake_untouched(mesh, scene_albedo(scene, device), settings.size, settings.padding, settings.supersample)
    return bake_asset(
        mesh, scene_albedo(scene, device), settings.faces, settings.size, settings.padding, settings.supersample
    )
