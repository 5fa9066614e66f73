"""Null-text inversion: a network that is linear in its context, whose right context is known, and a tiny random UNet."""

import pytest
import torch
from helpers import depth_tiny
from helpers.hifi_toys import reference
from lift123.pipelines.methods.inversion import RungGrid, invert, sample
from lift123.pipelines.methods.null_text import NullTextSettings, learn
from lift123.pipelines.methods.rgnv import RgnvSettings
from lift123.pipelines.networks.noise import scaled_linear_alphas
from lift123.pipelines.stages.objects.enhance_views import reconstruct

GRID = RungGrid.of(scaled_linear_alphas(), 20, 6)


def linear(state, rung, context):
    """eps = 0.3 x + c: the context is the answer's constant part."""
    return 0.3 * state + context.reshape(1, -1, 1, 1)


def test_the_right_context_of_a_linear_network_is_the_prompts_own_corrected_for_the_step():
    """On the path, guided and inverted steps agree where null = words + d / (1 - s); d as the plain descent misses it."""
    g = torch.Generator().manual_seed(0)
    clean, words = torch.randn(1, 3, 4, 4, generator=g), torch.randn(1, 1, 3, generator=g)
    empty, guidance = torch.zeros(1, 1, 3), 5.0
    path = invert(lambda x, rung, level: linear(x, rung, words), clean, GRID)
    plain = learn(linear, path, words, empty, GRID, NullTextSettings(guidance, steps=0))

    def guided(x, rung, level):
        return linear(x, rung, empty) + guidance * (linear(x, rung, words) - linear(x, rung, empty))

    assert torch.allclose(plain.last, sample(guided, path[-1], GRID).last, atol=1e-5) and plain.asked == 2 * GRID.rungs
    many = learn(linear, path, words, empty, GRID, NullTextSettings(guidance, steps=120, rate=0.03, enough=1e-12))
    found, start = many.contexts[0].reshape(-1), path[-1]
    a, b = GRID.alphas[-1], GRID.alphas[-2]  # the constant noise that leads from the top to the path, in closed form
    slope = (1 - b).sqrt() - (b / a).sqrt() * (1 - a).sqrt()
    wanted = ((path[-2] - (b / a).sqrt() * start) / slope - 0.3 * start).mean((0, 2, 3))
    assert torch.allclose(found, (wanted - guidance * words.reshape(-1)) / (1 - guidance), atol=1e-3)
    before, after = (float((way.last - clean).square().mean().sqrt()) for way in (plain, many))
    assert after < 0.1 * before, (before, after)


def test_learning_ends_early_on_the_path_and_words_that_are_empty_need_none():
    empty = torch.full((1, 1, 3), 0.2)
    path = invert(lambda x, rung, level: linear(x, rung, empty), torch.ones(1, 3, 2, 2), GRID, corrections=8)
    found = learn(linear, path, empty, empty, GRID, NullTextSettings(7.5))
    assert found.asked == 3 * GRID.rungs and torch.equal(found.contexts, empty.expand(GRID.rungs, 1, 1, 3))


@pytest.fixture(scope="module")
def trip():
    return reconstruct(depth_tiny.network(), reference(), RgnvSettings(steps=20, rungs=2), null_text=NullTextSettings(3.0, steps=8, rate=0.3))


def test_a_network_under_guidance_comes_nearer_with_learned_contexts(trip):
    assert list(trip.pictures) == ["picture", "autoencoder", "with depth", "without depth", "guided", "null-text"]
    assert trip.errors["null-text"]["latent"] < 0.8 * trip.errors["guided"]["latent"], trip.errors
    assert "null-text: latent" in "\n".join(trip.report())
