"""An optimizer of vertex positions that remeshes as it goes (Palfinger 2022; numbers of S-D.9).

Adam without a learning rate per unit: a vertex moves by a share of the edge length wanted around it, and how steadily it
moves decides that length: far from the goal edges grow, near it they shrink and detail appears.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .remesh import Surface, check_manifold, remesh
from .remesh_edges import edge_table

_TINY = 1e-8


@dataclass(frozen=True)
class RemeshConfig:
    """Settings of one stage.

    rate:      step as a share of the wanted edge length; decay: its factor per step, after the step or before it
               (decay_first: so the first step's rate is already smaller; StdGEN's code).
    shortest, longest: limits of the wanted edge length, scene units.
    gain:      how fast the wanted length follows the speed; local: each vertex its own, else one for the mesh.
    every:     steps between two remeshings; 0 = never.  early: the first follows the first step (StdGEN's code), not the
               ``every``-th.
    ramp:      the rate rises over about this many times five steps: its factors are k (1 - beta) / ramp, at most 1.
    beta:      memory of both moments.
    speed:     speed (0..1) at which the wanted length stays as it is.
    laplacian: pull towards the mean of the neighbors, times the speed.
    limit:     a gradient's component may be so many times its running mean.
    most_vertices: above it no edge is split.
    """

    rate: float = 0.3
    decay: float = 1.0
    decay_first: bool = False
    shortest: float = 0.01
    longest: float = 0.15
    gain: float = 0.2
    local: bool = True
    every: int = 1
    early: bool = False
    ramp: float = 5.0
    beta: float = 0.8
    speed: float = 0.3
    laplacian: float = 0.02
    limit: float = 10.0
    most_vertices: int = 10_000_000

    def __post_init__(self):
        if not 0 < self.shortest <= self.longest:
            raise ValueError(
                f"edge lengths must satisfy 0 < shortest <= longest, got {self.shortest} and {self.longest}"
            )
        if not 0 < self.beta < 1 or self.rate <= 0 or self.every < 0:
            raise ValueError(f"beta {self.beta}, rate {self.rate} or every {self.every} is out of range")


class RemeshOptimizer:
    """Moves and remeshes one surface.

    points [V, 3] (a leaf that asks for gradients) and faces [F, 3] are new tensors after every :meth:`step`.
    """

    def __init__(self, points: Tensor, faces: Tensor, config: RemeshConfig, generator: torch.Generator):
        """Raises InputError for a surface that is not manifold.  generator: on the CPU, for remeshing."""
        check_manifold(faces, len(points))
        self.config, self.generator, self.steps, self.rate = config, generator, 0, config.rate
        zero = torch.zeros_like(points.detach())
        self._first, self._second, self.speed = zero.clone(), zero[:, 0].clone(), zero[:, 0].clone()
        self.length = torch.full_like(zero[:, 0], config.longest)
        self.faces = faces
        self.points = points.detach().clone().requires_grad_(True)

    @torch.no_grad()
    def step(self) -> None:
        """Uses the gradients of :attr:`points`; remeshes when it is time."""
        self.steps += 1
        points = self.points.detach()
        gradient = self.points.grad if self.points.grad is not None else torch.zeros_like(points)
        gradient = gradient + self.config.laplacian * self.speed[:, None] * (
            points - _neighbor_mean(points, self.faces)
        )
        if self.steps > 1:
            bound = self.config.limit * self._first.abs()
            bound = torch.where(bound > 0, bound, torch.inf)  # who never had a gradient may get its first
            gradient = torch.minimum(torch.maximum(gradient, -bound), bound)
        keep, take = self._weights()
        self._first = self._first * keep + gradient * take
        self._second = self._second * keep + gradient.square().sum(-1) * take
        move = self._first / (self._second.sqrt()[:, None] + _TINY)
        self.speed = move.norm(dim=-1)
        config = self.config
        warm = min(1.0, self.steps * (1 - config.beta) / config.ramp)
        rate = self.rate * config.decay if config.decay_first else self.rate
        points = points - rate * warm * self.length[:, None] * move
        self.rate *= config.decay
        if config.every and (self.steps - int(config.early)) % config.every == 0:
            points = self._remesh(points)
        self.points = points.requires_grad_(True)

    def _weights(self) -> tuple[float, float]:
        """Weights of the old mean and the new value in a mean whose start at 0 is corrected."""
        beta, k = self.config.beta, self.steps
        return beta * (1 - beta ** (k - 1)) / (1 - beta**k), (1 - beta) / (1 - beta**k)

    def _remesh(self, points: Tensor) -> Tensor:
        config = self.config
        speed = self.speed if config.local else self.speed.mean()
        length = self.length * (1 + (speed - config.speed) * config.gain)
        self.length = length.clamp(config.shortest, config.longest)
        values = torch.cat([self._first, self._second[:, None], self.speed[:, None]], dim=1)
        longest = 1.5 if len(points) < config.most_vertices else torch.inf
        after = remesh(Surface(points, self.faces, self.length, values), self.generator, longest=longest)
        self.faces, self.length = after.faces, after.length
        self._first, self._second, self.speed = (
            v.contiguous() for v in (after.values[:, :3], *after.values[:, 3:].unbind(1))
        )
        return after.points

    def state(self) -> dict:
        """Everything but the generator and the settings, as tensors, for :meth:`restore`."""
        names = ("points", "faces", "length", "_first", "_second", "speed")
        out = {name.strip("_"): getattr(self, name).detach().cpu().clone() for name in names}
        return out | {"steps": torch.tensor(self.steps), "rate": torch.tensor(self.rate, dtype=torch.float64)}

    def restore(self, state: dict) -> None:
        """Continues from :meth:`state`."""
        device = self.points.device
        for name in ("faces", "length", "speed"):
            setattr(self, name, state[name].to(device))
        self._first, self._second = state["first"].to(device), state["second"].to(device)
        self.points = state["points"].to(device).requires_grad_(True)
        self.steps, self.rate = int(state["steps"]), float(state["rate"])


def _neighbor_mean(points: Tensor, faces: Tensor) -> Tensor:
    a, b = edge_table(faces, len(points)).ends.unbind(1)
    total = torch.zeros_like(points).index_add(0, a, points[b]).index_add(0, b, points[a])
    count = torch.bincount(torch.cat([a, b]), minlength=len(points)).clamp(min=1)
    return total / count[:, None]
