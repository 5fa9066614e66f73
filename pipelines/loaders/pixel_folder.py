"""DeepFloyd IF's first stage from a local folder in diffusers' layout; nothing here opens a connection."""

from __future__ import annotations

from pathlib import Path

import torch

from ..core.errors import InputError
from ..networks.pixels import PieceTokens, PixelRuntime, T5Tower
from ..networks.text import TextDenoiser
from .folders import config_of, load_component, read_schedule

PIECES = "spiece.model"


def is_pixel_folder(folder: Path) -> bool:
    """Whether the folder's UNet works on pixels and is told words by a projection of its own, as DeepFloyd IF's."""
    config = config_of(folder, "unet")
    return config.get("encoder_hid_dim") is not None and not (folder / "vae").is_dir()


def check_pixel_folder(folder: Path) -> None:
    """InputError for a folder of IF's later stages, or whose parts do not belong together.  Reads no weights."""
    unet, text = config_of(folder, "unet"), config_of(folder, "text_encoder")
    got, wanted = (unet.get("in_channels"), unet.get("out_channels")), ((3, 3), (3, 6))
    if got not in wanted or unet.get("class_embed_type") is not None:
        raise InputError("checkpoint", "IF's first stage (3 channels in, 6 out)", f"{got[0]} in, {got[1]} out",
                         "Later stages enlarge pictures; choose IF-I-XL-v1.0, IF-I-L-v1.0 or IF-I-M-v1.0.")
    if text.get("model_type") != "t5" or text.get("d_model") != unet["encoder_hid_dim"]:
        raise InputError("checkpoint", f"a T5 text encoder of width {unet['encoder_hid_dim']}, as its UNet wants",
                         f"{text.get('model_type')} of width {text.get('d_model')} in {folder}",
                         "Its parts belong to different families; download all of them from one place.")
    if not (folder / "tokenizer" / PIECES).is_file():
        raise InputError("checkpoint", f"the file tokenizer/{PIECES} in {folder}", "none", "Download it, too.")


def load_pixel_folder(folder: Path, device: torch.device | str = "cpu", dtype: torch.dtype | None = None) -> TextDenoiser:
    """IF-I-XL, -L or -M: UNet, T5 encoder, tokenizer and cosine schedule.

    Except on a CPU the UNet is in float16 and T5 in bfloat16, whose range it needs.
    """
    from diffusers import UNet2DConditionModel
    from transformers import T5EncoderModel

    folder, cpu = Path(folder), torch.device(device).type == "cpu"
    check_pixel_folder(folder)
    words = dtype or (torch.float32 if cpu else torch.bfloat16)
    alphas, prediction = read_schedule(folder)
    unet = load_component(UNet2DConditionModel, folder, "unet", device, dtype or (torch.float32 if cpu else torch.float16))
    runtime = PixelRuntime(unet, None, alphas.to(device), prediction, unet.config.sample_size)
    tower = load_component(T5EncoderModel, folder, "text_encoder", device, words)
    return TextDenoiser(runtime, T5Tower(tower, PieceTokens(str(folder / "tokenizer" / PIECES))))
