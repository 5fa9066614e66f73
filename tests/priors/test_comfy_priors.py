"""ComfyUI's MODEL, CLIP and VAE as priors: the gradient of score distillation equals diffusers' with the same weights."""

import copy
import math

import pytest
import torch
from helpers.comfy_modules import prepare

prepare()
import comfy.model_management as mm
import comfy.sd
from helpers import comfy_tiny
from helpers.comfy_tiny import SIZE, tiny
from lift123.host import comfy_denoiser
from lift123.launcher import settings
from lift123.pipelines.core.cameras import Cameras
from lift123.pipelines.networks.noise import NoisePath, add_noise, scaled_linear_alphas
from lift123.pipelines.priors.sds import SdsPrior, SdsSettings

AZIMUTHS = torch.tensor([0.3, -1.2, 2.9])
PROMPT, NEGATIVE = "a red mug with a white handle", "blurry"
SDS = SdsSettings(t_range=(0.02, 0.98))
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def worlds():
    """Tiny SD1.x models by prediction, built once."""
    made = {}
    return lambda prediction: made.setdefault(prediction, tiny(prediction))


@pytest.fixture(autouse=True)
def as_in_a_node():
    """ComfyUI runs nodes in inference mode; ours leave it first."""
    with torch.inference_mode(), torch.inference_mode(False), torch.enable_grad():
        yield


def cameras(count=3):
    return Cameras.orbit(AZIMUTHS[:count], 0.2, 2.5, 0.8, SIZE, SIZE)


def text_denoiser(world, guidance, image_size=SIZE):
    backbone = comfy_denoiser.Backbone(world.model, world.vae, image_size, CPU)
    return comfy_denoiser.ModelTextDenoiser(backbone, guidance, clip=world.clip).with_prompt(PROMPT, NEGATIVE)


def pictures(count=3):
    return torch.rand(count, SIZE, SIZE, 3, generator=torch.Generator().manual_seed(5)).requires_grad_()


def gradient(denoiser):
    """d loss / d pictures of our SDS."""
    images = pictures()
    SdsPrior(denoiser, SDS).loss(images, cameras(), 0.5, torch.Generator().manual_seed(7)).sum().backward()
    return images.grad


def relative(a, b):
    return float((a.detach() - b.detach()).norm() / b.detach().norm())


class Oracle:
    """The same networks in diffusers and transformers, and score distillation written out by hand."""

    def __init__(self, world, prediction, guidance):
        self.world, self.prediction, self.guidance = world, prediction, guidance
        self.alphas = scaled_linear_alphas()
        if prediction == "flow":
            s = torch.arange(1, 1001) / 1000
            self.flow, self.alphas = s, (1 - s) ** 2 / ((1 - s) ** 2 + s**2)

    def tokens(self, text):
        from transformers import CLIPTokenizer

        folder = settings.default_paths().comfyui / "comfy" / "sd1_tokenizer"
        found = CLIPTokenizer.from_pretrained(str(folder))(text, padding="max_length", max_length=77)["input_ids"]
        return torch.tensor([found])

    def context(self, text):
        return self.world.text(self.tokens(text)).last_hidden_state

    def contexts(self):
        """One row per camera: the view's words mixed by the azimuth, M-C.3."""
        front, side, back = (self.context(f"{PROMPT}, {v} view") for v in ("front", "side", "back"))
        rows = []
        for azimuth in AZIMUTHS.tolist():
            degrees = abs(math.degrees(azimuth))
            r = 1 - degrees / 90 if degrees < 90 else 1 - (degrees - 90) / 90
            rows.append(r * front + (1 - r) * side if degrees < 90 else r * side + (1 - r) * back)
        return torch.cat(rows)

    def epsilon(self, z, noise, t):
        """Guided eps_hat for clean latents z."""
        a = self.alphas[t][:, None, None, None]
        noisy = a.sqrt() * z + (1 - a).sqrt() * noise

        def one(context):
            if self.prediction == "flow":
                s = self.flow[t][:, None, None, None]
                x = (1 - s) * z + s * noise
                return x + (1 - s) * self.world.unet(x, self.flow[t] * 1000, context).sample
            out = self.world.unet(noisy, t, context).sample
            return out if self.prediction == "eps" else a.sqrt() * out + (1 - a).sqrt() * noisy

        positive = one(self.contexts())
        if self.guidance == 1:
            return positive
        negative = one(self.context(NEGATIVE).expand(len(z), -1, -1))
        return negative + self.guidance * (positive - negative)

    def gradient(self):
        images, generator = pictures(), torch.Generator().manual_seed(7)
        z = self.world.kl.encode(images.movedim(-1, 1) * 2 - 1).latent_dist.mode() * 0.18215
        t = torch.randint(20, 981, (3,), generator=generator)
        noise = torch.randn(z.shape, generator=generator)
        with torch.no_grad():
            g = (1 - self.alphas[t])[:, None, None, None] * (self.epsilon(z, noise, t) - noise)
        return torch.autograd.grad(z, images, g)[0]


@pytest.mark.parametrize("guidance", [1.0, 7.5])
@pytest.mark.parametrize("prediction", ["eps", "v", "flow"])
def test_distillation_through_a_model_equals_diffusers(worlds, prediction, guidance):
    world = worlds(prediction)
    ours = gradient(text_denoiser(world, guidance))
    truth = Oracle(world, prediction, guidance).gradient()
    assert relative(ours, truth) < 1e-4
    other = Oracle(world, prediction, 3.0).gradient()
    assert relative(ours, other) > 1e-2, "the comparison cannot see a wrong guidance"


def lora(world, rank=2):
    """A LoRA in the usual file layout, and what it adds to (UNet, text encoder) by weight name."""
    generator = torch.Generator().manual_seed(11)
    file, added = {}, {"unet": {}, "te": {}}
    for part, module, pattern in (("unet", world.unet, "attn2.to_"), ("te", world.text, "self_attn.q_proj")):
        for name, weight in module.state_dict().items():
            if pattern not in name or not name.endswith("weight"):
                continue
            up = torch.randn(len(weight), rank, generator=generator)
            down = torch.randn(rank, weight.shape[1], generator=generator) * 0.1
            layer = name.removesuffix(".weight")
            if part == "te" and not layer.startswith("text_model."):
                layer = "text_model." + layer
            key = f"lora_{part}_" + layer.replace(".", "_")
            file |= {f"{key}.lora_up.weight": up, f"{key}.lora_down.weight": down, f"{key}.alpha": torch.tensor(1.0)}
            added[part][name] = up @ down / rank
    assert added["unet"] and added["te"]
    return file, added


def with_added(module, added, strength):
    module = copy.deepcopy(module)
    state = module.state_dict()
    with torch.no_grad():
        for name, delta in added.items():
            state[name] += strength * delta
    return module


def test_loras_of_model_and_clip_are_in_the_gradient(worlds):
    world = worlds("eps")
    file, added = lora(world)
    with torch.inference_mode():
        model, clip = comfy.sd.load_lora_for_models(world.model, world.clip, file, 0.8, 0.5)
    patched = comfy_tiny.Tiny(model, clip, world.vae, None, with_added(world.unet, added["unet"], 0.8), world.kl,
                              with_added(world.text, added["te"], 0.5))
    ours = gradient(text_denoiser(patched, 7.5))
    assert relative(ours, Oracle(patched, "eps", 7.5).gradient()) < 1e-4
    assert relative(ours, Oracle(world, "eps", 7.5).gradient()) > 1e-2, "the LoRA does not matter here"
    assert relative(gradient(text_denoiser(world, 7.5)), Oracle(world, "eps", 7.5).gradient()) < 1e-4, "it stayed"


@pytest.mark.parametrize("prediction", ["eps", "v", "flow"])
def test_an_exact_model_gives_the_closed_form(worlds, prediction):
    """A MODEL that knows x*: w (eps_hat - eps) = w sqrt(abar / (1 - abar)) (z - x*), whatever its parametrization."""
    world = worlds(prediction)
    target = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    model = world.model.clone()
    model.set_model_unet_function_wrapper(lambda apply, given: target.expand_as(given["input"]))
    exact = comfy_tiny.Tiny(model, world.clip, world.vae)
    denoiser = text_denoiser(exact, 7.5)
    z, noise, t = torch.randn(3, 4, 8, 8), torch.randn(3, 4, 8, 8), torch.tensor([20, 500, 990])
    noisy = add_noise(z, noise, t, denoiser.alphas_cumprod)
    a = denoiser.alphas_cumprod[t][:, None, None, None]
    expected = (a / (1 - a)).sqrt() * (z - target)
    assert torch.allclose(denoiser.predict_noise(noisy, t, cameras()) - noise, expected, atol=1e-3, rtol=1e-4)
    assert torch.allclose(denoiser._denoise(noisy, t, cameras(), 7.5), target.expand(3, -1, -1, -1), atol=1e-6)
    latents = denoiser.backbone.path.generate(lambda x, t: denoiser._denoise(x, t, cameras(), 7.5), noise, 4)
    assert torch.allclose(latents, target.expand(3, -1, -1, -1), atol=1e-5)


def test_schedules_are_the_models_own(worlds):
    assert torch.allclose(text_denoiser(worlds("eps"), 1.0).alphas_cumprod, scaled_linear_alphas(), atol=1e-6)
    flow = text_denoiser(worlds("flow"), 1.0).alphas_cumprod
    assert len(flow) == 1000 and float(flow[-1]) == 0.0 and bool((flow.diff() < 0).all())


def test_the_end_of_a_flow_is_finite(worlds):
    denoiser = text_denoiser(worlds("flow"), 7.5)
    noise = torch.randn(3, 4, 8, 8)
    eps = denoiser.predict_noise(noise, torch.full((3,), 999), cameras())
    assert torch.allclose(eps, noise, atol=1e-6), "at s = 1 the latent is the noise, whatever x_0 is believed to be"
    steep = NoisePath.flow(torch.linspace(0.001, 1, 1000), noise_scale=2.0)
    x0, t = torch.randn(2, 4, 3, 3), torch.tensor([300, 999])
    noisy = add_noise(x0, noise[:2, :, :3, :3], t, steep.alphas_cumprod)
    state = steep.state(noisy, t)
    s = steep.sigmas[t][:, None, None, None]
    assert torch.allclose(state, (1 - s) * x0 + 2 * s * noise[:2, :, :3, :3], atol=1e-5)
    assert torch.allclose(steep.epsilon(state, x0, t), noise[:2, :, :3, :3], atol=1e-5)


def test_the_shared_models_are_left_alone(worlds):
    """No gradient reaches shared weights, no state stays behind, and results are ordinary tensors."""
    world = worlds("eps")
    before = {k: v.clone() for k, v in world.vae.first_stage_model.state_dict().items()}
    denoiser = text_denoiser(world, 7.5)
    grad = gradient(denoiser)
    assert not grad.is_inference() and float(grad.abs().max()) > 0
    eps = denoiser.predict_noise(torch.zeros(3, 4, 8, 8), torch.tensor([1, 2, 3]), cameras())
    assert not eps.is_inference() and not eps.requires_grad
    assert all(torch.equal(v, before[k]) for k, v in world.vae.first_stage_model.state_dict().items())
    assert world.model.model.current_patcher is None
    assert denoiser.backbone.autoencoder is not world.vae.first_stage_model
    picture = denoiser.sample(cameras(2), 2, torch.Generator().manual_seed(0))
    assert picture.shape == (2, SIZE, SIZE, 3) and 0 <= float(picture.min()) <= float(picture.max()) <= 1
    assert any(m.model is world.model.model for m in mm.loaded_models()), "ComfyUI does not know that it is in use"
