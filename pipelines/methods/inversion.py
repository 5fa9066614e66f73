"""DDIM inversion and sampling on one explicit grid of noise levels (Song et al. 2021).

A grid has rungs 0 .. l; rung 0 is the clean latent, higher rungs are noisier.  Inverting climbs it, sampling climbs
down, and both ask the network about the *same* times, so that all that separates a latent from its reconstruction is
that the two directions evaluate the network on slightly different states (HiFi-123, H-A.3).  States, noise and
schedule stay in float32 whatever the network computes in.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..core.pulse import beat

Noise = Callable[[Tensor, int, int], Tensor]
"""(state [B, C, h, w], rung whose time the network is told, rung at which the state is) -> eps_hat like the state."""


@dataclass(frozen=True)
class RungGrid:
    """Noise levels of ``rungs`` equal steps from clean.

    times:  [l + 1] integer times of the network's schedule; entry 0 is never given to a network.
    alphas: [l + 1] float32 cumulative alphas; rung 0 counts as the schedule's first level, not as exactly clean.
    """

    times: Tensor
    alphas: Tensor

    @staticmethod
    def of(alphas_cumprod: Tensor, steps: int = 50, rungs: int = 30) -> "RungGrid":
        """The first ``rungs`` of a schedule [T] that is cut into ``steps`` equal parts: t_j = j T / steps."""
        if not 1 <= rungs <= steps <= len(alphas_cumprod):
            raise ValueError(f"need 1 <= rungs <= steps <= {len(alphas_cumprod)}, got {rungs} rungs of {steps} steps")
        last = len(alphas_cumprod) - 1
        times = [min(round(j * len(alphas_cumprod) / steps), last) for j in range(rungs + 1)]
        return RungGrid(torch.tensor(times), alphas_cumprod.float()[times])

    @property
    def rungs(self) -> int:
        """How many steps lead from clean to the noisiest level (l)."""
        return len(self.times) - 1

    def time(self, rung: int, like: Tensor) -> Tensor:
        """[B] the network's time at ``rung``, for states [B, ...]."""
        return torch.full((len(like),), int(self.times[rung]), device=like.device)

    def move(self, state: Tensor, noise: Tensor, start: int, stop: int) -> Tensor:
        """The state at rung ``stop``, from the one at ``start`` and its noise; float32, both directions alike."""
        a, b = self.alphas[start].to(state.device), self.alphas[stop].to(state.device)
        return (b / a).sqrt() * (state.float() - (1 - a).sqrt() * noise.float()) + (1 - b).sqrt() * noise.float()

    def clean(self, state: Tensor, noise: Tensor, rung: int) -> Tensor:
        """x_0 implied by the state at ``rung`` and its noise; float32."""
        a = self.alphas[rung].to(state.device)
        return (state.float() - (1 - a).sqrt() * noise.float()) / a.sqrt()


@torch.no_grad()
def invert(noise: Noise, clean: Tensor, grid: RungGrid, corrections: int = 0) -> Tensor:
    """[l + 1, B, C, h, w] float32 states of rungs 0 .. l whose sampling leads back to ``clean`` [B, C, h, w].

    The step to rung j asks the network at t_j about the state of rung j - 1.
    corrections: how often each step is repeated with the noise of the state it arrived at (a fixed-point iteration,
                 as in Pan et al. 2023); each costs one more evaluation and makes the reconstruction closer.
    """
    states = [clean.float()]
    for rung in range(1, grid.rungs + 1):
        beat("inversion", rung, grid.rungs)
        below = states[-1]
        state = grid.move(below, noise(below, rung, rung - 1), rung - 1, rung)
        for _ in range(corrections):
            state = grid.move(below, noise(state, rung, rung), rung - 1, rung)
        states.append(state)
    return torch.stack(states)


@dataclass(frozen=True)
class Descent:
    """What sampling went through.

    states: [l - stop + 1, B, C, h, w] from rung l down to ``stop``.
    clean:  [l - stop, B, C, h, w]; entry i is the x_0 that the network saw in ``states[i]``, i.e. at rung l - i.
    """

    states: Tensor
    clean: Tensor

    @property
    def last(self) -> Tensor:
        """[B, C, h, w] where it ended."""
        return self.states[-1]


@torch.no_grad()
def sample(
    noise: Noise, start: Tensor, grid: RungGrid, stop: int = 0, keep: Callable[[Tensor, int], Tensor] | None = None
) -> Descent:
    """Deterministic DDIM from ``start`` [B, C, h, w] at rung l down to rung ``stop``.

    keep: (state, its rung) -> state, applied after every step, for example to hold the background in place.
    """
    if not 0 <= stop < grid.rungs:
        raise ValueError(f"stop must be in 0 .. {grid.rungs - 1}, got {stop}")
    states, clean = [start.float()], []
    for rung in range(grid.rungs, stop, -1):
        beat("sampling", grid.rungs - rung, grid.rungs)
        eps = noise(states[-1], rung, rung)
        clean.append(grid.clean(states[-1], eps, rung))
        state = grid.move(states[-1], eps, rung, rung - 1)
        states.append(state if keep is None else keep(state, rung - 1))
    return Descent(torch.stack(states), torch.stack(clean))
