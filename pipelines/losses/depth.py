"""How a rendered depth is compared with an estimated one, which is known up to its scale: by correlation or by order."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

from .image import pearson_depth

DepthForm = Literal["correlation", "ranking"]
DEPTH_FORMS = get_args(DepthForm)
STRIDES = (1, 7, 61, 509, 4099)  # pairs of pixels: each with the ones so many places farther, near ones and far ones
MARGIN = 1e-4  # scene units by which the farther one shall be farther


def depth_loss(form: DepthForm, depth: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """The loss of that form; arguments as of ``losses.image.pearson_depth``."""
    return pearson_depth(depth, target, mask) if form == "correlation" else depth_ranking(depth, target, mask)


def depth_ranking(depth: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """Mean hinge, scene units, over pairs of mask pixels whose rendered order is not that of the estimate.

    max(0, m - sign(t_a - t_b) (d_a - d_b)) over the pairs (a, b) that the estimate tells apart, the ranking loss of
    NeuralLift-360 (Xu et al. 2023): unlike correlation it asks nothing of the distances themselves.  Pairs are fixed, so
    that the loss needs no random numbers.  0 without pairs.
    """
    inside = mask > 0.5
    d, t = depth[inside], target[inside].to(depth)
    total, count = depth.sum() * 0, depth.new_zeros(())
    for stride in STRIDES:
        if stride >= len(d):
            break
        order = torch.sign(t[stride:] - t[:-stride])
        told = order != 0
        hinge = (MARGIN - order * (d[stride:] - d[:-stride])).clamp_min(0)
        total, count = total + (hinge * told).sum(), count + told.sum()
    return total / count.clamp_min(1)
