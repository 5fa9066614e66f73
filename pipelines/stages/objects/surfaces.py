"""The surface of a mesh scene, as tensors and back: a grid of tetrahedra or cubes, or a mesh that must not change."""

from __future__ import annotations

from dataclasses import replace

import torch

from ...core.errors import InputError
from ...core.mesh import Mesh
from ...fields.fixed_surface import FixedSurface
from ...fields.flexi_sdf import FlexiSdf
from ...fields.tet_sdf import TetSdf
from ..loop.scene import Scene, load_strict
from .fit_nerf import load_field

FIXED = "surface/vertices"  # the tensor whose presence says that the scene's surface is someone's mesh
CUBES = "flexi/sdf"  # the one of a surface on cubes
Surface = TetSdf | FlexiSdf | FixedSurface


def is_fixed(scene: Scene) -> bool:
    """Whether only the colors of the scene may change."""
    return FIXED in scene.tensors


def load_surface(scene: Scene, device: torch.device | str = "cpu") -> Surface:
    """The surface of a mesh scene with its color field."""
    if scene.kind != "mesh":
        raise InputError("scene", "a refined mesh", "a radiance field", "Run the mesh stage first.")
    color = load_field(scene, device)
    if is_fixed(scene):
        return FixedSurface(Mesh(**scene.part("surface")), color).to(device)
    own, kind, parts = ("flexi/", FlexiSdf, ("weights",)) if CUBES in scene.tensors else ("tet/", TetSdf, ())
    field = kind(scene.entry("tets"), scene.tensor(f"{own}scale"), color).to(device)
    state = {**{k: scene.tensor(f"{own}{k}") for k in ("sdf", "deform", "scale", *parts)}}
    state.update({f"color.{k}": v for k, v in scene.part("field").items()})
    load_strict(field, state, "mesh scene")
    return field


def pack_surface(surface: Surface) -> tuple[dict, dict]:
    """(tensors, meta) of a surface with its color field; inverse of :func:`load_surface`."""
    own = "surface/" if isinstance(surface, FixedSurface) else "flexi/" if isinstance(surface, FlexiSdf) else "tet/"
    state = surface.state_dict()
    tensors = {("field/" + k[6:] if k.startswith("color.") else own + k): v for k, v in state.items()}
    return tensors, {} if isinstance(surface, FixedSurface) else {"tets": surface.n}


def settings_for(config, scene: Scene):
    """The mesh stage's configuration as the scene's surface allows it.

    A fixed surface seldom has exactly the picture's outline, so its colors are compared inside the outline only,
    without its blended rim: otherwise the background would be painted onto the edges of the mesh.  Where the
    configuration compares whole pictures (no paper's rule for such a surface), the mean is over the outline: how strongly
    the picture paints must not depend on how small the mesh stands in it.
    InputError when its geometry is to change.
    """
    if not is_fixed(scene):
        return config
    if config.optimize != "texture":
        raise InputError(
            "what", "'texture', because this scene's surface is to stay untouched", repr(config.optimize),
            "Choose 'texture', or import the mesh with surface 'refinable'.",
        )
    over = config.rgb_over if config.rgb_inside else "mask"
    edge = "soft" if config.rgb_edge == "keep" else config.rgb_edge
    return replace(config, rgb_inside=True, rgb_edge=edge, rgb_over=over)
