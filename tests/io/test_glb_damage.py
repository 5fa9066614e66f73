"""GLB files that lie about themselves: each is refused with one sentence before memory is touched."""

import copy
import os
import struct

import numpy as np
import pytest
import torch
from helpers.gltf_tiny import Tiny, box, pack, textured_box
from lift123.pipelines.core.errors import InputError
from lift123.pipelines.io.glb_reader import read_extras, read_file, read_glb


def edited(change, binary=True) -> bytes:
    """The textured box after ``change(gltf, data)``."""
    tiny = textured_box()
    gltf = {**copy.deepcopy(tiny.gltf), "buffers": [{"byteLength": len(tiny.data)}]}
    data = bytearray(tiny.data)
    change(gltf, data)
    return pack(gltf, bytes(data) if binary else None)


def put(*path):
    """A change that sets a value: put("accessors", 0, "count", -1)."""
    *way, key, value = path

    def change(gltf, _):
        place = gltf
        for step in way:
            place = place[step]
        place[key] = value

    return change


def gone(*path):
    """A change that deletes a value."""
    *way, key = path

    def change(gltf, _):
        place = gltf
        for step in way:
            place = place[step]
        del place[key]

    return change


def sparse(**more):
    """A change that makes the positions sparse: row 1 replaced by the texture coordinates' bytes."""
    def change(gltf, _):
        entry = {"count": 1, "indices": {"bufferView": 1, "byteOffset": 8, "componentType": 5121}, "values": {"bufferView": 2}}
        for name, value in more.items():
            part, _, key = name.partition("__")
            if key:
                entry[part][key] = value
            else:
                entry[part] = value
        gltf["accessors"][0]["sparse"] = entry

    return change


VIEW, POSITION, UV, INDICES = 1, 0, 1, 2  # bufferViews: 0 picture, 1 positions, 2 coordinates, 3 indices
NUMBERS = (-1, -4, 2**31, 2**33, 2**63, 10**400, 1.5, 1e300, True, None, "12", [1], {})

BROKEN = {
    "view starts behind its buffer": (put("bufferViews", VIEW, "byteOffset", 1 << 20), "ends at byte"),
    "view longer than its buffer": (put("bufferViews", VIEW, "byteLength", 1 << 20), "ends at byte"),
    "view of nothing": (put("bufferViews", VIEW, "byteLength", 0), "byteLength"),
    "view without a length": (gone("bufferViews", VIEW, "byteLength"), "no byteLength"),
    "view of another buffer": (put("bufferViews", VIEW, "buffer", 1), r"buffers\[1\]"),
    "view without a buffer": (gone("bufferViews", VIEW, "buffer"), "no buffer"),
    "stride below a row": (put("bufferViews", VIEW, "byteStride", 4), "every 4 bytes"),
    "stride beyond the view": (put("bufferViews", VIEW, "byteStride", 1000), "rows end at byte"),
    "accessor starts behind its view": (put("accessors", POSITION, "byteOffset", 12), "rows end at byte"),
    "accessor of one row too many": (put("accessors", POSITION, "count", 25), "rows end at byte"),
    "accessor of a million rows": (put("accessors", POSITION, "count", 10**6), "rows end at byte"),
    "accessor of no rows": (put("accessors", POSITION, "count", 0), "count"),
    "accessor without a count": (gone("accessors", POSITION, "count"), "no count"),
    "accessor without a type": (gone("accessors", POSITION, "type"), "no type"),
    "positions of two numbers": (put("accessors", POSITION, "type", "VEC2"), "type"),
    "positions of an unknown type": (put("accessors", POSITION, "type", "VEC9"), "type"),
    "component type unknown": (put("accessors", POSITION, "componentType", 5130), "componentType"),
    "indices of floats": (put("accessors", INDICES, "componentType", 5126), "componentType"),
    "indices of signed numbers": (put("accessors", INDICES, "componentType", 5122), "componentType"),
    "indices in pairs": (put("accessors", INDICES, "type", "VEC2"), "type"),
    "accessor of another view": (put("accessors", POSITION, "bufferView", 99), r"bufferViews\[99\]"),
    "positions without data": (gone("accessors", POSITION, "bufferView"), "no data"),
    "indices beyond the vertices": (lambda gltf, data: data.__setitem__(slice(-144, None), b"\xff" * 144), "faces refer"),
    "fewer coordinates than vertices": (put("accessors", UV, "count", 23), "23 texture coordinates for 24"),
    "positions that are no numbers": (lambda gltf, data: data.__setitem__(
        slice(gltf["bufferViews"][1]["byteOffset"], gltf["bufferViews"][1]["byteOffset"] + 4), struct.pack("<f", np.nan)),
        "NaN"),
    "primitive of another accessor": (put("meshes", 0, "primitives", 0, "attributes", "POSITION", 9), r"accessors\[9\]"),
    "primitive of another material": (put("meshes", 0, "primitives", 0, "material", 7), r"materials\[7\]"),
    "primitive of an unknown mode": (put("meshes", 0, "primitives", 0, "mode", 9), "mode"),
    "mesh without a list": (put("meshes", 0, "primitives", {}), "a list"),
    "mesh that is a number": (put("meshes", 0, 3), "no object"),
    "node of another mesh": (put("nodes", 0, "mesh", 4), r"meshes\[4\]"),
    "node of another child": (put("nodes", 0, "children", [5]), r"nodes\[5\]"),
    "node of a child before the first": (put("nodes", 0, "children", [-1]), "children"),
    "node with a matrix of 15": (put("nodes", 0, "matrix", [1.0] * 15), "16 finite numbers"),
    "node with a matrix of words": (put("nodes", 0, "matrix", ["1"] * 16), "16 finite numbers"),
    "node with infinite scale": (put("nodes", 0, "scale", [1e999, 1, 1]), "3 finite numbers"),
    "node with a rotation of NaN": (put("nodes", 0, "rotation", [float("nan"), 0, 0, 1]), "4 finite numbers"),
    "node that leaves the numbers": (put("nodes", 0, "scale", [1e39, 1, 1]), "range of numbers"),
    "node that is its own child": (put("nodes", 0, "children", [0]), "cycle"),
    "scene of another number": (put("scene", 3), r"scenes\[3\]"),
    "scene that is a word": (put("scene", "main"), "whole number"),
    "scenes that are no list": (put("scenes", 7), "a list"),
    "texture of another picture": (put("textures", 0, "source", 2), r"images\[2\]"),
    "texture of another sampler": (put("textures", 0, "sampler", 0), r"samplers\[0\]"),
    "material of another texture": (put("materials", 0, "pbrMetallicRoughness", "baseColorTexture", "index", 3),
                                    r"textures\[3\]"),
    "material of three factors": (put("materials", 0, "pbrMetallicRoughness", "baseColorFactor", [1, 1, 1]), "4 finite"),
    "picture that is none": (put("images", 0, "bufferView", 1), "a damaged one or something else"),
    "picture elsewhere": (lambda gltf, data: gltf["images"].__setitem__(0, {"uri": "../../secret.png"}), "another file"),
    "picture nowhere": (lambda gltf, data: gltf["images"].__setitem__(0, {}), "no uri"),
    "buffer of a bad data URI": (put("buffers", 0, "uri", "data:;base64,%%%"), "data URI"),
    "buffer shorter than it says": (put("buffers", 0, "byteLength", 1 << 30), "is said to have"),
    "buffer without a length": (gone("buffers", 0, "byteLength"), "no byteLength"),
    "no buffers": (gone("buffers"), r"buffers\[0\]"),
    "sparse rows beyond": (sparse(indices__byteOffset=0), "row 205 of 24"),
    "sparse rows outside of the view": (sparse(indices__byteOffset=1 << 16), "rows end at byte"),
    "sparse of too many": (sparse(count=25), "count"),
    "sparse of a negative number": (sparse(count=-1), "count"),
    "sparse with float rows": (sparse(indices__componentType=5126), "componentType"),
    "sparse values outside of the view": (sparse(values__byteOffset=1 << 16), "rows end at byte"),
    "sparse without values": (sparse(values={}), "no bufferView"),
    "instances without lists": (put("nodes", 0, "extensions", {"EXT_mesh_gpu_instancing": {"attributes": {}}}), "has no"),
    "instances of unequal lists": (put("nodes", 0, "extensions", {"EXT_mesh_gpu_instancing": {"attributes": {
        "TRANSLATION": 0, "SCALE": 2}}}), "instances"),
    "skin that is not there": (lambda gltf, data: (gltf["nodes"][0].__setitem__("skin", 0), gltf["meshes"][0]["primitives"][0][
        "attributes"].update(JOINTS_0=0, WEIGHTS_0=0)), r"skins\[0\]"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_file_that_contradicts_itself_is_refused(case):
    change, words = BROKEN[case]
    with pytest.raises(InputError, match=words) as told:
        read_glb(edited(change))
    assert told.value.remedy.endswith(".") and len(str(told.value)) < 400


PLACES = [("accessors", 0, "count"), ("accessors", 0, "byteOffset"), ("accessors", 2, "bufferView"),
          ("bufferViews", 1, "byteOffset"), ("bufferViews", 3, "byteLength"), ("bufferViews", 1, "byteStride"),
          ("meshes", 0, "primitives", 0, "indices"), ("nodes", 0, "mesh"), ("buffers", 0, "byteLength"),
          ("accessors", 0, "componentType")]


@pytest.mark.parametrize("place", PLACES, ids=lambda p: ".".join(map(str, p)))
def test_no_number_is_believed(place):
    """Negative, huge, fractional and foreign values in every place that leads to memory."""
    for value in NUMBERS:
        with pytest.raises(InputError, match="GLB file"):
            read_glb(edited(put(*place, value)))


def test_missing_and_double_chunks():
    whole = textured_box().packed()
    with pytest.raises(InputError, match="has no data"):
        read_glb(edited(lambda *_: None, binary=False))
    with pytest.raises(InputError, match="no JSON chunk"):
        read_glb(struct.pack("<4sII", b"glTF", 2, 24) + struct.pack("<I4s", 4, b"BIN\0") + b"1234")
    with pytest.raises(InputError, match="a chunk of 4294967295 bytes"):
        read_glb(whole[:12] + struct.pack("<I", 0xFFFFFFFF) + whole[16:])
    for text in (b"[]", b"12", b'"x"', b"{", b"[" * 100_000, b"\xff\xfe", b'{"nodes": ' + b"9" * 5000 + b"}"):
        with pytest.raises(InputError, match="GLB file"):
            read_glb(pack(text, b""))
    for cut in range(0, len(whole), 97):
        with pytest.raises(InputError):
            read_glb(whole[:cut])


def test_heap_is_not_read():
    """An accessor of one row behind the end of its buffer used to give whatever lay in memory there."""
    tiny = Tiny()
    tiny.primitive(None, None, POSITION=tiny.accessor(np.zeros((3, 3))))
    tiny.gltf["accessors"][0] |= {"byteOffset": 36, "count": 3}
    with pytest.raises(InputError, match="rows end at byte 72 of a view of 36 bytes"):
        read_glb(tiny.packed())


def test_sparse_accessors_are_followed():
    """One corner of the box moved by a sparse accessor, with and without a base."""
    tiny = textured_box()
    rows, values = tiny.view(struct.pack("<H", 3)), tiny.view(np.float32([9, 8, 7]).tobytes())
    tiny.gltf["accessors"][0]["sparse"] = {"count": 1, "indices": {"bufferView": rows, "componentType": 5123},
                                           "values": {"bufferView": values}}
    mesh = read_glb(tiny.packed(), weld=False)
    points = torch.from_numpy(box()[0])
    points[3] = torch.tensor([9.0, 8, 7])
    assert torch.equal(mesh.vertices, points)
    del tiny.gltf["accessors"][0]["bufferView"]
    assert torch.equal(read_glb(tiny.packed(), weld=False).vertices, torch.zeros(24, 3).index_put(
        (torch.tensor(3),), torch.tensor([9.0, 8, 7])))


def test_whole_numbers_written_as_floats_are_read():
    """JSON knows one kind of number: 24.0 rows are 24."""
    def change(gltf, _):
        gltf["accessors"][0]["count"] = 24.0
        gltf["bufferViews"][1]["byteStride"] = 12.0

    assert len(read_glb(edited(change)).faces) == 12


def test_extras_of_a_damaged_file():
    with pytest.raises(InputError, match="no object"):
        read_extras(pack({"asset": 3}, None))
    assert read_extras(pack({}, None)) == {}


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes on this system")
def test_what_has_no_end_is_not_read(tmp_path):
    """A pipe or a device would be waited for, or read, for ever."""
    pipe = tmp_path / "mesh.glb"
    os.mkfifo(pipe)
    with pytest.raises(InputError, match="expected a file"):
        read_file(pipe, "mesh")
