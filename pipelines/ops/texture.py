"""Bilinear texture lookups."""

from __future__ import annotations

import torch
from torch import Tensor


def sample_texture(texture: Tensor, uv: Tensor) -> Tensor:
    """[..., C] bilinear samples, clamped at the border; gradients to both arguments.

    texture: [H, W, C] float32.  uv: [..., 2] glTF convention: (0, 0) is the outer corner of the first texel, v down.
    """
    return sample_texture_reference(texture, uv)


def sample_texture_reference(texture: Tensor, uv: Tensor) -> Tensor:
    """The plain torch specification of :func:`sample_texture`."""
    height, width, channels = texture.shape
    size = torch.tensor([width, height], dtype=uv.dtype, device=uv.device)
    position = torch.minimum((uv.reshape(-1, 2) * size - 0.5).clamp(min=0), size - 1)
    low = torch.minimum(position.floor(), (size - 2).clamp(min=0))
    fraction = position - low
    column, row = low.long().unbind(-1)
    right, below = (column + 1).clamp(max=width - 1), (row + 1).clamp(max=height - 1)
    flat = texture.reshape(-1, channels)
    fx, fy = fraction[:, :1], fraction[:, 1:]
    top = flat[row * width + column] * (1 - fx) + flat[row * width + right] * fx
    bottom = flat[below * width + column] * (1 - fx) + flat[below * width + right] * fx
    return (top * (1 - fy) + bottom * fy).reshape(*uv.shape[:-1], channels)
