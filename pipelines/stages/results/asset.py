"""The last step of every paper that lifts objects: a scene's surface becomes a textured mesh."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ...core.mesh import Mesh
from ...io.decimate import Decimation
from ..loop.scene import Scene
from ..objects.surfaces import is_fixed
from .bake import bake, laid_out, laid_out_untouched, surface_points
from .normal_map import bake_normal_map
from .picture_texels import PictureTexels
from .render_views import scene_albedo, scene_mesh


@dataclass(frozen=True)
class BakeSettings:
    """Export: faces kept, texture side in pixels, padding in pixels, samples per texel side.

    decimation: "fast" or "fine" (``io.decimate``).
    picture: texels that the reference camera sees take the picture's own colors (``picture_texels``; ours).
    normals: also bakes the normals of the surface before it was decimated (``normal_map``; ours).
    """

    faces: int = 50_000
    size: int = 2048
    padding: int = 8
    supersample: int = 2
    picture: bool = False
    normals: bool = False
    decimation: Decimation = "fast"


@dataclass(frozen=True)
class PictureShare:
    """Texels of a texture: all that lie on the surface, those mostly from the picture, and those partly from it."""

    texels: int
    mostly: int
    partly: int

    def __str__(self) -> str:
        share = self.mostly / max(self.texels, 1)
        return (f"{self.mostly} of {self.texels} texels ({share:.0%}) come from the picture, another {self.partly} are "
                "blended with it.")


@dataclass(frozen=True)
class Asset:
    """mesh: textured.  share: what of its texture is the picture's.  normals: [size, size, 3] map in tangent space.

    share, normals: None where they were not asked for; normals also where nothing was decimated.
    """

    mesh: Mesh
    share: PictureShare | None = None
    normals: Tensor | None = None


def textured_mesh(scene: Scene, settings: BakeSettings = BakeSettings(), device: torch.device | str = "cpu") -> Mesh:
    """The scene's surface, decimated, unwrapped and baked; ready for ``io.glb.write_glb``.

    An imported mesh that is to stay untouched is baked as it is.
    """
    return finished_asset(scene, settings, device).mesh


def finished_asset(scene: Scene, settings: BakeSettings = BakeSettings(), device: torch.device | str = "cpu") -> Asset:
    """:func:`textured_mesh` with what else ``settings`` ask for."""
    fine, size = replace(scene_mesh(scene, device), vertex_colors=None), settings.size
    if is_fixed(scene):
        mesh = laid_out_untouched(fine, size, settings.padding)
    else:
        mesh = laid_out(fine, settings.faces, size, settings.padding, settings.decimation)
    albedo, share = scene_albedo(scene, device), None
    if settings.picture:
        front = PictureTexels(mesh, scene.reference)
        albedo, share = front.over(albedo), _share(front, mesh, size)
    normals = None
    if settings.normals and len(mesh.faces) < len(fine.faces):
        normals = bake_normal_map(mesh, fine, size, settings.padding, settings.supersample)
    return Asset(bake(mesh, albedo, size, settings.padding, settings.supersample), share, normals)


def _share(front: PictureTexels, mesh: Mesh, size: int) -> PictureShare:
    weights = torch.cat([front.weight(points) for _, points in surface_points(mesh, size, 1)])
    mostly, any_of_it = int((weights > 0.5).sum()), int((weights > 0).sum())
    return PictureShare(len(weights), mostly, any_of_it - mostly)
