"""Sums of priors, and Consistent123's dynamic prior with its clock."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..core.cameras import Cameras
from ..core.protocols import Prior
from ..core.schedules import Constant, DynamicFall, DynamicRise

CLOCKS = ("local", "global")


class SumPrior:
    """Weighted sum of priors; ``terms`` are (prior, schedule over progress).

    A prior whose weight is 0 is not evaluated.
    """

    def __init__(self, terms):
        self.terms = tuple(terms)
        if not self.terms:
            raise ValueError("a sum of priors needs at least one prior")
        self.name = "+".join(getattr(p, "name", "prior") for p, _ in self.terms)
        self.knows_reference = any(getattr(p, "knows_reference", True) for p, _ in self.terms)
        self.backdrop = next((p.backdrop for p, _ in self.terms if getattr(p, "backdrop", "")), "")

    def choose(self, step: int, cameras: Cameras) -> Cameras:
        """The first term that has views of its own decides which ones this step shows."""
        chooser = next((p for p, _ in self.terms if hasattr(p, "choose")), None)
        return cameras if chooser is None else chooser.choose(step, cameras)

    def on_surface(self, outline, frozen: bool) -> None:
        """Tells the terms that want to know what the surface looks like (see ``rgsd``)."""
        for prior, _ in self.terms:
            if hasattr(prior, "on_surface"):
                prior.on_surface(outline, frozen)

    def memory(self) -> tuple[dict[str, Tensor], dict]:
        """(tensors, JSON) of the terms that remember something (see ``rgsd``)."""
        found = {str(i): prior.memory() for i, (prior, _) in enumerate(self.terms) if hasattr(prior, "memory")}
        tensors = {f"{i}/{name}": value for i, (kept, _) in found.items() for name, value in kept.items()}
        return tensors, {i: meta for i, (_, meta) in found.items()}

    def recall(self, tensors: dict[str, Tensor], meta: dict | None) -> None:
        """Lets those terms go on from :meth:`memory`."""
        for i, (prior, _) in enumerate(self.terms):
            if hasattr(prior, "recall"):
                mine = {k.partition("/")[2]: v for k, v in tensors.items() if k.startswith(f"{i}/")}
                prior.recall(mine, (meta or {}).get(str(i)))

    def loss(self, images: Tensor, cameras: Cameras, progress: float, generator: torch.Generator) -> Tensor:
        """[B]; the terms draw from the generator in order."""
        total = images.new_zeros(len(images))
        for prior, schedule in self.terms:
            weight = schedule(progress)
            if weight != 0:
                total = total + weight * prior.loss(images, cameras, progress, generator)
        return total


@dataclass(frozen=True)
class DynamicPrior:
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
    form: str = "exponential"
    clock: str = "local"
    stretch: float = 1.0
    full_2d: bool = False

    def __post_init__(self):
        DynamicRise(self.form)(0.0)  # fails now on an unknown form
        if self.clock not in CLOCKS:
            raise ValueError(f"clock must be one of {CLOCKS}, got {self.clock!r}")
        if not self.stretch > 0:
            raise ValueError(f"stretch must be above 0, got {self.stretch}")

    @property
    def name(self) -> str:
        return "dynamic"

    @property
    def knows_reference(self) -> bool:
        return any(getattr(p, "knows_reference", True) for p in (self.prior3d, self.prior2d))

    def weights(self, x: float | None) -> tuple[float, float]:
        """(3D weight, 2D weight) at clock ``x``; None is the 3D-only phase."""
        if x is None:
            return 1.0, 0.0
        x = x / self.stretch
        return DynamicFall(self.form)(x), 1.0 if self.full_2d else DynamicRise(self.form)(x)

    def at(self, x: float | None) -> Prior:
        """The prior with its weights frozen at clock ``x``; the 2D prior is left out before the switch."""
        if x is None:
            return self.prior3d
        w3, w2 = self.weights(x)
        return SumPrior(((self.prior3d, Constant(w3)), (self.prior2d, Constant(w2))))

    def loss(self, images: Tensor, cameras: Cameras, progress: float, generator: torch.Generator) -> Tensor:
        """As protocol ``Prior``, with progress as the clock (stages use :meth:`at`)."""
        return self.at(progress).loss(images, cameras, progress, generator)


def dynamic_clock(step: int, switch: int | None, nerf_total: int, mesh_total: int, clock: str = "local"):
    """Clock x in [0, 1] at 0-based overall ``step`` (mesh steps counted after all NeRF steps).

    None before the switch.  x is 0 at the switch and 1 at the last step of the mesh stage.
    """
    if switch is None or step < switch:
        return None
    start = switch if clock == "local" else 0
    return min(max((step - start) / max(nerf_total + mesh_total - 1 - start, 1), 0.0), 1.0)
