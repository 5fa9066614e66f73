"""Public layouts: tiny random networks written as the real ones are published, loaded strictly, compared with the source."""

import json
import math
import shutil

import pytest
import torch
from helpers import public_tiny as tiny
from lift123.pipelines.core.cameras import Cameras
from lift123.pipelines.core.errors import InputError
from lift123.pipelines.loaders import folders, public
from lift123.pipelines.networks.noise import scaled_linear_alphas
from lift123.pipelines.networks.view import pose_vector
from safetensors.torch import load_file, save_file

HOME = Cameras.orbit(0.0, 0.2, 3.2, 0.3, 16, 16)


def noise(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Each layout written once; a test that damages one copies it."""
    root = tmp_path_factory.mktemp("layouts")
    return {
        "sd15": tiny.sd(root / "sd15"), "sd2": tiny.sd(root / "sd2", "sd2"), "sd2-v": tiny.sd(root / "sd2-v", "sd2-v"),
        "sdxl": tiny.sd(root / "sdxl", "sdxl"), "kxic": tiny.zero123(root / "kxic"),
        "ashawkey": tiny.zero123(root / "ashawkey", "clip_camera_projection", "bin"),
    }


def copy(made, name, tmp_path):
    return shutil.copytree(made[name], tmp_path / name)


# ---------------------------------------------------------------------------------------- text networks


def direct(folder, prompts, noisy, t):
    """The UNet's own answer for exact prompts, by diffusers and transformers alone (no CFG)."""
    from diffusers import UNet2DConditionModel
    from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

    def encode(kind, suffix):
        ids = CLIPTokenizer.from_pretrained(folder / f"tokenizer{suffix}")(
            prompts, padding="max_length", max_length=tiny.LENGTH, return_tensors="pt").input_ids
        return kind.from_pretrained(folder / f"text_encoder{suffix}")(ids, output_hidden_states=True)

    first, extra = encode(CLIPTextModel, ""), {}
    context = first.last_hidden_state
    if (folder / "text_encoder_2").is_dir():
        second = encode(CLIPTextModelWithProjection, "_2")
        context = torch.cat([first.hidden_states[-2], second.hidden_states[-2]], -1)
        ids = torch.tensor([[16.0, 16, 0, 0, 16, 16]]).expand(len(prompts), -1)
        extra = {"added_cond_kwargs": {"text_embeds": second.text_embeds, "time_ids": ids}}
    return UNet2DConditionModel.from_pretrained(folder / "unet", low_cpu_mem_usage=False)(noisy, t, context, **extra).sample


@pytest.mark.parametrize("name", ["sd15", "sd2", "sdxl"])
@torch.no_grad()
def test_text_networks_answer_as_diffusers_does(made, name):
    """At azimuth 0 and 180 degrees the context is exactly the front and back prompts' (M-C.3)."""
    conditioned = public.load_text_folder(made[name]).with_prompt("a red fox").with_guidance(1.0)
    cameras = Cameras.orbit([0.0, math.pi], 0.0, 3.0, 0.3, 16, 16)
    noisy, t = noise(2, 4, 8, 8), torch.tensor([300, 700])
    expected = direct(made[name], ["a red fox, front view", "a red fox, back view"], noisy, t)
    assert torch.allclose(conditioned.predict_noise(noisy, t, cameras), expected, atol=2e-5)
    assert (expected[0] - expected[1]).abs().max() > 1e-3, "the prompt matters"


@pytest.mark.parametrize("name", ["sd15", "sdxl"])
@torch.no_grad()
def test_guidance_uses_the_negative_prompt(made, name):
    network = public.load_text_folder(made[name])
    noisy, t = noise(1, 4, 8, 8), torch.tensor([500])
    front = direct(made[name], ["fox, front view"], noisy, t)
    blur = direct(made[name], ["blur"], noisy, t)
    conditioned, camera = network.with_prompt("fox", "blur").with_guidance(3.0), Cameras.orbit(0.0, 0.0, 3.0, 0.3, 8, 8)
    guided = conditioned.predict_noise(noisy, t, camera)
    assert torch.allclose(guided, blur + 3 * (front - blur), atol=1e-4)


@torch.no_grad()
def test_an_empty_negative_is_zeros_for_sdxl_and_an_empty_text_for_others(made):
    sdxl = public.load_text_folder(made["sdxl"]).with_prompt("fox")
    assert not sdxl.negative_context.any() and not sdxl.negative_pooled.any() and sdxl.prompt_pooled.shape == (3, 24)
    assert public.load_text_folder(made["sdxl"]).with_prompt("fox", "blur").negative_pooled.abs().sum() > 0
    assert public.load_text_folder(made["sd15"]).with_prompt("fox").negative_context.abs().sum() > 0


def test_sizes_schedule_and_prediction_come_from_the_files(made):
    a, v = public.load_text_folder(made["sd15"]), public.load_text_folder(made["sd2-v"])
    assert a.image_size == 16 and a.runtime.prediction == "epsilon" and v.runtime.prediction == "v_prediction"
    assert torch.allclose(a.alphas_cumprod, scaled_linear_alphas(), atol=1e-6)
    assert not any(p.requires_grad for p in a.runtime.unet.parameters()) and not a.runtime.unet.training
    images = noise(1, 16, 16, 3).sigmoid().requires_grad_()
    (grad,) = torch.autograd.grad(a.encode(images).square().sum(), images)
    assert grad.isfinite().all() and grad.abs().max() > 0, "score distillation needs the autoencoder's gradient"
    assert torch.allclose(a.encode(images), a.runtime.raw_latents(images) * 0.18215)


def test_zero_terminal_signal_stays_finite(made, tmp_path):
    folder = copy(made, "sd15", tmp_path)
    tiny.scheduler(folder, rescale_betas_zero_snr=True, prediction_type="v_prediction")
    conditioned = public.load_text_folder(folder).with_prompt("fox")
    assert 0 < float(conditioned.alphas_cumprod[-1]) < 1e-6
    assert conditioned.sample(HOME, 2, torch.Generator().manual_seed(1)).isfinite().all()


def test_sampling_gives_pictures(made):
    conditioned = public.load_text_folder(made["sdxl"]).with_prompt("fox")
    assert conditioned.sample(HOME, 2, torch.Generator().manual_seed(1)).shape == (1, 16, 16, 3)


def test_a_prompt_that_does_not_fit_is_refused_because_its_view_words_would_be_lost(made):
    network = public.load_text_folder(made["sd15"])
    with pytest.raises(InputError, match="prompt: expected at most 38 tokens with the view words, got 4"):
        network.with_prompt("a fox " * 8)


def test_old_attention_names_of_the_autoencoder_are_understood(made, tmp_path):
    """Stable Diffusion 1.5's published autoencoder still has the names of 2022."""
    folder = copy(made, "sd15", tmp_path)
    path = folder / "vae" / "diffusion_pytorch_model.safetensors"
    old = {".to_q.": ".query.", ".to_k.": ".key.", ".to_v.": ".value.", ".to_out.0.": ".proj_attn."}
    state = load_file(str(path))
    renamed = dict(state)
    for new, name in old.items():
        renamed = {k.replace(new, name): v for k, v in renamed.items()}
    assert renamed.keys() != state.keys()
    save_file(renamed, str(path), metadata={"format": "pt"})
    images = noise(1, 16, 16, 3).sigmoid()
    with torch.no_grad():
        a, b = (public.load_text_folder(f).encode(images) for f in (folder, made["sd15"]))
    assert torch.allclose(a, b)


def test_old_names_in_text_encoders_are_understood(made, tmp_path):
    """Published towers carry a prefix and counted positions that newer classes do not have."""
    folder = copy(made, "sd15", tmp_path)
    path = folder / "text_encoder" / "model.safetensors"
    prefix = "text_model."
    state = {k if k.startswith(prefix) else prefix + k: v for k, v in load_file(str(path)).items()}
    state["text_model.embeddings.position_ids"] = torch.arange(tiny.LENGTH)[None]
    save_file(state, str(path), metadata={"format": "pt"})
    a, b = (public.load_text_folder(f).encoder.text_tokens(["a fox"]) for f in (folder, made["sd15"]))
    assert torch.equal(a, b)


@pytest.mark.parametrize("pad, ending", [("<|endoftext|>", 49407), ("!", 0)], ids=["SD 1.5", "SD 2"])
def test_tokens_equal_open_clips(tmp_path, pad, ending):
    """The published vocabulary, written as the hub's files, against open_clip's own tokenizer."""
    import gzip

    import open_clip
    from lift123.pipelines.networks.towers import tokenize
    from transformers import CLIPTokenizer

    own = open_clip.SimpleTokenizer()
    merges = gzip.open(open_clip.tokenizer.default_bpe()).read().decode("utf-8").split("\n")[1 : 49152 - 256 - 2 + 1]
    tiny.tokenizer(tmp_path, pad=pad)
    folder = tmp_path / "tokenizer"
    ends = {"<start_of_text>": "<|startoftext|>", "<end_of_text>": "<|endoftext|>"}
    (folder / "vocab.json").write_text(json.dumps({ends.get(k, k): v for k, v in own.encoder.items()}), encoding="utf-8")
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges) + "\n", encoding="utf-8")
    old = {"__type": "AddedToken", "content": "<|startoftext|>", "lstrip": False, "normalized": True, "rstrip": False,
           "single_word": False}
    edit(folder, "tokenizer_config.json", bos_token=old, model_max_length=77, name_or_path="openai/clip-vit-large-patch14")
    texts = ["A half-peeled yellow banana, side view", "don't  eat 3 cafe tables.", ""]  # "!" may mean padding, in diffusers too
    ids = tokenize(CLIPTokenizer.from_pretrained(str(folder)), texts, 77)
    expected = own(texts)
    for row, truth in zip(ids, expected):
        end = int((truth == 49407).nonzero()[0]) + 1
        assert torch.equal(row[:end], truth[:end]) and set(row[end:].tolist()) <= {ending}


# ---------------------------------------------------------------------------------------- view networks


@pytest.mark.parametrize("name", ["kxic", "ashawkey"])
@pytest.mark.parametrize("pose", ["zero123", "stable"])
@torch.no_grad()
def test_view_networks_follow_the_published_recipe(made, name, pose):
    """Zero-1-to-3 spelled out from its description (M-C.5) with diffusers and transformers alone."""
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPVisionModelWithProjection

    folder, picture = made[name], noise(40, 40, 3, seed=3).sigmoid()
    camera, noisy, t = Cameras.orbit(1.0, 0.5, 3.0, 0.3, 16, 16), noise(1, 4, 8, 8), torch.tensor([400])
    conditioned = public.load_view_folder(folder, pose=pose).with_reference(picture, HOME).with_guidance(3.0)

    x = torch.nn.functional.interpolate(picture.permute(2, 0, 1)[None], (16, 16), mode="bilinear", antialias=True)
    latent = AutoencoderKL.from_pretrained(folder / "vae", low_cpu_mem_usage=False).encode(x * 2 - 1).latent_dist.mean
    big = torch.nn.functional.interpolate(x, (28, 28), mode="bicubic", align_corners=True)
    mean, std = torch.tensor([0.4, 0.5, 0.6]).reshape(1, 3, 1, 1), torch.tensor([0.2, 0.3, 0.4]).reshape(1, 3, 1, 1)
    clip = CLIPVisionModelWithProjection.from_pretrained(folder / "image_encoder")((big - mean) / std).image_embeds
    last = 3.0 - 3.2 if pose == "zero123" else math.pi / 2 - 0.2
    vector = torch.tensor([[(math.pi / 2 - 0.5) - (math.pi / 2 - 0.2), math.sin(1.0), math.cos(1.0), last]])
    layer = {k.rsplit(".", 1)[1]: v for k, v in folders.read_state(
        folder / ("cc_projection" if name == "kxic" else "clip_camera_projection")).items()}
    context = torch.nn.functional.linear(torch.cat([clip, vector], -1), layer["weight"], layer["bias"])[:, None]
    net = UNet2DConditionModel.from_pretrained(folder / "unet", low_cpu_mem_usage=False)
    yes = net(torch.cat([noisy, latent], 1), t, context).sample
    no = net(torch.cat([noisy, torch.zeros_like(latent)], 1), t, torch.zeros_like(context)).sample
    assert torch.allclose(conditioned.predict_noise(noisy, t, camera), no + 3 * (yes - no), atol=1e-4)
    assert conditioned.image_size == 16
    assert conditioned.sample(camera, 2, torch.Generator().manual_seed(0)).shape == (1, 16, 16, 3)


def test_pose_conventions_differ_in_the_last_entry_only():
    cameras = Cameras.orbit([0.3, 1.0], [0.1, 0.4], 3.0, 0.3, 4, 4)
    a, b = pose_vector(cameras, HOME), pose_vector(cameras, HOME, "stable")
    assert torch.equal(a[:, :3], b[:, :3]) and torch.allclose(a[:, 3], torch.tensor(-0.2), atol=1e-5)
    assert torch.allclose(b[:, 3], torch.tensor(math.pi / 2 - 0.2), atol=1e-5)
    with pytest.raises(ValueError, match="convention"):
        pose_vector(cameras, HOME, "other")


# ---------------------------------------------------------------------------------------- files


def test_the_best_set_of_weights_is_chosen(tmp_path):
    stem = "diffusion_pytorch_model"
    order = [("fp16_ema", "safetensors"), ("", "safetensors"), ("", "bin"), ("fp16", "safetensors"), ("non_ema", "safetensors")]
    for variant, suffix in order:
        (tmp_path / f"{stem}{'.' * bool(variant)}{variant}.{suffix}").touch()
    (tmp_path / "config.json").touch()
    (tmp_path / f"{stem}.safetensors.index.json").touch()
    assert folders.weight_files(tmp_path) == order
    (tmp_path / "sharded").mkdir()
    (tmp_path / "sharded" / "model-00001-of-00002.safetensors").touch()
    (tmp_path / "sharded" / "model.fp16-00001-of-00002.safetensors").touch()
    assert folders.weight_files(tmp_path / "sharded") == [("", "safetensors"), ("fp16", "safetensors")]


@pytest.mark.parametrize("save", [{"variant": "fp16_ema"}, {"max_shard_size": "40KB"}, {"safe_serialization": False}],
                         ids=["variant", "shards", "bin"])
@torch.no_grad()
def test_every_way_of_storing_a_unet(made, tmp_path, save):
    folder = copy(made, "sd15", tmp_path)
    shutil.rmtree(folder / "unet")
    module = tiny.unet(tmp_path / "again")
    module.save_pretrained(folder / "unet", **save)
    if "variant" in save:  # raw training weights beside the EMA ones must not be taken
        tiny.seeded(lambda: module, 99).save_pretrained(folder / "unet")
        module = tiny.unet(tmp_path / "again")
    loaded = public.load_text_folder(folder).runtime.unet
    assert all(torch.equal(a, b) for a, b in zip(loaded.parameters(), module.parameters()))


def damage_unet(folder, change):
    path = folder / "unet" / "diffusion_pytorch_model.safetensors"
    state = load_file(str(path))
    change(state)
    save_file(state, str(path), metadata={"format": "pt"})


def edit(folder, name, **changes):
    path = folder / name
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def remove(path):
    shutil.rmtree(path) if path.is_dir() else path.unlink()


BAD = {
    "missing key": ("sd15", lambda f: damage_unet(f, lambda s: s.pop("conv_out.bias")), "missing: conv_out.bias"),
    "unused key": ("sd15", lambda f: damage_unet(f, lambda s: s.update(extra=torch.zeros(1))), "unused: extra"),
    "other shape": ("sd15", lambda f: damage_unet(f, lambda s: s.update({"conv_out.bias": torch.zeros(9)})), "unet"),
    "truncated": ("sd15", lambda f: (f / "vae" / "diffusion_pytorch_model.safetensors").write_bytes(b"\0" * 40), "vae"),
    "no weights": ("sd15", lambda f: remove(f / "vae" / "diffusion_pytorch_model.safetensors"), "a file of weights"),
    "no vae": ("sd15", lambda f: remove(f / "vae"), "a folder vae/"),
    "no tokenizer": ("sd15", lambda f: remove(f / "tokenizer"), "tokenizer"),
    "no second tower": ("sdxl", lambda f: remove(f / "text_encoder_2"), "text_encoder_2"),
    "broken json": ("sd15", lambda f: (f / "unet" / "config.json").write_text("{"), "config.json"),
    "not a folder of this kind": ("sd15", lambda f: remove(f / "unet"), "a folder unet/"),
    "inpainting": ("sd15", lambda f: edit(f, "unet/config.json", in_channels=9), "an inpainting network"),
    "depth-conditioned": ("sd15", lambda f: edit(f, "unet/config.json", in_channels=5), "a depth-conditioned"),
    "video": ("sd15", lambda f: edit(f, "unet/config.json", _class_name="UNetSpatioTemporalConditionModel"), "video"),
    "view network as text": ("kxic", None, "picture-conditioned"),
    "vae of SDXL": ("sd15", lambda f: edit(f, "vae/config.json", scaling_factor=0.13025), "autoencoder of Stable Diff"),
    "vae of SD 1.5": ("sdxl", lambda f: edit(f, "vae/config.json", scaling_factor=0.18215), "autoencoder of SDXL"),
    "vae of 16 channels": ("sd15", lambda f: edit(f, "vae/config.json", latent_channels=16), "4 latent channels"),
    "other text tower": ("sd15", lambda f: edit(f, "text_encoder/config.json", hidden_size=24), "the text encoder of width 16"),
    "flow model": ("sd15", lambda f: edit(f, "scheduler/scheduler_config.json", prediction_type="flow"), "epsilon, v"),
}


@pytest.mark.parametrize("case", BAD)
def test_folders_that_cannot_be_text_networks(made, tmp_path, case):
    name, change, words = BAD[case]
    folder = copy(made, name, tmp_path)
    if change:
        change(folder)
    with pytest.raises(InputError, match=words) as error:
        public.load_text_folder(folder)
    assert error.value.remedy.endswith(".")


BAD_VIEWS = {
    "text network as view": ("sd15", None, r"a Zero-1-to-3 network \(8 input channels\), got a text-to-image"),
    "no cc_projection": ("kxic", lambda f: remove(f / "cc_projection"), "cc_projection or clip_camera_projection"),
    "other projection": ("kxic", lambda f: save_file({"projection.weight": torch.zeros(16, 16)}, str(
        f / "cc_projection" / "diffusion_pytorch_model.safetensors")), "projection.bias"),
    "other picture encoder": ("kxic", lambda f: edit(f, "image_encoder/config.json", projection_dim=7),
                              "picture encoder of width 12"),
    "no picture encoder": ("kxic", lambda f: remove(f / "image_encoder"), "image_encoder"),
}


@pytest.mark.parametrize("case", BAD_VIEWS)
def test_folders_that_cannot_be_view_networks(made, tmp_path, case):
    name, change, words = BAD_VIEWS[case]
    folder = copy(made, name, tmp_path)
    if change:
        change(folder)
    with pytest.raises(InputError, match=words):
        public.load_view_folder(folder)


class Hostile:
    """Unpickling this would create a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


@pytest.mark.parametrize("place", ["cc_projection", "unet"])
def test_a_hostile_pickle_is_refused_and_does_nothing(made, tmp_path, place):
    folder, trap = copy(made, "kxic", tmp_path), tmp_path / "owned"
    remove(folder / place / "diffusion_pytorch_model.safetensors")
    torch.save({"projection.weight": Hostile(trap)}, folder / place / "diffusion_pytorch_model.bin")
    with pytest.raises(InputError, match=place):
        public.load_view_folder(folder)
    assert not trap.exists()
