"""Texture coordinates: xatlas charts where the library is there, a plain grid of triangles otherwise."""

from __future__ import annotations

import logging
import math
from dataclasses import replace
from typing import Literal, get_args

import numpy as np
import torch

from ..core.errors import InputError
from ..core.mesh import Mesh
from .decimate import decimate

log = logging.getLogger(__name__)
Method = Literal["auto", "xatlas", "grid"]


def unwrap(
    mesh: Mesh, face_budget: int | None = 20_000, size: int = 1024, gutter: int = 4, method: Method = "auto"
) -> Mesh:
    """``mesh`` decimated to ``face_budget`` faces (None: as it is) with per-corner UVs that do not overlap.

    size:   side of the texture the UVs are meant for, pixels; gutter: pixels kept free between charts.
    method: "xatlas", "grid", or "auto" (xatlas when installed).  Deterministic.  Raises InputError for a mesh without
            faces, and ImportError when "xatlas" is asked for and missing.
    """
    if face_budget is not None:
        mesh = decimate(mesh, face_budget)
    if not len(mesh.faces):
        raise InputError("mesh", "at least one face", "an empty mesh", "Check the stage that made the mesh.")
    if method not in get_args(Method):
        raise ValueError(f'method must be "auto", "xatlas" or "grid", got {method!r}')
    if method == "auto":
        try:
            return _xatlas(mesh, size, gutter)
        except ImportError:
            log.warning("xatlas is not installed: using one chart per triangle pair")
            return _grid(mesh, size, gutter)
    return (_xatlas if method == "xatlas" else _grid)(mesh, size, gutter)


def _xatlas(mesh: Mesh, size: int, gutter: int) -> Mesh:
    import xatlas

    positions = np.ascontiguousarray(mesh.vertices.detach().cpu().float().numpy())
    faces = np.ascontiguousarray(mesh.faces.cpu().numpy().astype(np.uint32))
    atlas = xatlas.Atlas()
    atlas.add_mesh(positions, faces)
    charts, packing = xatlas.ChartOptions(), xatlas.PackOptions()
    charts.max_iterations = 2
    packing.resolution, packing.padding, packing.bilinear = size, gutter, True
    atlas.generate(charts, packing)
    source, corners, uvs = atlas[0]
    if not np.array_equal(source[corners], faces):
        raise RuntimeError("xatlas reordered the faces")
    device = mesh.vertices.device
    uvs = torch.from_numpy(np.ascontiguousarray(uvs, dtype=np.float32)).clamp(0, 1).to(device)
    return replace(mesh, uvs=uvs, face_uvs=torch.from_numpy(corners.astype(np.int64)).to(device), texture=None)


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
