"""The picture encoder of S-LRM: a DINO vision transformer whose normalizations the camera modulates (S-C.4).

Modules are nested as in the released file, so that its keys fit without a map.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor

from .slrm_config import EncoderConfig

Linear, LayerNorm, Conv2d = torch.nn.Linear, torch.nn.LayerNorm, torch.nn.Conv2d
ModuleDict = torch.nn.ModuleDict
functional = torch.nn.functional
CAMERA_NUMBERS = 16
EPS = 1e-12


class Embeddings(torch.nn.Module):
    """Patches, a class token and positions."""

    def __init__(self, config: EncoderConfig):
        super().__init__()
        width = config.width
        self.grid = config.grid
        self.cls_token = torch.nn.Parameter(torch.randn(1, 1, width) * 0.02)
        self.position_embeddings = torch.nn.Parameter(torch.randn(1, config.base_grid**2 + 1, width) * 0.02)
        self.patch_embeddings = ModuleDict({"projection": Conv2d(3, width, config.patch, stride=config.patch)})

    def forward(self, images: Tensor) -> Tensor:
        x = self.patch_embeddings["projection"](images).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls_token.expand(len(x), -1, -1), x], 1)
        return x + resized_positions(self.position_embeddings, self.grid)


def resized_positions(stored: Tensor, grid: int) -> Tensor:
    """[1, 1 + grid^2, C] position embeddings stored for another number of patches, as DINO resizes them.

    Bicubic by the scale factor (grid + 0.1) / base, not to a size: sample points differ slightly.
    """
    base = round((stored.shape[1] - 1) ** 0.5)
    if base == grid:
        return stored
    planes = stored[:, 1:].reshape(1, base, base, -1).permute(0, 3, 1, 2)
    scale = (grid + 0.1) / base
    planes = functional.interpolate(planes, scale_factor=(scale, scale), mode="bicubic", align_corners=False)
    return torch.cat([stored[:, :1], planes.permute(0, 2, 3, 1).flatten(1, 2)], 1)


class EncoderLayer(torch.nn.Module):
    """Self-attention and a perceptron; the camera shifts and scales what each of them is given."""

    def __init__(self, config: EncoderConfig):
        super().__init__()
        width = config.width
        self.heads = config.heads
        names = ("query", "key", "value")
        self.attention = ModuleDict({
            "attention": ModuleDict({name: Linear(width, width) for name in names}),
            "output": ModuleDict({"dense": Linear(width, width)}),
        })
        self.intermediate = ModuleDict({"dense": Linear(width, config.hidden)})
        self.output = ModuleDict({"dense": Linear(config.hidden, width)})
        self.layernorm_before, self.layernorm_after = LayerNorm(width, eps=EPS), LayerNorm(width, eps=EPS)
        self.adaLN_modulation = torch.nn.Sequential(torch.nn.SiLU(), Linear(width, 4 * width))

    def forward(self, x: Tensor, camera: Tensor) -> Tensor:
        shift1, scale1, shift2, scale2 = self.adaLN_modulation(camera)[:, None].chunk(4, -1)
        x = x + self._attend(self.layernorm_before(x) * (1 + scale1) + shift1)
        hidden = self.intermediate["dense"](self.layernorm_after(x) * (1 + scale2) + shift2)
        return x + self.output["dense"](functional.gelu(hidden))

    def _attend(self, x: Tensor) -> Tensor:
        layers = cast(ModuleDict, self.attention["attention"])
        parts = (layers[name](x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for name in ("query", "key", "value"))
        mixed = functional.scaled_dot_product_attention(*parts).transpose(1, 2).flatten(2)
        return cast(ModuleDict, self.attention["output"])["dense"](mixed)


class Vit(torch.nn.Module):
    """The transformer itself."""

    def __init__(self, config: EncoderConfig):
        super().__init__()
        self.embeddings = Embeddings(config)
        self.encoder = ModuleDict({"layer": torch.nn.ModuleList(EncoderLayer(config) for _ in range(config.layers))})
        self.layernorm = LayerNorm(config.width, eps=EPS)

    def forward(self, images: Tensor, camera: Tensor) -> Tensor:
        x = self.embeddings(images)
        for layer in cast(torch.nn.ModuleList, self.encoder["layer"]):
            x = layer(x, camera)
        return self.layernorm(x)


class SlrmEncoder(torch.nn.Module):
    """Pictures and cameras to tokens."""

    def __init__(self, config: EncoderConfig):
        super().__init__()
        self.model = Vit(config)
        width = config.width
        self.camera_embedder = torch.nn.Sequential(Linear(CAMERA_NUMBERS, width), torch.nn.SiLU(), Linear(width, width))

    def forward(self, images: Tensor, cameras: Tensor) -> Tensor:
        """[B, N, 3, S, S] normalized pictures, [B, N, 16] cameras -> [B, N (1 + grid^2), C], view after view."""
        tokens = self.model(images.flatten(0, 1), self.camera_embedder(cameras.flatten(0, 1)))
        return tokens.reshape(len(images), -1, tokens.shape[-1])
