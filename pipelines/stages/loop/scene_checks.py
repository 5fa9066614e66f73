"""Whether what a scene file holds can be a scene: kinds and ranges, before a stage builds anything from them."""

from __future__ import annotations

import math

from torch import Tensor

from ...fields.hash_nerf import HashNerfConfig
from ...render.volume import VolumeSettings

MOST_STEPS, MOST_SEED = 10**9, 2**64
MOST_LEVELS, MOST_HIDDEN, MOST_LAYERS, MOST_TETS, FINEST = 64, 4096, 32, 1024, 1 << 20
_TEXTS = ("prompt", "negative")


def check_meta(meta, tensors: dict[str, Tensor]) -> None:
    """ValueError for a meta that no stage writes.  Entries that are not there are not missed here."""
    if not isinstance(meta, dict):
        raise ValueError(f"its meta is a {type(meta).__name__}, no object")
    for name, most in (("step", MOST_STEPS), ("total", MOST_STEPS), ("nerf_total", MOST_STEPS), ("seed", MOST_SEED)):
        _whole(meta, name, most, needed=name != "nerf_total")
    _whole(meta, "tets", MOST_TETS, least=1)
    for name in ("config", "field", "volume", "reference", "boundary", "imported", "prior", "curves"):
        if meta.get(name) is not None and not isinstance(meta[name], dict):
            raise ValueError(f"its {name} is a {type(meta[name]).__name__}, no object")
    if not isinstance(meta.get("stages", []), list):
        raise ValueError("its stages are no list")
    if meta.get("field") is not None:
        _check_field(meta["field"])
    if meta.get("volume") is not None:
        _check_volume(meta["volume"])
    if meta.get("reference") is not None:
        _check_reference(meta["reference"], tensors)


def _whole(meta: dict, name: str, most: int, least: int = 0, needed: bool = False) -> None:
    value = meta.get(name)
    if value is None and not needed:
        return
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise ValueError(f"its {name} is {str(value)[:40]!r}, no whole number from {least} to {most}")


def _check_field(data: dict) -> None:
    for name, most in (("hidden", MOST_HIDDEN), ("layers", MOST_LAYERS)):
        _whole(data, name, most, least=1)
    grid = data.get("grid")
    if not isinstance(grid, dict):
        raise ValueError("its field has no grid")
    for name, most in (("levels", MOST_LEVELS), ("log2_table", 24), ("base", FINEST), ("finest", FINEST)):
        _whole(grid, name, most, least=1)
    HashNerfConfig.from_json(data)


def _check_volume(data: dict) -> None:
    settings = VolumeSettings(**data)
    numbers = (settings.step, settings.near, settings.stop, settings.normal_min_weight)
    if any(isinstance(n, bool) or not isinstance(n, int | float) or not math.isfinite(n) or n < 0 for n in numbers):
        raise ValueError("its volume settings are no numbers of 0 or more")
    _whole(data, "max_samples", 100_000, least=1)
    if settings.step <= 0:
        raise ValueError("its volume settings have no step")


def _check_reference(meta: dict, tensors: dict[str, Tensor]) -> None:
    _whole(meta, "size", 1 << 14, least=1, needed=True)
    if not all(isinstance(meta.get(name), str) for name in _TEXTS) or not isinstance(meta.get("depth_is_metric"), bool):
        raise ValueError("its reference has no prompt, or not of text")
    absent = [name for name in ("c2w", "fovy", "rgb", "alpha") if f"reference/{name}" not in tensors]
    if absent:
        raise ValueError(f"its reference has no {absent[0]}")
