"""GLB and OBJ files against trimesh, the glTF rules and hand-made files; decimation and unwrapping."""

import io
import json
import math
import struct

import numpy as np
import pytest
import torch
from helpers.gltf_tiny import shown_colors
from lift123.pipelines.core.errors import InputError
from lift123.pipelines.core.mesh import Mesh, merge
from lift123.pipelines.io.clean import drop_small_parts
from lift123.pipelines.io.color import linear_to_srgb, srgb_to_linear
from lift123.pipelines.io.decimate import decimate
from lift123.pipelines.io.glb import read_glb, write_glb
from lift123.pipelines.io.glb_reader import read_extras
from lift123.pipelines.io.obj import read_obj, write_obj
from lift123.pipelines.io.unwrap import unwrap
from lift123.pipelines.ops.marching_tets import marching_tets
from lift123.pipelines.ops.mesh_edges import mesh_edges
from lift123.pipelines.ops.tet_grid import a15_grid
from PIL import Image

trimesh = pytest.importorskip("trimesh", reason="trimesh is the oracle of these tests")


def torus(n=8, ring=0.6, tube=0.25):
    grid, tets = a15_grid(n)
    around = grid[:, [0, 2]].norm(dim=-1) - ring
    return Mesh(*marching_tets(grid, torch.hypot(around, grid[:, 1]) - tube, tets))


def textured():
    mesh = unwrap(torus(6), None, 64)
    texture = torch.rand(16, 24, 3, generator=torch.Generator().manual_seed(0))
    return Mesh(mesh.vertices, mesh.faces, None, mesh.uvs, mesh.face_uvs, (texture * 255).round() / 255)


def colored():
    mesh = torus(5)
    colors = torch.rand(len(mesh.vertices), 3, generator=torch.Generator().manual_seed(1))
    return Mesh(mesh.vertices, mesh.faces, colors)


def parse(data):
    length = struct.unpack_from("<I", data, 12)[0]
    return json.loads(data[20 : 20 + length]), data[20 + length + 8 :]


def values(gltf, binary, index):
    entry = gltf["accessors"][index]
    view = gltf["bufferViews"][entry["bufferView"]]
    dtype = {5125: "<u4", 5126: "<f4"}[entry["componentType"]]
    width = {"SCALAR": 1, "VEC2": 2, "VEC3": 3}[entry["type"]]
    assert view["byteOffset"] % 4 == 0 and entry.get("byteOffset", 0) % 4 == 0
    assert view["byteOffset"] + view["byteLength"] <= len(binary)
    assert view["byteLength"] == entry["count"] * width * 4
    raw = binary[view["byteOffset"] : view["byteOffset"] + view["byteLength"]]
    return np.frombuffer(raw, dtype).reshape(-1, width)


@pytest.mark.parametrize("make", [textured, colored, torus])
def test_file_obeys_the_rules_of_gltf(make):
    data = write_glb(None, make(), {"seed": 3}, name="thing")
    magic, version, total = struct.unpack_from("<4sII", data)
    assert (magic, version, total) == (b"glTF", 2, len(data)) and total % 4 == 0
    gltf, binary = parse(data)
    assert gltf["buffers"] == [{"byteLength": len(binary)}] and gltf["asset"]["version"] == "2.0"
    primitive = gltf["meshes"][0]["primitives"][0]
    arrays = {k: values(gltf, binary, i) for k, i in primitive["attributes"].items()}
    assert len({len(a) for a in arrays.values()}) == 1
    indices = values(gltf, binary, primitive["indices"])
    assert indices.size % 3 == 0 and indices.max() == len(arrays["POSITION"]) - 1
    position = gltf["accessors"][primitive["attributes"]["POSITION"]]
    assert position["min"] == arrays["POSITION"].min(0).tolist()
    assert position["max"] == arrays["POSITION"].max(0).tolist()
    assert np.allclose(np.linalg.norm(arrays["NORMAL"], axis=-1), 1, atol=1e-5)
    assert all(np.isfinite(a).all() for a in arrays.values())
    for view in gltf["bufferViews"]:
        assert view["byteOffset"] + view["byteLength"] <= len(binary)
    assert gltf["asset"]["extras"] == {"seed": 3} == read_extras(data)


def test_trimesh_reads_the_textured_file():
    mesh = textured()
    scene = trimesh.load(io.BytesIO(write_glb(None, mesh)), file_type="glb")
    (read,) = scene.geometry.values()
    corners = torch.from_numpy(np.asarray(read.triangles, dtype=np.float32))
    assert torch.equal(corners, mesh.vertices[mesh.faces])
    uv = np.asarray(read.visual.uv)[read.faces]
    expected = mesh.uvs[mesh.face_uvs].numpy().copy()
    expected[..., 1] = 1 - expected[..., 1]  # trimesh counts v upwards
    assert np.allclose(uv, expected, atol=1e-6)
    picture = np.asarray(read.visual.material.baseColorTexture.convert("RGB"))
    assert np.array_equal(picture, (mesh.texture * 255).round().numpy().astype(np.uint8))
    read.merge_vertices(merge_tex=True, merge_norm=True)
    assert read.is_watertight and read.volume == pytest.approx(mesh.signed_volume().item(), rel=1e-4)


def test_colors_are_stored_linear():
    mesh = colored()
    gltf, binary = parse(write_glb(None, mesh))
    stored = values(gltf, binary, gltf["meshes"][0]["primitives"][0]["attributes"]["COLOR_0"])
    expected = np.where(
        mesh.vertex_colors <= 0.04045, mesh.vertex_colors / 12.92, ((mesh.vertex_colors + 0.055) / 1.055) ** 2.4
    )
    assert np.allclose(stored, expected, atol=1e-6)
    ramp = torch.linspace(0, 1, 1001)
    assert torch.allclose(linear_to_srgb(srgb_to_linear(ramp)), ramp, atol=1e-5)


@pytest.mark.parametrize("make", [textured, colored, torus])
def test_round_trip(make, tmp_path):
    mesh = make()
    write_glb(tmp_path / "a.glb", mesh)
    read = read_glb(tmp_path / "a.glb")
    assert torch.equal(read.vertices[read.faces], mesh.vertices[mesh.faces])
    assert len(read.vertices) == len(mesh.vertices)  # seams are welded again
    if mesh.texture is not None:
        assert torch.equal(read.texture, mesh.texture)
        assert torch.equal(read.uvs[read.face_uvs], mesh.uvs[mesh.face_uvs])
    if mesh.vertex_colors is not None:
        assert torch.allclose(read.vertex_colors[read.faces], mesh.vertex_colors[mesh.faces], atol=1e-5)


def test_same_mesh_same_bytes():
    assert write_glb(None, textured(), {"b": 1, "a": 2}) == write_glb(None, textured(), {"a": 2, "b": 1})


def test_reads_placed_and_mirrored_nodes_of_another_writer():
    box = trimesh.creation.box(extents=(1, 2, 3))
    scene = trimesh.Scene()
    turn = trimesh.transformations.rotation_matrix(0.7, [1, 2, 3], [0.1, 0, 0])
    mirror = np.diag([-2.0, 1, 1, 1])
    mirror[:3, 3] = [4, 0, 0]
    scene.add_geometry(box, node_name="a", geom_name="box", transform=turn)
    scene.add_geometry(box.copy(), node_name="b", geom_name="box2", transform=mirror)
    mesh = read_glb(scene.export(file_type="glb"))
    assert mesh.signed_volume().item() == pytest.approx(6 + 12, rel=1e-5)
    expected = scene.to_geometry().bounds
    assert np.allclose([mesh.vertices.min(0).values, mesh.vertices.max(0).values], expected, atol=1e-5)
    assert bool((mesh_edges(mesh.faces, len(mesh.vertices)).count == 2).all())


def hand_made(indices, mode, positions, colors=None, **accessor):
    """A GLB with 16-bit indices, interleaved positions (stride 16) and normalized byte colors."""
    binary = b"".join(struct.pack("<4f", *p, 9.0) for p in positions)
    views = [{"buffer": 0, "byteLength": len(binary), "byteStride": 16}]
    accessors = [{"bufferView": 0, "componentType": 5126, "type": "VEC3", "count": len(positions), **accessor}]
    primitive = {"attributes": {"POSITION": 0}, "indices": 1, "mode": mode}
    views.append({"buffer": 0, "byteOffset": len(binary), "byteLength": 2 * len(indices)})
    accessors.append({"bufferView": 1, "componentType": 5123, "type": "SCALAR", "count": len(indices)})
    binary += struct.pack(f"<{len(indices)}H", *indices) + b"\0" * (2 * len(indices) % 4)
    if colors is not None:
        views.append({"buffer": 0, "byteOffset": len(binary), "byteLength": 4 * len(colors)})
        accessors.append(
            {"bufferView": 2, "componentType": 5121, "type": "VEC4", "count": len(colors), "normalized": True}
        )
        primitive["attributes"]["COLOR_0"] = 2
        binary += b"".join(struct.pack("4B", *c) for c in colors)
    node = {"mesh": 0, "translation": [1, 0, 0], "rotation": [0, 0, math.sin(math.pi / 4), math.cos(math.pi / 4)]}
    gltf = {
        "asset": {"version": "2.0"}, "scenes": [{"nodes": [0]}], "nodes": [{"children": [1], "scale": [2, 2, 2]}, node],
        "meshes": [{"primitives": [primitive]}], "accessors": accessors, "bufferViews": views,
        "buffers": [{"byteLength": len(binary)}],
    }
    text = json.dumps(gltf).encode()
    text += b" " * (-len(text) % 4)
    chunks = struct.pack("<I4s", len(text), b"JSON") + text + struct.pack("<I4s", len(binary), b"BIN\0") + binary
    return struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks


SQUARE = [(0, 0, 0), (1, 0, 0), (0, 1, 0), (1, 1, 0)]


@pytest.mark.parametrize("mode, indices", [(5, [0, 1, 2, 3]), (6, [0, 1, 3, 2]), (4, [0, 1, 2, 1, 3, 2])])
def test_reads_strips_fans_strides_hierarchies_and_byte_colors(mode, indices):
    mesh = read_glb(hand_made(indices, mode, SQUARE, [(255, 0, 0, 255)] * 4))
    normals = mesh.face_normals()
    assert torch.allclose(normals, torch.tensor([0.0, 0, 4]).expand(2, 3), atol=1e-5)  # scaled by two, still +z
    # (1, 0, 0) turned by 90 degrees about z, moved by +x, doubled
    assert torch.allclose(mesh.vertices[1], torch.tensor([2.0, 2.0, 0.0]), atol=1e-5)
    assert torch.allclose(mesh.vertex_colors, torch.tensor([1.0, 0, 0]).expand(4, 3))


def test_several_textures_become_one():
    parts = []
    for color in ([255, 0, 0], [0, 0, 255]):
        box = trimesh.creation.box()
        picture = Image.new("RGB", (4, 4), tuple(color))
        material = trimesh.visual.material.PBRMaterial(baseColorTexture=picture, baseColorFactor=[255] * 4)
        box.visual = trimesh.visual.TextureVisuals(uv=np.full((len(box.vertices), 2), 0.5), material=material)
        parts.append(box)
    mesh = read_glb(trimesh.Scene(parts).export(file_type="glb"))
    assert shown_colors(mesh)[:12].round().tolist() == [[255, 0, 0]] * 12
    assert shown_colors(mesh)[12:].round().tolist() == [[0, 0, 255]] * 12


@pytest.mark.parametrize(
    "data, words",
    [
        (b"hello", "no glTF header"),
        (b"glTF" + struct.pack("<II", 1, 20) + b"\0" * 8, "version 1"),
        (lambda: write_glb(None, torus(3))[:500], "truncated"),
        (lambda: write_glb(None, torus(3)).replace(b'"VEC3"', b'"VEC9"'), "damaged"),
        (lambda: hand_made([0, 1, 2], 1, SQUARE), "without triangles"),
        (lambda: hand_made([0, 1, 9], 4, SQUARE), "damaged"),
        (lambda: hand_made([0, 1, 2], 4, SQUARE, count=9000), "damaged"),
    ],
)
def test_bad_files_give_one_clear_error(data, words):
    with pytest.raises(InputError, match=words):
        read_glb(data() if callable(data) else data)


def test_bad_output(tmp_path):
    with pytest.raises(InputError, match="empty mesh"):
        write_glb(None, Mesh(torch.zeros(0, 3), torch.zeros(0, 3, dtype=torch.int64)))
    with pytest.raises(InputError, match="NaN"):
        write_glb(None, Mesh(torch.full((3, 3), math.nan), torch.tensor([[0, 1, 2]])))
    with pytest.raises(InputError, match="output path"):
        write_glb(tmp_path / "missing" / "a.glb", torus(3))
    with pytest.raises(InputError, match="GLB file"):
        read_glb(tmp_path / "none.glb")


def test_obj_round_trip_and_trimesh(tmp_path):
    mesh = textured()
    files = write_obj(tmp_path / "a.obj", mesh)
    assert [f.name for f in files] == ["a.obj", "a.mtl", "a.png"] and all(f.exists() for f in files)
    read = read_obj(tmp_path / "a.obj")
    assert torch.equal(read.vertices, mesh.vertices) and torch.equal(read.faces, mesh.faces)
    assert torch.allclose(read.uvs[read.face_uvs], mesh.uvs[mesh.face_uvs], atol=1e-6)
    other = trimesh.load(tmp_path / "a.obj")
    assert other.volume == pytest.approx(mesh.signed_volume().item(), rel=1e-4)
    (tmp_path / "quad.obj").write_text("v 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\nf -4 -3 -2 -1\n")
    quad = read_obj(tmp_path / "quad.obj")
    assert quad.faces.tolist() == [[0, 1, 2], [0, 2, 3]]
    (tmp_path / "bad.obj").write_text("v 0 0\nf 1 2 x\n")
    with pytest.raises(InputError, match="OBJ file"):
        read_obj(tmp_path / "bad.obj")


def test_decimation_keeps_shape_topology_and_winding():
    mesh = torus(14)
    small = decimate(mesh, 1500)
    assert len(small.faces) <= 1500
    edges = mesh_edges(small.faces, len(small.vertices))
    assert bool((edges.count == 2).all())
    assert len(small.vertices) - len(edges.ends) + len(small.faces) == 0  # still a torus
    assert small.signed_volume().item() == pytest.approx(mesh.signed_volume().item(), rel=0.005)
    around = small.vertices[:, [0, 2]].norm(dim=-1) - 0.6
    assert (torch.hypot(around, small.vertices[:, 1]) - 0.25).abs().max() < 0.01
    center = small.vertices[small.faces].mean(1)
    flat = center * torch.tensor([1.0, 0, 1.0])
    outward = center - 0.6 * torch.nn.functional.normalize(flat, dim=-1)
    assert bool(((small.face_normals() * outward).sum(-1) > 0).all())
    assert torch.equal(decimate(mesh, 1500).vertices, small.vertices)


def test_decimation_of_awkward_meshes():
    plate = Mesh(*(torch.as_tensor(np.array(x)) for x in _plate(12)))
    small = decimate(plate, 60)
    assert len(small.faces) < len(plate.faces)
    assert small.face_normals().sum(0)[2].item() == pytest.approx(plate.face_normals().sum(0)[2].item(), rel=1e-5)
    assert bool((small.face_normals()[:, 2] > -1e-9).all())
    assert len(decimate(Mesh(torch.zeros(30, 3), torch.arange(30).reshape(10, 3)), 4).faces) == 10  # loose triangles
    double = merge([torus(5), torus(5)])  # coincident copies
    assert bool((mesh_edges(*_sized(decimate(double, 400))).count == 2).all())
    ramp = Mesh(plate.vertices, plate.faces, plate.vertices.clamp(0, 1))
    kept = decimate(ramp, 100)
    assert torch.allclose(kept.vertex_colors[:, :2], kept.vertices[:, :2], atol=0.02)


def _sized(mesh):
    return mesh.faces, len(mesh.vertices)


def _plate(n):
    x, y = np.meshgrid(np.linspace(0, 1, n + 1), np.linspace(0, 1, n + 1), indexing="ij")
    corner = (np.arange(n)[:, None] * (n + 1) + np.arange(n)).reshape(-1)
    first = np.stack([corner, corner + n + 1, corner + 1], -1)
    second = np.stack([corner + n + 1, corner + n + 2, corner + 1], -1)
    points = np.stack([x, y, np.zeros_like(x)], -1).reshape(-1, 3).astype(np.float32)
    return points, np.concatenate([first, second]).astype(np.int64)


def test_crumbs_and_hollows_are_dropped():
    body, crumb = colored(), colored().transformed(0.02, 0.9)
    hollow = Mesh(body.vertices * 0.3, body.faces.flip(1), body.vertex_colors)
    mesh = drop_small_parts(merge([crumb, body, hollow]))
    assert torch.equal(mesh.vertices, body.vertices) and torch.equal(mesh.faces, body.faces)
    assert torch.equal(mesh.vertex_colors, body.vertex_colors)
    assert len(drop_small_parts(merge([crumb, body, hollow]), keep_hollows=True).faces) == 2 * len(body.faces)
    pair = merge([body, body.transformed(0.3, 2.0)])
    assert drop_small_parts(pair) is pair
    alone = Mesh(body.vertices, body.faces[:1])
    assert len(drop_small_parts(alone).faces) == 1  # the largest stays, whatever it is


@pytest.mark.parametrize("method", ["xatlas", "grid"])
def test_unwrapped_triangles_do_not_overlap(method):
    if method == "xatlas":
        pytest.importorskip("xatlas")
    mesh = unwrap(torus(6), 900, 1024, method=method)
    assert mesh.uvs.min() >= 0 and mesh.uvs.max() <= 1
    triangles = mesh.uvs[mesh.face_uvs].double().numpy()
    spots = np.random.default_rng(0).random((4000, 2))
    a, b, c = (triangles[:, k][None] for k in range(3))
    p = spots[:, None]

    def side(u, v):
        return (v[..., 0] - u[..., 0]) * (p[..., 1] - u[..., 1]) - (v[..., 1] - u[..., 1]) * (p[..., 0] - u[..., 0])

    s = np.stack([side(a, b), side(b, c), side(c, a)])
    hits = ((s > 1e-9).all(0) | (s < -1e-9).all(0)).sum(1)
    assert hits.max() == 1 and hits.mean() > 0.3
    assert torch.equal(mesh.uvs, unwrap(torus(6), 900, 1024, method=method).uvs)


def test_unwrap_errors():
    with pytest.raises(ValueError, match="method"):
        unwrap(torus(4), None, method="magic")
    with pytest.raises(InputError, match="at least one face"):
        unwrap(Mesh(torch.zeros(0, 3), torch.zeros(0, 3, dtype=torch.int64)))
