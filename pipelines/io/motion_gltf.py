"""Animations of glTF files for human bones: VRMA (VRMC_vrm_animation 1.0), VRM, and GLB with names that are known."""

from __future__ import annotations

import numpy as np
import torch

from ..core.errors import InputError
from ..core.rig import matrices
from .gltf_buffers import Buffers, nothing_beside
from .gltf_entry import Entry, damaged, split_chunks
from .gltf_scene import local_matrix
from .humanoid import human_nodes
from .limits import NODES, within
from .motion_clip import MOST_FRAMES, Clip, known

CHANNELS, DEPTH = 4096, 512


def read_animation(data: bytes, clip: int, name: str) -> tuple[Clip, tuple[str, ...]]:
    """(one animation of a GLB, remarks).  InputError for none, for damaged ones, and for bones that are not known."""
    gltf, binary = split_chunks(data)
    root = Entry(gltf, "the file")
    count = len(root.listed("animations"))
    if not 0 <= clip < count:
        raise InputError("motion file", "an animation", f"animation {clip} of {count}" if count else "a file without any",
                         "Choose another one." if count else "Export it with its animation.")
    nodes = [root.item("nodes", k) for k in range(within("motion file", len(root.listed("nodes")), NODES, "nodes"))]
    human = human_nodes(root, nodes, range(len(nodes)))
    bones = known(human)
    if "hips" not in bones:
        raise InputError("motion file", "a skeleton whose bones are known", "no hips among its nodes",
                         "Export it as VRMA, or name the bones as VRM or Mixamo does.")
    animation = root.item("animations", clip)
    tracks = _tracks(animation, Buffers(root, binary, nothing_beside), len(nodes))
    times, notes = _times(tracks)
    world = _World(nodes, tracks)
    rest, turns = [world.at(human[bone], None) for bone in bones], [world.at(human[bone], times) for bone in bones]
    hips = bones.index("hips")
    label = animation.data.get("name")
    found = Clip(label if isinstance(label, str) and label else name, bones, np.stack([_rigid(r[0]) for r in rest]),
                 np.stack([r[0][:3, 3] for r in rest]), np.stack([_rigid(t) for t in turns], 1), turns[hips][:, :3, 3], times)
    return found, notes


def _rigid(matrix: np.ndarray) -> np.ndarray:
    """[..., 3, 3] of [..., 4, 4] without scale."""
    turn = matrix[..., :3, :3]
    u, _, v = np.linalg.svd(turn)
    return u @ v


def _tracks(animation: Entry, buffers: Buffers, nodes: int) -> dict[tuple[int, str], tuple[np.ndarray, np.ndarray, str]]:
    """(node, "rotation" or "translation") -> (times [K], values [K, 3 or 4] or three times as many, interpolation)."""
    found = {}
    samplers = animation.listed("samplers")
    within("motion file", len(animation.listed("channels")), CHANNELS, "channels")
    for k, row in enumerate(animation.listed("channels")):
        channel = Entry(row, f"{animation.where}, channel {k}")
        target, number = channel.inner("target"), channel.whole("sampler")
        path = target.data.get("path")
        if path not in ("rotation", "translation") or "node" not in target:
            continue
        if target.whole("node") >= nodes or number >= len(samplers):
            raise damaged(f"{channel.where} names a node or sampler that is not there")
        sampler = Entry(samplers[number], f"{animation.where}, sampler {number}")
        how = sampler.word("interpolation", "LINEAR")
        times = buffers.accessor(sampler.whole("input"), ("SCALAR",), "f").reshape(-1).astype(np.float64)
        values = buffers.accessor(sampler.whole("output"), ("VEC4" if path == "rotation" else "VEC3",)).astype(np.float64)
        if not len(times) or len(values) != len(times) * (3 if how == "CUBICSPLINE" else 1):
            raise damaged(f"{sampler.where}: {len(values)} values at {len(times)} times")
        if not (np.isfinite(times).all() and np.isfinite(values).all()) or (np.diff(times) <= 0).any() or times[0] < 0:
            raise damaged(f"{sampler.where}: times that do not rise")
        found[(target.whole("node"), path)] = (times, values, how)
    if not found:
        raise InputError("motion file", "an animation that turns bones", "one without rotations", "Export it again.")
    return found


def _times(tracks: dict) -> tuple[np.ndarray, tuple[str, ...]]:
    """(all key times, thinned evenly where there are too many; remarks)."""
    every = np.unique(np.concatenate([np.round(times, 6) for times, _, _ in tracks.values()]))
    if len(every) <= MOST_FRAMES:
        return every, ()
    return np.linspace(every[0], every[-1], MOST_FRAMES), (f"{len(every)} key times became {MOST_FRAMES} frames",)


class _World:
    """Where nodes stand, at rest or over time."""

    def __init__(self, nodes: list[Entry], tracks: dict):
        self.nodes, self.tracks = nodes, tracks
        self.parents = {child: k for k, node in enumerate(nodes) for child in node.indices("children")}
        self._kept: dict[tuple[int, bool], np.ndarray] = {}

    def at(self, node: int, times: np.ndarray | None) -> np.ndarray:
        """[T, 4, 4], or [1, 4, 4] at rest (times None); InputError for a circle of nodes."""
        chain, at = [], node
        while at is not None and (at, times is None) not in self._kept:
            chain.append(at)
            if len(chain) > DEPTH:
                raise damaged("a node hierarchy with a cycle, or a very deep one")
            at = self.parents.get(at)
        world = np.eye(4)[None] if at is None else self._kept[at, times is None]
        for at in reversed(chain):
            world = world @ self._local(at, times)
            self._kept[at, times is None] = world
        return world

    def _local(self, node: int, times: np.ndarray | None) -> np.ndarray:
        still = local_matrix(self.nodes[node])
        matrix = (np.eye(4) if still is None else still)[None]
        if times is None:
            return matrix
        matrix = np.repeat(matrix, len(times), 0)
        turn, step = self.tracks.get((node, "rotation")), self.tracks.get((node, "translation"))
        if turn is not None:
            scale = np.linalg.norm(matrix[:, :3, :3], axis=1)
            matrix[:, :3, :3] = matrices(torch.from_numpy(sampled(turn, times, True))).numpy() * scale[:, None]
        if step is not None:
            matrix[:, :3, 3] = sampled(step, times, False)
        return matrix


def sampled(track: tuple[np.ndarray, np.ndarray, str], times: np.ndarray, turns: bool) -> np.ndarray:
    """[T, 3 or 4] of a track at ``times``, as glTF interpolates: linear (turns along the shortest arc), step or cubic."""
    keys, values, how = track
    cubic = how == "CUBICSPLINE"
    points = values[1::3] if cubic else values
    if len(keys) == 1:
        return np.repeat(points[:1], len(times), 0)
    high = np.clip(np.searchsorted(keys, times, side="right"), 1, len(keys) - 1)
    low, pause = high - 1, keys[high] - keys[high - 1]
    share = np.clip((times - keys[low]) / pause, 0, 1)[:, None]
    a, b = points[low], points[high]
    if how == "STEP":
        return np.where(share < 1, a, b)
    if cubic:
        out, into = values[2::3][low] * pause[:, None], values[0::3][high] * pause[:, None]
        s2, s3 = share**2, share**3
        return (2 * s3 - 3 * s2 + 1) * a + (s3 - 2 * s2 + share) * out + (3 * s2 - 2 * s3) * b + (s3 - s2) * into
    return _slerp(a, b, share) if turns else a + share * (b - a)


def _slerp(a: np.ndarray, b: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Between quaternions along the shorter arc (Shoemake 1985)."""
    a, b = (q / np.linalg.norm(q, axis=1, keepdims=True).clip(1e-12) for q in (a, b))
    cosine = (a * b).sum(1, keepdims=True)
    b, cosine = np.where(cosine < 0, -b, b), np.abs(cosine).clip(0, 1)
    angle = np.arccos(cosine)
    sine = np.sin(angle)
    near = sine < 1e-6
    sine = np.where(near, 1, sine)
    first = np.where(near, 1 - share, np.sin((1 - share) * angle) / sine)
    return first * a + np.where(near, share, np.sin(share * angle) / sine) * b
