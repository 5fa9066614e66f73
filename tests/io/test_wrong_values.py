"""Files that can be read to the end but say what nobody means: refused, not taken as they are."""

import struct

import numpy as np
import pytest
import torch
from helpers.gltf_tiny import textured_box
from lift123.pipelines.core.errors import InputError
from lift123.pipelines.core.layers import LayeredMesh
from lift123.pipelines.core.mesh import Mesh
from lift123.pipelines.io import assemble, sealed, text_numbers
from lift123.pipelines.io.mesh_files import read_mesh_file
from lift123.pipelines.stages.characters import refined_layers
from lift123.pipelines.stages.loop import scene

XYZ = "property float x\nproperty float y\nproperty float z"
CORNERS = "0 0 0\n1 0 0\n0 1 0\n"


def ply(rows="3 0 1 2", head="format ascii 1.0", vertex=XYZ, face="property list uchar int vertex_indices", more="") -> bytes:
    return (f"ply\n{head}\nelement vertex 3\n{vertex}\nelement face 1\n{face}\n{more}end_header\n{CORNERS}{rows}\n").encode()


def moved(**transform) -> bytes:
    tiny = textured_box()
    tiny.gltf["materials"][0]["pbrMetallicRoughness"]["baseColorTexture"]["extensions"] = {"KHR_texture_transform": transform}
    return tiny.packed()


def stl(first="solid a", corner="1 0 0", last="endsolid a", line="\n") -> bytes:
    return line.join((first, "facet normal 0 0 1", "outer loop", "vertex 0 0 0", f"vertex {corner}", "vertex 0 1 0", "endloop",
                      "endfacet", last)).encode()


floats = "property list uchar float vertex_indices"
WRONG = {
    "a texture moved by 1e300": ("glb", moved(offset=[1e300, 0]), "texture coordinates"),
    "a texture scaled by 1e30": ("glb", moved(scale=[1e30, 1]), "texture coordinates"),
    "half a vertex in a text": ("ply", ply("3 0 1 1.5"), "no i4"),
    "half a vertex of a float": ("ply", ply("3 0 1 1.5", face=floats), "no whole numbers"),
    "a vertex that is NaN": ("ply", ply("3 0 1 nan", face=floats), "no whole numbers"),
    "an underscore in a list's length": ("ply", ply("0_3 0 1 2"), "underscore"),
    "an underscore in a coordinate": ("ply", ply().replace(b"1 0 0", b"1_0 0 0"), "underscore"),
    "x twice": ("ply", ply(vertex=XYZ + "\nproperty float x"), "'x' twice"),
    "indices twice": ("ply", ply(face="property list uchar int vertex_indices\n" * 2), "'vertex_indices' twice"),
    "two tables of vertices": ("ply", ply(more="element vertex 3\nproperty float x\n"), "two tables 'vertex'"),
    "PLY 9.9": ("ply", ply(head="format ascii 9.9"), "known format"), "PLY without a version": ("ply", ply(
        head="format ascii"), "known format"), "two formats": ("ply", ply(head="format ascii 1.0\nformat ascii 1.0"), "format"),
    "an underscore in an OBJ": ("obj", b"v 1_0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3", "line 1"),
    "an underscore in an OBJ's face": ("obj", b"v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 0_3", "line 4"),
    "digits of another script": ("obj", "v \uff11 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3".encode(), "line 1"),
    "an underscore in an STL": ("stl", stl(corner="1_0 0 0"), "no number"),
    "a corner of two numbers": ("stl", stl(corner="1 0"), "no number|three numbers"),
    "a corner of four numbers": ("stl", stl(corner="1 0 0 0"), "no number|three numbers"),
}


@pytest.mark.parametrize("what", WRONG)
def test_refused(what):
    kind, data, words = WRONG[what]
    with pytest.raises(InputError, match=words):
        read_mesh_file(data, kind)


@pytest.mark.parametrize("first, last, line", [
    ("solid vertex 1 2 3", "endsolid vertex 1 2 3", "\n"), ("solid facet vertex 7 7 7", "", "\r\n"), ("solid", "endsolid", " "),
    ("solid my solid vertex 5 5 5", "endsolid my solid vertex", "\r"), ("solid vertex 1 2 3", "endsolid", " "),
    ("SOLID A", "ENDSOLID VERTEX 1 1 1", "\n"), ("solid a\n" + stl().decode() + "\nsolid vertex", "endsolid", "\n")])
def test_names_in_an_stl_are_no_corners(first, last, line):
    mesh = read_mesh_file(stl(first, last=last, line=line), "stl")
    assert sorted(mesh.vertices.tolist()) == [[0, 0, 0], [0, 1, 0], [1, 0, 0]]


def test_what_is_meant_is_still_read():
    for data in (ply(), ply(face=floats), ply("+3 0 1 2").replace(b"1 0 0", b"1e0 .0 -0.")):
        assert read_mesh_file(data, "ply").vertices.tolist() == [[0, 0, 0], [1, 0, 0], [0, 1, 0]]
    assert read_mesh_file(moved(offset=[3, 0]), "glb").texture is not None
    assert (text_numbers.number("-1.5e-3"), text_numbers.number(".5"), text_numbers.whole("-7")) == (-1.5e-3, 0.5, -7)
    assert text_numbers.rows(b"1 2\n\n 3 nan\n").tolist()[0] == [1, 2]
    for word in ("1_0", "\u0661", "0x10", "1e", "", "1.2.3", "infinit"):
        with pytest.raises(ValueError):
            text_numbers.number(word)


def test_equal_rows_are_found_also_where_their_keys_collide(monkeypatch):
    rows = torch.randint(0, 3, (200, 3), generator=torch.Generator().manual_seed(0)).float().numpy()
    expected = len(np.unique(rows, axis=0))
    first, inverse = assemble._unique_rows(rows)
    assert len(first) == expected and (rows[first][inverse] == rows).all()
    assert all((rows[:k] != rows[k]).any(1).all() for k in first)
    unlike = np.array([[1, 2, 3], [4, 5, 6], [1, 2, 3]], np.float32)
    monkeypatch.setattr(assemble, "_MIX", np.uint64(0))  # every row has the same key
    first, inverse = assemble._unique_rows(unlike)
    assert sorted(first) == [0, 1] and inverse[0] == inverse[2] != inverse[1]


def bad_scene(meta, **tensors):
    def save(path):
        import json

        sealed.write(path, scene.FILE, {"field/table": torch.zeros(2, 2), **tensors}, {
            "kind": "nerf", "meta": meta if isinstance(meta, str) else json.dumps(meta)})
    return save, scene.Scene.load


GOOD = {"step": 1, "total": 2, "seed": 0}
BOX = Mesh(torch.rand(4, 3), torch.tensor([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]]))


def bad_layers(tensors=None, **state):
    def save(path):
        import json

        packed, given = refined_layers.RefinedLayers(LayeredMesh({"body": BOX})).pack()
        sealed.write(path, refined_layers.FILE, packed | (tensors or {}), {"state": json.dumps(given | state)})
    return save, refined_layers.load_layers


SEALED = {
    "a scene of NaN": bad_scene(GOOD, **{"grid/density": torch.full((3,), torch.nan)}),
    "a scene of infinity": bad_scene(GOOD, **{"optim/0/exp_avg": torch.full((3,), torch.inf, dtype=torch.bfloat16)}),
    "meta that is a list": bad_scene([]), "meta that is nothing": bad_scene("null"), "meta of NaN": bad_scene('{"step": NaN}'),
    "meta nested 200,000 deep": bad_scene("[" * 200_000), "objects nested 200,000 deep": bad_scene('{"a":' * 200_000),
    "steps that are a word": bad_scene({**GOOD, "step": "one"}), "no seed": bad_scene({"step": 1, "total": 2}),
    "a config that is a list": bad_scene({**GOOD, "config": [1]}), "a reference of nothing": bad_scene({**GOOD, "reference": {}}),
    "a reference of 0 pixels": bad_scene({**GOOD, "reference": {"size": 0}}),
    "a reference without pictures": bad_scene({**GOOD, "reference": {
        "size": 8, "prompt": "", "negative": "", "depth_is_metric": False}}),
    "a reference of another shape": bad_scene({**GOOD, "reference": {
        "size": 8, "prompt": "", "negative": "", "depth_is_metric": False}}, **{
            "reference/c2w": torch.eye(4)[None], "reference/fovy": torch.ones(1), "reference/rgb": torch.zeros(1, 7, 8, 3),
            "reference/alpha": torch.zeros(1, 8, 8)}),
    "a field of 1e9 levels": bad_scene({**GOOD, "field": {"grid": {"levels": 10**9}}}),
    "a field without a grid": bad_scene({**GOOD, "field": {}}), "a field of words": bad_scene({**GOOD, "field": {
        "grid": {}, "blob_sigma": "wide"}}), "unknown settings": bad_scene({**GOOD, "volume": {"speed": 1}}),
    "no sampling distance": bad_scene({**GOOD, "volume": {"step": 0}}), "tets": bad_scene({**GOOD, "tets": 10**9}),
    "finished that is a text": bad_layers(finished="body"), "finished that is a number": bad_layers(finished=3),
    "finished of numbers": bad_layers(finished=[1]), "finished of strangers": bad_layers(finished=["tail"]),
    "reach that is a list": bad_layers(reach=[]), "reach of numbers": bad_layers(reach={"hair in body": 1}),
    "notes that are numbers": bad_layers(notes=[1]), "mirrored perhaps": bad_layers(was_mirrored="perhaps"),
    "a story of nothing": bad_layers(story={"stages": 3}), "a story of numbers": bad_layers(story=[1]),
    "whole vertices": bad_layers({"layers/body/vertices": torch.zeros(4, 3, dtype=torch.int32)}),
    "double vertices": bad_layers({"layers/body/vertices": torch.zeros(4, 3, dtype=torch.float64)}),
    "short faces": bad_layers({"layers/body/faces": BOX.faces.to(torch.int32)}),
    "float faces": bad_layers({"layers/body/faces": BOX.faces.float()}),
    "vertices of NaN": bad_layers({"layers/body/vertices": torch.full((4, 3), torch.nan)}),
}


@pytest.mark.parametrize("what", SEALED)
def test_sealed_files_of_wrong_things(what, tmp_path):
    save, load = SEALED[what]
    save(tmp_path / "a.safetensors")
    with pytest.raises(InputError, match="damaged or cut short") as caught:
        load(tmp_path / "a.safetensors")
    assert len(str(caught.value)) < 500


def test_the_seal_itself_is_right(tmp_path):
    """Otherwise every file above would be refused for its checksum only."""
    save, load = bad_scene(GOOD)
    save(tmp_path / "a.safetensors")
    assert load(tmp_path / "a.safetensors").seed == 0
    save, load = bad_layers()
    save(tmp_path / "b.safetensors")
    assert load(tmp_path / "b.safetensors").layers.names == ("body",)


def test_a_header_nested_without_end(tmp_path):
    text = b'{"__metadata__":' + b"[" * 200_000
    (tmp_path / "a.safetensors").write_bytes(struct.pack("<Q", len(text)) + text)
    with pytest.raises(InputError, match="damaged"):
        scene.Scene.load(tmp_path / "a.safetensors")
