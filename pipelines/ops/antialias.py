"""Silhouettes that move smoothly: coverage between pixel centres, with gradients to the vertices.

The idea of blending neighbouring pixels by where a silhouette edge crosses the line between their centres is of
Laine et al., "Modular Primitives for High-Performance Differentiable Rendering", 2020.  There only the edges of the
two pixels' own triangles are candidates, which loses the silhouette on triangles smaller than a pixel.  Here the
surface is followed, triangle by triangle, from the nearer pixel towards the farther until it folds or ends.
"""

from __future__ import annotations

import weakref
from dataclasses import dataclass

import torch
from torch import Tensor

from .kernels import silhouette as kernels
from .kernels.launch import launch
from .rasterize import Raster


@dataclass(frozen=True)
class Topology:
    """Who is next to whom.

    neighbour: [F, 3] int32, the face across the edge from corner k to corner k + 1, -1 where the edge belongs to
               one face only or to more than two.
    """

    neighbour: Tensor


def edge_topology(faces: Tensor) -> Topology:
    """The face adjacency of [F, 3] int64 faces; O(F log F)."""
    count = len(faces)
    start, end = faces, faces.roll(-1, dims=1)
    low, high = torch.minimum(start, end), torch.maximum(start, end)
    stride = int(faces.max()) + 1 if count else 1
    keys = torch.where(low == high, -1, low * stride + high).reshape(-1)
    ordered, order = keys.sort(stable=True)
    same = (ordered[1:] == ordered[:-1]) & (ordered[1:] >= 0)
    ends = torch.zeros(1, dtype=torch.bool, device=faces.device)
    alone = same & ~torch.cat([ends, same[:-1]]) & ~torch.cat([same[1:], ends]) if len(same) else same
    first, second = order[:-1][alone], order[1:][alone]
    neighbour = torch.full((3 * count,), -1, dtype=torch.int32, device=faces.device)
    neighbour[first] = (second // 3).int()
    neighbour[second] = (first // 3).int()
    return Topology(neighbour.reshape(count, 3))


_recent: tuple | None = None  # (weak reference to faces, version, Topology): a fixed mesh is rendered many times


def cached_topology(faces: Tensor) -> Topology:
    """:func:`edge_topology`, remembered for the most recent ``faces`` tensor."""
    global _recent
    if faces.is_inference():  # no version counter: changes in place would go unseen
        return edge_topology(faces)
    recent = _recent
    if recent is not None and recent[0]() is faces and recent[1] == faces._version:
        return recent[2]
    topology = edge_topology(faces)
    _recent = (weakref.ref(faces), faces._version, topology)
    return topology


def antialias(color: Tensor, raster: Raster, clip: Tensor, faces: Tensor, topology: Topology | None = None) -> Tensor:
    """[B, H, W, C] with silhouettes blended; differentiable with respect to ``color`` and ``clip``.

    color: [B, H, W, C] of the same pixels as ``raster``, which must come from ``clip`` and ``faces``.
    Where a silhouette crosses the way between two pixel centres at t in [0, 1] from the nearer surface's pixel, the
    nearer colour is extended into the other pixel by t - 1/2 (or cut back by 1/2 - t), so the covered area moves
    with the edge at the right rate.  A piece of contour is seen along rows if it is steep, else along columns.
    On the CPU the result is the same to the last bit every time; on CUDA atomic sums may differ in rounding.
    """
    topology = cached_topology(faces) if topology is None else topology
    slots, codes = silhouette_pairs(raster, clip, faces, topology)
    if not len(slots):
        return color
    return _Blend.apply(color, clip, faces, slots, codes)


def silhouette_pairs(raster: Raster, clip: Tensor, faces: Tensor, topology: Topology) -> tuple[Tensor, Tensor]:
    """(slots [K] int64, codes [B*H*W*2] int32) of the pixel pairs with a silhouette in between.

    Slot 2 p + axis is the pair of flat pixel p and its right (0) or lower (1) neighbour; its code is
    2 (3 face + edge) + (1 where that neighbour owns the edge), -1 elsewhere.
    """
    views, height, width = raster.triangle.shape
    codes = torch.empty((views, height, width, 2), dtype=torch.int32, device=clip.device)
    inputs = [clip, faces, topology.neighbour, raster.triangle, raster.depth]
    launch(kernels.find_silhouettes, (views * height, width), inputs, [codes], clip.device, split=64)
    codes = codes.reshape(-1)
    return (codes >= 0).nonzero().reshape(-1), codes


class _Blend(torch.autograd.Function):
    @staticmethod
    def forward(ctx, color, clip, faces, slots, codes):
        color, clip = color.contiguous(), clip.contiguous()
        ctx.save_for_backward(color, clip, faces, slots, codes)
        out = color.clone()
        launch(kernels.blend_forward, len(slots), [slots, codes, clip, faces, color], [out], color.device)
        return out

    @staticmethod
    def backward(ctx, grad):
        color, clip, faces, slots, codes = ctx.saved_tensors
        grad = grad.contiguous()
        grad_color = grad.clone()
        shape = clip.shape if ctx.needs_input_grad[1] else (0, 0, 4)
        grad_clip = torch.zeros(shape, device=clip.device)
        inputs = [slots, codes, clip, faces, color, grad]
        launch(kernels.blend_backward, len(slots), inputs, [grad_color, grad_clip], color.device)
        return grad_color, grad_clip if ctx.needs_input_grad[1] else None, None, None, None
