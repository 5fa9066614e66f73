"""Reads binary glTF 2.0 into one mesh: nodes are flattened, primitives merged, one texture kept.

Written for this pack's files and for those of other writers: node transforms (mirrors included), strips and
fans, strided, normalized and sparse accessors, data URIs.  Several different textures become vertex colors.
"""

from __future__ import annotations

import base64
import json
import os
import struct
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..core.errors import InputError
from ..core.mesh import Mesh
from .color import decode_image, linear_to_srgb, srgb_to_linear

_TYPES = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT2": 4, "MAT3": 9, "MAT4": 16}
_COMPONENTS = {5120: "<i1", 5121: "<u1", 5122: "<i2", 5123: "<u2", 5125: "<u4", 5126: "<f4"}


def read_glb(source: bytes | str | os.PathLike, weld: bool = True) -> Mesh:
    """GLB bytes or path -> Mesh in the file's units (glTF's frame is the project's frame).

    weld: corners with the same position (and color) become one vertex again, so that a closed surface with
    texture seams reads as closed.  Raises InputError for anything that is not a readable triangle GLB.
    """
    data = source if isinstance(source, bytes | bytearray) else _load(Path(source))
    try:
        scene = _Document(*_chunks(bytes(data)))
        parts = [part for node, matrix in scene.placed_meshes() for part in scene.primitives(node, matrix)]
        if not parts:
            raise _bad("a file without triangles")
        mesh = _merge(parts)
    except InputError:
        raise
    except (KeyError, IndexError, ValueError, TypeError, struct.error) as error:
        raise _bad(f"a damaged file ({type(error).__name__}: {error})") from error
    return _weld(mesh) if weld else mesh


def read_extras(source: bytes | str | os.PathLike) -> dict:
    """``asset.extras`` of a GLB, {} where absent."""
    data = source if isinstance(source, bytes | bytearray) else _load(Path(source))
    return _chunks(bytes(data))[0].get("asset", {}).get("extras", {})


@dataclass(frozen=True)
class _Part:
    vertices: Tensor
    faces: Tensor
    uvs: Tensor | None
    colors: Tensor  # [V, 3] linear, base color factor included
    texture: Tensor | None


def _bad(got: str) -> InputError:
    return InputError("GLB file", "a binary glTF 2.0 with triangles", got, "Export the model again as plain .glb.")


def _load(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        got = f"{path} ({error.strerror})"
        raise InputError("GLB file", "a file that can be read", got, "Check the path.") from error


def _chunks(data: bytes) -> tuple[dict, bytes]:
    if len(data) < 20 or data[:4] != b"glTF":
        raise _bad("something else (no glTF header)")
    version, total = struct.unpack_from("<II", data, 4)
    if version != 2:
        raise _bad(f"version {version}")
    if total > len(data):
        raise _bad(f"a truncated file ({len(data)} of {total} bytes)")
    text, binary, offset = b"", b"", 12
    while offset + 8 <= total:
        length, kind = struct.unpack_from("<I4s", data, offset)
        body = data[offset + 8 : offset + 8 + length]
        if kind == b"JSON":
            text = body
        elif kind == b"BIN\0":
            binary = body
        offset += 8 + length
    return json.loads(text), binary


class _Document:
    def __init__(self, gltf: dict, binary: bytes):
        for extension in gltf.get("extensionsRequired", []):
            if extension in ("KHR_draco_mesh_compression", "EXT_meshopt_compression", "KHR_texture_basisu"):
                raise _bad(f"one that needs {extension}")
        self.gltf, self.binary, self.textures = gltf, binary, {}

    def placed_meshes(self):
        """(mesh, world matrix [4, 4]) of every node of the scene that has a mesh."""
        nodes, scenes = self.gltf.get("nodes", []), self.gltf.get("scenes", [])
        children = {c for node in nodes for c in node.get("children", [])}
        roots = scenes[self.gltf.get("scene", 0)].get("nodes", []) if scenes else set(range(len(nodes))) - children
        queue = [(index, np.eye(4), 0) for index in sorted(roots)]
        while queue:
            index, parent, depth = queue.pop(0)
            if depth > len(nodes):
                raise _bad("a node hierarchy with a cycle")
            node = nodes[index]
            matrix = parent @ _local_matrix(node)
            if "mesh" in node:
                yield self.gltf["meshes"][node["mesh"]], matrix
            queue += [(child, matrix, depth + 1) for child in node.get("children", [])]

    def primitives(self, mesh: dict, matrix: np.ndarray):
        for primitive in mesh["primitives"]:
            if primitive.get("mode", 4) in (4, 5, 6) and "POSITION" in primitive["attributes"]:
                yield self._primitive(primitive, matrix)

    def _primitive(self, primitive: dict, matrix: np.ndarray) -> _Part:
        attributes = primitive["attributes"]
        local = self.accessor(attributes["POSITION"]).astype(np.float64)
        vertices = local @ matrix[:3, :3].T + matrix[:3, 3]
        order = self.accessor(primitive["indices"]).reshape(-1) if "indices" in primitive else np.arange(len(local))
        faces = _triangles(order.astype(np.int64), primitive.get("mode", 4))
        if np.linalg.det(matrix[:3, :3]) < 0:
            faces = faces[:, ::-1].copy()  # a mirror turns counter-clockwise into clockwise
        factor, texture, texcoord = self._material(primitive.get("material"))
        colors = torch.tensor(factor[:3]).expand(len(local), 3)
        if "COLOR_0" in attributes:
            colors = colors * torch.from_numpy(self.accessor(attributes["COLOR_0"])[:, :3].astype(np.float32))
        uvs = None
        if f"TEXCOORD_{texcoord}" in attributes:
            uvs = torch.from_numpy(self.accessor(attributes[f"TEXCOORD_{texcoord}"]).astype(np.float32))
        return _Part(torch.from_numpy(vertices.astype(np.float32)), torch.from_numpy(faces), uvs, colors, texture)

    def _material(self, index: int | None) -> tuple[list, Tensor | None, int]:
        if index is None:
            return [1.0, 1.0, 1.0], None, 0
        pbr = self.gltf["materials"][index].get("pbrMetallicRoughness", {})
        reference = pbr.get("baseColorTexture")
        texture = self.texture(reference["index"]) if reference else None
        return pbr.get("baseColorFactor", [1.0] * 4), texture, (reference or {}).get("texCoord", 0)

    def texture(self, index: int) -> Tensor:
        source = self.gltf["textures"][index]["source"]
        if source not in self.textures:
            image = self.gltf["images"][source]
            raw = self.view(image["bufferView"]) if "bufferView" in image else _data_uri(image.get("uri", ""))
            self.textures[source] = decode_image(raw)
        return self.textures[source]

    def view(self, index: int) -> bytes:
        view = self.gltf["bufferViews"][index]
        buffer = self.gltf["buffers"][view["buffer"]]
        raw = _data_uri(buffer["uri"]) if "uri" in buffer else self.binary
        start = view.get("byteOffset", 0)
        return raw[start : start + view["byteLength"]]

    def accessor(self, index: int) -> np.ndarray:
        """[count, components], normalized integers as floats."""
        entry = self.gltf["accessors"][index]
        dtype, width = np.dtype(_COMPONENTS[entry["componentType"]]), _TYPES[entry["type"]]
        values = np.zeros((entry["count"], width), dtype)
        if "bufferView" in entry:
            stride = self.gltf["bufferViews"][entry["bufferView"]].get("byteStride", dtype.itemsize * width)
            raw, start = self.view(entry["bufferView"]), entry.get("byteOffset", 0)
            shape, strides = (entry["count"], width), (stride, dtype.itemsize)
            values = np.ndarray(shape, dtype, raw, start, strides).copy()
        if "sparse" in entry:
            self._apply_sparse(values, entry["sparse"], dtype, width)
        if entry.get("normalized") and dtype.kind in "iu":
            return np.maximum(values.astype(np.float32) / np.iinfo(dtype).max, -1.0)
        return values

    def _apply_sparse(self, values: np.ndarray, sparse: dict, dtype: np.dtype, width: int) -> None:
        where, what, count = sparse["indices"], sparse["values"], sparse["count"]
        rows = np.frombuffer(
            self.view(where["bufferView"]), _COMPONENTS[where["componentType"]], count, where.get("byteOffset", 0)
        )
        new = np.frombuffer(self.view(what["bufferView"]), dtype, count * width, what.get("byteOffset", 0))
        values[rows.astype(np.int64)] = new.reshape(count, width)


def _data_uri(uri: str) -> bytes:
    if not uri.startswith("data:"):
        raise _bad(f"one that refers to another file ({uri[:60]!r})")
    return base64.b64decode(uri.split(",", 1)[1])


def _local_matrix(node: dict) -> np.ndarray:
    if "matrix" in node:
        return np.array(node["matrix"], dtype=np.float64).reshape(4, 4).T  # stored column by column
    x, y, z, w = node.get("rotation", [0.0, 0.0, 0.0, 1.0])
    rotation = np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )
    matrix = np.eye(4)
    matrix[:3, :3] = rotation * np.array(node.get("scale", [1.0, 1.0, 1.0]))
    matrix[:3, 3] = node.get("translation", [0.0, 0.0, 0.0])
    return matrix


def _triangles(order: np.ndarray, mode: int) -> np.ndarray:
    if mode == 4:
        return order[: len(order) // 3 * 3].reshape(-1, 3)
    if mode == 6:
        return np.stack([np.full(len(order) - 2, order[0]), order[1:-1], order[2:]], axis=-1)
    strip = np.stack([order[:-2], order[1:-1], order[2:]], axis=-1)
    strip[1::2] = strip[1::2][:, [1, 0, 2]]
    return strip


def _merge(parts: list[_Part]) -> Mesh:
    textures = {id(p.texture): p.texture for p in parts if p.texture is not None}
    offsets = np.cumsum([0] + [len(p.vertices) for p in parts[:-1]]).tolist()
    vertices = torch.cat([p.vertices for p in parts])
    faces = torch.cat([p.faces + o for p, o in zip(parts, offsets, strict=True)])
    if len(textures) == 1 and all(p.texture is not None and p.uvs is not None for p in parts):
        texture, factor = parts[0].texture, parts[0].colors[:1]
        uniform = all(bool((p.colors == factor).all()) for p in parts)
        uvs = [p.uvs for p in parts if p.uvs is not None]
        if uniform and texture is not None:
            if not bool((factor == 1).all()):
                texture = linear_to_srgb((srgb_to_linear(texture) * factor).clamp(0, 1))
            return Mesh(vertices, faces, None, torch.cat(uvs), faces, texture)
    plain = not textures and all(bool((p.colors == 1).all()) for p in parts)
    colors = None if plain else linear_to_srgb(torch.cat([_vertex_colors(p) for p in parts]).clamp(0, 1))
    if len(parts) == 1 and parts[0].uvs is not None:
        return Mesh(vertices, faces, colors, parts[0].uvs, faces)
    return Mesh(vertices, faces, colors)


def _vertex_colors(part: _Part) -> Tensor:
    if part.texture is None or part.uvs is None:
        return part.colors
    height, width = part.texture.shape[:2]
    column = (part.uvs[:, 0].remainder(1.0) * width).long().clamp(max=width - 1)
    row = (part.uvs[:, 1].remainder(1.0) * height).long().clamp(max=height - 1)
    return part.colors * srgb_to_linear(part.texture[row, column])


def _weld(mesh: Mesh) -> Mesh:
    rows = mesh.vertices if mesh.vertex_colors is None else torch.cat([mesh.vertices, mesh.vertex_colors], dim=-1)
    raw = np.ascontiguousarray(rows.numpy() + 0.0)  # + 0.0 turns -0 into 0, their bytes differ
    _, first, inverse = np.unique(raw, axis=0, return_index=True, return_inverse=True)
    order = np.argsort(first, kind="stable")  # keep the file's order
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    kept, new = torch.from_numpy(first[order]), torch.from_numpy(rank[inverse.reshape(-1)])
    colors = None if mesh.vertex_colors is None else mesh.vertex_colors[kept]
    return replace(mesh, vertices=mesh.vertices[kept], faces=new[mesh.faces], vertex_colors=colors)
