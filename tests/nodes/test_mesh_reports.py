"""Meshes of others at the nodes: what was changed or left out is a line that the node shows."""

import io as std_io

import pytest
import torch
from helpers.comfy_modules import prepare

prepare()
from comfy_api.latest import Types
from helpers.gltf_tiny import textured_box
from helpers.wedge import short_imports
from lift123.host import convert
from lift123.nodes import files, layers, mesh_in, render
from lift123.pipelines.core.errors import InputError
from lift123.pipelines.stages.inputs.reference import prepare_reference


@pytest.fixture(autouse=True)
def mode():
    with torch.inference_mode():
        yield


def file(kind="glb", data=None):
    """A box with a normal map and an animation."""
    tiny = textured_box(normalTexture={"index": 0})
    tiny.gltf["animations"] = [{}]
    return Types.File3D(std_io.BytesIO(tiny.packed() if data is None else data), kind)


def core_mesh(channels=3, alpha=1.0):
    mesh = convert.to_comfy_mesh(convert.file_to_mesh(file()))
    mesh.texture = torch.cat([mesh.texture, torch.full_like(mesh.texture[..., :1], alpha)], -1)[..., :channels]
    return mesh


def test_the_converter_reports():
    out = files.File3DToMesh.execute(file=file())
    assert out.result[1].splitlines() == ["normal map of materials was dropped", "an animation was dropped"]
    assert out.ui["text"] == tuple(out.result[1].splitlines())
    assert files.File3DToMesh.execute(file=Types.File3D(std_io.BytesIO(textured_box().packed()), "glb")).ui == {}


def test_the_import_reports(monkeypatch):
    monkeypatch.setattr(mesh_in, "comparison", lambda scene, device: torch.zeros(1, 8, 8, 3))
    short_imports(monkeypatch)
    alpha = torch.zeros(1, 64, 64)
    alpha[:, 8:56, 20:44] = 1
    reference, _ = prepare_reference(torch.full((1, 64, 64, 3), 0.5), alpha, prompt="a box", size=64)
    out = mesh_in.MeshToScene.execute(mesh=file(), reference=reference, turn=0.0, grid=8, detail=64, find_turn=False, fit=True,
                                      seed=0, up="y", surface="untouched", colors="picture")
    assert out.result[2].startswith("normal map of materials was dropped\nan animation was dropped\n")
    assert out.result[0].meta["imported"]["report"][0] == "normal map of materials was dropped"


def test_renders_and_layers_report():
    out = render.RenderViews.execute(source=file(), size=32, frames=1, elevation=0.0, radius=3.0, fovy=30.0, what="rgb")
    assert "an animation was dropped" in out.ui["text"] and "images" in out.ui
    out = layers.JoinLayers.execute(fit=True, body=file(), hair=file())
    assert "hair: an animation was dropped" in out.ui["text"] and "body: an animation was dropped" in out.ui["text"]


@pytest.mark.parametrize("channels, alpha, told", [(4, 0.5, ["transparency of the texture was dropped"]), (4, 1.0, []),
                                                   (3, 1.0, []), (1, 1.0, [])])
def test_textures_of_other_channels_in_a_mesh(channels, alpha, told):
    given, heard = core_mesh(channels, alpha), []
    mesh = convert.any_mesh(given, "mesh", heard)
    assert heard == told and mesh.texture.shape[-1] == 3
    assert torch.equal(mesh.texture[..., 0], given.texture[0, ..., 0])
    assert given.texture.shape[-1] == channels  # the wire's value stays as it is
    out = files.MeshToFile3D.execute(mesh=core_mesh(channels, alpha))
    assert convert.file_to_mesh(out.result[0]).texture.shape[-1] == 3 and out.ui == ({"text": tuple(told)} if told else {})


def test_vertex_colors_with_alpha_in_a_mesh():
    given, heard = core_mesh(), []
    given.vertex_colors = torch.full((1, given.vertices.shape[1], 4), 0.25)
    assert torch.equal(convert.any_mesh(given, "mesh", heard).vertex_colors, torch.full((given.vertices.shape[1], 3), 0.25))
    assert heard == ["transparency of the vertex colors was dropped"]


def test_all_kinds_of_files_at_a_node():
    quad = b"v 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\nf 1 2 3 4\n"
    assert files.File3DToMesh.execute(file=file("obj", quad)).result[0].faces.shape == (1, 2, 3)
    stl = b"solid a\nfacet normal 0 0 1\nouter loop\nvertex 0 0 0\nvertex 1 0 0\nvertex 0 1 0\nendloop\nendfacet\nendsolid"
    assert files.File3DToMesh.execute(file=file("stl", stl)).result[0].faces.shape == (1, 1, 3)
    for kind in ("fbx", "usdz", "splat", "spz", ""):
        with pytest.raises(InputError, match="glb, gltf, obj, ply, stl"):
            files.File3DToMesh.execute(file=file(kind, b"\0"))


def test_files_on_the_disk_bring_their_neighbors(tmp_path):
    from helpers.gltf_tiny import encoded, six_colors

    (tmp_path / "a.png").write_bytes(encoded(six_colors()))
    (tmp_path / "a.mtl").write_text("newmtl m\nmap_Kd a.png\n")
    (tmp_path / "a.obj").write_text("mtllib a.mtl\nusemtl m\nv 0 0 0\nv 1 0 0\nv 1 1 0\nvt 0 0\nvt 1 0\nvt 1 1\nf 1/1 2/2 3/3\n")
    assert files.File3DToMesh.execute(file=Types.File3D(str(tmp_path / "a.obj"))).result[0].texture.shape == (1, 32, 48, 3)
