"""The contract of the Denoiser protocols (``core.protocols``), over every denoiser, public layouts with random weights."""

import ast
import inspect
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import pytest
import torch
from helpers import comfy_tiny, depth_tiny, ldm_tiny, pixel_tiny, public_tiny
from helpers.control import control as _control
from helpers.lift_random import random_net
from lift123.host import comfy_denoiser
from lift123.pipelines.core import protocols
from lift123.pipelines.core.cameras import Cameras
from lift123.pipelines.loaders import depth_control, embedded, ldm, public
from lift123.pipelines.networks.lifted_view import LiftedViewDenoiser
from lift123.pipelines.networks.noise import scaled_linear_alphas
from lift123.verification.mixture import MixtureDenoiser
from lift123.verification.oracle import OracleDenoiser
from safetensors.torch import save_file

ROOT = Path(__file__).resolve().parents[2]
COUNT, CPU = 2, torch.device("cpu")
HOME = Cameras.orbit(0.1, 0.2, 3.2, 0.35, 32, 32)
THERE = Cameras.orbit(torch.tensor([0.4, 2.6]), 0.1, 3.2, 0.35, 32, 32)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("networks")


@lru_cache
def shipped():
    return embedded.load_embedded(CPU)


def lifted():
    """The embedded view prior's class with random weights."""
    return LiftedViewDenoiser(random_net().eval().requires_grad_(False), scaled_linear_alphas())


def ldm_file(root, kind):
    path = root / f"{kind}.safetensors"
    save_file(ldm_tiny.checkpoint(kind), str(path))
    found = ldm.load_view_file(path) if kind == "zero123" else ldm.load_text_file(path)
    found.runtime.unet.register_to_config(sample_size=8)  # at the kind's own size this would take minutes
    return replace(found, runtime=replace(found.runtime, image_size=8 * 4))


def model(world, kind):
    """A denoiser on ComfyUI's objects, as their nodes make it."""
    backbone = comfy_denoiser.Backbone(world.model, world.vae, comfy_tiny.SIZE, CPU)
    if kind == "view":
        return comfy_denoiser.ModelViewDenoiser(backbone, 3.0, clip_vision=world.clip_vision)
    return comfy_denoiser.ModelTextDenoiser(backbone, 3.0, clip=world.clip)


def controlled(root):
    from diffusers import UNet2DConditionModel

    text = public_tiny.sd(root / "controlled")
    _control(root / "control", UNet2DConditionModel.from_pretrained(text / "unet"))
    return depth_control.load_depth_control(text, root / "control")


def truth(cameras):
    """A plain picture whose gray follows the azimuth."""
    shade = 0.5 + 0.3 * torch.sin(cameras.azimuth)
    return shade[:, None, None, None].expand(-1, cameras.height, cameras.width, 3)


PICTURE = {
    "embedded view": lambda root: shipped().view,
    "lifted view": lambda root: lifted(),
    "Zero-1-to-3, folder": lambda root: public.load_view_folder(public_tiny.zero123(root / "zero123")),
    "Zero-1-to-3, file": lambda root: ldm_file(root, "zero123"),
    "MODEL Zero-1-to-3": lambda root: model(comfy_tiny.tiny_view(), "view"),
}
DEPTH = {
    "embedded depth_text": lambda root: shipped().depth_text,
    "depth Stable Diffusion 2": lambda root: depth_tiny.network(),
    "ControlNet": controlled,
}
TEXT = {
    "embedded text": lambda root: shipped().text,
    "Stable Diffusion 1, folder": lambda root: public.load_text_folder(public_tiny.sd(root / "sd15")),
    "Stable Diffusion 2 v, folder": lambda root: public.load_text_folder(public_tiny.sd(root / "sd2", "sd2-v")),
    "SDXL, folder": lambda root: public.load_text_folder(public_tiny.sd(root / "sdxl", "sdxl")),
    "Stable Diffusion 1, file": lambda root: ldm_file(root, "sd1"),
    "Stable Diffusion 2, file": lambda root: ldm_file(root, "sd2"),
    "DeepFloyd IF": lambda root: public.load_text_folder(pixel_tiny.deepfloyd(root / "if")),
    "MODEL Stable Diffusion 1": lambda root: model(comfy_tiny.tiny(), "text"),
    "MODEL v": lambda root: model(comfy_tiny.tiny("v"), "text"),
    "MODEL SDXL": lambda root: model(comfy_tiny.tiny_sdxl(), "text"),
    "MODEL SD3": lambda root: model(comfy_tiny.tiny_sd3(), "text"),
    **DEPTH,
}
BARE = {
    "oracle": lambda root: OracleDenoiser(truth, image_size=16),
    "mixture": lambda root: MixtureDenoiser(
        torch.stack([picture(seed)[:16, :16] for seed in (3, 4)]),
        lambda cameras: torch.stack([cameras.azimuth, -cameras.azimuth], -1), guidance=3.0),
}
NETWORKS = {**PICTURE, **TEXT}
MADE: dict = {}


def loaded(name, root):
    """The denoiser as it is loaded, once per session."""
    if name not in MADE:
        MADE[name] = {**NETWORKS, **BARE}[name](root)
    return MADE[name]


def picture(seed=0):
    return torch.rand(24, 24, 3, generator=torch.Generator().manual_seed(seed))


def conditioned(name, root, other=False):
    """Told a picture or a prompt, where it can be; once per session, for what is told is never taken back."""
    if (name, other) not in MADE:
        MADE[name, other] = told(name, root, other)
    return MADE[name, other]


def told(name, root, other):
    network = loaded(name, root)
    if name in PICTURE:
        return network.with_reference(picture(int(other)), HOME)
    return network.with_prompt("a red car" if other else "a blue fox") if name in TEXT else network


@pytest.fixture(autouse=True)
def as_in_a_node():
    """ComfyUI runs nodes in inference mode; ours leave it first."""
    with torch.inference_mode(), torch.inference_mode(False), torch.enable_grad():
        yield


every = pytest.mark.parametrize("name", [*NETWORKS, *BARE])
network = pytest.mark.parametrize("name", NETWORKS)


def latents_of(denoiser, seed=0):
    size = denoiser.image_size
    images = torch.rand(COUNT, size, size, 3, generator=torch.Generator().manual_seed(seed)).requires_grad_()
    return images, denoiser.encode(images)


def answer(denoiser, seed=0, t=(300, 700), cameras=THERE):
    _, latents = latents_of(denoiser, seed)
    return denoiser.predict_noise(latents.detach(), torch.tensor(t), cameras)


# ------------------------------------------------------------------------------------------ Denoiser


@every
def test_its_schedule_falls_from_clean_to_noise(name, root):
    alphas = conditioned(name, root).alphas_cumprod
    assert alphas.ndim == 1 and len(alphas) == 1000 and alphas.dtype == torch.float32
    assert 0 <= float(alphas[-1]) < 0.01 and 0.99 < float(alphas[0]) <= 1 and bool((alphas.diff() < 0).all())


@every
def test_pictures_become_latents_and_gradients_come_back(name, root):
    denoiser = conditioned(name, root)
    images, latents = latents_of(denoiser)
    assert isinstance(denoiser.image_size, int) and denoiser.image_size > 0
    assert latents.ndim == 4 and len(latents) == COUNT and latents.dtype == torch.float32 and bool(latents.isfinite().all())
    (gradient,) = torch.autograd.grad(latents[0].square().sum(), images)
    assert gradient.shape == images.shape and bool(gradient.isfinite().all())
    assert float(gradient[0].abs().max()) > 0 and float(gradient[1].abs().max()) == 0, "each picture by itself"


@every
def test_noise_is_predicted_without_gradient_the_same_twice_and_by_time(name, root):
    denoiser = conditioned(name, root)
    _, latents = latents_of(denoiser)
    noise = denoiser.predict_noise(latents.detach(), torch.tensor([300, 700]), THERE)
    assert noise.shape == latents.shape and noise.dtype == torch.float32 and bool(noise.isfinite().all())
    assert not noise.requires_grad and not noise.is_inference()
    assert torch.equal(noise, answer(denoiser)) and not torch.allclose(noise, answer(denoiser, t=(100, 950)))


@every
def test_a_batch_is_many_single_views(name, root):
    """Camera, time and latents of one row belong together, and to no other row."""
    denoiser = conditioned(name, root)
    _, latents = latents_of(denoiser)
    latents, t = latents.detach(), torch.tensor([300, 700])
    whole = denoiser.predict_noise(latents, t, THERE)
    single = torch.cat([denoiser.predict_noise(latents[i : i + 1], t[i : i + 1], THERE[i]) for i in range(COUNT)])
    assert torch.allclose(whole, single, rtol=1e-3, atol=1e-4)
    turned = denoiser.predict_noise(latents, t, THERE[[1, 0]])
    assert not torch.allclose(whole, turned, rtol=1e-3, atol=1e-5), "it sees the cameras"


@every
def test_latents_become_pictures(name, root):
    denoiser = conditioned(name, root)
    images, latents = latents_of(denoiser)
    shown = denoiser.decode(latents)
    assert shown.shape == images.shape and shown.dtype == torch.float32 and not shown.requires_grad
    assert 0 <= float(shown.min()) and float(shown.max()) <= 1 and not shown.is_inference()
    loud = denoiser.decode(50 * latents.detach())
    assert 0 <= float(loud.min()) and float(loud.max()) <= 1 and not torch.equal(loud, shown)


# ------------------------------------------------------------------------------------------ GuidedDenoiser


@network
def test_guidance_leads_from_one_answer_to_another_and_makes_copies(name, root):
    """eps_u + s (eps_c - eps_u) is a line in s: what 3 says follows from 1 and 2."""
    denoiser = conditioned(name, root)
    before = answer(denoiser)
    one, two, three = (answer(denoiser.with_guidance(s)) for s in (1.0, 2.0, 3.0))
    scale = float(three.abs().max())
    assert torch.allclose(three, 2 * two - one, atol=1e-3 * scale) and float((two - one).abs().max()) > 1e-6 * scale
    assert torch.equal(answer(denoiser), before), "the other one keeps its guidance"
    assert type(denoiser.with_guidance(2.0)) is type(denoiser) and denoiser.with_guidance(2.0).guidance == 2.0


@network
def test_it_draws_one_picture_per_camera_from_the_generators_noise(name, root):
    denoiser, size = conditioned(name, root), loaded(name, root).image_size
    one, two, three = (denoiser.sample(THERE, 2, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert one.shape == (COUNT, size, size, 3) and one.dtype == torch.float32 and not one.is_inference()
    assert 0 <= float(one.min()) and float(one.max()) <= 1 and not one.requires_grad
    assert torch.equal(one, two) and not torch.equal(one, three)


# ------------------------------------------------------------------------------------------ conditions


@network
def test_before_it_is_conditioned_it_says_what_to_call(name, root):
    fresh = loaded(name, root)
    with pytest.raises(ValueError, match="with_reference" if name in PICTURE else "with_prompt"):
        answer(fresh)


@network
def test_conditions_matter_and_make_copies(name, root):
    fresh, first = loaded(name, root), conditioned(name, root)
    kept, other = answer(first), answer(conditioned(name, root, other=True))
    assert not torch.allclose(kept, other, rtol=1e-4, atol=1e-6) and torch.equal(answer(first), kept)
    assert type(first) is type(fresh)
    with pytest.raises(ValueError):
        answer(fresh)


@pytest.mark.parametrize("name", TEXT)
def test_a_negative_prompt_turns_what_guidance_leads_away_from(name, root):
    plain, against = (loaded(name, root).with_prompt("a blue fox", text) for text in ("", "a red car"))
    assert torch.allclose(answer(plain.with_guidance(1.0)), answer(against.with_guidance(1.0)), atol=1e-6)
    assert not torch.allclose(answer(plain.with_guidance(5.0)), answer(against.with_guidance(5.0)), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", PICTURE)
def test_pictures_of_any_size_and_the_camera_they_are_seen_from_are_told(name, root):
    large = picture().repeat_interleave(4, 0).repeat_interleave(4, 1)
    network = loaded(name, root)
    here, turned = (network.with_reference(large, HOME), network.with_reference(large, Cameras.orbit(1.5, 0.2, 3.2, 0.35, 9, 9)))
    assert answer(here).isfinite().all() and not torch.allclose(answer(here), answer(turned), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", DEPTH)
def test_depth_is_shown_and_no_depth_means_nothing_near(name, root):
    plain = conditioned(name, root)
    side = plain.latent_size
    near = torch.linspace(-1, 1, side).expand(1, 1, side, side)
    shown = plain.with_depth(near)
    assert not torch.allclose(answer(shown), answer(plain), rtol=1e-4, atol=1e-6)
    assert torch.allclose(answer(plain), answer(plain.with_depth(torch.full((1, 1, side, side), -1.0))), atol=1e-6)
    assert torch.equal(answer(shown), answer(plain.with_depth(near.expand(COUNT, -1, -1, -1))))


# ------------------------------------------------------------------------------------------ all of them, with all members


def members(protocol) -> dict:
    """name -> member of a protocol and of those that it extends, down to Denoiser."""
    kinds = [kind for kind in protocol.__mro__ if kind.__module__ == protocols.__name__]
    return {name: value for kind in reversed(kinds) for name, value in vars(kind).items()
            if name[0] != "_" and (callable(value) or isinstance(value, property))}


@every
def test_it_has_the_members_of_its_protocol_with_the_same_arguments(name, root):
    kind = protocols.PictureConditioned if name in PICTURE else protocols.DepthConditioned if name in DEPTH else (
        protocols.PromptConditioned if name in TEXT else protocols.Denoiser)
    denoiser, wanted = loaded(name, root), members(kind)
    assert {"alphas_cumprod", "image_size", "encode", "decode", "predict_noise"} <= set(wanted)
    for member, value in wanted.items():
        own = getattr(denoiser, member)
        if callable(value):
            arguments = list(inspect.signature(value).parameters)[1:]
            assert len(inspect.signature(own).parameters) == len(arguments), member
            assert member == "encode" or list(inspect.signature(own).parameters) == arguments, member


def test_no_denoiser_is_missing_here(root):
    """Every class of the pack that predicts noise is tested above."""
    found, bases = set(), {}
    for path in (p for folder in ("pipelines", "host", "nodes", "verification") for p in (ROOT / folder).rglob("*.py")):
        if path.name == "protocols.py":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                bases[node.name] = {ast.unparse(base).split(".")[-1] for base in node.bases}
                if any(isinstance(f, ast.FunctionDef) and f.name == "predict_noise" for f in node.body):
                    found.add(node.name)
    while more := {name for name, above in bases.items() if above & found} - found:
        found |= more
    tested = {kind.__name__ for name in [*NETWORKS, *BARE] for kind in type(loaded(name, root)).__mro__}
    assert {"ViewDenoiser", "TextDenoiser", "DepthTextDenoiser", "OracleDenoiser", "ModelTextDenoiser"} <= found
    assert found <= tested, found - tested
