"""What other programs get: named nodes, meters, an honest list, and pictures that show what is inside."""

import json
import math
import struct

import numpy as np
import pytest
import torch
import trimesh
from lift123.pipelines.core.errors import InputError
from lift123.pipelines.core.layers import LayeredMesh
from lift123.pipelines.core.mesh import Mesh, merge
from lift123.pipelines.io.glb import read_glb, write_glb_nodes
from lift123.pipelines.metrics.geometry import mesh_facts
from lift123.pipelines.stages.characters import export


def mesh_of(made, color=None) -> Mesh:
    vertices = torch.tensor(made.vertices, dtype=torch.float32)
    colors = None if color is None else torch.tensor(color).expand(len(vertices), 3).contiguous()
    return Mesh(vertices, torch.tensor(made.faces, dtype=torch.int64), colors)


def shell(inner, outer, color=None) -> Mesh:
    """Two spheres, the inner one wound inwards."""
    a, b = trimesh.creation.icosphere(2, outer), trimesh.creation.icosphere(2, inner)
    b.invert()
    return mesh_of(trimesh.util.concatenate([a, b]), color)


def figure(angle=45.0) -> LayeredMesh:
    """A trunk with two arms that hang ``angle`` degrees below the horizontal, in a hollow shell."""
    parts = [trimesh.creation.capsule(1.4, 0.25, count=[12, 12])]
    parts[0].apply_translation(-parts[0].bounds.mean(0))
    parts[0].apply_transform(trimesh.transformations.rotation_matrix(math.pi / 2, (1, 0, 0)))
    for sign in (-1, 1):
        arm = trimesh.creation.capsule(0.7, 0.07, count=[8, 8])
        arm.apply_translation(-arm.bounds.mean(0) + np.array([0, 0, 0.35]))
        arm.apply_transform(trimesh.transformations.rotation_matrix(math.pi / 2, (0, 1, 0)))
        arm.apply_transform(trimesh.transformations.rotation_matrix(math.radians(-angle), (0, 0, 1)))
        if sign < 0:
            arm.apply_transform(trimesh.transformations.rotation_matrix(math.pi, (0, 1, 0)))
        arm.apply_translation((0.2 * sign, 0.45, 0))
        parts.append(arm)
    body = mesh_of(trimesh.util.concatenate(parts), (0.8, 0.6, 0.5))
    return LayeredMesh({"body": body, "hair": shell(1.2, 1.4, (0.2, 0.1, 0.0))})


def document(data: bytes) -> dict:
    length = struct.unpack_from("<I", data, 12)[0]
    return json.loads(data[20 : 20 + length])


def test_nodes_are_named_under_one_root_and_read_back_by_another_library(tmp_path):
    layers = figure()
    data = export.write_character(tmp_path / "c.glb", layers, extras={"seed": 1})
    gltf = document(data)
    assert gltf["scenes"] == [{"nodes": [2]}]
    assert gltf["nodes"][2] == {"name": "character", "children": [0, 1]}
    assert [n["name"] for n in gltf["nodes"][:2]] == ["body", "hair"] and gltf["asset"]["extras"] == {"seed": 1}
    assert not any(key in node for node in gltf["nodes"] for key in ("scale", "rotation", "translation", "matrix"))
    scene = trimesh.load(tmp_path / "c.glb")
    assert set(scene.geometry) == {"body", "hair"}
    assert scene.bounds[1][1] - scene.bounds[0][1] == pytest.approx(1.6, abs=1e-5) and abs(scene.bounds[0][1]) < 1e-5
    assert len(read_glb(data).faces) == len(layers["body"].faces) + len(layers["hair"].faces)


def test_each_textured_mesh_keeps_its_own_picture():
    def quad(tone, at):
        points = torch.tensor([[0.0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]]) + at
        faces, uvs = torch.tensor([[0, 1, 2], [0, 2, 3]]), torch.tensor([[0.0, 1], [1, 1], [1, 0], [0, 0]])
        return Mesh(points, faces, None, uvs, faces.clone(), torch.full((4, 4, 3), tone))

    data = write_glb_nodes(None, {"a": quad(0.2, 0.0), "b": quad(0.8, 2.0)}, "root")
    gltf = document(data)
    assert len(gltf["images"]) == len(gltf["textures"]) == len(gltf["materials"]) == 2
    assert gltf["textures"][1]["source"] == 1 and gltf["meshes"][1]["primitives"][0]["material"] == 1
    assert write_glb_nodes(None, {"a": quad(0.2, 0.0), "b": quad(0.8, 2.0)}, "root") == data
    with pytest.raises(InputError):
        write_glb_nodes(None, {}, "root")


def test_facing_turns_by_half_a_turn_and_is_no_mirror():
    layers = figure()
    front, back = export.framed(layers), export.framed(layers, export.ExportFrame(facing="-z"))
    assert torch.allclose(back["body"].vertices, front["body"].vertices * torch.tensor([-1.0, 1, -1]))
    assert float(back["body"].signed_volume()) == pytest.approx(float(front["body"].signed_volume()), rel=1e-4)
    with pytest.raises(InputError):
        export.ExportFrame(facing="up")
    with pytest.raises(InputError):
        export.ExportFrame(height=160)


@pytest.mark.parametrize(("angle", "ok"), [(45, True), (5, False), (30, True)])
def test_the_list_measures_the_arms(angle, ok):
    assert export.arm_angle(figure(angle)["body"]) == pytest.approx(angle, abs=4)
    check = next(c for c in export.export_checks(figure(angle)) if c.name == "A-pose")
    assert check.ok is ok


def test_the_list_finds_what_is_wrong():
    good = {c.name: c.ok for c in export.export_checks(figure())}
    assert all(good.values()), good
    layers = figure()
    hair = layers["hair"]
    broken = Mesh(hair.vertices, torch.cat([hair.faces[1:], torch.tensor([[0, 0, 1]])]))
    bad = {c.name: c.ok for c in export.export_checks(layers.replaced("hair", broken))}
    assert not bad["hair watertight"] and not bad["hair faces"]
    filled = mesh_of(trimesh.creation.icosphere(3, 1.4))
    assert not {c.name: c.ok for c in export.export_checks(layers.replaced("hair", filled))}[
        "hair hollow around the body"
    ]
    tight = hair.transformed(0.5)
    assert not {c.name: c.ok for c in export.export_checks(layers.replaced("hair", tight))}["hair outside the body"]


def test_exploded_layers_stand_apart_in_order():
    found = export.exploded(figure(), gap=0.2)
    body, hair = (torch.aminmax(found[n].vertices[:, 0]) for n in ("body", "hair"))
    assert float(hair.min - body.max) == pytest.approx(0.2, abs=1e-5)
    assert float(body.min + hair.max) == pytest.approx(0, abs=1e-5)


def test_rows_that_repeat_are_found_as_torch_finds_them():
    rows = torch.randint(-2, 3, (500, 3), generator=torch.Generator().manual_seed(0)).float() / 3
    for given in (rows, rows[:1], rows[:0]):
        wanted, index = torch.unique(given, dim=0, return_inverse=True)
        found, place = export._unique_rows(given)
        assert torch.equal(found, wanted.reshape(-1, 3)) and torch.equal(place, index.reshape(-1))


def test_a_cross_section_keeps_half_and_ends_at_the_plane():
    ball = mesh_of(trimesh.creation.icosphere(4), (0.5, 0.25, 0.75))
    for keep_above in (False, True):
        half = export.cross_section(ball, axis=2, at=0.3, keep_above=keep_above)
        expected = 2 * math.pi * (1 - 0.3 if keep_above else 1 + 0.3)  # of a spherical cap: 2 pi h
        assert mesh_facts(half)["area"] == pytest.approx(expected, rel=0.01)
        z = half.vertices[:, 2]
        assert float((z - 0.3).min() if keep_above else (0.3 - z).min()) > -1e-6
        assert torch.allclose(half.vertex_colors, torch.tensor([0.5, 0.25, 0.75]).expand_as(half.vertices), atol=1e-6)
        normal = half.face_normals()
        assert bool(((normal * half.vertices[half.faces].mean(1)).sum(-1) > 0).all()), "still wound outwards"
    assert torch.equal(export.cross_section(ball, at=2.0).vertices.amax(0), ball.vertices.amax(0))
    with pytest.raises(ValueError):
        export.cross_section(ball, axis=3)


def test_pictures_show_all_layers():
    layers = figure()
    picture = export.character_picture(export.exploded(layers), 48, supersample=1)
    assert picture.shape[0] == 48 and picture.shape[1] > 48
    assert bool((picture[:, 0] == 1).all()) and bool((picture[:, -1] == 1).all()), "nothing is cut off"
    cut = export.character_picture(export.section_layers(layers, axis=2, at=0.0), 48, supersample=1)
    whole = export.character_picture(layers, 48, supersample=1)
    skin = lambda p: int(((p[..., 0] - p[..., 2]) > 0.15).sum())  # noqa: E731
    assert skin(cut) != skin(whole), "the shell is cut open and the body shows"


def test_merged_meshes_without_layers_are_refused():
    with pytest.raises(InputError):
        export.write_character(None, LayeredMesh({}))
    assert len(merge([figure()["body"]]).faces)
