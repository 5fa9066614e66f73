"""Folders of StdGEN's networks: the published ones, and those that ``launch.py train-characters`` wrote.

A folder of one's own holds stdgen_canonical.safetensors, stdgen_multiview.safetensors, stdgen_slrm.safetensors and
characters.json, whose "size" is the height and width of the pictures that they were trained on.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import torch

from ..core.errors import InputError
from ..networks.stdgen.canonical import Canonicalizer
from ..networks.stdgen.multiview import MultiView
from ..networks.stdgen.slrm import Slrm
from ..networks.stdgen.slrm_config import RELEASED, SMALL_SLRM
from . import embedded_characters as small
from .embedded_slrm import SLRM_FILE
from .slrm_files import load_slrm, read_checkpoint

ABOUT = "characters.json"


def load_canonical(folder: Path, device: torch.device | str = "cpu") -> Canonicalizer:
    """One's own canonicalizer, or the published folder's; InputError for files that are none."""
    if (Path(folder) / small.CANONICAL_FILE).is_file():
        return small.load_small_canonical(device, Path(folder), size_of(folder))
    from .canonical_folder import load_canonical_folder

    return load_canonical_folder(folder, device)


def load_multiview(folder: Path, device: torch.device | str = "cpu", stock: bool = False) -> MultiView:
    """One's own multi-view network, or the published folder's (``stock``: Era3D's); InputError for files that are none."""
    if (Path(folder) / small.MULTIVIEW_FILE).is_file():
        return replace(small.load_small_multiview(device, Path(folder)), size=size_of(folder))
    from .multiview_folder import load_multiview_folder

    return load_multiview_folder(folder, device, stock=stock)


def load_slrm_folder(folder: Path, device: torch.device | str = "cpu") -> Slrm:
    """One's own S-LRM: of the embedded one's sizes, or of the released one's where training began with its file."""
    path = Path(folder) / SLRM_FILE
    tokens = read_checkpoint(path).get("transformer.pos_embed")
    released = tokens is not None and tokens.shape[-1] == RELEASED.width
    return load_slrm(path, device=device, config=RELEASED if released else SMALL_SLRM).network


def size_of(folder: Path) -> tuple[int, int]:
    """Height and width that a folder's networks were trained at; the embedded ones' where it does not say."""
    path = Path(folder) / ABOUT
    if not path.is_file():
        return small.SMALL_SIZE
    try:
        height, width = json.loads(path.read_text(encoding="utf-8"))["size"]
        if not (16 <= int(height) <= 4096 and 2 <= int(width) <= 4096):
            raise ValueError(f"{height} x {width}")
        return int(height), int(width)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(ABOUT, "the record that launch.py train-characters writes", str(error)[:80],
                         "Copy it again from the training's folder of weights.") from None
