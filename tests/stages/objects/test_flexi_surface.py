"""FlexiCubes as a scene's surface: a ball's volume and normals in closed form, gradients to every parameter, whole stages."""

import math
from dataclasses import replace

import pytest
import torch
from helpers.tiny_stages import MESH, nerf, oracle, same
from lift123.pipelines.core.cameras import HOME
from lift123.pipelines.core.errors import InputError
from lift123.pipelines.core.mesh import Mesh
from lift123.pipelines.core.schedules import Constant
from lift123.pipelines.core.views import Views
from lift123.pipelines.fields.flexi_sdf import FlexiSdf, grid_edges
from lift123.pipelines.ops.mesh_edges import mesh_edges
from lift123.pipelines.render.surface import render_surface
from lift123.pipelines.stages.inputs.reference import ReferenceView
from lift123.pipelines.stages.loop.scene import Scene
from lift123.pipelines.stages.objects import refine_mesh as stage
from lift123.pipelines.stages.objects.surfaces import load_surface

CENTER = torch.tensor([0.1, -0.05, 0.0])
CUBES = replace(MESH, surface="flexicubes")


def ball_density(x, radius=0.4):
    return torch.exp((radius - (x - CENTER).norm(dim=-1)) * 40 + math.log(10))


def volume(radius):
    return 4 / 3 * math.pi * radius**3


def closed(mesh: Mesh) -> bool:
    return bool((mesh_edges(mesh.faces, len(mesh.vertices)).count == 2).all())


def radial(mesh: Mesh) -> torch.Tensor:
    """Cosine between each face's normal and the direction away from the ball's middle."""
    corners = mesh.vertices[mesh.faces]
    normal = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    return torch.nn.functional.cosine_similarity(normal, corners.mean(1) - CENTER, dim=-1)


def test_a_ball_from_its_density():
    field = FlexiSdf.from_density(ball_density, 8, 10.0)
    mesh = field.extract()
    assert field.scale.tolist() == pytest.approx([0.6, 0.55, 0.5], abs=0.13)
    assert closed(mesh) and mesh.signed_volume().item() == pytest.approx(volume(0.4), rel=0.03)
    off = ((mesh.vertices.detach() - CENTER).norm(dim=-1) - 0.4).abs()  # cubes have sides of 0.06 to 0.075
    assert off.max() < 0.03 and off.mean() < 0.004 and radial(mesh).mean() > 0.99
    fans = field.train().extract()  # four triangles to a quad
    assert len(fans.faces) == 2 * len(mesh.faces) and closed(fans)
    assert fans.signed_volume().item() == pytest.approx(mesh.signed_volume().item(), rel=0.01)


def test_every_parameter_gets_a_gradient_and_what_touches_the_box_is_closed():
    field = FlexiSdf.from_density(ball_density, 4, 10.0).train()
    (field.extract().vertices * torch.tensor([1.0, 2.0, -1.0])).square().sum().backward()
    for name, parameter in field.named_parameters():
        assert bool(torch.isfinite(parameter.grad).all()) and bool(parameter.grad.any()), name
    assert float(field.deviation.detach()) > 0
    full = FlexiSdf.from_density(lambda x: 100 * torch.ones(len(x)), 3, 10.0).extract()
    assert closed(full) and full.vertices.abs().max() <= 1
    with pytest.raises(InputError, match="no surface"):
        FlexiSdf(2).extract()


def test_points_put_inside_are_enclosed_and_edges_are_the_grids():
    far = torch.tensor([[0.1, -0.05, 0.6]])
    field = FlexiSdf.from_density(ball_density, 4, 10.0, points=far)
    before = field.extract().signed_volume()
    field.include(far)
    assert field.extract().signed_volume() > before
    pairs = grid_edges(2)
    assert len(pairs) == 3 * 2 * 9 and sorted(set((pairs[:, 1] - pairs[:, 0]).tolist())) == [1, 3, 9]


def ball_picture(radius, size=24) -> ReferenceView:
    camera = HOME.orbit(0.0, 0.0, size)
    mesh = FlexiSdf.from_density(lambda x: ball_density(x, radius), 10, 10.0).extract()
    seen = render_surface(mesh, camera, lambda x: torch.full_like(x, 0.6), supersample=4, grad=False)
    return ReferenceView(Views(camera, torch.full_like(seen.rgb, 0.6), seen.alpha), "a ball")


def test_the_stage_starts_as_the_ball_and_grows_into_a_larger_picture(monkeypatch):
    load = stage.load_field

    def ball_field(scene, device, averaged=False):
        field = load(scene, device, averaged=averaged)
        field.density = ball_density
        return field

    monkeypatch.setattr(stage, "load_field", ball_field)
    target = ball_picture(0.46)
    config = replace(CUBES, tets=7, threshold=10.0, optimize="geometry", iterations=12, reference_size=24, mask=Constant(50.0),
                     lr_sdf=3e-2)
    start = stage.refine_mesh(None, nerf(), config, reference=target, until=0)
    first = load_surface(start).extract()
    assert first.signed_volume().item() == pytest.approx(volume(0.4), rel=0.04) and radial(first).mean() > 0.98
    assert start.tensors["flexi/weights"].shape == (14**3, 21) and not any(k.startswith("tet/") for k in start.tensors)
    losses = []
    done = stage.refine_mesh(None, nerf(), config, reference=target, on_step=lambda s: losses.append(s.losses))
    last = load_surface(done).extract()
    assert closed(last) and losses[-1]["mask"] < 0.85 * losses[0]["mask"] and "cube_deviation" in losses[0]
    assert last.signed_volume() > 1.01 * first.signed_volume()


def test_a_stage_on_cubes_goes_on_from_a_file_and_texture_leaves_its_shape(tmp_path):
    whole = stage.refine_mesh(oracle(), nerf(), CUBES)
    half = stage.refine_mesh(oracle(), nerf(), CUBES, until=3)
    half = Scene.load(half.save(tmp_path / "half.safetensors"))
    assert same(stage.refine_mesh(oracle(), half, CUBES), whole)
    painted = stage.refine_mesh(oracle(), whole, replace(MESH, optimize="texture"), until=2)  # a mesh stays what it is
    assert torch.equal(painted.tensors["flexi/sdf"], whole.tensors["flexi/sdf"])
    with pytest.raises(ValueError, match="surface"):
        replace(MESH, surface="voxels")
