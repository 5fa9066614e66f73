"""A record beside every result: what was run, with what, on what, and how long it took.

Holds names and hashes but no paths, so that it can be shared.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
from collections.abc import Sequence
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any, overload

from .glb import save_bytes

LIBRARIES = ("torch", "numpy", "warp-lang", "diffusers", "transformers", "open_clip_torch", "safetensors", "xatlas",
             "fast-simplification")


def run_manifest(
    method: str,
    settings: dict,
    seed: int,
    timings: dict | None = None,
    weights: Sequence[str | os.PathLike | tuple[str, str | os.PathLike]] = (),
    inputs: dict | None = None,
    results: dict | None = None,
    graph: dict | None = None,
    batch: dict | None = None,
    comfyui: str = "",
) -> dict:
    """A JSON-able dict.

    settings: the preset as run.  timings: seconds by stage.  weights: files or (name, file),
    recorded by name, size and SHA-256.
    inputs:  name -> bytes, a path, or any JSON value (bytes and files are hashed).
    results: measured figures; ``metrics`` among them as ``stages.evaluate`` gives them.
    batch:   which element of a list this run was, and the key by which it is known to be done (``io.runs``).
    graph:   the workflow in API format, when there is one.
    comfyui: version of the ComfyUI that ran it, if any did.
    """
    return {
        "manifest": 1,
        "method": method,
        "seed": int(seed),
        "settings": settings,
        "timings_seconds": {k: round(float(v), 3) for k, v in (timings or {}).items()},
        "weights": [describe_file(Path(p[1]), p[0]) if isinstance(p, tuple) else describe_file(Path(p)) for p in weights],
        "inputs": {name: _describe(value) for name, value in (inputs or {}).items()},
        "results": results or {},
        "graph": graph or {},
        "batch": batch or {},
        "environment": environment(comfyui),
    }


def write_manifest(path: str | os.PathLike, manifest: dict) -> None:
    """JSON with sorted keys; NaN and infinity become null.  InputError where the folder cannot be written."""
    text = json.dumps(plain(manifest), indent=2, sort_keys=True, allow_nan=False) + "\n"
    save_bytes(path, text.encode())


def repeatable(manifest: dict) -> dict:
    """The manifest without what differs between two runs of the same: what a GLB carries, so that its bytes repeat."""
    return {name: value for name, value in manifest.items() if name != "timings_seconds"}


def environment(comfyui: str = "") -> dict:
    """Versions (of this pack, ComfyUI, Python and libraries) and hardware, without host or user names."""
    import torch

    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    return {
        "lift123": pack_version(),
        "comfyui": comfyui or None,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cpu_count": os.cpu_count(),
        "device": device,
        "libraries": {name: version for name in LIBRARIES if (version := _version(name))},
    }


@lru_cache
def pack_version() -> str:
    """Of this pack."""
    text = (Path(__file__).resolve().parents[2] / "pyproject.toml").read_text(encoding="utf-8")
    found = re.search(r'^version = "(.+)"', text, re.MULTILINE)
    return found.group(1) if found else "unknown"


def describe_picture(pixels) -> dict:
    """Width and height, and SHA-256 of the pixels in 8 bits, of a picture [H, W, C] in [0, 1] (or of one in a batch)."""
    levels = (pixels.detach().float().cpu().clamp(0, 1) * 255).round().byte().contiguous()
    height, width = pixels.shape[-3:-1]
    return {"width": width, "height": height, "sha256": hashlib.sha256(levels.numpy().tobytes()).hexdigest()}


def describe_file(path: Path, name: str = "") -> dict:
    """Name (by default the file's own), size in bytes and SHA-256 of a file."""
    stat = path.stat()
    return {"name": name or path.name, "bytes": stat.st_size, "sha256": _file_hash(str(path), stat.st_size, stat.st_mtime_ns)}


@lru_cache(maxsize=64)
def _file_hash(path: str, size: int, changed: int) -> str:
    """Cached by size and time of change, because a graph asks for the same weights on every run."""
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _describe(value):
    if isinstance(value, os.PathLike):
        return describe_file(Path(value))
    if isinstance(value, bytes):
        return {"bytes": len(value), "sha256": hashlib.sha256(value).hexdigest()}
    return value


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


@overload
def plain(value: dict) -> dict:
    """An object stays an object."""


@overload
def plain(value: object) -> Any:
    """Of all else."""


def plain(value):
    """JSON types only: tensors and numpy scalars become numbers, unknown objects their text."""
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if isinstance(value, str | bool | int) or value is None:
        return value
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, float):
        return value if value == value and abs(value) != float("inf") else None
    return str(value)
