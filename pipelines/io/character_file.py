"""Other people's characters: VRM 0.x, VRM 1.0 and skinned GLB files as layers with a skeleton, in their bind pose.

The bind pose is the one in which the weights were given, whatever the nodes of the file stand like.  Every primitive becomes
a part by the name of its node, its material or its mesh, or by the bones that hold it (``character_rules``).  Bones are
those that the file calls human, or known names; what hangs on other joints goes with the nearest human bone above.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from scipy.spatial import KDTree

from ..core.errors import InputError
from ..core.layers import LayeredMesh
from ..core.mesh import Mesh
from ..core.rig import BONES, Rig, RiggedLayers, Skin
from .assemble import weld_vertices
from .character_rules import part_by_name
from .glb_reader import read_file, read_glb_document
from .gltf_buffers import Buffers, matrix_of, nothing_beside
from .gltf_entry import Entry, damaged, split_chunks
from .gltf_scene import Skins
from .humanoid import bone_above, bone_below, human_nodes, upright
from .limits import NODES, PARTS, VERTICES, within
from .mesh_formats import vertex_colors
from .mesh_notes import Notes

MOSTLY = 0.5  # share of a part's weight that hangs below the head: it is hair
HELD = {"body": ("body", "face"), "clothing": ("clothing",), "hair": ("hair",)}  # parts of a layer
TIP = 0.6  # of the last bone's length: how far a bone without a child reaches


@dataclass(frozen=True)
class CharacterFile:
    """rigged: the layers, framed (longest side 2, facing +Z), and the skeleton; its rig is None, and ``refused`` says why, where
    the file has none.  face: the part of the body that is the face, or None.  parts: what became which layer, in words.
    """

    rigged: RiggedLayers
    face: Mesh | None
    parts: tuple[str, ...]


@dataclass(frozen=True)
class _Piece:
    """A primitive: its mesh and number there, its node, its part, and the human bones that hold its vertices."""

    mesh: int
    number: int
    node: int
    part: str
    name: str
    points: np.ndarray  # [V, 3] in the bind pose
    weights: np.ndarray  # [V, B] of the bones of ``_Source.bones``


def read_character_file(source: bytes | str | os.PathLike, notes: Notes | None = None) -> CharacterFile:
    """VRM or GLB bytes or path.  InputError as ``read_glb``, and for a file in which nothing can be told to be a body."""
    data = bytes(source) if isinstance(source, bytes | bytearray) else read_file(Path(source), "character file")
    gltf, binary = split_chunks(data)
    notes, found = notes or Notes(), _Source(Entry(gltf, "the file"), binary)
    pieces = list(found.pieces())
    if not pieces:
        raise InputError("character file", "meshes with faces", "none", "Export the character again.")
    turn, names = found.upright(), {p.part for p in pieces}
    if not names & {"body", "face"}:
        raise InputError("character file", "a body, told by the names of nodes, materials or bones",
                         f"only {', '.join(sorted(names))}", "Name its node or material 'body' in a modeler.")
    read = {layer: found.mesh([p for p in pieces if p.part in parts], turn, notes) for layer, parts in HELD.items()
            if names & set(parts)}
    layers = LayeredMesh(read)
    face = found.mesh([p for p in pieces if p.part == "face"], turn, notes) if "face" in names else None
    points = torch.cat([layers[n].vertices for n in layers])
    low, high = points.amin(0), points.amax(0)
    scale = 2.0 / float((high - low).max().clamp(min=1e-12))
    offset = -scale * (low + high) / 2
    framed = layers.transformed(scale, offset)
    rig = found.rig(turn, scale, offset.double())
    said = tuple(f"{layer}: {', '.join(dict.fromkeys(p.name for p in pieces if p.part in HELD[layer]))}" for layer in layers)
    if rig is None:
        rigged = RiggedLayers(framed, None, refused="the file has no skeleton whose bones are known.")
    else:
        skins = {n: found.skin(pieces, n, layers[n], turn, rig) for n in framed}
        rigged = RiggedLayers(framed, rig, skins, notes=rig.notes)
    return CharacterFile(rigged, None if face is None else face.transformed(scale, offset), said)


class _Source:
    """A file's meshes, joints and names."""

    def __init__(self, root: Entry, binary: memoryview | None):
        self.root, self.binary, self.buffers = root, binary, Buffers(root, binary, nothing_beside)
        self.world = Skins(root, self.buffers, Notes())
        self.nodes = [root.item("nodes", k) for k in range(within("character file", len(root.listed("nodes")), NODES, "nodes"))]
        self.parents = {child: k for k, node in enumerate(self.nodes) for child in node.indices("children")}
        self.human = self._human()
        self.bones = tuple(name for name in BONES if name in self.human)
        self.binds = [self._inverse_binds(k) for k in range(len(root.listed("skins")))]
        self.main = max(range(len(self.binds)), key=lambda k: len(self.binds[k]), default=None)

    def _human(self) -> dict[str, int]:
        joints = {j for k in range(len(self.root.listed("skins"))) for j in self.root.item("skins", k).indices("joints")}
        return human_nodes(self.root, self.nodes, sorted(joints))

    def _inverse_binds(self, index: int) -> dict[int, np.ndarray]:
        """Joint node -> [4, 4] from the skin's points to the joint."""
        skin = self.root.item("skins", index)
        joints = skin.indices("joints")
        if any(j >= len(self.nodes) for j in joints):
            raise damaged(f"{skin.where} names a node that is not there")
        if "inverseBindMatrices" not in skin:
            return {j: np.eye(4) for j in joints}
        rows = matrix_of(self.buffers.accessor(skin.whole("inverseBindMatrices"), ("MAT4",), "f"))
        if len(rows) < len(joints):
            raise damaged(f"{skin.where}: {len(rows)} matrices for {len(joints)} joints")
        return dict(zip(joints, rows, strict=False))

    def bound(self, node: int) -> np.ndarray:
        """[4, 4] where a node stands in the bind pose, in the frame of the main skin's points."""
        if self.main is None:
            return self.world.node_world(node)
        main, at, steps = self.binds[self.main], node, 0
        while at not in main and at in self.parents and steps <= len(self.nodes):
            at, steps = self.parents[at], steps + 1
        if at not in main:
            at = next(iter(main))
        try:
            bind = np.linalg.inv(main[at])
            return bind if at == node else bind @ np.linalg.inv(self.world.node_world(at)) @ self.world.node_world(node)
        except np.linalg.LinAlgError:
            raise damaged("a joint whose matrix has no inverse") from None

    def bone_of(self, node: int) -> int:
        """Index into ``bones`` of the nearest human bone at or above a node; the hips' where there is none."""
        human, steps = {n: self.bones.index(b) for b, n in self.human.items()}, 0
        while node not in human and node in self.parents and steps <= len(self.nodes):
            node, steps = self.parents[node], steps + 1
        return human.get(node, 0)

    def _below_head(self, node: int) -> bool:
        """Whether a joint is no human bone and hangs on the head."""
        head, at, steps = self.human.get("head"), node, 0
        if head is None or node in self.human.values():
            return False
        while at != head and at in self.parents and steps <= len(self.nodes):
            at, steps = self.parents[at], steps + 1
        return at == head

    def pieces(self) -> Iterator[_Piece]:
        """Every primitive with faces of the file's nodes."""
        count = 0
        for index, node in enumerate(self.nodes):
            if "mesh" not in node:
                continue
            mesh = self.root.item("meshes", node.whole("mesh"))
            for number, row in enumerate(mesh.listed("primitives")):
                primitive = Entry(row, f"{mesh.where}, primitive {number}")
                if "POSITION" not in primitive.inner("attributes") or primitive.whole("mode", 4) < 4:
                    continue
                count = within("character file", count + 1, PARTS, "parts")
                yield self._piece(index, node, mesh, number, primitive)

    def _piece(self, index: int, node: Entry, mesh: Entry, number: int, primitive: Entry) -> _Piece:
        attributes = primitive.inner("attributes")
        within("character file", self.buffers.count(attributes.whole("POSITION")), VERTICES, "vertices")
        points = self.buffers.accessor(attributes.whole("POSITION"), ("VEC3",)).astype(np.float64)
        weights, hangs = np.zeros((len(points), max(len(self.bones), 1))), 0.0
        skin = self.world.of(node, attributes, len(points)) if "skin" in node else None
        if skin is None:
            weights[:, self.bone_of(index)] = 1
            hangs = float(self._below_head(index))
        else:
            joints = self.root.item("skins", node.whole("skin")).indices("joints")
            bone = np.array([self.bone_of(j) for j in joints])
            np.add.at(weights, (np.arange(len(points))[:, None], bone[skin.joints]), skin.weights)
            below = np.array([self._below_head(j) for j in joints], dtype=float)
            hangs = float((below[skin.joints] * skin.weights).sum(1).mean()) if len(points) else 0.0
        name, part = self._part(node, mesh, primitive, hangs)
        moved = points @ (matrix := self.placed(index))[:3, :3].T + matrix[:3, 3]
        return _Piece(node.whole("mesh"), number, index, part, name, moved, weights)

    def _part(self, node: Entry, mesh: Entry, primitive: Entry, hangs: float) -> tuple[str, str]:
        """(name for people, part)."""
        material = ""
        if "material" in primitive:
            material = self.root.item("materials", primitive.whole("material")).data.get("name", "")
        names = [str(n) for n in (node.data.get("name", ""), material, mesh.data.get("name", ""))]
        part = part_by_name(str(material)) or part_by_name(names[0], names[2])
        return str(material) or names[0] or mesh.where, part or ("hair" if hangs > MOSTLY else "body")

    def placed(self, index: int) -> np.ndarray:
        """[4, 4] from the points of a node's mesh to the bind pose."""
        node = self.nodes[index]
        if "skin" not in node:
            return self.bound(index)
        which = node.whole("skin")
        if which >= len(self.binds) or not self.binds[which]:
            raise damaged(f"{node.where}: its skin has no joints")
        if which == self.main:
            return np.eye(4)
        own, main = self.binds[which], self.binds[self.main] if self.main is not None else {}
        joint = next((j for j in own if j in main), next(iter(own)))
        return self.bound(joint) @ own[joint]

    def upright(self) -> np.ndarray:
        """[3, 3] the turn that stands the skeleton up, facing +Z."""
        return upright({name: self.bound(node)[:3, 3] for name, node in self.human.items()})

    def mesh(self, pieces: list[_Piece], turn: np.ndarray, notes: Notes) -> Mesh:
        """The primitives in one mesh, in the bind pose, upright; beside a texture stand its colors at the vertices."""
        nodes, meshes = [], []
        for piece in pieces:
            full = np.eye(4)
            full[:3, :3] = turn
            matrix = full @ self.placed(piece.node)
            source = self.root.item("meshes", piece.mesh)
            meshes.append({**source.data, "primitives": [source.listed("primitives")[piece.number]]})
            nodes.append({"mesh": len(meshes) - 1, "matrix": matrix.T.reshape(-1).tolist()})
        document = {**self.root.data, "nodes": nodes, "meshes": meshes, "scene": 0, "skins": [], "animations": [],
                    "scenes": [{"nodes": list(range(len(nodes)))}]}
        made = weld_vertices(read_glb_document(document, self.binary, notes))
        return replace(made, vertex_colors=vertex_colors(made))

    def rig(self, turn: np.ndarray, scale: float, offset: torch.Tensor) -> Rig | None:
        """The human bones in the frame of the layers; None without hips and head."""
        if not {"hips", "head"} <= set(self.bones) or self.main is None:
            return None
        places = np.stack([turn @ self.bound(self.human[name])[:3, 3] for name in self.bones])
        joints = torch.from_numpy(places) * scale + offset
        above = [bone_above(name, self.bones) for name in self.bones]
        parents = [-1 if name is None else self.bones.index(name) for name in above]
        tips = joints.clone()
        for i, name in enumerate(self.bones):
            onward = bone_below(name, self.bones)
            if onward is not None:
                tips[i] = joints[self.bones.index(onward)]
            elif parents[i] >= 0:
                tips[i] = joints[i] + TIP * (joints[i] - joints[parents[i]])
        return Rig(self.bones, tuple(parents), joints, tips)

    def skin(self, pieces: list[_Piece], layer: str, mesh: Mesh, turn: np.ndarray, rig: Rig) -> Skin:
        """Weights of a layer's vertices: those of the file's vertex at the same place."""
        mine = [p for p in pieces if p.part in HELD[layer]]
        points = np.concatenate([p.points for p in mine]) @ turn.T
        weights = np.concatenate([p.weights for p in mine])
        index = KDTree(points).query(mesh.vertices.double().numpy())[1]
        found = weights[index]
        found[found.sum(1) <= 0, 0] = 1.0
        return Skin.strongest(torch.from_numpy(found))

