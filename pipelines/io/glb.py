"""Binary glTF 2.0 (GLB): one mesh or several named ones, smooth normals, embedded base-color textures.

The same mesh and extras give the same bytes on the same machine.
"""

from __future__ import annotations

import json
import os
import struct
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..core.errors import InputError
from ..core.mesh import Mesh
from ..ops.tangents import vertex_tangents
from .color import encode_png, srgb_to_linear
from .glb_reader import read_glb
from .material import Material

__all__ = ["read_glb", "write_glb", "write_glb_nodes"]

_FLOAT, _UINT32, _UINT16 = 5126, 5125, 5123
_VERTEX_DATA, _INDEX_DATA = 34962, 34963
_LINEAR, _LINEAR_MIPMAP_LINEAR, _CLAMP = 9729, 9987, 33071


def write_glb(
    path: str | os.PathLike | None, mesh: Mesh, extras: dict | None = None, name: str = "mesh", unlit: bool = False,
    material: Material | None = None,
) -> bytes:
    """Writes ``mesh`` and returns the file's bytes; ``path`` None only returns them.

    The texture is used when the mesh has one, else the vertex colors (COLOR_0, linearized as readers expect).
    extras: JSON-able dict for ``asset.extras``.  unlit: ask viewers to show colors without lighting.
    material: None is a matt surface that is no metal; with a normal map the vertices carry their tangents.
    Raises InputError for an empty or non-finite mesh, for maps without texture coordinates, and for a folder that cannot
    be written.
    """
    check_mesh(mesh)
    if material is not None and material.has_maps and mesh.uvs is None:
        raise InputError("mesh", "texture coordinates for its maps", "a mesh without any", "Unwrap it first, or leave out the "
                         "maps.")
    return write_document(path, _document({name: mesh.detach().to("cpu")}, None, extras, unlit, material))


def write_glb_nodes(
    path: str | os.PathLike | None, meshes: dict[str, Mesh], root: str, extras: dict | None = None, unlit: bool = False
) -> bytes:
    """As :func:`write_glb`, for several meshes: one node ``root`` with one child per mesh, named by its key.

    No node has a transform, so every tool sees the meshes in one frame, in meters.  Raises InputError also for no meshes.
    """
    if not meshes:
        raise InputError("meshes", "at least one mesh", "none", "Check the stage that made them.")
    for mesh in meshes.values():
        check_mesh(mesh)
    return write_document(path, _document({n: m.detach().to("cpu") for n, m in meshes.items()}, root, extras, unlit))


def write_document(path: str | os.PathLike | None, document: tuple[dict, bytes]) -> bytes:
    """Packs (JSON, binary chunk), writes them unless ``path`` is None, and returns the bytes."""
    data = pack(*document)
    if path is not None:
        save_bytes(path, data)
    return data


def save_bytes(path: str | os.PathLike, data: bytes) -> None:
    """Writes a file through a temporary neighbor, so that readers never see half of it."""
    path = Path(path)
    partial = path.with_name(path.name + ".partial")
    try:
        with open(partial, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError as error:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        raise InputError(
            "output path", "a folder that exists and can be written", f"{path} ({error.strerror})",
            "Free space, choose another output folder or change its permissions.",
        ) from error


def split_corners(mesh: Mesh) -> tuple[Tensor, Tensor, Tensor | None]:
    """(vertex [N], indices [F, 3], uv [N] or None): one entry per distinct (vertex, uv) pair of corners.

    glTF knows one UV per vertex, so a vertex on a texture seam is written once for each of its UVs.
    """
    if mesh.uvs is None:
        return torch.arange(len(mesh.vertices)), mesh.faces, None
    assert mesh.face_uvs is not None  # checked by Mesh
    keys = mesh.faces * len(mesh.uvs) + mesh.face_uvs
    unique, indices = torch.unique(keys.reshape(-1), return_inverse=True)
    vertex = torch.div(unique, len(mesh.uvs), rounding_mode="floor")
    return vertex, indices.reshape(-1, 3), unique - vertex * len(mesh.uvs)


def check_mesh(mesh: Mesh) -> None:
    """InputError for an empty or non-finite mesh."""
    if not len(mesh.faces):
        raise InputError("mesh", "at least one face", "an empty mesh", "Check the stage that made the mesh.")
    if not bool(torch.isfinite(mesh.vertices).all()):
        raise InputError("mesh", "finite vertex positions", "NaN or infinity", "Check the stage that made the mesh.")


class Buffer:
    """The binary chunk with its bufferViews and accessors."""

    def __init__(self):
        self.data, self.views, self.accessors = bytearray(), [], []

    def view(self, raw: bytes, target: int | None = None) -> int:
        """Index of a new bufferView with these bytes."""
        self.data += b"\0" * (-len(self.data) % 4)
        entry = {"buffer": 0, "byteOffset": len(self.data), "byteLength": len(raw)}
        self.views.append(entry | ({"target": target} if target else {}))
        self.data += raw
        return len(self.views) - 1

    def accessor(
        self, values: np.ndarray, kind: str, target: int | None, bounds: bool = False, component: int | None = None
    ) -> int:
        """Index of a new accessor; floats, but indices of vertices, unless ``component`` says so."""
        component = component or (_UINT32 if target == _INDEX_DATA else _FLOAT)
        dtype = {_UINT32: "<u4", _UINT16: "<u2", _FLOAT: "<f4"}[component]
        values = np.ascontiguousarray(values.astype(dtype))
        entry = {"bufferView": self.view(values.tobytes(), target), "componentType": component, "type": kind}
        entry["count"] = values.size if kind == "SCALAR" else len(values)
        if bounds:
            low, high = values.min(0), values.max(0)
            entry |= {"min": np.atleast_1d(low).tolist(), "max": np.atleast_1d(high).tolist()}
        self.accessors.append(entry)
        return len(self.accessors) - 1


def _document(
    meshes: dict[str, Mesh], root: str | None, extras: dict | None, unlit: bool, material: Material | None = None
) -> tuple[dict, bytes]:
    """(JSON, binary chunk); ``root`` names a node above all others, None puts the meshes into the scene directly."""
    buffer, count = Buffer(), len(meshes)
    nodes = [{"mesh": i, "name": name} for i, name in enumerate(meshes)]
    if root is not None:
        nodes.append({"name": root, "children": list(range(count))})
    gltf = {
        "asset": {"version": "2.0", "generator": "Lift123"},
        "scene": 0,
        "scenes": [{"nodes": [count] if root is not None else list(range(count))}],
        "nodes": nodes,
        "meshes": [],
        "materials": [],
    }
    for name, mesh in meshes.items():
        add_mesh(gltf, buffer, mesh, name, unlit, look=material)
    if unlit:
        gltf["extensionsUsed"] = ["KHR_materials_unlit"]
    if extras:
        gltf["asset"]["extras"] = extras
    gltf |= {"accessors": buffer.accessors, "bufferViews": buffer.views, "buffers": [{"byteLength": len(buffer.data)}]}
    return gltf, bytes(buffer.data)


def add_mesh(
    gltf: dict, buffer: Buffer, mesh: Mesh, name: str, unlit: bool, skin: tuple[np.ndarray, np.ndarray] | None = None,
    look: Material | None = None,
) -> None:
    """Adds a mesh with its material to ``gltf``.  skin: (bones [V, 4], weights [V, 4]) of the vertices."""
    vertex, indices, uv = split_corners(mesh)
    normals = vertex_normals(mesh)[vertex]
    attributes = {
        "POSITION": buffer.accessor(mesh.vertices[vertex].numpy(), "VEC3", _VERTEX_DATA, bounds=True),
        "NORMAL": buffer.accessor(normals.numpy(), "VEC3", _VERTEX_DATA),
    }
    look = look or Material()
    material = {"name": name, "doubleSided": True, "pbrMetallicRoughness": look.factors()}
    if uv is not None and mesh.uvs is not None:
        attributes["TEXCOORD_0"] = buffer.accessor(mesh.uvs[uv].numpy(), "VEC2", _VERTEX_DATA)
    if mesh.texture is not None:
        material["pbrMetallicRoughness"]["baseColorTexture"] = {"index": _picture(gltf, buffer, mesh.texture)}
    elif mesh.vertex_colors is not None:
        colors = srgb_to_linear(mesh.vertex_colors.clamp(0, 1))[vertex]
        attributes["COLOR_0"] = buffer.accessor(colors.numpy(), "VEC3", _VERTEX_DATA)
    if look.has_maps and uv is not None and mesh.uvs is not None:
        tangents = vertex_tangents(mesh.vertices[vertex], indices, mesh.uvs[uv], normals)
        _add_maps(gltf, buffer, look, material, attributes, tangents)
    if skin is not None:
        attributes["JOINTS_0"] = buffer.accessor(skin[0][vertex.numpy()], "VEC4", _VERTEX_DATA, component=_UINT16)
        attributes["WEIGHTS_0"] = buffer.accessor(skin[1][vertex.numpy()], "VEC4", _VERTEX_DATA)
    if unlit:
        material["extensions"] = {"KHR_materials_unlit": {}}
    triangles = buffer.accessor(indices.numpy().reshape(-1), "SCALAR", _INDEX_DATA)
    primitive = {"attributes": attributes, "indices": triangles, "material": len(gltf["materials"]), "mode": 4}
    gltf["materials"].append(material)
    gltf["meshes"].append({"name": name, "primitives": [primitive]})


def _picture(gltf: dict, buffer: Buffer, pixels: Tensor) -> int:
    """Index of a new texture with these pixels [H, W, 3]."""
    image = len(gltf.setdefault("images", []))
    gltf["images"].append({"bufferView": buffer.view(encode_png(pixels)), "mimeType": "image/png"})
    gltf["samplers"] = [{"magFilter": _LINEAR, "minFilter": _LINEAR_MIPMAP_LINEAR, "wrapS": _CLAMP, "wrapT": _CLAMP}]
    gltf.setdefault("textures", []).append({"sampler": 0, "source": image})
    return image


def _add_maps(gltf: dict, buffer: Buffer, look: Material, material: dict, attributes: dict, tangents: Tensor) -> None:
    packed = look.packed()
    if packed is not None:
        material["pbrMetallicRoughness"]["metallicRoughnessTexture"] = {"index": _picture(gltf, buffer, packed)}
    if look.normal is not None:
        attributes["TANGENT"] = buffer.accessor(tangents.numpy(), "VEC4", _VERTEX_DATA)
        material["normalTexture"] = {"index": _picture(gltf, buffer, look.normal)}


def vertex_normals(mesh: Mesh) -> Tensor:
    """[V, 3] unit normals; where none is defined +Y, because glTF demands unit length."""
    normals = mesh.vertex_normals()
    missing = normals.norm(dim=-1) < 0.5
    normals[missing] = torch.tensor([0.0, 1.0, 0.0])
    return normals


def pack(gltf: dict, binary: bytes) -> bytes:
    """A GLB's bytes from its JSON and its binary chunk."""
    text = json.dumps(gltf, separators=(",", ":"), sort_keys=True, allow_nan=False).encode()
    text += b" " * (-len(text) % 4)
    binary += b"\0" * (-len(binary) % 4)
    total = 12 + 8 + len(text) + 8 + len(binary)
    header = struct.pack("<4sII", b"glTF", 2, total)
    chunks = [struct.pack("<I4s", len(text), b"JSON"), text, struct.pack("<I4s", len(binary), b"BIN\0"), binary]
    return b"".join([header, *chunks])
