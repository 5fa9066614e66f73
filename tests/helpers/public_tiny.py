"""Writes tiny random networks to disk in the layouts in which the real ones are published."""

from __future__ import annotations

import json
import os
from pathlib import Path

import torch

WIDTH, LENGTH = 16, 40  # width of a text tower, its number of positions
UNET = {
    "sample_size": 8, "out_channels": 4, "layers_per_block": 1, "norm_num_groups": 8, "block_out_channels": (16, 32),
    "attention_head_dim": 4, "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
}
SD15 = {"_class_name": "DDIMScheduler", "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear",
        "num_train_timesteps": 1000, "clip_sample": False, "set_alpha_to_one": False, "steps_offset": 1}


def seeded(build, seed: int):
    """``build()`` with random parameters from a generator of its own (biases and norms too, so that all count)."""
    module, g = build(), torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in module.named_parameters():
            noise = torch.randn(p.shape, generator=g)
            p.copy_(1 + 0.1 * noise if p.ndim == 1 and "norm" in name and name.endswith("weight") else 0.15 * noise)
    return module.eval()


def write_json(path: Path, data: dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data), encoding="utf-8")


def unet(folder: Path, seed: int = 1, **options):
    from diffusers import UNet2DConditionModel

    module = seeded(lambda: UNet2DConditionModel(**{**UNET, "cross_attention_dim": WIDTH, "in_channels": 4, **options}), seed)
    module.save_pretrained(folder / "unet")
    return module


def vae(folder: Path, scale: float | None = None, channels: int = 4):
    from diffusers import AutoencoderKL

    options = {} if scale is None else {"scaling_factor": scale}
    module = seeded(lambda: AutoencoderKL(
        in_channels=3, out_channels=3, latent_channels=channels, sample_size=16, block_out_channels=(16, 16),
        layers_per_block=1, norm_num_groups=8, down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2, **options), 2)
    module.save_pretrained(folder / "vae")
    return module


def text_encoder(folder: Path, name: str, projected: bool = False, width: int = WIDTH, seed: int = 3):
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    vocabulary = words()[0]
    config = CLIPTextConfig(
        vocab_size=len(vocabulary), hidden_size=width, intermediate_size=32, num_hidden_layers=3, num_attention_heads=2,
        max_position_embeddings=LENGTH, projection_dim=24, hidden_act="gelu" if projected else "quick_gelu",
        bos_token_id=len(vocabulary) - 2, eos_token_id=len(vocabulary) - 1)
    module = seeded(lambda: (CLIPTextModelWithProjection if projected else CLIPTextModel)(config), seed)
    module.save_pretrained(folder / name)
    return module


def words() -> tuple[dict, list]:
    """A byte-level vocabulary without merges, in CLIP's layout: bytes, bytes that end a word, start, end."""
    letters = [chr(c) for c in range(33, 127)]
    entries = letters + [c + "</w>" for c in letters] + ["<|startoftext|>", "<|endoftext|>"]
    return {token: i for i, token in enumerate(entries)}, []


def tokenizer(folder: Path, name: str = "tokenizer", pad: str = "<|endoftext|>"):
    """vocab.json, merges.txt and the two configurations, as on the hub."""
    vocabulary, _ = words()
    write_json(folder / name / "vocab.json", vocabulary)
    (folder / name / "merges.txt").write_text("#version: 0.2\n", encoding="utf-8")
    special = {"bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>", "unk_token": "<|endoftext|>", "pad_token": pad}
    write_json(folder / name / "special_tokens_map.json", special)
    write_json(folder / name / "tokenizer_config.json",
               {**special, "tokenizer_class": "CLIPTokenizer", "model_max_length": LENGTH, "do_lower_case": True})


def vision(folder: Path):
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    config = CLIPVisionConfig(hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
                              image_size=28, patch_size=7, projection_dim=12)
    module = seeded(lambda: CLIPVisionModelWithProjection(config), 4)
    module.save_pretrained(folder / "image_encoder")
    return module


def scheduler(folder: Path, **changes):
    write_json(folder / "scheduler" / "scheduler_config.json", {**SD15, **changes})


def sd(folder: Path, kind: str = "sd15") -> Path:
    """Stable Diffusion: sd15, sd2 (linear projections, v prediction on request: sd2-v) or sdxl."""
    if kind == "sdxl":
        unet(folder, cross_attention_dim=WIDTH + 20, use_linear_projection=True, addition_embed_type="text_time",
             addition_time_embed_dim=8, projection_class_embeddings_input_dim=24 + 6 * 8)
        vae(folder, 0.13025)
        text_encoder(folder, "text_encoder_2", projected=True, width=20, seed=5)
        tokenizer(folder, "tokenizer_2", pad="!")
        index = {"_class_name": "StableDiffusionXLPipeline", "force_zeros_for_empty_prompt": True}
        write_json(folder / "model_index.json", index)
    else:
        unet(folder, **({"use_linear_projection": True, "attention_head_dim": (2, 4)} if kind != "sd15" else {}))
        vae(folder, 0.18215 if kind != "sd15" else None)
        write_json(folder / "model_index.json", {"_class_name": "StableDiffusionPipeline"})
    text_encoder(folder, "text_encoder")
    tokenizer(folder, pad="<|endoftext|>" if kind == "sd15" else "!")
    scheduler(folder, **({"prediction_type": "v_prediction"} if kind == "sd2-v" else {}))
    return folder


def zero123(folder: Path, layout: str = "cc_projection", suffix: str = "safetensors") -> Path:
    """Zero-1-to-3 with its pose projection in one of the two published layouts."""
    from safetensors.torch import save_file

    unet(folder, in_channels=8)
    vae(folder)
    vision(folder)
    scheduler(folder)
    g = torch.Generator().manual_seed(6)
    name = {"cc_projection": "projection", "clip_camera_projection": "proj"}[layout]
    state = {f"{name}.weight": torch.randn(WIDTH, 16, generator=g), f"{name}.bias": torch.randn(WIDTH, generator=g)}
    write_json(folder / layout / "config.json", {"_class_name": "CCProjection", "in_channel": 16, "out_channel": WIDTH})
    path = folder / layout / f"diffusion_pytorch_model.{suffix}"
    save_file(state, str(path)) if suffix == "safetensors" else torch.save(state, path)
    picture = {"image_mean": [0.4, 0.5, 0.6], "image_std": [0.2, 0.3, 0.4]}
    write_json(folder / "feature_extractor" / "preprocessor_config.json", picture)
    return folder


def clip_open(folder: Path):
    """CLIP in open_clip's layout; returns the model that was written."""
    from open_clip import CLIP
    from safetensors.torch import save_file

    config = {"embed_dim": 16, "quick_gelu": True,
              "vision_cfg": {"image_size": 28, "layers": 2, "width": 16, "head_width": 8, "patch_size": 7},
              "text_cfg": {"context_length": 20, "vocab_size": 49408, "width": 8, "heads": 2, "layers": 2}}
    model = seeded(lambda: CLIP(**config), 7)
    write_json(folder / "open_clip_config.json",
               {"model_cfg": config, "preprocess_cfg": {"mean": [0.1, 0.2, 0.3], "std": [0.5, 0.6, 0.7]}})
    save_file({k: v.contiguous() for k, v in model.state_dict().items()}, str(folder / "open_clip_model.safetensors"))
    return model


def clip_transformers(folder: Path):
    """CLIP as transformers' CLIPModel with its tokenizer; returns the model that was written."""
    from transformers import CLIPConfig, CLIPModel

    size = len(words()[0])
    config = CLIPConfig(
        text_config={"vocab_size": size, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2,
                     "num_attention_heads": 2, "max_position_embeddings": LENGTH, "bos_token_id": size - 2,
                     "eos_token_id": size - 1},
        vision_config={"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
                       "image_size": 28, "patch_size": 7}, projection_dim=12)
    model = seeded(lambda: CLIPModel(config), 8)
    model.save_pretrained(folder)
    tokenizer(folder.parent, folder.name)
    write_json(folder / "preprocessor_config.json", {"image_mean": [0.1, 0.2, 0.3], "image_std": [0.5, 0.6, 0.7]})
    return model


def depth(folder: Path, kind: str = "dpt", **changes):
    """A depth estimator in transformers' layout: dpt or depth_anything; returns the model that was written."""
    import transformers as tf

    if kind == "dpt":
        config = tf.DPTConfig(hidden_size=16, num_hidden_layers=4, num_attention_heads=2, intermediate_size=32, image_size=32,
                              patch_size=8, backbone_out_indices=[0, 1, 2, 3], neck_hidden_sizes=[8, 8, 8, 8],
                              fusion_hidden_size=8, is_hybrid=False, **changes)
        build, picture = tf.DPTForDepthEstimation, {"size": {"height": 32, "width": 32}, "ensure_multiple_of": 8}
    else:
        backbone = tf.Dinov2Config(hidden_size=16, num_hidden_layers=4, num_attention_heads=2, image_size=28, patch_size=7,
                                   out_indices=[1, 2, 3, 4], apply_layernorm=True, reshape_hidden_states=False)
        config = tf.DepthAnythingConfig(backbone_config=backbone, patch_size=7, reassemble_hidden_size=16,
                                        neck_hidden_sizes=[8, 8, 8, 8], fusion_hidden_size=8, head_hidden_size=8, **changes)
        build, picture = tf.DepthAnythingForDepthEstimation, {"size": {"height": 28, "width": 28}, "ensure_multiple_of": 7,
                                                             "keep_aspect_ratio": True}
    model = seeded(lambda: build(config), 9)
    model.save_pretrained(folder)
    write_json(folder / "preprocessor_config.json", {**picture, "image_mean": [0.5] * 3, "image_std": [0.5] * 3})
    return model


os.environ.setdefault("HF_HUB_OFFLINE", "1")  # a test that reaches for the hub fails instead of waiting
