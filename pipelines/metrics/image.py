"""Picture metrics, per picture.  Pictures are [B, H, W, C] in [0, 1]."""

from __future__ import annotations

import torch
from torch import Tensor

from ..core.pulse import beat

WINDOW, SIGMA = 11, 1.5  # Wang et al., "Image quality assessment" (2004)


def psnr(a: Tensor, b: Tensor, mask: Tensor | None = None) -> Tensor:
    """[B] decibels, inf for equal pictures; ``mask`` [B, H, W] restricts the mean (weights in [0, 1])."""
    _same(a, b)
    error = (a - b).square().mean(-1)
    if mask is None:
        mse = error.mean((1, 2))
    else:
        mse = (error * mask).sum((1, 2)) / mask.sum((1, 2)).clamp(min=1e-12)
    return -10 * torch.log10(mse)


def ssim(a: Tensor, b: Tensor) -> Tensor:
    """[B] structural similarity with an 11-pixel Gaussian window, mean over channels and full windows.

    The definition of Wang et al. (2004) with population covariances.  Pictures need at least 11 x 11 pixels.
    """
    _same(a, b)
    if min(a.shape[1:3]) < WINDOW:
        raise ValueError(f"ssim needs pictures of at least {WINDOW} x {WINDOW}, got {a.shape[1]} x {a.shape[2]}")
    return torch.cat([_ssim(a[i : i + 1], b[i : i + 1]) for i in range(len(a))]) if len(a) else a.new_zeros(0)


def _ssim(a: Tensor, b: Tensor) -> Tensor:
    """[1] of one pair; several at once take as long."""
    x, y = (t.permute(0, 3, 1, 2).double() for t in (a, b))
    mean_x, mean_y = _blur(x), _blur(y)
    var_x, var_y = _blur(x * x) - mean_x**2, _blur(y * y) - mean_y**2
    covariance = _blur(x * y) - mean_x * mean_y
    c1, c2 = 0.01**2, 0.03**2
    top = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
    return (top / ((mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2))).mean((1, 2, 3)).to(a.dtype)


def _blur(x: Tensor) -> Tensor:
    offsets = torch.arange(WINDOW, device=x.device, dtype=x.dtype) - WINDOW // 2
    kernel = torch.exp(-0.5 * (offsets / SIGMA) ** 2)
    kernel = (kernel / kernel.sum()).expand(x.shape[1], 1, 1, -1)
    beat()
    x = torch.nn.functional.conv2d(x, kernel, groups=x.shape[1])
    beat()
    return torch.nn.functional.conv2d(x, kernel.transpose(2, 3), groups=x.shape[1])


def _same(a: Tensor, b: Tensor) -> None:
    if a.shape != b.shape or a.ndim != 4:
        raise ValueError(f"pictures must both be [B, H, W, C], got {tuple(a.shape)} and {tuple(b.shape)}")
