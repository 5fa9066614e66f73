"""Variational score distillation, VSD (ProlificDreamer, Wang et al. 2023, Eq. 9 and Algorithm 1).

The noise of SDS is replaced by the answer of a second network that learns what is rendered (``learners.py``).  It learns
from a step's latents when the next step begins, so that a step that is tried again is told the same.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ..core.randomness import normal
from .learners import GaussianLearner
from .memory import Seen, pack_adam, unpack_adam
from .plug import Distillation, Draw, Paper


@dataclass
class Vsd(Distillation):
    """eps_guided - eps_phi: two evaluations, one of the learner, and one with its gradient per training step.

    rate: of Adam; steps: of training per step of the stage; rank: of the LoRA."""

    rate: float = 1e-4
    steps: int = 1
    rank: int = 4
    _seen: Seen = field(init=False, default_factory=Seen)
    _learner: Any = field(init=False, default=None)
    _adam: Any = field(init=False, default=None)
    _kept: Any = field(init=False, default=None)

    paper = Paper("ProlificDreamer, Eq. 9, Algorithm 1, Sec. 4", 7.5, (0.02, 0.98), "sigma2")

    def direction(self, draw: Draw) -> Tensor:
        """[B, C, h, w]; learns first from the step before."""
        self._begin(draw)
        if self._seen.latents and self._seen.key != draw.generator.initial_seed():
            self._train(draw)
        question = (draw.noisy(), draw.t, draw.cameras)
        draw.voices.asked += len(draw.latents)
        return draw.voices.guided(*question) - self._learner.predict(*question).detach()

    def learn(self, draw: Draw) -> None:
        self._seen.add(draw.generator.initial_seed(), draw.latents, draw.cameras)

    def forget(self) -> None:
        self._seen, self._learner, self._adam, self._kept = Seen(), None, None, None

    def memory(self) -> tuple[dict[str, Tensor], dict | None]:
        return ({}, None) if self._learner is None else pack_adam(self._adam, self._seen, self._learner.parameters())

    def recall(self, tensors: dict[str, Tensor], meta: dict | None) -> bool:
        """Kept until the network is known, with the first step."""
        self._kept = (tensors, meta) if meta else None
        return bool(meta)

    def _begin(self, draw: Draw) -> None:
        if self._learner is not None:
            return
        network, make = draw.voices.denoiser, getattr(draw.voices.denoiser, "learner", None)
        fixed = torch.Generator().manual_seed(self.rank)
        self._learner = make(self.rank, fixed) if make else GaussianLearner(network.alphas_cumprod, draw.latents.shape[1:])
        self._adam = torch.optim.Adam(self._learner.parameters(), lr=self.rate * self._learner.rate)
        if self._kept:
            self._seen = unpack_adam(self._adam, self._learner.parameters(), *self._kept)

    def _train(self, draw: Draw) -> None:
        (latents, cameras), own = self._seen.all(draw.latents), torch.Generator().manual_seed(self._seen.key)
        for _ in range(self.steps):
            t = torch.randint(0, len(draw.voices.denoiser.alphas_cumprod), (len(latents),), generator=own).to(latents.device)
            noise, abar = normal(latents.shape, own, latents), draw.abar(t)
            with torch.enable_grad():
                answer = self._learner.predict(abar.sqrt() * latents + (1 - abar).sqrt() * noise, t, cameras)
                (answer - noise).square().mean().backward()
            self._adam.step()
            self._adam.zero_grad()
        draw.voices.asked, self._seen = draw.voices.asked + self.steps * len(latents), Seen()
