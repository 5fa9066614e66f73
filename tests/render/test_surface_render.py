"""Pictures of meshes: closed forms, contracts of the buffers, gradients to everything."""

import math

import pytest
import torch
from lift123.pipelines.core.cameras import Cameras
from lift123.pipelines.core.errors import InputError
from lift123.pipelines.core.mesh import Mesh
from lift123.pipelines.ops.accelerators import nvdiffrast_rasterizer
from lift123.pipelines.ops.rasterizers import REFERENCE, WARP
from lift123.pipelines.render.shading import Shading
from lift123.pipelines.render.surface import render_surface

CAMERA = Cameras.orbit(0.5, 0.3, 3.0, math.radians(40), 24, 24)
RADIUS = 0.7


def sphere(rings: int = 24) -> Mesh:
    theta, phi = torch.linspace(0, math.pi, rings + 1), torch.arange(2 * rings) * (math.pi / rings)
    t, p = torch.meshgrid(theta, phi, indexing="ij")
    vertices = RADIUS * torch.stack([t.sin() * p.sin(), t.cos(), t.sin() * p.cos()], -1).reshape(-1, 3)
    i, j = torch.meshgrid(torch.arange(rings), torch.arange(2 * rings), indexing="ij")
    after = (j + 1) % (2 * rings)
    a, b, c, d = i * 2 * rings + j, (i + 1) * 2 * rings + j, (i + 1) * 2 * rings + after, i * 2 * rings + after
    faces = torch.cat([torch.stack([a, b, c], -1).reshape(-1, 3), torch.stack([a, c, d], -1).reshape(-1, 3)])
    return Mesh(vertices, faces)


def square(texture=None, z: float = 0.0) -> Mesh:
    """A square facing +Z whose picture, seen from the front, is upright."""
    corners = torch.tensor([[-0.5, -0.5, z], [0.5, -0.5, z], [0.5, 0.5, z], [-0.5, 0.5, z]])
    faces = torch.tensor([[0, 1, 2], [0, 2, 3]])
    if texture is None:
        return Mesh(corners, faces)
    uvs = torch.tensor([[0.0, 1.0], [1.0, 1.0], [1.0, 0.0], [0.0, 0.0]])
    return Mesh(corners, faces, uvs=uvs, face_uvs=faces.clone(), texture=texture)


def test_depth_and_normals_of_a_sphere_in_closed_form():
    out = render_surface(sphere(60), CAMERA, antialias=False)
    rays = CAMERA.rays()
    d, o = rays.directions[0], rays.origins[0]
    a, b, c = (d * d).sum(-1), (d * o).sum(-1), (o * o).sum(-1) - RADIUS**2
    root = (b * b - a * c).clamp(min=0).sqrt()
    t = (-b - root) / a
    normal = torch.nn.functional.normalize(o + d * t[..., None], dim=-1)
    inside = (root > 0.6) & (out.alpha[0] == 1)
    assert inside.sum() > 40
    assert (out.depth[0] - t)[inside].abs().max() < 3e-3
    assert (out.normal[0] - normal)[inside].abs().max() < 0.03
    torch.testing.assert_close(out.normal.norm(dim=-1), out.alpha, rtol=1e-5, atol=1e-5)
    assert (out.depth[out.alpha == 0] == 0).all() and (out.rgb[out.alpha == 0] == 0).all()


def test_world_axes_on_the_picture():
    """From the front, +X is right and +Y is up; from azimuth +90 degrees one sees the +X side."""
    mesh = sphere()
    front = Cameras.orbit(torch.tensor([0.0, math.pi / 2]), 0.0, 3.0, 0.7, 32, 32)
    out = render_surface(Mesh(mesh.vertices, mesh.faces, vertex_colors=mesh.vertices / RADIUS / 2 + 0.5), front)
    rgb = out.rgb
    assert rgb[0, 16, 22, 0] > 0.6 > 0.4 > rgb[0, 16, 10, 0]
    assert rgb[0, 10, 16, 1] > 0.6 > 0.4 > rgb[0, 22, 16, 1]
    assert rgb[0, 16, 16, 2] > 0.95 and rgb[1, 16, 16, 0] > 0.95
    assert (out.normal[0, 16, 16] - torch.tensor([0.0, 0.0, 1.0])).abs().max() < 0.15


def test_texture_is_upright():
    texture = torch.zeros(2, 2, 3)
    texture[0, 0], texture[0, 1], texture[1, 0] = (torch.eye(3)[i] for i in range(3))  # top left, top right, bottom left
    front = Cameras.orbit(0.0, 0.0, 3.0, 2 * math.atan(0.5 / 3), 8, 8)  # the square fills the picture
    rgb = render_surface(square(texture), front, antialias=False).rgb[0]
    assert rgb[0, 0].tolist() == [1, 0, 0] and rgb[0, 7].tolist() == [0, 1, 0] and rgb[7, 0].tolist() == [0, 0, 1]


def test_color_sources_and_premultiplication():
    mesh = sphere(12)
    gray = render_surface(mesh, CAMERA)
    torch.testing.assert_close(gray.rgb, gray.alpha[..., None].expand_as(gray.rgb) * 0.7)
    assert ((gray.alpha > 0) & (gray.alpha < 1)).any()
    painted = Mesh(mesh.vertices, mesh.faces, vertex_colors=torch.full_like(mesh.vertices, 0.25))
    torch.testing.assert_close(render_surface(painted, CAMERA).rgb, gray.rgb / 0.7 * 0.25)
    called = render_surface(painted, CAMERA, albedo=lambda x: x.abs().clamp(0.1, 1), antialias=False)
    hit = CAMERA.rays().origins + CAMERA.rays().directions * called.depth[..., None]
    solid = called.alpha == 1
    assert (called.rgb - hit.abs().clamp(0.1, 1))[solid].abs().max() < 1e-4
    composite = gray.composite(1.0)
    assert composite.min() > 0.69 and composite.max() == 1


def test_supersampling_is_the_mean_of_a_larger_picture():
    mesh = sphere(12)
    small = render_surface(mesh, CAMERA, supersample=3)
    large = render_surface(mesh, CAMERA.resized(72, 72))
    for name in ("rgb", "alpha", "depth", "normal"):
        value = getattr(large, name)
        blocks = value.reshape(1, 24, 3, 24, 3, -1).mean(dim=(2, 4)).reshape(getattr(small, name).shape)
        torch.testing.assert_close(getattr(small, name), blocks, rtol=1e-5, atol=1e-5)


def test_shading_uses_each_camera_s_own_light():
    cameras = Cameras.orbit(torch.tensor([0.0, math.pi]), 0.0, 3.0, 0.6, 16, 16)
    light = torch.tensor([[0.0, 0.0, 1.0], [0.0, 0.0, 1.0]])
    out = render_surface(sphere(), cameras, shading=Shading("lambertian", 0.1, light), antialias=False).rgb
    assert out[0, 8, 8, 0] > 0.65 and abs(float(out[1, 8, 8, 0]) - 0.07) < 1e-4
    plain = render_surface(sphere(), cameras, shading=Shading(), antialias=False).rgb
    assert torch.equal(plain, render_surface(sphere(), cameras, antialias=False).rgb)
    custom = render_surface(sphere(), cameras, shading=lambda color, normal: (normal + 1) / 2, want_normal=False)
    assert custom.normal is None and custom.rgb[0, 8, 8, 2] > 0.95


@pytest.mark.parametrize("flat", [False, True])
def test_warp_and_specification_draw_the_same(flat):
    """The contract of the plug, forward and backward, through the whole renderer."""
    base = sphere(5)
    cotangent = torch.randn(1, 24, 24, 8, generator=torch.Generator().manual_seed(0))
    results = []
    for rasterizer in (WARP, REFERENCE):
        vertices, color = base.vertices.clone().requires_grad_(), (base.vertices.abs()).clone().requires_grad_()
        mesh = Mesh(vertices, base.faces, vertex_colors=color)
        out = render_surface(mesh, CAMERA, flat_normals=flat, rasterizer=rasterizer)
        layers = torch.cat([out.rgb, out.alpha[..., None], out.depth[..., None], out.normal], -1)
        (layers * cotangent).sum().backward()
        results.append((layers.detach(), color.grad, vertices.grad))
    for ours, spec in zip(*results):
        assert spec.abs().max() > 0.1
        assert (ours - spec).abs().max() < 2e-4 * max(1.0, float(spec.abs().max()))


def test_gradients_reach_texture_albedo_and_vertices():
    texture = torch.rand(4, 4, 3, generator=torch.Generator().manual_seed(0)).requires_grad_()
    render_surface(square(texture), Cameras.orbit(0.0, 0.0, 3.0, 0.5, 16, 16)).rgb.sum().backward()
    assert (texture.grad > 0).all()
    gain = torch.ones(3, requires_grad=True)
    mesh = sphere(8)
    out = render_surface(mesh, CAMERA, albedo=lambda x: (x.abs() * gain).clamp(0, 1))
    out.rgb.sum().backward()
    torch.testing.assert_close(gain.grad, out.rgb.sum(dim=(0, 1, 2)).detach(), rtol=1e-4, atol=1e-4)
    vertices = mesh.vertices.clone().requires_grad_()
    quiet = render_surface(Mesh(vertices, mesh.faces), CAMERA, grad=False)
    assert not quiet.rgb.requires_grad and not quiet.alpha.requires_grad


def test_silhouettes_alone_recover_size_and_place():
    """Gradient descent on alpha: a sphere finds a smaller, shifted one."""
    mesh = sphere(10)
    cameras = Cameras.orbit(torch.tensor([0.0, 1.6]), 0.2, 3.0, 0.7, 32, 32)
    goal_scale, goal_shift = 0.8, torch.tensor([0.15, -0.1, 0.12])
    with torch.no_grad():
        goal = render_surface(mesh.transformed(goal_scale, goal_shift), cameras).alpha
    scale, shift = torch.ones(1, requires_grad=True), torch.zeros(3, requires_grad=True)
    optimizer = torch.optim.Adam([scale, shift], lr=0.02)
    for _ in range(60):
        optimizer.zero_grad()
        moved = Mesh(mesh.vertices * scale + shift, mesh.faces)
        (render_surface(moved, cameras, want_normal=False).alpha - goal).square().sum().backward()
        optimizer.step()
    assert abs(float(scale.detach()) - goal_scale) < 0.02
    assert (shift.detach() - goal_shift).abs().max() < 0.02


def test_empty_mesh_and_inference_mode():
    empty = Mesh(torch.zeros(0, 3), torch.zeros(0, 3, dtype=torch.int64))
    out = render_surface(empty, CAMERA, supersample=2)
    assert out.rgb.shape == (1, 24, 24, 3) and (out.alpha == 0).all() and (out.normal == 0).all()
    with torch.inference_mode():
        assert render_surface(sphere(6), CAMERA).alpha.sum() > 50
    with pytest.raises(ValueError, match="supersample"):
        render_surface(empty, CAMERA, supersample=0)


def test_missing_accelerator_is_explained():
    with pytest.raises(InputError, match="built-in"):
        nvdiffrast_rasterizer("cpu")
