"""Tiny ComfyUI networks with random weights, and the same weights in diffusers and transformers as oracles.

The layouts are the real ones: ComfyUI's own tables translate the names, ComfyUI's own detection reads the sizes.
"""

from dataclasses import dataclass
from types import SimpleNamespace

import torch

from helpers.comfy_modules import prepare

prepare()
import comfy.clip_vision
import comfy.model_base
import comfy.model_detection
import comfy.model_management as mm
import comfy.model_patcher
import comfy.sd
import comfy.sd1_clip
import comfy.sdxl_clip
import comfy.supported_models
import comfy.utils
from comfy.diffusers_convert import convert_vae_state_dict

Linear = torch.nn.Linear
WIDTH = 32  # of the text encoder's states
SIZE = 64  # pixels; latents 8 x 8
CLIP = {"hidden_size": WIDTH, "intermediate_size": 64, "num_attention_heads": 4, "num_hidden_layers": 3,
        "projection_dim": WIDTH}
VISION = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 4, "num_hidden_layers": 2,
          "projection_dim": 24, "image_size": 32, "patch_size": 8, "num_channels": 3, "hidden_act": "quick_gelu",
          "model_type": "clip_vision_model"}


@dataclass
class Tiny:
    """ComfyUI's side (model, clip, vae, clip_vision) and the oracle's (unet, kl, text, vision)."""

    model: object = None
    clip: object = None
    vae: object = None
    clip_vision: object = None
    unet: object = None
    kl: object = None
    text: object = None
    vision: object = None
    projection: object = None


def randomized(module: torch.nn.Module, seed: int, scale: float = 1.0) -> torch.nn.Module:
    """The module with weights that make every part matter (fresh ones end in zeros)."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in module.named_parameters():
            if p.ndim == 1:
                base = 1.0 if "norm" in name and name.endswith("weight") else 0.0
                p.copy_(base + 0.1 * torch.randn(p.shape, generator=generator))
            else:
                p.copy_(scale * torch.randn(p.shape, generator=generator) / max(p[0].numel(), 1) ** 0.5)
    return module.eval().requires_grad_(False)


def diffusers_unet(in_channels: int = 4, context: int = WIDTH, pooled: int = 0, seed: int = 1):
    """SD1.x topology at 32/64/64/64 channels; with ``pooled`` SDXL's added conditions (six sizes and a pooled text)."""
    from diffusers import UNet2DConditionModel

    down = ("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",)
    up = ("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3
    extra = {"addition_embed_type": "text_time", "addition_time_embed_dim": 256,
             "projection_class_embeddings_input_dim": pooled + 6 * 256, "use_linear_projection": True} if pooled else {}
    return randomized(UNet2DConditionModel(
        sample_size=8, in_channels=in_channels, out_channels=4, block_out_channels=(32, 64, 64, 64),
        layers_per_block=1, cross_attention_dim=context, attention_head_dim=8, down_block_types=down,
        up_block_types=up, **extra), seed)


def comfy_model(unet, model_type, kind=comfy.supported_models.SD15, base=comfy.model_base.BaseModel, **more):
    """A MODEL with the weights of a diffusers UNet; made in inference mode, as loader nodes do."""
    weights = {k: v.clone() for k, v in unet.state_dict().items()}
    with torch.inference_mode():
        config = detected(weights)
        names = comfy.utils.unet_to_diffusers(config)
        state = {names[k]: v.clone() for k, v in weights.items()}
        settings = kind(config)
        settings.unet_config |= {"num_heads": 8, "num_head_channels": -1}  # SDXL's 64 channels per head are more than we have
        settings.set_inference_dtype(torch.float32, None)
        network = base(settings, model_type=model_type, device=torch.device("cpu"), **more)
        missing, unused = network.diffusion_model.load_state_dict(state, strict=False)
        assert not missing and not unused, (missing, unused)
        return comfy.model_patcher.CoreModelPatcher(network, mm.get_torch_device(), torch.device("cpu"))


def detected(weights: dict) -> dict:
    """ComfyUI's configuration of a UNet of our topology."""
    adm = weights.get("add_embedding.linear_1.weight")
    return {
        "image_size": 32, "out_channels": 4, "model_channels": 32, "num_res_blocks": [1, 1, 1, 1],
        "channel_mult": [1, 2, 2, 2], "transformer_depth": [1, 1, 1, 0], "transformer_depth_middle": 1,
        "transformer_depth_output": [1, 1, 1, 1, 1, 1, 0, 0], "use_spatial_transformer": True, "legacy": False,
        "in_channels": weights["conv_in.weight"].shape[1], "dtype": torch.float32, "use_temporal_attention": False,
        "context_dim": weights["mid_block.attentions.0.transformer_blocks.0.attn2.to_k.weight"].shape[1],
        "use_linear_in_transformer": weights["mid_block.attentions.0.proj_in.weight"].ndim == 2,
        "adm_in_channels": None if adm is None else adm.shape[1],
        **({} if adm is None else {"num_classes": "sequential"}),
    }


def autoencoder(seed: int = 2, latents: int = 4):
    """(VAE, diffusers AutoencoderKL) with the same weights."""
    from diffusers import AutoencoderKL

    kl = randomized(AutoencoderKL(
        block_out_channels=(32,) * 4, layers_per_block=2, latent_channels=latents, norm_num_groups=32,
        down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4), seed)
    config = {"double_z": True, "z_channels": latents, "resolution": 64, "in_channels": 3, "out_ch": 3, "ch": 32,
              "ch_mult": [1, 1, 1, 1], "num_res_blocks": 2, "attn_resolutions": [], "dropout": 0.0}
    with torch.inference_mode():
        state = convert_vae_state_dict({k: v.clone() for k, v in kl.state_dict().items()})
        vae = comfy.sd.VAE(sd=state, config={"params": {"ddconfig": config, "embed_dim": latents}})
        vae.latent_channels = latents
    return vae, kl


def text_encoder(seed: int = 3):
    """(CLIP, transformers CLIPTextModel) with the same weights and the real vocabulary."""
    from transformers import CLIPTextConfig, CLIPTextModel

    config = CLIPTextConfig(vocab_size=49408, max_position_embeddings=77, hidden_act="quick_gelu", **CLIP)
    text = randomized(CLIPTextModel(config), seed)
    with torch.inference_mode():
        target = SimpleNamespace(params={}, clip=comfy.sd1_clip.SD1ClipModel, tokenizer=comfy.sd1_clip.SD1Tokenizer)
        clip = comfy.sd.CLIP(target, model_options={"clip_l_model_config": CLIP, "dtype": torch.float32})
        load_text(clip.cond_stage_model.clip_l, text)
    return clip, text


def load_text(module, text) -> None:
    """Transformers weights into one of ComfyUI's text towers."""
    state = {k if k.startswith("text_model.") else f"text_model.{k}": v.clone() for k, v in text.state_dict().items()}
    state = {k: v for k, v in state.items() if "position_ids" not in k}
    if "text_model.text_projection.weight" in state:
        state["text_projection.weight"] = state.pop("text_model.text_projection.weight")
    missing, unused = module.transformer.load_state_dict(state, strict=False)
    assert not unused and all("text_projection" in k for k in missing), (missing, unused)


def tiny(prediction: str = "eps", in_channels: int = 4, latents: int = 4) -> Tiny:
    """SD1.x in miniature.  prediction: "eps", "v" or "flow"."""
    kinds = {"eps": comfy.model_base.ModelType.EPS, "v": comfy.model_base.ModelType.V_PREDICTION,
             "flow": comfy.model_base.ModelType.FLOW}
    unet = diffusers_unet(in_channels)
    vae, kl = autoencoder(latents=latents)
    clip, text = text_encoder()
    return Tiny(comfy_model(unet, kinds[prediction]), clip, vae, None, unet, kl, text)


def tiny_view() -> Tiny:
    """Zero-1-to-3 in miniature: 8 input channels, CLIP_VISION of width 24, ``cc_projection`` from 28 to WIDTH."""
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    unet = diffusers_unet(8, seed=4)
    vae, kl = autoencoder()
    vision = randomized(CLIPVisionModelWithProjection(CLIPVisionConfig(**{**VISION, "model_type": "clip"})), 5)
    projection = randomized(Linear(VISION["projection_dim"] + 4, WIDTH), 6)
    model = comfy_model(unet, comfy.model_base.ModelType.EPS, comfy.supported_models.Stable_Zero123,
                        comfy.model_base.Stable_Zero123, cc_projection_weight=projection.weight.detach().clone(),
                        cc_projection_bias=projection.bias.detach().clone())
    with torch.inference_mode():
        seen = comfy.clip_vision.ClipVisionModel(VISION)
        seen.model.float()
        missing, unused = seen.load_sd({k: v.clone() for k, v in vision.state_dict().items() if "position_ids" not in k})
        assert not missing and not unused, (missing, unused)
    return Tiny(model, None, vae, seen, unet, kl, None, vision, projection)


def tiny_sdxl() -> Tiny:
    """SDXL in miniature: two text towers (states side by side, the second's pooled), six size entries."""
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    shared = {"vocab_size": 49408, "max_position_embeddings": 77, **CLIP}
    first = randomized(CLIPTextModel(CLIPTextConfig(hidden_act="quick_gelu", **shared)), 7)
    second = randomized(CLIPTextModelWithProjection(CLIPTextConfig(
        hidden_act="gelu", eos_token_id=49407, pad_token_id=0, **shared)), 8)
    unet = diffusers_unet(context=2 * WIDTH, pooled=WIDTH, seed=9)
    vae, kl = autoencoder()
    with torch.inference_mode():
        target = SimpleNamespace(params={}, clip=comfy.sdxl_clip.SDXLClipModel, tokenizer=comfy.sdxl_clip.SDXLTokenizer)
        clip = comfy.sd.CLIP(target, model_options={
            "clip_l_model_config": CLIP, "clip_g_model_config": CLIP, "dtype": torch.float32})
        load_text(clip.cond_stage_model.clip_l, first)
        load_text(clip.cond_stage_model.clip_g, second)
    model = comfy_model(unet, comfy.model_base.ModelType.EPS, comfy.supported_models.SDXL, comfy.model_base.SDXL)
    return Tiny(model, clip, vae, None, unet, kl, (first, second))


def tiny_sd3() -> Tiny:
    """SD3 in miniature: a joint transformer of two blocks, flow with shift 3, 16 latent channels; SDXL's text towers."""
    from diffusers import SD3Transformer2DModel

    world = tiny_sdxl()
    world.vae, world.kl = autoencoder(latents=16)
    world.unet = randomized(SD3Transformer2DModel(
        sample_size=8, patch_size=2, in_channels=16, num_layers=2, attention_head_dim=64, num_attention_heads=2,
        joint_attention_dim=2 * WIDTH, caption_projection_dim=128, pooled_projection_dim=WIDTH, out_channels=16,
        pos_embed_max_size=8), 10)
    with torch.inference_mode():
        state = comfy.model_detection.convert_diffusers_mmdit({k: v.clone() for k, v in world.unet.state_dict().items()})
        settings = comfy.supported_models.SD3(comfy.model_detection.detect_unet_config(state, ""))
        settings.set_inference_dtype(torch.float32, None)
        network = settings.get_model(state, device=torch.device("cpu"))
        missing, unused = network.diffusion_model.load_state_dict(state, strict=False)
        assert not missing and not unused, (missing, unused)
        world.model = comfy.model_patcher.CoreModelPatcher(network, mm.get_torch_device(), torch.device("cpu"))
    return world
