"""PLY and STL files as other programs write them, against colors that are known and files of trimesh."""

import struct

import numpy as np
import pytest
import torch
from helpers.gltf_tiny import SIDE_COLORS, box, encoded, shown_colors, six_colors
from lift123.pipelines.core.errors import InputError
from lift123.pipelines.io.mesh_files import read_mesh_file
from lift123.pipelines.io.mesh_notes import Notes

trimesh = pytest.importorskip("trimesh", reason="trimesh is the oracle of these tests")
FACE_COLORS = np.repeat(SIDE_COLORS, 2, 0)


def area(mesh) -> float:
    return float(mesh.face_normals().norm(dim=-1).sum()) / 2


def read(data, kind):
    notes = Notes()
    return read_mesh_file(data, kind, notes), "\n".join(notes.lines)


def colored_ball():
    ball = trimesh.creation.icosphere(subdivisions=2)
    ball.visual.vertex_colors = np.random.default_rng(0).integers(0, 255, (len(ball.vertices), 4))
    return ball


@pytest.mark.parametrize("encoding", ["ascii", "binary"])
def test_ply_of_another_writer(encoding):
    ball = colored_ball()
    mesh, report = read(ball.export(file_type="ply", encoding=encoding), "ply")
    assert np.allclose(mesh.vertices, ball.vertices, atol=1e-6) and np.array_equal(mesh.faces, ball.faces)
    assert np.array_equal((mesh.vertex_colors.numpy() * 255).round(), ball.visual.vertex_colors[:, :3]) and report == ""


def ply(head: str, *rows) -> bytes:
    """rows: text, or (struct format, values) in binary."""
    body = b"".join(r.encode() if isinstance(r, str) else struct.pack(r[0], *r[1]) for r in rows)
    return f"ply\n{head}\nend_header\n".encode() + body


XYZ = "property float x\nproperty float y\nproperty float z"
LIST = "element face {}\nproperty list uchar int vertex_indices"


@pytest.mark.parametrize("order", ["<", ">"])
def test_binary_ply_of_either_order_with_mixed_polygons(order):
    name = {"<": "little", ">": "big"}[order]
    data = ply(f"format binary_{name}_endian 1.0\ncomment made by hand\nelement vertex 5\n{XYZ}\nproperty uchar red\n"
               f"property uchar green\nproperty uchar blue\n{LIST.format(2)}\nproperty float quality",
               *((order + "3f3B", (x, y, 0, 255, 0, 51)) for x, y in ((0, 0), (1, 0), (1, 1), (0, 1), (0.5, 2))),
               (order + "B4if", (4, 0, 1, 2, 3, 0.5)), (order + "B3if", (3, 3, 2, 4, 0.5)))
    mesh, _ = read(data, "ply")
    assert area(mesh) == pytest.approx(1.5) and torch.allclose(mesh.vertex_colors, torch.tensor([1.0, 0, 0.2]).expand(5, 3))


def test_ply_with_coordinates_and_a_picture(tmp_path):
    """MeshLab's corners with coordinates of their own, and coordinates of vertices."""
    points, uvs, faces = box()
    (tmp_path / "box.png").write_bytes(encoded(six_colors()))
    rows = [" ".join(map(str, p)) + "\n" for p in points.tolist()]
    own_corners = [" ".join(f"{uvs[i, 0]} {1 - uvs[i, 1]}" for i in face) for face in faces]
    wedge = [f"3 {a} {b} {c} 6 {uv}\n" for (a, b, c), uv in zip(faces, own_corners, strict=True)]
    own = ply(f"format ascii 1.0\ncomment TextureFile box.png\nelement vertex 24\n{XYZ}\n{LIST.format(12)}\n"
              "property list uchar float texcoord", *rows, *wedge)
    per_vertex = ply(f"format ascii 1.0\ncomment TextureFile box.png\nelement vertex 24\n{XYZ}\n"
                     "property float s\nproperty float t\n" + LIST.format(12),
                     *(f"{row[:-1]} {u} {1 - v}\n" for row, (u, v) in zip(rows, uvs.tolist(), strict=True)),
                     *(f"3 {a} {b} {c}\n" for a, b, c in faces))
    for data in (own, per_vertex):
        (tmp_path / "box.ply").write_bytes(data)
        mesh = read_mesh_file(tmp_path / "box.ply", "ply")
        assert np.abs(shown_colors(mesh) - FACE_COLORS).max() == 0
        assert "box.png' is not beside" in read(data, "ply")[1]


def test_ply_with_colors_of_faces():
    data = ply(f"format ascii 1.0\nelement vertex 4\n{XYZ}\n{LIST.format(2)}\nproperty uchar red\nproperty uchar green\n"
               "property uchar blue", "0 0 0\n1 0 0\n1 1 0\n0 1 0\n", "3 0 1 2 255 0 0\n", "3 0 2 3 0 0 255\n")
    mesh, report = read(data, "ply")
    assert shown_colors(mesh).tolist() == [[255, 0, 0], [0, 0, 255]] and "colors of faces" in report


BAD_PLY = {
    "no header": (b"plx\n", "no PLY header"), "no end": (b"ply\nformat ascii 1.0\n", "without an end"),
    "no format": (ply("element vertex 1"), "without a known format"), "another format": (ply("format zip 1.0"), "known format"),
    "points": (ply(f"format ascii 1.0\nelement vertex 1\n{XYZ}", "0 0 0\n"), "1 points without faces"),
    "splats": (ply(f"format ascii 1.0\nelement vertex 1\n{XYZ}\nproperty float f_dc_0", "0 0 0 1\n"), "Gaussian splats"),
    "strips": (ply(f"format ascii 1.0\nelement vertex 1\n{XYZ}\nelement tristrips 0\nproperty list int int vertex_indices",
                   "0 0 0\n"), "triangle strips"),
    "1e9 vertices": (ply(f"format binary_little_endian 1.0\nelement vertex 1000000000\n{XYZ}"), "at most 15,000,000"),
    "1e7 vertices without data": (ply(f"format binary_little_endian 1.0\nelement vertex 10000000\n{XYZ}"),
                                  "need 120,000,000 bytes"),
    "4e6 faces without data": (ply(f"format binary_little_endian 1.0\nelement vertex 1\n{XYZ}\n{LIST.format(4_000_000)}",
                                   ("<3f", (0, 0, 0))), "truncated"),
    "negative count": (ply(f"format ascii 1.0\nelement vertex -1\n{XYZ}"), "header line"),
    "a list behind the end": (ply(f"format binary_little_endian 1.0\nelement vertex 1\n{XYZ}\n{LIST.format(1)}", ("<3fB", (
        0, 0, 0, 200))), "behind the end"),
    "a list of -1": (ply(f"format ascii 1.0\nelement vertex 1\n{XYZ}\n{LIST.format(1)}", "0 0 0\n-1\n1"), "a list of -1"),
    "faces astray": (ply(f"format ascii 1.0\nelement vertex 3\n{XYZ}\n{LIST.format(1)}", "0 0 0\n1 0 0\n0 1 0\n3 0 1 7\n"),
                     "vertex 7 of 3"),
    "words": (ply(f"format ascii 1.0\nelement vertex 1\n{XYZ}", "a b c\n"), "damaged table"),
    "no x": (ply("format ascii 1.0\nelement vertex 1\nproperty float u", "1\n"), "without x, y and z"),
    "an unknown type": (ply("format ascii 1.0\nelement vertex 1\nproperty half x"), "header line"),
}


@pytest.mark.parametrize("name", BAD_PLY)
def test_bad_ply(name):
    data, words = BAD_PLY[name]
    with pytest.raises(InputError, match=words):
        read(data, "ply")


@pytest.mark.parametrize("kind", ["stl", "stl_ascii"])
def test_stl_of_another_writer(kind):
    ball = colored_ball()
    data = ball.export(file_type=kind)
    mesh, _ = read(data if isinstance(data, bytes) else data.encode(), "stl")
    assert len(mesh.vertices) == len(ball.vertices) and mesh.signed_volume().item() == pytest.approx(ball.volume, rel=1e-6)


def test_stl_details():
    binary = colored_ball().export(file_type="stl")
    begins_solid = b"solid thing" + binary[11:]
    assert len(read(begins_solid, "stl")[0].faces) == 320
    painted = bytearray(binary)
    painted[84 + 48] = 7
    assert "colors of an STL" in read(bytes(painted), "stl")[1]
    for data, words in ((binary[:500], "truncated"), (b"", "0 bytes"), (b"solid x\nfacet\nvertex 0 0\nendsolid", "1 corners"),
                        (b"\0" * 80 + struct.pack("<I", 10**9), "at most 5,000,000 faces"), (b"\0" * 84, "no faces"),
                        (b"solid\nfacet vertex 0 0 0 vertex 1 0 0 vertex a b c", "no number")):
        with pytest.raises(InputError, match=words):
            read(data, "stl")


def test_kinds_are_found_out():
    ball = colored_ball()
    for kind in ("stl", "ply", "glb"):
        assert len(read_mesh_file(ball.export(file_type=kind), "").faces) == 320
    with pytest.raises(InputError, match="'fbx'"):
        read_mesh_file(b"Kaydara", "fbx")
    with pytest.raises(InputError, match="'unknown'"):
        read_mesh_file(b"\0\1\2", "")
