"""Model as Text Network, Model as View Network: wiring, warnings, and what is refused before any work."""

import logging
from types import SimpleNamespace

import pytest
import torch
from helpers import comfy_tiny
from helpers.comfy_modules import prepare

prepare()
import comfy.hooks
import comfy.latent_formats
import comfy.model_base
import comfy.model_sampling
import comfy.sd
from helpers.comfy_tiny import SIZE
from lift123.host import comfy_checks, comfy_denoiser
from lift123.host.specs import PriorSpec
from lift123.nodes import comfy_networks
from lift123.nodes.comfy_networks import ComfyNetwork, ModelAsText, ModelAsView
from lift123.pipelines.core.cameras import Cameras
from lift123.pipelines.core.errors import InputError
from lift123.pipelines.networks.noise import NoisePath
from lift123.pipelines.priors.sds import SdsSettings
from lift123.pipelines.stages.inputs.reference import prepare_reference

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def sd15():
    return comfy_tiny.tiny()


@pytest.fixture(scope="module")
def zero123():
    return comfy_tiny.tiny_view()


def run(node, **inputs):
    """A node's only output, under the inference mode that ComfyUI imposes."""
    with torch.inference_mode():
        return node.execute(**inputs).result[0]


def as_text(world, **changes):
    return run(ModelAsText, **{"model": world.model, "clip": world.clip, "vae": world.vae, "image_size": SIZE, **changes})


def as_view(world, **changes):
    return run(ModelAsView, **{"model": world.model, "clip_vision": world.clip_vision, "vae": world.vae,
                               "image_size": SIZE, "pose": "auto", **changes})


def changed(model, **config):
    """The MODEL with another entry in its network's configuration, as another checkpoint would have."""
    other = model.clone()
    settings = SimpleNamespace(**vars(model.model.model_config))
    settings.unet_config = {**model.model.model_config.unet_config, **config}
    network = SimpleNamespace(model_config=settings, diffusion_model=model.model.diffusion_model, concat_keys=(),
                              model_type=model.model.model_type)
    other.model = network
    other.object_patches = {"latent_format": model.model.latent_format, "model_sampling": model.model.model_sampling}
    return other


def reference():
    picture = torch.zeros(96, 96, 4)
    picture[24:72, 30:66] = torch.tensor([0.8, 0.2, 0.1, 1.0])
    return prepare_reference(picture[..., :3], picture[..., 3], prompt="a red box")[0]


@pytest.mark.parametrize("kind", ["text", "view"])
def test_from_node_to_gradient(kind, sd15, zero123):
    """Loader objects -> node -> prior spec -> loss on pictures: finite, not zero, and with gradient."""
    network = as_text(sd15) if kind == "text" else as_view(zero123)
    assert network.kind == kind and "ComfyUI" in network.name
    spec = PriorSpec(network, SdsSettings(), guidance=2.0)
    spec.check(reference())
    with torch.inference_mode(), torch.inference_mode(False), torch.enable_grad():
        prior = spec.build(reference(), CPU)
        images = torch.rand(2, 32, 32, 3).requires_grad_()
        cameras = Cameras.orbit(torch.tensor([0.5, 2.0]), 0.1, 2.0, 0.8, 32, 32)
        prior.loss(images, cameras, 0.5, torch.Generator().manual_seed(0)).sum().backward()
    assert bool(images.grad.isfinite().all()) and float(images.grad.abs().max()) > 0
    assert prior.denoiser.guidance == 2.0


def test_sizes_follow_the_family(sd15, zero123):
    assert as_text(sd15, image_size=0).size == 512 and as_view(zero123, image_size=0).size == 256
    assert as_text(sd15, image_size=96).size == 96
    with pytest.raises(InputError, match="multiple of 8.*Use 96"):
        as_text(sd15, image_size=100)


@pytest.mark.parametrize("channels,words", [(9, "inpainting"), (5, "depth"), (8, "Zero-1-to-3 or InstructPix2Pix"),
                                            (7, "upscaler")])
def test_models_that_want_more_than_text_are_refused(sd15, channels, words):
    with pytest.raises(InputError, match=f"model: expected a text-to-image model.*{words}"):
        as_text(sd15, model=changed(sd15.model, in_channels=channels))


def test_wrong_kinds_of_model_are_sent_to_the_right_node(sd15, zero123):
    with pytest.raises(InputError, match="Use Model as View Network"):
        as_text(SimpleNamespace(model=zero123.model, clip=sd15.clip, vae=sd15.vae))
    with pytest.raises(InputError, match="use Model as Text Network"):
        as_view(SimpleNamespace(model=sd15.model, clip_vision=zero123.clip_vision, vae=sd15.vae))


def test_video_models_are_refused(sd15):
    video = sd15.model.clone()
    video.add_object_patch("latent_format", comfy.latent_formats.Wan21())
    with pytest.raises(InputError, match="model: expected an image model.*video or audio"):
        as_text(sd15, model=video)


def test_models_that_predict_no_noise_are_refused(sd15):
    class Direct(comfy.model_sampling.ModelSamplingDiscrete, comfy.model_sampling.IMG_TO_IMG):
        pass

    other = sd15.model.clone()
    other.add_object_patch("model_sampling", Direct())
    with pytest.raises(InputError, match="predicts noise, v or flow"):
        as_text(sd15, model=other)


def test_a_vae_of_another_family_is_refused(sd15):
    vae, _ = comfy_tiny.autoencoder(latents=16)
    with pytest.raises(InputError, match="vae: expected a VAE of the MODEL's family .4 latent channels.*16"):
        as_text(sd15, vae=vae)


@pytest.mark.parametrize("part", ["model", "clip", "vae"])
def test_missing_parts_are_named(sd15, part):
    with pytest.raises(InputError, match=f"{part}: expected ComfyUI's {part.upper()}, got nothing"):
        as_text(sd15, **{part: None})


def test_a_text_encoder_of_another_family_is_refused(sd15):
    network = as_text(comfy_tiny.Tiny(comfy_tiny.tiny_sdxl().model, sd15.clip, sd15.vae))
    with torch.inference_mode(False), pytest.raises(InputError, match="clip: expected a text encoder of width 64"):
        network.load(CPU).with_prompt("a mug")


def test_a_picture_encoder_of_another_width_is_refused(zero123):
    other = SimpleNamespace(config={"projection_dim": 1280}, encode_image=None)
    with pytest.raises(InputError, match="clip_vision: expected a picture encoder of width 24, got width 1280"):
        as_view(zero123, clip_vision=other)


# ------------------------------------------------------------------------------------------------ LoRAs


def graph(**lora):
    """A prompt in API format: checkpoint (1) -> LoRA (2) -> some patch (3) -> our node (4)."""
    return {"1": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "a"}},
            "2": {"class_type": "LoraLoader", "inputs": {"model": ["1", 0], "strength_model": 1.0, **lora}},
            "3": {"class_type": "RescaleCFG", "inputs": {"model": ["2", 0]}},
            "4": {"class_type": "Lift123_ModelAsText", "inputs": {"model": ["3", 0]}}}


def with_lora(model, columns):
    """The MODEL after a LoRA for one attention weight of 32 rows, with this many columns."""
    layer = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q"
    file = {f"{layer}.lora_up.weight": torch.ones(32, 2), f"{layer}.lora_down.weight": torch.ones(2, columns)}
    with torch.inference_mode():
        return comfy.sd.load_lora_for_models(model, None, file, 1.0, 1.0)[0]


def test_a_lora_without_any_fitting_weight_is_refused(sd15):
    asked = graph(lora_name="detail_xl.safetensors")
    with pytest.raises(InputError, match="'detail_xl.safetensors', of which no weight fits SD15"):
        comfy_checks.check_loras(sd15.model, asked, "4")
    with pytest.raises(InputError, match="no weight fits"):
        comfy_checks.check_loras(with_lora(sd15.model, 48), None, None)  # its names exist, its shapes are wrong
    assert comfy_checks.check_loras(with_lora(sd15.model, 32), asked, "4") == []
    assert comfy_checks.check_loras(sd15.model, graph(lora_name="x", strength_model=0), "4") == []
    assert comfy_checks.check_loras(sd15.model, None, None) == []


def test_hooks_on_clip_change_the_model_only_while_it_runs(sd15):
    """A LoRA that travels as a CLIP hook acts on the MODEL, too, and leaves no trace there."""
    layer = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn2_to_v"
    generator = torch.Generator().manual_seed(0)
    file = {f"{layer}.lora_up.weight": torch.randn(64, 2, generator=generator),
            f"{layer}.lora_down.weight": torch.randn(2, 32, generator=generator)}
    with torch.inference_mode():
        hooks = comfy.hooks.create_hook_lora(file, 1.0, 1.0)
        hooked = sd15.clip.clone()
        hooked.patcher.forced_hooks = hooks.clone()
        hooked.apply_hooks_to_conds = hooks.clone()
        plainly, _ = comfy.sd.load_lora_for_models(sd15.model, None, file, 1.0, 1.0)
    noise, t = torch.randn(1, 4, 8, 8, generator=generator), torch.tensor([400])
    camera = Cameras.orbit(0.3, 0.1, 2.0, 0.8, 8, 8)

    def answer(model, clip):
        network = as_text(SimpleNamespace(model=model, clip=clip, vae=sd15.vae))
        return network.load(CPU).with_prompt("a mug").predict_noise(noise, t, camera)

    before = answer(sd15.model, sd15.clip)
    with_hook = answer(sd15.model, hooked)
    assert torch.allclose(with_hook, answer(plainly, sd15.clip), atol=1e-4)
    assert float((with_hook - before).abs().max()) > 1e-2
    assert torch.allclose(answer(sd15.model, sd15.clip), before, atol=1e-6) and not sd15.model.hook_patches


# --------------------------------------------------------------------------------------------- warnings


def test_a_wrong_label_is_doubted():
    """An exact network under the right label passes; read under the other label it is found out."""
    sigmas = ((1 - comfy_alphas()) / comfy_alphas()).sqrt()
    path = NoisePath.exploding(sigmas)
    noise = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(0))
    truth = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(1)) * 0.3

    def exact(x, t):
        return truth

    def v_read_as_eps(x, t):
        s = sigmas[t].reshape(-1, 1, 1, 1)
        eps = (x - truth) / s
        a = 1 / (1 + s**2)
        return x - s * (a.sqrt() * eps - (1 - a).sqrt() * truth)

    def eps_read_as_v(x, t):
        s = sigmas[t].reshape(-1, 1, 1, 1)
        eps = (x - truth) / s
        return x / (1 + s**2) - eps * s / (1 + s**2).sqrt()

    assert path.doubt(exact, noise) == ""
    assert "v-prediction model labeled eps" in path.doubt(v_read_as_eps, noise)
    assert "eps model labeled v" in path.doubt(eps_read_as_v, noise)
    assert NoisePath.flow(torch.linspace(0.001, 1, 1000)).doubt(exact, noise) == ""


def comfy_alphas():
    from lift123.pipelines.networks.noise import scaled_linear_alphas

    return scaled_linear_alphas()


def test_warnings_reach_log_and_node(sd15, caplog, monkeypatch):
    """Random weights contradict any label; a long prompt is read in parts."""
    said = []
    monkeypatch.setattr(comfy_networks, "say", lambda text, key: said.append((key, text)))
    network = ComfyNetwork("text", sd15.model, sd15.vae, clip=sd15.clip, image_size=SIZE, node_key="12")
    with torch.inference_mode(False), caplog.at_level(logging.WARNING):
        network.load(CPU).with_prompt("a " + "very " * 90 + "red mug")
    assert [key for key, _ in said] == ["12", "12"]
    assert "read in 2 parts" in said[0][1] and "labeled wrongly" in said[1][1]
    assert "labeled wrongly" in caplog.text
    assert comfy_checks.long_prompt(sd15.clip, "a red mug") == ""


def test_pose_convention_is_read_from_the_file_name(zero123):
    def named(*arguments):
        model = zero123.model.clone()
        model.cached_patcher_init = (None, arguments, 0)
        return comfy_networks.convention(model)

    assert named("/models/checkpoints/stable_zero123.ckpt", False) == "stable"
    assert named("C:/x/zero123-xl.ckpt", False) == "zero123"
    assert comfy_networks.convention(zero123.model) == "stable", "core's own convention where no name is known"
    assert as_view(zero123, pose="zero123").convention == "zero123"


# --------------------------------------------------------------------------------- mixing conditions


def test_views_of_different_length_are_mixed_without_changing_any():
    """Repeated tokens leave cross-attention as it is; lengths that do not divide are refused."""
    import comfy.conds

    short, long = torch.randn(1, 77, 4), torch.randn(1, 154, 4)

    def entry(value, kind=comfy.conds.CONDCrossAttn):
        return [{"model_conds": {"c_crossattn": kind(value)}, "uuid": 1}]

    mixed = comfy_denoiser.blend([entry(short), entry(long)], torch.eye(2))[0]["model_conds"]["c_crossattn"].cond
    assert torch.equal(mixed[0], torch.cat([short, short], 1)[0]) and torch.equal(mixed[1], long[0])
    query = torch.randn(1, 5, 4)
    attend = torch.nn.functional.scaled_dot_product_attention
    assert torch.allclose(attend(query, mixed[:1], mixed[:1]), attend(query, short, short), atol=1e-5)
    with pytest.raises(InputError, match="Shorten the prompt"):
        comfy_denoiser.blend([entry(torch.randn(1, 76, 4)), entry(short)], torch.eye(2))
    joint = comfy.conds.CONDRegular  # a transformer's text tokens attend, too: repeating them would change the answer
    with pytest.raises(InputError, match="c_crossattn of .77, 154. tokens"):
        comfy_denoiser.blend([entry(short, joint), entry(long, joint)], torch.eye(2))
