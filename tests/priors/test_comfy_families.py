"""Zero-1-to-3 and SDXL as ComfyUI loads them: same gradients as diffusers and transformers with the same weights."""

import math

import pytest
import torch
from helpers import comfy_tiny
from helpers.comfy_tiny import SIZE
from lift123.host import comfy_denoiser
from lift123.launcher import settings
from lift123.pipelines.core.cameras import Cameras
from lift123.pipelines.networks.noise import scaled_linear_alphas
from lift123.pipelines.priors.sds import SdsPrior, SdsSettings

ALPHAS = scaled_linear_alphas()
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def as_in_a_node():
    """ComfyUI runs nodes in inference mode; ours leave it first."""
    with torch.inference_mode(), torch.inference_mode(False), torch.enable_grad():
        yield


def cameras():
    return Cameras.orbit(torch.tensor([0.3, -1.2, 2.9]), torch.tensor([0.2, -0.1, 0.5]), 2.5, 0.8, SIZE, SIZE)


def pictures():
    return torch.rand(3, SIZE, SIZE, 3, generator=torch.Generator().manual_seed(5)).requires_grad_()


def gradient(denoiser):
    images = pictures()
    SdsPrior(denoiser, SdsSettings(t_range=(0.02, 0.98))).loss(
        images, cameras(), 0.5, torch.Generator().manual_seed(7)).sum().backward()
    return images.grad


def oracle_gradient(world, epsilon, scale, alphas=ALPHAS, shift=0.0):
    """Score distillation by hand; epsilon(noisy, t) -> guided eps_hat."""
    images, generator = pictures(), torch.Generator().manual_seed(7)
    z = world.kl.encode(images.movedim(-1, 1) * 2 - 1).latent_dist.mode() * scale - shift * scale
    t = torch.randint(20, 981, (3,), generator=generator)
    noise = torch.randn(z.shape, generator=generator)
    a = alphas[t][:, None, None, None]
    with torch.no_grad():
        g = (1 - a) * (epsilon(a.sqrt() * z + (1 - a).sqrt() * noise, t) - noise)
    return torch.autograd.grad(z, images, g)[0]


def relative(a, b):
    return float((a - b).norm() / b.norm())


# ------------------------------------------------------------------------------------------ Zero-1-to-3


@pytest.fixture(scope="module")
def zero123():
    return comfy_tiny.tiny_view()


def reference():
    """(picture, camera): 48 px, so that it has to be resized."""
    picture = torch.rand(48, 48, 3, generator=torch.Generator().manual_seed(9))
    return picture, Cameras.orbit(0.0, 0.25, 2.0, 0.8, 48, 48)


def conditioned(world, guidance, convention):
    backbone = comfy_denoiser.Backbone(world.model, world.vae, SIZE, CPU)
    return comfy_denoiser.ModelViewDenoiser(
        backbone, guidance, clip_vision=world.clip_vision, convention=convention).with_reference(*reference())


def view_epsilon(world, guidance, last):
    """Zero-1-to-3 written out (M-C.5): unscaled reference latent, one token, zeros after the projection."""
    small = torch.nn.functional.interpolate(reference()[0].movedim(-1, 0)[None], (SIZE, SIZE), mode="bilinear",
                                            align_corners=False, antialias=True)
    latent = world.kl.encode(small * 2 - 1).latent_dist.mode().expand(3, -1, -1, -1)
    seen = torch.nn.functional.interpolate(small, (32, 32), mode="bicubic", align_corners=True).clamp(0, 1)
    seen = (seen * 255).round() / 255  # core's preparation
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (world.clip_vision.image_mean, world.clip_vision.image_std))
    embedding = world.vision((seen - mean) / std).image_embeds.expand(3, -1)
    azimuth, elevation = torch.tensor([0.3, -1.2, 2.9]), torch.tensor([0.2, -0.1, 0.5])
    pose = torch.stack([0.25 - elevation, torch.sin(azimuth), torch.cos(azimuth), torch.full((3,), last)], -1)
    token = world.projection(torch.cat([embedding, pose], -1))[:, None]

    def epsilon(noisy, t):
        positive = world.unet(torch.cat([noisy, latent], 1), t, token).sample
        if guidance == 1:
            return positive
        negative = world.unet(torch.cat([noisy, 0 * latent], 1), t, 0 * token).sample
        return negative + guidance * (positive - negative)

    return epsilon


@pytest.mark.parametrize("guidance", [1.0, 5.0])
@pytest.mark.parametrize("convention,last", [("zero123", 0.5), ("stable", math.pi / 2 - 0.25)])
def test_distillation_through_zero123_equals_diffusers(zero123, guidance, convention, last):
    """The fourth pose number: cameras at 2.5 and 2.0 units; the picture's polar angle."""
    ours = gradient(conditioned(zero123, guidance, convention))
    with torch.no_grad():
        epsilon = view_epsilon(zero123, guidance, last)
        wrong = view_epsilon(zero123, guidance, 0.0)
    assert relative(ours, oracle_gradient(zero123, epsilon, 0.18215)) < 1e-4
    assert relative(ours, oracle_gradient(zero123, wrong, 0.18215)) > 1e-3, "the pose does not matter here"


def test_novel_views_are_sampled(zero123):
    views = conditioned(zero123, 3.0, "zero123").sample(cameras(), 2, torch.Generator().manual_seed(0))
    assert views.shape == (3, SIZE, SIZE, 3) and bool(views.isfinite().all()) and not views.is_inference()


def test_a_view_prior_without_reference_says_so(zero123):
    backbone = comfy_denoiser.Backbone(zero123.model, zero123.vae, SIZE, CPU)
    lost = comfy_denoiser.ModelViewDenoiser(backbone, clip_vision=zero123.clip_vision)
    with pytest.raises(ValueError, match="with_reference"):
        lost.predict_noise(torch.zeros(3, 4, 8, 8), torch.tensor([5, 5, 5]), cameras())


# ------------------------------------------------------------------------------------------------- SDXL

PROMPT, NEGATIVE = "a red mug", "blurry"


@pytest.fixture(scope="module")
def sdxl():
    return comfy_tiny.tiny_sdxl()


def sdxl_text(world, text):
    """(states of both towers before the last layer, the second tower's projected pooled state)."""
    from transformers import CLIPTokenizer

    tokenizer = CLIPTokenizer.from_pretrained(str(settings.default_paths().comfyui / "comfy" / "sd1_tokenizer"))
    ids = torch.tensor([tokenizer(text, padding="max_length", max_length=77)["input_ids"]])
    length = int((ids == 49407).float().argmax()) + 1
    second = torch.where(torch.arange(77) < length, ids, 0)  # the second tower pads with 0
    one = world.text[0](ids, output_hidden_states=True)
    two = world.text[1](second, output_hidden_states=True)
    return torch.cat([one.hidden_states[-2], two.hidden_states[-2]], -1), two.text_embeds


def texts_by_view(world):
    """(states, pooled), one row per camera."""
    mixed, pooled = [], []
    texts = {v: sdxl_text(world, f"{PROMPT}, {v} view") for v in ("front", "side", "back")}
    for azimuth in (0.3, 1.2, 2.9):
        x = azimuth / (math.pi / 2)
        parts = ("front", "side", x) if x < 1 else ("side", "back", x - 1)
        for out, k in ((mixed, 0), (pooled, 1)):
            out.append((1 - parts[2]) * texts[parts[0]][k] + parts[2] * texts[parts[1]][k])
    return torch.cat(mixed), torch.cat(pooled)


def sdxl_epsilon(world, guidance, size=SIZE):
    mixed, pooled = texts_by_view(world)
    avoid = sdxl_text(world, NEGATIVE)
    sizes = torch.tensor([[size, size, 0, 0, size, size]] * 3)

    def one(noisy, t, context, text):
        added = {"text_embeds": text, "time_ids": sizes}
        return world.unet(noisy, t, context, added_cond_kwargs=added).sample

    def epsilon(noisy, t):
        positive = one(noisy, t, mixed, pooled)
        negative = one(noisy, t, avoid[0].expand(3, -1, -1), avoid[1].expand(3, -1))
        return negative + guidance * (positive - negative)

    return epsilon


def test_distillation_through_sdxl_equals_diffusers(sdxl):
    """Pooled text and sizes are conditions, too; the latent's scale is SDXL's."""
    backbone = comfy_denoiser.Backbone(sdxl.model, sdxl.vae, SIZE, CPU)
    denoiser = comfy_denoiser.ModelTextDenoiser(backbone, 5.0, clip=sdxl.clip).with_prompt(PROMPT, NEGATIVE)
    assert set(denoiser.views[0][0]["model_conds"]) == {"c_crossattn", "y"}
    with torch.no_grad():
        epsilon, wrong = sdxl_epsilon(sdxl, 5.0), sdxl_epsilon(sdxl, 5.0, size=1024)
    ours = gradient(denoiser)
    assert relative(ours, oracle_gradient(sdxl, epsilon, 0.13025)) < 1e-4
    assert relative(ours, oracle_gradient(sdxl, wrong, 0.13025)) > 1e-3, "the sizes do not matter here"


# -------------------------------------------------------------------------------------------------- SD3


def test_distillation_through_sd3_equals_diffusers():
    """A transformer with flow prediction: x = (1 - s) z + s n, told 1000 s; eps_hat = x + (1 - s) v_hat."""
    world = comfy_tiny.tiny_sd3()
    backbone = comfy_denoiser.Backbone(world.model, world.vae, SIZE, CPU)
    denoiser = comfy_denoiser.ModelTextDenoiser(backbone, 4.0, clip=world.clip).with_prompt(PROMPT, NEGATIVE)
    u = torch.arange(1, 1001) / 1000
    sigmas = 3 * u / (1 + 2 * u)  # the family's shift of 3
    norm = torch.hypot(1 - sigmas, sigmas)

    def epsilon(noisy, t):
        s, x = sigmas[t][:, None, None, None], norm[t][:, None, None, None] * noisy
        avoid = [v.expand(3, *v.shape[1:]) for v in sdxl_text(world, NEGATIVE)]
        answers = [x + (1 - s) * world.unet(x, context, text, sigmas[t] * 1000).sample
                   for context, text in (texts_by_view(world), avoid)]
        return answers[1] + 4.0 * (answers[0] - answers[1])

    truth = oracle_gradient(world, epsilon, 1.5305, ((1 - sigmas) / norm) ** 2, shift=0.0609)
    assert relative(gradient(denoiser), truth) < 1e-4
