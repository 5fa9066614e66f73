"""Weights for a body: heat that flows from its bones through its inside (after Baran and Popovic, "Automatic rigging and
animation of 3D characters", SIGGRAPH 2007, in voxels instead of on the surface).

Every bone's core is as warm as can be for its own column and cold for all others; in between, each column solves Laplace's
equation inside the body.  So weights never leak through the air from a hand to a thigh, they sum to 1, and they turn over
at a joint within about a limb's thickness.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy import ndimage, sparse
from scipy.sparse.linalg import splu
from scipy.spatial import KDTree

from ..core.mesh import Mesh
from ..core.pulse import beat
from ..core.rig import Rig, Skin
from .volume import Volume, body_volume

ROWS = 64  # voxels along the body's longest side
CORE = 0.55  # of the distance to the surface: a bone's core reaches so far
SHARP = 1.5  # exponent of the weights: higher turns over more quickly
NEAREST = 4  # voxels that a vertex takes its weights from


def body_skin(body: Mesh, rig: Rig, rows: int = ROWS) -> Skin:
    """Which bones hold the vertices of a body in the pose of ``rig``.  InputError for a body that encloses nothing."""
    volume = body_volume(body, rows)
    cells = np.argwhere(volume.solid)
    owner = _cores(volume, cells, rig)
    weights = _heat(volume, cells, owner, len(rig.names)) ** SHARP
    weights /= weights.sum(1, keepdims=True)
    return Skin.strongest(_at_vertices(volume, cells, weights, body))


def segments(rig: Rig) -> list[tuple[int, np.ndarray, np.ndarray]]:
    """(bone, [3] start, [3] end) of the stretches that bones hold, scene units: to their tips, and to the joints of
    what branches off."""
    found = []
    for i in range(len(rig.names)):
        ends = [rig.tips[i]]
        if rig.names[i] == "hips":
            ends += [rig.joints[c] for c in rig.children(i) if rig.names[c].endswith("UpperLeg")]
        found += [(i, rig.joints[i].numpy(), end.numpy()) for end in ends]
    return found


def _cores(volume: Volume, cells: np.ndarray, rig: Rig) -> np.ndarray:
    """[N] bone whose core a voxel belongs to, -1 for none."""
    depth = ndimage.distance_transform_edt(volume.solid)
    assert isinstance(depth, np.ndarray)
    best, owner = np.full(len(cells), np.inf), np.full(len(cells), -1)
    tree = KDTree(cells)
    for bone, start, end in segments(rig):
        ends = volume.index(np.stack([start, end]))
        count = max(2, int(np.ceil(np.linalg.norm(ends[1] - ends[0]) * 2)) + 1)
        share = np.linspace(0.0, 1.0, count)[:, None]
        line = ends[0] * (1 - share) + ends[1] * share
        near = cells[tree.query(line)[1]]
        line = line[np.linalg.norm(near - line, axis=1) < 1.5]  # what lies outside holds nothing
        if not len(line):
            line = near[:1].astype(float)
        reach = np.maximum(CORE * depth[tuple(cells[tree.query(line)[1]].T)], 0.75)
        for spot, radius in zip(line, reach):
            index = np.array(tree.query_ball_point(spot, radius), dtype=int)
            if len(index):
                value = np.linalg.norm(cells[index] - spot, axis=1) / radius
                closer = value < best[index]
                best[index[closer]], owner[index[closer]] = value[closer], bone
    return owner


def _heat(volume: Volume, cells: np.ndarray, owner: np.ndarray, bones: int) -> np.ndarray:
    """[N, bones] not negative, rows sum to 1: harmonic inside the body, 0 or 1 in the bones' cores."""
    number = np.full(np.array(volume.solid.shape) + 2, -1)
    padded = cells + 1
    number[tuple(padded.T)] = np.arange(len(cells))
    rows, columns = [], []
    for axis in range(3):
        step = np.zeros(3, dtype=int)
        step[axis] = 1
        there = number[tuple((padded + step).T)]
        has = there >= 0
        rows += [np.flatnonzero(has), there[has]]
        columns += [there[has], np.flatnonzero(has)]
    row, column = np.concatenate(rows), np.concatenate(columns)
    links = sparse.csr_matrix((np.ones(len(row)), (row, column)), shape=(len(cells), len(cells)))
    fixed = np.zeros((len(cells), bones))
    held = owner >= 0
    fixed[np.flatnonzero(held), owner[held]] = 1.0
    free = np.flatnonzero(~held)
    out = fixed.copy()
    if len(free):
        beat()
        laplace = sparse.diags(np.asarray(links.sum(1)).reshape(-1)) - links
        inner = laplace.tocsr()[free]
        system = (inner[:, free] + 1e-9 * sparse.identity(len(free))).tocsc()
        source = links[free][:, np.flatnonzero(held)] @ fixed[held]
        out[free] = splu(system, permc_spec="MMD_AT_PLUS_A", options={"SymmetricMode": True}).solve(source)
    out = out.clip(0.0)
    empty = out.sum(1) < 1e-6  # a piece that no bone reaches follows the nearest that one does
    if empty.any():
        near = KDTree(cells[~empty]).query(cells[empty])[1]
        out[empty] = out[~empty][near]
    return out / out.sum(1, keepdims=True)


def _at_vertices(volume: Volume, cells: np.ndarray, weights: np.ndarray, body: Mesh) -> torch.Tensor:
    """[V, bones] weights at the vertices: the mean of the nearest voxels', nearer ones counting more."""
    at = volume.index(body.vertices.detach().cpu().numpy())
    distance, index = KDTree(cells).query(at, k=min(NEAREST, len(cells)))
    share = 1.0 / (np.atleast_2d(distance.T).T + 0.25) ** 2
    share /= share.sum(1, keepdims=True)
    return torch.from_numpy(np.einsum("vk,vkb->vb", share, weights[np.atleast_2d(index.T).T]))
