"""Reads glTF 2.0 into one mesh: nodes are flattened, primitives merged, base colors kept.

For this pack's files and for those of other writers: node transforms (mirrors included), strips and fans, strided,
normalized and sparse accessors, quantized positions, data URIs, skins, instances, morph targets, several materials,
moved texture coordinates.  Nothing that a file says about itself is believed before it is checked; what is left out is
told in ``Notes``.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from ..core.errors import InputError
from ..core.mesh import Mesh
from .assemble import assemble, check_soup, weld_vertices
from .gltf_buffers import Beside, Buffers, nothing_beside
from .gltf_entry import Entry, bad, damaged, is_json, parse_json, split_chunks
from .gltf_materials import Materials, check_required, transformed
from .gltf_scene import Placed, Skins, placed_meshes
from .limits import BYTES, FACES, PARTS, VERTICES, within
from .mesh_notes import Notes
from .surface_parts import Look, Soup

_TRIANGLES, _STRIP, _FAN = 4, 5, 6


def read_glb(source: bytes | str | os.PathLike, weld: bool = True, notes: Notes | None = None,
             beside: Beside = nothing_beside) -> Mesh:
    """GLB or glTF bytes or path -> Mesh in the file's units (glTF's frame is the project's frame).

    weld:   corners with the same position (and color) become one vertex again, so that a closed surface with
            texture seams reads as closed.
    notes:  hears what was changed or left out.
    beside: finds files that a .gltf refers to.
    Raises InputError for anything that is not a readable triangle file, and for files beyond ``io.limits``.
    """
    data = bytes(source) if isinstance(source, bytes | bytearray) else read_file(Path(source), "GLB file")
    gltf, binary = (parse_json(data), None) if is_json(data) else split_chunks(data)
    with np.errstate(over="ignore", invalid="ignore"):
        mesh = _Reader(Entry(gltf, "the file"), binary, notes or Notes(), beside).mesh()
    return weld_vertices(mesh) if weld else mesh


def read_glb_parts(source: bytes | str | os.PathLike, names: Mapping[str, Sequence[str]], notes: Notes | None = None
                   ) -> dict[str, Mesh]:
    """Parts of a GLB by the names of their nodes -> one Mesh each; parts that the file lacks are left out.

    names: part -> node names that mean it, lower case; a node's own name counts without its case and what follows a dot
           ("Hair.001"), and holds for the nodes below it that have none of these names.
    """
    data = bytes(source) if isinstance(source, bytes | bytearray) else read_file(Path(source), "GLB file")
    gltf, binary = split_chunks(data)
    rows = Entry(gltf, "the file").listed("nodes")
    labels = _labels([Entry(row, f"nodes[{k}]") for k, row in enumerate(rows)], names)
    found: dict[str, Mesh] = {}
    for part in names:
        if not any(label == part and "mesh" in row for label, row in zip(labels, rows, strict=True)):
            continue
        kept = [row if label == part else {k: v for k, v in row.items() if k != "mesh"}
                for label, row in zip(labels, rows, strict=True)]
        found[part] = weld_vertices(read_glb_document({**gltf, "nodes": kept}, binary, notes))
    return found


def read_glb_document(gltf: dict, binary: memoryview | None, notes: Notes | None = None) -> Mesh:
    """The scene of a GLB whose JSON was changed after it was read; not welded.  InputError as :func:`read_glb`."""
    with np.errstate(over="ignore", invalid="ignore"):
        return _Reader(Entry(gltf, "the file"), binary, notes or Notes(), nothing_beside).mesh()


def _labels(nodes: list[Entry], names: Mapping[str, Sequence[str]]) -> list[str | None]:
    """The part that each node belongs to."""
    parents = {child: k for k, node in enumerate(nodes) for child in node.indices("children")}
    own = [next((part for part, known in names.items() if str(node.data.get("name", "")).lower().split(".")[0] in known), None)
           for node in nodes]
    labels: list[str | None] = []
    for k in range(len(nodes)):
        at, steps = k, 0
        while own[at] is None and at in parents and steps < len(nodes):  # damaged files have circles
            at, steps = parents[at], steps + 1
        labels.append(own[at])
    return labels


def read_extras(source: bytes | str | os.PathLike) -> dict:
    """``asset.extras`` of a GLB, {} where absent."""
    data = bytes(source) if isinstance(source, bytes | bytearray) else read_file(Path(source), "GLB file")
    return Entry(split_chunks(data)[0], "the file").inner("asset").inner("extras").data


def read_file(path: Path, name: str) -> bytes:
    """The bytes of a file; InputError where it cannot be read or is too large."""
    try:
        if not path.is_file():  # a device or a pipe has no end
            raise InputError(name, "a file", f"{path.name}, which is none", "Check the path.")
        within(name, path.stat().st_size, BYTES, "bytes")
        return path.read_bytes()
    except OSError as error:
        raise InputError(name, "a file that can be read", f"{path} ({error.strerror})", "Check the path.") from error


class _Reader:
    def __init__(self, root: Entry, binary: memoryview | None, notes: Notes, beside: Beside):
        check_required(root)
        self.root, self.notes = root, notes
        self.buffers = Buffers(root, binary, beside)
        self.materials = Materials(root, self.buffers, notes)
        self.skins = Skins(root, self.buffers, notes)
        self.looks: list[Look] = []
        self.rows: list[tuple] = []  # (vertices, faces, uvs or None, colors or None) of every primitive at every place

    def mesh(self) -> Mesh:
        """All triangles of the file's scene."""
        for placed, primitive in self._counted():
            self._add(placed, primitive)
        if not self.rows:
            raise bad("a file without triangles")
        animations = len(self.root.listed("animations"))
        if animations:
            self.notes.say("an animation was dropped" if animations == 1 else f"{animations} animations were dropped")
        return assemble(check_soup(self._soup(), "GLB file"), self.notes)

    def _counted(self) -> list[tuple[Placed, Entry]]:
        """Every primitive to be read, after all of them together were found small enough."""
        found, parts, vertices, faces = [], 0, 0, 0
        for placed in placed_meshes(self.root, self.buffers, self.notes):
            mesh, copies = self.root.item("meshes", placed.mesh), len(placed.worlds)
            for k, data in enumerate(mesh.listed("primitives")):
                primitive = Entry(data, f"{mesh.where}, primitive {k}")
                parts = within("GLB file", parts + copies, PARTS, "parts")
                corners = self._corners(primitive)
                if not corners:
                    continue
                count = self.buffers.count(primitive.inner("attributes").whole("POSITION"))
                vertices = within("GLB file", vertices + copies * count, VERTICES, "vertices")
                faces = within("GLB file", faces + copies * corners, FACES, "faces")
                found.append((placed, primitive))
        return found

    def _corners(self, primitive: Entry) -> int:
        """How many triangles a primitive has at least, before anything of it is read; 0: none to be drawn."""
        mode, attributes = primitive.whole("mode", _TRIANGLES, most=6), primitive.inner("attributes")
        if mode not in (_TRIANGLES, _STRIP, _FAN):
            self.notes.say("points and lines were dropped")
            return 0
        if "POSITION" not in attributes:
            return 0
        draco = "KHR_draco_mesh_compression"
        if draco in primitive.inner("extensions") and not self._has_data(attributes.whole("POSITION")):
            raise bad(f"one whose faces are compressed ({draco})", "Export it without compression.")
        index = primitive.whole("indices") if "indices" in primitive else attributes.whole("POSITION")
        count = self.buffers.count(index)
        return count // 3 if mode == _TRIANGLES else max(count - 2, 0)

    def _has_data(self, accessor: int) -> bool:
        entry = self.root.item("accessors", accessor)
        return "bufferView" in entry or "sparse" in entry

    def _add(self, placed: Placed, primitive: Entry) -> None:
        attributes = primitive.inner("attributes")
        local = self.buffers.accessor(attributes.whole("POSITION"), ("VEC3",)).astype(np.float64)
        self._morph(local, placed, primitive)
        faces = self._faces(primitive, len(local))
        material = primitive.whole("material") if "material" in primitive else None
        look, coordinates, affine = self.materials.look(material)
        colors, uvs = self._colors(attributes, len(local)), None
        if f"TEXCOORD_{coordinates}" in attributes:
            rows = self.buffers.accessor(attributes.whole(f"TEXCOORD_{coordinates}"), ("VEC2",))
            uvs = transformed(self._as_many(rows, len(local), "texture coordinates"), affine)
        skin = self.skins.of(placed.node, attributes, len(local))
        for world in placed.worlds if skin is None else placed.worlds[:1]:
            if skin is not None:
                vertices, mirrored = skin.bend(local), skin.mirrors(faces)
                turned = np.where(mirrored[:, None], faces[:, ::-1], faces)
            else:
                vertices = local @ world[:3, :3].T + world[:3, 3]
                turned = faces[:, ::-1].copy() if np.linalg.det(world[:3, :3]) < 0 else faces
            vertices = vertices.astype(np.float32)  # a mirror turned counter-clockwise into clockwise above
            if not np.isfinite(vertices).all():
                raise damaged(f"{primitive.where} reaches beyond the range of numbers")
            self.looks.append(look)
            self.rows.append((torch.from_numpy(vertices), torch.from_numpy(turned), uvs, colors))

    def _faces(self, primitive: Entry, count: int) -> np.ndarray:
        if "indices" in primitive:
            order = self.buffers.accessor(primitive.whole("indices"), ("SCALAR",), "u").reshape(-1).astype(np.int64)
        else:
            order = np.arange(count)
        if int(order.max(initial=0)) >= count:
            raise damaged(f"{primitive.where}: faces refer to vertex {int(order.max())} of {count}")
        return _triangles(order, primitive.whole("mode", _TRIANGLES))

    def _morph(self, local: np.ndarray, placed: Placed, primitive: Entry) -> None:
        """Moves ``local`` by the morph targets, as far as the file's weights say so."""
        targets = primitive.listed("targets")
        if not targets:
            return
        mesh = self.root.item("meshes", placed.mesh)
        holder = placed.node if "weights" in placed.node else mesh
        weights = holder.numbers("weights", len(targets), (0.0,) * len(targets))
        within("GLB file", sum(map(bool, weights)) * len(local), VERTICES, "vertices moved by morph targets")
        for k, weight in enumerate(weights):
            target = Entry(targets[k], f"{primitive.where}, target {k}")
            if weight and "POSITION" in target:
                delta = self.buffers.accessor(target.whole("POSITION"), ("VEC3",))
                local += weight * self._as_many(delta, len(local), "moved vertices")
        self.notes.say(f"{len(targets)} morph targets stay as the file sets them")

    def _colors(self, attributes: Entry, count: int) -> torch.Tensor | None:
        """[V, 3] linear vertex colors or None."""
        if "COLOR_0" not in attributes:
            return None
        rows = self.buffers.accessor(attributes.whole("COLOR_0"), ("VEC3", "VEC4"))
        if rows.dtype.kind in "iu":  # the writer forgot to say that they are normalized
            rows = rows.astype(np.float32) / np.iinfo(rows.dtype).max
        return torch.from_numpy(self._as_many(rows, count, "colors")[:, :3].astype(np.float32))

    @staticmethod
    def _as_many(rows: np.ndarray, count: int, what: str) -> np.ndarray:
        if len(rows) != count:
            raise damaged(f"{len(rows)} {what} for {count} vertices")
        return rows

    def _soup(self) -> Soup:
        vertices, faces, _, _ = (list(column) for column in zip(*self.rows, strict=True))
        starts = np.cumsum([0] + [len(v) for v in vertices[:-1]]).tolist()
        looks = {id(look): look for look in self.looks}
        number = {key: k for k, key in enumerate(looks)}
        look = torch.cat([torch.full((len(f),), number[id(m)]) for m, f in zip(self.looks, faces, strict=True)])
        soup = Soup(torch.cat(vertices), torch.cat([f + start for f, start in zip(faces, starts, strict=True)]), look,
                    list(looks.values()))
        return replace(soup, **self._coordinates(soup.faces), colors=self._all_colors())

    def _coordinates(self, faces: torch.Tensor) -> dict:
        """Texture coordinates per vertex, and the faces that have them."""
        rows = [(torch.zeros(len(v), 2) if uvs is None else uvs) for v, _, uvs, _ in self.rows]
        there = torch.cat([torch.full((len(f), 1), uvs is not None) for _, f, uvs, _ in self.rows])
        if not bool(there.any()):
            return {}
        return {"uvs": torch.cat(rows), "face_uvs": torch.where(there, faces, -1)}

    def _all_colors(self) -> torch.Tensor | None:
        if all(colors is None for *_, colors in self.rows):
            return None
        return torch.cat([torch.ones(len(v), 3) if colors is None else colors for v, _, _, colors in self.rows])


def _triangles(order: np.ndarray, mode: int) -> np.ndarray:
    if mode == _TRIANGLES:
        return order[: len(order) // 3 * 3].reshape(-1, 3)
    if len(order) < 3:
        return np.zeros((0, 3), np.int64)
    if mode == _FAN:
        return np.stack([np.full(len(order) - 2, order[0]), order[1:-1], order[2:]], axis=-1)
    strip = np.stack([order[:-2], order[1:-1], order[2:]], axis=-1)
    strip[1::2] = strip[1::2][:, [1, 0, 2]]
    return strip
