"""Thin parts of the picture at the start of the mesh stage.

A radiance field may show a cable or a leg that is thinner than a tetrahedron; sampled on the grid's
vertices it falls between them and is gone before the mesh stage begins, and silhouette gradients
cannot bring back what has no silhouette.  Here every pixel of the reference that the initial surface
leaves uncovered gets one grid vertex inside the object: at the field's own depth, or, where the field
shows nothing either, at the depth of the nearest pixel that has one.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ...core.views import Views
from ...fields.flexi_sdf import FlexiSdf
from ...fields.tet_sdf import TetSdf
from ...ops.nearest import nearest
from ...ops.occupancy import OccupancyGrid
from ...render.surface import render_surface
from ...render.volume import VolumeSettings, render_volume

OPAQUE = 0.5  # coverage from which a pixel counts as the object's
FAINT = 0.1  # coverage from which the field's depth means something


@torch.no_grad()
def seen_points(field, grid: OccupancyGrid, volume: VolumeSettings, target: Views) -> Tensor:
    """[N, 3] scene units: where the object's pixels in ``target`` (one view) lie, in row-major order.

    field, grid, volume: the radiance field.  Empty when it shows nothing at all.
    """
    seen = render_volume(field, target.cameras, grid, volume)
    known = seen.alpha[0] > FAINT
    if not bool(known.any()):
        return target.rgb.new_zeros(0, 3)
    inside, rays = target.alpha[0] > OPAQUE, target.cameras.rays()
    along = nearest_known(seen.depth[0] / seen.alpha[0].clamp_min(FAINT), known, inside)
    return rays.origins[0][inside] + rays.directions[0][inside] * along[:, None]


@torch.no_grad()
def cover(surface: TetSdf | FlexiSdf, points: Tensor, target: Views) -> int:
    """Changes ``surface.sdf`` so that no part of the object in ``target`` is missing; returns the pixels that were.

    points: of :func:`seen_points`.
    """
    if not len(points):
        return 0
    shown = render_surface(surface.extract().detach(), target.cameras, surface.albedo, want_normal=False, grad=False)
    missing = (shown.alpha < OPAQUE)[0][target.alpha[0] > OPAQUE]
    surface.include(points[missing])
    return int(missing.sum())


def nearest_known(values: Tensor, known: Tensor, wanted: Tensor) -> Tensor:
    """Values at the ``wanted`` pixels, each taken from the nearest ``known`` pixel (itself, where known).

    values [H, W]; known, wanted [H, W] bool -> [N] in row-major order.  At least one pixel must be known.
    """
    return values[known][nearest(wanted.nonzero(), known.nonzero())]
