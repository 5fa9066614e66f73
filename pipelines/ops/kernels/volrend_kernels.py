"""Warp kernels of emission-absorption compositing over packed samples; one thread per ray, so sums have one
order and results are bitwise deterministic on the CPU and on CUDA."""

from __future__ import annotations

import warp as wp


@wp.kernel(enable_backward=False)
def weights_forward(
    first: int,
    density: wp.array(dtype=float),
    lengths: wp.array(dtype=float),
    offsets: wp.array(dtype=wp.int32),
    weights: wp.array(dtype=float),
    arriving: wp.array(dtype=float),
    leaving: wp.array(dtype=float),
):
    ray = wp.tid() + first
    through = float(1.0)
    for i in range(offsets[ray], offsets[ray + 1]):
        kept = wp.exp(-density[i] * lengths[i])
        arriving[i] = through
        weights[i] = through * (1.0 - kept)
        through = through * kept
    leaving[ray] = through


@wp.kernel(enable_backward=False)
def weights_backward(
    first: int,
    density: wp.array(dtype=float),
    lengths: wp.array(dtype=float),
    offsets: wp.array(dtype=wp.int32),
    weights: wp.array(dtype=float),
    arriving: wp.array(dtype=float),
    leaving: wp.array(dtype=float),
    grad_weights: wp.array(dtype=float),
    grad_leaving: wp.array(dtype=float),
    grad_density: wp.array(dtype=float),
):
    ray = wp.tid() + first
    start, end = offsets[ray], offsets[ray + 1]
    behind = leaving[ray] * grad_leaving[ray]  # sum over what lies behind of value * its gradient
    for n in range(end - start):
        i = end - 1 - n
        next_arriving = arriving[i] - weights[i]
        grad_density[i] = lengths[i] * (next_arriving * grad_weights[i] - behind)
        behind += weights[i] * grad_weights[i]


@wp.kernel(enable_backward=False)
def sum_forward(
    first: int,
    weights: wp.array(dtype=float),
    values: wp.array2d(dtype=float),
    offsets: wp.array(dtype=wp.int32),
    out: wp.array2d(dtype=float),
):
    ray = wp.tid() + first
    for i in range(offsets[ray], offsets[ray + 1]):
        w = weights[i]
        for c in range(values.shape[1]):
            out[ray, c] = out[ray, c] + w * values[i, c]


@wp.kernel(enable_backward=False)
def sum_backward(
    first: int,
    weights: wp.array(dtype=float),
    values: wp.array2d(dtype=float),
    offsets: wp.array(dtype=wp.int32),
    grad_out: wp.array2d(dtype=float),
    grad_weights: wp.array(dtype=float),
    grad_values: wp.array2d(dtype=float),
):
    """Empty ``grad_weights`` or ``grad_values`` are not wanted."""
    ray = wp.tid() + first
    for i in range(offsets[ray], offsets[ray + 1]):
        if grad_weights.shape[0] > 0:
            total = float(0.0)
            for c in range(values.shape[1]):
                total += values[i, c] * grad_out[ray, c]
            grad_weights[i] = total
        if grad_values.shape[0] > 0:
            w = weights[i]
            for c in range(values.shape[1]):
                grad_values[i, c] = w * grad_out[ray, c]
