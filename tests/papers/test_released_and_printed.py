"""Presets follow one named source each: a released code, or a paper's words (M-H, C-H)."""

import math
from dataclasses import replace

import pytest
import torch
from helpers import tiny_stages
from lift123.pipelines import consistent123, magic123
from lift123.pipelines.stages.objects.boundary import BoundaryState
from lift123.pipelines.stages.objects.fit_nerf import fit_nerf
from lift123.pipelines.stages.objects.refine_mesh import refine_mesh


def rates(preset):
    nerf, mesh = preset.nerf, preset.mesh
    return [(c.optimizer, c.clip_norm, c.lr_grid, c.lr_mlp) for c in (nerf, mesh)] + [(mesh.lr_sdf, mesh.lr_deform)]


def test_learning_rates_are_those_of_the_source():
    adam = ("adam", 0.0, 0.001, 0.001)
    for paper in (magic123, consistent123):
        assert rates(paper.PRINTED) == [adam, adam, (0.001, 0.001)]
    assert rates(magic123.PAPER) == [("adam", 0.0, 0.01, 0.001)] * 2 + [(0.001, 0.001)]
    assert rates(consistent123.PAPER) == [("adan", 5.0, 0.05, 0.005)] * 2 + [(0.005, 0.005)]


def test_released_means_are_those_of_the_codes():
    for paper in (magic123, consistent123):
        for preset in (paper.PAPER, paper.PRINTED, paper.STANDARD):
            assert {(c.rgb_over, c.mask_against) for c in (preset.nerf, preset.mesh)} == {("picture", "binary")}
            assert preset.nerf.averages == "marched" and preset.mesh.init == "clamp"


def test_magic123_as_printed():
    preset = magic123.PRINTED
    for stage in (preset.nerf, preset.mesh):
        assert stage.novel_background == stage.reference_background == "white"
        assert [w(0.5) for w in (stage.rgb, stage.mask, stage.depth)] == [5.0, 0.5, 0.0005]
        assert stage.normal_blur(0.0) == stage.normal_blur(1.0) > 0
        assert (stage.shading.lambertian, stage.shading.textureless) == (0.75, 0.25)
        assert stage.novel.hemisphere == 0 and stage.novel.radius == (1.8, 1.8) and stage.novel.fovy == 40
    assert preset.nerf.blur_normals == "depth" and preset.nerf.blur_stop_gradient
    assert preset.nerf.shading.normal_until * preset.nerf.iterations == 3000
    assert (preset.text_guidance, preset.view_guidance, preset.angle_scaling) == (100.0, 5.0, False)
    assert (magic123.PAPER.text_guidance, magic123.PAPER.angle_scaling) == (101.0, True)


def test_consistent123_as_printed_and_as_released():
    printed, released = consistent123.PRINTED, consistent123.PAPER
    rule = printed.boundary
    assert (rule.interval, rule.signed, rule.floor, rule.ceiling) == (20, True, 0.0, 1.0)
    assert (rule.window, rule.threshold, rule.views) == (5, 0.00025, 8)
    rule = released.boundary
    assert (rule.interval, rule.signed, rule.floor, rule.ceiling) == (21, False, 0.4, 0.7)
    for stage in (printed.nerf, printed.mesh):
        assert [w(x) for w in (stage.rgb, stage.mask, stage.depth) for x in (0.0, 1.0)] == [1000, 1000, 500, 500, 10, 10]
    regular = [getattr(printed.nerf, n) for n in ("normal_tv", "normal_blur", "normal_3d", "orientation", "entropy")]
    regular += [printed.mesh.mesh_normal, printed.mesh.mesh_laplacian, printed.mesh.normal_blur]
    assert not any(w(x) for w in regular for x in (0.0, 0.5, 1.0))
    assert (printed.clock, printed.angle_scaling, printed.view.fixed_t) == ("global", False, False)
    assert (released.clock, released.angle_scaling, released.view.fixed_t) == ("local", True, True)
    assert [w(1.0) for w in (released.nerf.depth, released.mesh.depth)] == [10, 0]
    assert [w(1.0) for w in (released.mesh.mesh_normal, released.mesh.mesh_laplacian)] == [100, 100]


def test_the_printed_rule_fires_on_the_first_fall_and_never_for_lack_of_time():
    state = BoundaryState(consistent123.PRINTED.boundary)
    rising = [0.1 * 1.01**k for k in range(300)]
    checks = [s for s in range(1, 5000) if state.due(s, 5000)]
    assert checks[:3] == [20, 40, 60]
    assert not any(state.observe(s, score, 5000) for s, score in zip(checks[:200], rising, strict=False))
    falling = [state.observe(s, 0.1 * 0.5**k, 5000) for k, s in enumerate(checks[200:210])]
    assert any(falling)


@pytest.mark.parametrize("paper", [magic123, consistent123], ids=["magic123", "consistent123"])
def test_printed_and_released_stages_run_with_every_term(paper):
    """Shrunk to sixteen pixels: one novel and one reference step of each stage, with and without depth."""
    small = {n: getattr(tiny_stages.NERF, n) for n in ("size", "reference_size", "field", "volume", "grid_resolution")}
    reference = tiny_stages.reference()
    reference = replace(reference, views=replace(reference.views, depth=torch.rand(reference.views.alpha.shape)))
    for preset in (paper.PAPER, paper.PRINTED):
        seen = {}

        def note(step, seen=seen):
            assert all(math.isfinite(v) for v in step.losses.values()), step.losses
            seen.setdefault(step.stage, set()).update(step.losses)

        nerf = replace(preset.nerf, **small, iterations=3, mesh_iterations=2, reference_first=0, reference_every=2,
                       preview_every=0)
        mesh = replace(preset.mesh, iterations=2, size=16, reference_size=16, tets=6, reference_first=0, preview_every=0)
        scene = fit_nerf(reference, tiny_stages.oracle(), nerf, on_step=note)
        scene = refine_mesh(tiny_stages.oracle(), scene, mesh, on_step=note)
        assert ("depth" in seen["Mesh"]) == (preset is paper.PRINTED) and "depth" in seen["NeRF"]
        assert bool(torch.isfinite(scene.tensors["tet/sdf"]).all())
