"""Losses on rendered pictures and on volume samples (M-B.6).

Every function returns a scalar mean unless its docstring says otherwise; weights belong to presets.
Pictures are [B, H, W, C] or [H, W, C]; masks have no channel axis.
"""

from __future__ import annotations

import math
from typing import Literal, get_args

import torch
from torch import Tensor

from ..core.far import far

EPS = 1e-8
Edge = Literal["keep", "soft", "erode"]
EDGES = get_args(Edge)
ColorMean = Literal["picture", "mask"]
COLOR_MEANS = get_args(ColorMean)
MaskTarget = Literal["binary", "alpha"]
MASK_TARGETS = get_args(MaskTarget)


def rgb_mse(image: Tensor, target: Tensor, mask: Tensor | None = None, over: ColorMean = "picture") -> Tensor:
    """Mean squared error over pixels and channels; inside ``mask`` only when one is given.

    over: what the mean divides by with a mask.  "picture", the released codes (M-B.6): all pixels, so that an error of 1
          on one of four pixels is 0.25 and small objects pull less; "mask", ours: the masked pixels, so that their pull
          does not depend on how much of the picture they cover.  An empty mask gives 0 either way.
    """
    error = (image - target).square()
    if mask is None:
        return error.mean()
    weight = mask.to(error)[..., None]
    if over == "picture":
        return (error * weight).mean()
    return (error * weight).sum() / (weight.sum() * error.shape[-1]).clamp_min(1)


def color_region(alpha: Tensor, edge: Edge = "keep", size: int = 5, limit: float = 0.1) -> Tensor:
    """[..., H, W] 0 or 1: where the colors of a picture with coverage ``alpha`` are trusted.

    Always alpha > 1/2.  edge (M-A.2; Magic123's fine stage): "keep" leaves it at that; "soft", the
    released code, drops pixels that lie more than ``limit`` below the largest alpha of their size x size
    box, the blended rim of a matte; "erode", its README's description, drops pixels more than ``limit``
    above the smallest, two pixels inwards from any edge.  Beyond the border alpha goes on as inside.
    """
    if edge not in EDGES:
        raise ValueError(f"edge must be one of {EDGES}, got {edge!r}")
    inside = alpha > 0.5
    if edge != "keep":
        sign = 1.0 if edge == "soft" else -1.0
        planes = sign * alpha.reshape(-1, 1, *alpha.shape[-2:]).float()
        widest = torch.nn.functional.max_pool2d(planes, size, stride=1, padding=size // 2).view(alpha.shape)
        inside = inside & ((widest - sign * alpha).abs() <= limit)
    return inside.float()


def mask_mse(alpha: Tensor, mask: Tensor, against: MaskTarget = "binary") -> Tensor:
    """Mean squared error of coverage [..., H, W] against the mask (Consistent123 Eq. 4).

    against: "binary", the released codes (M-B.6): the mask is cut at 1/2 first; "alpha", ours: the mask as it is, so that
             blended rims and thin parts are followed.
    """
    target = mask > 0.5 if against == "binary" else mask
    return (alpha - target.to(alpha)).square().mean()


def pearson_depth(depth: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """1 - rho of rendered and given depth over mask pixels, in [0, 2] (Consistent123 Eq. 5).

    Invariant to affine maps of either side with positive slope, so the target's unit is free, but
    both must grow with distance.  Constant depth, or fewer than two pixels, gives rho = 0.
    """
    inside = mask > 0.5
    if far(depth.device):
        return _pearson_of_all(depth, target.to(depth), inside.to(depth))
    a, b = depth[inside], target[inside].to(depth)
    if a.numel() < 2:
        return depth.sum() * 0 + 1
    a, b = a - a.mean(), b - b.mean()
    norm = (a.square().sum() + EPS).sqrt() * (b.square().sum() + EPS).sqrt()
    return 1 - (a * b).sum() / norm


def _pearson_of_all(a: Tensor, b: Tensor, weight: Tensor) -> Tensor:
    """:func:`pearson_depth` without picking pixels, whose number the host would wait for; weight: 0 or 1."""
    count = weight.sum().clamp_min(1)
    a, b = ((x - (x * weight).sum() / count) * weight for x in (a, b))
    norm = (a.square().sum() + EPS).sqrt() * (b.square().sum() + EPS).sqrt()
    return 1 - (a * b).sum() / norm


def normal_cosine(normal: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """Mean of 1 - cos between rendered and given normals over mask pixels, in [0, 2].

    normal may be premultiplied by alpha: both sides are normalized first.
    """
    inside = mask > 0.5
    if far(normal.device):
        cosine = torch.nn.functional.cosine_similarity(normal, target.to(normal), dim=-1)
        return ((1 - cosine) * inside).sum() / inside.sum().clamp_min(1)
    if not bool(inside.any()):
        return normal.sum() * 0
    return (1 - torch.nn.functional.cosine_similarity(normal[inside], target[inside].to(normal), dim=-1)).mean()


def total_variation(image: Tensor) -> Tensor:
    """Mean squared horizontal plus mean squared vertical difference of [B, H, W, C]."""
    across = (image[:, :, 1:] - image[:, :, :-1]).square().mean()
    down = (image[:, 1:] - image[:, :-1]).square().mean()
    return across + down


def blur_smoothness(image: Tensor, size: int = 9, sigma: float = 1.7, stop_gradient: bool = True) -> Tensor:
    """MSE of [B, H, W, C] against its own Gaussian blur (Magic123 Eq. 5; the blur is a constant).

    9 x 9 with sigma 1.7 are the released code's numbers; borders are mirrored.
    """
    half = min(size // 2, image.shape[1] - 1, image.shape[2] - 1)
    x = torch.arange(-half, half + 1, device=image.device, dtype=image.dtype)
    kernel = torch.exp(-x.square() / (2 * sigma**2))
    kernel = kernel / kernel.sum()
    channels = image.shape[-1]
    planes = torch.nn.functional.pad(image.movedim(-1, 1), (half,) * 4, mode="reflect")
    rows = kernel.view(1, 1, -1, 1).expand(channels, 1, -1, 1)
    blurred = torch.nn.functional.conv2d(planes, rows, groups=channels)
    blurred = torch.nn.functional.conv2d(blurred, rows.transpose(2, 3), groups=channels).movedim(1, -1)
    return (image - (blurred.detach() if stop_gradient else blurred)).square().mean()


def orientation(weights: Tensor, normals: Tensor, directions: Tensor, count: int | None = None) -> Tensor:
    """Mean over samples of w max(0, n . d)^2; w is a constant (Ref-NeRF; M-B.6).

    weights [S], normals [S, 3] unit, directions [S, 3] (normalized here): a visible sample must not
    face away from its camera.
    count: samples that the mean runs over, S or more: those that are not given weigh nothing; None = S.
    """
    if not weights.numel():
        return normals.sum() * 0
    directions = torch.nn.functional.normalize(directions, dim=-1)
    facing = (normals * directions).sum(-1).clamp_min(0)
    return (weights.detach() * facing.square()).sum() / (count or len(weights))


def binary_entropy(values: Tensor, eps: float = 1e-5, count: int | None = None) -> Tensor:
    """Mean binary entropy in bits of values in [0, 1], any shape; 0 at 0 and 1, 1 at one half.

    count: values that the mean runs over, as many as are given or more: those that are not given are 0; None = the given.
    """
    if not values.numel():
        return values.sum()
    p = values.clamp(eps, 1 - eps)
    total = -(p * p.log2() + (1 - p) * (1 - p).log2()).sum()
    hidden = 0 if count is None else count - values.numel()
    floor = -(eps * math.log2(eps) + (1 - eps) * math.log2(1 - eps))  # of a value of 0, as clamped
    return (total + hidden * floor) / (values.numel() + hidden)


def opacity(alpha: Tensor) -> Tensor:
    """Mean squared coverage: discourages fog (DreamFusion)."""
    return alpha.square().mean()
