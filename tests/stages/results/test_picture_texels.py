"""The picture's own pixels on the texture: closed forms on a cube and a sphere; a plate that hides what is behind it."""

import math
from dataclasses import replace

import pytest
import torch
from helpers.tiny_stages import reference as tiny_reference
from lift123.pipelines.core.cameras import Cameras
from lift123.pipelines.core.mesh import Mesh, merge
from lift123.pipelines.core.views import Views
from lift123.pipelines.io.unwrap import unwrap
from lift123.pipelines.ops.marching_tets import marching_tets
from lift123.pipelines.ops.tet_grid import a15_grid
from lift123.pipelines.stages.inputs.reference import ReferenceView
from lift123.pipelines.stages.results import asset
from lift123.pipelines.stages.results.bake import bake, surface_points
from lift123.pipelines.stages.results.picture_texels import PictureSettings, PictureTexels

SIZE, HALF = 128, 0.5
FRONT = Cameras.orbit(0.0, 0.0, 3.2, math.radians(20), SIZE, SIZE)
PLAIN = 0.25  # of the optimized texture


def box(half=(HALF, HALF, HALF), center=(0.0, 0.0, 0.0)) -> Mesh:
    """An axis-parallel box, faces counter-clockwise from outside."""
    corners = torch.tensor([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], dtype=torch.float32)
    quads = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
    faces = torch.tensor([f for a, b, c, d in quads for f in ((a, b, c), (a, c, d))])
    apart = corners[faces].reshape(-1, 3)  # faces of their own: a box has no smooth normals
    return Mesh(apart * torch.tensor(half) + torch.tensor(center), torch.arange(len(apart)).reshape(-1, 3))


def ball(radius=0.5) -> Mesh:
    grid, tets = a15_grid(10)
    return Mesh(*marching_tets(grid, grid.norm(dim=-1) - radius, tets))


def ramp(points):
    """Where a scene point appears in the picture: its colors, by similar triangles."""
    reach = math.tan(math.radians(10)) * (3.2 - points[:, 2])
    return torch.stack([points[:, 0] / reach, points[:, 1] / reach, torch.zeros(len(points))], -1) / 2 + 0.5


def picture(alpha=None, camera=FRONT) -> ReferenceView:
    """A picture whose color says where it is: red = column, green = height."""
    at = (torch.arange(SIZE) + 0.5) / SIZE
    rgb = torch.stack([at.expand(SIZE, SIZE), 1 - at[:, None].expand(SIZE, SIZE), torch.full((SIZE, SIZE), 0.5)], -1)
    return ReferenceView(Views(camera, rgb[None], torch.ones(1, SIZE, SIZE) if alpha is None else alpha[None]), "a box")


def plain(points):
    return torch.full_like(points, PLAIN)


def painted(mesh, reference, settings=PictureSettings(), size=128):
    """(texture with the picture, texture without, [(texel, point)])."""
    flat = mesh if mesh.uvs is not None else unwrap(mesh, None, size, 2)
    front = PictureTexels(flat, reference, settings)
    ((texel, points),) = surface_points(flat, size, 1)
    with_it, without = (bake(flat, c, size, 4, 1).texture for c in (front.over(plain), plain))
    return with_it.reshape(-1, 3)[texel], without.reshape(-1, 3)[texel], points, front


def test_texels_of_the_front_are_the_pictures_pixels():
    got, _, points, front = painted(box(), picture())
    inner = (points[:, 2] > HALF - 1e-4) & (points[:, :2].abs().amax(1) < HALF - 0.08)
    assert int(inner.sum()) > 500 and bool((front.weight(points[inner]) > 1 - 1e-5).all())
    assert torch.allclose(got[inner], ramp(points[inner]), atol=2e-5), "bilinear in a ramp is the ramp"


def test_texels_that_the_camera_does_not_see_keep_every_bit():
    got, without, points, front = painted(box(), picture())
    hidden = points[:, 2] < HALF - 1e-3
    assert int(hidden.sum()) > 1000 and torch.equal(got[hidden], without[hidden])
    assert float(front.weight(points[hidden]).max()) == 0


def test_what_stands_behind_something_keeps_its_color():
    plate = box((0.15, 0.15, 0.05), (0.0, 0.0, 0.8))
    mesh = merge([box(), plate])
    got, without, points, front = painted(mesh, picture())
    reach = (3.2 - HALF) / (3.2 - 0.85)  # the plate's shadow on the cube's front
    on_front = (points[:, 2] - HALF).abs() < 1e-4
    shadow = on_front & (points[:, :2].abs().amax(1) < 0.15 * reach)
    assert int(shadow.sum()) > 50 and torch.equal(got[shadow], without[shadow])
    lit = on_front & (points[:, :2].abs().amax(1) > 0.15 * reach + 0.1) & (points[:, :2].abs().amax(1) < HALF - 0.1)
    assert int(lit.sum()) > 300 and torch.allclose(got[lit], ramp(points[lit]), atol=2e-5)


def test_the_share_falls_to_nothing_without_a_step():
    """Over a sphere, along a line from its middle to its back: 1, then a slope, then 0; nowhere a jump."""
    front = PictureTexels(ball(), picture())
    angle = torch.linspace(0, math.pi, 721)
    line = 0.5 * torch.stack([angle.sin(), torch.zeros_like(angle), angle.cos()], -1)
    share = front.weight(line)
    assert float(share[0]) == pytest.approx(1) and float(share[360:].max()) == 0
    assert float(share.diff().abs().max()) < 0.03 and float(share.diff().max()) < 0.02
    edge_on = angle > math.acos(0.15) + 0.15  # of the line of sight, which is not parallel to the axis
    assert float(share[edge_on].max()) < 0.05
    no_feather = PictureTexels(ball(), picture(), PictureSettings(facing=(-1.0, -0.99), feather=1e-4))
    assert float(no_feather.weight(line).diff().abs().max()) > 0.2, "the test can tell"


def test_the_pictures_outline_is_respected():
    alpha = torch.ones(SIZE, SIZE)
    alpha[:, SIZE // 2 :] = 0
    got, without, points, front = painted(box(), picture(alpha))
    assert torch.equal(got[points[:, 0] > 0], without[points[:, 0] > 0])
    inner = (points[:, 2] > HALF - 1e-4) & (points[:, 0] < -0.1) & (points[:, :2].abs().amax(1) < HALF - 0.08)
    assert torch.allclose(got[inner], ramp(points[inner]), atol=2e-5)


def test_another_camera_sees_another_side():
    left = Cameras.orbit(-math.pi / 2, 0.0, 3.2, math.radians(20), SIZE, SIZE)
    got, without, points, _ = painted(box(), picture(camera=left))
    side = points[:, 0] < -HALF + 1e-4
    turned = torch.stack([points[:, 2], points[:, 1], -points[:, 0]], -1)  # what was at the left is in front
    inner = side & (points[:, 1:].abs().amax(1) < HALF - 0.08)
    assert torch.allclose(got[inner], ramp(turned[inner]), atol=2e-5) and torch.equal(got[~side], without[~side])


def test_an_asset_counts_its_texels_and_off_means_off(monkeypatch):
    """The last step of a run on a stub scene."""
    reference, seen = picture(), box()
    scene = type("Scene", (), {"reference": reference})()
    black = replace(seen, vertex_colors=torch.zeros_like(seen.vertices))
    monkeypatch.setattr(asset, "scene_mesh", lambda scene, device: black)
    monkeypatch.setattr(asset, "scene_albedo", lambda scene, device: plain)
    monkeypatch.setattr(asset, "is_fixed", lambda scene: True)
    off = asset.BakeSettings(size=128, supersample=2)
    made = asset.finished_asset(scene, off)
    mesh, share = made.mesh, made.share
    assert share is None and torch.equal(mesh.texture, asset.textured_mesh(scene, off).texture)
    by_hand = bake(unwrap(seen, None, 128, 2), plain, 128, 8, 2)
    assert torch.equal(mesh.texture, by_hand.texture), "as before there was a switch"
    made = asset.finished_asset(scene, replace(off, picture=True))
    mesh, share = made.mesh, made.share
    assert mesh.texture.shape == (128, 128, 3) and not torch.equal(mesh.texture, asset.textured_mesh(scene, off).texture)
    inner = (2 * (HALF - 0.04)) ** 2 / (6 * (2 * HALF) ** 2)  # of the cube, where more than half is the picture's
    assert share.mostly / share.texels == pytest.approx(inner, abs=0.03) and share.partly > 0
    assert f"{share.mostly} of {share.texels} texels" in str(share)


def test_small_pictures_lie_on_the_surface_as_they_are():
    """A toy reference of few pixels: the same map, whatever the picture's size."""
    small = tiny_reference()
    front = PictureTexels(ball(), small)
    assert front.share.shape == (512, 512) and 0 <= float(front.share.min()) and float(front.share.max()) <= 1
