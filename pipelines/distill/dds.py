"""Delta denoising score, DDS (Hertz et al. 2023, Eq. 3): for edits of something that is there.

The same noise is added to the picture as it is and as it was; what the network says about the second under its own words
is error that both share, and is taken away.  Where nothing was changed and the words are the same, nothing moves.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ..core.errors import InputError
from .plug import Distillation, Draw, Paper


@dataclass(frozen=True)
class Dds(Distillation):
    """eps_guided(x_t, words) - eps_guided(source's x_t, source's words); four evaluations."""

    paper = Paper("DDS, Eq. 3 and Sec. 5", 7.5, (0.05, 0.95), "uniform")
    sourced = True

    def direction(self, draw: Draw) -> Tensor:
        """[B, C, h, w]; InputError without a source."""
        if draw.source is None:
            raise InputError("distillation", "the scene as it was, for dds", "no scene",
                             "Connect the scene to Distillation's source input, and write what it shows.")
        latents, voices = draw.source()
        before = voices.guided(draw.noisy(latents=latents), draw.t, draw.cameras)
        return draw.voices.guided(draw.noisy(), draw.t, draw.cameras) - before
