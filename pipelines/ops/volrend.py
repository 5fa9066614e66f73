"""Volume compositing over packed samples (Max 1995; NeRF, eq. 3): kernels and their plain-torch specification.

w_i = T_i (1 - exp(-density_i * length_i)),  T_i = product of exp(-density * length) over the samples before i.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .kernels import volrend_kernels as kernels
from .kernels.launch import launch


def composite(density: Tensor, lengths: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor]:
    """Weights [S] of the samples and transmittance [R] behind the last one: alpha = 1 - transmittance = sum of w.

    density: [S] per scene unit, >= 0.   lengths: [S] scene units.   offsets: [R + 1] int32 (``RaySamples.offsets``).
    Rays without samples have transmittance 1.  Differentiable once, to ``density``.
    """
    return _Composite.apply(density, lengths, offsets)


def transmittance(density: Tensor, lengths: Tensor, offsets: Tensor) -> Tensor:
    """[S] share of light that reaches each sample's near end; no gradient."""
    arriving = torch.empty_like(density)
    outputs = (torch.empty_like(density), arriving, density.new_empty(len(offsets) - 1))
    rays = len(offsets) - 1
    launch(kernels.weights_forward, rays, (density, lengths, offsets), outputs, density.device, split=rays)
    return arriving


def accumulate(weights: Tensor, values: Tensor, offsets: Tensor) -> Tensor:
    """[R, C] sums of weights [S] times values [S, C] over each ray; zero for rays without samples.

    Differentiable once, to ``weights`` and ``values``.
    """
    return _Accumulate.apply(weights, values, offsets)


def composite_reference(density: Tensor, lengths: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor]:
    """The specification of :func:`composite`; any float type."""
    weights, through = [], []
    for start, end in _spans(offsets):
        depth = torch.nn.functional.pad((density[start:end] * lengths[start:end]).cumsum(0), (1, 0))
        reached = torch.exp(-depth)
        weights.append(reached[:-1] - reached[1:])
        through.append(reached[-1])
    return torch.cat(weights), torch.stack(through)


def accumulate_reference(weights: Tensor, values: Tensor, offsets: Tensor) -> Tensor:
    """The specification of :func:`accumulate`."""
    return torch.stack([(weights[a:b, None] * values[a:b]).sum(0) for a, b in _spans(offsets)])


def _spans(offsets: Tensor) -> list[tuple[int, int]]:
    ends = offsets.tolist()
    return list(zip(ends, ends[1:]))


class _Composite(torch.autograd.Function):
    @staticmethod
    def forward(ctx, density, lengths, offsets):
        rays = len(offsets) - 1
        weights, arriving, leaving = torch.empty_like(density), torch.empty_like(density), density.new_empty(rays)
        inputs, outputs = (density, lengths, offsets), (weights, arriving, leaving)
        launch(kernels.weights_forward, rays, inputs, outputs, density.device, split=rays)
        ctx.save_for_backward(density, lengths, offsets, weights, arriving, leaving)
        return weights, leaving

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad_weights, grad_leaving):
        density, *saved = ctx.saved_tensors
        grad = torch.empty_like(density)
        inputs = (density, *saved, grad_weights, grad_leaving)
        launch(kernels.weights_backward, len(saved[1]) - 1, inputs, (grad,), density.device, split=len(saved[1]))
        return grad, None, None


class _Accumulate(torch.autograd.Function):
    @staticmethod
    def forward(ctx, weights, values, offsets):
        rays = len(offsets) - 1
        out = values.new_zeros(rays, values.shape[1])
        launch(kernels.sum_forward, rays, (weights, values, offsets), (out,), values.device, split=rays)
        ctx.save_for_backward(weights, values, offsets)
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad_out):
        weights, values, offsets = ctx.saved_tensors
        wanted = ctx.needs_input_grad
        grad_weights = torch.empty_like(weights) if wanted[0] else weights.new_empty(0)
        grad_values = torch.empty_like(values) if wanted[1] else values.new_empty(0, values.shape[1])
        inputs, rays = (weights, values, offsets, grad_out), len(offsets) - 1
        launch(kernels.sum_backward, rays, inputs, (grad_weights, grad_values), values.device, split=rays)
        return grad_weights if wanted[0] else None, grad_values if wanted[1] else None, None
