"""Attributes of triangle corners at the pixels of a raster."""

from __future__ import annotations

import torch
from torch import Tensor

from .kernels import raster as kernels
from .kernels.launch import launch
from .rasterize import Raster


def interpolate(attributes: Tensor, raster: Raster, faces: Tensor) -> Tensor:
    """[B, H, W, C] barycentric mixtures, 0 where nothing is seen.

    attributes: [V, C] shared by all views, or [B, V, C]; float32.
    faces:      [F, 3] int64 into ``attributes``: the mesh's faces, or another table of the same length for
                per-corner attributes (``face_uvs``).
    """
    shared = attributes if attributes.ndim == 3 else attributes[None]
    if len(shared) not in (1, len(raster.triangle)):
        raise ValueError(f"attributes of {len(shared)} views do not fit a raster of {len(raster.triangle)}")
    return _forward(shared, faces, raster.triangle, raster.barycentric)


def _forward(attributes: Tensor, faces: Tensor, triangle: Tensor, barycentric: Tensor) -> Tensor:
    views, height, width = triangle.shape
    out = torch.empty((views, height, width, attributes.shape[-1]), device=triangle.device)
    inputs = [attributes, faces, triangle, barycentric]
    launch(kernels.interpolate_forward, (views * height, width), inputs, [out], triangle.device, split=64)
    return out
