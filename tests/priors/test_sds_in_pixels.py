"""Distillation in pixels (M-C.7): the pull is the distance to the decoded estimate, and nothing else."""

import math

import pytest
import torch
from helpers import pixel_tiny, public_tiny
from helpers.linear import SIZE, LinearDenoiser
from lift123.pipelines.core.cameras import Cameras
from lift123.pipelines.core.errors import NotFinite
from lift123.pipelines.core.schedules import Constant, Linear
from lift123.pipelines.loaders import embedded, public
from lift123.pipelines.priors.combine import DynamicPrior, SumPrior
from lift123.pipelines.priors.sds import SdsPrior, SdsSettings, resize
from lift123.pipelines.priors.text import TextPrior
from lift123.pipelines.priors.view import ViewPrior
from lift123.verification.oracle import OracleDenoiser, latent_pixels, pixel_latents

PIXELS = SdsSettings((0.3, 0.3), weight=Linear(0.5, 1.5), space="pixels", pixel_weight=Linear(12.0, 4.0))
VIEWS = Cameras.orbit(torch.tensor([0.0, 1.0]), 0.0, 3.2, 0.35, SIZE, SIZE)
FRONT = Cameras.orbit(0.0, 0.0, 3.2, 0.35, SIZE, SIZE)


class PixelDenoiser(LinearDenoiser):
    """Latents are the pictures, stretched to [-1, 1]; the answer is one number everywhere."""

    def encode(self, images):
        return pixel_latents(images)

    def decode(self, latents):
        return latent_pixels(latents)


class Broken(PixelDenoiser):
    def decode(self, latents):
        return super().decode(latents) * math.nan


class Watched(PixelDenoiser):
    """Notes whether its encoder is asked for a gradient."""

    wanted = None

    def encode(self, images):
        self.wanted = images.requires_grad or torch.is_grad_enabled()
        return super().encode(images)


def pictures(size=SIZE, count=2, seed=1, low=0.3, high=0.7):
    values = torch.rand(count, size, size, 3, generator=torch.Generator().manual_seed(seed))
    return (low + (high - low) * values).requires_grad_()


def gradient(prior, images, progress=0.25, seed=3, cameras=VIEWS):
    losses = prior.loss(images, cameras[: len(images)] if len(images) < len(cameras) else cameras, progress,
                        torch.Generator().manual_seed(seed))
    return losses.detach(), torch.autograd.grad(losses.sum(), images)[0]


def by_hand(denoiser, images, seed=3):
    """Decoded x0_hat = (noisy - sqrt(1 - abar) eps) / sqrt(abar) of the same draws."""
    generator = torch.Generator().manual_seed(seed)
    t = torch.randint(300, 301, (len(images),), generator=generator)
    latents = denoiser.encode(images.detach())
    noise = torch.randn(latents.shape, generator=generator)
    abar = denoiser.alphas_cumprod[t][:, None, None, None]
    noisy = abar.sqrt() * latents + (1 - abar).sqrt() * noise
    return denoiser.decode((noisy - (1 - abar).sqrt() * denoiser.answer) / abar.sqrt())


@pytest.mark.parametrize("kind", [PixelDenoiser, LinearDenoiser])
def test_the_gradient_is_weight_times_picture_minus_target_over_all_values(kind):
    denoiser, images = kind(), pictures()
    losses, got = gradient(SdsPrior(denoiser, PIXELS), images)
    weight, away = 0.75 * 10.0, images.detach() - by_hand(denoiser, images)
    assert torch.allclose(got, weight * away / (SIZE * SIZE * 3), rtol=1e-3, atol=1e-6)
    assert torch.allclose(losses, 0.5 * weight * away.square().flatten(1).mean(1), rtol=1e-3)
    assert 0.05 < float(away.abs().max())


def test_both_schedules_count_and_the_latents_settings_do_not():
    images = pictures()
    one = gradient(SdsPrior(PixelDenoiser(), PIXELS), images, 0.0)[1]
    last = gradient(SdsPrior(PixelDenoiser(), PIXELS), images, 1.0)[1]
    assert torch.allclose(one / (0.5 * 12), last / (1.5 * 4), rtol=1e-4, atol=1e-9)
    for words in ({"reduction": "sum"}, {"reduction": "mean"}, {"weighting": "snr"}):
        same = SdsSettings((0.3, 0.3), weight=PIXELS.weight, space="pixels", pixel_weight=PIXELS.pixel_weight, **words)
        assert torch.equal(gradient(SdsPrior(PixelDenoiser(), same), images, 0.0)[1], one)


def test_nothing_flows_through_the_encoder():
    for space, wanted in (("pixels", False), ("latent", True)):
        denoiser = Watched()
        gradient(SdsPrior(denoiser, SdsSettings((0.3, 0.3), space=space)), pictures())
        assert denoiser.wanted is wanted


@pytest.mark.parametrize("size", [SIZE * 3, SIZE // 2])
def test_the_target_takes_the_pictures_size(size):
    denoiser, images = PixelDenoiser(), pictures(size)
    target = by_hand(denoiser, resize(images, SIZE))
    got = gradient(SdsPrior(denoiser, PIXELS), images)[1]
    expected = 7.5 * (images.detach() - resize(target, size)) / (size * size * 3)
    assert got.shape == images.shape and torch.allclose(got, expected, rtol=1e-3, atol=1e-6)


def test_oblong_pictures_get_an_oblong_target():
    truth = torch.full((1, 1, 1, 3), 0.2)
    oracle = OracleDenoiser(lambda cameras: truth.expand(len(cameras), SIZE, SIZE, 3), image_size=SIZE)
    images = pictures(12)[:, :8].detach().requires_grad_()
    got = gradient(SdsPrior(oracle, PIXELS), images)[1]
    assert torch.allclose(got, 7.5 * (images.detach() - 0.2) / (8 * 12 * 3), rtol=1e-3, atol=1e-6)


def test_the_exact_denoiser_pulls_to_the_truth_whatever_the_noise():
    truth = pictures(seed=8).detach()
    oracle = OracleDenoiser(lambda cameras: truth[: len(cameras)], image_size=SIZE)
    settings = SdsSettings((0.02, 0.98), space="pixels")
    for seed in range(3):
        got = gradient(SdsPrior(oracle, settings), images := pictures(), seed=seed)[1]
        assert torch.allclose(got, 12 * (images.detach() - truth) / (SIZE * SIZE * 3), rtol=1e-2, atol=2e-6)
    assert float(gradient(SdsPrior(oracle, settings), truth.clone().requires_grad_())[1].abs().max()) < 2e-6


def test_the_angle_weighs_in_pixels_as_well():
    views = Cameras.orbit(torch.tensor([math.pi / 2, math.pi]), 0.0, 3.2, 0.35, SIZE, SIZE)
    images = pictures()
    plain = gradient(ViewPrior(PixelDenoiser(), PIXELS, FRONT, False), images, cameras=views)[1]
    scaled = gradient(ViewPrior(PixelDenoiser(), PIXELS, FRONT, True), images, cameras=views)[1]
    assert torch.allclose(scaled[0], 0.5 * plain[0], rtol=1e-3) and torch.allclose(scaled[1], plain[1], rtol=1e-3)


def test_sums_and_ramps_add_pulls_of_both_spaces():
    images = pictures()
    latent = ViewPrior(PixelDenoiser(), SdsSettings((0.3, 0.3), reduction="mean"), FRONT, False)
    pixels = TextPrior(PixelDenoiser(), PIXELS)
    call = lambda: torch.Generator().manual_seed(3)  # noqa: E731

    def parts(w3, w2):
        generator = call()
        losses = w3 * latent.loss(images, VIEWS, 0.25, generator) + w2 * pixels.loss(images, VIEWS, 0.25, generator)
        return torch.autograd.grad(losses.sum(), images)[0]

    summed = SumPrior(((latent, Constant(2.0)), (pixels, Constant(0.5))))
    assert torch.equal(gradient(summed, images)[1], parts(2.0, 0.5))
    ramp = DynamicPrior(latent, pixels)
    for x in (0.0, 0.6, 1.0):
        w3, w2 = ramp.weights(x)
        assert torch.equal(gradient(ramp.at(x), images)[1], parts(w3, w2))
    assert torch.equal(gradient(ramp.at(None), images)[1], gradient(latent, images)[1])


def test_a_lost_element_has_no_opinion_and_a_broken_decoder_is_named():
    class Losing(PixelDenoiser):
        def predict_noise(self, noisy, t, cameras):
            answer = super().predict_noise(noisy, t, cameras).contiguous()
            answer[:, 0, 0, 0] = math.nan
            return answer

    got = gradient(SdsPrior(Losing(), PIXELS), pictures())[1]
    assert bool(got.isfinite().all()) and float(got[:, 0, 0, 0].abs().max()) < 1e-8 < float(got.abs().max())
    with pytest.raises(NotFinite, match=r"text prior.*100%.*timestep \[300, 300\]"):
        gradient(TextPrior(Broken(), PIXELS), pictures())


def test_pure_noise_says_nothing_infinite():
    denoiser = PixelDenoiser()
    denoiser.alphas_cumprod = torch.cat([denoiser.alphas_cumprod[:-1], torch.zeros(1)])
    settings = SdsSettings((1.0, 1.0), space="pixels")
    losses, got = gradient(SdsPrior(denoiser, settings), pictures())
    assert bool(losses.isfinite().all()) and bool(got.isfinite().all())


NETWORKS = {
    "embedded view": lambda root: embedded.load_embedded().view.with_reference(pictures(24)[0].detach(), FRONT),
    "embedded text": lambda root: embedded.load_embedded().text.with_prompt("a red mug"),
    "Stable Diffusion": lambda root: public.load_text_folder(public_tiny.sd(root / "sd15")).with_prompt("a red mug"),
    "DeepFloyd IF": lambda root: public.load_text_folder(pixel_tiny.deepfloyd(root / "if")).with_prompt("a red mug"),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_any_network_pulls_towards_a_picture_in_range(name, tmp_path):
    """x - N g / w is the target, which the network drew: another one for another draw of noise, between 0 and 1."""
    denoiser = NETWORKS[name](tmp_path)
    images = pictures(16, 1)
    found = [images.detach() - gradient(SdsPrior(denoiser, PIXELS), images, seed=seed)[1] * 16 * 16 * 3 / 7.5
             for seed in (0, 1)]
    for target in found:
        assert -1e-4 < float(target.min()) and float(target.max()) < 1 + 1e-4 and float(target.std()) > 0
    if name == "embedded view":  # it shows what it expects, whatever the noise, but for its small spread
        assert float((found[0] - found[1]).abs().max()) < 0.05
    else:
        assert not torch.allclose(found[0], found[1], atol=1e-3)


def test_words_that_do_not_exist_are_refused():
    with pytest.raises(ValueError, match="space must be one of"):
        SdsSettings(space="pictures")
    oracle = OracleDenoiser(lambda cameras: torch.zeros(1), encode=pixel_latents)
    with pytest.raises(ValueError, match="decode"):
        oracle.decode(torch.zeros(1, 3, SIZE, SIZE))
