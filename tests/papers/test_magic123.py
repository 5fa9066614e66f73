"""Magic123: every number that makes it Magic123, against the paper's and the released code's arithmetic."""

import math
from dataclasses import replace
from functools import lru_cache
from types import SimpleNamespace

import pytest
import torch
from lift123.pipelines import magic123
from lift123.pipelines.core.cameras import HOME, Cameras
from lift123.pipelines.core.errors import InputError
from lift123.pipelines.core.mesh import Mesh
from lift123.pipelines.core.schedules import Constant
from lift123.pipelines.core.views import Views
from lift123.pipelines.fields.hash_nerf import HashNerfConfig
from lift123.pipelines.losses import image as losses
from lift123.pipelines.magic123 import (
    BALANCES,
    PAPER,
    PRINTED,
    QUICKSTART,
    Balance,
    trade_off,
    trade_off_prior,
)
from lift123.pipelines.ops.hashgrid import HashGridConfig
from lift123.pipelines.priors.sds import SdsPrior, SdsSettings
from lift123.pipelines.priors.text import TextPrior
from lift123.pipelines.priors.view import ViewPrior
from lift123.pipelines.render.surface import render_surface
from lift123.pipelines.render.volume import VolumeSettings
from lift123.pipelines.stages.inputs.reference import ReferenceView
from lift123.pipelines.stages.loop.cameras import NovelViews
from lift123.pipelines.stages.loop.optimizer import live_levels
from lift123.pipelines.stages.objects.fit_nerf import fit_nerf
from lift123.pipelines.stages.objects.refine_mesh import refine_mesh
from lift123.pipelines.stages.results.render_views import render_scene
from lift123.verification.oracle import pixel_latents, stable_diffusion_alphas

SIZE = 16
EVEN = Balance(1.0, 1.0, "for tests")


class Latents:
    """A linear 'VAE' with 4 channels and ``side`` squared latents, and a network that answers 0.3 x + 0.1."""

    def __init__(self, side: int):
        self.side, self.image_size, self.alphas_cumprod = side, side, stable_diffusion_alphas()
        self.asked, self.guidance = [], None

    def encode(self, images):
        rgb = pixel_latents(images)
        return torch.cat([rgb, rgb.mean(1, keepdim=True)], 1)

    def decode(self, latents):
        return (latents[:, :3] / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1)

    def predict_noise(self, noisy, t, cameras):
        self.asked.append(int(t[0]))
        return 0.3 * noisy + 0.1

    def with_guidance(self, scale):
        self.guidance = scale
        return self

    def with_prompt(self, prompt, negative=""):
        self.prompt = prompt
        return self

    def with_reference(self, picture, camera):
        self.conditioned = picture
        return self


def camera(azimuth=0.0, elevation=0.0, size=SIZE):
    return Cameras.orbit(azimuth, elevation, 1.8, math.radians(40), size, size)


def gradient(prior, images, cameras, seed=0):
    leaf = images.clone().requires_grad_()
    prior.loss(leaf, cameras, 0.0, torch.Generator().manual_seed(seed)).sum().backward()
    return leaf.grad


# ------------------------------------------------------------------------------------------ weights


@pytest.mark.parametrize("stage, printed, side, which", [
    ("coarse", 1.0, 64, 0), ("coarse", 40.0, 32, 1), ("fine", 1e-3, 64, 0), ("fine", 1e-2, 32, 1)])
def test_restated_weights_give_the_gradient_of_the_released_code(stage, printed, side, which):
    """The code sums over latents, multiplies by the printed weight, and divides by its loss scale, 2^16."""
    images, prior = torch.rand(1, side, side, 3, generator=torch.Generator().manual_seed(1)), Latents(side)
    released = SdsPrior(prior, SdsSettings((0.3, 0.3), weight=Constant(printed / 2**16), reduction="sum"))
    weight = trade_off(1.0, BALANCES[stage])[which]
    ours = SdsPrior(prior, SdsSettings((0.3, 0.3), weight=Constant(weight), reduction="mean"))
    expected = gradient(released, images, camera(size=side))
    assert float(expected.abs().max()) > 0
    torch.testing.assert_close(gradient(ours, images, camera(size=side)), expected, rtol=1e-5, atol=0.0)


def test_restated_weights_are_those_of_the_specification():
    assert trade_off(1.0, BALANCES["coarse"]) == (0.25, 2.5)
    assert trade_off(1.0, BALANCES["fine"]) == pytest.approx((2.5e-4, 6.25e-4))
    assert trade_off(1.0, BALANCES["printed_coarse"]) == (1.0, 40.0)
    assert trade_off(2.0, BALANCES["coarse"]) == (0.5, 2.5), "only the 2D weight moves (Eq. 8)"


def test_distillation_survives_only_in_clean_form():
    """Why the restatement is needed: through a loss scaler, a term that bypasses it shrinks by the scale."""
    scale = torch.tensor(2.0**16)
    x = torch.tensor([0.5], requires_grad=True)
    (scale * 3 * x).backward(retain_graph=True)  # scaled losses ...
    x.backward(torch.tensor([7.0]))  # ... a gradient given directly ...
    assert float(x.grad / scale) == pytest.approx(3 + 7 / 2**16)  # ... and one division for all


# ---------------------------------------------------------------------------------------- trade-off


def both(ratio):
    text, view = Latents(SIZE), Latents(SIZE)
    settings = SdsSettings((0.3, 0.3), reduction="mean")
    prior = trade_off_prior(TextPrior(text, settings), ViewPrior(view, settings, camera(), False), ratio, EVEN)
    return prior, text, view


def test_trade_off_is_linear_in_the_2d_prior_and_ends_at_the_3d_prior():
    images, cameras = torch.rand(1, SIZE, SIZE, 3, generator=torch.Generator().manual_seed(2)), camera(1.0)
    view_only, text, view = both(0.0)
    base = gradient(view_only, images, cameras)
    assert not text.asked and len(view.asked) == 1, "a prior without weight is not evaluated"
    text_only = trade_off_prior(both(1.0)[0].terms[0][0], None, 1.0, EVEN)
    single = gradient(text_only, images, cameras)
    generator_order = gradient(trade_off_prior(*[both(1.0)[0].terms[0][0]] * 2, 0.0, EVEN), images, cameras)
    torch.testing.assert_close(generator_order, single)
    one, two = (gradient(both(r)[0], images, cameras) for r in (1.0, 2.0))
    torch.testing.assert_close(two - one, single, rtol=1e-4, atol=1e-9)
    assert float((one - base).abs().max()) > 0


def test_trade_off_refuses_what_means_nothing():
    prior = TextPrior(Latents(SIZE))
    for ratio in (-0.1, float("inf"), float("nan")):
        with pytest.raises(InputError, match="disconnect the 3D prior"):
            trade_off(ratio, EVEN)
    with pytest.raises(InputError, match="none"):
        trade_off_prior(prior, None, 0.0)
    with pytest.raises(InputError, match="none"):
        trade_off_prior(None, None, 1.0)


# ------------------------------------------------------------------------------------------ presets


def test_standard_guidance_101_is_the_codes_formula():
    """eps_t + 100 (eps_t - eps_u), as released, equals the standard formula at 101."""
    text, none = torch.rand(2, 50, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    torch.testing.assert_close(none + PAPER.text_guidance * (text - none), text + 100 * (text - none))


# ------------------------------------------------------------------------------------------ cameras


def test_half_of_the_views_come_from_the_upper_half_of_a_box():
    count = 20000
    cameras = PAPER.nerf.novel.sample(count, 8, 0.0, camera(), torch.Generator().manual_seed(0))
    assert torch.allclose(cameras.radius, torch.tensor(1.8)) and torch.allclose(
        cameras.fovy, torch.tensor(math.radians(40)))
    found = cameras.elevation.rad2deg()
    # oracle: the two distributions drawn directly
    g = torch.Generator().manual_seed(1)
    box = torch.rand(count, 3, generator=g) * torch.tensor([2.0, 1.0, 2.0]) - torch.tensor([1.0, 0.0, 1.0])
    above = torch.asin(box[:, 1] / box.norm(dim=-1)).rad2deg()
    level = torch.rand(count, generator=g) * 90 - 45
    expected = torch.where(torch.rand(count, generator=g) < 0.5, above, level)
    for q in (0.05, 0.25, 0.5, 0.75, 0.95):
        assert float(found.quantile(q)) == pytest.approx(float(expected.quantile(q)), abs=1.5)
    assert float(found.min()) >= -45.01 and float(found.max()) < 89.5 and float((found > 45).float().mean()) > 0.1
    assert float((cameras.azimuth.cos()).mean()) == pytest.approx(0.0, abs=0.02), "all around"


def test_hemisphere_views_follow_the_reference_azimuth_and_ranges_stay_reproducible():
    plain = NovelViews()
    old = plain.sample(3, 8, 0.5, camera(), torch.Generator().manual_seed(5))
    again = replace(plain, hemisphere=1e-12).sample(3, 8, 0.5, camera(), torch.Generator().manual_seed(5))
    torch.testing.assert_close(old.c2w, again.c2w)
    above = replace(plain, hemisphere=1.0)
    here, there = (above.sample(50, 8, 0.5, camera(a), torch.Generator().manual_seed(5)) for a in (0.0, 1.0))
    turned = torch.remainder(there.azimuth - here.azimuth - 1.0 + math.pi, 2 * math.pi) - math.pi
    assert float(turned.abs().max()) < 1e-4 and float(here.elevation.min()) >= 0


def test_a_reference_camera_unlike_the_new_views_is_noticed():
    far = HOME.orbit(0.0, 0.0, 8)
    assert PAPER.nerf.novel.unlike(camera()) == "" and QUICKSTART.nerf.novel.unlike(far) == ""
    for novel, reference in ((PAPER.nerf.novel, far), (QUICKSTART.nerf.novel, camera())):
        assert "radius and fovy" in novel.unlike(reference)
    assert PAPER.nerf.novel.unlike(Cameras.orbit(0.0, 0.0, 1.8, math.radians(60), 8, 8))


# --------------------------------------------------------------------------------- reference losses


def test_edges_of_the_mask_against_loops():
    alpha = torch.rand(1, 9, 11, generator=torch.Generator().manual_seed(3)).sqrt()
    alpha[:, 2:8, 2:9] = 1.0
    alpha[:, 4, 5] = 0.93
    wanted = {edge: torch.zeros(9, 11) for edge in losses.EDGES}
    for i in range(9):
        for j in range(11):
            box = alpha[0, max(i - 2, 0) : i + 3, max(j - 2, 0) : j + 3]
            here = float(alpha[0, i, j])
            wanted["keep"][i, j] = here > 0.5
            wanted["soft"][i, j] = here > 0.5 and float(box.max()) - here <= 0.1
            wanted["erode"][i, j] = here > 0.5 and here - float(box.min()) <= 0.1
    for edge in losses.EDGES:
        assert torch.equal(losses.color_region(alpha, edge)[0], wanted[edge]), edge
    assert wanted["keep"].sum() > wanted["soft"].sum() > wanted["erode"].sum() > 0
    with pytest.raises(ValueError, match="edge must be one of"):
        losses.color_region(alpha, "sharp")


def test_erosion_of_a_crisp_mask_is_two_pixels_and_the_codes_rule_keeps_it():
    alpha = torch.zeros(1, 20, 20)
    alpha[:, 5:15, 5:15] = 1
    inner = torch.zeros(1, 20, 20)
    inner[:, 7:13, 7:13] = 1
    assert torch.equal(losses.color_region(alpha, "erode"), inner)
    assert torch.equal(losses.color_region(alpha, "soft"), alpha)


def test_blur_without_stop_gradient_is_the_derivative_of_the_whole_expression():
    image = torch.rand(1, 12, 12, 2, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: losses.blur_smoothness(x, stop_gradient=False), image.requires_grad_())
    (whole,) = torch.autograd.grad(losses.blur_smoothness(image, stop_gradient=False), image)
    (held,) = torch.autograd.grad(losses.blur_smoothness(image, stop_gradient=True), image)
    assert float((whole - held).abs().max()) > 0.1 * float(held.abs().max())


# ------------------------------------------------------------------------------- stages, tiny object


def box_mesh() -> Mesh:
    corners = torch.tensor([[x, y, z] for x in (-1.0, 1.0) for y in (-1.0, 1.0) for z in (-1.0, 1.0)])
    quads = ((0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3))
    faces = [f for a, b, c, d in quads for f in ((a, b, c), (a, c, d))]
    return Mesh(corners * torch.tensor([0.35, 0.25, 0.2]), torch.tensor(faces), corners * 0.3 + 0.5)


@lru_cache
def reference() -> ReferenceView:
    buffers = render_surface(box_mesh(), camera(), supersample=4, grad=False)
    safe = buffers.alpha.clamp_min(1e-6)
    return ReferenceView(Views(camera(), buffers.rgb / safe[..., None], buffers.alpha, buffers.depth / safe), "a box")


SMALL_FIELD = HashNerfConfig(HashGridConfig(levels=4, log2_table=11, base=6, finest=24), hidden=16, layers=1)


def shrunk(preset, iterations=20, first=2):
    """The preset with its terms and schedules, but a field, sizes and counts that fit a test."""
    few = {"iterations": iterations, "size": SIZE, "reference_size": SIZE, "reference_first": first, "preview_every": 0}
    nerf = replace(preset.nerf, **few, field=SMALL_FIELD, volume=VolumeSettings(step=0.08, max_samples=48),
                   grid_resolution=16, grid_every=4)
    return replace(preset, nerf=nerf, mesh=replace(preset.mesh, **{**few, "iterations": 8}, tets=8))


def networks():
    return SimpleNamespace(text=Latents(SIZE), view=Latents(SIZE))


@pytest.mark.parametrize("preset", [PAPER, PRINTED])
def test_every_term_of_both_stages_runs_and_is_finite(preset):
    seen, models = {}, networks()

    def collect(step):
        assert all(math.isfinite(v) for v in step.losses.values()), step
        seen.setdefault(step.stage, set()).update(step.losses)

    scene = magic123.run(reference(), models, shrunk(preset), on_step=collect)
    released = {"normal_tv", "orientation", "entropy"} if preset is PAPER else set()
    assert seen["NeRF"] == {"rgb", "mask", "depth", "text+view", "normal_blur"} | released
    regular = {"mesh_normal", "mesh_laplacian"} if preset is PAPER else {"depth", "normal_blur"}
    assert seen["Mesh"] == {"rgb", "mask", "text+view"} | regular
    assert scene.finished and torch.isfinite(render_scene(scene, camera(0.5)).rgb).all()
    assert (models.text.guidance, models.view.guidance) == (preset.text_guidance, 5.0)
    assert all(200 <= t <= 600 for t in models.text.asked[:10]) and min(models.view.asked) < 200, "two ranges of times"


def novel_steps(models, preset, **settings):
    """0-based steps of the NeRF stage that asked the priors."""
    seen = []
    fit_nerf(reference(), magic123.stage_prior(reference(), models, preset, "nerf", **settings), preset.nerf,
             on_step=lambda s: seen.append("rgb" not in s.losses))
    return [i for i, novel in enumerate(seen) if novel]


def test_reference_steps_first_then_every_fourth_or_every_second_without_3d_prior():
    preset, both_networks = shrunk(PAPER, 16, first=5), networks()
    assert novel_steps(both_networks, preset) == [i for i in range(16) if i >= 5 and i % 4]
    without = SimpleNamespace(text=Latents(SIZE), view=None)
    assert novel_steps(without, preset) == [i for i in range(16) if i >= 5 and i % 2]
    only = networks()
    assert novel_steps(only, preset, ratio=0.0) == [i for i in range(16) if i >= 5 and i % 4] and not only.text.asked


def test_upper_hash_levels_sleep_until_three_fifths():
    assert [live_levels(16, 0.5, 0.0, x / 5000, 0.6) for x in (0, 1500, 2999, 3000, 4999)] == [8, 8, 8, None, None]
    preset = shrunk(PAPER, 10)
    prior = magic123.stage_prior(reference(), networks(), preset, "nerf")
    tables = [fit_nerf(reference(), prior, preset.nerf, until=n).tensors["field/table"] for n in (0, 6, 10)]
    start = sum((n + 1) ** 3 for n in (6, 10))  # rows of the two coarse levels are dense and come first
    changed = [(b != a).any(1).nonzero()[:, 0] for a, b in zip(tables, tables[1:])]
    assert len(changed[0]) and int(changed[0].max()) < start, "only the lower half learned"
    assert int(changed[1].max()) >= start, "all levels learn at the end"


def test_normals_are_shown_first_then_light_and_clay():
    mix = PAPER.nerf.shading
    g = torch.Generator().manual_seed(0)
    modes = [[mix.draw(camera(), x, g).mode for _ in range(400)] for x in (0.0, 0.19, 0.2, 0.9)]
    assert set(modes[0]) == set(modes[1]) == {"normal"} and set(modes[2]) == {"lambertian", "textureless"}
    assert modes[3].count("textureless") / 400 == pytest.approx(0.2, abs=0.06)
    assert {PAPER.mesh.shading.draw(camera(), 0.0, g).mode for _ in range(50)} == {"lambertian", "textureless"}


def test_3d_gradient_grows_with_the_angle_and_the_2d_gradient_does_not():
    models, images = networks(), torch.rand(1, SIZE, SIZE, 3, generator=torch.Generator().manual_seed(6))
    preset = replace(PAPER, text=SdsSettings((0.3, 0.3), reduction="mean"), view=SdsSettings((0.3, 0.3), reduction="mean"))
    full = magic123.stage_prior(reference(), models, preset, "nerf")
    (text, text_weight), (view, view_weight) = full.terms
    assert (text_weight(0.0), view_weight(0.0)) == (0.25, 2.5)
    behind, side, front = (gradient(view, images, camera(a)) for a in (math.pi, math.pi / 2, 0.0))
    torch.testing.assert_close(side * 2, behind, rtol=1e-3, atol=1e-9)
    assert float(front.abs().max()) < 1e-3 * float(behind.abs().max()) and float(behind.abs().max()) > 0
    torch.testing.assert_close(gradient(text, images, camera(math.pi)), gradient(text, images, camera(0.0)))


def test_quickstart_runs_and_the_slider_changes_the_result():
    preset = shrunk(QUICKSTART, 12)
    scenes = [magic123.run(reference(), networks(), preset, ratio=r, seed=2) for r in (0.0, 0.0, 1.0)]
    same = [all(torch.equal(v, s.tensors[k]) for k, v in scenes[0].tensors.items()) for s in scenes[1:]]
    assert same == [True, False] and all(s.kind == "mesh" for s in scenes)
    assert refine_mesh(None, scenes[0], preset.mesh).kind == "mesh"
