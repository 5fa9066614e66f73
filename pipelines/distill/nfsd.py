"""Noise-free score distillation, NFSD (Katzir et al. 2023, Eq. 6 to 8).

Guidance is split into what the condition wants, delta_C = eps_c - eps_u, and what a picture of any kind wants, delta_D,
without the noise that eps_u contains: at low times eps_u is nearly free of it, at others a bad picture's answer has
the same noise.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .plug import Distillation, Draw, Paper

BAD = "unrealistic, blurry, low quality, out of focus, ugly, low contrast, dull, dark, low-resolution, gloomy"


@dataclass(frozen=True)
class Nfsd(Distillation):
    """delta_D + scale delta_C; delta_D = eps_u below ``low`` (of all times), else eps_u - eps_bad: two or three evaluations."""

    scale: float = 7.5
    low: float = 0.2

    paper = Paper("NFSD, Eq. 6 to 8", 7.5, (0.02, 0.98), "sigma2")

    def direction(self, draw: Draw) -> Tensor:
        """[B, C, h, w]."""
        question = (draw.noisy(), draw.t, draw.cameras)
        without = draw.voices.unconditioned(*question)
        wanted = draw.voices.conditioned(*question) - without
        early = draw.t < self.low * len(draw.voices.denoiser.alphas_cumprod)
        domain = without
        if not bool(early.all()):
            bad = draw.voices.against(BAD, *question)
            domain = torch.where(early[:, None, None, None], without, without - bad)
        return domain + self.scale * wanted
