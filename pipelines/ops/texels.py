"""Texels of a picture that is being painted: sums of samples, and colors beyond the painted ones."""

from __future__ import annotations

import torch
from torch import Tensor

from .kernels import texels as kernels
from .kernels.launch import launch


def add_colors(total: Tensor, where: Tensor, colors: Tensor) -> None:
    """total[where] += colors cut to [0, 1], in place.

    total: [T, 3] float32, contiguous; where: [N] int64 in 0..T-1, all different (not checked); colors: [N, 3].
    """
    if total.shape[1:] != (3,) or colors.shape != (len(where), 3):
        got = ", ".join(str(tuple(x.shape)) for x in (total, where, colors))
        raise ValueError(f"expected [T, 3], [N] and [N, 3], got {got}")
    launch(kernels.add_colors, len(where), [where, colors.to(total)], [total], total.device, split=64)


def fill_around(texture: Tensor, painted: Tensor, reach: int, rest: Tensor) -> None:
    """Texels that are not ``painted`` take the color of the nearest painted one, in place.

    texture: [H, W, 3] float32, contiguous; painted: [H, W] bool.
    reach: texels within which the nearest counts; of equally near ones the leftmost, of those the uppermost, as scipy's
           ``distance_transform_edt`` has it.  rest: [3], the color of what is further out.
    """
    if texture.shape != (*painted.shape, 3) or reach < 0:
        raise ValueError(f"expected [H, W, 3] and [H, W], got {tuple(texture.shape)} and {tuple(painted.shape)}, reach {reach}")
    reach = min(reach, max(painted.shape))
    mask = painted.contiguous().view(torch.uint8)
    down = torch.empty(painted.shape, dtype=torch.int32, device=texture.device)
    launch(kernels.nearest_in_column, tuple(painted.shape), [mask, reach], [down], texture.device, split=64)
    words = [mask, down, reach, tuple(float(x) for x in rest)]
    launch(kernels.fill_around, tuple(painted.shape), words, [texture], texture.device, split=64)
