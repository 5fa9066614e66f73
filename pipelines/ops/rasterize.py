"""Triangles to pixels: which triangle a pixel sees, where in it, and how far away."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .kernels import raster as kernels
from .kernels.launch import launch

EMPTY = torch.iinfo(torch.int64).max  # key of a pixel no triangle covers


@dataclass(frozen=True)
class Raster:
    """What B views of F triangles show at H x W pixel centres.

    triangle:    [B, H, W] int32 face index, -1 where nothing is seen.
    barycentric: [B, H, W, 3] perspective-correct weights of the face's corners, sum 1 (0 where nothing is seen);
                 differentiable with respect to the clip positions.
    depth:       [B, H, W] clip w at the pixel: the distance along the view axis for a perspective camera, 0 where
                 nothing is seen.  Not differentiable by itself: interpolate clip w for that.
    """

    triangle: Tensor
    barycentric: Tensor
    depth: Tensor

    @property
    def covered(self) -> Tensor:
        """[B, H, W] bool."""
        return self.triangle >= 0


def rasterize(clip: Tensor, faces: Tensor, height: int, width: int) -> Raster:
    """Visible surfaces of B views in one launch.

    clip:  [B, V, 4] float32 OpenGL clip coordinates (visible where -w <= z <= w and w > 0; +y is up, row 0 the top).
    faces: [F, 3] int64; both sides are drawn.
    A pixel belongs to a triangle that contains its centre, borders included; of several the one with least z/w
    (31 bits) is seen, of equal ones that with the lowest id.  Triangles that cross the camera plane are cut per
    pixel.  Degenerate and non-finite triangles are skipped.  ValueError for other shapes or types.
    """
    _check(clip, faces, height, width)
    views = len(clip)
    clip = clip.contiguous()
    keys = torch.full((views, height, width), EMPTY, dtype=torch.int64, device=clip.device)
    if len(faces) and views:
        bands = _bands(views, height, clip.device)
        launch(
            kernels.visibility, (views * bands, len(faces)), [clip, faces, bands], [keys], clip.device, split=views * bands
        )
    triangle = torch.empty(keys.shape, dtype=torch.int32, device=clip.device)
    depth = torch.empty(keys.shape, device=clip.device)
    barycentric = torch.empty((*keys.shape, 3), device=clip.device)
    launch(
        kernels.resolve, (views * height, width), [keys, clip, faces], [triangle, barycentric, depth], clip.device, split=64
    )
    return Raster(triangle, barycentric, depth)


def _bands(views: int, height: int, device: torch.device) -> int:
    """Bands of rows a view is cut into: parts for CPU threads, shorter loops over big triangles on a GPU."""
    if device.type == "cuda":
        return max(1, height // 64)
    threads = torch.get_num_threads()
    return 1 if views >= threads else min(-(-threads // views), height)


def _check(clip: Tensor, faces: Tensor, height: int, width: int) -> None:
    if clip.ndim != 3 or clip.shape[-1] != 4 or clip.dtype != torch.float32:
        raise ValueError(f"clip must be [B, V, 4] float32, got {tuple(clip.shape)} {clip.dtype}")
    if faces.ndim != 2 or faces.shape[-1] != 3 or faces.dtype != torch.int64:
        raise ValueError(f"faces must be [F, 3] int64, got {tuple(faces.shape)} {faces.dtype}")
    if height < 1 or width < 1:
        raise ValueError(f"image size must be positive, got {height} x {width}")
