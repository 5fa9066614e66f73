"""Bilinear texture lookups."""

from __future__ import annotations

import torch
from torch import Tensor

from .kernels import texels as kernels
from .kernels.launch import launch


def sample_texture(texture: Tensor, uv: Tensor) -> Tensor:
    """[..., C] bilinear samples, clamped at the border; gradients to both arguments.

    texture: [H, W, C] float32.  uv: [..., 2] glTF convention: (0, 0) is the outer corner of the first texel, v down.
    On the CPU the result is the same to the last bit every time; on CUDA the texture's gradient is an atomic sum.
    ValueError for an empty texture or other shapes.
    """
    if texture.ndim != 3 or texture.numel() == 0 or uv.shape[-1] != 2:
        raise ValueError(f"expected texture [H, W, C] and uv [..., 2], got {tuple(texture.shape)}, {tuple(uv.shape)}")
    out = _Sample.apply(texture.contiguous(), uv.reshape(-1, 2).contiguous())
    return out.reshape(*uv.shape[:-1], texture.shape[-1])


class _Sample(torch.autograd.Function):
    @staticmethod
    def forward(ctx, texture, uv):
        ctx.save_for_backward(texture, uv)
        out = torch.empty((len(uv), texture.shape[-1]), device=uv.device)
        launch(kernels.sample_forward, len(uv), [texture, uv], [out], uv.device, split=64)
        return out

    @staticmethod
    def backward(ctx, grad):
        texture, uv = ctx.saved_tensors
        grad_texture = torch.zeros_like(texture) if ctx.needs_input_grad[0] else texture.new_empty(0, 0, 0)
        grad_uv = torch.empty_like(uv) if ctx.needs_input_grad[1] else uv.new_empty(0, 2)
        launch(kernels.sample_backward, len(uv), [texture, uv, grad], [grad_texture, grad_uv], uv.device)
        return grad_texture if ctx.needs_input_grad[0] else None, grad_uv if ctx.needs_input_grad[1] else None


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
