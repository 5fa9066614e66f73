"""Noise schedule, guidance, conditioning and the embedded networks."""

import json
import math
import shutil

import pytest
import torch
from conftest import ROOT
from lift123.pipelines.core.cameras import HOME, Cameras
from lift123.pipelines.core.errors import InputError
from lift123.pipelines.loaders import embedded
from lift123.pipelines.networks import noise
from lift123.pipelines.networks.depth_text import depth_channel
from lift123.pipelines.networks.latent import LatentRuntime, ddim_sample
from lift123.pipelines.networks.lifted import LiftNet
from lift123.pipelines.networks.text import view_weights
from lift123.pipelines.networks.tokenizer import UNKNOWN, WordTokenizer
from lift123.pipelines.networks.view import ViewConditioner, pose_labels, pose_vector, resize
from lift123.pipelines.toybox.objects import heldout_seed, make_object
from lift123.pipelines.toybox.render import reference_camera, render_toy

WEIGHTS = ROOT / "pipelines" / "embedded"
needs_weights = pytest.mark.skipif(not (WEIGHTS / "settings.json").is_file(), reason="the embedded weights are absent")


def test_schedule_is_stable_diffusions():
    """w(t) = 1 - abar_t at the values of M-C.1."""
    w = 1 - noise.scaled_linear_alphas()
    for t, value in ((20, 0.019), (200, 0.246), (400, 0.576), (500, 0.724), (600, 0.839)):
        assert float(w[t]) == pytest.approx(value, abs=1.5e-3)


def test_parametrizations_agree():
    g = torch.Generator().manual_seed(0)
    x0, eps = torch.randn(3, 4, 5, 5, generator=g), torch.randn(3, 4, 5, 5, generator=g)
    t, alphas = torch.tensor([10, 400, 900]), noise.scaled_linear_alphas()
    noisy = noise.add_noise(x0, eps, t, alphas)
    outputs = {"epsilon": eps, "sample": x0, "v_prediction": noise.v_target(x0, eps, t, alphas)}
    for prediction, output in outputs.items():
        assert torch.allclose(noise.to_epsilon(output, noisy, t, alphas, prediction), eps, atol=2e-4), prediction
    assert torch.allclose(noise.to_sample(eps, noisy, t, alphas), x0, atol=2e-4)
    with pytest.raises(ValueError, match="prediction"):
        noise.to_epsilon(eps, noisy, t, alphas, "flow")


class CountingUnet(torch.nn.Module):
    """eps = mean of the context, so that guidance can be computed by hand; counts evaluated pictures."""

    dtype = torch.float32

    def __init__(self):
        super().__init__()
        self.pictures = 0

    def forward(self, x, t, context, class_labels=None):
        self.pictures += len(x)
        value = context.mean((1, 2)).reshape(-1, 1, 1, 1).expand(-1, 4, *x.shape[2:])
        return type("Output", (), {"sample": value})()


@pytest.mark.parametrize("guidance,evaluated", [(1.0, 2), (3.0, 4)])
def test_guidance_is_the_standard_formula_and_costs_nothing_at_one(guidance, evaluated):
    unet = CountingUnet()
    runtime = LatentRuntime(unet, None, noise.scaled_linear_alphas(), "epsilon", 64)
    x = torch.zeros(2, 4, 3, 3)
    c, u = {"context": torch.full((2, 1, 2), 5.0)}, {"context": torch.full((2, 1, 2), 2.0)}
    eps = runtime.guided_noise(x, torch.tensor([1, 2]), c, u, guidance)
    assert torch.allclose(eps, torch.full_like(eps, 2.0 + guidance * 3.0)) and unet.pictures == evaluated


def test_ddim_follows_an_exact_denoiser_to_its_point():
    """With eps_hat of a point mass at x*, every DDIM step stays on the line to x*."""
    alphas, truth = noise.scaled_linear_alphas(), torch.full((2, 1, 2, 2), 0.7)

    def exact(x, t):
        a = alphas[t].reshape(-1, 1, 1, 1)
        return (x - a.sqrt() * truth) / (1 - a).sqrt()

    out = ddim_sample(exact, (2, 1, 2, 2), alphas, 10, torch.Generator().manual_seed(1))
    assert torch.allclose(out, truth, atol=1e-4)


def test_view_words_are_interpolated_linearly():
    degrees = torch.tensor([0.0, 45.0, 90.0, 135.0, 180.0, -90.0])
    expected = torch.tensor([[1, 0, 0], [0.5, 0.5, 0], [0, 1, 0], [0, 0.5, 0.5], [0, 0, 1], [0, 1, 0]])
    assert torch.allclose(view_weights(torch.deg2rad(degrees)), expected, atol=1e-6)


def test_pose_labels_are_harmonics():
    pose = pose_vector(Cameras.orbit(0.4, 0.1, 3.0, 0.3, 4, 4), Cameras.orbit(0.0, 0.0, 3.2, 0.3, 4, 4))
    polar, s, c, radius, s2, c2, s4, c4 = pose_labels(pose)[0].tolist()
    assert (polar, radius) == (pytest.approx(-0.1, abs=1e-5), pytest.approx(-0.2, abs=1e-5))
    assert [s, c, s2, c2, s4, c4] == pytest.approx(
        [math.sin(0.4), math.cos(0.4), math.sin(0.8), math.cos(0.8), math.sin(1.6), math.cos(1.6)], abs=1e-5
    )


def test_public_layout_has_one_token_and_no_extras():
    conditioner = ViewConditioner(clip_dim=768, context_dim=768)
    assert {k: tuple(v.shape) for k, v in conditioner.state_dict().items()} == {
        "cc_projection.weight": (768, 772), "cc_projection.bias": (768,),
    }
    context = conditioner.context(torch.zeros(2, 768), torch.zeros(2, 4, 32, 32), torch.zeros(2, 4))
    assert context.shape == (2, 1, 768)


def test_tokenizer():
    t = WordTokenizer(["a", "red", "bear"], 6)
    assert t(["A red bear!"]).tolist() == [[1, 3, 4, 5, t.vocab_size - 1, 0]]
    assert t(["a zebra"])[0, 2] == UNKNOWN and t.unknown("two red bears, a zebra") == ["two", "zebra"]
    assert t(["a a a a a a a a"]).shape == (1, 6)


def test_resize_averages():
    picture = torch.arange(16.0).reshape(1, 4, 4, 1)
    assert torch.allclose(resize(picture, 4), picture)
    assert float(resize(picture, 1)) == pytest.approx(7.5, abs=1e-4)


# ------------------------------------------------------------------------------- embedded weights


@pytest.fixture(scope="module")
def models():
    return embedded.load_embedded()


@needs_weights
def test_files_are_small_and_carded():
    files = list(WEIGHTS.glob("*.safetensors"))
    characters = [f for f in files if f.name.startswith("stdgen_")]
    assert len(files) == 9 and sum(f.stat().st_size for f in files if f not in characters) < 40e6
    assert len(characters) == 3 and sum(f.stat().st_size for f in characters) < 30e6
    assert all(f.with_suffix(".md").is_file() for f in characters)
    measured = json.loads((WEIGHTS / "measured.json").read_text())
    for name in ("vae", "clip", "view", "text", "depth", "depth_text"):
        assert (WEIGHTS / f"{name}.md").is_file() and measured[name]["held-out objects"] >= 100


@needs_weights
def test_missing_key_and_missing_file_are_named(tmp_path):
    from safetensors.torch import load_file, save_file

    shutil.copytree(WEIGHTS, tmp_path / "w", ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    state = load_file(str(tmp_path / "w" / "depth.safetensors"))
    state.pop("out.bias")
    save_file(state, str(tmp_path / "w" / "depth.safetensors"))
    with pytest.raises(InputError, match="depth.safetensors, which is damaged"):
        embedded.load_embedded(folder=tmp_path / "w")
    (tmp_path / "w" / "checksums.json").unlink()
    with pytest.raises(InputError, match="out.bias"):
        embedded.load_embedded(folder=tmp_path / "w")
    (tmp_path / "w" / "depth.safetensors").unlink()
    with pytest.raises(InputError, match="depth.safetensors"):
        embedded.load_embedded(folder=tmp_path / "w")


@needs_weights
def test_networks_are_frozen_and_of_the_public_classes(models):
    from diffusers import AutoencoderKL, UNet2DConditionModel

    assert type(models.text.runtime.unet) is UNet2DConditionModel and type(models.text.runtime.vae) is AutoencoderKL
    assert models.text.runtime.unet.config.in_channels == 4 and type(models.view.net) is LiftNet
    assert type(models.depth_text.runtime.unet) is UNet2DConditionModel and models.depth_text.runtime.unet.config.in_channels == 5
    unets = (models.view.net, models.text.runtime.unet, models.depth_text.runtime.unet)
    for module in (*unets, models.text.runtime.vae, models.clip.model, models.depth.net):
        assert not module.training and not any(p.requires_grad for p in module.parameters())


@needs_weights
def test_encode_has_a_gradient_that_matches_finite_differences(models):
    g = torch.Generator().manual_seed(3)
    x = (0.5 + 0.2 * torch.randn(1, 64, 64, 3, generator=g)).clamp(0, 1).requires_grad_()
    direction, cotangent = torch.randn(x.shape, generator=g), torch.randn(1, 4, 16, 16, generator=g)
    (grad,) = torch.autograd.grad((models.text.encode(x) * cotangent).sum(), x)
    h = 1e-3
    with torch.no_grad():
        plus, minus = models.text.encode(x + h * direction), models.text.encode(x - h * direction)
    numeric = float(((plus - minus) * cotangent).sum() / (2 * h))
    assert float((grad * direction).sum()) == pytest.approx(numeric, rel=0.02) and abs(numeric) > 1e-2


@needs_weights
def test_autoencoder_reconstructs_held_out_objects(models):
    pictures = torch.cat([render_toy(make_object(heldout_seed(i)), reference_camera(64)).on_background(1.0) for i in range(12)])
    with torch.no_grad():
        back = models.text.runtime.decode(models.text.encode(pictures))
    mse = (back - pictures).square().mean((1, 2, 3))
    assert float((-10 * torch.log10(mse)).mean()) > 26
    scaled = models.text.encode(pictures)
    assert 0.6 < float(scaled.std()) < 1.6, "diffusion latents have about unit spread"


@needs_weights
def test_view_prior_uses_reference_and_pose(models):
    """One-step x0 at high noise is nearer the true novel view than to another object's or another pose's."""
    cameras = HOME.orbit([1.3], [0.3], 64)
    home, g = reference_camera(64), torch.Generator().manual_seed(0)
    better = 0
    for i in range(10):
        toy, other = make_object(heldout_seed(i)), make_object(heldout_seed(i + 50))
        truth = models.view.encode(render_toy(toy, cameras).on_background(1.0)).detach()
        t = torch.tensor([700])
        noisy = noise.add_noise(truth, torch.randn(truth.shape, generator=g), t, models.view.alphas_cumprod)
        errors = []
        for reference in (toy, other):
            picture = render_toy(reference, home).on_background(1.0)[0]
            conditioned = models.view.with_reference(picture, home).with_guidance(1.0)
            guess = noise.to_sample(conditioned.predict_noise(noisy, t, cameras), noisy, t, models.view.alphas_cumprod)
            errors.append(float((guess - truth).square().mean()))
        better += errors[0] < errors[1]
    assert better >= 9


@needs_weights
def test_depth_text_network_uses_depth(models):
    """At high noise it is nearer the truth shown the object's own depth than another's, none, or than the text network."""
    home, g = reference_camera(64), torch.Generator().manual_seed(1)
    better = torch.zeros(3)
    for i in range(10):
        toy = make_object(heldout_seed(i))
        views, other = render_toy(toy, home), render_toy(make_object(heldout_seed(i + 50)), home)
        own, wrong = (depth_channel(v.depth, v.alpha, models.depth_text.latent_size, v.depth_is_metric) for v in (views, other))
        truth, t = models.text.encode(views.on_background(1.0)).detach(), torch.tensor([700])
        eps = torch.randn(truth.shape, generator=g)
        noisy = noise.add_noise(truth, eps, t, models.text.alphas_cumprod)
        conditioned = models.depth_text.with_prompt(toy.caption)
        shown = (conditioned.with_depth(own), conditioned.with_depth(wrong))
        networks = (*shown, conditioned, models.text.with_prompt(toy.caption))
        guesses = [n.with_guidance(1.0).predict_noise(noisy, t, home) for n in networks]
        errors = torch.stack([(guess - eps).square().mean() for guess in guesses])
        better += errors[0] < errors[1:]
    assert better.min() >= 8, f"own depth is better than another's, none, the text network: {better.tolist()} of 10"


@needs_weights
def test_clip_prefers_the_right_caption(models):
    hits = 0
    toys = [make_object(heldout_seed(i)) for i in range(20)]
    text = models.clip.text_embedding([t.caption for t in toys])
    assert torch.allclose(text.norm(dim=-1), torch.ones(20), atol=1e-5)
    for i, toy in enumerate(toys):
        image = models.clip.image_embedding(render_toy(toy, reference_camera(64)).on_background(1.0))
        hits += int((image @ text.T).argmax()) == i
    assert hits >= 15


@needs_weights
def test_depth_correlates_with_the_truth(models):
    scores = []
    for i in range(12):
        views = render_toy(make_object(heldout_seed(i)), reference_camera(64))
        inside = views.alpha[0] > 0.5
        guess = models.depth.depth(views.rgb[0], views.alpha[0])[inside]
        scores.append(float(torch.corrcoef(torch.stack([guess, views.depth[0][inside]]))[0, 1]))
    assert sum(scores) / len(scores) > 0.6


@needs_weights
def test_sampling_is_reproducible(models):
    home = reference_camera(64)
    conditioned = models.view.with_reference(render_toy(make_object(heldout_seed(1)), home).on_background(1.0)[0], home)
    cameras = HOME.orbit([0.5], [0.2], 64)
    a, b = (conditioned.sample(cameras, 3, torch.Generator().manual_seed(4)) for _ in range(2))
    assert torch.equal(a, b) and a.shape == (1, 64, 64, 3)


@needs_weights
def test_unconditioned_priors_say_what_is_missing(models):
    x, t, c = torch.zeros(1, 4, 16, 16), torch.tensor([5]), reference_camera(64)
    with pytest.raises(ValueError, match="with_reference"):
        models.view.predict_noise(x, t, c)
    with pytest.raises(ValueError, match="with_prompt"):
        models.text.predict_noise(x, t, c)
