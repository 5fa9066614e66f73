"""Reads StdGEN's and Era3D's multi-view networks from their published folders, strictly (S-B.1, S-B.7)."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from ..core.errors import InputError
from ..core.modules import AnyModule
from ..io.archives import check_archive
from ..networks.stdgen.codec import VaeCodec
from ..networks.stdgen.conditions import prompts
from ..networks.stdgen.multiview import REMEDY, SIZE, STOCK_SIZE, VIEWS, MultiView, build_multiview
from ..networks.stdgen.schedule import LEADING
from ..networks.stdgen.vision import SquashedVision
from .folders import first_line, load_component, read_state
from .public import half_unless_cpu, text_towers
from .stdgen_files import HEADED, HEADLESS, fill, on_meta, read_schedule_file, read_unet

PROMPT_FILES = ("normal_embeds.pt", "clr_embeds.pt")  # in DOMAINS' order


def load_multiview_folder(folder: Path, device: torch.device | str = "cpu", dtype: torch.dtype | None = None,
                          stock: bool = False) -> MultiView:
    """StdGEN-multiview-1024, or, with ``stock``, MacLab-Era3D-512-6view in either release (S-B.1, S-B.7).

    UNet and picture tower in half precision except on a CPU.  InputError for an incomplete folder or another network.
    """
    from diffusers import AutoencoderKL
    from transformers import CLIPVisionModelWithProjection

    folder, dtype = Path(folder), dtype or half_unless_cpu(device)
    unet = load_unet(folder, dtype, stock)
    vision = load_component(CLIPVisionModelWithProjection, folder, "image_encoder", device, dtype)
    vae = load_component(AutoencoderKL, folder, "vae", device, torch.float32)
    return MultiView(
        unet.to(device), VaeCodec(vae), SquashedVision(vision, corners=not stock, antialias=stock),
        read_prompts(folder, device, dtype), read_schedule_file(folder, "scheduler", LEADING),
        STOCK_SIZE if stock else SIZE, stock, read_normalizer(folder, device))


def load_unet(folder: Path, dtype: torch.dtype, stock: bool = False) -> AnyModule:
    """The UNet of a folder, on the CPU.  StdGEN's must have pose heads: they change what it answers."""
    config, state = read_unet(folder, "unet", (HEADED, HEADLESS) if stock else (HEADED,), REMEDY)
    headed = any(k.startswith("elevation_regressor.") for k in state)
    if bool(config.get("regress_elevation")) != headed:
        raise InputError("checkpoint", f"regress_elevation = {headed}, as its weights, in {folder / 'unet'}",
                         repr(config.get("regress_elevation")), "Download config.json and the weights from one place.")
    return fill(on_meta(lambda: build_multiview(config)), state, folder / "unet", dtype=dtype)


def read_prompts(folder: Path, device, dtype: torch.dtype) -> Tensor:
    """[2, 6, L, D] float32: the published files where they lie in the folder, else made with its text encoder."""
    files = [Path(folder) / name for name in PROMPT_FILES]
    if all(f.is_file() for f in files):
        return torch.stack([_prompt_file(f) for f in files]).to(device)
    return make_prompts(folder, device, dtype)


def make_prompts(folder: Path, device, dtype: torch.dtype) -> Tensor:
    """[2, 6, L, D] float32: the fixed prompts in the folder's text encoder, which is not kept."""
    tower = text_towers(Path(folder), False, device, dtype)
    with torch.no_grad():
        return torch.stack([tower.text_tokens(texts) for texts in prompts()])


def _prompt_file(path: Path) -> Tensor:
    check_archive(path)
    try:
        tensor = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as problem:
        raise InputError("checkpoint", f"a tensor in {path}", first_line(problem), "Download the file again.") from problem
    if not isinstance(tensor, Tensor) or tensor.ndim != 3 or len(tensor) != VIEWS:
        got = str(list(tensor.shape)) if isinstance(tensor, Tensor) else type(tensor).__name__
        raise InputError("checkpoint", f"prompt embeddings [{VIEWS}, length, width] in {path}", got,
                         "Use the file for six views, or remove it: the text encoder makes the same.")
    return tensor.float()


def read_normalizer(folder: Path, device) -> tuple[Tensor, Tensor] | None:
    """Mean and standard deviation of the embeddings [1, E], where the folder has them."""
    place = Path(folder) / "image_normalizer"
    if not place.is_dir():
        return None
    state = read_state(place)
    if not {"mean", "std"} <= state.keys():
        raise InputError("checkpoint", f"mean and std in {place}", ", ".join(sorted(state)[:4]), "Download the folder again.")
    return state["mean"].float().to(device), state["std"].float().to(device)
