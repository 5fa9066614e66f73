"""How a good file is damaged: bits, bytes and slices anywhere; numbers and values where its format has some.

A mutation depends on nothing but the kind of file and its number.
"""

from __future__ import annotations

import io
import json
import random
import re
import struct
import zipfile
import zlib

from ..pipelines.io.sealed import SEAL, digest
from .fuzz_seeds import SEEDS, glb_chunks

_INTEGERS = (0, 1, 3, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 100_000_000, 5)
_WORDS = (b"0", b"-1", b"1e999", b"nan", b"-inf", b"99999999999999999999", b"4294967296", b"1e-320", b"", b"x", b"\\", b"#",
          b"100000000", b"\xff\xfe", b"1.5", b"/", b"-0")
_VALUES = (0, -1, 1, 2**31, 2**32, 2**63, 10**30, 1.5, -0.0, 1e308, None, True, "", "x", "data:;base64,AAAA", [], {}, [0] * 3,
           [-1], "NaN", {"index": 0}, 1e8, 255, 65535, 4, 5126, 5121)
_cache: dict[str, list[bytes]] = {}


def mutation(kind: str, number: int) -> bytes:
    """The damaged file ``number`` of a kind of ``fuzz_seeds.SEEDS``."""
    if kind not in _cache:
        _cache[kind] = SEEDS[kind]()
    draw = random.Random(f"{kind} {number}")
    data = draw.choice(_cache[kind])
    for _ in range(draw.choice((1, 1, 1, 2, 3, 8))):
        data = _structured(data, draw) if draw.random() < 0.6 else _raw(data, draw)
    return data


def _raw(data: bytes, draw: random.Random) -> bytes:
    """Bits, bytes and slices."""
    out = bytearray(data or b"\0")
    at = draw.randrange(len(out))
    end = min(at + draw.choice((1, 2, 4, 16, 100)), len(out))
    way = draw.randrange(8)
    if way == 0:
        out[at] ^= 1 << draw.randrange(8)
    elif way == 1:
        out[at] = draw.randrange(256)
    elif way == 2:
        del out[at:end]
    elif way == 3:
        out[at:at] = out[at:end]
    elif way == 4:
        del out[at:]
    elif way == 5:
        out[at:end] = bytes(end - at)
    elif way == 6:
        out[at : at + 4] = struct.pack("<I", draw.choice(_INTEGERS))
    else:
        other = draw.randrange(len(out))
        out[at:end] = out[other : other + end - at]
    return bytes(out)


def _structured(data: bytes, draw: random.Random) -> bytes:
    """Damage that leaves the format's frame whole, so that it is found deeper inside."""
    try:
        if data[:4] == b"glTF":
            return _glb(data, draw)
        if data[:4] == b"PK\x03\x04":
            return _archive(data, draw)
        if data[:8] == b"\x89PNG\r\n\x1a\n":
            return _png(data, draw)
        if data[:1] == b"{":
            return json.dumps(_changed(json.loads(data), draw)).encode()
        length = struct.unpack_from("<Q", data)[0] if len(data) > 8 else 0
        if 0 < length < len(data) and data[8:9] == b"{":
            return _sealed(data, draw) if draw.random() < 0.7 else _header(data, length, draw)
    except Exception:  # an earlier mutation broke the frame, and every library says so in its own way
        return _raw(data, draw)
    return _text(data, draw)


def _glb(data: bytes, draw: random.Random) -> bytes:
    length = struct.unpack_from("<I", data, 12)[0]
    gltf, binary = json.loads(data[20 : 20 + length]), data[20 + length + 8 :]
    if draw.random() < 0.2:
        return glb_chunks(gltf, _raw(binary, draw))
    return glb_chunks(_changed(gltf, draw), binary)


def _header(data: bytes, length: int, draw: random.Random) -> bytes:
    """A safetensors file with another header."""
    text = json.dumps(_changed(json.loads(data[8 : 8 + length]), draw)).encode()
    return struct.pack("<Q", len(text)) + text + data[8 + length :]


def _sealed(data: bytes, draw: random.Random) -> bytes:
    """A safetensors file of the pack with other content, its checksum made right again."""
    from safetensors.torch import load, save

    length = struct.unpack_from("<Q", data)[0]
    meta = json.loads(data[8 : 8 + length])["__metadata__"]
    tensors = load(data)
    name = draw.choice(sorted(tensors))
    way = draw.randrange(6)
    if way == 0:
        del tensors[name]
    elif way == 1:
        tensors[name] = tensors[draw.choice(sorted(tensors))].clone()
    elif way == 2:
        tensors[name] = tensors[name].flatten()[: draw.randrange(5)].clone()
    elif way == 3:
        tensors[name] = (tensors[name].double() * draw.choice((0, -1, 1e30, float("nan")))).to(tensors[name].dtype)
    elif told := [key for key, text in meta.items() if text[:1] in "{["]:
        key = draw.choice(told)
        meta[key] = json.dumps(_changed(json.loads(meta[key]), draw))
    meta[SEAL] = digest(tensors, {k: v for k, v in meta.items() if k != SEAL})
    whole = save(tensors, meta)
    length = struct.unpack_from("<Q", whole)[0]
    text = json.dumps(json.loads(whole[8 : 8 + length]), sort_keys=True).encode()  # the library's order is another every time
    return struct.pack("<Q", len(text)) + text + whole[8 + length :]


def _archive(data: bytes, draw: random.Random) -> bytes:
    """One entry damaged, checksums and lengths made right again."""
    source, stream = zipfile.ZipFile(io.BytesIO(data)), io.BytesIO()
    names = source.namelist()
    chosen = draw.choice([n for n in names if n.endswith(".pkl")] * 3 + names)
    with zipfile.ZipFile(stream, "w", draw.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))) as archive:
        for name in names:
            archive.writestr(name, _raw(source.read(name), draw) if name == chosen else source.read(name))
    return stream.getvalue()


def _png(data: bytes, draw: random.Random) -> bytes:
    """One chunk damaged, its checksum made right again."""
    chunks, at = [], 8
    while at + 12 <= len(data):
        length = struct.unpack_from(">I", data, at)[0]
        chunks.append([data[at + 4 : at + 8], data[at + 8 : at + 8 + length]])
        at += 12 + length
    chosen = draw.choice(chunks)
    chosen[1] = _raw(chosen[1], draw)
    return data[:8] + b"".join(struct.pack(">I", len(b)) + k + b + struct.pack(">I", zlib.crc32(k + b)) for k, b in chunks)


def _text(data: bytes, draw: random.Random) -> bytes:
    """A word replaced, a line repeated, dropped or moved."""
    way = draw.randrange(4)
    if way < 2:
        words = list(re.finditer(rb"[^\s/]+", data[:4096]))
        if words:
            word = draw.choice(words)
            return data[: word.start()] + draw.choice(_WORDS) + data[word.end() :]
    lines = data.split(b"\n")
    at, to = draw.randrange(len(lines)), draw.randrange(len(lines))
    if way == 2:
        lines[to:to] = [lines[at]] * draw.choice((1, 2, 50))
    else:
        lines.insert(to, lines.pop(at))
    return b"\n".join(lines)


def _changed(tree, draw: random.Random):
    """A JSON tree with one value replaced, doubled or gone."""
    places = []

    def visit(node):
        for key, value in list(node.items()) if isinstance(node, dict) else list(enumerate(node)):
            places.append((node, key))
            if isinstance(value, dict | list):
                visit(value)

    visit(tree)
    if not places:
        return tree
    node, key = draw.choice(places)
    way, value = draw.random(), node[key]
    if way < 0.2:
        del node[key]
    elif way < 0.35 and isinstance(value, int | float):
        node[key] = draw.choice((-value, value + 1, value * 2, value - 1, float(value) / 2))
    elif way < 0.45:
        node[key] = draw.choice([n[k] for n, k in places])  # something from elsewhere in the file
    else:
        node[key] = draw.choice(_VALUES)
    return tree
