"""Public networks from local folders in their published layouts; nothing here opens a connection.

``load_view_folder``   Zero-1-to-3 and Stable Zero123 (diffusers layout, ``cc_projection`` or ``clip_camera_projection``)
``load_text_folder``   Stable Diffusion 1.x, 2.x and SDXL, DeepFloyd IF's first stage (diffusers layout)
``load_clip_folder``   CLIP (open_clip's layout, or transformers' CLIPModel)
``load_depth_folder``  DPT / MiDaS, Depth Anything and others (transformers)

All networks come back frozen and in eval mode.  UNets and towers are in half precision except on a CPU; autoencoders
stay in float32, because gradients flow through them.  Nothing has to fit by luck: see ``folders.py``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import torch

from ..core.choices import DepthConvention, Pose
from ..core.errors import InputError
from ..networks.clip import ClipScorer
from ..networks.depth import PublicDepth
from ..networks.latent import LatentRuntime, prepared
from ..networks.text import TextDenoiser
from ..networks.towers import OPENAI_MEAN, OPENAI_STD, TextTower, TwoTextTowers, VisionTower
from ..networks.view import POSES, ViewConditioner, ViewDenoiser
from .folders import config_of, load_component, optional_json, read_json, read_schedule, read_state
from .pixel_folder import check_pixel_folder, is_pixel_folder, load_pixel_folder

PROJECTIONS = {"cc_projection": "projection", "clip_camera_projection": "proj"}  # folder -> name of its layer
CLIP_LAYER = "cc_projection"


def half_unless_cpu(device) -> torch.dtype:
    """float32 on a CPU, float16 elsewhere."""
    return torch.float32 if torch.device(device).type == "cpu" else torch.float16


def load_view_folder(folder: Path, device: torch.device | str = "cpu", pose: Pose = "zero123",
                     dtype: torch.dtype | None = None) -> ViewDenoiser:
    """A Zero-1-to-3 network.  pose: one of ``view.POSES``; Stable Zero123 needs "stable".  InputError if it is not one."""
    from transformers import CLIPVisionModelWithProjection

    folder, dtype = Path(folder), dtype or half_unless_cpu(device)
    if pose not in POSES:
        raise InputError("pose", " or ".join(POSES), repr(pose), "Choose one of them.")
    check_folder(folder, "view")
    conditioner = _projection(folder).to(device)
    _check_width(config_of(folder, "unet")["cross_attention_dim"], conditioner.cc_projection.out_features,
                 "the pose projection", folder)
    vision = config_of(folder, "image_encoder")
    _check_width(conditioner.cc_projection.in_features - 4, vision.get("projection_dim", 512), "the picture encoder", folder)
    tower = load_component(CLIPVisionModelWithProjection, folder, "image_encoder", device, dtype)
    extractor = optional_json(folder / "feature_extractor" / "preprocessor_config.json")
    clip = VisionTower(tower, tuple(extractor.get("image_mean", OPENAI_MEAN)), tuple(extractor.get("image_std", OPENAI_STD)))
    return ViewDenoiser(latent_runtime(folder, device, dtype), conditioner, clip, pose=pose)


def load_text_folder(folder: Path, device: torch.device | str = "cpu", dtype: torch.dtype | None = None) -> TextDenoiser:
    """A Stable Diffusion 1.x, 2.x or SDXL network, or DeepFloyd IF's first stage.

    InputError for inpainting, depth, video, refiner ... networks.
    """
    if is_pixel_folder(Path(folder)):
        return load_pixel_folder(folder, device, dtype)
    folder, dtype = Path(folder), dtype or half_unless_cpu(device)
    check_folder(folder, "text")
    two = config_of(folder, "unet").get("addition_embed_type") == "text_time"
    return TextDenoiser(latent_runtime(folder, device, dtype), text_towers(folder, two, device, dtype))


def check_folder(folder: Path, kind: str) -> None:
    """InputError for a folder whose configuration files say that it is no network of this kind.  Reads no weights."""
    if kind == "view":
        unet = _check_unet(folder, 8, "a Zero-1-to-3 network")
        _projection_folder(folder)
        config_of(folder, "image_encoder")
    elif kind == "text" and is_pixel_folder(folder):
        return check_pixel_folder(folder)
    elif kind in ("text", "depth_text"):
        channels, wanted = (4, "a text-to-image network") if kind == "text" else (5, "a depth-conditioned text network")
        unet = _check_unet(folder, channels, wanted)
        two = unet.get("addition_embed_type") == "text_time"
        widths = [config_of(folder, n).get("hidden_size", 512) for n in ("text_encoder", "text_encoder_2")[: 1 + two]]
        _check_width(unet["cross_attention_dim"], sum(widths), "the text encoder" + "s" * two, folder)
    else:
        return
    _check_vae(folder, unet, config_of(folder, "vae"))


def text_towers(folder: Path, two: bool, device, dtype):
    """The text encoder of a checked folder, or SDXL's ``two``, with tokenizers."""
    from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

    def tower(kind, suffix: str) -> TextTower:
        place = folder / f"tokenizer{suffix}"
        if not place.is_dir():
            raise InputError("checkpoint", f"a folder tokenizer{suffix}/ in {folder}", "none", "Download it, too.")
        tokenizer = CLIPTokenizer.from_pretrained(str(place), local_files_only=True)
        return TextTower(load_component(kind, folder, f"text_encoder{suffix}", device, dtype), tokenizer)

    if not two:
        return tower(CLIPTextModel, "")
    zeros = optional_json(folder / "model_index.json").get("force_zeros_for_empty_prompt", True)
    return TwoTextTowers(tower(CLIPTextModel, ""), tower(CLIPTextModelWithProjection, "_2"), bool(zeros))


def _check_unet(folder: Path, channels: int, wanted: str) -> dict:
    """The UNet's configuration; InputError when it is not a picture UNet with that many input channels."""
    config = config_of(folder, "unet")
    name, got = config.get("_class_name", "UNet2DConditionModel"), config.get("in_channels", 4)
    kinds = {4: "a text-to-image network", 5: "a depth-conditioned network", 7: "an upscaler",
             8: "a picture-conditioned network (Zero-1-to-3 or InstructPix2Pix)", 9: "an inpainting network"}
    if name != "UNet2DConditionModel":
        raise InputError("checkpoint", wanted, f"a {name} (video or another family)", "Choose another checkpoint.")
    if got != channels:
        raise InputError("checkpoint", f"{wanted} ({channels} input channels)",
                         f"{kinds.get(got, 'another network')} ({got} input channels)",
                         "Choose another checkpoint, or the other loader if this one belongs there.")
    if config.get("addition_embed_type") not in (None, "text_time") or config.get("class_embed_type") is not None:
        raise InputError("checkpoint", wanted, "a UNet with further conditions", "Choose another checkpoint.")
    if config.get("projection_class_embeddings_input_dim") == 2560:
        raise InputError("checkpoint", wanted, "the SDXL refiner", "Choose the SDXL base network.")
    return config


def _check_width(wanted, got: int, what: str, folder: Path) -> None:
    if wanted != got:
        raise InputError("checkpoint", f"{what} of width {wanted}, as its UNet wants", f"width {got} in {folder}",
                         "Its parts belong to different families; download all of them from one place.")


def latent_runtime(folder: Path, device, dtype) -> LatentRuntime:
    """UNet, autoencoder and schedule of a folder that :func:`check_folder` has passed."""
    from diffusers import AutoencoderKL, UNet2DConditionModel

    unet, vae = config_of(folder, "unet"), config_of(folder, "vae")
    alphas, prediction = read_schedule(folder)
    shrink = 2 ** (len(vae["block_out_channels"]) - 1)
    return prepared(LatentRuntime(
        load_component(UNet2DConditionModel, folder, "unet", device, dtype),
        load_component(AutoencoderKL, folder, "vae", device, torch.float32),
        alphas.to(device), prediction, unet["sample_size"] * shrink,
    ), device, folder.name)


def _check_vae(folder: Path, unet: dict, vae: dict) -> None:
    """InputError for an autoencoder of another family: channels, or the published latent scales."""
    scale, channels = vae.get("scaling_factor", 0.18215), vae.get("latent_channels", 4)
    if channels != unet.get("out_channels", 4):
        raise InputError("checkpoint", f"an autoencoder with {unet.get('out_channels', 4)} latent channels",
                         f"{channels} in {folder}/vae", "Its parts belong to different families.")
    sdxl = unet.get("addition_embed_type") == "text_time"
    if abs(scale - (0.18215 if sdxl else 0.13025)) < 1e-4:
        raise InputError("checkpoint", f"an autoencoder of {'SDXL' if sdxl else 'Stable Diffusion 1.x or 2.x'}",
                         f"one with latent scale {scale:g} in {folder}/vae", "Its parts belong to different families.")


def _projection_folder(folder: Path) -> str:
    name = next((n for n in PROJECTIONS if (folder / n).is_dir()), None)
    if name is None:
        raise InputError("checkpoint", f"a folder {' or '.join(PROJECTIONS)} in {folder}", "none",
                         "Without the pose projection this is no Zero-1-to-3 network; download that folder, too.")
    return name


def _projection(folder: Path) -> ViewConditioner:
    """The pose projection from either published layout."""
    name = _projection_folder(folder)
    prefix = PROJECTIONS[name] + "."
    state = {k.replace(prefix, CLIP_LAYER + ".", 1) if k.startswith(prefix) else k: v.float()
             for k, v in read_state(folder / name).items()}
    wanted = {f"{CLIP_LAYER}.weight", f"{CLIP_LAYER}.bias"}
    if set(state) != wanted or state[f"{CLIP_LAYER}.weight"].ndim != 2:
        raise InputError("checkpoint", f"{prefix}weight and {prefix}bias in {folder / name}", ", ".join(sorted(state)[:4]),
                         "Download the folder again.")
    context, given = state[f"{CLIP_LAYER}.weight"].shape
    conditioner = ViewConditioner(given - 4, context)
    conditioner.load_state_dict(state, strict=True)
    return conditioner.eval().requires_grad_(False)


# ------------------------------------------------------------------------------------------ CLIP, depth


def load_clip_folder(folder: Path, device: torch.device | str = "cpu") -> ClipScorer:
    """CLIP in open_clip's layout (``open_clip_config.json``) or transformers' (``config.json`` of a CLIPModel)."""
    from .clip_folders import open_clip_model, transformers_clip

    folder = Path(folder)
    if (folder / "open_clip_config.json").is_file():
        return open_clip_model(folder, device)
    if read_json(folder / "config.json").get("model_type") == "clip":
        return transformers_clip(folder, device)
    raise InputError("checkpoint", "a CLIP with a picture and a text tower", f"another network in {folder}",
                     "Use a folder of open_clip or of transformers' CLIPModel.")


def load_clip_file(path: Path, device: torch.device | str = "cpu", architecture: str = "") -> ClipScorer:
    """CLIP weights in open_clip's naming from one file; architecture: open_clip's name of it, say "ViT-B-16-quickgelu"."""
    from .clip_folders import open_clip_file

    return open_clip_file(Path(path), device, architecture)


def load_depth_folder(folder: Path, device: torch.device | str = "cpu", convention: DepthConvention | Literal["auto"] = "auto",
                      dtype: torch.dtype | None = None) -> PublicDepth:
    """A depth estimator of transformers.  convention: "inverse", "distance", or "auto" (read from its configuration)."""
    from .depth_folders import transformers_depth

    return transformers_depth(Path(folder), device, convention, dtype or half_unless_cpu(device))
