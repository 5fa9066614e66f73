"""The estimate: measured over whole cycles, first iteration left out, nothing kept, and right for a known pace."""

import time
from dataclasses import replace

import pytest
from helpers.tiny_stages import MESH, NERF
from helpers.tiny_stages import reference as _reference
from lift123.pipelines.core.errors import StopStage
from lift123.pipelines.core.prior import Prior
from lift123.pipelines.core.step import Step
from lift123.pipelines.stages.objects.estimate import StageEstimate, Stopwatch, estimate, report


class Slow(Prior):
    """A prior that takes a known time."""

    name = "slow"

    def __init__(self, seconds):
        self.seconds, self.calls = seconds, 0

    def loss(self, images, cameras, progress, generator):
        self.calls += 1
        time.sleep(self.seconds)
        return images.square().flatten(1).mean(1)


def timed(ticks, steps, patience) -> Stopwatch:
    """A stopwatch on a clock that shows ``ticks``; runs until it stops the stage, which it must do exactly at the end."""
    clock = iter(ticks)
    watch = Stopwatch(steps, patience, clock=lambda: next(clock))
    for _ in ticks[1:-1]:
        watch(Step("NeRF", 1, 10, {}))
    with pytest.raises(StopStage):
        watch(Step("NeRF", 1, 10, {}))
    return watch


def test_stopwatch_leaves_out_the_first_iteration_and_stops():
    assert timed([0.0, 100.0, 101.0, 103.0, 106.0], 3, 1000.0).per_step == 2.0


def test_stopwatch_loses_patience():
    assert timed([0.0, 20.0, 45.0], 8, 30.0).per_step == 25.0


def test_a_first_iteration_beyond_all_patience_is_the_measurement():
    watch = timed([0.0, 47.0], 8, 30.0)
    assert watch.per_step == 47.0 and len(watch.durations) == 1


def test_estimate_finds_the_pace_of_a_slow_prior_in_both_stages():
    pause = 0.15  # much longer than an iteration of this tiny preset takes by itself
    prior = Slow(pause)
    nerf = replace(NERF, iterations=400, mode="alternate", reference_every=4, reference_first=100)
    stages = estimate(_reference(), prior, prior, nerf, replace(MESH, iterations=200), peak=lambda: 3 * 2**30)
    first, second = stages
    assert (first.measured, second.measured) == (8, 8)
    assert first.iterations == 400 and first.per_step >= 0.75 * pause, "three of four iterations ask the prior"
    assert second.per_step >= pause and second.seconds == second.per_step * 200
    assert prior.calls <= 18, "a warm-up, not a run"
    text = report(stages, lambda s: f"{s:.0f} s")
    assert "3.0 GB" in text and f"together: about {first.seconds + second.seconds:.0f} s" in text


def test_canceling_goes_through():
    def cancel(step):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        estimate(_reference(), None, None, NERF, MESH, watch=cancel)


def test_seconds_of_a_stage():
    assert StageEstimate("mesh", 150, 0.5, 8).seconds == 75.0
