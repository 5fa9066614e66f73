"""Sums of priors, and Consistent123's dynamic prior with its clock."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import get_args

import torch
from torch import Tensor

from ..core.cameras import Cameras
from ..core.choices import Clock
from ..core.prior import Outline, Prior
from ..core.schedules import Constant, DynamicFall, DynamicRise, Form, Schedule

CLOCKS = get_args(Clock)


class Combined(Prior):
    """What priors made of other priors have in common: they pass on whatever a stage says or asks.

    parts: in the order in which they are asked; it is also their number in :meth:`memory`.
    """

    @property
    def parts(self) -> tuple[Prior, ...]:
        """The priors inside."""
        raise NotImplementedError

    @property
    def knows_reference(self) -> bool:
        """Whether any part does."""
        return any(part.knows_reference for part in self.parts)

    @property
    def backdrop(self) -> str:
        """Of the first part that wants one."""
        return next((part.backdrop for part in self.parts if part.backdrop), "")

    def choose(self, step: int, cameras: Cameras) -> Cameras:
        """The first part that has views of its own decides which ones this step shows."""
        for part in self.parts:
            chosen = part.choose(step, cameras)
            if chosen is not cameras:
                return chosen
        return cameras

    def on_surface(self, outline: Outline, frozen: bool) -> None:
        """Tells all parts; InputError when one of them cannot work on that surface."""
        for part in self.parts:
            part.on_surface(outline, frozen)

    def evaluations(self) -> dict[str, float]:
        """Of all parts."""
        return {name: count for part in self.parts for name, count in part.evaluations().items()}

    def memory(self) -> tuple[dict[str, Tensor], dict | None]:
        """(tensors, JSON) of the parts that remember something, by their number."""
        found = {str(i): part.memory() for i, part in enumerate(self.parts)}
        found = {i: kept for i, kept in found.items() if kept[1] is not None}
        tensors = {f"{i}/{name}": value for i, (kept, _) in found.items() for name, value in kept.items()}
        return tensors, {i: meta for i, (_, meta) in found.items()}

    def recall(self, tensors: dict[str, Tensor], meta: dict | None) -> bool:
        """Lets the parts go on from :meth:`memory`; whether any did."""
        done = []
        for i, part in enumerate(self.parts):
            mine = {k.partition("/")[2]: v for k, v in tensors.items() if k.startswith(f"{i}/")}
            done.append(part.recall(mine, (meta or {}).get(str(i))))
        return any(done)


class SumPrior(Combined):
    """Weighted sum of priors; ``terms`` are (prior, schedule over progress).

    A prior whose weight is 0 is not evaluated.  Raises ValueError without terms, and for two different clocks.
    """

    def __init__(self, terms: Iterable[tuple[Prior, Schedule]]):
        self.terms = tuple(terms)
        if not self.terms:
            raise ValueError("a sum of priors needs at least one prior")
        self.name = "+".join(part.name for part in self.parts)
        self.clock = one_clock(self.parts)

    @property
    def parts(self) -> tuple[Prior, ...]:
        """The priors of the terms."""
        return tuple(prior for prior, _ in self.terms)

    def at(self, x: float | None) -> Prior:
        """The sum of what the parts are at clock ``x``."""
        return self if self.clock is None else SumPrior((prior.at(x), schedule) for prior, schedule in self.terms)

    def loss(self, images: Tensor, cameras: Cameras, progress: float, generator: torch.Generator) -> Tensor:
        """[B]; the terms draw from the generator in order."""
        total = images.new_zeros(len(images))
        for prior, schedule in self.terms:
            weight = schedule(progress)
            if weight != 0:
                total = total + weight * prior.loss(images, cameras, progress, generator)
        return total


def one_clock(parts: Iterable[Prior]) -> Clock | None:
    """The clock of those parts that have one; ValueError when they differ, for a stage has one clock."""
    found: set[Clock] = {part.clock for part in parts if part.clock is not None}
    if len(found) > 1:
        raise ValueError(f"priors of one sum must share their clock, got {sorted(found)}")
    return next(iter(found), None)


@dataclass(frozen=True)
class DynamicPrior(Combined):
    """Consistent123's dynamic prior (Eq. 7-9): the 3D prior alone until the boundary, then a ramp
    from the 3D to the 2D prior.

    form:  "exponential", "linear" or "log" (C-D.3).
    clock: "local": 0 at the switch, 1 at the end of the mesh stage (the released code);
           "global": iterations over all iterations (the paper's wording).
    stretch: sigma; the ramp is read at x / sigma (strategy (c) of the paper's Table 6: 1.5 on the global clock).
    full_2d: the 2D prior has weight 1 from the switch on, only the 3D prior ramps (strategy (b)).
    """

    prior3d: Prior
    prior2d: Prior
    form: Form = "exponential"
    clock: Clock = "local"
    stretch: float = 1.0
    full_2d: bool = False

    def __post_init__(self):
        DynamicRise(self.form)(0.0)  # fails now on an unknown form
        if self.clock not in CLOCKS:
            raise ValueError(f"clock must be one of {CLOCKS}, got {self.clock!r}")
        if not self.stretch > 0:
            raise ValueError(f"stretch must be above 0, got {self.stretch}")
        one_clock((self, *self.parts))

    @property
    def name(self) -> str:
        return "dynamic"

    @property
    def parts(self) -> tuple[Prior, ...]:
        """The 3D prior and the 2D prior."""
        return self.prior3d, self.prior2d

    def weights(self, x: float | None) -> tuple[float, float]:
        """(3D weight, 2D weight) at clock ``x``; None is the 3D-only phase."""
        if x is None:
            return 1.0, 0.0
        x = x / self.stretch
        return DynamicFall(self.form)(x), 1.0 if self.full_2d else DynamicRise(self.form)(x)

    def at(self, x: float | None) -> Prior:
        """The prior with its weights frozen at clock ``x``; the 2D prior is left out before the switch."""
        if x is None:
            return self.prior3d.at(x)
        w3, w2 = self.weights(x)
        return SumPrior(((self.prior3d.at(x), Constant(w3)), (self.prior2d.at(x), Constant(w2))))

    def memory(self) -> tuple[dict[str, Tensor], dict | None]:
        """As of any combination, but None where no part remembers anything: scenes of plain priors stay as they were."""
        tensors, meta = super().memory()
        meta = {i: kept for i, kept in (meta or {}).items() if kept}
        return tensors, meta or None

    def loss(self, images: Tensor, cameras: Cameras, progress: float, generator: torch.Generator) -> Tensor:
        """[B], with progress as the clock (stages use :meth:`at`)."""
        return self.at(progress).loss(images, cameras, progress, generator)


def dynamic_clock(
    step: int, switch: int | None, nerf_total: int, mesh_total: int, clock: Clock | None = "local"
) -> float | None:
    """Clock x in [0, 1] at 0-based overall ``step`` (mesh steps counted after all NeRF steps).

    None before the switch.  x is 0 at the switch and 1 at the last step of the mesh stage.
    clock: a prior's; None (the prior has no clock) reads as "local", for nobody looks.
    """
    if switch is None or step < switch:
        return None
    start = 0 if clock == "global" else switch
    return min(max((step - start) / max(nerf_total + mesh_total - 1 - start, 1), 0.0), 1.0)
