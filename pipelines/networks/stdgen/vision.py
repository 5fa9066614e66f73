"""CLIP's picture tower as StdGEN's pipelines call it: the whole picture squashed to the tower's square."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ...core.modules import AnyModule
from ..towers import OPENAI_MEAN, OPENAI_STD


@dataclass(frozen=True)
class SquashedVision:
    """Projected image embeddings of pictures of any shape.

    model: transformers CLIPVisionModelWithProjection.
    corners: whether bicubic interpolation aligns corners (multi-view: yes; canonicalizer: no).
    antialias: open question of the canonicalizer's published pipeline, whose pinned library did not (S-A.4).
    """

    model: AnyModule
    corners: bool
    antialias: bool = False
    mean: tuple[float, ...] = OPENAI_MEAN
    std: tuple[float, ...] = OPENAI_STD

    @torch.no_grad()
    def image_embedding(self, images: Tensor) -> Tensor:
        """[B, H, W, 3] sRGB in [0, 1] -> [B, D]."""
        side = self.model.config.image_size
        x = torch.nn.functional.interpolate(images.permute(0, 3, 1, 2), (side, side), mode="bicubic",
                                            align_corners=self.corners, antialias=self.antialias)
        mean, std = (x.new_tensor(v).reshape(1, 3, 1, 1) for v in (self.mean, self.std))
        return self.model(((x - mean) / std).to(self.model.dtype)).image_embeds.float()


@dataclass(frozen=True)
class NoVision:
    """Zeros in place of CLIP's embedding, for networks small enough to do without."""

    width: int

    def image_embedding(self, images: Tensor) -> Tensor:
        """[B, H, W, 3] -> [B, width] zeros."""
        return images.new_zeros(len(images), self.width)
