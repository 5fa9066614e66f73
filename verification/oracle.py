"""The exact denoiser of a known scene: what the optimizer reaches when the network is perfect."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..pipelines.core.cameras import Cameras


class OracleDenoiser:
    """Denoiser whose data distribution is one point, the true view x*.

    Then E[eps | x_t] = (x_t - sqrt(abar) x*) / sqrt(1 - abar) exactly.

    render_truth:   cameras -> [B, H, W, 3] sRGB in [0, 1], composited like the pictures to judge.
    encode, decode: pictures -> latents, differentiable, and back; for example a VAE's, or :func:`pixel_latents`.
    alphas_cumprod: [T]; image_size: pixels.
    """

    def __init__(
        self,
        render_truth: Callable[[Cameras], Tensor],
        encode: Callable[[Tensor], Tensor] | None = None,
        alphas_cumprod: Tensor | None = None,
        image_size: int = 64,
        decode: Callable[[Tensor], Tensor] | None = None,
    ):
        self.render_truth = render_truth
        self.encode = encode or pixel_latents
        self._decode = decode or (latent_pixels if encode is None else None)
        self.alphas_cumprod = stable_diffusion_alphas() if alphas_cumprod is None else alphas_cumprod
        self.image_size = image_size

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        """[B, C, h, w] -> [B, S, S, 3] sRGB in [0, 1]; ValueError where it was given an encoder and no decoder."""
        if self._decode is None:
            raise ValueError("an exact denoiser with an encoder of its own needs its decoder: decode=...")
        return self._decode(latents)

    def predict_noise(self, noisy: Tensor, t: Tensor, cameras: Cameras) -> Tensor:
        """The exact noise, [B, C, h, w]."""
        with torch.no_grad():
            truth = self.encode(self.render_truth(cameras.resized(self.image_size, self.image_size)))
            abar = self.alphas_cumprod.to(noisy)[t][:, None, None, None]
            return (noisy - abar.sqrt() * truth.to(noisy)) / (1 - abar).sqrt()


def pixel_latents(images: Tensor) -> Tensor:
    """[B, H, W, 3] in [0, 1] -> [B, 3, H, W] in [-1, 1]: diffusion in pixels."""
    return images.movedim(-1, 1) * 2 - 1


def latent_pixels(latents: Tensor) -> Tensor:
    """[B, 3, H, W] in [-1, 1] -> [B, H, W, 3], clamped to [0, 1]: inverse of :func:`pixel_latents`."""
    return (latents.movedim(1, -1) / 2 + 0.5).clamp(0, 1)


def stable_diffusion_alphas(steps: int = 1000) -> Tensor:
    """[steps] cumulative alphas of the "scaled_linear" schedule .00085 .. .012 (M-C.1)."""
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, steps, dtype=torch.float64).square()
    return torch.cumprod(1 - betas, 0).float()
