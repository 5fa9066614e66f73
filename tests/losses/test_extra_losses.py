"""Losses by wires: their values where they are known, and that their gradient leads where it should."""

from dataclasses import replace

import pytest
import torch
from helpers import tiny_stages
from lift123.pipelines.core.cameras import HOME, Cameras
from lift123.pipelines.core.errors import InputError
from lift123.pipelines.core.schedules import Constant, Linear
from lift123.pipelines.core.views import RenderBuffers, Views
from lift123.pipelines.losses.extra import DepthOrder, Likeness, Palette, Photos, Symmetry, Untouched, meets
from lift123.pipelines.render.surface import render_surface
from lift123.pipelines.stages.inputs.words import words_only
from lift123.pipelines.stages.objects import initial_shape
from lift123.pipelines.stages.objects.fit_nerf import fit_nerf, load_field
from lift123.pipelines.stages.results.render_views import render_scene

SIZE = 16
RING = Cameras.orbit(torch.tensor([0.0, 1.57, 3.14]), 0.1, HOME.radius, HOME.fovy, SIZE, SIZE)


def drawn(cameras):
    return render_surface(tiny_stages.box(), cameras, supersample=2, grad=False)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def photos(**options):
    seen = drawn(RING)
    return Photos(photos=Views(RING, seen.rgb / seen.alpha.clamp_min(1e-6)[..., None], seen.alpha), **options)


def test_the_true_object_satisfies_photos_and_outlines_from_every_camera():
    for seed in range(4):
        for loss in (photos(), photos(colors=False)):
            cameras = loss.views(HOME.orbit(0.0, 0.0, SIZE), SIZE, seeded(seed))
            assert float(loss.loss(drawn(cameras), cameras, seeded())) < 1e-6
    wrong = drawn(RING[1])
    assert float(photos(colors=False).loss(wrong, RING[0], seeded())) == pytest.approx(
        float((wrong.alpha - drawn(RING[0]).alpha).square().mean()), rel=1e-4)


def test_a_symmetric_object_has_no_loss_and_a_shifted_one_does():
    gray = replace(tiny_stages.box(), vertex_colors=torch.full((8, 3), 0.4))
    shifted = replace(gray, vertices=gray.vertices + torch.tensor([0.2, 0.0, 0.0]))
    cameras = Symmetry().views(HOME.orbit(0.0, 0.0, SIZE), 32, seeded(1))
    assert float(cameras.azimuth.sum()) == pytest.approx(0.0, abs=1e-5)
    values = [float(Symmetry().loss(render_surface(m, cameras, supersample=4, grad=False), cameras, seeded()))
              for m in (gray, shifted)]
    assert values[0] < 2e-3 < 0.01 < values[1]


def test_the_order_of_depths_knows_no_scale():
    view = tiny_stages.reference().resized(SIZE)
    ramp = torch.linspace(1.0, 2.0, SIZE).expand(1, SIZE, SIZE)
    view = replace(view, depth=ramp * (view.alpha > 0.5))
    seen = drawn(view.cameras)

    def value(depth):
        return float(DepthOrder(view=view).loss(replace(seen, depth=depth * seen.alpha), view.cameras, seeded()))

    assert value(7 + 0.1 * ramp**3) < 1e-4 < value(3 - ramp)
    assert value(3 - ramp) > 5 * value(3 - 0.1 * ramp) > 0


def test_a_palette_counts_the_nearest_color_and_leaves_the_shape():
    rgb, alpha = torch.full((1, 2, 2, 3), 0.3, requires_grad=True), torch.ones(1, 2, 2, requires_grad=True)
    seen = RenderBuffers(rgb, alpha, torch.ones(1, 2, 2), None)
    loss = Palette(colors=torch.tensor([[0.5, 0.3, 0.3], [1.0, 1.0, 1.0]])).loss(seen, RING[0], seeded())
    assert float(loss.detach()) == pytest.approx(0.04)
    loss.backward()
    assert alpha.grad is None
    assert float(rgb.grad[..., 0].sum()) == pytest.approx(-0.4) and float(rgb.grad[..., 1].abs().sum()) == 0


def test_likeness_is_one_minus_the_cosine():
    wanted = torch.nn.functional.normalize(torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]), dim=-1)
    loss = Likeness(embed=lambda x: torch.nn.functional.normalize(x.mean((1, 2)), dim=-1), wanted=wanted)
    seen = RenderBuffers(torch.ones(1, 2, 2, 3) * torch.tensor([1.0, 0.0, 0.0]), torch.ones(1, 2, 2), torch.ones(1, 2, 2), None)
    assert float(loss.loss(seen, RING[0], seeded())) == pytest.approx(0.5)


def test_rays_that_meet_a_box_are_those_of_its_outline():
    low, high = (-0.35, -0.25, -0.2), (0.35, 0.25, 0.2)
    cameras = RING.resized(64, 64)
    wanted = render_surface(tiny_stages.box(), cameras, supersample=4, grad=False).alpha
    assert bool((meets(cameras, low, high) == (wanted > 0.5))[(wanted < 0.01) | (wanted > 0.99)].all())


def test_what_lies_outside_of_the_region_is_held_and_inside_is_free():
    def was(cameras, size):
        return drawn(cameras.resized(size, size)).composite(1.0)

    loss = Untouched(before=was, low=(0.0, -1.0, -1.0), high=(1.0, 1.0, 1.0))
    front = HOME.orbit(0.0, 0.0, SIZE)
    painted = drawn(front)
    left, right = painted.rgb.clone(), painted.rgb.clone()
    left[:, :, : SIZE // 2 - 1], right[:, :, SIZE // 2 + 1 :] = 0.0, 0.0
    assert float(loss.loss(replace(painted, rgb=right), front, seeded())) < 1e-6
    assert float(loss.loss(replace(painted, rgb=left), front, seeded())) > 1e-3


# ------------------------------------------------------------------------------------------ in a stage


def test_silhouettes_alone_carve_a_shape_and_a_faded_loss_is_not_rendered():
    words, config = words_only("a box"), replace(tiny_stages.NERF, iterations=20)
    faded = photos(weight=Constant(0.0), colors=False)
    scene = fit_nerf(words, None, config, extras=(photos(weight=Linear(4.0, 2.0)), Symmetry(weight=Constant(0.01)), faded))
    errors = [float((render_scene(s, RING, want_normal=False).alpha - drawn(RING).alpha).square().mean())
              for s in (fit_nerf(words, None, config, until=0), scene)]
    assert errors[1] < 0.5 * errors[0]
    with pytest.raises(InputError, match="Text Prior"):
        fit_nerf(words, None, config)


@pytest.mark.parametrize("shape", ["ball", "figure", "mesh"])
def test_a_stage_begins_with_the_shape_that_it_is_given(shape, monkeypatch):
    monkeypatch.setattr(initial_shape, "STEPS", 150)
    monkeypatch.setattr(initial_shape, "POINTS", 2048)
    inside = {"ball": lambda: initial_shape.ball(0.8), "figure": lambda: initial_shape.figure(1.2),
              "mesh": lambda: initial_shape.mesh_inside(tiny_stages.box())}[shape]()
    scene = initial_shape.initial_scene(words_only("a thing"), tiny_stages.NERF, inside, seed=4)
    x = 2 * torch.rand(4000, 3, generator=seeded()) - 1
    solid, wanted = load_field(scene).log_density(x).detach() > 0, inside(x) > 0
    far = inside(x).abs() > 0.04
    overlap = float((solid & wanted & far).sum() / ((solid | wanted) & far).sum())
    assert overlap > 0.7, overlap
    assert scene.step == 0
    again = fit_nerf(scene.reference, tiny_stages.oracle(), tiny_stages.NERF, scene=scene, until=1)
    assert again.step == 1 and again.seed == 4


def test_a_finished_scene_begins_anew_with_other_words():
    done = tiny_stages.nerf()
    words = words_only("a red box")
    again = initial_shape.restarted(done, words)
    assert again.step == 0 and not again.finished and again.reference.prompt == "a red box" and again.reference.blank
    same = render_scene(again, RING, want_normal=False).rgb, render_scene(done, RING, want_normal=False).rgb
    assert torch.equal(*same)
    with pytest.raises(InputError, match="mesh"):
        initial_shape.restarted(replace(done, kind="mesh"), words)


def test_words_without_a_picture_pass_the_nodes_that_need_none():
    """Words Only into Initial Shape and NeRF Stage 1 is text-to-3D; a node that looks at the picture still refuses."""
    from lift123.host.wire_values import WORDS_DO, check_value
    from lift123.pipelines.stages.inputs.words import words_only

    words = words_only("a red box")
    check_value("reference", "LIFT123_REFERENCE", words, True)
    assert {"Lift123_NerfStage1", "Lift123_InitialShape"} <= set(WORDS_DO)
    for refused, words_do in ((words, False), (replace(words, prompt=" "), True)):
        with pytest.raises(InputError, match="nothing but background"):
            check_value("reference", "LIFT123_REFERENCE", refused, words_do)
