"""The diffusion noise schedule and the conversions between its parametrisations.

Notation (Ho et al. 2020; Salimans and Ho 2022 for v): x_t = sqrt(abar_t) x_0 + sqrt(1 - abar_t) eps,
v = sqrt(abar_t) eps - sqrt(1 - abar_t) x_0.
"""

from __future__ import annotations

import torch
from torch import Tensor

PREDICTIONS = ("epsilon", "v_prediction", "sample")


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


def to_epsilon(output: Tensor, noisy: Tensor, t: Tensor, alphas: Tensor, prediction: str) -> Tensor:
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


def _at(alphas: Tensor, t: Tensor, like: Tensor) -> Tensor:
    return alphas.to(like)[t].reshape(-1, *[1] * (like.ndim - 1))
