"""Score Jacobian chaining, SJC (Wang et al. 2022, Eq. 9 to 11): the score at a render by perturbing and averaging.

The score of the noised distribution at the render x is E_n[(D(x + sigma n) - x) / sigma^2].  With D = x + sigma (n - eps_hat)
that is E[n - eps_hat] / sigma; the factor sigma is w(t)'s.  Without the noise subtracted ("centered": 0, the paper's first
form) the expectation is the same and the variance larger.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..core.randomness import normal
from .plug import Distillation, Draw, Paper


@dataclass(frozen=True)
class Sjc(Distillation):
    """The mean over ``samples`` draws of the noise at one time; as many evaluations, twice with guidance."""

    samples: int = 1
    centered: int = 1

    paper = Paper("SJC, Eq. 9 to 11", 100.0, (0.02, 0.98), "uniform")

    def direction(self, draw: Draw) -> Tensor:
        """[B, C, h, w]."""
        total, noise = torch.zeros_like(draw.latents), draw.noise
        for i in range(max(self.samples, 1)):
            if i:
                noise = normal(noise.shape, draw.generator, noise)
            answer = draw.voices.guided(draw.noisy(noise), draw.t, draw.cameras)
            total = total + (answer - noise if self.centered else answer)
        return total / max(self.samples, 1)
