"""Attributes of triangle corners at the pixels of a raster."""

from __future__ import annotations

import torch
from torch import Tensor

from .kernels import interpolation as kernels
from .kernels.launch import PIECE, launch, runs
from .rasterize import Raster, check_faces, slab_gradient, sum_slabs


def interpolate(attributes: Tensor, raster: Raster, faces: Tensor) -> Tensor:
    """[B, H, W, C] barycentric mixtures, 0 where nothing is seen.

    attributes: [V, C] shared by all views, or [B, V, C]; float32; differentiable, as is ``raster.barycentric``.
    faces:      [F, 3] int64 into ``attributes``: the mesh's faces, or another table of the same length for
                per-corner attributes (``face_uvs``).
    """
    shared = attributes if attributes.ndim == 3 else attributes[None]
    if len(shared) not in (1, len(raster.triangle)):
        raise ValueError(f"attributes of {len(shared)} views do not fit a raster of {len(raster.triangle)}")
    check_faces(faces, shared.shape[1])
    return _Interpolate.apply(shared.contiguous(), faces, raster.triangle, raster.barycentric)


class _Interpolate(torch.autograd.Function):
    @staticmethod
    def forward(ctx, attributes, faces, triangle, barycentric):
        ctx.save_for_backward(attributes, faces, triangle, barycentric)
        views, height, width = triangle.shape
        out = torch.empty((views, height, width, attributes.shape[-1]), device=triangle.device)
        run, spans = runs(triangle.device, width)
        inputs, lines = [attributes, faces, triangle, barycentric, run], (views * height, spans)
        launch(kernels.interpolate_forward, lines, inputs, [out], triangle.device, split=64, piece=PIECE // run)
        return out

    @staticmethod
    def backward(ctx, grad):
        attributes, faces, triangle, barycentric = ctx.saved_tensors
        views, height, width = triangle.shape
        groups = len(attributes)
        shape = attributes.shape[1:] if ctx.needs_input_grad[0] else (0, 0)
        slabs, grad_attributes = slab_gradient(groups, views * height, shape, grad.device)
        grad_barycentric = torch.empty_like(barycentric if ctx.needs_input_grad[3] else barycentric[:0, :0, :0])
        run, spans = runs(grad.device, width)
        inputs = [attributes, faces, triangle, barycentric, grad.contiguous(), slabs, run]
        outputs = [grad_attributes if ctx.needs_input_grad[0] else grad.new_empty(0, 0, 0), grad_barycentric]
        items = -(-views * height // max(slabs, 1)) * spans
        launch(kernels.interpolate_backward, (slabs, items), inputs, outputs, grad.device, split=slabs, piece=PIECE // run)
        return (
            sum_slabs(grad_attributes, groups) if ctx.needs_input_grad[0] else None,
            None,
            None,
            grad_barycentric if ctx.needs_input_grad[3] else None,
        )


def interpolate_reference(attributes: Tensor, raster: Raster, faces: Tensor) -> Tensor:
    """The plain torch specification of :func:`interpolate`."""
    shared = attributes if attributes.ndim == 3 else attributes[None]
    views = len(raster.triangle)
    view = torch.arange(views, device=faces.device)[:, None, None, None] if len(shared) > 1 else 0
    corners = shared[view, faces[raster.triangle.long().clamp(min=0)]]
    return (corners * raster.barycentric[..., None]).sum(-2) * raster.covered[..., None]
