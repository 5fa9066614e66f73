"""What is wrong with a mesh that no picture shows: faces through faces, and texels spread unevenly."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ..core.mesh import Mesh

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
    candidates = _box_pairs(corners.min(1), corners.max(1))
    for start in range(0, len(candidates), _CHUNK):
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


def _box_pairs(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """[P, 2] pairs i < j whose boxes overlap: two copies of one binary tree descended together, a level at a time."""
    count = len(low)
    order = np.argsort(_morton((low + high) / 2), kind="stable")
    depth = max(int(np.ceil(np.log2(count))), 1)
    lows = [np.full((2**depth, 3), np.inf)]
    highs = [np.full((2**depth, 3), -np.inf)]
    lows[0][:count], highs[0][:count] = low[order], high[order]
    for _ in range(depth):
        lows.append(lows[-1].reshape(-1, 2, 3).min(1))
        highs.append(highs[-1].reshape(-1, 2, 3).max(1))
    pairs = np.zeros((1, 2), dtype=np.int64)
    for level in range(depth - 1, -1, -1):
        children = [(0, 0), (0, 1), (1, 0), (1, 1)]
        pairs = np.concatenate([pairs * 2 + child for child in children])
        pairs = pairs[pairs[:, 0] <= pairs[:, 1]]
        a, b = pairs.T
        overlap = (lows[level][a] <= highs[level][b]) & (lows[level][b] <= highs[level][a])
        pairs = pairs[overlap.all(1)]
    pairs = pairs[pairs[:, 0] < pairs[:, 1]]
    return np.sort(order[pairs], axis=1)


def _morton(points: np.ndarray) -> np.ndarray:
    """Order along a space-filling curve, 10 bits per axis."""
    low = points.min(0)
    cells = ((points - low) / max(float(np.ptp(points, axis=0).max()), 1e-300) * 1023).astype(np.int64)
    code = np.zeros(len(points), dtype=np.int64)
    for bit in range(10):
        for axis in range(3):
            code |= ((cells[:, axis] >> bit) & 1) << (3 * bit + axis)
    return code


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
