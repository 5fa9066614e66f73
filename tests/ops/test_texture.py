"""Texture lookups against the specification, torch's grid_sample, and finite differences."""

import math

import pytest
import torch
from lift123.pipelines.ops.texture import sample_texture, sample_texture_reference


def inputs(height: int, width: int, seed: int = 0):
    g = torch.Generator().manual_seed(seed)
    return torch.rand(height, width, 3, generator=g), torch.rand(4, 25, 2, generator=g) * 1.6 - 0.3


@pytest.mark.parametrize("height, width", [(5, 9), (1, 1), (1, 6), (7, 1), (2, 2)])
def test_forward_and_backward_match_the_specification(height, width):
    texture, uv = inputs(height, width)
    cotangent = torch.randn(4, 25, 3, generator=torch.Generator().manual_seed(5))
    results = []
    for function in (sample_texture, sample_texture_reference):
        a, b = texture.clone().requires_grad_(), uv.clone().requires_grad_()
        out = function(a, b)
        (out * cotangent).sum().backward()
        results.append((out, a.grad, b.grad))
    for ours, spec in zip(*results):
        torch.testing.assert_close(ours, spec, rtol=1e-4, atol=1e-5)


def test_agrees_with_grid_sample():
    """An oracle not of our making: border clamping, texel centers at half integers."""
    texture, uv = inputs(6, 11)
    expected = torch.nn.functional.grid_sample(
        texture.permute(2, 0, 1)[None], uv[None] * 2 - 1, mode="bilinear", padding_mode="border", align_corners=False
    )[0].permute(1, 2, 0)
    torch.testing.assert_close(sample_texture(texture, uv), expected, rtol=1e-5, atol=1e-5)


def test_gradients_match_finite_differences():
    texture, uv = inputs(4, 4)
    uv = (uv.reshape(-1, 2)[:6] * 0.3 + 0.4).clone().requires_grad_()
    texture.requires_grad_()
    weights = torch.randn(6, 3, generator=torch.Generator().manual_seed(3))
    (sample_texture(texture, uv) * weights).sum().backward()
    for leaf, step in ((uv, 1e-3), (texture, 1e-2)):
        for index in range(min(leaf.numel(), 20)):
            values = []
            for sign in (1, -1):
                moved = leaf.detach().clone()
                moved.view(-1)[index] += sign * step
                pair = (texture.detach(), moved) if leaf is uv else (moved, uv.detach())
                values.append(float((sample_texture(*pair) * weights).sum()))
            assert abs((values[0] - values[1]) / (2 * step) - float(leaf.grad.view(-1)[index])) < 5e-3


def test_corners_of_the_picture_and_direction_of_v():
    texture = torch.tensor([[[0.0], [1.0]], [[2.0], [3.0]]])
    uv = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [0.5, 0.5], [-9.0, 0.25], [0.25, 1e9]])
    assert sample_texture(texture, uv)[:, 0].tolist() == [0, 1, 2, 3, 1.5, 0, 2]


def test_non_finite_coordinates_read_inside():
    texture = torch.arange(12.0).reshape(2, 2, 3)
    uv = torch.tensor([[math.nan, 0.5], [math.inf, -math.inf]], requires_grad=True)
    out = sample_texture(texture, uv)
    out.sum().backward()
    assert out.shape == (2, 3) and torch.isfinite(out).all() and torch.isfinite(uv.grad).all()


def test_empty_inputs():
    texture, _ = inputs(3, 3)
    texture.requires_grad_()
    out = sample_texture(texture, torch.zeros(0, 2))
    out.sum().backward()
    assert out.shape == (0, 3) and (texture.grad == 0).all()
    for bad in ((torch.zeros(0, 3, 3), torch.zeros(1, 2)), (torch.zeros(3, 3), torch.zeros(1, 2)), (texture, torch.zeros(1, 3))):
        with pytest.raises(ValueError, match="texture"):
            sample_texture(*bad)


def test_same_bits_twice():
    texture, uv = inputs(5, 5, 9)
    grads = []
    for _ in range(2):
        leaf = texture.clone().requires_grad_()
        sample_texture(leaf, uv).square().sum().backward()
        grads.append(leaf.grad)
    assert torch.equal(*grads)
