"""Small files that ask for a lot: refused by a limit that is named, within a second and 500 MB.

The files are read in a child process that cannot take more memory.
"""

import io
import struct
import zipfile
import zlib

import numpy as np
import pytest
import torch
from helpers.caged import caged
from helpers.gltf_tiny import Tiny, box, encoded, pack, textured_box
from lift123.pipelines.core.errors import InputError
from lift123.pipelines.io import limits
from lift123.pipelines.io.archives import check_archive
from lift123.pipelines.loaders.safe_pickle import load_pickle

SECONDS, ROOM = 1.0, 500 << 20


def scene(nodes: list, **more) -> bytes:
    tiny = textured_box()
    tiny.gltf |= {"nodes": nodes, **more}
    return tiny.packed()


def png(width: int, height: int, color: int = 0, whole: bool = True) -> bytes:
    """A picture of zeros: 13,000 x 13,000 pixels are 100 kB.  color: PNG's type, 0 gray of one bit, 2 RGB.

    whole: with all its pixels; else it only claims its size.
    """
    depth, line = (1, (width + 7) // 8) if color == 0 else (8, width * 3)
    header = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0)
    body = zlib.compress(b"\0" * (line + 1) * (height if whole else 1), 1)
    chunks = [(b"IHDR", header), (b"IDAT", body), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks)


def with_picture(raw: bytes) -> bytes:
    tiny = textured_box()
    tiny.gltf["images"][0] = {"bufferView": tiny.view(raw)}
    return tiny.packed()


def webp(kind: bytes, width: int, height: int) -> bytes:
    """A WebP header of a size that its file does not hold."""
    if kind == b"VP8X":
        body = b"\0" * 4 + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    else:
        body = b"\x2f" + struct.pack("<I", width - 1 | height - 1 << 14) + b"\0" * 20
    return b"RIFF" + struct.pack("<I", 12 + len(body)) + b"WEBP" + kind + struct.pack("<I", len(body)) + body


def sparse_count(count: int) -> bytes:
    tiny = textured_box()
    entry = tiny.gltf["accessors"][0]
    del entry["bufferView"]
    entry |= {"count": count, "sparse": {"count": 1, "indices": {"bufferView": tiny.view(b"\0" * 4), "componentType": 5125},
                                         "values": {"bufferView": tiny.view(b"\0" * 12)}}}
    return tiny.packed()


def many_primitives(count: int, rows: int) -> bytes:
    """One list of indices drawn again and again."""
    tiny = Tiny()
    points, indices = tiny.accessor(box()[0]), tiny.accessor(np.zeros(rows), "uint8")
    tiny.gltf["meshes"][0]["primitives"] = [{"attributes": {"POSITION": points}, "indices": indices}] * count
    return tiny.packed()


def many_instances(count: int) -> bytes:
    tiny = textured_box()
    scales = tiny.accessor(np.ones((count, 3)), "int8")
    tiny.gltf["accessors"][scales]["normalized"] = True
    tiny.gltf["nodes"][0]["extensions"] = {"EXT_mesh_gpu_instancing": {"attributes": {"SCALE": scales}}}
    return tiny.packed()


DOUBLING = [{"children": [k + 1, k + 1]} for k in range(60)] + [{"mesh": 0}]
LEAVES = [{"children": [k + 1, k + 1], **({"mesh": 0} if k > 5 else {})} for k in range(14)] + [{"mesh": 0}]
CHAIN = [{"children": [k + 1]} for k in range(100_000)] + [{"mesh": 0}]

# name -> (bytes, words of the message)
GLB = {
    "nodes that double 60 times": (lambda: scene(DOUBLING), "at most 65,536 nodes visited"),
    "meshes that double 14 times": (lambda: scene(LEAVES), "at most 20,000 parts"),
    "a chain of 100,000 nodes": (lambda: scene(CHAIN), "at most 65,536 nodes visited"),
    "a node with 100,000 children": (lambda: scene([{"children": [1] * 100_000}, {"mesh": 0}]), "65,536 nodes visited"),
    "a circle of nodes": (lambda: scene([{"children": [1]}, {"children": [2]}, {"children": [0]}]), "cycle"),
    "gray picture of 13,000 x 13,000": (lambda: with_picture(png(13_000, 13_000)), "at most 67,108,864 pixels"),
    "color picture of 9,000 x 9,000": (lambda: with_picture(png(9_000, 9_000, 2)), "at most 67,108,864 pixels"),
    "picture of 100,000 x 10": (lambda: with_picture(png(100_000, 10)), "at most 16,384 pixels along a side"),
    "picture that only claims its size": (lambda: with_picture(png(60_000, 60_000, whole=False)), "pixels"),
    "JPEG of 16,000 x 16,000": (lambda: with_picture(encoded(np.zeros((8, 8, 3), np.uint8), "JPEG").replace(
        struct.pack(">HH", 8, 8), struct.pack(">HH", 16_000, 16_000))), "at most 67,108,864 pixels"),
    "WebP of 16,383 x 16,383": (lambda: with_picture(webp(b"VP8X", 16_383, 16_383)), "at most 67,108,864 pixels"),
    "WebP without loss of 16,383 x 16,383": (lambda: with_picture(webp(b"VP8L", 16_383, 16_383)), "67,108,864 pixels"),
    "1e8 rows without a buffer": (lambda: sparse_count(10**8), "at most 45,000,000 rows"),
    "14,900,000 rows of nothing but one": (lambda: sparse_count(14_900_000), "at most 65,536 rows of zeros"),
    "4e7 rows without a buffer": (lambda: sparse_count(4 * 10**7), "at most 15,000,000 vertices"),
    "1e8 rows of nothing": (lambda: scene([{"mesh": 0}], accessors=[{"count": 10**8, "type": "VEC3", "componentType": 5126}]
                                          * 3), "at most 45,000,000 rows"),
    "40,000 parts": (lambda: many_primitives(40_000, 3), "at most 20,000 parts"),
    "6,000,000 faces from 60,000 bytes": (lambda: many_primitives(300, 60_000), "at most 5,000,000 faces"),
    "700,000 instances": (lambda: many_instances(700_000), "at most 20,000 parts"),
    "JSON of 100,000 levels": (lambda: pack(b'{"nodes":' + b"[" * 100_000, b""), "nested too deeply|its JSON"),
    "JSON of 5,000,000 values": (lambda: pack(b'{"nodes":[' + b"0," * 5_000_000 + b"0]}", b""), "2,000,000 JSON values"),
}


def stored(name: str, entries: dict, compression=zipfile.ZIP_STORED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as archive:
        for entry, content in entries.items():
            archive.writestr(f"{name}/{entry}", content)
    return stream.getvalue()


def checkpoint(tensors: dict, old: bool = False) -> bytes:
    stream = io.BytesIO()
    torch.save(tensors, stream, _use_new_zipfile_serialization=not old)
    return stream.getvalue()


def repacked(raw: bytes, **changed) -> bytes:
    """A checkpoint with entries replaced and everything compressed."""
    source, stream = zipfile.ZipFile(io.BytesIO(raw)), io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for entry in source.infolist():
            archive.writestr(entry.filename, changed.get(entry.filename.split("/", 1)[1].replace("/", "_"), source.read(entry)))
    return stream.getvalue()


def expanded(count: int) -> bytes:
    """Four bytes as a tensor of ``count`` elements, by a stride of 0."""
    return checkpoint({"weight": torch.zeros(1).expand(count)})


def overlapping(count: int, size: int) -> bytes:
    """An archive whose list names one entry ``count`` times."""
    raw = stored("a", {"data.pkl": b"\x80\x02}.", "x": b"\0" * size})
    end = raw.rindex(b"PK\x05\x06")
    start = struct.unpack_from("<I", raw, end + 16)[0]
    second = raw.index(b"PK\x01\x02", start + 4)
    entry = raw[second:end]
    listed = raw[start:second] + entry * count
    tail = struct.pack("<4sHHHHIIH", b"PK\x05\x06", 0, 0, (count + 1) & 0xFFFF, (count + 1) & 0xFFFF, len(listed), start, 0)
    return raw[:start] + listed + tail


def slow_pickle(count: int) -> bytes:
    return b"\x80\x02}" + b"N0" * count + b"."  # None, thrown away, again and again


CHECKPOINTS = {
    "200 MB of zeros in 200 kB": (lambda: repacked(checkpoint({"w": torch.zeros(4)}), data_0=b"\0" * (200 << 20)),
                              "bytes unpacked from bomb"),
    "a pickle of 100 MB in 100 kB": (lambda: repacked(checkpoint({"w": torch.zeros(4)}), **{"data.pkl": b"\0" * (100 << 20)}),
                                     "bytes unpacked from bomb"),
    "a pickle of 60 MB": (lambda: repacked(checkpoint({"w": torch.zeros(4)}), **{"data.pkl": slow_pickle(30 << 20)}),
                          "at most 16,777,216 bytes of archive/data.pkl"),
    "one entry named 10,000 times": (lambda: overlapping(10_000, 1 << 20), "bytes unpacked from bomb"),
    "200,000 entries": (lambda: overlapping(200_000, 1), "at most 100,000 entries"),
    "a tensor of 1e12 elements in four bytes": (lambda: expanded(10**12), "claims 1,000,000,000,000 elements"),
    "a tensor of 1e9 elements in four bytes": (lambda: expanded(10**9), "claims 1,000,000,000 elements"),
    "the old format, 1e12 elements": (lambda: checkpoint({"w": torch.zeros(1234)}, old=True).replace(
        b"M\xd2\x04", b"\x8a\x06" + (10**12).to_bytes(6, "little")), "damaged or of another kind"),
}


def check_all(cases: dict, suffix: str, reader: str, imports: str, folder, warm: bytes):
    files = {}
    for number, (name, (make, words)) in enumerate(cases.items()):
        path = folder / f"bomb{number}{suffix}"
        path.write_bytes(make())
        files[str(path)] = (name, words)
    good = folder / f"good{suffix}"
    good.write_bytes(warm)
    wrong = []
    for file, how, said, seconds, taken in caged(reader, imports, list(files), ROOM, warm=[good]):
        name, words = files[file]
        ok = how == "refused" and any(word in said for word in words.split("|")) and seconds < SECONDS and taken < ROOM
        wrong += [] if ok else [f"{name}: {how}, {seconds:.2f} s, {taken >> 20} MB: {said}"]
    assert not wrong, "\n".join(wrong)


def test_glb_bombs(tmp_path):
    check_all(GLB, ".glb", "read_glb", "from lift123.pipelines.io.glb_reader import read_glb", tmp_path,
              textured_box().packed())


def test_checkpoint_bombs(tmp_path):
    check_all(CHECKPOINTS, ".ckpt", "load_pickle", "from lift123.pipelines.loaders.safe_pickle import load_pickle", tmp_path,
              checkpoint({"w": torch.zeros(3)}))


def test_what_is_no_bomb_is_read(tmp_path):
    """A compressed checkpoint of honest size, tied weights, transposed ones; a picture just inside its limit."""
    tied = torch.arange(12.0).reshape(3, 4)
    path = tmp_path / "honest.ckpt"
    path.write_bytes(repacked(checkpoint({"a": tied, "b": tied.T, "c": tied[:1], "d": torch.zeros(0)})))
    check_archive(path)
    path.write_bytes(checkpoint({"a": tied, "b": tied.T, "c": tied[:1], "d": torch.zeros(0)}))
    state = load_pickle(path)
    assert torch.equal(state["b"], tied.T) and torch.equal(state["c"], tied[:1])
    (tmp_path / "text.ckpt").write_bytes(b"PK\x05\x06 no archive")
    check_archive(tmp_path / "text.ckpt")


def test_the_old_format_bomb_is_one():
    """The replaced number is there, and nothing else was: otherwise the case above would show nothing."""
    honest = checkpoint({"w": torch.zeros(1234)}, old=True)
    raw = CHECKPOINTS["the old format, 1e12 elements"][0]()
    assert (10**12).to_bytes(6, "little") in raw and len(raw) > len(honest) and raw[:100] == honest[:100]


def test_limits_are_named():
    with pytest.raises(InputError, match="at most 5,000,000 faces, got 5,000,001 faces"):
        limits.within("GLB file", limits.FACES + 1, limits.FACES, "faces")
    assert limits.within("GLB file", limits.FACES, limits.FACES, "faces") == limits.FACES
