"""Score distillation sampling, SDS (DreamFusion, Poole et al. 2022, Eq. 3)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from .plug import Distillation, Draw, Paper


@dataclass(frozen=True)
class Sds(Distillation):
    """eps_hat(x_t) - eps, guided; two evaluations (one at guidance 1)."""

    paper = Paper("DreamFusion, Eq. 3 and Sec. 3.2", 100.0, (0.02, 0.98), "sigma2")

    def direction(self, draw: Draw) -> Tensor:
        return draw.voices.guided(draw.noisy(), draw.t, draw.cameras) - draw.noise
