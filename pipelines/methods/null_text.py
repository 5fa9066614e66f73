"""Null-text inversion (Mokady et al. 2023): a guided descent that returns to its picture.

Guidance drives sampling away from an inverted path.  Nothing of the network is trained here and the prompt stays as it is;
what is learned is the context of "no words", one for every rung, so that each guided step lands on the inverted path (their
Sec. 3.2 and Algorithm 1).  HiFi-123 compares its own inversion, which needs no learning, with this one (supplementary Fig. 1).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..core.pulse import beat
from .inversion import RungGrid

Answer = Callable[[Tensor, int, Tensor], Tensor]
"""(state [B, C, h, w], rung at which it is and whose time is told, context [1, L, D]) -> eps_hat; differentiable."""


@dataclass(frozen=True)
class NullTextSettings:
    """guidance: of the descent (paper: 7.5).  steps: of Adam, at most, in each rung (paper: 10).

    rate: Adam's (paper: 0.01).  enough: mean squared distance to the path at which a rung's learning ends (paper: 1e-5).
    """

    guidance: float = 7.5
    steps: int = 10
    rate: float = 0.01
    enough: float = 1e-5


@dataclass(frozen=True)
class NullText:
    """contexts: [l, 1, L, D] of no words, for rungs l .. 1; last: [B, C, h, w] where the guided descent ended.

    asked: how many answers the network gave.
    """

    contexts: Tensor
    last: Tensor
    asked: int


def learn(
    answer: Answer, path: Tensor, words: Tensor, empty: Tensor, grid: RungGrid, settings: NullTextSettings = NullTextSettings()
) -> NullText:
    """Contexts under which the guided descent from ``path[-1]`` follows ``path`` [l + 1, B, C, h, w] down to rung 0.

    path: inverted states (``inversion.invert``) under ``words`` [1, L, D] without guidance; empty: [1, L, D], the first guess.
    Each rung begins with the context of the one above.  With settings.steps = 0 this is plain guided sampling.
    """
    state, null, kept, asked = path[-1].float(), empty.detach().clone(), [], 0
    for rung in range(grid.rungs, 0, -1):
        beat("null-text inversion", grid.rungs - rung, grid.rungs)
        with torch.no_grad():
            told = answer(state, rung, words)
        null, spent = _one_rung(answer, state, told, path[rung - 1], null, rung, grid, settings)
        with torch.no_grad():
            state = _step(answer(state, rung, null), told, state, rung, grid, settings.guidance)
        asked += spent + 2
        kept.append(null)
    return NullText(torch.stack(kept), state, asked)


def _one_rung(answer: Answer, state: Tensor, told: Tensor, target: Tensor, null: Tensor, rung: int, grid: RungGrid,
              settings: NullTextSettings) -> tuple[Tensor, int]:
    """(the context that leads from ``state`` nearest to ``target``, answers asked for)."""
    found = null.clone().requires_grad_()
    adam = torch.optim.Adam([found], lr=settings.rate)
    for done in range(settings.steps):
        with torch.enable_grad():
            loss = (_step(answer(state, rung, found), told, state, rung, grid, settings.guidance) - target).square().mean()
            found.grad = torch.autograd.grad(loss, found)[0]
        if float(loss.detach()) < settings.enough:
            return found.detach(), done + 1
        adam.step()
    return found.detach(), settings.steps


def _step(blank: Tensor, told: Tensor, state: Tensor, rung: int, grid: RungGrid, guidance: float) -> Tensor:
    """One guided step down, from the answers without words and with them."""
    return grid.move(state, blank + guidance * (told - blank), rung, rung - 1)
