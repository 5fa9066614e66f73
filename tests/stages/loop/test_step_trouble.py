"""What the loop does when numbers or memory run out: nothing learned is lost, and the message says what to do."""

import math
from dataclasses import replace

import pytest
import torch
from helpers.tiny_stages import MESH, NERF
from helpers.tiny_stages import nerf as coarse
from helpers.tiny_stages import oracle as _oracle
from helpers.tiny_stages import reference as _reference
from lift123.pipelines.core.errors import NotFinite, OutOfRoom
from lift123.pipelines.core.far import pretending
from lift123.pipelines.core.prior import Prior
from lift123.pipelines.core.schedules import Constant
from lift123.pipelines.stages.objects import fit_nerf as nerf_stage
from lift123.pipelines.stages.objects import refine_mesh as mesh_stage
from lift123.pipelines.stages.objects.fit_nerf import fit_nerf
from lift123.pipelines.stages.objects.refine_mesh import refine_mesh


class Turns(Prior):
    """A prior like the oracle until call ``bad``; from then on its pictures' gradient is nan."""

    name = "spoiled"

    def __init__(self, bad: int):
        self.inner, self.bad, self.calls = _oracle(), bad, 0

    def loss(self, images, cameras, progress, generator):
        self.calls += 1
        value = self.inner.loss(images, cameras, progress, generator)
        return value if self.calls < self.bad else value + (images.sum((1, 2, 3)) - images.sum((1, 2, 3)).detach()) * math.nan


def test_gradient_without_a_number_stops_with_iteration_prior_and_state():
    kept = []
    with pytest.raises(NotFinite, match=r"NeRF iteration 6: spoiled prior.*float32"):
        fit_nerf(_reference(), Turns(6), NERF, seed=3, on_checkpoint=kept.append)
    assert kept[-1].step == 5
    before = fit_nerf(_reference(), _oracle(), NERF, until=5, seed=3)
    assert all(torch.equal(kept[-1].tensors[k], v) for k, v in before.tensors.items())


def test_on_a_far_device_trouble_is_told_a_step_later_and_changes_nothing_to_nan():
    kept, told = [], []
    with pretending():
        with pytest.raises(NotFinite, match=r"NeRF iteration 3: spoiled prior.*float32"):
            fit_nerf(_reference(), Turns(3), NERF, seed=3, on_checkpoint=kept.append)
        with pytest.raises(NotFinite, match=r"NeRF iteration 1: loss.*rgb"):
            fit_nerf(_reference(), None, replace(NERF, rgb=Constant(math.inf)), seed=3, on_checkpoint=kept.append)
        fit_nerf(_reference(), _oracle(), NERF, until=2, seed=3, on_step=lambda step: told.append(step.losses))
    assert all(torch.isfinite(v).all() for scene in kept for v in scene.part("field").values()) and kept[0].step == 4
    near: list = []
    fit_nerf(_reference(), _oracle(), NERF, until=2, seed=3, on_step=lambda step: near.append(step.losses))
    assert told[0] == {} and told[1] == pytest.approx(near[1], rel=1e-2)


@pytest.mark.parametrize("term", ["rgb", "mask"])
def test_loss_without_a_number_is_named(term):
    broken = replace(NERF, **{term: Constant(math.inf)})
    kept = []
    with pytest.raises(NotFinite, match=rf"NeRF iteration 1: loss.*{term}"):
        fit_nerf(_reference(), None, broken, seed=3, on_checkpoint=kept.append)
    assert kept[-1].step == 0 and all(torch.isfinite(v).all() for v in kept[-1].part("field").values())


def short_of_memory(monkeypatch, most: int, trainee=nerf_stage._NerfTrainee) -> list[int]:
    """Renders of more than ``most`` views fail as on a small card; returns the sizes that were tried."""
    tried, render = [], trainee.render

    def limited(self, cameras, *args, **kwargs):
        tried.append(len(cameras))
        if len(cameras) > most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return render(self, cameras, *args, **kwargs)

    monkeypatch.setattr(trainee, "render", limited)
    return tried


class Plain(Prior):
    """Pulls every pixel towards white: without random numbers, so views may be shown in any portions."""

    name = "plain"

    def loss(self, images, cameras, progress, generator):
        return (1 - images).square().flatten(1).mean(1)


def test_smaller_portions_when_memory_runs_out_give_the_same_gradient(monkeypatch):
    config = replace(NERF, iterations=2, novel_batch=4)
    render = nerf_stage.render_volume  # without jitter of the samples: portions would draw other random numbers
    monkeypatch.setattr(nerf_stage, "render_volume", lambda *a, **k: render(*a, **{**k, "generator": None}))
    gradients = []

    def record(scaler, factor, clip_norm):
        gradients.append([p.grad.clone() for g in scaler.optimizer.param_groups for p in g["params"]])
        scaler.forget()

    monkeypatch.setattr(nerf_stage.RateScaler, "step", record)
    fit_nerf(_reference(), Plain(), config, seed=3)
    tried = short_of_memory(monkeypatch, 1)
    fit_nerf(_reference(), Plain(), config, seed=3)
    assert tried == [4, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1], "four novel views in portions, then the reference view"
    whole, pieces = gradients[:2], gradients[2:]
    for some, other in zip(whole[1], pieces[1], strict=True):
        assert float(some.abs().max()) > 0
        assert float((some - other).abs().max()) < 1e-5 * float(some.abs().max())


def test_a_mesh_in_smaller_portions_has_the_same_gradient(monkeypatch):
    """All portions draw one surface, which is extracted once: its graph must outlive the first of them."""
    scene, config, gradients = coarse(), replace(MESH, iterations=1, novel_batch=3), []

    def record(scaler, factor, clip_norm):
        gradients.append([p.grad.clone() for g in scaler.optimizer.param_groups for p in g["params"]])
        scaler.forget()

    monkeypatch.setattr(mesh_stage.RateScaler, "step", record)
    for most in (3, 1):
        short_of_memory(monkeypatch, most, mesh_stage._MeshTrainee)
        refine_mesh(Plain(), scene, config, seed=3)
    for some, other in zip(*gradients, strict=True):
        assert float(some.abs().max()) > 0
        assert float((some - other).abs().max()) < 1e-5 * float(some.abs().max())


def test_one_view_that_does_not_fit_is_an_error_that_says_what_to_lower(monkeypatch):
    short_of_memory(monkeypatch, 0)
    kept = []
    with pytest.raises(OutOfRoom, match=rf"NeRF iteration 1: memory.*render size {NERF.size}.*Lower the render size"):
        fit_nerf(_reference(), Plain(), NERF, seed=3, on_checkpoint=kept.append)
    assert kept[-1].step == 0
