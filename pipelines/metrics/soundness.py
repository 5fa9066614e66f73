"""What is wrong with a mesh that no picture shows: faces through faces, and texels spread unevenly."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ..core.mesh import Mesh
from ..core.pulse import beat
from ..ops.box_pairs import box_pairs

_CHUNK = 1 << 19  # candidate pairs tested at once
_SIDE = 1e-9  # distance from a plane or an edge below which something lies on it, in units of the mesh's size
_PAIRS = [(0, 1), (1, 2), (2, 0)]


def self_intersections(mesh: Mesh) -> Tensor:
    """[P, 2] int64 pairs of faces that pass through each other.

    A pair counts when an edge of one face crosses the other from one side to the other.  Faces with a common corner
    (by position, so texture seams do not matter) and faces that only touch or lie in one plane do not count.
    """
    corners = mesh.vertices.detach().cpu().double().numpy()[mesh.faces.cpu().numpy()]
    if len(corners) < 2:
        return torch.zeros(0, 2, dtype=torch.int64)
    size = float(np.ptp(corners.reshape(-1, 3), axis=0).max())
    corners = (corners - corners.reshape(-1, 3).mean(0)) / max(size, 1e-300)
    _, label = np.unique(corners.reshape(-1, 3).astype(np.float32), axis=0, return_inverse=True)
    label = label.reshape(-1, 3)
    found = []
    candidates = box_pairs(corners.min(1), corners.max(1))
    for start in range(0, len(candidates), _CHUNK):
        beat("intersections", start, len(candidates))
        pairs = candidates[start : start + _CHUNK]
        apart = (label[pairs[:, 0], :, None] != label[pairs[:, 1], None, :]).all((1, 2))
        pairs = pairs[apart]
        a, b = corners[pairs[:, 0]], corners[pairs[:, 1]]
        found.append(pairs[_edge_through(a, b) | _edge_through(b, a)])
    pairs = np.concatenate(found) if found else np.zeros((0, 2), dtype=np.int64)
    return torch.from_numpy(np.ascontiguousarray(pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]))


def texel_density(mesh: Mesh) -> dict | None:
    """Texels per scene unit along a side: area-weighted median, and how unevenly they are spread; None without texture.

    ``spread`` is the 95 % over the 5 % quantile by area; 1 = even.  ``used`` is the share of the texture's area that
    faces map to (overlapping charts count twice).
    """
    if mesh.texture is None or mesh.uvs is None:
        return None
    height, width = mesh.texture.shape[:2]
    uv = mesh.uvs[mesh.face_uvs].double()
    first, second = uv[:, 1] - uv[:, 0], uv[:, 2] - uv[:, 0]
    texels = (first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0]).abs() / 2 * (height * width)
    area = mesh.face_normals().double().norm(dim=-1) / 2
    sound = area > 0
    if not bool(sound.any()):
        return None
    density = (texels[sound] / area[sound]).sqrt()
    order = density.argsort()
    share = area[sound][order].cumsum(0) / area[sound].sum()
    low, middle, high = (float(density[order][int((share < q).sum().clamp(max=len(order) - 1))]) for q in (0.05, 0.5, 0.95))
    return {"texels": height * width, "per_unit": middle, "spread": high / max(low, 1e-12),
            "used": float(texels.sum()) / (height * width)}


def _edge_through(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """[N] whether an edge of triangle a [N, 3, 3] crosses triangle b from one side of its plane to the other."""
    normal = np.cross(b[:, 1] - b[:, 0], b[:, 2] - b[:, 0])
    normal = normal / np.maximum(np.linalg.norm(normal, axis=-1, keepdims=True), 1e-300)
    side = np.einsum("nki,ni->nk", a - b[:, :1], normal)
    through = np.zeros(len(a), dtype=bool)
    for i, j in _PAIRS:
        crosses = (side[:, i] * side[:, j] < 0) & (np.minimum(abs(side[:, i]), abs(side[:, j])) > _SIDE)
        share = side[:, i] / np.where(crosses, side[:, i] - side[:, j], 1.0)
        point = a[:, i] + share[:, None] * (a[:, j] - a[:, i])
        inside = np.ones(len(a), dtype=bool)
        for k, m in _PAIRS:
            edge = np.cross(b[:, m] - b[:, k], point - b[:, k])
            inside &= np.einsum("ni,ni->n", edge, normal) > _SIDE * np.linalg.norm(b[:, m] - b[:, k], axis=-1)
        through |= crosses & inside
    return through
