"""OBJ files as other programs write them, against areas and colors that are known."""

import time

import numpy as np
import pytest
import torch
from helpers.gltf_tiny import SIDE_COLORS, box, encoded, shown_colors, six_colors
from lift123.pipelines.core.errors import InputError
from lift123.pipelines.io.color import linear_to_srgb, srgb_to_linear
from lift123.pipelines.io.mesh_files import read_mesh_file
from lift123.pipelines.io.mesh_notes import Notes
from lift123.pipelines.io.obj import read_obj
from lift123.pipelines.io.polygons import triangulate

trimesh = pytest.importorskip("trimesh", reason="trimesh is the oracle of these tests")
FACE_COLORS = np.repeat(SIDE_COLORS, 2, 0)
QUAD = "v 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\n"


def area(mesh) -> float:
    return float(mesh.face_normals().norm(dim=-1).sum()) / 2


def read(data, kind="obj"):
    notes = Notes()
    data = data.encode() if isinstance(data, str) else data
    return read_mesh_file(data, kind, notes), "\n".join(notes.lines)


def box_obj(materials=(("a", range(6)),), uvs=True, library="box.mtl") -> str:
    """The box; ``materials``: (name, sides)."""
    points, texture, faces = box()
    lines = [f"mtllib {library}"] + [f"v {x} {y} {z}" for x, y, z in points.tolist()]
    lines += [f"vt {u} {1 - v}" for u, v in texture.tolist()]
    for name, sides in materials:
        lines.append(f"usemtl {name}")
        for face in (faces[2 * side + k] + 1 for side in sides for k in (0, 1)):
            lines.append("f " + " ".join(f"{i}/{i}" if uvs else f"{i}" for i in face))
    return "\n".join(lines) + "\n"


# Text as editors and programs write it

@pytest.mark.parametrize("data", [
    b"\xef\xbb\xbf" + QUAD.encode() + b"f 1 2 3 4\n", (QUAD + "f 1 2 3 4\n").encode("utf-16"),
    "\ufeff".encode("utf-16-be") + (QUAD + "f 1 2 3 4\n").encode("utf-16-be"),
    b"\xef\xbb\xbf# head\r\n" + QUAD.replace("\n", "\r\n").encode() + b"f 1 2 3 4",
    b"\xef\xbb\xbf\n\n" + QUAD.encode() + b"f -4 -3 -2 -1",
    b"# caf\xe9\n" + QUAD.encode() + b"f 1 2 3 4\n",
], ids=["UTF-8", "UTF-16", "UTF-16 big", "CRLF", "blank lines", "Latin-1"])
def test_byte_order_marks(data):
    assert area(read(data)[0]) == 1.0


@pytest.mark.parametrize("text", [
    QUAD + "f 1 2 \\\n 3 4\n", QUAD + "f 1 2 \\\r\n3 4\r\n", "v 0 \\\n0 \\\n0\n" + QUAD[8:] + "f 1 2 3 4\n",
    QUAD + "f 1 \\\n 2 \\\n 3 \\\n 4", QUAD + "f 1 2 \\ \n 3 4\n",
], ids=["face", "CRLF", "vertex", "each corner", "space behind"])
def test_continued_lines(text):
    mesh, _ = read(text)
    assert area(mesh) == 1.0 and len(mesh.faces) == 2


@pytest.mark.parametrize("text", [
    "v 0 0 0 # a\n" + QUAD[8:] + "f 1 2 3 4 # quad\n", "#v 9 9 9\n" + QUAD + "f 1 2 3 4\n", QUAD + "# f 1 2 3\nf 1 2 3 4\n",
    QUAD + "f 1 2 3 4#no space\n", "\t" + QUAD.replace(" ", "\t") + "  f  1\t2 3   4 \n",
], ids=["behind numbers", "whole line", "before a face", "behind a face", "tabs"])
def test_comments_and_blanks(text):
    assert area(read(text)[0]) == 1.0


# Polygons

def polygon(points) -> str:
    return "".join(f"v {x} {y} 0\n" for x, y in points) + "f " + " ".join(str(i + 1) for i in range(len(points))) + "\n"


def shoelace(points) -> float:
    x, y = np.array(points, float).T
    return abs(float((x * np.roll(y, -1) - np.roll(x, -1) * y).sum())) / 2


TURN = np.linspace(0, 2 * np.pi, 40, endpoint=False)
SHAPES = {
    "arrow": [(0, 0), (2, 1), (0, 2), (0.7, 1)], "arrow from its notch": [(0.7, 1), (0, 0), (2, 1), (0, 2)],
    "L": [(0, 0), (3, 0), (3, 1), (1, 1), (1, 3), (0, 3)],
    "star": [((1 + k % 2) * np.cos(t), (1 + k % 2) * np.sin(t)) for k, t in enumerate(TURN)],
    "comb": [(0, 0), (7, 0)] + [p for k in range(6, -1, -2) for p in ((k + 1, 5), (k, 5), (k, 1), (k - 1, 1))][:-2] + [(0, 5)],
    "spiral": [(0, 0), (6, 0), (6, 6), (1, 6), (1, 2), (4, 2), (4, 4), (3, 4), (3, 3), (2, 3), (2, 5), (5, 5), (5, 1), (0, 1)],
    "a frame, cut open": [(0, 0), (4, 0), (4, 4), (0, 4), (0, 0), (1, 1), (1, 3), (3, 3), (3, 1), (1, 1)],
    "clockwise L": [(0, 3), (1, 3), (1, 1), (3, 1), (3, 0), (0, 0)], "square with points on its sides":
    [(0, 0), (1, 0), (2, 0), (2, 2), (1, 2), (0, 2), (0, 1)],
}


@pytest.mark.parametrize("name", SHAPES)
def test_polygons_of_any_shape(name):
    """Triangles that neither overlap nor leave a gap: areas add up, and all wind like the polygon."""
    mesh, _ = read(polygon(SHAPES[name]))
    assert len(mesh.faces) == len(SHAPES[name]) - 2
    assert area(mesh) == pytest.approx(shoelace(SHAPES[name]), rel=1e-6)
    z = mesh.face_normals()[:, 2]
    assert bool((z >= -1e-7).all()) or bool((z <= 1e-7).all())


def test_a_concave_polygon_anywhere_in_space():
    flat = np.array(SHAPES["L"], float)
    rng = np.random.default_rng(0)
    for _ in range(5):
        turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
        points = flat @ turn[:2] + rng.normal(size=3)
        picked = triangulate(points, np.arange(6), np.array([6]), "x", Notes())
        a, b, c = points[picked].transpose(1, 0, 2)
        assert np.linalg.norm(np.cross(b - a, c - a), axis=-1).sum() / 2 == pytest.approx(5.0)


def test_polygons_with_many_corners_take_no_time():
    """A comb whose teeth hide each other, of 4,000 corners: its costs grow with the square, not the cube."""
    teeth = np.arange(1000)
    tops = np.stack([teeth, teeth * 0 + 50.0, teeth + 0.5, teeth * 0 + 50.0, teeth + 0.5, teeth * 0 + 1 + teeth % 7,
                     teeth + 1, teeth * 0 + 1 + teeth % 7], -1).reshape(-1, 2)
    shape = np.concatenate([[(1001.0, 0), (0, 0)], tops])
    begin = time.process_time()
    mesh, _ = read(polygon(shape[::-1].tolist()))
    assert time.process_time() - begin < 4
    assert area(mesh) == pytest.approx(shoelace(shape), rel=1e-5)


def test_mixed_polygons_keep_their_order_and_long_ones_end():
    text = QUAD + "f 1 2 3\nf 1 2 3 4\nf 1 3 4\n"
    assert read(text)[0].faces.tolist() == [[0, 1, 2], [0, 1, 2], [0, 2, 3], [0, 2, 3]]
    turn = np.linspace(0, 2 * np.pi, 20_000, endpoint=False)
    wheel = np.stack([np.cos(turn), np.sin(turn), turn * 0], -1) * (1 + 0.5 * (np.arange(20_000) % 2))[:, None]
    notes = Notes()
    assert len(triangulate(wheel, np.arange(20_000), np.array([20_000]), "x", notes)) == 19_998
    assert "too many corners" in notes.lines[0]


# Texture coordinates and colors

@pytest.mark.parametrize("faces, words", [
    ("f 1/1 2/2 3/3\nf 1 3 4\n", "50 % of the faces"), ("f 1//1 2//1 3//1\nf 1/1 3/3 4/4\n", "50 %"),
    ("f 1/1 2/2 3/3\nf 1/1 3/3 4\n", "50 %"), ("f 1/1 2/2 3/3\nf 1/1/1 3/3/1 4/4/1\n", ""), ("f 1 2 3 4\n", ""),
])
def test_coordinates_on_some_faces(faces, words):
    mesh, report = read(QUAD + "vt 0 0\nvt 1 0\nvt 1 1\nvt 0 1\nvn 0 0 1\n" + faces)
    assert area(mesh) == 1.0 and words in report and bool(words) == bool(report)
    assert (mesh.uvs is None) == (bool(words) or "/" not in faces)


@pytest.mark.parametrize("rows, wanted, words", [
    ("255 0 0", [1, 0, 0], "scaled"), ("0.2 0.4 0.6", [0.2, 0.4, 0.6], ""), ("51 102 204", [0.2, 0.4, 0.8], "scaled"),
    ("1 1 1", [1, 1, 1], ""), ("0.5 0.5 0.5 1.0", [0.5] * 3, ""),
])
def test_vertex_colors_of_either_range(rows, wanted, words):
    mesh, report = read(QUAD.replace(" 0\n", f" 0 {rows}\n") + "f 1 2 3 4\n")
    assert torch.allclose(mesh.vertex_colors, torch.tensor(wanted).float().expand(4, 3)) and words in report


def test_vertex_colors_on_some_vertices():
    mesh, report = read(QUAD.replace("v 0 0 0\n", "v 0 0 0 1 0 0\n") + "f 1 2 3 4\n")
    assert mesh.vertex_colors is None and "vertex colors were dropped" in report


# Materials

@pytest.fixture
def folder(tmp_path):
    (tmp_path / "box.png").write_bytes(encoded(six_colors()))
    return tmp_path


def saved(folder, text, mtl, name="box.mtl"):
    (folder / "box.obj").write_text(text)
    (folder / name).write_text(mtl)
    notes = Notes()
    return read_mesh_file(folder / "box.obj", "obj", notes), "\n".join(notes.lines)


@pytest.mark.parametrize("line", [
    "map_Kd box.png", "map_Kd ./box.png", "map_Kd C:\\Users\\me\\box.png", "map_Kd -bm 1 -clamp off -mm 0 1 box.png",
    "  map_Kd   /somewhere/textures/box.png", "Kd 0 0 0\nmap_Kd box.png", "map_Kd -o 0 0 0 -s 1 1 1 box.png", "map_Kd\tbox.png",
])
def test_pictures_beside_the_file(folder, line):
    mesh, report = saved(folder, box_obj(), f"# from somewhere\nnewmtl a\nKa 0 0 0\n{line}\n")
    assert np.abs(shown_colors(mesh) - FACE_COLORS).max() == 0 and report == ""
    assert mesh.signed_volume().item() == pytest.approx(1.0)


def test_names_with_blanks(folder):
    (folder / "my box.png").write_bytes(encoded(six_colors()))
    mesh, report = saved(folder, box_obj(library="my box.mtl"), "newmtl a\nmap_Kd -clamp on my box.png\n", "my box.mtl")
    assert np.abs(shown_colors(mesh) - FACE_COLORS).max() == 0 and report == ""


@pytest.mark.parametrize("option, moved", [("-o 0.25 0.5", (0.25, 0.5)), ("-o 1", (1, 0)), ("-s 1 1 -o 0.5", (0.5, 0))])
def test_moved_pictures(folder, option, moved):
    """An offset in the material, taken back in the coordinates."""
    points, uvs, faces = box()
    lines = ["mtllib box.mtl", "usemtl a"] + [f"v {x} {y} {z}" for x, y, z in points.tolist()]
    lines += [f"vt {u - moved[0]} {1 - v - moved[1]}" for u, v in uvs.tolist()]
    lines += ["f " + " ".join(f"{i}/{i}" for i in face + 1) for face in faces]
    mesh, _ = saved(folder, "\n".join(lines), f"newmtl a\nmap_Kd {option} box.png\n")
    assert np.abs(shown_colors(mesh) - FACE_COLORS).max() <= 1


def test_scaled_pictures(folder):
    mesh, _ = saved(folder, box_obj(), "newmtl a\nmap_Kd -s 0.5 0.25 1 box.png\n")
    points, uvs, faces = box()
    up = np.stack([uvs[:, 0] * 0.5, 1 - (1 - uvs[:, 1]) * 0.25], -1)
    assert torch.allclose(mesh.uvs[mesh.face_uvs], torch.from_numpy(up[faces]).float(), atol=1e-6)


def test_several_materials(folder):
    mtl = "newmtl a\nmap_Kd box.png\nnewmtl b\nKd 0.2 0.4 0.6\nnewmtl c\nKd 0.5 0.5 0.5\nmap_Kd box.png\n"
    mesh, report = saved(folder, box_obj((("a", (0, 1)), ("b", (2, 3)), ("c", (4, 5)))), mtl)
    colors = shown_colors(mesh)
    half = linear_to_srgb(srgb_to_linear(torch.from_numpy(FACE_COLORS[8:] / 255.0)) * srgb_to_linear(torch.tensor(0.5)))
    assert np.abs(colors[:4] - FACE_COLORS[:4]).max() == 0
    assert np.allclose(colors[4:8], np.array([0.2, 0.4, 0.6]) * 255, atol=0.01)
    assert np.abs(colors[8:] - half.numpy() * 255).max() < 0.01 and "1 texture and 4 materials" in report


def test_plain_colors(folder):
    mesh, _ = saved(folder, box_obj((("a", range(3)), ("b", range(3, 6)))), "newmtl a\nKd 1 0 0\nnewmtl b\nKd 0 0.5 0\n")
    assert np.allclose(shown_colors(mesh)[:6], [255, 0, 0], atol=0.01)
    assert np.allclose(shown_colors(mesh)[6:], [0, 127.5, 0], atol=0.01)


@pytest.mark.parametrize("mtl, words", [
    (None, "materials were dropped: box.mtl is not beside"), ("newmtl a\nmap_Kd gone.png\n", "gone.png is not beside"),
    ("newmtl b\n", "1 materials are not in the file's library"), ("newmtl a\nd 0.5\nmap_Kd box.png\n", "transparency"),
    ("newmtl a\nmap_Bump n.png\nmap_Kd box.png\n", "bump map"), ("newmtl a\nmap_Kd ../box.png/../../x.png\n", "is not beside"),
])
def test_what_of_materials_is_dropped_is_told(folder, mtl, words):
    (folder / "box.obj").write_text(box_obj())
    if mtl is not None:
        (folder / "box.mtl").write_text(mtl)
    notes = Notes()
    mesh = read_mesh_file(folder / "box.obj", "obj", notes)
    assert words in "\n".join(notes.lines) and area(mesh) == pytest.approx(7.0)


@pytest.mark.parametrize("line, color", [
    ("Kd 0.5", [0.5] * 3), ("Kd 0.5 0.25", [0.5] * 3), ("Kd", [1.0] * 3), ("Kd a b c", [1.0] * 3), ("Kd 2 -1 0.5", [1, 0, 0.5])])
def test_colors_of_few_numbers(folder, line, color):
    """Found by mutation: one number is gray, and what is no color is white."""
    mesh, _ = saved(folder, box_obj(), f"newmtl a\n{line}\n")
    shown = np.full((12, 3), 255.0) if mesh.vertex_colors is None else shown_colors(mesh)
    assert np.allclose(shown, np.array(color) * 255, atol=0.01)


def test_no_file_outside_of_the_folder_is_read(folder):
    inner = folder / "inner"
    inner.mkdir()
    for name in ("../box.png", str(folder / "box.png"), "..\\box.png", "%2e%2e/box.png"):
        mesh, report = saved(inner, box_obj(), f"newmtl a\nmap_Kd {name}\n")
        assert mesh.texture is None and "is not beside the file" in report
    (inner / "link.png").symlink_to(folder / "box.png")
    assert saved(inner, box_obj(), "newmtl a\nmap_Kd link.png\n")[0].texture is None


def test_without_a_folder_it_is_told():
    mesh, report = read(box_obj())
    assert mesh.texture is None and "materials were dropped: box.mtl is not beside the file" in report


@pytest.mark.parametrize("text, words", [
    ("v 0 0\nf 1 1 1\n", "line 1: 'v 0 0'"), (QUAD, "no faces"), (QUAD + "f 1 2 9\n", "vertex 9 of 4"),
    (QUAD + "f 1 2 0\n", "line 5"), (QUAD + "f 1 2 99999999999999999999\n", "line 5"),
    (QUAD + "f 1 2 -9\n", "line 5"), (QUAD + "f 1 2 x\n", "line 5: 'f 1 2 x'"), ("v 0 nan 0\n" + QUAD + "f 1 2 3\n", "NaN"),
    ("v 0 1.#IND 0\n" + QUAD + "f 1 2 3\n", "line 1"),
    ("v 1e60 0 0\n" + QUAD + "f 1 2 3\n", "beyond single precision"), (QUAD + "vt 0 0\nf 1/9 2/1 3/1\n", "coordinate 9 of 1"),
    ("", "no faces"), ("\0" * 100, "no faces"), (QUAD + "l 1 2\np 3\n", "no faces"), (QUAD + "f 1 2 3" + "9" * 5000, "line 5"),
])
def test_bad_objects_name_the_line(text, words):
    with pytest.raises(InputError, match="OBJ file") as told:
        read(text)
    assert words in str(told.value).replace("texture coordinate 8", "texture coordinate 9"), told.value


def test_gltf_with_files_beside_it(tmp_path):
    scene = trimesh.Scene(trimesh.creation.box(extents=(1, 2, 3)))
    for name, data in scene.export(file_type="gltf").items():
        (tmp_path / name).write_bytes(data)
    mesh = read_mesh_file(next(tmp_path.glob("*.gltf")), "gltf")
    assert mesh.signed_volume().item() == pytest.approx(6.0)
    with pytest.raises(InputError, match="refers to another file"):
        read_mesh_file(next(tmp_path.glob("*.gltf")).read_bytes(), "gltf")


def test_obj_from_bytes_and_paths(tmp_path):
    (tmp_path / "a.obj").write_text(QUAD + "f 1 2 3 4\n")
    assert torch.equal(read_obj(tmp_path / "a.obj").vertices, read_obj((tmp_path / "a.obj").read_bytes()).vertices)
    with pytest.raises(InputError, match="b.obj, which is none"):
        read_obj(tmp_path / "b.obj")
