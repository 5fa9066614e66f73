"""Monocular depth: a small convolutional network of our own, and public estimators in the same frame."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ..core.choices import DepthConvention
from ..core.modules import AnyModule
from .view import resize

Conv2d = torch.nn.Conv2d  # trained here, so host-patched operations must not be used
GroupNorm = torch.nn.GroupNorm
CONVENTIONS = ("inverse", "distance")  # what an estimator's large numbers mean: near, or far


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
    )


@dataclass(frozen=True)
class DepthEstimator:
    """A frozen :class:`DepthNet` working at ``image_size`` pixels."""

    net: DepthNet
    image_size: int = 64
    needs_mask: ClassVar[bool] = True  # it has never seen a background

    @torch.no_grad()
    def depth(self, rgb: Tensor, mask: Tensor) -> Tensor:
        """[H, W, 3] sRGB and [H, W] mask -> [H, W] relative depth in [0, 1], larger = farther, 0 outside.

        Known up to an affine map only: use it with the Pearson loss.
        """
        white = rgb * mask[..., None] + (1 - mask[..., None])
        x = torch.cat([resize(white[None], self.image_size) * 2 - 1, resize(mask[None, ..., None], self.image_size)], -1)
        d = self.net(x.permute(0, 3, 1, 2))
        d = torch.nn.functional.interpolate(d, mask.shape, mode="bilinear", align_corners=False)[0, 0]
        return unit_depth(d, mask)


@dataclass(frozen=True)
class PublicDepth:
    """A frozen estimator of transformers, with the preprocessing it was trained with.

    net:        ``net(pixels [B, 3, h, w]).predicted_depth -> [B, h', w']``.
    side, multiple, keep_aspect: working size in pixels, what its sides must divide by, and whether a picture keeps
                its proportions (then it is scaled as little as possible; Ranftl et al. 2021).
    convention: "inverse" or "distance".
    """

    net: AnyModule
    side: int = 384
    multiple: int = 1
    keep_aspect: bool = False
    mean: tuple[float, ...] = (0.5, 0.5, 0.5)
    std: tuple[float, ...] = (0.5, 0.5, 0.5)
    convention: DepthConvention = "inverse"
    needs_mask: ClassVar[bool] = False

    @torch.no_grad()
    def depth(self, rgb: Tensor, mask: Tensor) -> Tensor:
        """[H, W, 3] sRGB and [H, W] mask -> [H, W] relative depth in [0, 1], larger = farther, 0 outside.

        The picture is used as it is: put the object on the background that the estimator should see.
        """
        d = self.prediction(rgb)
        return unit_depth(-d if self.convention == "inverse" else d, mask)

    @torch.no_grad()
    def prediction(self, rgb: Tensor) -> Tensor:
        """[H, W, 3] sRGB -> [H, W]: the network's own numbers, in its own convention."""
        x = rgb.permute(2, 0, 1)[None].float()
        x = torch.nn.functional.interpolate(x, self.working_size(*rgb.shape[:2]), mode="bicubic", align_corners=False,
                                            antialias=True).clamp(0, 1)
        mean, std = (x.new_tensor(v).reshape(1, 3, 1, 1) for v in (self.mean, self.std))
        dtype = next(self.net.parameters()).dtype
        d = self.net(((x - mean) / std).to(dtype)).predicted_depth.float()
        return torch.nn.functional.interpolate(d[:, None], rgb.shape[:2], mode="bicubic", align_corners=False)[0, 0]

    def working_size(self, height: int, width: int) -> tuple[int, int]:
        """(height, width) in pixels that the network sees."""
        scales = [self.side / height, self.side / width]
        if self.keep_aspect:
            scales = [min(scales, key=lambda s: abs(1 - s))] * 2
        rows, columns = (max(round(v / self.multiple), 1) * self.multiple for v in (height * scales[0], width * scales[1]))
        return rows, columns


def unit_depth(depth: Tensor, mask: Tensor) -> Tensor:
    """[H, W] affinely mapped so that the masked part spans [0, 1]; 0 outside the mask."""
    inside = mask > 0.5
    if not bool(inside.any()):
        return torch.zeros_like(depth)
    low, high = depth[inside].min(), depth[inside].max()
    return (depth - low) / (high - low).clamp_min(1e-6) * inside
