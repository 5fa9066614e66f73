"""What a long stage tells the outside world, and how the outside stops it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from torch import Tensor

from .mesh import Mesh


@dataclass(frozen=True)
class Step:
    """One finished iteration.

    stage:   name for people ("NeRF stage 1").
    index:   iterations finished in this stage, 1-based.
    total:   iterations this stage is going to run at most.
    losses:  weighted loss terms by name (python floats).
    preview: [H, W, 3] sRGB in [0, 1] on the CPU, or None on most steps.
    note:    a short remark ("CLIP boundary fired"), usually empty.
    scores:  what was measured at this iteration, by name ("CLIP score"); usually empty.
    surface: makes the current surface with vertex colors, coarse and on the CPU (None where there is none yet), without
             changing the stage; None where the stage has no surface or shows no previews.
    """

    stage: str
    index: int
    total: int
    losses: dict = field(default_factory=dict)
    preview: Tensor | None = None
    note: str = ""
    scores: dict = field(default_factory=dict)
    surface: Callable[[], Mesh | None] | None = None


OnStep = Callable[[Step], None]  # may raise StopStage: the stage then returns what it has


def ignore_step(step: Step) -> None:
    """An ``on_step`` that does nothing."""


class State(Protocol):
    """A stage between two steps: all that it needs to end, later and elsewhere, bit for bit where it would have ended."""

    @property
    def step(self) -> int:
        """Iterations finished, as people were told."""
        ...

    def pack(self) -> tuple[dict[str, Tensor], dict]:
        """(tensors, JSON) that nothing changes any more; the type's ``unpack`` is the inverse."""
        ...


class KeepState(Protocol):
    """Called by a stage after every step with a way to get its state; decides whether it is time to keep it.

    now: the stage stops before its end, so this state is the last.
    """

    def __call__(self, make: Callable[[], State], now: bool = False) -> None: ...


def keep_no_state(make: Callable[[], State], now: bool = False) -> None:
    """A ``KeepState`` that keeps nothing."""
