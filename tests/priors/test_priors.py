"""Score distillation against its definition; combination and clock against the papers' tables."""

import math
from dataclasses import replace

import pytest
import torch
from helpers.linear import SIZE, LinearDenoiser
from lift123.pipelines.core.cameras import Cameras
from lift123.pipelines.core.errors import NotFinite
from lift123.pipelines.core.prior import Prior
from lift123.pipelines.core.schedules import Constant, Linear
from lift123.pipelines.priors.combine import DynamicPrior, SumPrior, dynamic_clock
from lift123.pipelines.priors.sds import SdsPrior, SdsSettings, resize
from lift123.pipelines.priors.view import ViewPrior, angle_to
from lift123.verification.oracle import OracleDenoiser, pixel_latents, stable_diffusion_alphas


def _cameras(azimuths, size=SIZE):
    return Cameras.orbit(torch.tensor(azimuths), 0.0, 3.2, 0.35, size, size)


def _expected_gradient(denoiser, settings, images, progress, seed):
    """lambda w (eps_hat - eps) J, redone by hand with the same draws."""
    generator = torch.Generator().manual_seed(seed)
    low, high = settings.times(progress, 1000)
    t = torch.randint(low, high + 1, (len(images),), generator=generator)
    noise = torch.randn((len(images), denoiser.channels, 2, 2), generator=generator)
    weight = (1 - denoiser.alphas_cumprod[t])[:, None, None, None]
    grad = settings.weight(progress) * weight * (denoiser.answer - noise)
    return (grad.flatten(1) @ denoiser.matrix).reshape(images.shape), grad


@pytest.mark.parametrize("reduction", ["sum", "mean"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_sds_gradient_is_weight_times_noise_difference_times_jacobian(reduction, dtype):
    denoiser = LinearDenoiser(dtype=dtype)
    settings = SdsSettings(weight=Linear(0.0, 4.0), reduction=reduction)
    images = torch.rand(2, SIZE, SIZE, 3, generator=torch.Generator().manual_seed(1)).requires_grad_()
    prior = SdsPrior(denoiser, settings)
    loss = prior.loss(images, _cameras([0.0, 1.0]), 0.5, torch.Generator().manual_seed(3))
    assert loss.shape == (2,)
    (got,) = torch.autograd.grad(loss.sum(), images)
    expected, grad = _expected_gradient(denoiser, settings, images.detach(), 0.5, 3)
    scale = grad[0].numel() if reduction == "mean" else 1
    error = (got - expected / scale).norm() / (expected / scale).norm()
    assert float(error) < (1e-5 if dtype is torch.float32 else 2e-2)
    reduce = torch.mean if reduction == "mean" else torch.sum
    shown = torch.stack([reduce(0.5 * g.square()) for g in grad])
    assert torch.allclose(loss.detach(), shown, rtol=1e-4)


def test_noisy_latents_follow_the_forward_process():
    denoiser = LinearDenoiser()
    images = torch.rand(1, SIZE, SIZE, 3)
    SdsPrior(denoiser).loss(images, _cameras([0.0]), 0.0, torch.Generator().manual_seed(7))
    ((noisy, t),) = denoiser.calls
    generator = torch.Generator().manual_seed(7)
    assert torch.equal(t, torch.randint(200, 601, (1,), generator=generator))
    noise = torch.randn(noisy.shape, generator=generator)
    abar = denoiser.alphas_cumprod[t]
    assert torch.allclose(noisy, abar.sqrt() * denoiser.encode(images) + (1 - abar).sqrt() * noise, atol=1e-5)


class LosingDenoiser(LinearDenoiser):
    """Works on pixels; the first ``count`` elements of its answer are nan."""

    def __init__(self, count: int):
        super().__init__(answer=2.0)
        self.count = count

    def encode(self, images):
        return images.permute(0, 3, 1, 2)

    def predict_noise(self, noisy, t, cameras):
        answer = super().predict_noise(noisy, t, cameras).contiguous()
        answer.flatten(1)[:, : self.count] = math.nan
        return answer


def test_a_single_lost_element_has_no_gradient_and_the_others_keep_theirs():
    def gradient(denoiser):
        images = torch.full((1, SIZE, SIZE, 3), 0.5).requires_grad_()
        loss = SdsPrior(denoiser).loss(images, _cameras([0.0]), 0.0, torch.Generator().manual_seed(0))
        return torch.autograd.grad(loss.sum(), images)[0]

    whole, lost = gradient(LosingDenoiser(0)), gradient(LosingDenoiser(1))
    assert torch.isfinite(lost).all() and int((whole != lost).sum()) == 1
    assert float(lost[whole != lost].abs().max()) == 0


def test_a_broken_network_stops_with_its_name_and_timestep():
    prior = SdsPrior(LosingDenoiser(10**6), name="text")
    with pytest.raises(NotFinite, match=r"text prior.*100%.*timestep \[\d+\].*float32"):
        prior.loss(torch.rand(1, SIZE, SIZE, 3), _cameras([0.0]), 0.0, torch.Generator())


def test_times_follow_schedules_and_bounds():
    settings = SdsSettings(t_range=(Constant(0.02), Linear(0.98, 0.5)))
    assert settings.times(0.0, 1000) == (20, 980)
    assert settings.times(1.0, 1000) == (20, 500)
    assert replace(settings, fixed_t=True).times(1.0, 1000) == (500, 500)
    assert SdsSettings(t_range=(0.0, 1.0)).times(0.0, 1000) == (0, 999)
    with pytest.raises(ValueError):
        SdsSettings(t_range=(0.6, 0.2)).times(0.0, 1000)


def test_schedule_forms_at_the_spec_values():
    assert float(stable_diffusion_alphas()[20]) == pytest.approx(1 - 0.019, abs=1e-3)
    assert float(stable_diffusion_alphas()[600]) == pytest.approx(1 - 0.839, abs=1e-3)


def test_view_prior_scales_by_angle():
    reference = _cameras([0.0])
    assert float(angle_to(reference, _cameras([math.pi / 2]))) == pytest.approx(math.pi / 2, abs=1e-5)
    images = torch.rand(1, SIZE, SIZE, 3)

    def gradient(azimuth, scaling):
        x = images.clone().requires_grad_()
        prior = ViewPrior(LinearDenoiser(), SdsSettings(), reference, scaling)
        loss = prior.loss(x, _cameras([azimuth]), 0.0, torch.Generator().manual_seed(0))
        return torch.autograd.grad(loss.sum(), x)[0]

    assert torch.allclose(gradient(math.pi / 2, True), 0.5 * gradient(math.pi / 2, False), rtol=1e-4, atol=1e-6)
    assert float(gradient(0.0, True).abs().max()) < 1e-4


def test_oracle_gradient_points_at_the_truth_and_snr_weighting_makes_it_exact():
    truth = torch.rand(1, SIZE, SIZE, 3, generator=torch.Generator().manual_seed(2))
    oracle = OracleDenoiser(lambda cameras: truth.expand(len(cameras), -1, -1, -1), image_size=SIZE)
    images = torch.rand(2, SIZE, SIZE, 3, generator=torch.Generator().manual_seed(4)).requires_grad_()
    prior = SdsPrior(oracle, SdsSettings(weighting="snr"))
    loss = prior.loss(images, _cameras([0.0, 1.0]), 0.0, torch.Generator().manual_seed(0))
    (grad,) = torch.autograd.grad(loss.sum(), images)
    exact = (pixel_latents(images) - pixel_latents(truth)).movedim(1, -1) * 2
    assert torch.allclose(grad, exact.detach(), atol=2e-4)
    at_truth = truth.clone().requires_grad_()
    loss = prior.loss(at_truth, _cameras([0.0]), 0.0, torch.Generator().manual_seed(0))
    assert float(torch.autograd.grad(loss.sum(), at_truth)[0].abs().max()) < 1e-4


def test_resize_keeps_pixel_centers():
    ramp = ((torch.arange(16) + 0.5) / 16)[None, None, :, None].expand(1, 16, 16, 3)
    small = resize(ramp, 8)
    expected = (torch.arange(8) + 0.5) / 8
    assert torch.allclose(small[0, 3, 1:-1, 0], expected[1:-1], atol=1e-6)
    assert torch.allclose(resize(small, 16)[0, 3, 3:-3, 0], ramp[0, 3, 3:-3, 0], atol=1e-5)


class Counting(Prior):
    def __init__(self, name, scale=1.0):
        self.name, self.scale, self.calls = name, scale, 0

    def loss(self, images, cameras, progress, generator):
        self.calls += 1
        return self.scale * images.flatten(1).sum(1)


def test_dynamic_prior_leaves_2d_out_before_the_switch_and_follows_the_table_after():
    p3, p2 = Counting("3d", 1.0), Counting("2d", 10.0)
    prior = DynamicPrior(p3, p2)
    images = torch.ones(1, 1, 1, 1)
    call = (images, _cameras([0.0], 1), 0.9, torch.Generator())
    assert float(prior.at(None).loss(*call)) == 1 and (p3.calls, p2.calls) == (1, 0)
    for x, w2 in ((0.25, 0.221), (0.5, 0.393), (1.0, 0.632)):
        assert prior.weights(x)[1] == pytest.approx(w2, abs=1e-3)
        assert sum(prior.weights(x)) == pytest.approx(1 + 1e-5, abs=1e-9)
        assert float(prior.at(x).loss(*call)) == pytest.approx((1 - w2) + 10 * w2, abs=1e-2)
    assert DynamicPrior(p3, p2, "log").weights(0.25)[1] == pytest.approx(0.322, abs=1e-3)
    assert DynamicPrior(p3, p2, "linear").weights(0.5)[1] == pytest.approx(0.5, abs=1e-3)
    with pytest.raises(ValueError):
        DynamicPrior(p3, p2, "cubic")
    with pytest.raises(ValueError, match="stretch"):
        DynamicPrior(p3, p2, stretch=0.0)


def test_strategies_of_consistent123s_table_6():
    """(b): the 2D prior weighs 1 from the switch on; (c): exp(-x / 1.5), so that the 2D weight ends at .487 (C-D.4)."""
    p3, p2 = Counting("3d"), Counting("2d")
    default, b, c = DynamicPrior(p3, p2), DynamicPrior(p3, p2, full_2d=True), DynamicPrior(p3, p2, stretch=1.5)
    for x in (0.0, 0.3, 1.0):
        assert b.weights(x) == (default.weights(x)[0], 1.0)
        assert c.weights(x) == default.weights(x / 1.5)
    assert c.weights(1.0)[1] == pytest.approx(0.487, abs=1e-3) and c.weights(1.0)[0] == pytest.approx(0.513, abs=1e-3)
    assert b.weights(None) == c.weights(None) == (1.0, 0.0)


def test_sum_prior_skips_zero_weights():
    a, b = Counting("a"), Counting("b")
    prior = SumPrior(((a, Constant(2.0)), (b, Linear(0.0, 1.0))))
    call = (torch.ones(1, 1, 1, 1), _cameras([0.0], 1), 0.0, torch.Generator())
    assert float(prior.loss(*call)) == 2 and b.calls == 0


def test_clock_is_zero_at_the_switch_one_at_the_end_and_continuous_across_stages():
    n, m, switch = 5000, 5000, 2400
    assert dynamic_clock(switch - 1, switch, n, m) is None
    assert dynamic_clock(switch, switch, n, m) == 0
    assert dynamic_clock(n + m - 1, switch, n, m) == 1
    assert dynamic_clock(n, switch, n, m) == pytest.approx(0.342, abs=1e-3)  # C-D.3
    xs = [dynamic_clock(s, switch, n, m) for s in range(switch, n + m)]
    steps = [b - a for a, b in zip(xs, xs[1:])]
    assert max(steps) == pytest.approx(min(steps), abs=1e-9)
    assert dynamic_clock(3000, 2400, n, m, "global") == pytest.approx(0.3, abs=1e-3)
    assert dynamic_clock(10, None, n, m) is None
