"""A small monocular depth estimator: a convolutional encoder-decoder with skips."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .view import resize

Conv2d = torch.nn.Conv2d  # trained here, so host-patched operations must not be used
GroupNorm = torch.nn.GroupNorm


class DepthNet(torch.nn.Module):
    """[B, 4, S, S] (sRGB on white in [-1, 1], mask) -> [B, 1, S, S] relative depth, larger = farther."""

    def __init__(self, widths: tuple[int, ...] = (24, 48, 72, 96)):
        super().__init__()
        sizes = (4, *widths)
        self.down = torch.nn.ModuleList(_block(sizes[i], sizes[i + 1]) for i in range(len(widths)))
        self.up = torch.nn.ModuleList(_block(widths[i] + widths[i - 1], widths[i - 1]) for i in range(len(widths) - 1, 0, -1))
        self.out = Conv2d(widths[0], 1, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        skips = []
        for i, block in enumerate(self.down):
            x = block(x if i == 0 else torch.nn.functional.avg_pool2d(x, 2))
            skips.append(x)
        for block, skip in zip(self.up, skips[-2::-1]):
            x = block(torch.cat([torch.nn.functional.interpolate(x, scale_factor=2.0, mode="nearest"), skip], 1))
        return self.out(x)


def _block(first: int, last: int) -> torch.nn.Sequential:
    return torch.nn.Sequential(
        Conv2d(first, last, 3, padding=1), GroupNorm(8, last), torch.nn.SiLU(),
        Conv2d(last, last, 3, padding=1), GroupNorm(8, last), torch.nn.SiLU(),
    )  # fmt: skip


@dataclass(frozen=True)
class DepthEstimator:
    """A frozen :class:`DepthNet` working at ``image_size`` pixels."""

    net: DepthNet
    image_size: int = 64

    @torch.no_grad()
    def depth(self, rgb: Tensor, mask: Tensor) -> Tensor:
        """[H, W, 3] sRGB and [H, W] mask -> [H, W] relative depth in [0, 1], larger = farther, 0 outside.

        Known up to an affine map only: use it with the Pearson loss.
        """
        white = rgb * mask[..., None] + (1 - mask[..., None])
        x = torch.cat([resize(white[None], self.image_size) * 2 - 1, resize(mask[None, ..., None], self.image_size)], -1)
        d = self.net(x.permute(0, 3, 1, 2))
        d = torch.nn.functional.interpolate(d, mask.shape, mode="bilinear", align_corners=False)[0, 0]
        inside = mask > 0.5
        if not bool(inside.any()):
            return torch.zeros_like(d)
        low, high = d[inside].min(), d[inside].max()
        return (d - low) / (high - low).clamp_min(1e-6) * inside
