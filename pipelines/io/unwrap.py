"""Texture coordinates: xatlas charts where the library is there, quick ones of our own for large meshes, or a plain grid."""

from __future__ import annotations

import logging
import math
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import torch

from ..core.errors import InputError
from ..core.mesh import Mesh
from ..core.pulse import POLL, beat
from .decimate import Decimation, decimate
from .unwrap_boxes import unwrap_boxes
from .unwrap_child import charts

log = logging.getLogger(__name__)
Method = Literal["auto", "xatlas", "boxes", "grid"]
ATLAS_FACES = 50_000  # xatlas, in pieces, takes about 7 s of one core for as many; our own charts, with more seams, 1 s
HERE_FACES = 1_500  # as many are done within two seconds, in this process
PATIENCE = 600.0  # seconds for xatlas, whatever the mesh
CHILD = Path(__file__).resolve().parent / "unwrap_child.py"


def unwrap(
    mesh: Mesh, face_budget: int | None = 20_000, size: int = 1024, gutter: int = 4, method: Method = "auto",
    decimation: Decimation = "fast",
) -> Mesh:
    """``mesh`` decimated to ``face_budget`` faces (None: as it is) with per-corner UVs that do not overlap.

    size:   side of the texture the UVs are meant for, pixels; gutter: pixels kept free between charts.
    method: "xatlas", "boxes" (see ``unwrap_boxes``), "grid" (a triangle pair per square), or "auto": xatlas when it is
            installed and there are at most ATLAS_FACES faces, else boxes; a grid where nothing else has room.
    Deterministic.  Raises InputError for a mesh without faces, and ImportError when "xatlas" is asked for and missing.
    """
    if face_budget is not None:
        mesh = decimate(mesh, face_budget, decimation)
    if not len(mesh.faces):
        raise InputError("mesh", "at least one face", "an empty mesh", "Check the stage that made the mesh.")
    if method not in get_args(Method):
        raise ValueError(f"method must be one of {', '.join(get_args(Method))}, got {method!r}")
    if method == "auto":
        method = "boxes" if is_large(mesh) or find_spec("xatlas") is None else "xatlas"
    if method == "xatlas":
        found = _xatlas(mesh, size, gutter)
        if found is not None:
            return found
    if method != "grid":
        found = unwrap_boxes(mesh, size, gutter)
        if found is not None:
            return found
        log.warning("the texture has no room for the mesh's charts: using one square per triangle pair")
    return _grid(mesh, size, gutter)


def is_large(mesh: Mesh) -> bool:
    """Whether a mesh has more faces than xatlas is given."""
    return len(mesh.faces) > ATLAS_FACES


def _xatlas(mesh: Mesh, size: int, gutter: int) -> Mesh | None:
    """The mesh with xatlas's charts; None where the library failed or took too long."""
    positions = np.ascontiguousarray(mesh.vertices.detach().cpu().float().numpy())
    faces = np.ascontiguousarray(mesh.faces.cpu().numpy().astype(np.uint32))
    if len(faces) <= HERE_FACES:
        found = charts(positions, faces, size, gutter)
    else:
        found = _in_child(positions, faces, size, gutter)
    if found is None:
        return None
    source, corners, uvs = found
    if not np.array_equal(source[corners], faces):
        raise RuntimeError("xatlas reordered the faces")
    device = mesh.vertices.device
    uvs = torch.from_numpy(np.ascontiguousarray(uvs, dtype=np.float32)).clamp(0, 1).to(device)
    return replace(mesh, uvs=uvs, face_uvs=torch.from_numpy(corners.astype(np.int64)).to(device), texture=None)


def _in_child(positions: np.ndarray, faces: np.ndarray, size: int, gutter: int):
    """``charts`` in a process of its own, which ends with this call however it ends; None where that failed."""
    if not sys.executable:
        return None  # an interpreter inside another program cannot start a second one
    with tempfile.TemporaryDirectory(prefix="lift123-", ignore_cleanup_errors=True) as folder:
        np.savez(os.path.join(folder, "in.npz"), positions=positions, faces=faces,
                 settings=np.array([size, gutter], dtype=np.int64), path=np.array([str(p) for p in sys.path]))
        hidden = {"creationflags": subprocess.CREATE_NO_WINDOW} if sys.platform == "win32" else {}
        with open(os.path.join(folder, "errors.txt"), "w+b") as errors:
            child = subprocess.Popen([sys.executable, str(CHILD), folder], stdin=subprocess.DEVNULL, stdout=errors,
                                     stderr=errors, **hidden)
            try:
                _wait(child, f"unwrapping {len(faces)} faces")
            finally:
                child.kill()
                child.wait()
            errors.seek(0)
            said = errors.read().decode(errors="replace").strip()
        try:
            with np.load(os.path.join(folder, "out.npz"), allow_pickle=False) as made:
                return made["source"], made["corners"], made["uvs"]
        except (OSError, ValueError, KeyError):
            log.warning("xatlas did not finish (%s): using charts by direction", said.splitlines()[-1] if said else "too slow")
            return None


def _wait(child: subprocess.Popen, what: str) -> None:
    """Until the process ends or patience does, with beats."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        beat(what)
        try:
            child.wait(POLL)
            return
        except subprocess.TimeoutExpired:
            continue


def _grid(mesh: Mesh, size: int, gutter: int) -> Mesh:
    """Two triangles per square cell, each a right triangle in its own half."""
    count = len(mesh.faces)
    side = math.ceil(math.sqrt((count + 1) // 2))
    cell = size / side
    free = min(gutter / 2, cell / 8)  # pixels to the cell's border; the diagonal gets twice as much
    low, high, short = free, cell - free, cell - 4 * free
    first = torch.tensor([[low, low], [short, low], [low, short]])
    second = torch.tensor([[high, high], [cell - short, high], [high, cell - short]])
    index = torch.arange(count)
    place = torch.div(index, 2, rounding_mode="floor")
    corner = torch.stack([place % side, torch.div(place, side, rounding_mode="floor")], dim=-1) * cell
    shape = torch.where((index % 2 == 0)[:, None, None], first[None], second[None])
    uvs = ((corner[:, None] + shape) / size).reshape(-1, 2).to(mesh.vertices)
    face_uvs = torch.arange(3 * count, device=mesh.faces.device).reshape(-1, 3)
    return replace(mesh, uvs=uvs, face_uvs=face_uvs, texture=None)
