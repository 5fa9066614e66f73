"""The diffusion noise schedule and the conversions between its parametrizations.

Notation (Ho et al. 2020; Salimans and Ho 2022 for v): x_t = sqrt(abar_t) x_0 + sqrt(1 - abar_t) eps,
v = sqrt(abar_t) eps - sqrt(1 - abar_t) x_0.

Networks that keep other books (variance exploding: Song et al. 2021; rectified flow: Liu et al. 2023) are
described by :class:`NoisePath`; they, too, become predictors of eps on x_t.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from ..core.pulse import beat

Prediction = Literal["epsilon", "v_prediction", "sample"]
PREDICTIONS = get_args(Prediction)


def scaled_linear_alphas(steps: int = 1000, first: float = 0.00085, last: float = 0.012) -> Tensor:
    """[steps] cumulative alphas of the schedule that Stable Diffusion and Zero-1-to-3 share."""
    betas = torch.linspace(first**0.5, last**0.5, steps, dtype=torch.float64) ** 2
    return torch.cumprod(1 - betas, 0).float()


def add_noise(x0: Tensor, noise: Tensor, t: Tensor, alphas: Tensor) -> Tensor:
    """x_t for latents [B, ...] at integer times t [B]."""
    a = _at(alphas, t, x0)
    return a.sqrt() * x0 + (1 - a).sqrt() * noise


def v_target(x0: Tensor, noise: Tensor, t: Tensor, alphas: Tensor) -> Tensor:
    """v for latents [B, ...] at integer times t [B]."""
    a = _at(alphas, t, x0)
    return a.sqrt() * noise - (1 - a).sqrt() * x0


def to_epsilon(output: Tensor, noisy: Tensor, t: Tensor, alphas: Tensor, prediction: Prediction) -> Tensor:
    """eps_hat from a network's output in any of PREDICTIONS."""
    a = _at(alphas, t, noisy)
    if prediction == "epsilon":
        return output
    if prediction == "v_prediction":
        return a.sqrt() * output + (1 - a).sqrt() * noisy
    if prediction == "sample":
        return (noisy - a.sqrt() * output) / (1 - a).sqrt()
    raise ValueError(f"prediction must be one of {PREDICTIONS}, got {prediction!r}")


def to_sample(epsilon: Tensor, noisy: Tensor, t: Tensor, alphas: Tensor) -> Tensor:
    """x_0 implied by eps_hat."""
    a = _at(alphas, t, noisy)
    return (noisy - (1 - a).sqrt() * epsilon) / a.sqrt()


@dataclass(frozen=True)
class NoisePath:
    """How a network writes noisy latents: x = signal x_0 + spread eps, told the number ``sigma``.

    sigmas, signal, spread: [T], noisier with the index; signal and spread are never both 0.

    With norm = sqrt(signal^2 + spread^2), x / norm is our x_t for abar = (signal / norm)^2, so that every such
    network is a denoiser of x_t.  The end of a flow, signal = 0, is pure noise: abar = 0, and eps stays finite.
    """

    sigmas: Tensor
    signal: Tensor
    spread: Tensor

    @staticmethod
    def exploding(sigmas: Tensor) -> "NoisePath":
        """x = x_0 + sigma eps, for sigmas [T] > 0."""
        return NoisePath(sigmas, torch.ones_like(sigmas), sigmas)

    @staticmethod
    def flow(sigmas: Tensor, noise_scale: float = 1.0) -> "NoisePath":
        """x = (1 - s) x_0 + s noise_scale eps, for s [T] in (0, 1]."""
        return NoisePath(sigmas, 1 - sigmas, sigmas * noise_scale)

    def to(self, device) -> "NoisePath":
        """The same path on another device."""
        return NoisePath(self.sigmas.to(device), self.signal.to(device), self.spread.to(device))

    @property
    def norm(self) -> Tensor:
        """[T] size of x relative to x_t."""
        return torch.hypot(self.signal, self.spread)

    @property
    def alphas_cumprod(self) -> Tensor:
        """[T] cumulative schedule of the equivalent x_t; falling, 0 at the end of a full flow."""
        return (self.signal / self.norm).square()

    def state(self, noisy: Tensor, t: Tensor) -> Tensor:
        """The network's x for our x_t [B, ...] at integer times t [B]."""
        return _at(self.norm, t, noisy) * noisy

    def epsilon(self, x: Tensor, sample: Tensor, t: Tensor) -> Tensor:
        """eps_hat from the network's x and its estimate of x_0."""
        return (x - _at(self.signal, t, x) * sample) / _at(self.spread, t, x)

    @torch.no_grad()
    def generate(self, denoise: Callable, noise: Tensor, steps: int) -> Tensor:
        """Deterministic DDIM (Song et al. 2021), on any path: latents like ``noise`` [B, ...].

        denoise(x, t [B]) -> the network's estimate of x_0.
        """
        times = torch.linspace(len(self.sigmas) - 1, 0, steps + 1).round().long().tolist()
        x, sample = self.norm[-1] * noise, noise
        for now, after in zip(times[:-1], times[1:]):
            beat()
            t = torch.full((len(x),), now, device=x.device)
            sample = denoise(x, t)
            x = self.signal[after] * sample + self.spread[after] * self.epsilon(x, sample, t)
        return sample

    @torch.no_grad()
    def doubt(self, denoise: Callable, noise: Tensor) -> str:
        """Why the network's declared parametrization looks wrong, or "".

        Shown pure noise at the last time, a network knows nothing of x_0 and must answer with something small.
        A v-prediction read as eps answers with amplified noise; an eps-prediction read as v answers with the
        noise itself, negated.
        """
        t = torch.full((len(noise),), len(self.sigmas) - 1, device=noise.device)
        sample = denoise(self.state(noise, t), t)
        gain = float(1 / self.alphas_cumprod[-1].sqrt().clamp_min(1e-3))
        together = float((sample * noise).mean() / (sample.std() * noise.std()).clamp_min(1e-9))
        if float(sample.std()) > max(4.0, gain / 3) and together > 0.3:
            return "it answers pure noise with amplified noise, as a v-prediction model labeled eps does"
        if together < -0.7 and float(sample.std()) > 0.5:
            return "it answers pure noise with the negated noise, as an eps model labeled v-prediction does"
        return ""


def _at(alphas: Tensor, t: Tensor, like: Tensor) -> Tensor:
    return alphas.to(like)[t].reshape(-1, *[1] * (like.ndim - 1))
