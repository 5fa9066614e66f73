"""DeepFloyd IF's layout: a tiny random network, loaded strictly, against diffusers and transformers alone."""

import json
import math
import shutil

import pytest
import torch
from helpers import pixel_tiny
from lift123.pipelines.catalog import registry
from lift123.pipelines.core.cameras import Cameras
from lift123.pipelines.core.errors import InputError
from lift123.pipelines.core.schedules import Constant
from lift123.pipelines.loaders import public
from lift123.pipelines.networks import pixels
from lift123.pipelines.priors.sds import SdsPrior, SdsSettings

sentencepiece = pytest.importorskip("sentencepiece")
FRONT, S = Cameras.orbit(0.0, 0.0, 3.0, 0.3, 16, 16), pixel_tiny.SIZE


def noise(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return pixel_tiny.deepfloyd(tmp_path_factory.mktemp("if") / "IF-I-XL-v1.0")


@pytest.fixture(scope="module")
def conditioned(folder):
    return public.load_text_folder(folder).with_prompt("A  Red Fox")


def words(folder, text):
    """[1, 77, D] by sentencepiece and transformers alone."""
    from transformers import T5EncoderModel

    model = sentencepiece.SentencePieceProcessor(model_file=str(folder / "tokenizer" / "spiece.model"))
    ids = [*model.encode(text), 1]
    mask = [1] * len(ids) + [0] * (77 - len(ids))
    with torch.no_grad():
        return T5EncoderModel.from_pretrained(folder / "text_encoder")(
            torch.tensor([ids + [0] * (77 - len(ids))]), attention_mask=torch.tensor([mask])).last_hidden_state


def direct(folder, noisy, t, context):
    """All six channels of the UNet's answer, by diffusers alone."""
    from diffusers import UNet2DConditionModel

    with torch.no_grad():
        return UNet2DConditionModel.from_pretrained(folder / "unet", low_cpu_mem_usage=False)(noisy, t, context).sample


def test_the_gradient_of_score_distillation_is_the_one_diffusers_gives(folder, conditioned):
    """w (eps_u + s (eps_c - eps_u) - eps) on pixels in [-1, 1], so twice that on [0, 1]; prompts lower-cased."""
    from diffusers import DDPMScheduler

    time, scale = 400, 7.0
    settings = SdsSettings(t_range=(time / 1000, time / 1000), weight=Constant(0.3))
    image = noise(1, S, S, 3).sigmoid().requires_grad_()
    prior = SdsPrior(conditioned.with_guidance(scale), settings)
    loss = prior.loss(image, FRONT, 0.0, torch.Generator().manual_seed(4)).sum()
    (got,) = torch.autograd.grad(loss, image)

    generator = torch.Generator().manual_seed(4)
    t = torch.randint(time, time + 1, (1,), generator=generator)
    eps = torch.randn(1, 3, S, S, generator=generator)
    scheduler = DDPMScheduler.from_config(json.loads((folder / "scheduler" / "scheduler_config.json").read_text()))
    noisy = scheduler.add_noise(image.detach().permute(0, 3, 1, 2) * 2 - 1, eps, t)
    eps_c, eps_u = (direct(folder, noisy, t, words(folder, x))[:, :3] for x in ("a red fox, front view", ""))
    expected = 2 * 0.3 * (1 - scheduler.alphas_cumprod[time]) * (eps_u + scale * (eps_c - eps_u) - eps)
    assert torch.allclose(got, expected.permute(0, 2, 3, 1), atol=1e-4)
    assert (eps_c - eps_u).abs().max() > 1e-2, "the prompt matters"


def test_the_schedule_is_the_cosine(conditioned):
    """Nichol and Dhariwal 2021: abar = cos^2 of (t + 1) / T with offset 0.008, while no beta is clipped."""
    def bar(x):
        return math.cos((x + 0.008) / 1.008 * math.pi / 2) ** 2

    for t in (0, 200, 600, 900):
        assert float(conditioned.alphas_cumprod[t]) == pytest.approx(bar((t + 1) / 1000) / bar(0), abs=1e-5)
    assert float(conditioned.alphas_cumprod[200]) == pytest.approx(0.898, abs=1e-3), "H-F.1"
    assert float(conditioned.alphas_cumprod[600]) == pytest.approx(0.339, abs=1e-3)


def test_the_learned_variance_is_ignored(folder, conditioned):
    noisy, t = noise(1, 3, S, S), torch.tensor([300])
    full = direct(folder, noisy, t, words(folder, "a red fox, front view"))
    plain = conditioned.with_guidance(1.0)
    answer = plain.predict_noise(noisy, t, FRONT)
    assert full.shape[1] == 6 and torch.allclose(answer, full[:, :3], atol=1e-5)
    with torch.no_grad():
        plain.runtime.unet.conv_out.weight[3:] += 5.0
        plain.runtime.unet.conv_out.bias[3:] -= 5.0
    assert torch.equal(plain.predict_noise(noisy, t, FRONT), answer)


def test_pictures_are_what_is_diffused(conditioned):
    picture = noise(2, S, S, 3).sigmoid()
    assert conditioned.image_size == S
    assert torch.allclose(conditioned.runtime.decode(conditioned.encode(picture)), picture, atol=1e-6)
    assert conditioned.encode(picture).shape == (2, 3, S, S)
    assert float(conditioned.encode(torch.zeros(1, S, S, 3)).max()) == -1
    views = conditioned.sample(FRONT, 3, torch.Generator().manual_seed(1))
    assert views.shape == (1, S, S, 3) and 0 <= float(views.min()) and float(views.max()) <= 1


def test_dynamic_thresholding_by_hand():
    """The 0.95 quantile of |x| per picture, in [1, 1.5], bounds and scales; what is inside [-1, 1] stays."""
    runtime = pixels.PixelRuntime(None, None, torch.ones(1), "epsilon", 10)
    quiet, loud = torch.full((1, 3, 10, 10), 0.5), torch.full((1, 3, 10, 10), 4.0)
    medium = torch.linspace(-1.3, 1.3, 300).reshape(1, 3, 10, 10)
    bound = 1.3 * 0.95  # of a uniform ramp
    out = runtime.settle(torch.cat([quiet, loud, medium]))
    assert torch.equal(out[:1], quiet) and float(out[1].min()) == 1.0
    assert torch.allclose(out[2:], medium.clamp(-bound, bound) / bound, atol=5e-3)


def test_prompts_become_t5s_tokens(folder):
    tokens = pixels.PieceTokens(str(folder / "tokenizer" / "spiece.model"))
    model = sentencepiece.SentencePieceProcessor(model_file=tokens.file)
    ids = tokens.ids(["A  red FOX ", ""])
    row = [*model.encode("a red fox"), 1]
    assert ids.shape == (2, 77) and ids[0, : len(row)].tolist() == row and not ids[0, len(row) :].any()
    assert ids[1].tolist() == [1] + [0] * 76
    with pytest.raises(InputError, match="prompt: expected at most 76 tokens"):
        tokens.ids(["fox " * 90])


@pytest.mark.parametrize(("damage", "told"), [
    ({"in_channels": 6, "class_embed_type": "timestep"}, "IF's first stage"),
    ({"encoder_hid_dim": 20}, "a T5 text encoder of width 20"),
])
def test_other_stages_and_mixed_parts_are_refused(folder, tmp_path, damage, told):
    copy = shutil.copytree(folder, tmp_path / "x")
    path = copy / "unet" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **damage}))
    with pytest.raises(InputError, match=told):
        public.check_folder(copy, "text")


def test_missing_weights_and_tokens_are_named(folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "x")
    (copy / "tokenizer" / "spiece.model").unlink()
    with pytest.raises(InputError, match="tokenizer/spiece.model"):
        public.load_text_folder(copy)
    copy = shutil.copytree(folder, tmp_path / "y")
    from safetensors.torch import load_file, save_file

    path = copy / "unet" / "diffusion_pytorch_model.safetensors"
    state = load_file(str(path))
    state.pop("conv_out.bias")
    save_file(state, str(path), metadata={"format": "pt"})
    with pytest.raises(InputError, match="conv_out.bias"):
        public.load_text_folder(copy)


def test_the_table_names_folder_files_gate_and_stand_in(tmp_path):
    entry = registry.known("IF-I-XL-v1.0")
    assert entry.location == "models/diffusers/IF-I-XL-v1.0/" and "license" in entry.license and "consent" in entry.note
    assert "stable-diffusion-2-1-base" in entry.note
    for file in entry.files:
        path = tmp_path / file.paths()[-1]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    assert not entry.missing(tmp_path), "half precision files do as well"
    assert {f.path for f in entry.missing(None)} >= {"tokenizer/spiece.model", "unet/config.json"}
