"""HiFi-123: its numbers against H-G's table, and both stages on a tiny object with counting networks."""

import math
from dataclasses import replace
from functools import lru_cache
from types import SimpleNamespace

import pytest
import torch
from helpers.hifi_toys import camera, depth_text, reference
from helpers.tiny_stages import NERF, SIZE
from helpers.tiny_stages import box as _box
from lift123.pipelines import hifi123
from lift123.pipelines.core.errors import InputError, StopStage
from lift123.pipelines.core.schedules import Constant
from lift123.pipelines.hifi123 import OPEN, PAPER, PRESETS, QUICKSTART, STANDARD
from lift123.pipelines.render.surface import render_surface
from lift123.pipelines.render.volume import VolumeSettings
from lift123.pipelines.stages.inputs.reference import ReferenceView
from lift123.pipelines.stages.loop.scene import Scene
from lift123.pipelines.stages.objects.estimate import estimate
from lift123.pipelines.stages.objects.fit_nerf import NerfConfig, fit_nerf
from lift123.pipelines.stages.objects.refine_mesh import refine_mesh
from lift123.pipelines.stages.results.render_views import render_scene, scene_mesh
from lift123.verification.oracle import OracleDenoiser

SMALL = 8  # pixels of the first coarse iterations here


def truth(cameras):
    return render_surface(_box(), cameras, supersample=2, grad=False).composite(1.0)


class Counting(OracleDenoiser):
    """The exact denoiser of the box; notes guidance, times and pictures."""

    def __init__(self):
        super().__init__(truth, image_size=SIZE)
        self.times, self.sizes, self.conditioned, self.guidance = [], [], 0, None

    def with_guidance(self, scale):
        self.guidance = scale
        return self

    def with_prompt(self, prompt, negative=""):
        self.conditioned += 1
        return self

    def with_reference(self, picture, camera):
        self.conditioned += 1
        return self

    def predict_noise(self, noisy, t, cameras):
        self.times += t.tolist()
        self.sizes.append((len(cameras), cameras.height))
        return super().predict_noise(noisy, t, cameras)


def networks():
    return SimpleNamespace(view=Counting(), text=Counting(), depth_text=depth_text())


def shrunk(preset, iterations=24, mesh=6):
    """The preset with its terms, schedules and priors, but a field, sizes and counts that fit a test."""
    volume = VolumeSettings(step=0.08, max_samples=48, normal_method=preset.nerf.volume.normal_method)
    few = {"size": SIZE, "reference_size": SIZE, "preview_every": 0}
    nerf = replace(preset.nerf, **few, iterations=iterations, field=NERF.field, grid_resolution=16, grid_every=4,
                   volume=volume, lr_grid=3e-2, lr_mlp=1e-2, early_size=SMALL if preset.nerf.early_size else 0)
    return replace(preset, nerf=nerf, mesh=replace(preset.mesh, **few, iterations=mesh, tets=8),
                   guide=replace(preset.guide, rungs=3))


TINY = shrunk(PAPER)


@lru_cache
def watched() -> tuple[Scene, SimpleNamespace, list, list]:
    """(scene, networks, steps, priors of the fine stage) of an uninterrupted run."""
    models, steps, priors = networks(), [], []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hifi123, "refine_mesh",
                      lambda prior, *a, **k: priors.append(prior) or refine_mesh(prior, *a, **k))
        return hifi123.run(reference(), models, TINY, seed=3, on_step=steps.append), models, steps, priors


def whole() -> tuple[Scene, SimpleNamespace, list]:
    """(scene, networks, steps) of an uninterrupted run."""
    return watched()[:3]


@lru_cache
def coarse() -> Scene:
    return fit_nerf(reference(), hifi123.coarse_prior(reference(), networks(), TINY), TINY.nerf, seed=3)


def same(a: Scene, b: Scene, prefix="") -> bool:
    names = {k for k in a.tensors if k.startswith(prefix)}
    assert names and names == {k for k in b.tensors if k.startswith(prefix)}
    return all(torch.equal(a.tensors[k], b.tensors[k]) for k in names)


# ------------------------------------------------------------------------------------------ numbers


def test_open_choices_are_named_by_existing_settings():
    for path, reason in OPEN.items():
        value = PAPER
        for name in path.split("."):
            value = getattr(value, name)
        assert reason and value is not None or path == "mesh.threshold", path
    printed = {"nerf.iterations", "nerf.size", "nerf.early_size", "nerf.novel", "mesh.iterations", "mesh.size", "mesh.optimize",
               "mesh.novel", "text.t_range", "view.t_range", "view_guidance", "guide.steps", "guide.rungs", "guide.guidance"}
    assert not printed & set(OPEN), "what the paper prints is no choice"


def test_presets_keep_the_method_and_stable_diffusion_has_its_own_numbers():
    assert set(PRESETS) == {f"hifi123 {name}" for name in ("quickstart", "standard", "paper")}
    for preset in PRESETS.values():
        assert preset.mesh.optimize == "texture" and preset.mesh.novel_background == "gray"
        rungs = 4 if preset is QUICKSTART else 12  # the embedded network spoils what it inverts further
        assert (preset.guide.steps, preset.guide.rungs, preset.rgsd.fixed) == (20, rungs, (120.0, -120.0))
    assert (STANDARD.text_guidance, STANDARD.text.weight(0.5)) == (100, 0.0125), "0.025 at 1000 is 0.0125 at 500"
    assert STANDARD.view == PAPER.view and STANDARD.text.t_range == PAPER.text.t_range
    # The quickstart compares pictures, where patches weigh the same as at the reference when the weights are equal.
    assert (QUICKSTART.rgsd.space, QUICKSTART.rgsd.reduction) == ("pictures", "mean")
    assert QUICKSTART.rgsd.weight(0.5) == QUICKSTART.mesh.rgb(0.5) and PAPER.rgsd.space == STANDARD.rgsd.space == "latents"


# ------------------------------------------------------------------------------------------ hooks of the stages


def test_novel_views_grow_over_progress():
    """Number and size of the pictures that a prior is shown, and no part of a batch is split off."""
    models = networks()
    config = replace(TINY.nerf, iterations=6, early_until=0.5, early_batch=3, novel_batch=2)
    fit_nerf(reference(), hifi123.coarse_prior(reference(), models, TINY), config)
    assert models.view.sizes == models.text.sizes == [(3, SMALL)] * 3 + [(2, SIZE)] * 3
    plain = replace(config, early_size=0, early_batch=0)
    assert [plain.novel_at(x) for x in (0.0, 0.9)] == [(2, SIZE)] * 2
    with pytest.raises(ValueError, match="early"):
        NerfConfig(early_size=-1)


def test_estimates_measure_the_later_size():
    models = networks()
    prior = hifi123.coarse_prior(reference(), models, TINY)
    estimate(reference(), prior, None, replace(TINY.nerf, iterations=9), replace(TINY.mesh, iterations=3))
    assert {size for _, size in models.view.sizes} == {SIZE}


def test_opaque_term_is_the_entropy_of_coverage():
    """Reported in its weight; 0 bits where coverage is 0 or 1, up to 1 elsewhere; pulls coverage to the ends."""
    quiet = {name: Constant(0.0) for name in ("normal_tv", "normal_3d", "orientation", "opacity", "depth", "normal")}
    seen, blurs = {}, {}
    for weight in (0.0, 1.0):
        config = replace(TINY.nerf, **quiet, iterations=30, opaque=Constant(weight))
        losses = []
        scene = fit_nerf(reference(), None, config, seed=1, on_step=lambda s, kept=losses: kept.append(s.losses))
        seen[weight] = losses
        alpha = render_scene(scene, camera(torch.tensor([1.5, 3.0])), want_normal=False).alpha
        blurs[weight] = float((alpha * (1 - alpha)).mean())
    assert all("opaque" not in losses for losses in seen[0.0])
    assert all(0 <= losses["opaque"] <= 1 for losses in seen[1.0])
    assert blurs[1.0] < blurs[0.0]


# ------------------------------------------------------------------------------------------ the method, tiny object


def test_stages_run_in_order_with_all_their_terms():
    scene, models, steps = whole()
    assert [s.stage for s in steps] == ["NeRF"] * 24 + ["Mesh"] * 6 and scene.kind == "mesh" and scene.finished
    assert all(math.isfinite(v) for s in steps for v in s.losses.values())
    named = {stage: set().union(*(s.losses for s in steps if s.stage == stage)) for stage in ("NeRF", "Mesh")}
    smooth = {"normal_tv", "normal_3d", "orientation", "opacity", "opaque"}
    assert named["NeRF"] == {"rgb", "mask", "depth", "normal", "text+view"} | smooth
    assert named["Mesh"] == {"rgb", "mask", "rgsd"} and all(s.losses["mask"] == 0 for s in steps if s.stage == "Mesh")
    assert all(s.losses["rgsd"] > 0 for s in steps if s.stage == "Mesh"), "in every iteration"


def test_priors_get_their_own_guidance_and_times_and_only_the_coarse_stage_asks_them():
    _, models, _ = whole()
    assert (models.text.guidance, models.view.guidance) == (21, 5)
    assert (models.text.conditioned, models.view.conditioned) == (1, 1)
    early, late = 8, 16  # a third of 24, with 4 and 2 views
    assert models.text.sizes == models.view.sizes == [(4, SMALL)] * early + [(2, SIZE)] * late
    for denoiser, top in ((models.text, 600), (models.view, 500)):
        assert len(denoiser.times) == 4 * early + 2 * late
        assert 200 <= min(denoiser.times) and top - 100 < max(denoiser.times) <= top


def test_no_text_prior_is_built_for_the_fine_stage():
    """A finished coarse scene is refined without text and view networks at all."""
    alone = SimpleNamespace(text=None, view=None, depth_text=depth_text())
    scene = hifi123.run(reference(), alone, TINY, scene=coarse())
    assert same(scene, whole()[0])
    prior = hifi123.refine_prior(reference(), alone, TINY)
    assert prior.name == "rgsd" and prior.guide.settings == TINY.guide and prior.settings == PAPER.rgsd


def test_geometry_is_bit_identical_in_the_rgsd_stage_and_color_is_not():
    scene, start = whole()[0], refine_mesh(None, coarse(), TINY.mesh, until=0)
    assert same(scene, start, "tet/") and not same(scene, start, "field/")
    before, after = scene_mesh(start), scene_mesh(scene)
    assert torch.equal(before.vertices, after.vertices) and torch.equal(before.faces, after.faces) and len(after.faces) > 50
    sides = camera(torch.tensor([0.0, 2.0]), 0.3)
    first, last = (render_scene(s, sides, want_normal=False) for s in (start, scene))
    assert torch.equal(first.alpha, last.alpha) and not torch.equal(first.rgb, last.rgb)


def test_rgsd_alternates_fixed_and_random_views_and_its_cost_is_counted():
    """6 iterations: 3 visits of two fixed views and 3 of random ones; every one has a new target."""
    (prior,) = watched()[3]
    fixed, random = prior.tally["fixed"], prior.tally["random"]
    assert (fixed.visits, random.visits) == (3, 3)
    assert fixed.evaluations == 2 * 3 * 3, "3 rungs up and 3 guided ones down, for each of the two"
    assert 3 * (3 + 2) <= random.evaluations <= 3 * (3 + 4) and prior.guide.bank is not None


def test_resuming_the_coarse_stage_gives_the_same_result(tmp_path):
    def stop(step):
        if step.index == 11:
            raise StopStage

    half = hifi123.run(reference(), networks(), TINY, seed=3, on_step=stop)
    assert (half.kind, half.step) == ("nerf", 11), "a stopped coarse stage is not refined"
    half = Scene.load(half.save(tmp_path / "half.safetensors"))
    assert same(hifi123.run(reference(), networks(), TINY, scene=half, seed=99), whole()[0])


@lru_cache
def sharing() -> tuple:
    """(preset whose targets serve several visits, what it makes without a pause)."""
    preset = replace(TINY, rgsd=replace(TINY.rgsd, slots=1, reuse=4), mesh=replace(TINY.mesh, iterations=8))
    return preset, hifi123.run(reference(), networks(), preset, scene=coarse())


@pytest.mark.parametrize("after", [3, 4])
def test_resuming_the_rgsd_stage_gives_the_same_result(tmp_path, after):
    """Bit for bit: the targets of fixed views and of those shown again are kept, not made from a later texture."""
    def interrupt(step):
        if step.stage == "Mesh" and step.index == after:
            raise KeyboardInterrupt

    (preset, unbroken), kept, seen, models = sharing(), [], [], networks()
    with pytest.raises(KeyboardInterrupt):
        hifi123.run(reference(), models, preset, scene=coarse(), on_step=interrupt, on_checkpoint=kept.append)
    half = Scene.load(kept[-1].save(tmp_path / "half.safetensors"))
    assert (half.kind, half.step, half.finished) == ("mesh", after, False) and len(half.meta["prior"]["targets"]) == 3
    done = hifi123.run(reference(), models, preset, scene=half, on_step=lambda s: seen.append((s.stage, s.index)))
    assert seen == [("Mesh", i) for i in range(after + 1, 9)] and done.finished and "prior" not in done.meta
    assert same(done, unbroken) and not same(done, half, "field/")
    forgetful = hifi123.run(reference(), models, preset, scene=replace(half, meta={**half.meta, "prior": None}))
    assert not same(done, forgetful, "field/"), "without what the prior remembers, the result is another one"
    assert hifi123.run(reference(), models, preset, scene=done) is done
    assert not models.view.times and not models.text.times


def test_the_reference_view_is_not_spoiled_by_refinement():
    """Held in every iteration, even under a guide of random weights."""
    start = refine_mesh(None, coarse(), TINY.mesh, until=0)
    done = hifi123.run(reference(), networks(), replace(TINY, mesh=replace(TINY.mesh, iterations=30)), scene=coarse())
    inside = reference().views.alpha > 0.9
    target = reference().views.on_background(1.0)
    errors = [float((render_scene(s, camera(), want_normal=False).composite(1.0) - target)[inside].square().mean())
              for s in (start, done)]
    assert errors[1] <= errors[0], errors


@pytest.mark.parametrize("preset", [STANDARD, QUICKSTART], ids=lambda p: p.name)
def test_the_other_presets_run(preset):
    scene = hifi123.run(reference(), networks(), shrunk(preset, 16, 4))
    assert scene.finished and torch.isfinite(render_scene(scene, camera(0.5), want_normal=False).rgb).all()


def test_either_coarse_prior_may_be_absent_but_not_both_and_nothing_starts_without_depth():
    only = SimpleNamespace(text=None, view=Counting(), depth_text=depth_text())
    assert hifi123.coarse_prior(replace(reference(), prompt=""), only, TINY).name == "view"
    none, steps = SimpleNamespace(text=None, view=None, depth_text=depth_text()), []
    with pytest.raises(InputError, match="neither"):
        hifi123.run(reference(), none, TINY, on_step=steps.append)
    flat = ReferenceView(replace(reference().views, depth=None), "a box")
    with pytest.raises(InputError, match="depth"):
        hifi123.run(flat, networks(), TINY, on_step=steps.append)
    with pytest.raises(InputError, match="depth-text"):
        hifi123.run(reference(), SimpleNamespace(text=None, view=Counting(), depth_text=None), TINY, on_step=steps.append)
    with pytest.raises(InputError, match="prompt"):
        hifi123.run(replace(reference(), prompt=""), networks(), TINY, on_step=steps.append)
    assert not steps
