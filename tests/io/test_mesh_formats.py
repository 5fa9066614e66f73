"""Files in other people's formats, read back by other people's readers (trimesh, the glTF validator)."""

import io
import json
import subprocess
import zipfile

import numpy as np
import pytest
import torch
import trimesh
from helpers.shapes import box
from helpers.tools import tools
from lift123.pipelines.core.errors import InputError
from lift123.pipelines.core.mesh import Mesh
from lift123.pipelines.io.glb import write_glb
from lift123.pipelines.io.material import Material
from lift123.pipelines.io.mesh_files import read_mesh_file
from lift123.pipelines.io.mesh_formats import check_libraries, turned_up, vertex_colors, write_mesh
from lift123.pipelines.io.unwrap import unwrap
from lift123.pipelines.toybox.shapes import ellipsoid


def egg():
    shape = ellipsoid((0.5, 0.4, 0.3), 16)
    return Mesh(torch.from_numpy(shape.vertices).float(), torch.from_numpy(np.ascontiguousarray(shape.faces)).long())


@pytest.fixture(scope="module")
def textured():
    """A small egg with UVs; red grows with u, green with v."""
    mesh = unwrap(egg(), None, 64)
    ramp = (torch.arange(64) + 0.5) / 64
    picture = torch.stack([ramp[None].expand(64, 64), ramp[:, None].expand(64, 64), torch.full((64, 64), 0.25)], dim=-1)
    return Mesh(mesh.vertices, mesh.faces, None, mesh.uvs, mesh.face_uvs, picture)


def maps(size=16):
    ramp = torch.linspace(0, 1, size)
    flat = torch.tensor([0.5, 0.5, 1.0]).expand(size, size, 3)
    return Material(ramp[None].expand(size, size), ramp[:, None].expand(size, size), flat)


def colored():
    mesh = box((-0.4, -0.5, -0.3), (0.4, 0.5, 0.3))
    return Mesh(mesh.vertices, mesh.faces, mesh.vertices - mesh.vertices.amin(0))


@pytest.mark.parametrize("kind", ["ply", "stl", "3mf"])
def test_trimesh_reads_the_shape_back(kind, tmp_path):
    mesh = egg()
    (path,) = write_mesh(tmp_path / f"a.{kind}", mesh, kind)
    found = trimesh.load(path, force="mesh")
    assert found.is_watertight and len(found.faces) == len(mesh.faces)
    assert found.volume == pytest.approx(float(mesh.signed_volume()), rel=1e-5), "the same size, wound outwards"
    assert np.allclose(found.bounds, [mesh.vertices.amin(0), mesh.vertices.amax(0)], atol=1e-6)


def test_ply_keeps_colors_of_vertices_and_those_of_a_texture(tmp_path, textured):
    (path,) = write_mesh(tmp_path / "a.ply", colored(), "ply")
    found = trimesh.load(path, process=False)
    assert np.abs(found.visual.vertex_colors[:, :3] / 255 - colored().vertex_colors.numpy()).max() <= 0.5 / 255 + 1e-6
    own = read_mesh_file(path)
    assert own.vertex_colors is not None and torch.allclose(own.vertex_colors, colored().vertex_colors, atol=0.003)
    (path,) = write_mesh(tmp_path / "b.ply", textured, "ply")
    seen = trimesh.load(path, process=False).visual.vertex_colors[:, :3] / 255
    corner = torch.zeros(len(textured.vertices), 2)
    corner[textured.faces.reshape(-1)] = textured.uvs[textured.face_uvs.reshape(-1)]
    pairs = torch.unique(torch.stack([textured.faces.reshape(-1), textured.face_uvs.reshape(-1)], 1), dim=0)
    single = torch.bincount(pairs[:, 0]) == 1
    inside = single & (corner > 0.02).all(1) & (corner < 0.98).all(1)
    assert int(inside.sum()) > 20 and np.abs(seen[inside][:, :2] - corner[inside].numpy()).max() < 0.01


def test_faces_without_area_color_no_vertex(textured):
    """Unwrapping leaves them at the texture's own corner, which is another place's color."""
    flat = textured.faces[:, [0, 0, 1]]
    more = Mesh(textured.vertices, torch.cat([textured.faces, flat]), None, torch.cat([textured.uvs, torch.zeros(1, 2)]),
                torch.cat([textured.face_uvs, torch.full_like(flat, len(textured.uvs))]), textured.texture)
    found, want = vertex_colors(more), vertex_colors(textured)
    assert torch.allclose(found, want, atol=1e-5) and float(want[:, :2].max()) > 0.5


def test_obj_brings_its_material_and_pictures(tmp_path, textured):
    files = write_mesh(tmp_path / "a.obj", textured, "obj", maps())
    assert [f.name for f in files] == ["a.obj", "a.mtl", "a.png", "a_roughness.png", "a_metallic.png", "a_normal.png"]
    told = (tmp_path / "a.mtl").read_text(encoding="utf-8")
    assert all(line in told for line in ("map_Kd a.png", "map_Pr a_roughness.png", "map_Pm a_metallic.png", "norm a_normal.png"))
    found = trimesh.load(tmp_path / "a.obj", force="mesh", process=False)
    assert len(found.faces) == len(textured.faces) and found.visual.material.image.size == (64, 64)
    shown = np.asarray(found.visual.to_color().vertex_colors)[:, :2] / 255
    uv = np.stack([found.visual.uv[:, 0], 1 - found.visual.uv[:, 1]], axis=-1)  # trimesh counts v upwards
    assert np.abs(shown - uv).max() < 0.03, "the texture lies as it was baked"
    write_mesh(tmp_path / "b.obj", colored(), "obj", Material(0.4, 0.9))
    assert "Pr 0.4\nPm 0.9" in (tmp_path / "b.mtl").read_text(encoding="utf-8")


def test_glb_carries_the_material(tmp_path, textured):
    (path,) = write_mesh(tmp_path / "a.glb", textured, "glb", maps(), {"made": "here"})
    look = trimesh.load(path, force="mesh").visual.material
    packed = np.asarray(look.metallicRoughnessTexture) / 255
    ramp = np.linspace(0, 1, 16)
    assert np.abs(packed[..., 1] - ramp[None]).max() < 0.003, "roughness in green"
    assert np.abs(packed[..., 2] - ramp[:, None]).max() < 0.003, "metallic in blue"
    assert look.metallicFactor == 1 and look.roughnessFactor == 1 and np.asarray(look.normalTexture).shape == (16, 16, 3)
    plain = trimesh.load(io.BytesIO(write_glb(None, textured, material=Material(0.3, 0.8))), file_type="glb", force="mesh")
    look = plain.visual.material
    assert (look.roughnessFactor, look.metallicFactor) == pytest.approx((0.3, 0.8)) and look.metallicRoughnessTexture is None


def test_nothing_asked_for_is_the_file_of_before(textured):
    assert write_glb(None, textured) == write_glb(None, textured, material=Material())


def test_the_gltf_validator_has_no_complaint(tmp_path, textured):
    node = tools("gltf-validator").node
    files = [write_mesh(tmp_path / "maps.glb", textured, "glb", maps())[0],
             write_mesh(tmp_path / "numbers.glb", colored(), "glb", Material(0.2, 1.0))[0]]
    script = ("const v=require('gltf-validator'),fs=require('fs');for(const f of process.argv.slice(1))"
              "v.validateBytes(new Uint8Array(fs.readFileSync(f))).then(r=>console.log(JSON.stringify(r.issues)))")
    done = subprocess.run(["node", "-e", script, *map(str, files)], cwd=node, capture_output=True, text=True, timeout=120,
                          check=True)
    for found in map(json.loads, done.stdout.splitlines()):
        assert found["numErrors"] == 0 and found["numWarnings"] == 0, found["messages"]


def test_3mf_is_a_package_in_millimeters(tmp_path):
    (path,) = write_mesh(tmp_path / "a.3mf", turned_up(box((-1.0, -2.0, -0.5), (1.0, 2.0, 0.5)), "z", 80.0), "3mf")
    with zipfile.ZipFile(path) as package:
        assert {"3D/3dmodel.model", "[Content_Types].xml", "_rels/.rels"} <= set(package.namelist())
        assert b'unit="millimeter"' in package.read("3D/3dmodel.model")
    bounds = trimesh.load(path, force="mesh").bounds
    assert np.allclose(bounds, [[-20, -10, 0], [20, 10, 80]], atol=1e-4), "stands on the ground, 80 high, the front at -y"


def test_turning_keeps_the_winding():
    mesh = egg()
    turned = turned_up(mesh, "z", 3.0)
    assert float(turned.signed_volume()) == pytest.approx(float(mesh.signed_volume()) * 27, rel=1e-3)
    assert turned_up(mesh).vertices is mesh.vertices


def test_bad_materials_are_refused():
    for wrong in (dict(roughness=1.5), dict(metallic=float("nan")), dict(roughness=torch.zeros(4, 4, 3)),
                  dict(normal=torch.zeros(4, 4)), dict(metallic=torch.full((2, 2), torch.nan))):
        with pytest.raises(InputError):
            Material(**wrong)
    with pytest.raises(InputError, match="texture coordinates"):
        write_glb(None, colored(), material=maps())


def test_a_missing_library_is_named():
    with pytest.raises(InputError, match="pip install lxml"):
        check_libraries("3mf", lambda name: None if name == "lxml" else name)
    check_libraries("glb", lambda name: None)
