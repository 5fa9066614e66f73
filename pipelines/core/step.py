"""What a long stage tells the outside world, and how the outside stops it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from torch import Tensor


@dataclass(frozen=True)
class Step:
    """One finished iteration.

    stage:   name for people ("NeRF stage 1").
    index:   iterations finished in this stage, 1-based.
    total:   iterations this stage is going to run at most.
    losses:  weighted loss terms by name (python floats).
    preview: [H, W, 3] sRGB in [0, 1] on the CPU, or None on most steps.
    note:    a short remark ("CLIP boundary fired"), usually empty.
    """

    stage: str
    index: int
    total: int
    losses: dict = field(default_factory=dict)
    preview: Tensor | None = None
    note: str = ""


OnStep = Callable[[Step], None]  # may raise StopStage: the stage then returns what it has


def ignore_step(step: Step) -> None:
    """An ``on_step`` that does nothing."""
