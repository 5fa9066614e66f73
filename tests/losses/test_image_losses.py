"""Image losses against closed forms and hand-built cases."""

import math

import pytest
import torch
from lift123.pipelines.losses import image as losses


def _generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_pearson_is_zero_for_affine_depth_and_two_for_negated():
    target = torch.rand(1, 9, 9, generator=_generator())
    mask = torch.zeros(1, 9, 9)
    mask[:, 2:7, 1:8] = 1
    junk = torch.where(mask > 0, 0.0, 5.0)  # outside the mask must not count
    assert float(losses.pearson_depth(3 * target + 2 + junk, target, mask)) == pytest.approx(0, abs=1e-5)
    assert float(losses.pearson_depth(-0.5 * target + 2, target, mask)) == pytest.approx(2, abs=1e-5)


def test_pearson_matches_correlation_coefficient():
    a, b = torch.rand(2, 1, 8, 8, generator=_generator(1), dtype=torch.float64)
    rho = torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1]
    assert float(losses.pearson_depth(a, b, torch.ones(1, 8, 8))) == pytest.approx(float(1 - rho), abs=1e-6)


def test_pearson_of_degenerate_depth_has_finite_gradients():
    for depth, mask in ((torch.ones(1, 4, 4), torch.ones(1, 4, 4)), (torch.rand(1, 4, 4), torch.zeros(1, 4, 4))):
        depth = depth.requires_grad_()
        loss = losses.pearson_depth(depth, torch.rand(1, 4, 4), mask)
        loss.backward()
        assert float(loss.detach()) == pytest.approx(1, abs=1e-3)
        assert bool(torch.isfinite(depth.grad).all())


def test_masked_rgb_ignores_outside_and_averages_inside():
    image, target = torch.zeros(1, 2, 2, 3), torch.zeros(1, 2, 2, 3)
    image[0, 0, 0] = 0.5
    image[0, 1, 1] = 9.0
    mask = torch.tensor([[[1.0, 1.0], [0.0, 0.0]]])
    assert float(losses.rgb_mse(image, target, mask, "mask")) == pytest.approx(0.125)
    assert float(losses.rgb_mse(image, target, mask)) == pytest.approx(0.0625)
    for over in losses.COLOR_MEANS:
        assert float(losses.rgb_mse(image, target, mask * 0, over)) == 0
    assert float(losses.rgb_mse(image, target)) == pytest.approx((0.25 + 81) / 4)


def test_released_color_loss_averages_over_the_whole_picture():
    """An error of 1 on one of four pixels; at three objects' coverage, how much stronger the mean over the mask is."""
    image, mask = torch.zeros(1, 2, 2, 3), torch.tensor([[[1.0, 0.0], [0.0, 0.0]]])
    assert float(losses.rgb_mse(image, torch.ones(1, 2, 2, 3), mask)) == 0.25
    assert float(losses.rgb_mse(image, torch.ones(1, 2, 2, 3), mask, "mask")) == 1.0
    for covered, ratio in ((136, 7.35), (306, 3.27), (544, 1.84)):
        mask = (torch.arange(1000) < covered).float().view(1, 1, 1000)
        picture = torch.rand(1, 1, 1000, 3, generator=_generator(covered))
        ours, released = (losses.rgb_mse(picture, torch.ones(3), mask, over) for over in ("mask", "picture"))
        assert float(ours / released) == pytest.approx(ratio, abs=5e-3)


def test_released_mask_loss_cuts_alpha_at_one_half():
    alpha = torch.tensor([[[0.3, 0.6]]])
    assert float(losses.mask_mse(torch.zeros(1, 1, 2), alpha)) == pytest.approx(0.5)
    assert float(losses.mask_mse(torch.zeros(1, 1, 2), alpha, "alpha")) == pytest.approx(0.225)


def test_entropy_and_orientation_average_over_samples_that_nobody_queried():
    """A ray of weights (1, 0, 0, 0) whose last three samples lie behind an opaque one counts as four."""
    normals, directions = torch.tensor([[0.0, 0.0, -1.0]]), torch.tensor([[0.0, 0.0, -1.0]])
    alone = torch.ones(1)
    assert float(losses.orientation(alone, normals, directions)) == pytest.approx(1)
    assert float(losses.orientation(alone, normals, directions, count=4)) == pytest.approx(0.25)
    for first in (1.0, 0.5):
        whole = losses.binary_entropy(torch.tensor([first, 0.0, 0.0, 0.0]))
        assert float(losses.binary_entropy(torch.tensor([first]), count=4)) == pytest.approx(float(whole), rel=1e-3)
    assert float(losses.binary_entropy(torch.tensor([0.5]), count=4)) == pytest.approx(0.25, abs=2e-4)


def test_total_variation_of_a_ramp():
    ramp = torch.arange(5.0)[None, None, :, None].expand(1, 4, 5, 3) * 0.1
    assert float(losses.total_variation(ramp)) == pytest.approx(0.01, abs=1e-6)


def test_blur_keeps_constants_and_punishes_noise():
    assert float(losses.blur_smoothness(torch.full((1, 12, 12, 3), 0.3))) == pytest.approx(0, abs=1e-10)
    noise = torch.rand(1, 12, 12, 3, generator=_generator())
    assert float(losses.blur_smoothness(noise)) > 0.01


def test_blur_stop_gradient_changes_only_the_gradient():
    noise = torch.rand(1, 12, 12, 1, generator=_generator())
    values, grads = [], []
    for stop in (True, False):
        x = noise.clone().requires_grad_()
        loss = losses.blur_smoothness(x, stop_gradient=stop)
        loss.backward()
        values.append(float(loss.detach()))
        grads.append(x.grad)
    assert values[0] == pytest.approx(values[1])
    assert not torch.allclose(*grads)


def test_entropy_is_one_bit_at_one_half_and_zero_at_the_ends():
    assert float(losses.binary_entropy(torch.tensor([0.5, 0.5]))) == pytest.approx(1)
    assert float(losses.binary_entropy(torch.tensor([0.0, 1.0]))) == pytest.approx(0, abs=1e-3)
    p = 0.2
    expected = -(p * math.log2(p) + (1 - p) * math.log2(1 - p))
    assert float(losses.binary_entropy(torch.tensor([p]))) == pytest.approx(expected, rel=1e-5)


def test_orientation_punishes_only_normals_that_face_away():
    directions = torch.tensor([[0.0, 0.0, -2.0], [0.0, 0.0, -2.0]])
    towards, away = torch.tensor([0.0, 0.0, 1.0]), torch.tensor([0.0, 0.0, -1.0])
    weights = torch.tensor([1.0, 0.5], requires_grad=True)
    loss = losses.orientation(weights, torch.stack([towards, away]), directions)
    assert float(loss) == pytest.approx(0.25)
    assert not loss.requires_grad  # the weights are constants here


def test_normal_cosine_ignores_premultiplication():
    normal = torch.tensor([0.0, 0.6, 0.8]).expand(1, 3, 3, 3)
    mask = torch.ones(1, 3, 3)
    assert float(losses.normal_cosine(normal * 0.3, normal, mask)) == pytest.approx(0, abs=1e-6)
    assert float(losses.normal_cosine(-normal, normal, mask)) == pytest.approx(2, abs=1e-6)
