"""Classifier score distillation, CSD (Yu et al. 2023, Eq. 6 and 8): the condition's part of guidance alone."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from .plug import Distillation, Draw, Paper

NEGATIVE = "oversaturated color, ugly, tiling, low quality, noisy, gray"


@dataclass(frozen=True)
class Csd(Distillation):
    """scale (eps_c - eps_u), two evaluations.

    negative: w2 of Eq. 8 at the start, falling to 0 with progress: adds w2 (eps_u - eps_negative), a third evaluation.
    """

    scale: float = 1.0
    negative: float = 0.0

    paper = Paper("CSD, Eq. 6 and 8", None, (0.02, 0.98), "sigma2")

    def direction(self, draw: Draw) -> Tensor:
        """[B, C, h, w]."""
        question = (draw.noisy(), draw.t, draw.cameras)
        without = draw.voices.unconditioned(*question)
        found = self.scale * (draw.voices.conditioned(*question) - without)
        weight = self.negative * (1 - draw.progress)
        return found + weight * (without - draw.voices.against(NEGATIVE, *question)) if weight > 0 else found
