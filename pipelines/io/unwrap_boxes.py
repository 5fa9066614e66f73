"""A quick unwrap: faces that look the same way along an axis become charts, packed on shelves (ours).

Seen along the axis it faces, a piece of surface folds over itself only where it passes above itself, as a spiral ramp
does.  Such places are found by drawing the packed charts once with the lowest face of every pixel on top and once with the
highest; what lies below is peeled off into charts of its own.  About a second for 100,000 faces.
"""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np
import torch
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from ..core.mesh import Mesh
from ..core.pulse import beat
from ..ops.box_pairs import box_pairs

log = logging.getLogger(__name__)
PLANES = ((1, 2), (2, 1), (2, 0), (0, 2), (0, 1), (1, 0))  # axes seen along +x, -x, +y, -y, +z, -z
OWN = 0.25  # cosine between a face's normal and its chart's axis at least, else it takes the axis nearest to its own
ROUNDS = 12  # of peeling; what still overlaps then is cut into single faces
TOUCH = 1e-4  # pixels by which neighbors may reach into each other: rounding
PAIRS = 1 << 18  # pairs of faces compared at once
HALVINGS = 24  # of the search for the scale


def unwrap_boxes(mesh: Mesh, size: int, gutter: int) -> Mesh | None:
    """``mesh`` with per-corner UVs for a texture of ``size`` pixels, ``gutter`` pixels between charts; no charts overlap.

    None where there are more charts than the texture has room for.  Deterministic.
    """
    points = mesh.vertices.detach().cpu().double().numpy()
    faces = mesh.faces.cpu().numpy()
    points = points / max(float(np.abs(points).max()), 1e-300)
    group = _axes(points, faces)
    order = np.empty(len(faces), dtype=np.int64)  # nearer faces of an axis first
    order[np.lexsort((np.arange(len(faces)), -_height(points, faces, group)))] = np.arange(len(faces))
    axis = group % 6
    for step in range(ROUNDS + 1):
        beat("unwrapping", step, ROUNDS)
        packed = _packed(_flat(points, faces, axis), _charts(faces, group, len(points)), size, gutter)
        if packed is None:
            return None
        below = _hidden(packed, order)
        if not len(below):
            break
        log.debug("unwrap: %d faces lie below others", len(below))
        if step < ROUNDS - 1:
            group[below] += 6
        else:
            group[below] = 6 * len(faces) + below
    uvs = torch.from_numpy(np.asarray(packed / size, dtype=np.float32).reshape(-1, 2)).clamp(0, 1).to(mesh.vertices.device)
    corners = torch.arange(3 * len(faces), device=mesh.faces.device).reshape(-1, 3)
    return replace(mesh, uvs=uvs.to(mesh.vertices), face_uvs=corners, texture=None)


def _axes(points: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """[F] axis that each face looks along, as an index into PLANES; neighbors agree where their normals allow it."""
    a, b, c = (points[faces[:, k]] for k in range(3))
    normal = np.cross(b - a, c - a)
    smooth = np.zeros_like(points)
    for corner in range(3):
        np.add.at(smooth, faces[:, corner], normal)
    unit = normal / np.maximum(np.linalg.norm(normal, axis=-1, keepdims=True), 1e-300)
    around = _nearest_axis(smooth[faces].sum(1))
    along = unit[np.arange(len(faces)), around // 2] * np.where(around % 2, -1.0, 1.0)
    return np.where(along >= OWN, around, _nearest_axis(unit))


def _nearest_axis(directions: np.ndarray) -> np.ndarray:
    axis = np.abs(directions).argmax(-1)
    return 2 * axis + (directions[np.arange(len(axis)), axis] < 0)


def _height(points: np.ndarray, faces: np.ndarray, group: np.ndarray) -> np.ndarray:
    """[F] how near each face is to who looks at it along its axis."""
    middle = points[faces].mean(1)
    return middle[np.arange(len(faces)), group % 6 // 2] * np.where(group % 2, -1.0, 1.0)


def _flat(points: np.ndarray, faces: np.ndarray, axis: np.ndarray) -> np.ndarray:
    """[F, 3, 2] corners as seen along each face's axis."""
    planes = np.array(PLANES)[axis]
    return np.take_along_axis(points[faces], planes[:, None, :].repeat(3, 1), axis=2)


def _charts(faces: np.ndarray, group: np.ndarray, count: int) -> np.ndarray:
    """[F] chart of each face: those of one group that hang together by edges."""
    ends = np.sort(faces[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=-1)
    key = ends[:, 0] * count + ends[:, 1]
    order = np.argsort(key, kind="stable")
    face = order // 3
    linked = (key[order][1:] == key[order][:-1]) & (group[face[1:]] == group[face[:-1]])
    rows, columns = face[1:][linked], face[:-1][linked]
    graph = coo_matrix((np.ones(len(rows), np.int8), (rows, columns)), shape=(len(faces), len(faces)))
    return connected_components(graph, directed=False)[1]


def _packed(flat: np.ndarray, chart: np.ndarray, size: int, gutter: int) -> np.ndarray | None:
    """[F, 3, 2] corners in pixels, charts on shelves at the largest scale that fits; None if none does."""
    count = int(chart.max()) + 1
    low, high = np.full((count, 2), np.inf), np.full((count, 2), -np.inf)
    np.minimum.at(low, chart, flat.min(1))
    np.maximum.at(high, chart, flat.max(1))
    extent = high - low
    order = np.lexsort((np.arange(count), -extent[:, 1]))
    best, least, most = None, 0.0, size / max(float(np.sqrt(extent.prod(-1).sum())), 1e-12)
    for _ in range(HALVINGS):
        beat()
        scale = (least + most) / 2
        corner = _shelves(extent[order] * scale + gutter, size)
        least, most = (least, scale) if corner is None else (scale, most)
        if corner is not None:
            best = corner, scale
    if best is None:
        return None
    place = np.empty((count, 2))
    place[order] = best[0]
    return (flat - low[chart][:, None]) * best[1] + place[chart][:, None] + gutter / 2


def _shelves(boxes: np.ndarray, size: int) -> np.ndarray | None:
    """[N, 2] corners of boxes (tallest first), side by side on shelves one above the other; None where they do not fit."""
    if not len(boxes) or float(boxes[:, 0].max()) > size:
        return None if len(boxes) else np.zeros((0, 2))
    ends, corners = np.cumsum(boxes[:, 0]), np.empty_like(boxes)
    first, top = 0, 0.0
    while first < len(boxes):
        before = ends[first - 1] if first else 0.0
        last = max(first + 1, int(np.searchsorted(ends, before + size, side="right")))
        if top + boxes[first, 1] > size:
            return None
        corners[first:last, 0] = ends[first:last] - boxes[first:last, 0] - before
        corners[first:last, 1] = top
        top, first = top + boxes[first, 1], last
    return corners


def _hidden(packed: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Faces [K] that lie below another one in the atlas.  order: [F] a rank of each face, all different, the nearest 0."""
    deep = np.zeros((len(packed), 1))
    pairs = box_pairs(np.concatenate([packed.min(1), deep], 1), np.concatenate([packed.max(1), deep], 1))
    below = []
    for start in range(0, len(pairs), PAIRS):
        beat()
        first, second = pairs[start : start + PAIRS].T
        overlap = ~(_apart(packed[first], packed[second]) | _apart(packed[second], packed[first]))
        first, second = first[overlap], second[overlap]
        below.append(np.where(order[first] > order[second], first, second))
    return np.unique(np.concatenate(below)) if below else np.zeros(0, dtype=np.int64)


def _apart(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """[N] whether an edge of triangle a [N, 3, 2] has all of triangle b on its outer side, or a has no area."""
    first, second = a[:, 1] - a[:, 0], a[:, 2] - a[:, 0]
    turn = first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0]
    apart = np.abs(turn) < TOUCH**2
    for k in range(3):
        along = a[:, (k + 1) % 3] - a[:, k]
        unit = along / np.maximum(np.linalg.norm(along, axis=-1, keepdims=True), 1e-300) * np.sign(turn)[:, None]
        beside = b - a[:, k, None]
        inward = unit[:, None, 0] * beside[..., 1] - unit[:, None, 1] * beside[..., 0]
        apart |= inward.max(-1) <= TOUCH
    return apart
