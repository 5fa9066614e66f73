"""Good files to start from: small, and with every feature that the readers follow."""

from __future__ import annotations

import io
import json
import struct
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from ..pipelines.core.layers import LayeredMesh
from ..pipelines.core.mesh import Mesh
from ..pipelines.io.glb import write_glb
from ..pipelines.io.manifest import run_manifest, write_manifest
from ..pipelines.stages.characters.refined_layers import RefinedLayers
from ..pipelines.stages.loop.scene import Scene

_POINTS = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0.5]], np.float32)
_CORNERS = np.array([[0, 0], [1, 0], [1, 1.5], [0, 1]], np.float32)
_FACES = np.array([[0, 1, 2], [0, 2, 3]])


def picture(kind: str = "PNG", side: int = 8) -> bytes:
    """A small picture."""
    from PIL import Image

    pixels = (np.arange(side * side * 3).reshape(side, side, 3) * 7 % 256).astype(np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, kind)
    return stream.getvalue()


def mesh() -> Mesh:
    """Two triangles with a texture."""
    faces = torch.from_numpy(_FACES)
    texture = torch.rand(6, 5, 3, generator=torch.Generator().manual_seed(0))
    return Mesh(torch.from_numpy(_POINTS), faces, None, torch.from_numpy(_CORNERS).clamp(0, 1), faces, texture)


def glb_chunks(gltf: dict, binary: bytes) -> bytes:
    """A GLB around a JSON and a binary chunk."""
    text = json.dumps(gltf).encode()
    text += b" " * (-len(text) % 4)
    binary += b"\0" * (-len(binary) % 4)
    chunks = struct.pack("<I4s", len(text), b"JSON") + text + struct.pack("<I4s", len(binary), b"BIN\0") + binary
    return struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks


def rich_glb() -> bytes:
    """Two materials, a moved texture, vertex colors, a skin, a morph target, instances, sparse positions, a strip."""
    binary, views, accessors = bytearray(), [], []

    def view(raw: bytes) -> int:
        binary.extend(b"\0" * (-len(binary) % 4))
        views.append({"buffer": 0, "byteOffset": len(binary), "byteLength": len(raw)})
        binary.extend(raw)
        return len(views) - 1

    def accessor(values, kind: str, dtype: str, code: int, **more) -> int:
        values = np.asarray(values, dtype)
        place = view(values.tobytes())
        accessors.append({"bufferView": place, "componentType": code, "count": len(values), "type": kind, **more})
        return len(accessors) - 1

    position, uv = accessor(_POINTS, "VEC3", "<f4", 5126), accessor(_CORNERS, "VEC2", "<f4", 5126)
    accessors[position]["sparse"] = {
        "count": 1, "indices": {"bufferView": view(b"\1\0"), "componentType": 5123},
        "values": {"bufferView": view(np.array([1, 0.1, 0], np.float32).tobytes())}}
    colors = accessor(np.arange(16) * 15, "VEC4", "u1", 5121, normalized=True)
    accessors[colors]["count"] = 4
    joints, weights = accessor(np.zeros(16), "VEC4", "u1", 5121), accessor(np.tile([0.5, 0.5, 0.0, 0.0], 4), "VEC4", "<f4", 5126)
    accessors[joints]["count"] = accessors[weights]["count"] = 4
    bind = accessor(np.tile(np.eye(4).reshape(-1), 2), "MAT4", "<f4", 5126)
    accessors[bind]["count"] = 2
    faces, strip = accessor(_FACES.reshape(-1), "SCALAR", "<u2", 5123), accessor(range(4), "SCALAR", "u1", 5121)
    moved, places = accessor(_POINTS * 0.1, "VEC3", "<f4", 5126), accessor([[0, 0, 0], [2, 0, 0]], "VEC3", "<f4", 5126)
    base = {"POSITION": position, "TEXCOORD_0": uv}
    gltf = {
        "asset": {"version": "2.0", "extras": {"seed": 1}}, "scene": 0, "scenes": [{"nodes": [0, 1, 2]}],
        "extensionsUsed": ["KHR_texture_transform", "EXT_mesh_gpu_instancing"],
        "nodes": [{"mesh": 0, "skin": 0, "weights": [0.5]}, {"children": [3, 4], "rotation": [0, 0, 0, 1], "scale": [1, 2, 1]},
                  {"mesh": 1, "extensions": {"EXT_mesh_gpu_instancing": {"attributes": {"TRANSLATION": places}}}},
                  {"mesh": 1, "translation": [0, 0, 1]}, {"matrix": np.eye(4).reshape(-1).tolist()}],
        "skins": [{"joints": [3, 4], "inverseBindMatrices": bind}],
        "meshes": [{"primitives": [{"attributes": {**base, "JOINTS_0": joints, "WEIGHTS_0": weights}, "indices": faces,
                                    "material": 0, "targets": [{"POSITION": moved}]}]},
                   {"primitives": [{"attributes": {**base, "COLOR_0": colors}, "indices": strip, "mode": 5, "material": 1}]}],
        "materials": [{"pbrMetallicRoughness": {"baseColorTexture": {"index": 0, "extensions": {"KHR_texture_transform": {
            "offset": [0.1, 0.2], "rotation": 0.3, "scale": [1.5, 1]}}}, "baseColorFactor": [1, 0.5, 1, 1]}},
                      {"emissiveFactor": [1, 1, 1], "pbrMetallicRoughness": {"baseColorTexture": {"index": 1}}}],
        "textures": [{"source": 0, "sampler": 0}, {"source": 0, "extensions": {"EXT_texture_webp": {"source": 1}}}],
        "samplers": [{"wrapS": 33648, "wrapT": 10497}],
        "images": [{"bufferView": view(picture()), "mimeType": "image/png"}, {"bufferView": view(picture("WEBP"))}],
        "animations": [{"channels": [], "samplers": []}], "accessors": accessors, "bufferViews": views,
    }
    gltf["buffers"] = [{"byteLength": len(binary)}]
    return glb_chunks(gltf, bytes(binary))


OBJ = b"""# a comment
mtllib a.mtl
v 0 0 0 0.1 0.2 0.3
v 1 0 0 1 1 1
v 1 1 0 0 1 0
v 0 1 0 0 0 1
v 0.5 0.2 0.5 1 0 0
vt 0 0
vt 1 0
vt 1 1.5
vn 0 0 1
usemtl m
f 1/1/1 2/2/1 3/3/1 \\
  4/1/1
usemtl n
f 1 2 5
f -5 -4 -3 -2 -1
"""
MTL = b"newmtl m\nKd 0.5 1 1\nmap_Kd -s 2 1 1 -o 0.1 0 0 a.png\nd 0.5\nnewmtl n\nKd 1 0 0\nmap_Bump b.png\n"
_PLY_HEAD = ("element vertex 4\nproperty float x\nproperty float y\nproperty float z\nproperty uchar red\nproperty uchar green\n"
             "property uchar blue\nelement face 2\nproperty list uchar int vertex_indices\nend_header\n")
PLY_TEXT = ("ply\nformat ascii 1.0\ncomment TextureFile a.png\n" + _PLY_HEAD
            + "0 0 0 1 2 3\n1 0 0 1 2 3\n1 1 0 1 2 3\n0 1 0 9 9 9\n4 0 1 2 3\n3 0 1 2\n").encode()
PLY_BINARY = (("ply\nformat binary_little_endian 1.0\n" + _PLY_HEAD).encode()
              + b"".join(struct.pack("<3f3B", *p, 1, 2, 3) for p in _POINTS) + struct.pack("<B4iB3i", 4, 0, 1, 2, 3, 3, 0, 1, 2))
STL_TEXT = b"solid a\nfacet normal 0 0 1\nouter loop\nvertex 0 0 0\nvertex 1 0 0\nvertex 0 1 0\nendloop\nendfacet\nendsolid a\n"
STL_BINARY = b"\0" * 80 + struct.pack("<I12fH", 1, *([0] * 6), 1, 0, 0, 0, 1, 0, 0)


def _saved(write: Callable[[Path], object]) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "seed.safetensors"
        write(path)
        return path.read_bytes()


def scene() -> bytes:
    """A scene file, of the smallest size that loads."""
    generator = torch.Generator().manual_seed(0)
    reference = {"size": 8, "prompt": "a box", "negative": "", "depth_is_metric": False}
    tensors = {"reference/c2w": torch.eye(4)[None], "reference/fovy": torch.ones(1), "reference/alpha": torch.ones(1, 8, 8),
               "field/a": torch.rand(4, 3, generator=generator), "reference/rgb": torch.rand(1, 8, 8, 3, generator=generator),
               "optim/step": torch.tensor(3)}
    return _saved(Scene("nerf", tensors, {"step": 1, "total": 2, "seed": 3, "reference": reference}).save)


def layers() -> bytes:
    """A file of layers."""
    given = LayeredMesh({"body": mesh(), "hair": mesh()})
    reach = {"hair in body": {"deepest": 0.1, "share": 0.5}}
    return _saved(RefinedLayers(given, finished=("body",), notes=("a note",), reach=reach).save)


def checkpoint(old: bool = False) -> bytes:
    """A pickled checkpoint, in torch's archive or in the format before it."""
    stream = io.BytesIO()
    weights = {"a.weight": torch.arange(6.0).reshape(2, 3), "b.bias": torch.ones(2, dtype=torch.float16)}
    torch.save({"state_dict": weights, "epoch": 3}, stream, _use_new_zipfile_serialization=not old)
    return stream.getvalue()


def manifest() -> bytes:
    """A run's record."""
    record = run_manifest("consistent123", {"steps": 10}, 3, {"nerf": 1.5},
                          results={"faces": 12, "metrics": {"metrics": {"iou": 1}}},
                          batch={"key": "k", "item": "1", "value": "a"})
    return _saved(lambda path: write_manifest(path, record))


# kind of file -> its good examples
SEEDS: dict[str, Callable[[], list[bytes]]] = {
    "glb": lambda: [rich_glb(), write_glb(None, mesh(), {"seed": 1})],
    "obj": lambda: [OBJ],
    "mtl": lambda: [MTL],
    "ply": lambda: [PLY_TEXT, PLY_BINARY],
    "stl": lambda: [STL_TEXT, STL_BINARY],
    "picture": lambda: [picture(), picture("JPEG"), picture("WEBP"), picture("AVIF")],
    "scene": lambda: [scene()],
    "layers": lambda: [layers()],
    "checkpoint": lambda: [checkpoint(), checkpoint(old=True)],
    "manifest": lambda: [manifest()],
}
