"""A depth-conditioned network as the noise that inversion and sampling ask for, with a record of what it answered."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from ..core.errors import InputError
from ..core.journal import Journal
from ..core.step import OnStep, Step, ignore_step
from ..networks.depth_text import sees_depth
from .inversion import RungGrid

NAME = "RGNV"


class ShowsDepth(Protocol):
    """Of the settings, what is asked here: whether the network is shown depth maps."""

    @property
    def depth(self) -> bool: ...


@dataclass
class Evaluations:
    """UNet evaluations: ``calls`` of the network, on ``pictures`` in all (a guidance pair is two)."""

    calls: int = 0
    pictures: int = 0


class DepthNoise:
    """One network, told a depth map and words, as the noise that ``inversion`` asks for; counts what it evaluates.

    With a journal (:meth:`write_down`), answers that it knows are looked up.
    """

    def __init__(self, network, grid: RungGrid, settings: ShowsDepth):
        self.network, self.runtime, self.grid, self.settings = network, network.runtime, grid, settings
        self.spent = Evaluations()
        self._said: dict[str, Tensor] = {}
        self.journal: Journal | None = None
        self.on_step, self.total = ignore_step, 0
        self.also: Callable[[], dict[str, Tensor]] = dict  # tensors that an evaluation leaves elsewhere, for the journal
        self._chapter, self._page = "", 0

    def write_down(self, journal: Journal, on_step: OnStep, total: int) -> None:
        """From now on answers are kept; ``on_step`` hears of every new one of ``total``."""
        self.journal, self.on_step, self.total = journal, on_step, total

    def chapter(self, name: str, make: Callable[[], Tensor]) -> Tensor:
        """``make()``, which asks for a number of answers; once it is known, they are not kept any longer."""
        journal = self.journal
        if journal is None:
            return make()
        whole, spent = f"{name}/whole", f"{name}/spent"
        if whole in journal.parts:
            self.spent.calls, self.spent.pictures = journal.parts[spent].tolist()
        else:
            self._chapter, self._page = f"{name}/answer/", 0
            made = make()
            journal.forget(self._chapter)
            journal.add({whole: made, spent: torch.tensor([self.spent.calls, self.spent.pictures])})
        return journal.parts[whole]

    def _known(self, make: Callable[[], Tensor]) -> Tensor:
        """The chapter's next answer, looked up or made."""
        journal = self.journal
        if journal is None:
            return make()
        self._page, before = self._page + 1, journal.step
        answer = journal.keep(f"{self._chapter}{self._page}", make, 1, self.also)
        if journal.step != before:
            self.on_step(Step(NAME, journal.step, self.total))
        return answer

    @property
    def empty(self) -> Tensor:
        """[1, L, D] context of the empty prompt."""
        return self.words([""])

    def words(self, texts: list[str]) -> Tensor:
        """[N, L, D] contexts, each text encoded once; InputError for networks with more than one text encoder."""
        new = [text for text in dict.fromkeys(texts) if text not in self._said]
        if new:
            self._said.update(zip(new, self._encode(new), strict=True))
        return torch.stack([self._said[text] for text in texts])

    @torch.no_grad()
    def _encode(self, texts: list[str]) -> Tensor:
        given = self.network.encoder.text_condition(texts)
        if set(given) != {"context"}:
            raise InputError("network", "Stable Diffusion 1.x or 2.x", "an SDXL network", "Choose a depth-text network.")
        return given["context"]

    def extra(self, depth: Tensor | None, like: Tensor) -> dict:
        """The depth channel as a condition, or none for networks without."""
        if not sees_depth(self.runtime):
            return {}
        if depth is None or not self.settings.depth:
            return {"extra": like.new_full((len(like), 1, *like.shape[2:]), -1.0)}
        return {"extra": depth.to(like).expand(len(like), -1, -1, -1)}

    def one(self, depth: Tensor | None, context: Tensor | None = None):
        """The noise under one context (default: of the empty prompt), without guidance."""

        def noise(state: Tensor, rung: int, level: int) -> Tensor:
            words = (self.empty if context is None else context).expand(len(state), -1, -1)
            return self.evaluate(state, rung, level, {"context": words, **self.extra(depth, state)})

        return noise

    def guided(self, depth: Tensor | None, positive: Tensor, negative: Tensor, guidance: float):
        """eps_u + s (eps_c - eps_u); where both sides are the same, or s is 0 or 1, one of them is not evaluated."""
        if guidance == 0.0:
            return self.one(depth, negative)
        if guidance == 1.0 or (positive.shape[1:] == negative.shape[1:] and bool((positive == negative).all())):
            return self.one(depth, positive)

        def noise(state: Tensor, rung: int, level: int) -> Tensor:
            count = len(state)
            words = torch.cat([negative.expand(count, -1, -1), positive.expand(count, -1, -1)])
            condition = {"context": words, **{k: v.repeat(2, 1, 1, 1) for k, v in self.extra(depth, state).items()}}
            eps_u, eps_c = self.evaluate(state.repeat(2, 1, 1, 1), rung, level, condition).chunk(2)
            return eps_u + guidance * (eps_c - eps_u)

        return noise

    def evaluate(self, state: Tensor, rung: int, level: int, condition: dict) -> Tensor:
        """One call of the network, told the time of ``rung``, on states [B, C, h, w] that are at ``level``."""
        self.spent.calls += 1
        self.spent.pictures += len(state)
        told = self.grid.time(rung, state), condition, self.grid.time(level, state)
        return self._known(lambda: self.runtime.noise(state, *told)).to(state.device)
