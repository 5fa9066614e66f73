"""How long a preset will take on this machine, from a few measured iterations of both stages.

The iterations are real ones, on a throw-away scene.  What they cannot show: a radiance field gets emptier, and so
faster, as it learns; occupancy refreshes and CLIP checks are rare and left out.  Stages update the figure while they run.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeVar

import torch

from ...core.errors import StopStage
from ...core.prior import Prior
from ...core.step import OnStep, Step
from ..inputs.reference import ReferenceView
from ..loop.scene import Scene
from ..loop.step_config import StepConfig
from .fit_nerf import NerfConfig, fit_nerf
from .refine_mesh import MeshConfig, refine_mesh

Config = TypeVar("Config", bound=StepConfig)
CYCLES = 2  # periods of reference and novel iterations that are measured


@dataclass(frozen=True)
class StageEstimate:
    """One stage.  per_step: seconds of an average iteration; measured: iterations behind that; peak: bytes or None."""

    stage: str
    iterations: int
    per_step: float
    measured: int
    peak: int | None = None

    @property
    def seconds(self) -> float:
        """Of the whole stage."""
        return self.per_step * self.iterations


class Stopwatch:
    """``on_step`` that times iterations, the first one left out (it loads and compiles), and then stops the stage.

    steps: to measure; patience: seconds after which fewer must do.  If the first iteration alone takes longer than
    that, it is the measurement.
    """

    def __init__(self, steps: int, patience: float, clock: Callable[[], float] = time.perf_counter):
        self.steps, self.patience, self.clock = steps, patience, clock
        self.marks = [clock()]

    def __call__(self, step: Step) -> None:
        self.marks.append(self.clock())
        spent = self.marks[-1] - self.marks[0]
        if len(self.marks) > self.steps + 1 or spent > self.patience:
            raise StopStage()

    @property
    def durations(self) -> list[float]:
        """Seconds of the measured iterations."""
        each = [after - before for before, after in zip(self.marks, self.marks[1:])]
        return each[1:] or each

    @property
    def per_step(self) -> float:
        """Mean seconds of the measured iterations."""
        return sum(self.durations) / len(self.durations)


def estimate(
    reference: ReferenceView,
    nerf_prior: Prior | None,
    mesh_prior: Prior | None,
    nerf: NerfConfig,
    mesh: MeshConfig,
    *,
    device: torch.device | str = "cpu",
    patience: float = 30.0,
    peak: Callable[[], int] | None = None,
    watch: Callable[[Step], None] = lambda step: None,
) -> list[StageEstimate]:
    """Estimates of the NeRF and the mesh stage under their priors (None: the reference view alone).

    patience: seconds of measuring per stage.  peak: asked for the peak memory so far, bytes.
    watch: sees every iteration and may raise what it likes (canceling).
    """
    prior = _amid(nerf_prior)
    scene, first = _measure(
        "NeRF", nerf, lambda config, on_step: fit_nerf(reference, prior, config, device=device, on_step=on_step),
        patience, peak, watch,
    )
    prior = _amid(mesh_prior)
    _, second = _measure(
        "mesh", mesh, lambda config, on_step: refine_mesh(prior, scene, config, device=device, on_step=on_step),
        patience, peak, watch,
    )
    return [first, second]


def _amid(prior: Prior | None) -> Prior | None:
    """A dynamic prior as both of its parts work, which is so in most steps."""
    return None if prior is None else prior.at(0.5)


def _measure(
    name: str, config: Config, run: Callable[[Config, OnStep], Scene], patience: float, peak, watch
) -> tuple[Scene, StageEstimate]:
    cycle = config.reference_every if config.mode == "alternate" else 4
    watchman = Stopwatch(min(CYCLES * cycle, max(config.iterations - 1, 1)), patience)

    def on_step(step: Step) -> None:
        watch(step)
        watchman(step)

    # A stage that begins with reference views alone, or small, would not show what its later iterations cost.
    grown = {"early_until": 0.0} if hasattr(config, "early_until") else {}
    scene = run(replace(config, reference_first=0, preview_every=0, **grown), on_step)
    measured = len(watchman.durations)
    return scene, StageEstimate(name, config.iterations, watchman.per_step, measured, peak() if peak else None)


def report(stages: list[StageEstimate], duration: Callable[[float], str]) -> str:
    """Lines for people; ``duration`` words seconds."""
    lines = [
        f"{s.stage}: about {duration(s.seconds)} ({s.iterations} iterations of {s.per_step:.2f} s, {s.measured} measured)"
        + (f", peak memory so far {s.peak / 2**30:.1f} GB" if s.peak else "")
        for s in stages
    ]
    return "\n".join([*lines, f"together: about {duration(sum(s.seconds for s in stages))}"])
