"""Further mesh files as other programs and people make them: what the first lists of kinds did not hold."""

import struct
import time

import numpy as np
import pytest
import torch
from helpers.gltf_tiny import SIDE_COLORS, box, encoded, shown_colors, six_colors, textured_box
from lift123.pipelines.core.errors import InputError
from lift123.pipelines.io.mesh_files import read_mesh_file
from lift123.pipelines.io.mesh_notes import Notes

FACE_COLORS = np.repeat(SIDE_COLORS, 2, 0)
QUAD, FACE = "v 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\n", "f 1 2 3 4\n"
PLY = ("ply\nformat ascii 1.0\nelement vertex 4\nproperty float x\nproperty float y\nproperty float z\nelement face 1\n"
       "property list uchar int vertex_indices\nend_header\n0 0 0\n1 0 0\n1 1 0\n0 1 0\n4 0 1 2 3\n")
STL = "solid x\nfacet normal 0 0 1\nouter loop\nvertex 0 0 0\nvertex 2 0 0\nvertex 0 1 0\nendloop\nendfacet\nendsolid x\n"
MARK = b"\xef\xbb\xbf"


def read(data, kind="glb"):
    notes = Notes()
    data = data.encode() if isinstance(data, str) else data if isinstance(data, bytes) else data.packed()
    return read_mesh_file(data, kind, notes), "\n".join(notes.lines)


def area(mesh) -> float:
    return float(mesh.face_normals().norm(dim=-1).sum()) / 2


# Text

@pytest.mark.parametrize("data, kind", [
    (MARK * 2 + (QUAD + FACE).encode(), "obj"), (QUAD + "\ufeff" + FACE, "obj"), ((QUAD + FACE).encode("utf-32"), "obj"),
    (MARK + STL.encode(), "stl"), (STL.encode("utf-16"), "stl"), (MARK + PLY.encode(), "ply"), (PLY.encode("utf-16"), "ply"),
    (MARK + PLY.encode(), ""), (MARK + STL.encode(), ""), (PLY.replace("\n", "\r"), "ply"), (PLY.replace("\n", "\r\n"), "ply"),
], ids=["two", "between files", "UTF-32", "STL", "STL, UTF-16", "PLY", "PLY, UTF-16", "PLY, any", "STL, any", "CR", "CRLF"])
def test_byte_order_marks_of_every_kind_of_text(data, kind):
    assert area(read(data, kind)[0]) == 1.0


def test_a_binary_stl_may_begin_like_a_byte_order_mark():
    triangle = struct.pack("<12fH", 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0)
    for head in (MARK, b"\xff\xfe", b"\xff\xfe\0\0"):
        assert area(read(head.ljust(80) + struct.pack("<I", 1) + triangle, "stl")[0]) == 1.0


@pytest.mark.parametrize("text", [
    "# saved from C:\\models\\\n" + QUAD + FACE, QUAD + "# D:\\ \n" + FACE, QUAD + "f 1 2 3 4 # C:\\x\\\\\n" + FACE[:0],
    QUAD + "f 1 2 3 4 \\", "# a\\\r\n" + (QUAD + "f 1 2 \\\n3 4\n").replace("\n", "\r\n"),
], ids=["first", "before a face", "behind a face", "end of file", "CRLF"])
def test_comments_that_end_in_a_backslash_end_with_their_line(text):
    assert area(read(text, "obj")[0]) == 1.0


@pytest.mark.parametrize("text", [
    MARK * 1_000_000, b"#" + b"\\ " * 1_000_000 + b"x", b"\\" * 3_000_000, (b"\\" + b" " * 1000) * 1000,
    b"#" * 3_000_000], ids=["marks", "comment", "backslashes", "blanks", "hashes"])
def test_marks_and_backslashes_without_end_take_no_time(text):
    begin = time.process_time()
    with pytest.raises(InputError, match="no faces"):
        read(text + b"\n", "obj")
    assert time.process_time() - begin < 3


def test_colors_in_comments_are_told():
    assert "ZBrush" in read(QUAD + "#MRGB ffff0000ffff0000ffff0000ffff0000\n" + FACE, "obj")[1]


# Materials of OBJ files

@pytest.fixture
def painted(tmp_path):
    """Writes the box with one material, its picture under some name, and reads it."""
    points, uvs, faces = box()
    lines = [f"v {x} {y} {z}" for x, y, z in points.tolist()] + [f"vt {u} {1 - v}" for u, v in uvs.tolist()] + ["usemtl a"]
    lines += ["f " + " ".join(f"{i}/{i}" for i in face + 1) for face in faces]

    def make(mtl, picture="box.png", library="box.mtl", pixels=None):
        (tmp_path / picture).write_bytes(encoded(six_colors() if pixels is None else pixels))
        (tmp_path / "box.mtl").write_bytes(mtl if isinstance(mtl, bytes) else mtl.encode())
        (tmp_path / "box.obj").write_text("\n".join([f"mtllib {library}", *lines]))
        notes = Notes()
        return read_mesh_file(tmp_path / "box.obj", "obj", notes), "\n".join(notes.lines)

    return make


@pytest.mark.parametrize("mtl, given, words", [
    ("newmtl a\nmap_kd box.png\n", {}, ""), ("NEWMTL a\nKD 1 1 1\nMAP_KD box.png\n", {}, ""),
    ("newmtl a\nmap_Kd Box.PNG\n", {}, ""), ("newmtl a\nmap_Kd C:\\maps\\BOX.png\n", {}, ""),
    ("newmtl a\nmap_Kd box.png\n", {"library": "Box.MTL"}, ""), ("newmtl a\nmap_Kd box.png # the picture\n", {}, ""),
    ("newmtl a\nmap_Kd my #1.png\n", {"picture": "my #1.png"}, ""), ("newmtl a\nmap_Kd \\\nbox.png\n", {}, ""),
    ("newmtl a\nmap_Kd b\xf6x.png\n".encode("latin-1"), {"picture": "b\xf6x.png"}, ""),
    ("newmtl a\nmap_Ka box.png\n", {}, "ambient"), ("newmtl a\nKd 0 0 0\nKe 1 1 1\nmap_Ke box.png\n", {}, "emission"),
    ("newmtl a\nKd 0.0 0.0 0.0\nKe 0 0 0\nmap_Ke -clamp on box.png\n", {}, "emission"),
    ("newmtl a\nKe 1 0 0\nmap_Kd box.png\n", {}, "emission of materials was dropped"),
])
def test_materials_as_windows_and_old_programs_write_them(painted, mtl, given, words):
    mesh, report = painted(mtl, **given)
    assert np.abs(shown_colors(mesh) - FACE_COLORS).max() == 0 and words in report and bool(words) == bool(report)


def test_a_material_that_only_glows_and_one_that_is_see_through(painted):
    mesh, report = painted("newmtl a\nKd 0 0 0\nKe 0.2 0.4 0.6\n")
    assert np.allclose(shown_colors(mesh), np.array([0.2, 0.4, 0.6]) * 255, atol=0.01) and "emission is taken" in report
    mesh, report = painted("newmtl a\nmap_Kd box.png\n", pixels=np.dstack([six_colors(), np.full((32, 48), 90, np.uint8)]))
    assert np.abs(shown_colors(mesh) - FACE_COLORS).max() == 0 and report == "transparency of a texture was dropped"


# Materials and instances of glTF files

SHOWN = {"emissiveFactor": [1, 1, 1], "emissiveTexture": {"index": 0}}
BLACK = {"baseColorFactor": [0, 0, 0, 1]}
GLOSS = "KHR_materials_pbrSpecularGlossiness"


@pytest.mark.parametrize("material, words", [
    ({"pbrMetallicRoughness": {**BLACK, "baseColorTexture": {"index": 0}}, **SHOWN}, "its emission is taken"),
    ({"pbrMetallicRoughness": {"baseColorTexture": {"index": 1}}, **SHOWN}, "its emission is taken"),
    ({"extensions": {GLOSS: {"diffuseFactor": [0, 0, 0, 1], "specularFactor": [0, 0, 0]}}, **SHOWN}, "its emission is taken"),
    ({"extensions": {GLOSS: {"diffuseTexture": {"index": 1}, "specularGlossinessTexture": {"index": 0}}}}, "gloss"),
    ({"pbrMetallicRoughness": {"baseColorTexture": {"index": 0}}, "emissiveFactor": [1, 1, 1], "emissiveTexture": {"index": 1}},
     "emission of materials was dropped"),
], ids=["black factor", "black picture", "black gloss", "black diffuse picture", "a black glow"])
def test_what_is_black_all_over_is_no_base_color(material, words):
    tiny = textured_box()
    tiny.picture(encoded(np.zeros((8, 8, 3), np.uint8)))
    tiny.gltf["materials"] = [material]
    mesh, report = read(tiny)
    assert np.abs(shown_colors(mesh) - FACE_COLORS).max() == 0 and words in report


def instanced(count=2, **lists):
    tiny = textured_box()
    lists = {name: tiny.accessor(rows) for name, rows in lists.items()} or {"_ID": tiny.accessor(np.zeros((count, 1)))}
    tiny.gltf["nodes"][0]["extensions"] = {"EXT_mesh_gpu_instancing": {"attributes": lists}}
    return tiny


def test_instances_that_cannot_be_copies_are_told():
    mesh, report = read(instanced())
    assert len(mesh.faces) == 12 and "in one and the same place" in report
    empty = instanced(TRANSLATION=np.array([[0, 0, 0], [3.0, 0, 0]]))
    empty.gltf["nodes"] = [{**empty.gltf["nodes"][0], "children": [1]}, {"mesh": 0}]
    del empty.gltf["nodes"][0]["mesh"]
    assert "instances of a node without a mesh" in read(empty)[1]
    skinned = instanced(TRANSLATION=np.array([[0, 0, 0], [3.0, 0, 0]]))
    attributes = skinned.gltf["meshes"][0]["primitives"][0]["attributes"]
    attributes |= {"JOINTS_0": skinned.accessor(np.zeros((24, 4)), "uint8"), "WEIGHTS_0": skinned.accessor(np.ones((24, 4)))}
    skinned.gltf["nodes"] = [{**skinned.gltf["nodes"][0], "skin": 0}, {}]
    skinned.gltf["skins"] = [{"joints": [1]}]
    mesh, report = read(skinned)
    assert len(mesh.faces) == 12 and "instances of a skinned mesh" in report and "copies" not in report


def test_quaternions_of_any_length_turn_and_do_not_scale():
    mesh, _ = read(instanced(ROTATION=np.array([[0, 0.5, 0, 0.5], [0, 3.0, 0, 0]])))
    assert mesh.signed_volume().item() == pytest.approx(2.0, abs=1e-5)


@pytest.mark.parametrize("start, name", [(b"\xabKTX 20\xbb\r\n\x1a\n", "KTX2"), (b"DDS |", "DDS"), (b"8BPS\0", "Photoshop"),
                                         (b"v/1\x01", "OpenEXR"), (b"#?RADIANCE\n", "Radiance HDR")])
def test_pictures_of_other_programs_are_named(start, name):
    tiny = textured_box()
    tiny.gltf["images"][0] = {"bufferView": tiny.view(start + bytes(80))}
    with pytest.raises(InputError, match=f"got a {name} file"):
        read(tiny)


def test_a_picture_with_its_channels_first_is_no_texture():
    """[1, 3, H, W] was read as H rows of pixels with W channels."""
    from helpers.comfy_modules import prepare

    prepare()
    from comfy_api.latest import Types
    from lift123.host.convert import any_mesh

    points, uvs, faces = (torch.from_numpy(part)[None] for part in box())
    for shape in ((1, 3, 32, 48), (1, 32, 48, 5)):
        with pytest.raises(InputError, match="texture: expected 3 numbers each"):
            any_mesh(Types.MESH(points, faces, uvs=uvs, texture=torch.rand(shape)), "mesh")
