"""Depth estimators of transformers (DPT / MiDaS, Depth Anything, ZoeDepth ...) from local folders."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

import torch

from ..core.choices import DepthConvention
from ..core.errors import InputError
from ..networks.depth import CONVENTIONS, PublicDepth
from .folders import load_component, optional_json, read_json

METRIC = {"zoedepth", "depth_pro", "prompt_depth_anything"}  # model types whose output is a distance
FIRST_RESIDUAL = re.compile(r"fusion_stage\.layers\.0\.residual_layer1\.")  # never evaluated: nothing arrives there
ANY = re.compile("")


def transformers_depth(folder: Path, device, convention: DepthConvention | Literal["auto"], dtype: torch.dtype,
                       pictures: Path | None = None) -> PublicDepth:
    """See ``public.load_depth_folder``.  Excess keys (heads of other tasks) are tolerated; missing ones are not.

    pictures: where the preprocessor's configuration lies; None = beside the network's.
    """
    from transformers import AutoModelForDepthEstimation

    config = read_json(folder / "config.json")
    if convention not in ("auto", *CONVENTIONS):
        raise InputError("convention", "auto, inverse or distance", repr(convention), "Choose one of them.")
    if not any("Depth" in name for name in config.get("architectures") or ["DepthEstimation"]):
        raise InputError("checkpoint", "a depth estimator", ", ".join(config["architectures"]),
                         "Choose a checkpoint for depth, for example dpt-large or depth-anything-small.")
    net = load_component(AutoModelForDepthEstimation, folder, "", device, dtype, unused=ANY, absent=FIRST_RESIDUAL)
    picture = optional_json((pictures or folder) / "preprocessor_config.json")
    size = picture.get("size", 384)
    side = size if isinstance(size, int) else size.get("height", size.get("shortest_edge", 384))
    return PublicDepth(
        net, side, int(picture.get("ensure_multiple_of") or 1), bool(picture.get("keep_aspect_ratio", False)),
        tuple(picture.get("image_mean", (0.5,) * 3)), tuple(picture.get("image_std", (0.5,) * 3)),
        reading(config) if convention == "auto" else convention,
    )


def reading(config: dict) -> DepthConvention:
    """"distance" for metric networks, else "inverse" (every relative estimator of the MiDaS line)."""
    metric = config.get("depth_estimation_type") == "metric" or config.get("model_type") in METRIC
    return "distance" if metric else "inverse"
