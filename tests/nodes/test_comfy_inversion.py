"""Textual inversion on a MODEL and CLIP: the same noise and the same gradient as diffusers and transformers."""

import pytest
import torch
from helpers import comfy_tiny
from helpers.comfy_tiny import SIZE, WIDTH
from lift123.host import comfy_denoiser, comfy_inversion
from lift123.launcher import settings
from lift123.pipelines.core.cameras import Cameras
from lift123.pipelines.core.errors import InputError
from lift123.pipelines.networks.learned_words import LearnedWord
from lift123.pipelines.networks.noise import scaled_linear_alphas

CPU = torch.device("cpu")
TEXTS = ["a photo of a embedding:mugly", "embedding:mugly, front view"]


@pytest.fixture(autouse=True)
def as_in_a_node():
    """ComfyUI runs nodes in inference mode; ours leave it first."""
    with torch.inference_mode(), torch.inference_mode(False), torch.enable_grad():
        yield


@pytest.fixture(scope="module")
def worlds():
    made = {}
    builders = {"sd15": comfy_tiny.tiny, "sdxl": comfy_tiny.tiny_sdxl}
    return lambda name: made.setdefault(name, builders[name]())


def denoiser(world):
    return comfy_denoiser.ModelTextDenoiser(comfy_denoiser.Backbone(world.model, world.vae, SIZE, CPU), clip=world.clip)


def word(towers=("clip_l",), count=2):
    vectors = {name: torch.randn(count, WIDTH, generator=torch.Generator().manual_seed(i)) for i, name in enumerate(towers)}
    return LearnedWord("mugly", {name: v.requires_grad_() for name, v in vectors.items()})


def oracle_context(text_model, texts, vectors):
    """Transformers' text tower with the vectors put in by a hook on its token table."""
    from transformers import CLIPTokenizer

    tokenizer = CLIPTokenizer.from_pretrained(str(settings.default_paths().comfyui / "comfy" / "sd1_tokenizer"))
    rows = []
    for text in texts:
        before, after = text.split("embedding:mugly")
        head, tail = tokenizer(before)["input_ids"][:-1], tokenizer(after)["input_ids"][1:]
        ids = torch.tensor([(head + [0] * len(vectors) + tail + [49407] * 77)[:77]])

        def put(module, args, output, at=len(head)):
            return torch.cat([output[:, :at], vectors[None], output[:, at + len(vectors):]], 1)

        model = getattr(text_model, "text_model", text_model)
        hook = model.embeddings.token_embedding.register_forward_hook(put)
        rows.append(text_model(ids).last_hidden_state)
        hook.remove()
    return torch.cat(rows)


def test_noise_and_gradient_equal_diffusers(worlds):
    world = worlds("sd15")
    inverter = comfy_inversion.ModelInverter(denoiser(world))
    mine, theirs = word(), word()
    noisy, t = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(3)), torch.tensor([100, 800])
    target = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(4))
    eps = inverter.noise(noisy, t, inverter.condition(TEXTS, mine))
    (eps - target).square().mean().backward()
    expected = world.unet(noisy, t, oracle_context(world.text, TEXTS, theirs.vectors["clip_l"])).sample
    (expected - target).square().mean().backward()
    assert torch.allclose(eps, expected, atol=2e-4)
    a, b = mine.vectors["clip_l"].grad, theirs.vectors["clip_l"].grad
    assert float((a - b).norm() / b.norm()) < 1e-3 and float(b.norm()) > 0
    assert torch.allclose(inverter.alphas_cumprod, scaled_linear_alphas(), atol=1e-6) and not inverter.half


def test_both_towers_of_sdxl_learn(worlds):
    inverter = comfy_inversion.ModelInverter(denoiser(worlds("sdxl")))
    new = word(("clip_l", "clip_g"))
    condition = inverter.condition(TEXTS, new)
    assert set(condition) == {"c_crossattn", "y"}
    inverter.noise(torch.randn(2, 4, 8, 8), torch.tensor([100, 800]), condition).square().mean().backward()
    assert all(float(v.grad.abs().max()) > 0 for v in new.vectors.values())


def test_start_and_widths_are_the_token_tables(worlds):
    world = worlds("sd15")
    inverter = comfy_inversion.ModelInverter(denoiser(world))
    assert inverter.widths() == {"clip_l": WIDTH}
    mug = world.clip.tokenize("mug")["l"][0][1][0]
    table = world.text.state_dict()[next(k for k in world.text.state_dict() if "token_embedding" in k)]
    assert torch.allclose(inverter.start("mug")["clip_l"], table[[mug]]) and len(inverter.start("")["clip_l"]) == 1


def test_a_conditioned_denoiser_understands_the_word(worlds):
    """Naming the word in a prompt is naming its tokens; other prompts and the shared CLIP are as before."""
    world = worlds("sd15")
    inverter = comfy_inversion.ModelInverter(denoiser(world))
    mug = inverter.start("mug")
    conditioned = inverter.conditioned(LearnedWord("mugly", mug))
    noisy, t = torch.randn(1, 4, 8, 8), torch.tensor([500])
    camera = Cameras.orbit(0.4, 0.0, 2.0, 0.8, 8, 8)

    def answer(which, prompt):
        return which.with_prompt(prompt).predict_noise(noisy, t, camera)

    plain = answer(denoiser(world), "a red mug")
    assert torch.allclose(answer(conditioned, "a red embedding:mugly"), plain, atol=1e-5)
    assert torch.allclose(answer(conditioned, "a red mug"), plain, atol=1e-6)
    unknown = answer(denoiser(world), "a red embedding:mugly")
    assert float((unknown - plain).abs().max()) > 1e-3, "the shared CLIP learned the word"


def test_words_of_other_networks_are_refused(worlds):
    with pytest.raises(InputError, match="learned for another network"):
        comfy_inversion.knowing(worlds("sd15").clip, LearnedWord("mugly", {"clip_l": torch.zeros(1, 768)}))
