"""Small random networks in the ldm layout, made of ComfyUI's own classes: the other side of the parity tests."""

import torch

from helpers import comfy_modules

comfy_modules.prepare()

from comfy.ldm.models.autoencoder import AutoencoderKL
from comfy.ldm.modules.diffusionmodules.openaimodel import UNetModel
from comfy.ops import disable_weight_init

KINDS = ("zero123", "sd1", "sd2")
FULL = {  # the published sizes: model channels, multiples, context width
    "zero123": {"in_channels": 8, "context": 768, "linear": False},
    "sd1": {"in_channels": 4, "context": 768, "linear": False},
    "sd2": {"in_channels": 4, "context": 1024, "linear": True},
}
TINY_CONTEXT = {"zero123": 64, "sd1": 64, "sd2": 128}


def fill(module: torch.nn.Module, seed: int) -> torch.nn.Module:
    """Every parameter drawn from one generator: norms around 1, the rest small enough to stay in range."""
    g = torch.Generator().manual_seed(seed)
    for name, p in module.named_parameters():
        noise = torch.randn(p.shape, generator=g)
        fan = p[0].numel() if p.ndim > 1 else 1
        is_norm = p.ndim == 1 and name.endswith("weight")
        value = 1 + 0.1 * noise if is_norm else 0.1 * noise if p.ndim == 1 else noise / fan**0.5
        p.data.copy_(value)
    return module.eval().requires_grad_(False)


def unet(kind: str, full: bool = False, seed: int = 0, device="cpu", **changes) -> UNetModel:
    """ComfyUI's UNet of ``kind``, small unless ``full``; weights random (none on the meta device)."""
    facts = FULL[kind]
    width, mult = (320, (1, 2, 4, 4)) if full else ((64, (1, 2)) if facts["linear"] else (32, (1, 2, 2)))
    blocks = [2] * len(mult)
    attended = [2 * [1]] * (len(mult) - 1) + [2 * [0]]
    depths = [d for level in attended for d in level]
    out = [d for level in attended for d in (*level, level[0])]
    heads = {"num_heads": -1, "num_head_channels": 64} if facts["linear"] else {"num_heads": 8}
    made = UNetModel(**{
        "image_size": 32, "in_channels": facts["in_channels"], "out_channels": 4, "model_channels": width,
        "num_res_blocks": blocks, "channel_mult": mult, "transformer_depth": depths, "transformer_depth_output": out,
        "transformer_depth_middle": 1, "context_dim": facts["context"] if full else TINY_CONTEXT[kind],
        "use_linear_in_transformer": facts["linear"], "use_spatial_transformer": True, "legacy": False,
        "dtype": torch.float32, "device": device, "operations": disable_weight_init, **heads, **changes,
    })
    return made if str(device) == "meta" else fill(made, seed)


def vae(full: bool = False, seed: int = 1) -> AutoencoderKL:
    """ComfyUI's autoencoder: latents 4 times smaller than pictures; full: 8 times, the published size, on the meta device."""
    config = {
        "double_z": True, "z_channels": 4, "resolution": 256, "in_channels": 3, "out_ch": 3, "dropout": 0.0,
        "ch": 128 if full else 32, "ch_mult": [1, 2, 4, 4] if full else [1, 2, 2], "num_res_blocks": 2 if full else 1,
        "attn_resolutions": [],
    }
    if full:
        with torch.device("meta"):
            return AutoencoderKL(ddconfig=config, embed_dim=4)
    return fill(AutoencoderKL(ddconfig=config, embed_dim=4), seed)


def prefixed(prefix: str, module: torch.nn.Module) -> dict:
    """The state dict of a part as it stands in a checkpoint."""
    return {prefix + name: value for name, value in module.state_dict().items()}


TEXT_CONFIG = {
    "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 1, "intermediate_size": 128,
    "hidden_act": "quick_gelu", "max_position_embeddings": 77, "eos_token_id": 49407,
}


def open_clip_model(seed: int = 2, vocabulary: int = 100, length: int = 12, projection: int = 48):
    """A small CLIP in the layout of open_clip and of OpenAI: its visual tower stands in Zero-1-to-3's checkpoints
    (quick GELU), its text tower in Stable Diffusion 2's (GELU)."""
    from open_clip.model import CLIP, CLIPVisionCfg

    text = {"context_length": length, "vocab_size": vocabulary, "width": 128, "heads": 2, "layers": 3}
    vision = CLIPVisionCfg(image_size=56, patch_size=14, width=128, layers=3, head_width=64)
    made = CLIP(projection, vision, text)
    quick = CLIP(projection, vision, text, quick_gelu=True)
    made.visual = quick.visual
    return fill(made, seed)


def open_text_state(model) -> dict:
    """The text half as Stable Diffusion 2's checkpoints carry it."""
    return {k: v for k, v in model.state_dict().items() if not k.startswith("visual.") and k != "attn_mask"}


def checkpoint(kind: str, averages: bool = False, seed: int = 0) -> dict:
    """A whole small checkpoint of ``kind`` as published ones are laid out, with what they carry beside the networks.

    averages: the moving average's UNet (seed + 1) stands beside the raw one (seed).
    """
    raw = unet(kind, seed=seed)
    state = {**prefixed("model.diffusion_model.", raw), **prefixed("first_stage_model.", vae())}
    if averages:
        other = unet(kind, seed=seed + 1).state_dict()
        state.update({"model_ema.diffusion_model" + name.replace(".", ""): value for name, value in other.items()})
        state.update({"model_ema.decay": torch.tensor(0.9999), "model_ema.num_updates": torch.tensor(105000)})
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    state.update({"betas": betas.float(), "alphas_cumprod": torch.cumprod(1 - betas, 0).float()})
    state.update({"posterior_mean_coef1": betas.float(), "logvar": betas.float()})
    g = torch.Generator().manual_seed(seed + 20)
    if kind == "zero123":
        clip = open_clip_model(projection=48)
        state.update(prefixed("cond_stage_model.model.visual.", clip.visual))
        state["cond_stage_model.model.logit_scale"] = torch.tensor(4.6)
        state["cond_stage_model.model.token_embedding.weight"] = torch.randn(100, 128, generator=g)
        state["cc_projection.weight"] = torch.randn(TINY_CONTEXT[kind], 52, generator=g) / 52**0.5
        state["cc_projection.bias"] = torch.randn(TINY_CONTEXT[kind], generator=g) * 0.1
    elif kind == "sd1":
        tower = text_tower()
        state.update({"cond_stage_model.transformer." + k: v for k, v in tower.items()})
        state["cond_stage_model.transformer.text_model.embeddings.position_ids"] = torch.arange(77)[None]
    else:
        clip = open_clip_model(vocabulary=49408, length=77, projection=128)
        state.update({"cond_stage_model.model." + k: v for k, v in open_text_state(clip).items()})
    return {name: value.clone().contiguous() for name, value in state.items()}


def text_tower(seed: int = 3) -> dict:
    """The state of ComfyUI's text tower of Stable Diffusion 1, as checkpoints carry it."""
    from comfy.clip_model import CLIPTextModel

    made = fill(CLIPTextModel(TEXT_CONFIG, torch.float32, "cpu", disable_weight_init), seed)
    return {k: v for k, v in made.state_dict().items() if k != "text_projection.weight"}
