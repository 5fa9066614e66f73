"""Metrics against closed forms, scipy and scikit-image."""

import math

import numpy as np
import pytest
import torch
from helpers.shapes import ball, box
from lift123.pipelines.core.cameras import HOME
from lift123.pipelines.core.errors import InputError
from lift123.pipelines.core.mesh import Mesh, merge
from lift123.pipelines.metrics.geometry import (
    chamfer,
    chamfer_points,
    f_score,
    mesh_facts,
    sample_surface,
    unit_cube,
    volumetric_iou,
)
from lift123.pipelines.metrics.image import psnr, ssim
from lift123.pipelines.metrics.protocol import eighteen_views
from lift123.pipelines.ops.voxelize import voxelize
from lift123.verification.baselines import visual_hull_extrusion


def test_box_helper_is_outward():
    assert box([0.0, 0, 0], [1.0, 2, 3]).signed_volume().item() == pytest.approx(6)


def test_voxels_of_a_ball_match_the_distance():
    inside = voxelize(*vars_of(ball(0.7, 24)), 32)
    center = (torch.arange(32) + 0.5) / 16 - 1
    distance = torch.stack(torch.meshgrid(center, center, center, indexing="ij"), -1).norm(dim=-1)
    sure = (distance - 0.7).abs() > 0.01  # the mesh is a polyhedron
    assert torch.equal(inside[sure], (distance < 0.7)[sure])


def vars_of(mesh):
    return mesh.vertices, mesh.faces


def test_voxels_are_not_mixed_up_between_axes():
    inside = voxelize(*vars_of(box([-0.9, -0.4, 0.1], [-0.4, 0.6, 0.8])), 20)
    expected = torch.zeros(20, 20, 20, dtype=torch.bool)
    expected[1:6, 6:16, 11:18] = True
    assert torch.equal(inside, expected)


def test_voxels_of_awkward_meshes():
    outer = box([-0.6] * 3, [0.6] * 3)
    overlapping = merge([outer, box([-0.2] * 3, [0.8] * 3)])  # parity would carve out the overlap
    expected = voxelize(*vars_of(outer), 16) | voxelize(*vars_of(box([-0.2] * 3, [0.8] * 3)), 16)
    assert torch.equal(voxelize(*vars_of(overlapping), 16), expected)
    inverted = Mesh(outer.vertices, outer.faces.flip(1))
    assert torch.equal(voxelize(*vars_of(inverted), 16), voxelize(*vars_of(outer), 16))
    sphere = ball(0.6)
    holed = Mesh(sphere.vertices, sphere.faces[torch.arange(len(sphere.faces)) % 500 != 0])
    differ = voxelize(*vars_of(holed), 32) ^ voxelize(*vars_of(sphere), 32)
    assert differ.float().mean() < 1e-3
    aligned = voxelize(*vars_of(box([-0.5] * 3, [0.5] * 3)), 8)  # faces between centers, vertices on lattice lines
    assert int(aligned.sum()) == 64


def test_iou_of_shifted_cubes():
    a, b = box([-0.5] * 3, [0.5] * 3), box([-0.25, -0.5, -0.5], [0.75, 0.5, 0.5])
    assert volumetric_iou(a, b, normalize=False) == pytest.approx(0.75 / 1.25, rel=1e-6)
    assert volumetric_iou(a, b) == 1.0  # the paper's normalization removes the shift
    assert volumetric_iou(a, box([-0.9] * 3, [-0.7] * 3), normalize=False) == 0.0
    assert volumetric_iou(a, box([-1.0, -0.5, -0.5], [1.0, 0.5, 0.5])) == pytest.approx(0.25)


def test_chamfer_of_concentric_spheres_is_the_gap():
    a, b = ball(0.5, 16), ball(0.6, 16)
    result = chamfer(a, b, samples=40_000, normalize=False)
    assert result.plain == pytest.approx(0.1, abs=0.003) and result.squared == pytest.approx(0.02, abs=0.001)
    assert chamfer(a, b, samples=40_000).plain < 0.02
    shifted = chamfer(a, a.transformed(1.0, torch.tensor([5.0, 0, 0])), samples=4000, normalize=False)
    # the distance of x to a sphere around c is |x - c| - r
    along = np.linspace(-1, 1, 10001)  # uniform on a sphere, by Archimedes
    expected = np.mean(np.sqrt((5 + 0.5 * along) ** 2 + 0.25 * (1 - along**2)))
    assert shifted.plain == pytest.approx(expected - 0.5, abs=0.02)


def test_chamfer_of_points_by_brute_force():
    generator = torch.Generator().manual_seed(0)
    a, b = torch.rand(70, 3, generator=generator), torch.rand(50, 3, generator=generator)
    table = torch.cdist(a.double(), b.double())
    expected = table.min(1).values.square().mean() + table.min(0).values.square().mean()
    assert chamfer_points(a, b).squared == pytest.approx(expected.item(), rel=1e-9)


def test_surface_samples_are_uniform():
    mesh = box([0.0, 0, 0], [1.0, 2.0, 0.5])
    points = sample_surface(mesh, 50_000, torch.Generator().manual_seed(0))
    on_face = [(points[:, axis] - at).abs() < 1e-6 for axis, at in ((0, 0), (1, 0), (2, 0))]
    expected = [1.0, 0.5, 2.0]
    total = 2 * sum(expected)
    for mask, area in zip(on_face, expected, strict=True):
        assert mask.float().mean().item() == pytest.approx(area / total, abs=0.01)
        assert (points[mask].mean(0) - points[mask].median(0).values).abs().max() < 0.03
    assert torch.equal(points, sample_surface(mesh, 50_000, torch.Generator().manual_seed(0)))


def test_f_score_limits():
    assert f_score(ball(), ball(), 0.05) == pytest.approx(1.0)
    assert f_score(ball(0.5), ball(0.6), 0.05, normalize=False) == 0.0


def test_unit_cube():
    mesh = unit_cube(box([1.0, 2, 3], [2.0, 6, 5]))
    assert mesh.vertices.amin(0).tolist() == pytest.approx([-0.125, -0.5, -0.25])
    assert mesh.vertices.amax(0).tolist() == pytest.approx([0.125, 0.5, 0.25])


def test_mesh_facts():
    facts = mesh_facts(merge([ball(), ball().transformed(0.2, 0.8)]))
    assert facts["watertight"] and facts["consistent_winding"] and facts["components"] == 2 and facts["euler"] == 4
    cube = box([0.0] * 3, [1.0] * 3)
    open_box = mesh_facts(Mesh(cube.vertices, cube.faces[1:]))
    assert not open_box["watertight"] and open_box["area"] == pytest.approx(5.5)
    flipped = cube.faces.clone()
    flipped[0] = flipped[0].flip(0)
    assert not mesh_facts(Mesh(cube.vertices, flipped))["consistent_winding"]


def test_psnr_and_ssim_match_scikit_image():
    metrics = pytest.importorskip("skimage.metrics", reason="scikit-image is the oracle of this test")
    generator = torch.Generator().manual_seed(0)
    a = torch.rand(3, 40, 56, 3, generator=generator)
    b = (a + 0.1 * torch.randn(a.shape, generator=generator)).clamp(0, 1)
    for k in range(3):
        x, y = a[k].numpy(), b[k].numpy()
        assert psnr(a, b)[k].item() == pytest.approx(metrics.peak_signal_noise_ratio(x, y, data_range=1), rel=1e-5)
        expected = metrics.structural_similarity(
            x, y, data_range=1, channel_axis=-1, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
        )
        assert ssim(a, b)[k].item() == pytest.approx(expected, rel=1e-5)


def test_psnr_closed_forms():
    a = torch.zeros(1, 4, 4, 3)
    mask = torch.zeros(1, 4, 4)
    mask[:, :2] = 1
    b = a.clone()
    b[:, :2] = 0.1
    assert psnr(a, b, mask).item() == pytest.approx(20, abs=1e-4)
    assert psnr(a, b).item() == pytest.approx(20 + 10 * math.log10(2), abs=1e-4)
    assert psnr(a, a).item() == math.inf
    with pytest.raises(ValueError, match="at least 11"):
        ssim(a, b)
    with pytest.raises(ValueError, match="both"):
        psnr(a, b[:, :3])


def test_eighteen_views():
    cameras = eighteen_views(32)
    assert len(cameras) == 18 and cameras.height == 32
    degrees = torch.rad2deg(cameras.elevation).round().int().tolist()
    assert degrees == [0, 0, -30, -15, -10, -5, -5, 0, 0, 0, 0, 5, 5, 10, 15, 30, 0, 0]
    azimuth = torch.rad2deg(cameras.azimuth).round().int() % 360
    assert azimuth.tolist() == list(range(0, 360, 20))
    assert torch.allclose(cameras.radius, torch.tensor(3.2))


def test_visual_hull_of_a_ball():
    camera = HOME.orbit(0.0, 0.0, 128)
    rays = camera.rays().flat()
    unit = torch.nn.functional.normalize(rays.directions, dim=-1)
    closest = rays.origins - (rays.origins * unit).sum(-1, keepdim=True) * unit
    mask = (closest.norm(dim=-1) < 0.4).float().reshape(128, 128)
    rgb = torch.zeros(128, 128, 3)
    rgb[:, 64:, 0] = mask[:, 64:]
    mesh = visual_hull_extrusion(mask, camera, rgb)
    assert mesh_facts(mesh)["watertight"] and mesh.signed_volume() > 0
    radius = 0.4 / math.sqrt(1 - (0.4 / 3.2) ** 2)  # of the tangent cone at the origin
    depth = mesh.vertices[:, 2]
    assert (depth.max() - depth.min()).item() == pytest.approx(2 * radius, rel=0.03)
    middle = mesh.vertices[depth.abs() < 0.2]
    reach = middle[:, :2].norm(dim=-1) / (1 - middle[:, 2] / 3.2)  # the cone narrows towards the camera
    assert reach.max().item() == pytest.approx(radius, rel=0.02)
    side = mesh.vertices[:, 0].abs() > 0.05
    red = mesh.vertex_colors[:, 0] > 0.5
    assert torch.equal(red[side], (mesh.vertices[:, 0] > 0)[side])
    with pytest.raises(InputError, match="empty mask"):
        visual_hull_extrusion(mask * 0, camera)


def test_ssim_of_a_batch_is_that_of_its_pictures():
    a, b = torch.rand(2, 3, 24, 20, 3, generator=torch.Generator().manual_seed(0))
    assert torch.equal(ssim(a, b), torch.cat([ssim(a[i : i + 1], b[i : i + 1]) for i in range(3)]))
    assert len(ssim(a[:0], b[:0])) == 0
