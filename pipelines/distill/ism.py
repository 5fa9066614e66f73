"""Interval score matching, ISM (LucidDreamer, Liang et al. 2023, Eq. 11 to 14).

The render is inverted without condition to x_s and one interval further to x_t; the guided answer there is compared with
the unconditioned one at x_s.  No noise is drawn, so that equal renders are told equal things.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from .inversion import invert, step
from .plug import Distillation, Draw, Paper


@dataclass(frozen=True)
class Ism(Distillation):
    """eps_guided(x_t) - eps_u(x_s), s = t - interval.

    interval, stride: delta_T and delta_S, fractions of all times (the paper's 50 and 200 of 1000).
    Evaluations: s over stride, rounded up, one at x_s and two at x_t.
    """

    interval: float = 0.05
    stride: float = 0.2

    paper = Paper("LucidDreamer, Eq. 11 to 14 and Sec. 5", 7.5, (0.02, 0.55), "snr")

    def direction(self, draw: Draw) -> Tensor:
        """[B, C, h, w]."""
        alphas = draw.voices.denoiser.alphas_cumprod
        s = (draw.t - max(round(self.interval * len(alphas)), 1)).clamp_min(0)

        def ask(x: Tensor, t: Tensor) -> Tensor:
            return draw.voices.unconditioned(x, t, draw.cameras)

        x_s = invert(draw.latents, s, max(round(self.stride * len(alphas)), 1), alphas, ask)
        before = ask(x_s, s)
        x_t = step(x_s, draw.abar(s), draw.abar(), before)
        return draw.voices.guided(x_t, draw.t, draw.cameras) - before
