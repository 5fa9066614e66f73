"""How renders larger than a network's pictures become smaller: as released, or antialiased."""

import pytest
import torch
from lift123.pipelines import consistent123, hifi123, magic123
from lift123.pipelines.core.cameras import HOME
from lift123.pipelines.priors.sds import SdsPrior, SdsSettings, resize
from lift123.pipelines.toybox.objects import make_object
from lift123.pipelines.toybox.render import render_toy
from lift123.verification.oracle import stable_diffusion_alphas


class Plain:
    """Pictures are latents; the network is one off everywhere."""

    image_size, alphas_cumprod = 32, stable_diffusion_alphas()

    def encode(self, images):
        return images.movedim(-1, 1)

    def predict_noise(self, noisy, t, cameras):
        return torch.ones_like(noisy)


@pytest.mark.parametrize("shrink, share", [("plain", 0.25), ("smooth", 1.0)])
def test_a_quarter_of_the_pixels_gets_a_gradient_as_released_and_all_get_one_by_default(shrink, share):
    """128 to 32 pixels, the ratio of 1024 to Zero-1-to-3's 256."""
    prior = SdsPrior(Plain(), SdsSettings(t_range=(0.5, 0.5), shrink=shrink))
    images = torch.rand(1, 128, 128, 3, generator=torch.Generator().manual_seed(0)).requires_grad_()
    prior.loss(images, HOME, 0.0, torch.Generator().manual_seed(1)).sum().backward()
    assert float((images.grad != 0).float().mean()) == pytest.approx(share, abs=1e-3)


def test_the_released_resize_is_the_mean_of_the_four_pixels_around_each_sample():
    images = torch.rand(1, 16, 16, 3, generator=torch.Generator().manual_seed(0))
    blocks = images.view(1, 4, 4, 4, 4, 3)[:, :, 1:3, :, 1:3]
    torch.testing.assert_close(resize(images, 4, antialias=False), blocks.mean((2, 4)))
    fine = (torch.arange(16) % 4 == 0).float()[None, :, None, None].expand(1, 16, 16, 3)  # a pattern between the samples
    assert float(resize(fine, 4, antialias=False).max()) == 0 and float(resize(fine, 4).min()) > 0.1
    torch.testing.assert_close(resize(images, 32, antialias=False), resize(images, 32))  # growing is the same


def test_ours_is_nearer_to_the_picture_that_a_camera_of_that_size_takes():
    """Why it is the default: a toy's render, shrunk fourfold, against its picture at that size with 64 samples a pixel."""
    toy, cameras = make_object(5), HOME.orbit(torch.tensor([0.5, 2.5]), 0.2, 64)
    large = render_toy(toy, cameras.resized(256, 256), 1).on_background(1.0)
    truth = render_toy(toy, cameras, 8).on_background(1.0)
    plain, smooth = ((resize(large, 64, antialias=way) - truth).square().mean().sqrt() for way in (False, True))
    assert float(plain) > 1.5 * float(smooth)


def test_presets_of_papers_use_what_was_released_and_ours_do_not():
    for paper in (consistent123, magic123):
        for preset in (paper.PAPER, paper.PRINTED):
            assert {s.shrink for s in (preset.text, preset.view, preset.mesh_text, preset.mesh_view)} == {"plain"}
        quick = paper.QUICKSTART
        assert {s.shrink for s in (quick.text, quick.view, quick.mesh_text, quick.mesh_view)} == {"smooth"}
    assert {hifi123.PAPER.text.shrink, hifi123.PAPER.view.shrink} == {"plain"}
    with pytest.raises(ValueError, match="shrink must be one of"):
        SdsSettings(shrink="soft")
