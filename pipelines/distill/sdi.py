"""Score distillation via inversion, SDI (Lukoianov et al. 2024, Eq. 11 and 12).

SDS is DDIM in another variable if its noise is the one that the trajectory through the render had; it is found by inverting
the render under the condition, with negative guidance.  Time falls with progress.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from .inversion import invert
from .plug import Distillation, Draw, Paper


@dataclass(frozen=True)
class Sdi(Distillation):
    """eps_guided(x_t) - kappa, x_t = sqrt(abar) z + sqrt(1 - abar) kappa.

    guidance: of the inversion.  stride: of its steps, a fraction of all times (ten steps over all of them).
    eta:      share of fresh noise in kappa (the released code mixes 0.3 into every step; here once, at the end).
    Evaluations: two for each stride below t, two at t.
    """

    guidance: float = -7.5
    stride: float = 0.1
    eta: float = 0.0

    paper = Paper("SDI, Eq. 11 and 12, App. A", 7.5, (0.02, 0.98), "snr", "annealed")

    def direction(self, draw: Draw) -> Tensor:
        """[B, C, h, w]."""
        alphas, abar = draw.voices.denoiser.alphas_cumprod, draw.abar()

        def ask(x: Tensor, t: Tensor) -> Tensor:
            return draw.voices.guided(x, t, draw.cameras, self.guidance)

        state = invert(draw.latents, draw.t, max(round(self.stride * len(alphas)), 1), alphas, ask)
        kappa = (state - abar.sqrt() * draw.latents) / (1 - abar).sqrt()
        if self.eta > 0:
            kappa = (1 - self.eta**2) ** 0.5 * kappa + self.eta * draw.noise
        return draw.voices.guided(draw.noisy(kappa), draw.t, draw.cameras) - kappa
