"""Clean Mesh, Export Mesh, and what Bake and Export writes besides: through the nodes, read by other people's readers."""

import json

import numpy as np
import pytest
import torch
import trimesh
from helpers.comfy_modules import prepare
from helpers.shapes import box
from helpers.tiny_stages import MESH, nerf

prepare()
import folder_paths
from comfy_api.latest import Types
from lift123.host.convert import from_comfy_mesh, to_comfy_mesh
from lift123.nodes import export, mesh_out
from lift123.pipelines.core.errors import InputError
from lift123.pipelines.core.mesh import Mesh
from lift123.pipelines.io.unwrap import unwrap
from lift123.pipelines.stages.objects.refine_mesh import refine_mesh

MADE: dict = {}
BOX = box((-0.5, -0.5, -0.5), (0.5, 0.5, 0.5))
BAKE = dict(filename_prefix="a/b", texture_size=64, face_budget=200, supersample=1, frames=4, turntable_size=64, elevation=10.0)
SAVE = dict(filename_prefix="a/m", format="glb", roughness=1.0, metallic=0.0, up="y", longest_side=0.0, map_size=64)
CLEAN = dict(face_budget=0, parts="all", holes="fill", grid=48, texture_size=0)


@pytest.fixture(autouse=True)
def output(tmp_path, monkeypatch):
    monkeypatch.setattr(folder_paths, "output_directory", str(tmp_path))
    return tmp_path


@pytest.fixture(scope="module")
def scene():
    return refine_mesh(None, nerf(), MESH)


@pytest.fixture(autouse=True)
def once(monkeypatch):
    """A surface that was finished once is not finished again for another test."""
    real = export.finished

    def finished(scene, *settings):
        if settings not in MADE:
            MADE[settings] = real(scene, *settings)
        return MADE[settings]

    monkeypatch.setattr(export, "finished", finished)


def files_of(got, folder):
    return {kind: folder / file["subfolder"] / file["filename"] for kind, file in got.ui["lift123_files"][0].items()}


def test_bake_and_export_writes_all_that_was_asked_for(scene, output):
    got = export.BakeExport.execute(scene=scene, **BAKE, roughness=0.4, metallic=1.0, normal_map=True, also_as=export.ALL,
                                    video="mp4")
    files = files_of(got, output)
    assert {"glb", "obj", "ply", "stl", "3mf", "video", "turntable", "contact_sheet", "manifest"} == set(files)
    look = trimesh.load(files["glb"], force="mesh").visual.material
    assert look.roughnessFactor == pytest.approx(0.4) and look.metallicFactor == 1 and look.normalTexture.size == (64, 64)
    relief = np.asarray(look.normalTexture) / 127.5 - 1
    assert relief[..., 2].min() > -0.01 and np.abs(relief[..., :2]).max() > 0.05, "in front of the surface, and not flat"
    shapes = [trimesh.load(files[kind], force="mesh") for kind in ("glb", "obj", "ply", "stl", "3mf")]
    assert all(np.allclose(shape.bounds, shapes[0].bounds, atol=1e-5) for shape in shapes)
    assert len({len(shape.faces) for shape in shapes[1:4]}) == 1
    import av

    with av.open(str(files["video"])) as video:
        frames = [frame.to_ndarray(format="rgb24") for frame in video.decode(video=0)]
        assert video.streams.video[0].codec_context.name == "h264" and float(video.streams.video[0].average_rate) == 12.5
    told = got.result[3].numpy() * 255
    assert len(frames) == 4 and np.abs(np.stack(frames) - told).mean() < 6, "the pictures of the turntable"
    assert "No" not in got.result[4]


def test_without_any_of_it_nothing_changes(scene, output):
    plain, told = (export.BakeExport.execute(scene=scene, **BAKE, **more) for more in ({}, dict(roughness=1.0, video="none")))
    assert files_of(plain, output)["glb"].read_bytes() == files_of(told, output)["glb"].read_bytes()
    assert set(files_of(plain, output)) == {"glb", "turntable", "contact_sheet", "manifest"}


def test_what_cannot_be_made_is_told_and_costs_nothing(scene, output, monkeypatch):
    asset = export.finished(scene, 64, 200, 1, False, False)
    MADE[64, 200, 1, False, True, "fast"] = asset  # as where nothing was decimated
    monkeypatch.setattr(Types, "VideoComponents", lambda **_: 1 / 0)
    got = export.BakeExport.execute(scene=scene, **BAKE, normal_map=True, video="mp4")
    assert "nothing was decimated" in got.result[4] and "No MP4: division by zero" in got.result[4]
    assert files_of(got, output)["glb"].is_file() and "video" not in files_of(got, output)


def test_clean_mesh_tells_and_mends():
    open_box = to_comfy_mesh(Mesh(BOX.vertices, BOX.faces[2:]))
    mesh, report = mesh_out.CleanMesh.execute(mesh=open_box, **CLEAN).result
    assert "before: 10 faces, 1 part, 1 hole (4 open edges)" in report and "after: 14 faces, 1 part, watertight" in report
    made = from_comfy_mesh(mesh)
    assert trimesh.Trimesh(made.vertices.numpy(), made.faces.numpy(), process=False).is_watertight
    with pytest.raises(InputError, match="face_budget"):
        mesh_out.CleanMesh.execute(mesh=open_box, **{**CLEAN, "face_budget": 3})
    with pytest.raises(InputError, match="nothing inside"):
        sheet = to_comfy_mesh(Mesh(BOX.vertices, BOX.faces[:2]))
        mesh_out.CleanMesh.execute(mesh=sheet, **{**CLEAN, "holes": "rebuild", "grid": 8})


def test_export_mesh_packs_maps_and_the_graph(output, monkeypatch):
    mesh = unwrap(BOX, None, 64)
    gray = torch.linspace(0, 1, 32)[None, None, :, None].expand(1, 32, 32, 3)
    graph = type("Hidden", (), {"prompt": {"1": {}}, "extra_pnginfo": {"workflow": {"nodes": []}}, "unique_id": None})
    monkeypatch.setattr(mesh_out.ExportMesh, "hidden", graph)
    got = mesh_out.ExportMesh.execute(mesh=to_comfy_mesh(mesh), **{**SAVE, "metallic": 0.7}, roughness_map=gray)
    data = files_of(got, output)["glb"].read_bytes()
    head = json.loads(data[20 : 20 + int.from_bytes(data[12:16], "little")])
    assert json.loads(head["asset"]["extras"]["workflow"]) == {"nodes": []} and head["asset"]["extras"]["prompt"] == '{"1": {}}'
    pbr = head["materials"][0]["pbrMetallicRoughness"]
    assert pbr["metallicFactor"] == 0.7 and pbr["roughnessFactor"] == 1.0 and "metallicRoughnessTexture" in pbr
    packed = np.asarray(trimesh.load(files_of(got, output)["glb"], force="mesh").visual.material.metallicRoughnessTexture)
    assert packed[0, :, 1].tolist() == pytest.approx((torch.linspace(0, 1, 32) * 255).tolist(), abs=1)
    assert (packed[..., 2] == 255).all(), "the number alone says how much metal"
    assert got.result[0].format == "glb" and got.ui["3d"]


def test_a_fine_mesh_becomes_a_normal_map(output):
    coarse, fine = to_comfy_mesh(BOX), to_comfy_mesh(box((-0.5, -0.5, -0.5), (0.5, 0.5, 0.5)))
    got = mesh_out.ExportMesh.execute(mesh=coarse, **SAVE, fine=fine)
    look = trimesh.load(files_of(got, output)["glb"], force="mesh").visual.material
    assert look.normalTexture.size == (64, 64)
    with pytest.raises(InputError, match="both"):
        mesh_out.ExportMesh.execute(mesh=coarse, **SAVE, fine=fine, normal_map=torch.rand(1, 8, 8, 3))
    with pytest.raises(InputError, match="texture coordinates"):
        mesh_out.ExportMesh.execute(mesh=coarse, **SAVE, roughness_map=torch.rand(1, 8, 8, 3))
    with pytest.raises(InputError, match="one picture"):
        mesh_out.ExportMesh.execute(mesh=coarse, **SAVE, roughness_map=torch.rand(2, 8, 8, 3))
    stl = mesh_out.ExportMesh.execute(mesh=coarse, **{**SAVE, "format": "stl", "up": "z", "longest_side": 50.0}, fine=fine)
    assert "holds no maps" in stl.result[1] and stl.result[0].format == "stl"
    assert np.allclose(trimesh.load(files_of(stl, output)["stl"]).extents, 50)
