"""Normal maps against closed forms: a wave on a plane, a ball from its coarse hull, mirrored charts."""

import json
import math
import os
import subprocess

import numpy as np
import pytest
import torch
from helpers.sources import ROOT
from helpers.tools import tools
from lift123.launcher import browser
from lift123.pipelines.core.errors import InputError
from lift123.pipelines.core.mesh import Mesh
from lift123.pipelines.io.glb import split_corners, vertex_normals
from lift123.pipelines.io.material import Material
from lift123.pipelines.io.mesh_formats import write_mesh
from lift123.pipelines.io.unwrap import unwrap
from lift123.pipelines.ops.tangents import vertex_tangents
from lift123.pipelines.stages.results.bake import surface_texels
from lift123.pipelines.stages.results.normal_map import bake_normal_map
from lift123.pipelines.toybox.shapes import ellipsoid
from PIL import Image

WAVE, STEEP = 3 * math.pi, 0.03


def plane(n, axis=None):
    """n x n squares over [-1, 1]^2, facing +z, lifted by a wave along ``axis``."""
    line = torch.linspace(-1, 1, n + 1)
    y, x = torch.meshgrid(line, line, indexing="ij")
    z = torch.zeros_like(x) if axis is None else STEEP * torch.sin(WAVE * (x, y)[axis])
    first = (torch.arange(n)[:, None] * (n + 1) + torch.arange(n)[None]).reshape(-1)
    faces = torch.cat([torch.stack([first, first + 1, first + n + 2], 1), torch.stack([first, first + n + 2, first + n + 1], 1)])
    return Mesh(torch.stack([x, y, z], -1).reshape(-1, 3), faces)


def sphere(n):
    shape = ellipsoid((0.5, 0.5, 0.5), n)
    return Mesh(torch.from_numpy(shape.vertices).float(), torch.from_numpy(shape.faces.copy()).long())


def with_uvs(mesh, mirrored=False):
    """UVs of the plane as a picture seen from the front: u to the right, v down; or mirrored left to right."""
    x, y = mesh.vertices[:, 0], mesh.vertices[:, 1]
    u = (1 - x if mirrored else 1 + x) / 2
    return Mesh(mesh.vertices, mesh.faces, None, torch.stack([u, (1 - y) / 2], -1), mesh.faces.clone())


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("mirrored", [False, True])
def test_a_wave_on_a_plane_is_in_red_or_green_as_gltf_wants(axis, mirrored):
    size = 64
    found = bake_normal_map(with_uvs(plane(1), mirrored), plane(128, axis), size, 0, 1) * 2 - 1
    assert (found.norm(dim=-1) - 1).abs().max() < 1e-5
    place = (torch.arange(size) + 0.5) / size * 2 - 1
    if axis == 0:
        slope = -STEEP * WAVE * torch.cos(WAVE * place)  # (x, z) of the normal is (slope, 1), before normalizing
        row = found[size // 2]
        wanted = (slope / (1 + slope**2).sqrt())
        wanted = wanted.flip(0) * -1 if mirrored else wanted  # tangents point where u grows
        assert (row[:, 0] - wanted).abs().max() < 0.01 and row[:, 1].abs().max() < 1e-3, "right is red"
    else:
        slope = -STEEP * WAVE * torch.cos(WAVE * -place)  # row 0 is the top, y = 1
        column = found[:, size // 2]
        assert (column[:, 1] - slope / (1 + slope**2).sqrt()).abs().max() < 0.01, "up is green, mirrored or not"
        assert column[:, 0].abs().max() < 1e-3


def test_the_handedness_is_that_of_the_chart():
    for mirrored, w in ((False, 1.0), (True, -1.0)):
        mesh = with_uvs(plane(2), mirrored)
        vertex, corner, uv = split_corners(mesh)
        found = vertex_tangents(mesh.vertices[vertex], corner, mesh.uvs[uv], vertex_normals(mesh)[vertex])
        assert torch.allclose(found, torch.tensor([-1.0 if mirrored else 1.0, 0, 0, w]).expand(len(found), 4), atol=1e-6)


def test_degenerate_coordinates_still_give_unit_tangents():
    mesh = plane(2)
    found = vertex_tangents(mesh.vertices, mesh.faces, torch.zeros(len(mesh.vertices), 2), vertex_normals(mesh))
    assert torch.allclose(found[:, :3].norm(dim=-1), torch.ones(len(found))) and found[:, 2].abs().max() < 1e-6


def test_a_coarse_ball_shows_the_fine_ones_normals():
    """A reader's own way: interpolate normal and tangent, cross them, add up what the map says."""
    fine, coarse = sphere(40), sphere(3)
    mesh = unwrap(coarse, None, 128, method="boxes")
    picture = bake_normal_map(mesh, fine, 128, 4, 1)
    vertex, corner, uv = split_corners(mesh)
    normals = vertex_normals(mesh)[vertex]
    tangents = vertex_tangents(mesh.vertices[vertex], corner, mesh.uvs[uv], normals)
    (texel, face, weights), = surface_texels(mesh, 128, 1)
    n, t = ((values[corner][face] * weights[..., None]).sum(1) for values in (normals, tangents))
    n, along = torch.nn.functional.normalize(n, dim=-1), torch.nn.functional.normalize(t[:, :3], dim=-1)
    told = ((picture * 255).round() / 255 * 2 - 1).reshape(-1, 3)[texel]
    shown = told[:, :1] * along + told[:, 1:2] * torch.linalg.cross(n, along) * t[:, 3:].sign() + told[:, 2:] * n
    shown = torch.nn.functional.normalize(shown, dim=-1)
    points = (mesh.vertices[mesh.faces][face] * weights[..., None]).sum(1)
    truth = torch.nn.functional.normalize(points, dim=-1)
    with_map, without = ((a * truth).sum(-1).clamp(-1, 1).acos().rad2deg() for a in (shown, n))
    assert float(with_map.mean()) < 0.3 < 0.2 * float(without.mean()), (float(with_map.mean()), float(without.mean()))


def test_it_asks_for_coordinates():
    with pytest.raises(InputError, match="texture coordinates"):
        bake_normal_map(plane(1), plane(2), 16)


def test_three_lights_the_mapped_ball_like_the_fine_one(tmp_path):
    paths = tools("playwright-core", "three")
    chromium = browser.find_chromium(paths)
    if not chromium:
        assert os.environ.get("LIFT123_REQUIRE_BROWSER") != "1", "no Chromium"
        pytest.skip("no Chromium")
    fine, coarse = sphere(40), unwrap(sphere(8), None, 256, method="boxes")
    wave = 1 + 0.02 * torch.sin(16 * fine.vertices).prod(-1, keepdim=True) * 3
    fine = Mesh(fine.vertices * wave, fine.faces)
    look = Material(0.4, 0.0, bake_normal_map(coarse, fine, 256, 4, 1))
    given = {"fine": (fine, Material(0.4)), "bare": (coarse, Material(0.4)), "mapped": (coarse, look)}
    task = {"node": str(paths.node), "chromium": chromium, "out": str(tmp_path), "files": {}}
    for name, (mesh, material) in given.items():
        task["files"][name] = str(write_mesh(tmp_path / f"{name}.glb", mesh, "glb", material)[0])
    (tmp_path / "task.json").write_text(json.dumps(task))
    subprocess.run(["node", str(ROOT / "tests" / "browser" / "lit.mjs"), str(tmp_path / "task.json")], timeout=300, check=True)
    assert json.loads((tmp_path / "report.json").read_text()) == {"errors": []}
    fine, bare, mapped = (np.asarray(Image.open(tmp_path / f"{name}.png").convert("L"), dtype=float) for name in given)
    inside = np.hypot(*(np.mgrid[:320, :320] - 159.5)) < 85  # the outlines differ
    assert np.abs(fine - mapped)[inside].mean() < 0.4 * np.abs(fine - bare)[inside].mean()
