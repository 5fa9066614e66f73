"""Small GLB files written by hand, so that a test can put anything into them."""

import io
import json
import struct

import numpy as np
from PIL import Image

CODES = {"int8": 5120, "uint8": 5121, "int16": 5122, "uint16": 5123, "uint32": 5125, "float32": 5126}
KINDS = {1: "SCALAR", 2: "VEC2", 3: "VEC3", 4: "VEC4", 16: "MAT4"}

# The box of the case files: x -0.2..0.8, y -0.9..1.1, z -0.25..0.25; four corners per side, counter-clockwise.
LOW, HIGH = np.array([-0.2, -0.9, -0.25]), np.array([0.8, 1.1, 0.25])


def box() -> tuple:
    """(positions [24, 3], uvs [24, 2], faces [12, 3]); side s shows the rectangle column s % 3, row s // 3 of 3 x 2."""
    points, uvs = [], []
    for side in range(6):
        axis, up = side // 2, side % 2
        a, b = (axis + 1) % 3, (axis + 2) % 3
        corners = [(0, 0), (1, 0), (1, 1), (0, 1)] if up else [(0, 0), (0, 1), (1, 1), (1, 0)]
        for x, y in corners:
            unit = np.zeros(3)
            unit[axis], unit[a], unit[b] = up, x, y
            points.append(LOW + unit * (HIGH - LOW))
            uvs.append([(side % 3 + 0.2 + 0.6 * x) / 3, (side // 3 + 0.2 + 0.6 * y) / 2])
    faces = [[4 * s + i for i in t] for s in range(6) for t in ((0, 1, 2), (0, 2, 3))]
    return np.float32(points), np.float32(uvs), np.array(faces)


SIDE_COLORS = np.array([[230, 40, 40], [40, 200, 60], [50, 80, 230], [240, 220, 40], [40, 210, 220], [220, 60, 210]])


def six_colors(height: int = 32, width: int = 48) -> np.ndarray:
    """[H, W, 3] uint8: three columns and two rows of plain colors."""
    rows, columns = np.arange(height) * 2 // height, np.arange(width) * 3 // width
    return SIDE_COLORS[rows[:, None] * 3 + columns].astype(np.uint8)


def encoded(pixels: np.ndarray, kind: str = "PNG", **options) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, kind, **options)
    return stream.getvalue()


class Tiny:
    """A glTF document under construction; ``gltf`` is its JSON, free to be edited."""

    def __init__(self):
        self.data = bytearray()
        self.gltf = {"asset": {"version": "2.0"}, "scene": 0, "scenes": [{"nodes": [0]}], "nodes": [{"mesh": 0}],
                     "meshes": [{"primitives": []}], "accessors": [], "bufferViews": [], "materials": [], "textures": [],
                     "images": []}

    def view(self, raw: bytes, **more) -> int:
        self.data += b"\0" * (-len(self.data) % 4)
        self.gltf["bufferViews"].append({"buffer": 0, "byteOffset": len(self.data), "byteLength": len(raw), **more})
        self.data += raw
        return len(self.gltf["bufferViews"]) - 1

    def accessor(self, values, dtype: str = "float32", **more) -> int:
        values = np.ascontiguousarray(values, dtype=np.dtype(dtype).newbyteorder("<"))
        values = values.reshape(len(values), -1)
        entry = {"bufferView": self.view(values.tobytes()), "componentType": CODES[dtype], "count": len(values),
                 "type": KINDS[values.shape[1]], **more}
        self.gltf["accessors"].append(entry)
        return len(self.gltf["accessors"]) - 1

    def picture(self, raw: bytes, **texture) -> int:
        """Index of a texture that shows an encoded picture."""
        self.gltf["images"].append({"bufferView": self.view(raw), "mimeType": "image/png"})
        self.gltf["textures"].append(texture or {"source": len(self.gltf["images"]) - 1})
        return len(self.gltf["textures"]) - 1

    def material(self, texture: int | None = None, factor=None, **more) -> int:
        pbr = {} if factor is None else {"baseColorFactor": [*factor, 1.0]}
        if texture is not None:
            pbr["baseColorTexture"] = {"index": texture}
        self.gltf["materials"].append({"pbrMetallicRoughness": pbr, **more})
        return len(self.gltf["materials"]) - 1

    def primitive(self, faces=None, material: int | None = None, mesh: int = 0, **attributes) -> dict:
        entry = {"attributes": attributes}
        if faces is not None:
            entry["indices"] = self.accessor(np.reshape(faces, -1), "uint16")
        if material is not None:
            entry["material"] = material
        self.gltf["meshes"][mesh]["primitives"].append(entry)
        return entry

    def packed(self) -> bytes:
        return pack({**{k: v for k, v in self.gltf.items() if v}, "buffers": [{"byteLength": len(self.data)}]},
                    bytes(self.data))


def pack(gltf: dict | bytes, binary: bytes | None) -> bytes:
    """A GLB around a JSON and a binary chunk (None: without one)."""
    text = gltf if isinstance(gltf, bytes) else json.dumps(gltf).encode()
    text += b" " * (-len(text) % 4)
    chunks = struct.pack("<I4s", len(text), b"JSON") + text
    if binary is not None:
        binary += b"\0" * (-len(binary) % 4)
        chunks += struct.pack("<I4s", len(binary), b"BIN\0") + binary
    return struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks


def textured_box(**look) -> Tiny:
    """The box with a picture of its six colors; ``look`` goes to ``material``."""
    tiny = Tiny()
    points, uvs, faces = box()
    texture = tiny.picture(encoded(six_colors()))
    tiny.primitive(faces, tiny.material(texture, **look), POSITION=tiny.accessor(points), TEXCOORD_0=tiny.accessor(uvs))
    return tiny


def shown_colors(mesh) -> np.ndarray:
    """[F, 3] in 0..255: the color in the middle of every face, as a renderer would show it."""
    if mesh.texture is None:
        return mesh.vertex_colors[mesh.faces].mean(1).numpy() * 255
    spots = mesh.uvs[mesh.face_uvs].double().mean(1).numpy() * mesh.texture.shape[1::-1]
    column, row = np.floor(spots).astype(int).T
    height, width = mesh.texture.shape[:2]
    return mesh.texture.numpy()[row.clip(0, height - 1), column.clip(0, width - 1)] * 255
