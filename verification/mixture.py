"""The exact denoiser of a known set of pictures, with a condition: guidance, wrong modes and two-faced objects included.

Where ``oracle.py`` knows one picture, this knows many.  The data are a mixture of narrow normal distributions around known
pictures; the condition decides how likely each picture is from a camera, and without it all are.  So eps is exact for any
guidance, and a condition that does not tell views apart can draw a front on every side, as text networks do.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..pipelines.core.cameras import Cameras
from .oracle import latent_pixels, pixel_latents, stable_diffusion_alphas


@dataclass(frozen=True)
class MixtureDenoiser:
    """A ``GuidedDenoiser`` (without sampling) of pictures [K, S, S, 3] in [0, 1].

    likely:   cameras [B] -> [B, K] unnormalized log probabilities under the condition.
    spread:   deviation of every component, units of [-1, 1].
    guidance: eps_u + s (eps_c - eps_u).
    """

    pictures: Tensor
    likely: Callable[[Cameras], Tensor]
    spread: float = 0.05
    guidance: float = 1.0
    alphas_cumprod: Tensor = stable_diffusion_alphas()

    encode = staticmethod(pixel_latents)

    @property
    def image_size(self) -> int:
        """S."""
        return self.pictures.shape[1]

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        """[B, 3, S, S] -> [B, S, S, 3] sRGB in [0, 1]."""
        return latent_pixels(latents)

    def with_guidance(self, guidance: float) -> "MixtureDenoiser":
        """A copy with another scale."""
        return replace(self, guidance=guidance)

    @torch.no_grad()
    def predict_noise(self, noisy: Tensor, t: Tensor, cameras: Cameras) -> Tensor:
        """The exact noise [B, 3, S, S], guided."""
        abar = self.alphas_cumprod.to(noisy)[t]
        known = self.likely(cameras).to(noisy)
        if self.guidance == 1.0:
            return self._noise(noisy, abar, known)
        without = self._noise(noisy, abar, torch.zeros_like(known))
        return without + self.guidance * (self._noise(noisy, abar, known) - without) if self.guidance else without

    def _noise(self, noisy: Tensor, abar: Tensor, prior: Tensor) -> Tensor:
        centers = pixel_latents(self.pictures).to(noisy).flatten(1)
        x, a = noisy.flatten(1), abar[:, None]
        total = self.spread**2 * a + 1 - a  # variance of x_t within a component
        apart = x.square().sum(1, True) - 2 * a.sqrt() * x @ centers.T + a * centers.square().sum(1)
        posterior = torch.softmax(prior - apart / (2 * total), 1)
        center = posterior @ centers
        return ((1 - a).sqrt() * (x - a.sqrt() * center) / total).reshape(noisy.shape)


def by_azimuth(azimuths: Tensor, sharpness: float, members: Tensor | None = None) -> Callable[[Cameras], Tensor]:
    """Log probabilities of pictures seen from ``azimuths`` [K], radians: sharpness * cos of the angle from the camera.

    sharpness: 0 = the condition does not know views.  members: [K] bool, pictures of the object that is meant; all if None.
    """
    def likely(cameras: Cameras) -> Tensor:
        known = sharpness * torch.cos(cameras.azimuth.cpu()[:, None] - azimuths[None])
        return known if members is None else known.masked_fill(~members, -1e9)

    return likely
