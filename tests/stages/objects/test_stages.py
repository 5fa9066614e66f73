"""The optimization stages on a tiny object: learning, interruption, resumption, reproducibility."""

import math
from dataclasses import replace

import pytest
import torch
from helpers.tiny_stages import MESH, NERF, OFF, SIZE
from helpers.tiny_stages import nerf as _nerf
from helpers.tiny_stages import oracle as _oracle
from helpers.tiny_stages import reference as _reference
from helpers.tiny_stages import same as _same
from helpers.tiny_stages import truth as _truth
from lift123.pipelines.core.cameras import HOME, Cameras
from lift123.pipelines.core.errors import InputError, StopStage
from lift123.pipelines.core.prior import Prior
from lift123.pipelines.core.randomness import step_generator
from lift123.pipelines.core.schedules import Constant
from lift123.pipelines.priors.combine import DynamicPrior
from lift123.pipelines.render.shading import Shading, ShadingMix
from lift123.pipelines.stages.loop.cameras import NovelViews
from lift123.pipelines.stages.loop.optimize import pull
from lift123.pipelines.stages.loop.scene import Scene
from lift123.pipelines.stages.objects.boundary import Boundary, ClipBoundary
from lift123.pipelines.stages.objects.fit_nerf import fit_nerf
from lift123.pipelines.stages.objects.refine_mesh import refine_mesh
from lift123.pipelines.stages.results.render_views import (
    contact_sheet,
    render_scene,
    scene_albedo,
    scene_mesh,
    turntable_views,
)


def _error(scene: Scene, cameras: Cameras) -> float:
    return float((render_scene(scene, cameras, want_normal=False).composite(1.0) - _truth(cameras)).square().mean())


SIDES = HOME.orbit(torch.tensor([1.0, 3.0, 5.0]), 0.2, SIZE)


def test_oracle_prior_shows_the_sides_that_the_reference_does_not():
    longer = replace(NERF, iterations=60)
    alone, shown = (fit_nerf(_reference(), prior, longer, seed=3) for prior in (None, _oracle()))
    assert _error(alone, _reference().camera) < 0.01 and _error(shown, _reference().camera) < 0.01
    assert _error(shown, SIDES) < 0.5 * _error(alone, SIDES)


def test_same_seed_gives_identical_tensors_and_other_seeds_do_not():
    again = fit_nerf(_reference(), _oracle(), NERF, seed=3)
    assert _same(_nerf(), again) and _nerf().meta == again.meta
    assert not _same(_nerf(), fit_nerf(_reference(), _oracle(), NERF, seed=4, until=2))


def test_resumed_nerf_equals_uninterrupted(tmp_path):
    half = fit_nerf(_reference(), _oracle(), NERF, seed=3, until=11)
    assert (half.step, half.total, half.finished) == (11, 24, False)
    half = Scene.load(half.save(tmp_path / "half.safetensors"))
    whole = fit_nerf(half.reference, _oracle(), NERF, scene=half, seed=99)  # the scene's seed counts
    assert _same(whole, _nerf())


def test_every_state_of_a_stage_leads_to_the_same_end():
    """With averaged weights, a regularizer that draws numbers, and steps in which nothing has a gradient."""
    odd = replace(NERF, iterations=12, mode="alternate", prior=Constant(0.0), reference_every=2, ema_every=2,
                  normal_3d=Constant(1.0), volume=replace(NERF.volume, max_samples=16))
    blind = replace(odd, normal_3d=Constant(0.0))
    for config in (odd, blind):
        states = []
        whole = fit_nerf(_reference(), _oracle(), config, seed=3, autosave=lambda make, now=False, to=states: to.append(make()))
        assert [s.step for s in states] == list(range(1, 12)), "the end is no state to go on from"
        for state in (states[0], states[4], states[9]):
            again = fit_nerf(_reference(), _oracle(), config, scene=Scene.unpack(*state.pack()))
            assert _same(again, whole) and again.meta == whole.meta
    assert whole.meta["updates"] == 6


def test_resumed_mesh_equals_uninterrupted(tmp_path):
    whole = refine_mesh(_oracle(), _nerf(), MESH)
    half = refine_mesh(_oracle(), _nerf(), MESH, until=3)
    half = Scene.load(half.save(tmp_path / "half.safetensors"))
    assert half.kind == "mesh" and half.step == 3
    assert _same(refine_mesh(_oracle(), half, MESH), whole)
    assert _error(whole, SIDES) < 1.5 * _error(_nerf(), SIDES)


def test_stop_returns_what_there_is_and_it_continues():
    def stop(step):
        if step.index == 5:
            raise StopStage

    for scene in (
        fit_nerf(_reference(), _oracle(), NERF, seed=3, on_step=stop),
        refine_mesh(_oracle(), _nerf(), MESH, on_step=stop),
    ):
        assert scene.step == 5 and not scene.finished
        assert torch.isfinite(render_scene(scene, SIDES).rgb).all()


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_interruption_hands_over_the_state_first(error):
    kept = []

    def interrupt(step):
        if step.index == 7:
            raise error("stop")

    config = replace(NERF, checkpoint_every=3)
    with pytest.raises(error):
        fit_nerf(_reference(), _oracle(), config, seed=3, on_step=interrupt, on_checkpoint=kept.append)
    assert [s.step for s in kept] == [3, 6, 7]
    assert _same(fit_nerf(_reference(), _oracle(), NERF, scene=kept[-1]), _nerf())


class Recorder(Prior):
    """A prior that notes when it is asked, and pulls towards nothing."""

    name = "recorder"

    def __init__(self):
        self.calls = 0

    def loss(self, images, cameras, progress, generator):
        self.calls += 1
        return images.flatten(1).sum(1) * 0


class RecordingDynamic(DynamicPrior):
    def at(self, x):
        self.clocks.append(x)
        return super().at(x)


def _dynamic():
    prior = RecordingDynamic(Recorder(), Recorder())
    object.__setattr__(prior, "clocks", [])
    return prior


def test_second_prior_sleeps_until_the_boundary_and_the_ramp_is_one_line_across_stages():
    prior, notes = _dynamic(), []
    checks = ClipBoundary(interval=2, window=2, floor=0.25, ceiling=0.75, views=2, size=SIZE)
    boundary = Boundary(checks, lambda rgb: 0.3)
    scene = fit_nerf(_reference(), prior, NERF, boundary=boundary, on_step=lambda s: notes.append(s.note))
    switch = scene.switch_step
    assert switch == 6 + 2 * 2  # floor, then two more checks fill the window of constant scores
    assert prior.prior2d.calls == NERF.iterations - switch and prior.prior3d.calls == NERF.iterations
    assert [i + 1 for i, note in enumerate(notes) if note] == [switch]
    refine_mesh(prior, scene, MESH)
    clocks = prior.clocks[switch:]
    assert prior.clocks[:switch] == [None] * switch and clocks[0] == 0 and clocks[-1] == 1
    steps = [b - a for a, b in zip(clocks, clocks[1:])]
    assert max(steps) == pytest.approx(min(steps)) and len(clocks) == 24 - switch + 8


def test_stop_at_boundary_then_second_stage_continues():
    boundary = Boundary(ClipBoundary(interval=1, window=1, floor=0.25, views=1, size=8), lambda rgb: 0.3)
    first = fit_nerf(_reference(), Recorder(), NERF, boundary=boundary, stop_at_boundary=True)
    assert first.step == first.switch_step == 7 and "fired" in first.boundary["explanation"]
    prior = _dynamic()
    second = fit_nerf(_reference(), prior, NERF, scene=first)
    assert second.finished and prior.clocks[0] == 0 and prior.prior2d.calls == NERF.iterations - 7
    assert second.switch_step == 7 and second.boundary["history"] == first.boundary["history"]


def test_reference_steps_follow_the_papers_pattern():
    config = replace(NERF, mode="alternate", reference_every=4, reference_first=2, iterations=12)
    prior, seen = Recorder(), []
    fit_nerf(_reference(), prior, config, on_step=lambda s: seen.append("rgb" in s.losses))
    assert seen == [i < 2 or i % 4 == 0 for i in range(12)]
    assert prior.calls == seen.count(False)


def test_steps_report_floats_and_previews():
    steps = []
    fit_nerf(_reference(), _oracle(), replace(NERF, preview_every=2), until=4, on_step=steps.append)
    assert [s.index for s in steps] == [1, 2, 3, 4] and all(s.total == 24 for s in steps)
    assert [s.preview is not None for s in steps] == [True, True, False, True]
    assert steps[1].preview.shape == (SIZE, SIZE, 3) and 0 <= float(steps[1].preview.min())
    assert set(steps[0].losses) == {"rgb", "mask", "view"}
    assert all(type(v) is float for s in steps for v in s.losses.values())


@pytest.mark.parametrize("only", ["texture", "geometry"])
def test_one_sided_refinement_leaves_the_other_side_alone(only):
    start = refine_mesh(_oracle(), _nerf(), MESH, until=0)
    scene = refine_mesh(_oracle(), _nerf(), replace(MESH, optimize=only), until=3)
    kept = {k: v for k, v in scene.tensors.items() if not k.startswith("optim")}
    changed = {k for k, v in kept.items() if not torch.equal(v, start.tensors[k])}
    assert changed and all(k.startswith("field/" if only == "texture" else "tet/") for k in changed)


def test_every_paper_term_runs_and_is_finite():
    on = {name: Constant(0.1) for name in OFF}
    config = replace(
        NERF, **on, opacity=Constant(0.1), normal=Constant(0.1), reference_noise=2e-3, shading=ShadingMix(0.5, 0.5),
        novel_background="random", mode="alternate", iterations=5, clip_norm=5.0, ema_every=2, level_start=0.25,
        level_rate=2.0,
    )
    reference = _reference()
    normal = torch.tensor([0.0, 0.0, 1.0]) * (reference.views.alpha > 0)[..., None]
    reference = replace(reference, views=replace(reference.views, normal=normal))
    seen = {}
    scene = fit_nerf(reference, _oracle(), config, on_step=lambda s: seen.update(s.losses))
    assert set(seen) == {"rgb", "mask", "view", "normal", "opacity", *OFF}
    assert all(math.isfinite(v) for v in seen.values()) and scene.part("ema")
    lit = refine_mesh(_oracle(), scene, replace(MESH, shading=ShadingMix(0.5, 0.5), novel_batch=2), until=2)
    assert torch.isfinite(lit.tensors["tet/sdf"]).all()


def test_pull_equals_differentiating_through_the_prior():
    class Square(Prior):
        def loss(self, images, cameras, progress, generator):
            return (images**2).flatten(1).sum(1)

    x = torch.rand(3, 4, 4, 3, generator=torch.Generator().manual_seed(0), requires_grad=True)
    term = pull(Square(), torch.sin(x), SIDES, 0.0, torch.Generator())
    direct = torch.sin(x).square().flatten(1).sum(1).mean()
    assert float(term.detach()) == pytest.approx(float(direct.detach()), rel=1e-6)
    assert torch.allclose(torch.autograd.grad(term, x)[0], torch.autograd.grad(direct, x)[0], rtol=1e-5, atol=1e-6)


def test_step_generators_differ_by_seed_stage_and_step():
    draws = {
        (seed, name, step): float(torch.rand(1, generator=step_generator(seed, name, step)))
        for seed in (0, 1) for name in ("NeRF", "Mesh") for step in range(50)
    }
    assert len(set(draws.values())) == len(draws)
    assert sum(draws.values()) / len(draws) == pytest.approx(0.5, abs=0.06)


def test_novel_cameras_stay_in_range_and_grow_from_the_reference():
    views = NovelViews(progressive_start=0.0, progressive_rate=2.0)
    home = _reference().camera
    start = views.sample(64, 8, 0.0, home, torch.Generator().manual_seed(0))
    assert torch.allclose(start.c2w, home.c2w.expand(64, -1, -1), atol=1e-5)
    full = views.sample(512, 8, 0.5, home, torch.Generator().manual_seed(0))
    assert 3.0 <= float(full.radius.min()) < 3.05 and 3.45 < float(full.radius.max()) <= 3.5
    degrees = full.elevation.rad2deg()
    assert -15.01 <= float(degrees.min()) < -13 and 43 < float(degrees.max()) <= 45.01
    assert float(full.azimuth.min()) < -3 and float(full.azimuth.max()) > 3


def test_shading_lights_by_cosine():
    light = torch.tensor([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]])
    shading = Shading("lambertian", 0.25, light)
    albedo, normal = torch.full((2, 3), 0.8), torch.tensor([[0.0, 0.0, 1.0], [0.0, 0.0, 1.0]])
    got = shading.apply(albedo, normal, torch.tensor([0, 1]))
    assert torch.allclose(got[:, 0], torch.tensor([0.8, 0.2]))
    assert torch.allclose(shading.for_image(1)(albedo, normal)[:, 0], torch.tensor([0.2, 0.2]))
    assert torch.allclose(replace(shading, mode="textureless").for_image(0)(albedo, normal), torch.ones(2, 3))


def test_pictures_and_meshes_of_scenes():
    mesh_scene = refine_mesh(None, _nerf(), MESH, until=1)
    for scene in (_nerf(), mesh_scene):
        frames = turntable_views(scene, 5, SIZE)
        assert frames.shape == (5, SIZE, SIZE, 3)
        assert contact_sheet(frames, 3).shape == (2 * SIZE, 3 * SIZE, 3)
        mesh = scene_mesh(scene, resolution=6)
        assert mesh.vertex_colors is not None and float(mesh.signed_volume()) > 0
        assert scene_albedo(scene)(mesh.vertices).shape == mesh.vertices.shape
        for shading in ("albedo", "lambertian", "textureless", "normal"):
            assert torch.isfinite(render_scene(scene, SIDES, shading=shading).rgb).all()


def test_wrong_scenes_are_input_errors():
    mesh_scene = refine_mesh(None, _nerf(), MESH, until=1)
    with pytest.raises(InputError):
        fit_nerf(_reference(), None, NERF, scene=mesh_scene)
    other = replace(NERF, field=replace(NERF.field, hidden=24))
    with pytest.raises(InputError):
        fit_nerf(_reference(), None, other, scene=_nerf())
