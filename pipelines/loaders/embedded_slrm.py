"""The small S-LRM that ships with the pack: the same class, taught on toy characters (see ``pipelines/embedded``)."""

from __future__ import annotations

from pathlib import Path

import torch

from ..networks.stdgen.slrm import Slrm
from ..networks.stdgen.slrm_config import SMALL_SLRM
from .embedded import FOLDER, load_module

SLRM_FILE = "stdgen_slrm.safetensors"


def load_small_slrm(device: torch.device | str = "cpu", folder: Path = FOLDER) -> Slrm:
    """The embedded S-LRM, frozen, float32; InputError where its file is missing."""
    return load_module(Slrm(SMALL_SLRM), folder / SLRM_FILE, device)
