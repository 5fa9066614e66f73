"""Thin parts of the picture at the start of the mesh stage.

A radiance field can show a cable or a leg that is thinner than a tetrahedron; sampled on the grid's
vertices it falls between them and is gone before the mesh stage begins, and silhouette gradients
cannot bring back what has no silhouette.  Here every pixel of the reference that the field covers and
the initial surface does not gets one grid vertex inside the object, at the field's own depth.
"""

from __future__ import annotations

import torch

from ..core.views import Views
from ..fields.tet_sdf import TetSdf
from ..ops.occupancy import OccupancyGrid
from ..render.surface import render_surface
from ..render.volume import VolumeSettings, render_volume

OPAQUE = 0.5  # coverage from which a pixel counts as the object's
FAINT = 0.1  # coverage from which the field's depth means something


@torch.no_grad()
def cover_reference(surface: TetSdf, field, grid: OccupancyGrid, volume: VolumeSettings, target: Views) -> int:
    """Changes ``surface.sdf`` so that no part of the object in ``target`` (one view) is missing from the start.

    field, grid, volume: the radiance field the surface came from.  Returns how many pixels were uncovered.
    """
    seen = render_volume(field, target.cameras, grid, volume)
    shown = render_surface(surface.extract().detach(), target.cameras, surface.albedo, want_normal=False, grad=False)
    missing = (target.alpha > OPAQUE) & (shown.alpha < OPAQUE) & (seen.alpha > FAINT)
    rays = target.cameras.rays()
    along = (seen.depth / seen.alpha.clamp_min(FAINT))[missing]
    points = rays.origins[missing] + rays.directions[missing] * along[:, None]
    surface.include(points)
    return int(missing.sum())
