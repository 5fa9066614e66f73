"""The node tree of a glTF file: where which mesh stands, how often, and how skins bend it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from .gltf_buffers import Buffers, matrix_of
from .gltf_entry import Entry, bad, damaged
from .limits import NODES, PARTS, within
from .mesh_notes import Notes

_UNIT = 1e-3  # how far from 1 the length of a quaternion may be that is taken as it stands
_CHUNK = 1 << 17  # vertices that are bent at once
_NO_TURN, _ONE, _NULL = (0.0, 0.0, 0.0, 1.0), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0)


@dataclass(frozen=True)
class Placed:
    """A mesh that stands somewhere.

    mesh:   index in the file.
    node:   its node.
    worlds: [N, 4, 4] float64, one per instance (N is 1 without EXT_mesh_gpu_instancing).
    """

    mesh: int
    node: Entry
    worlds: np.ndarray


def placed_meshes(root: Entry, buffers: Buffers, notes: Notes) -> Iterator[Placed]:
    """Every node of the file's scene that has a mesh, breadth first."""
    total, visited = len(root.listed("nodes")), 0
    queue = deque((index, np.eye(4), 0) for index in _roots(root, notes))
    while queue:
        index, parent, depth = queue.popleft()
        visited = within("GLB file", visited + 1, NODES, "nodes visited in its scene")
        if depth > total:
            raise bad("a node hierarchy with a cycle")
        node = root.item("nodes", index)
        visibility = node.extension("KHR_node_visibility")
        if visibility is not None and visibility.data.get("visible") is False:
            notes.say("hidden nodes were dropped")
            continue
        local = local_matrix(node)
        world = parent if local is None else parent @ local
        if "mesh" not in node and "EXT_mesh_gpu_instancing" in node.inner("extensions"):
            notes.say("instances of a node without a mesh were dropped")
        if "mesh" in node:
            yield Placed(node.whole("mesh"), node, _instances(node, world, buffers, notes))
        children = node.indices("children")
        within("GLB file", len(queue) + len(children), NODES, "nodes visited in its scene")
        queue.extend((child, world, depth + 1) for child in children)


def _roots(root: Entry, notes: Notes) -> list[int]:
    scenes, nodes = root.listed("scenes"), root.listed("nodes")
    if not scenes:
        children = {c for i in range(len(nodes)) for c in root.item("nodes", i).indices("children")}
        return sorted(set(range(len(nodes))) - children)
    if len(scenes) > 1:
        notes.say(f"one of the file's {len(scenes)} scenes was read")
    return sorted(root.item("scenes", root.whole("scene", 0)).indices("nodes"))


def local_matrix(node: Entry) -> np.ndarray | None:
    """[4, 4] of a node in its parent's frame, None for one that stays where its parent is."""
    if "matrix" in node:
        return matrix_of(np.array([node.numbers("matrix", 16)]))[0]
    if not any(key in node for key in ("rotation", "scale", "translation")):
        return None
    parts = (node.numbers("translation", 3, _NULL), node.numbers("rotation", 4, _NO_TURN), node.numbers("scale", 3, _ONE))
    return compose(*(np.array([part], dtype=np.float64) for part in parts))[0]


def compose(translation: np.ndarray, rotation: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """[N, 4, 4] from translations [N, 3], unit quaternions (x, y, z, w) [N, 4] and scales [N, 3]."""
    length = np.linalg.norm(rotation, axis=-1, keepdims=True)
    if bool(((np.abs(length - 1) > _UNIT) & (length > 0)).any()):  # quantized ones, and other writers' mistakes
        rotation = rotation / np.where(length > 0, length, 1.0)
    x, y, z, w = rotation.T
    turn = np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )
    matrix = np.tile(np.eye(4), (len(rotation), 1, 1))
    matrix[:, :3, :3] = turn.transpose(2, 0, 1) * scale[:, None]
    matrix[:, :3, 3] = translation
    return matrix


def _instances(node: Entry, world: np.ndarray, buffers: Buffers, notes: Notes) -> np.ndarray:
    """World matrices of a node's instances: itself, or one per row of EXT_mesh_gpu_instancing."""
    extension = node.extension("EXT_mesh_gpu_instancing")
    if extension is None:
        return world[None]
    attributes = extension.inner("attributes")
    known = [key for key in ("TRANSLATION", "ROTATION", "SCALE") if key in attributes]
    if not known and not attributes.data:
        raise damaged(f"{extension.where} has no attributes")
    if not known:
        notes.say("instances in one and the same place became one")
        return world[None]
    if "skin" in node:
        notes.say("instances of a skinned mesh were dropped but for one: its joints say where it stands")
        return world[None]
    counts = {buffers.count(attributes.whole(key)) for key in known}
    if len(counts) > 1:
        raise damaged(f"{extension.where}: lists of {', '.join(map(str, sorted(counts)))} instances")
    count = within("GLB file", counts.pop(), PARTS, "parts")
    rows = {key: buffers.accessor(attributes.whole(key), ("VEC4",) if key == "ROTATION" else ("VEC3",)) for key in known}
    still = {"TRANSLATION": _NULL, "ROTATION": _NO_TURN, "SCALE": _ONE}
    parts = (rows.get(key, np.broadcast_to(still[key], (count, len(still[key])))).astype(np.float64) for key in still)
    notes.say(f"{count} instances of one mesh became copies of it")
    return world @ compose(*parts)


@dataclass(frozen=True)
class Skin:
    """Joints of one skinned primitive.

    matrices: [J, 4, 4] float64, from the mesh's own frame to the world as the file's nodes stand.
    joints:   [V, K] int64.  weights: [V, K] float64, rows sum to 1.
    """

    matrices: np.ndarray
    joints: np.ndarray
    weights: np.ndarray

    def bend(self, points: np.ndarray) -> np.ndarray:
        """[V, 3] float64 positions in the world."""
        out = np.empty_like(points)
        for begin in range(0, len(points), _CHUNK):
            part = slice(begin, begin + _CHUNK)
            mixed = np.einsum("vk,vkij->vij", self.weights[part], self.matrices[self.joints[part]][:, :, :3])
            out[part] = np.einsum("vij,vj->vi", mixed[:, :, :3], points[part]) + mixed[:, :, 3]
        return out

    def mirrors(self, faces: np.ndarray) -> np.ndarray:
        """[F] bool: faces whose strongest joints turn right hands into left ones."""
        leading = np.take_along_axis(self.joints, self.weights.argmax(1)[:, None], 1)[:, 0]
        flipped = np.linalg.det(self.matrices[:, :3, :3]) < 0
        return flipped[leading][faces].sum(1) >= 2


class Skins:
    """The skins of a file, in the pose of its nodes."""

    def __init__(self, root: Entry, buffers: Buffers, notes: Notes):
        self.root, self.buffers, self.notes = root, buffers, notes
        self._worlds: dict[int, np.ndarray] = {}
        self._matrices: dict[int, np.ndarray] = {}
        self._parents: dict[int, int] | None = None
        self._joints = 0

    def of(self, node: Entry, attributes: Entry, count: int) -> Skin | None:
        """The skin of a primitive with ``count`` vertices, None where its node has none."""
        if "skin" not in node:
            return None
        if "JOINTS_0" not in attributes or "WEIGHTS_0" not in attributes:
            self.notes.say("a skin without joints or weights was dropped")
            return None
        matrices = self._joint_matrices(node.whole("skin"))
        joints, weights = [], []
        for k in range(8):
            if f"JOINTS_{k}" not in attributes or f"WEIGHTS_{k}" not in attributes:
                break
            joints.append(self.buffers.accessor(attributes.whole(f"JOINTS_{k}"), ("VEC4",), "u"))
            weights.append(self.buffers.accessor(attributes.whole(f"WEIGHTS_{k}"), ("VEC4",)))
            if len(joints[-1]) != count or len(weights[-1]) != count:
                raise damaged(f"{attributes.where}: {len(joints[-1])} joints and {len(weights[-1])} weights "
                              f"for {count} vertices")
        index, share = np.concatenate(joints, 1).astype(np.int64), np.concatenate(weights, 1).astype(np.float64).clip(0)
        index[share == 0] = 0  # what weighs nothing may name any joint
        if int(index.max()) >= len(matrices):
            raise damaged(f"{attributes.where}: joint {int(index.max())} of {len(matrices)}")
        total = share.sum(1, keepdims=True)
        share[:, :1] += total == 0  # a vertex that no joint holds follows the first
        joints_held = "1 joint" if len(matrices) == 1 else f"{len(matrices)} joints"
        self.notes.say(f"skin of {joints_held}: posed as its nodes stand; the skeleton was dropped")
        return Skin(matrices, index, share / share.sum(1, keepdims=True))

    def _joint_matrices(self, index: int) -> np.ndarray:
        if index not in self._matrices:
            skin = self.root.item("skins", index)
            joints = skin.indices("joints")
            self._joints = within("GLB file", self._joints + len(joints), NODES, "joints of its skins")
            if not joints:
                raise damaged(f"{skin.where} has no joints")
            worlds = np.stack([self.node_world(joint) for joint in joints])
            if "inverseBindMatrices" in skin:
                accessor = skin.whole("inverseBindMatrices")
                if self.buffers.count(accessor) < len(joints):
                    raise damaged(f"{skin.where}: {self.buffers.count(accessor)} matrices for {len(joints)} joints")
                inverse = matrix_of(self.buffers.accessor(accessor, ("MAT4",), "f")[: len(joints)])
                worlds = worlds @ inverse
            self._matrices[index] = worlds
        return self._matrices[index]

    def node_world(self, index: int) -> np.ndarray:
        """World matrix of a node, also of one outside of the scene."""
        if self._parents is None:
            rows = range(len(self.root.listed("nodes")))
            self._parents = {c: i for i in rows for c in self.root.item("nodes", i).indices("children")}
        chain, at = [], index
        while at is not None and at not in self._worlds:
            chain.append(at)
            if len(chain) > NODES or len(chain) > len(self._parents) + 1:
                raise bad("a node hierarchy with a cycle")
            at = self._parents.get(at)
        world = np.eye(4) if at is None else self._worlds[at]
        for at in reversed(chain):
            local = local_matrix(self.root.item("nodes", at))
            world = world if local is None else world @ local
            self._worlds[at] = world
        return world
