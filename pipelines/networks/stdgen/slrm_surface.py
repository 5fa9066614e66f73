"""Meshes from S-LRM's field: distances and semantics on the grid once, FlexiCubes per layer (S-C.9, S-C.10, S-C.13).

The weight decoder and the displacements are asked for at crossed cubes only, so nothing of the size of the grid has more
than a few channels.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ...ops.flexicubes import CubeWeights, FlexiMesh, Patches, closed_border, find_patches, place_patches
from ...ops.semantic_field import extraction_sdf
from .slrm import Slrm
from .slrm_decoder import CUBE_CHUNK, on_grid, on_points, sample_planes

WEIGHT_SCALE = 0.5


@dataclass(frozen=True)
class GridValues:
    """What the field is at the grid's points: raw distance [V] (negative inside) and probabilities [V, 4]."""

    sdf: Tensor
    probability: Tensor


def grid_values(network: Slrm, planes: Tensor) -> GridValues:
    """Distance and semantics of the first triplane on ``network.config.grid``; differentiable when grad mode is on."""
    decoder, grid = network.decoder, network.config.grid
    sdf = on_grid(decoder.net_sdf, planes, grid)[:, 0]
    return GridValues(sdf, torch.softmax(on_grid(decoder.semantic_net, planes, grid), -1))


def layer_surface(
    network: Slrm, planes: Tensor, values: GridValues, code: int, *, dilate: bool = True, training: bool = False
) -> FlexiMesh:
    """The mesh of an extraction code (``semantic_field.CODES``) in S-LRM's world; no faces where the layer is empty.

    Closed at the border of the grid.  dilate, training: see ``extraction_sdf`` and ``place_patches``.
    """
    grid = network.config.grid
    sdf = extraction_sdf(values.sdf, values.probability, code, grid.shape, dilate)
    sdf = closed_border(sdf, grid)
    patches = find_patches(sdf.detach(), grid)
    points = displaced(network, planes, patches)
    return place_patches(patches, sdf, points, cube_weights(network, planes, patches), training)


def displaced(network: Slrm, planes: Tensor, patches: Patches) -> Tensor:
    """[V, 3] grid points, those of crossed cubes moved by up to ``config.reach``."""
    config = network.config
    points = config.grid.points(planes.device)
    used = torch.unique(patches.corners)
    if not len(used):
        return points
    moves = torch.tanh(on_points(network.decoder.deformation, planes, points[used])) * config.reach
    return points.index_add(0, used, moves)


def cube_weights(network: Slrm, planes: Tensor, patches: Patches) -> CubeWeights:
    """FlexiCubes' weights of the crossed cubes, from the features at their corners before displacement."""
    points = network.config.grid.points(planes.device)
    used, corners = torch.unique(patches.corners, return_inverse=True)
    features = sample_planes(planes[:1], points[used][None])[0]
    parts = [network.decoder.cube_weights(features[rows].flatten(1)) for rows in corners.split(CUBE_CHUNK)]
    raw = torch.cat(parts) if parts else features.new_zeros(0, 21)
    return CubeWeights.from_raw(raw, WEIGHT_SCALE)


def point_colors(network: Slrm, planes: Tensor, points: Tensor) -> Tensor:
    """[N, 3] sRGB in [0, 1] at points [N, 3] of S-LRM's world."""
    return on_points(network.decoder.colors, planes, points).clamp(0, 1)
