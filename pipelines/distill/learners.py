"""What VSD trains beside a frozen network that has no layers to adapt: the exact denoiser of a Gaussian per camera."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from ..core.cameras import Cameras


class Learner(Protocol):
    """A denoiser that learns the score of what is rendered.

    rate: how many times faster than a LoRA it wants to learn.
    """

    rate: float

    def parameters(self) -> list[Tensor]:
        """What is trained, float32."""
        ...

    def predict(self, noisy: Tensor, t: Tensor, cameras: Cameras) -> Tensor:
        """eps_hat [B, C, h, w] at times [B] for the views' cameras; differentiable in the parameters."""
        ...


class GaussianLearner:
    """Believes that the latents seen from a camera are N(m(camera), s^2), and answers exactly for that:

    eps_hat = sqrt(1 - abar) (x_t - sqrt(abar) m) / (s^2 abar + 1 - abar).

    m is linear in harmonics of the azimuth and in the sine of the elevation; shape: (C, h, w) of the latents.
    """

    rate = 200.0

    def __init__(self, alphas: Tensor, shape: tuple[int, ...]):
        self.alphas = alphas
        self.means = torch.zeros(6, *shape, device=alphas.device, requires_grad=True)
        self.log_variance = torch.zeros((), device=alphas.device, requires_grad=True)

    def parameters(self) -> list[Tensor]:
        return [self.means, self.log_variance]

    def predict(self, noisy: Tensor, t: Tensor, cameras: Cameras) -> Tensor:
        """The exact answer for what it believes."""
        a = cameras.azimuth.to(noisy)
        features = torch.stack([torch.ones_like(a), a.cos(), a.sin(), (2 * a).cos(), (2 * a).sin(),
                                cameras.elevation.to(noisy).sin()], -1)
        mean = torch.einsum("bk,kchw->bchw", features, self.means)
        abar = self.alphas.to(noisy)[t][:, None, None, None]
        return (1 - abar).sqrt() * (noisy - abar.sqrt() * mean) / (self.log_variance.exp() * abar + 1 - abar)
