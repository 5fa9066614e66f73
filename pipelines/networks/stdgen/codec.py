"""Pictures to latents and back: an autoencoder, or, for the small networks, pixels in groups."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from ...core.modules import AnyModule


class Codec(Protocol):
    """Pictures to latents and back."""

    @property
    def shrink(self) -> int:
        """Pixels per latent, each way."""
        ...

    @property
    def channels(self) -> int:
        """Of the latents."""
        ...

    def encode(self, images: Tensor) -> Tensor:
        """[B, H, W, 3] sRGB in [0, 1] -> latents [B, C, h, w]."""
        ...

    def decode(self, latents: Tensor) -> Tensor:
        """Latents [B, C, h, w] -> [B, H, W, 3] sRGB in [0, 1]."""
        ...


@dataclass(frozen=True)
class VaeCodec:
    """diffusers' AutoencoderKL; one picture at a time, because decoding a dozen at once is what fills a card.

    Latents = posterior mode * scaling_factor, at an eighth of the pictures' size for Stable Diffusion's.
    """

    vae: AnyModule

    @property
    def shrink(self) -> int:
        """Pixels per latent, each way."""
        return 2 ** (len(self.vae.config.block_out_channels) - 1)

    @property
    def channels(self) -> int:
        """Of the latents."""
        return self.vae.config.latent_channels

    @torch.no_grad()
    def encode(self, images: Tensor) -> Tensor:
        parts = [self.vae.encode((image[None].permute(0, 3, 1, 2) * 2 - 1).to(self.vae.dtype)).latent_dist.mode()
                 for image in images]
        return torch.cat(parts).float() * self.vae.config.scaling_factor

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        """Latents [B, C, h, w] -> [B, H, W, 3] sRGB in [0, 1]."""
        scaled = (latents / self.vae.config.scaling_factor).to(self.vae.dtype)
        parts = [self.vae.decode(one[None]).sample.float() for one in scaled]
        return (torch.cat(parts) / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1)


@dataclass(frozen=True)
class PixelCodec:
    """No autoencoder: squares of ``shrink`` pixels become channels.  Differentiable and exact."""

    shrink: int = 2

    @property
    def channels(self) -> int:
        """Of the latents."""
        return 3 * self.shrink**2

    def encode(self, images: Tensor) -> Tensor:
        return torch.nn.functional.pixel_unshuffle(images.permute(0, 3, 1, 2) * 2 - 1, self.shrink)

    def decode(self, latents: Tensor) -> Tensor:
        """Latents [B, C, h, w] -> [B, H, W, 3] sRGB in [0, 1]."""
        pixels = torch.nn.functional.pixel_shuffle(latents, self.shrink)
        return (pixels / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1)

    def mirrored(self, latents: Tensor) -> Tensor:
        """Latents of the mirrored pictures."""
        pixels = torch.nn.functional.pixel_shuffle(latents, self.shrink)
        return torch.nn.functional.pixel_unshuffle(pixels.flip(-1), self.shrink)
