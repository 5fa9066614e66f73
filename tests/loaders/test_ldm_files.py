"""Whole checkpoints: loaded strictly, computed with, and refused in one clear sentence when they are something else."""

import math

import pytest
import torch
from helpers.compare import close, draw
from lift123.pipelines.core.cameras import Cameras
from lift123.pipelines.core.errors import InputError
from lift123.pipelines.loaders import ldm
from lift123.pipelines.networks.towers import OPENAI_MEAN, OPENAI_STD
from safetensors.torch import save_file

ldm_tiny = pytest.importorskip("helpers.ldm_tiny")


@pytest.fixture(scope="module")
def states():
    """One checkpoint of each kind; tests copy the dict before they change it."""
    return {kind: ldm_tiny.checkpoint(kind) for kind in ldm_tiny.KINDS}


def written(folder, state, name="model.safetensors"):
    """``state`` as a file."""
    path = folder / name
    if path.suffix == ".safetensors":
        save_file(state, str(path))
    else:
        torch.save({"state_dict": state, "global_step": 105000}, str(path))
    return path


def camera(azimuth, elevation, radius):
    """Cameras around the origin; radians."""
    return Cameras.orbit(torch.tensor(azimuth), torch.tensor(elevation), radius, 0.8, 16, 16)


def kind_of(kind: str) -> str:
    return "view" if kind == "zero123" else "text"


@pytest.mark.parametrize("suffix", ["safetensors", "ckpt"])
def test_view_file_predicts_what_comfyuis_networks_do(states, tmp_path, suffix):
    """The whole path of Zero-1-to-3: CLIP embedding and pose through the projection, unscaled latent, UNet."""
    path = written(tmp_path, states["zero123"], f"105000.{suffix}")
    ours = ldm.load_view_file(path).with_guidance(1.0)
    assert ours.image_size == 32 * 4 and ours.pose == "zero123"
    picture = draw(4, 128, 128, 3).sigmoid()
    there, here = camera([0.7, -2.0], [0.4, -0.1], 2.0), camera([0.0], [0.1], 1.7)
    ours = ours.with_reference(picture, here)
    noisy, t = draw(5, 2, 4, 32, 32), torch.tensor([700, 20])
    unet, vae, visual = ldm_tiny.unet("zero123"), ldm_tiny.vae(), ldm_tiny.open_clip_model(projection=48).visual
    with torch.no_grad():
        x = picture.permute(2, 0, 1)[None] * 2 - 1
        small = torch.nn.functional.interpolate(x, (56, 56), mode="bicubic", align_corners=True) / 2 + 0.5
        mean, std = torch.tensor(OPENAI_MEAN).reshape(3, 1, 1), torch.tensor(OPENAI_STD).reshape(3, 1, 1)
        embedding = visual((small - mean) / std).expand(2, -1)
        # camera up = smaller polar angle; the radius grows from 1.7 to 2.0
        pose = torch.tensor([[-0.3, math.sin(0.7), math.cos(0.7), 0.3], [0.2, math.sin(-2.0), math.cos(-2.0), 0.3]])
        state = states["zero123"]
        context = torch.cat([embedding, pose], 1) @ state["cc_projection.weight"].T + state["cc_projection.bias"]
        latent = vae.encode(x).expand(2, -1, -1, -1)
        wanted = unet(torch.cat([noisy, latent], 1), t, context=context[:, None])
        close(ours.predict_noise(noisy, t, there), wanted, 1e-4)


@pytest.mark.parametrize("kind", ["sd1", "sd2"])
def test_text_file_predicts_what_comfyuis_networks_do(states, tmp_path, kind):
    from comfy.clip_model import CLIPTextModel
    from comfy.ops import disable_weight_init
    from comfy.sd1_clip import SDTokenizer

    ours = ldm.load_text_file(written(tmp_path, states[kind]), prediction="epsilon").with_prompt("an owl!")
    ours = ours.with_guidance(1.0)
    front = camera([0.0], [0.0], 2.0)
    noisy, t = draw(5, 1, 4, 64, 64), torch.tensor([400])
    tokens = SDTokenizer(pad_with_end=kind == "sd1").tokenize_with_weights("an owl!, front view")[0]
    tokens = torch.tensor([[token for token, *_ in tokens]])
    if kind == "sd1":
        tower = CLIPTextModel(ldm_tiny.TEXT_CONFIG, torch.float32, "cpu", disable_weight_init)
        tower.load_state_dict({**ldm_tiny.text_tower(), "text_projection.weight": torch.eye(64)})
        context = tower(tokens)[0]
    else:
        model = ldm_tiny.open_clip_model(vocabulary=49408, length=77, projection=128)
        context = model.token_embedding(tokens) + model.positional_embedding
        for block in model.transformer.resblocks[:-1]:
            context = block(context, attn_mask=model.attn_mask)
        context = model.ln_final(context)
    with torch.no_grad():
        close(ours.predict_noise(noisy, t, front), ldm_tiny.unet(kind)(noisy, t, context=context), 1e-4)


@pytest.mark.parametrize("kind", ldm_tiny.KINDS)
def test_every_tensor_is_accounted_for(states, kind):
    state = states[kind]
    parts = ldm.take_apart(state, kind_of(kind))
    assert sum(parts.used.values()) == len(state)
    assert parts.used["UNet"] == sum(k.startswith(ldm.UNET) for k in state)
    assert parts.used["not needed: noise schedule"] == 4


@pytest.mark.parametrize("kind", ldm_tiny.KINDS)
def test_any_strange_tensor_is_refused(states, kind):
    for strange in ("model.diffusion_model.input_blocks.1.0.extra.weight", "first_stage_model.encoder.mid.attn_2.q.weight",
                    "model_ema2.x", "cond_stage_model2.x", "model.diffusion_model.middle_block.3.weight"):
        with pytest.raises(InputError, match=strange.replace(".", r"\.")):
            ldm.take_apart({**states[kind], strange: torch.zeros(1)}, kind_of(kind))


@pytest.mark.parametrize("kind", ldm_tiny.KINDS)
def test_any_missing_weight_is_refused(states, tmp_path, kind):
    """One tensor of every part in turn."""
    load = ldm.load_view_file if kind == "zero123" else ldm.load_text_file
    tower = {"zero123": "cond_stage_model.model.visual.transformer.resblocks.1.ln_1.bias",
             "sd1": "cond_stage_model.transformer.text_model.encoder.layers.1.mlp.fc1.bias",
             "sd2": "cond_stage_model.model.transformer.resblocks.1.attn.in_proj_bias"}[kind]
    for missing in ("model.diffusion_model.middle_block.1.transformer_blocks.0.ff.net.2.bias",
                    "first_stage_model.decoder.up.1.upsample.conv.weight", "first_stage_model.quant_conv.bias", tower):
        state = dict(states[kind])
        del state[missing]
        with pytest.raises(InputError):
            load(written(tmp_path, state, f"{len(missing)}.safetensors"))


def test_moving_averages_replace_raw_weights(tmp_path):
    """As diffusers' converter with extract_ema; raw weights on request."""
    from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint

    state = ldm_tiny.checkpoint("zero123", averages=True)
    averaged, raw = (ldm.take_apart(state, "view", ema=ema) for ema in (True, False))
    assert averaged.used["UNet (moving average)"] == raw.used["UNet"] == averaged.used["not needed: raw weights of the UNet"]
    assert sum(averaged.used.values()) == sum(raw.used.values()) == len(state)
    for parts, ema, seed in ((averaged, True, 1), (raw, False, 0)):
        reference = convert_ldm_unet_checkpoint(state, parts.unet.config, extract_ema=ema)
        assert set(reference) == set(parts.unet.state)
        assert all(torch.equal(reference[k], parts.unet.state[k]) for k in reference)
        plain = ldm.take_apart(ldm_tiny.checkpoint("zero123", seed=seed), "view").unet.state
        assert all(torch.equal(plain[k], parts.unet.state[k]) for k in plain)
    del state["model_ema.diffusion_modelout2bias"]
    with pytest.raises(InputError, match="no moving average model_ema.diffusion_modelout2bias"):
        ldm.take_apart(state, "view")


def test_files_reduced_to_their_moving_average_keep_only_its_counter(states):
    """"emaonly" and "ema-pruned" files: the average stands under the raw names."""
    counters = {"model_ema.decay": torch.tensor(0.9999), "model_ema.num_updates": torch.tensor(470000)}
    parts = ldm.take_apart({**states["sd1"], **counters}, "text")
    assert parts.used["not needed: bookkeeping of the moving average"] == 2
    assert parts.used["UNet"] == len(parts.unet.state)


def test_v_prediction_is_told_by_the_published_criterion(states):
    state = dict(states["sd2"])
    mark = "model.diffusion_model.output_blocks.5.1.transformer_blocks.0.norm1.bias"
    for spread, prediction in ((0.02, "epsilon"), (0.2, "v_prediction")):
        state[mark] = spread * draw(1, *state[mark].shape)
        assert ldm.take_apart(state, "text").prediction == prediction
    assert ldm.take_apart(states["sd1"], "text").prediction == "epsilon"
    assert ldm.take_apart({**states["sd1"], "v_pred": torch.zeros(0)}, "text").prediction == "v_prediction"


def channels(state, count):
    """The same checkpoint with another number of input channels."""
    name = "model.diffusion_model.input_blocks.0.0.weight"
    return {**state, name: torch.zeros(state[name].shape[0], count, 3, 3)}


def without(state, start):
    """The checkpoint without the tensors whose name begins so."""
    return {k: v for k, v in state.items() if not k.startswith(start)}


UNET = "model.diffusion_model."
WRONG = {
    "an inpainting network": ("text", lambda s: channels(s["sd1"], 9)),
    "a depth-conditioned network": ("text", lambda s: channels(s["sd2"], 5)),
    "an upscaler": ("text", lambda s: channels(s["sd2"], 7)),
    "without its pose projection": ("view", lambda s: without(s["zero123"], "cc_projection")),
    "a text-to-image network": ("view", lambda s: s["sd1"]),
    "a Zero-1-to-3 network. Use Load View Network": ("text", lambda s: s["zero123"]),
    "SDXL": ("text", lambda s: {**s["sd2"], UNET + "label_emb.0.0.weight": torch.zeros(1),
                                "conditioner.embedders.1.model.ln_final.weight": torch.zeros(1)}),
    "unCLIP": ("text", lambda s: {**s["sd2"], UNET + "label_emb.0.0.weight": torch.zeros(1)}),
    "a video network": ("text", lambda s: {**s["sd2"], UNET + "input_blocks.1.0.time_stack.x": torch.zeros(1)}),
    "a LoRA": ("text", lambda s: {"lora_unet_down_blocks_0.lora_down.weight": torch.zeros(1)}),
    "a ControlNet": ("text", lambda s: {"control_model.input_blocks.0.0.weight": torch.zeros(1)}),
    "one component in the diffusers layout": ("text", lambda s: {"conv_in.weight": torch.zeros(1),
                                                        "down_blocks.0.x": torch.zeros(1)}),
    "an autoencoder without a UNet": ("text", lambda s: without(without(s["sd1"], "model."), "cond")),
    "no UNet in it": ("text", lambda s: {"double_blocks.0.img_attn.qkv.weight": torch.zeros(1)}),
    "no autoencoder in it": ("view", lambda s: without(s["zero123"], "first_stage_model.")),
    "no text tower in it": ("text", lambda s: without(s["sd1"], "cond_stage_model.")),
    "no CLIP picture tower in it": ("view", lambda s: without(s["zero123"], "cond_stage_model.")),
    "with another one": ("text", lambda s: {**s["sd1"], "alphas_cumprod": torch.linspace(1, 0, 1000)}),
    "parts of one family": ("text", lambda s: {**without(s["sd1"], "cond_stage_model."),
                                               **{k: v for k, v in s["sd2"].items() if k.startswith("cond_stage_model.")}}),
}


@pytest.mark.parametrize("suffix", ["safetensors", "ckpt"])
def test_files_are_checked_without_reading_them(states, tmp_path, suffix):
    """The loader's refusals come before any work: the same ones, from names and shapes alone."""
    for kind in ("zero123", "sd1"):
        path = written(tmp_path, states[kind], f"{kind}.{suffix}")
        assert ldm.check_file(path, kind_of(kind)) == ldm.take_apart(states[kind], kind_of(kind)).used
    with pytest.raises(InputError, match="a Zero-1-to-3 network"):
        ldm.check_file(tmp_path / f"zero123.{suffix}", "text")
    with pytest.raises(InputError, match="an inpainting network"):
        ldm.check_file(written(tmp_path, channels(states["sd1"], 9), f"wrong.{suffix}"), "text")
    with pytest.raises(InputError, match="no such file"):
        ldm.check_file(tmp_path / f"absent.{suffix}", "text")


@pytest.mark.parametrize("message", WRONG)
def test_another_kind_of_file_is_named(states, message):
    kind, make = WRONG[message]
    with pytest.raises(InputError, match=message.replace(".", r"\.")):
        ldm.take_apart(make(states), kind, "model.safetensors")


def test_damaged_or_absent_files_are_named(tmp_path):
    (tmp_path / "cut.safetensors").write_bytes(b"\x40\x00\x00\x00\x00\x00\x00\x00{\"a\":")
    for name in ("cut.safetensors", "absent.ckpt"):
        with pytest.raises(InputError, match=name):
            ldm.load_text_file(tmp_path / name)


def test_half_precision_files_load(states, tmp_path):
    """fp16 and bf16 files become the asked-for precision; the autoencoder stays in float32."""
    for dtype in (torch.float16, torch.bfloat16):
        state = {k: v.to(dtype) if v.is_floating_point() else v for k, v in states["sd1"].items()}
        path = written(tmp_path, state, f"{dtype}.safetensors")
        full, half = ldm.load_text_file(path), ldm.load_text_file(path, dtype=torch.float16)
        assert full.runtime.unet.dtype == full.encoder.model.dtype == torch.float32
        assert half.runtime.unet.dtype == half.encoder.model.dtype == torch.float16
        assert half.runtime.vae.dtype == torch.float32
        assert not any(p.requires_grad for m in (full.runtime.unet, full.runtime.vae) for p in m.parameters())
