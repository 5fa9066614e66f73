"""Figures of the papers' released codes, as docs/method states them, read out of this pack."""

import math
from dataclasses import dataclass, field, replace
from types import SimpleNamespace

import pytest
import torch
from lift123.pipelines import hifi123, magic123
from lift123.pipelines.core.cameras import Cameras
from lift123.pipelines.core.ortho import six_views
from lift123.pipelines.core.schedules import DynamicFall, DynamicRise
from lift123.pipelines.core.views import Views
from lift123.pipelines.methods.inversion import RungGrid
from lift123.pipelines.networks import noise
from lift123.pipelines.networks.attention import late_layers, self_attentions
from lift123.pipelines.networks.view import pose_vector
from lift123.pipelines.stages.inputs.reference import ReferenceView

ALPHAS = noise.scaled_linear_alphas()
W = {20: 0.018686, 200: 0.246308, 400: 0.575517, 500: 0.723667, 600: 0.839217}


def test_noise_schedule():
    assert {t: float(1 - ALPHAS[t]) for t in W} == pytest.approx(W, abs=1e-6)


@dataclass
class OneOff:
    """Answers the true noise without a condition, and the true noise plus one with it, under standard guidance."""

    side: int
    scale: float = 1.0
    alphas_cumprod: torch.Tensor = ALPHAS
    latents: list = field(default_factory=list)

    @property
    def image_size(self):
        return self.side

    def encode(self, images):
        self.latents.append((torch.full((len(images), 4, self.side, self.side), 0.3) + 0 * images.sum()).requires_grad_())
        self.latents[-1].retain_grad()
        return self.latents[-1]

    def predict_noise(self, noisy, t, cameras):
        abar = self.alphas_cumprod[t][:, None, None, None]
        true = (noisy - abar.sqrt() * self.latents[-1].detach()) / (1 - abar).sqrt()
        return true + self.scale * ((true + 1) - true)

    def with_guidance(self, scale):
        return replace(self, scale=scale, latents=[])

    def with_prompt(self, prompt, negative=""):
        return self

    def with_reference(self, picture, camera):
        return self


@pytest.mark.parametrize("stage, text, view", [("nerf", 1.0, 40.0), ("mesh", 1e-3, 1e-2)])
@pytest.mark.parametrize("t", [200, 400, 500])
def test_magic123_gradient_per_latent_element(stage, text, view, t):
    """101 w / 65536 for the text prior, 5 x 40 a w / 65536 for the view prior at an angle a of 180 degrees; fine: times
    1e-3 and 1/4000, their printed weights."""
    home = Cameras.orbit(0.0, 0.0, 1.8, math.radians(40), 8, 8)
    reference = ReferenceView(Views(home, torch.ones(1, 8, 8, 3), torch.ones(1, 8, 8)), "a box")
    fixed = {name: replace(getattr(magic123.PAPER, name), t_range=(t / 1000, t / 1000))
             for name in ("text", "view", "mesh_text", "mesh_view")}
    models = SimpleNamespace(text=OneOff(64), view=OneOff(32))
    prior = magic123.stage_prior(reference, models, replace(magic123.PAPER, **fixed), stage)
    angle = math.radians(60)
    cameras = Cameras.orbit(angle, 0.0, 1.8, math.radians(40), 64, 64)
    images = torch.rand(1, 64, 64, 3, requires_grad=True)
    prior.loss(images, cameras, 0.0, torch.Generator().manual_seed(0)).sum().backward()
    found = [part.denoiser.latents[-1].grad for part in prior.parts]
    w = float(1 - ALPHAS[t])
    expected = [101 * w * text / 65536, 5 * view * (angle / math.pi) * w / 65536]
    for grad, value in zip(found, expected, strict=True):
        torch.testing.assert_close(grad, torch.full_like(grad, value), rtol=2e-4, atol=0)


def test_pose_vector():
    home, camera = (Cameras.orbit(a, e, r, 0.7, 4, 4) for a, e, r in ((0.3, 0.2, 1.8), (1.2, 0.6, 2.1)))
    assert pose_vector(camera, home)[0].tolist() == pytest.approx([-0.4, 0.783327, 0.621610, 0.3], abs=2e-6)
    assert float(pose_vector(camera, home, "stable")[0, 3]) == pytest.approx(1.370796, abs=2e-6)


def test_ramp_of_the_dynamic_prior():
    assert [DynamicRise("exponential")(x) for x in (0.25, 0.5, 1.0)] == pytest.approx([0.22121, 0.39348, 0.63212], abs=6e-6)
    assert DynamicFall("exponential")(1.0) == pytest.approx(0.36789, abs=6e-6)


def test_where_a_scene_point_lands_in_stdgens_views():
    x, y, z = 0.31, -0.47, 0.23
    matrices = six_views(64).world_to_clip()
    clip = matrices @ torch.tensor([x, y, z, 1.0])
    for view, wanted in ((0, (x, y)), (2, (-z, y)), (3, (-x, y))):
        found = (clip[view, :2] / clip[view, 3]).tolist()
        assert found == pytest.approx([w / 1.2 for w in wanted], abs=1e-6)


def test_rgnvs_layers_and_levels():
    """The last quarter of sixteen self-attentions, and thirty of fifty rungs from the schedule's first level up."""
    from diffusers import UNet2DConditionModel

    with torch.device("meta"):
        unet = UNet2DConditionModel(
            in_channels=5, out_channels=4, block_out_channels=(32, 64, 64, 64), cross_attention_dim=16, norm_num_groups=8)
    every, late = self_attentions(unet), late_layers(unet)
    assert len(every) == 16 and late == tuple(every[12:]) and late[0].startswith("up_blocks.2.attentions.2.")
    views = hifi123.PAPER.views
    assert (views.steps, views.rungs) == (50, 30)
    grid = RungGrid.of(ALPHAS, views.steps, views.rungs)
    assert int(grid.times[-1]) == 600 and grid.rungs == 30
    assert float(grid.alphas[0]) == float(ALPHAS[0]) < 1
