"""Losses of the multi-layer refinement: signs on nested spheres, closed forms, finite differences."""

import pytest
import torch
import trimesh
from lift123.pipelines.core.mesh import Mesh
from lift123.pipelines.core.ortho import six_views
from lift123.pipelines.losses import layers as losses
from lift123.pipelines.ops.remesh_edges import edge_table
from lift123.pipelines.render import normal_maps


def sphere(radius=1.0, level=3) -> Mesh:
    made = trimesh.creation.icosphere(level)
    return Mesh(torch.tensor(made.vertices, dtype=torch.float32) * radius, torch.tensor(made.faces, dtype=torch.int64))


def inner_of(mesh: Mesh) -> losses.InnerLayer:
    return losses.InnerLayer(mesh.vertices, mesh.vertex_normals())


def test_collision_sign_on_nested_spheres():
    """Outside costs nothing; 0.02 below costs 0.02^3 and is pushed outwards; beyond the gate nothing counts."""
    inner = inner_of(sphere(0.5, 4))
    assert float(losses.collision(sphere(0.52, 4).vertices, inner)) == 0
    below = sphere(0.48, 4).vertices.clone().requires_grad_(True)
    loss = losses.collision(below, inner)
    assert float(loss.detach()) == pytest.approx(0.02**3, rel=1e-2)
    loss.backward()
    assert bool(((-below.grad * below.detach()).sum(-1) > 0).all()), "descent moves every vertex outwards"
    assert float(losses.collision(sphere(0.40, 4).vertices, inner)) == 0, "further than the gate"
    assert float(losses.collision(sphere(0.40, 4).vertices, inner, gate=0.2)) == pytest.approx(1e-3, rel=1e-2)


def test_collision_is_zero_not_nan_where_nothing_is():
    inner = inner_of(sphere(0.1, 1))
    far = (sphere(0.9, 1).vertices).clone().requires_grad_(True)
    loss = losses.collision(far, inner)
    loss.backward()
    assert float(loss.detach()) == 0 and not bool(far.grad.any())
    empty = losses.InnerLayer(torch.zeros(0, 3), torch.zeros(0, 3))
    assert float(losses.collision(far.detach(), empty)) == 0
    assert float(losses.collision(torch.zeros(0, 3), inner)) == 0


def test_collision_gradient_against_finite_differences():
    rng = torch.Generator().manual_seed(0)
    mesh = sphere(0.5, 2)
    inner = losses.InnerLayer(mesh.vertices.double(), mesh.vertex_normals().double())
    points = torch.nn.functional.normalize(torch.randn(7, 3, generator=rng, dtype=torch.float64), dim=-1) * 0.47
    nearest = inner.nearest(points)[1]
    call = lambda p: losses.collision(p, inner, nearest=nearest)  # noqa: E731
    assert torch.autograd.gradcheck(call, points.requires_grad_(True))


def test_expansion_pushes_out_and_its_parity_form_inwards_horizontally():
    mesh = sphere(0.5, 2)
    for parity, sign in ((False, (1, 1, 1)), (True, (-1, 1, -1))):
        points = mesh.vertices.clone().requires_grad_(True)
        normals = mesh.vertex_normals()
        losses.expansion(points, normals, parity).backward()
        assert torch.allclose(
            -points.grad * points.numel(), normals * torch.tensor(sign, dtype=torch.float32), atol=1e-5
        )


def test_picture_loss_closed_form():
    rendered, target = torch.zeros(1, 2, 2, 4), torch.zeros(1, 2, 2, 4)
    rendered[0, 0, 0] = torch.tensor([0.5, 0.5, 1.0, 1.0])  # inside both
    target[0, 0, 0] = torch.tensor([0.5, 0.5, 0.6, 1.0])
    rendered[0, 0, 1, 3] = 0.2  # background of the target
    target[0, 1, 0] = 1.0  # missed by the render
    assert float(losses.picture_loss(rendered, target)) == pytest.approx(0.16 / 4 + 0.04 / 2)
    assert float(losses.picture_loss(rendered, target, whole_mask=True)) == pytest.approx(0.16 / 4 + (0.04 + 1) / 4)
    assert float(losses.picture_loss(target, target, whole_mask=True)) == 0
    only = torch.tensor([[[True, False], [False, False]]])
    assert float(losses.picture_loss(rendered, target, whole_mask=True, count=only)) == pytest.approx(0.16 / 4)


def test_mask_terms_closed_form():
    rendered, target = torch.zeros(1, 1, 3, 4), torch.ones(1, 1, 3, 4)
    rendered[0, 0, 2, :3] = 0.5
    mask = torch.tensor([[[True, False, False]]])
    inside, outside = losses.mask_terms(rendered, target, mask)
    assert float(inside) == 1 and float(outside) == pytest.approx(0.25 / 2)
    inside, _ = losses.mask_terms(rendered, target, mask & False)
    assert float(inside) == 0


def test_smoothness_is_zero_where_every_vertex_is_the_mean_of_its_neighbors():
    made = trimesh.creation.icosahedron()
    points = torch.tensor(made.vertices, dtype=torch.float64)
    ends = edge_table(torch.tensor(made.faces, dtype=torch.int64), 12).ends
    near = torch.zeros(12, 12, dtype=torch.float64)
    near[ends[:, 0], ends[:, 1]] = near[ends[:, 1], ends[:, 0]] = 1
    expected = (points - near @ points / 5).square().sum(-1).mean() / 2
    assert float(losses.smoothness(points, ends)) == pytest.approx(float(expected))
    assert float(losses.smoothness(torch.zeros(12, 3), ends)) == 0


def test_rendered_normals_of_a_sphere_are_its_points():
    """In every view the color of a pixel says where on the unit sphere it lies, in scene axes (S-V)."""
    mesh, cameras = sphere(0.9, 4), six_views(96)
    picture = normal_maps.render_attributes(
        mesh.vertices, mesh.faces, normal_maps.normal_colors(mesh.vertex_normals()), cameras
    )
    rays = cameras.rays()
    for view in range(6):
        inside = picture[view, ..., 3] > 0.999
        p = rays.origins[view][inside]
        d = rays.directions[view][inside]
        along = (p * d).sum(-1)
        t = -along - (along.square() - (p * p).sum(-1) + 0.81).clamp(min=0).sqrt()
        expected = (p + d * t[:, None]) / 0.9
        found = picture[view][inside][:, :3] * 2 - 1
        assert float((found - expected).abs().mean()) < 0.02
    assert float(picture[0, 48, 48, 2]) == pytest.approx(1, abs=0.01), "the front view sees +Z as blue"
    assert float(picture[2, 48, 48, 0]) == pytest.approx(1, abs=0.01), "the right view sees +X as red"


def test_a_far_layer_gives_way_to_a_near_one_although_w_is_constant():
    """Two crossing outlines: the blend at the nearer one's edge comes from its edge, so moving it changes the picture."""
    near, far = sphere(0.3, 3), sphere(0.8, 3)
    points = torch.cat([far.vertices, near.vertices + torch.tensor([0.0, 0.0, 1.2])])
    faces = torch.cat([far.faces, near.faces + len(far.vertices)])
    points.requires_grad_(True)
    values = torch.cat([torch.zeros(len(far.vertices), 1), torch.ones(len(near.vertices), 1)])
    picture = normal_maps.render_attributes(points, faces, values, six_views(64)[0])
    picture[..., 0].sum().backward()
    moved = points.grad[len(far.vertices) :]
    grown = (moved[:, :2] * near.vertices[:, :2]).sum() * (2.4 / 64) ** 2  # d area / d scale, scene units squared
    assert float(grown) == pytest.approx(2 * torch.pi * 0.3**2, rel=0.1)


def test_seen_vertices_of_nested_spheres():
    outer, inner = sphere(0.8, 3), sphere(0.4, 3)
    points = torch.cat([outer.vertices, inner.vertices])
    faces = torch.cat([outer.faces, inner.faces + len(outer.vertices)])
    seen, cosine = normal_maps.seen_vertices(points, faces, six_views(64), size=256)
    n = len(outer.vertices)
    assert not bool(seen[:, n:].any())
    front = outer.vertices[:, 2] / 0.8
    assert bool(seen[0, :n][front > 0.2].all()) and not bool(seen[0, :n][front < -0.1].any())
    assert torch.allclose(cosine[0, :n], front, atol=0.02)


def test_sampling_pictures_inverts_the_camera():
    cameras = six_views(80)
    rays = cameras.rays()
    pictures = torch.stack([rays.origins[..., 1], rays.origins[..., 0]], dim=-1)
    points = torch.rand(50, 3, generator=torch.Generator().manual_seed(1)) * 1.6 - 0.8
    found = normal_maps.sample_pictures(points, pictures, cameras)
    assert torch.allclose(found[:, :, 0], points[:, 1].expand(6, -1), atol=1e-4)
    assert torch.allclose(found[0, :, 1], points[:, 0], atol=1e-4)
