"""The rasterizer against brute force, closed forms and finite differences."""

import math

import pytest
import torch
from lift123.pipelines.core.cameras import Cameras
from lift123.pipelines.ops.interpolate import interpolate, interpolate_reference
from lift123.pipelines.ops.rasterize import nearest_faces, rasterize, rasterize_reference

ONE_TRIANGLE = torch.tensor([[0, 1, 2]])


def soup(seed: int, views: int, triangles: int):
    """Random triangles in front of, behind and across the camera plane."""
    g = torch.Generator().manual_seed(seed)
    clip = torch.randn(views, 3 * triangles, 4, generator=g)
    clip[..., 3] = torch.rand(views, 3 * triangles, generator=g) * 2.4 - 0.4
    return clip, torch.randperm(3 * triangles, generator=g).reshape(-1, 3)


def screen_clip(points, w=1.0, z=0.0):
    """[1, V, 4] clip positions of points [V, 2] in NDC."""
    points = torch.as_tensor(points, dtype=torch.float32)
    w = torch.as_tensor(w, dtype=torch.float32).expand(len(points))
    return torch.cat([points * w[:, None], (z * w)[:, None], w[:, None]], dim=1)[None]


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_forward_and_backward_match_the_specification(seed):
    clip, faces = soup(seed, views=2, triangles=24)
    g = torch.Generator().manual_seed(99)
    results = []
    cotangents = torch.randn(2, 19, 23, 3, generator=g), torch.randn(2, 19, 23, generator=g)
    for function in (rasterize, rasterize_reference):
        leaf = clip.clone().requires_grad_()
        raster = function(leaf, faces, 19, 23)
        ((raster.barycentric * cotangents[0]).sum() + (raster.depth * cotangents[1]).sum()).backward()
        results.append((raster, leaf.grad))
    (ours, grad), (spec, spec_grad) = results
    assert spec.covered.float().mean() > 0.3  # the comparison must have something to compare
    assert torch.equal(ours.triangle, spec.triangle)
    torch.testing.assert_close(ours.barycentric, spec.barycentric, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(ours.depth, spec.depth, rtol=1e-5, atol=1e-6)
    assert (grad - spec_grad).abs().max() < 1e-5 * spec_grad.abs().max()
    assert (grad[..., 2] == 0).all()


def test_barycentric_gradient_matches_finite_differences():
    clip = screen_clip([[-3.0, -3.0], [4.0, -2.5], [0.3, 5.0]], w=torch.tensor([1.0, 2.0, 3.0])).requires_grad_()
    g = torch.Generator().manual_seed(0)
    weights = torch.randn(1, 8, 8, 3, generator=g)

    def value(c):
        raster = rasterize(c, ONE_TRIANGLE, 8, 8)
        assert raster.covered.all()
        return (raster.barycentric * weights).sum() + raster.depth.sum()

    value(clip).backward()
    for vertex in range(3):
        for column in (0, 1, 3):
            step = torch.zeros_like(clip)
            step[0, vertex, column] = 1e-2
            numeric = (value(clip.detach() + step) - value(clip.detach() - step)) / 2e-2
            assert abs(float(numeric) - float(clip.grad[0, vertex, column])) < 2e-3 * (1 + abs(float(numeric)))


def test_positions_at_pixels_lie_on_the_camera_rays():
    cameras = Cameras.orbit(torch.tensor([0.4, -2.0]), 0.3, 2.5, 0.7, 20, 30)
    g = torch.Generator().manual_seed(3)
    vertices = torch.rand(60, 3, generator=g) * 1.6 - 0.8
    faces = torch.arange(60).reshape(-1, 3)
    clip = torch.cat([vertices, torch.ones(60, 1)], 1) @ cameras.world_to_clip().transpose(1, 2)
    raster = rasterize(clip, faces, 20, 30)
    rays = cameras.rays()
    expected = rays.origins + rays.directions * raster.depth[..., None]
    found = interpolate(vertices, raster, faces)
    assert raster.covered.sum() > 200
    assert (found - expected)[raster.covered].abs().max() < 1e-5


def test_floor_under_the_camera_is_cut_at_the_near_plane():
    """A plane that passes below and behind the camera: depth in closed form, no clipping of triangles."""
    cameras = Cameras.orbit(0.0, 0.2, 1.0, 1.2, 40, 40)
    size, level = 50.0, -0.5
    vertices = torch.tensor([[-size, level, -size], [size, level, -size], [size, level, size], [-size, level, size]])
    faces = torch.tensor([[0, 2, 1], [0, 3, 2]])
    clip = torch.cat([vertices, torch.ones(4, 1)], 1) @ cameras.world_to_clip().transpose(1, 2)
    assert (clip[..., 3] < 0).any() and (clip[..., 3] > 0).any()
    raster = rasterize(clip, faces, 40, 40)
    rays = cameras.rays()
    depth = (level - rays.origins[..., 1]) / rays.directions[..., 1]
    hit = rays.origins + rays.directions * depth[..., None]
    visible = (depth > cameras.near) & (hit[..., [0, 2]].abs() < size).all(-1)
    assert 0.3 < visible.float().mean() < 0.9
    assert torch.equal(raster.covered, visible)
    torch.testing.assert_close(raster.depth[visible], depth[visible], rtol=1e-4, atol=1e-4)


def test_no_cracks_and_no_gaps_in_a_random_triangulation():
    """A jittered grid that fills the picture: every pixel is covered, also when edges run through its center."""
    n, size = 24, 48
    g = torch.Generator().manual_seed(5)
    axis = torch.linspace(-1.25, 1.25, n)
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    exact = torch.stack([x, y], -1)
    jitter = (torch.rand(n, n, 2, generator=g) - 0.5) * 0.09
    i, j = torch.meshgrid(torch.arange(n - 1), torch.arange(n - 1), indexing="ij")
    a = (i * n + j).reshape(-1)
    faces = torch.cat([torch.stack([a, a + 1, a + n], 1), torch.stack([a + 1, a + n + 1, a + n], 1)])
    w = torch.rand(n * n, generator=g) + 0.5
    for points in (exact, exact + jitter):
        raster = rasterize(screen_clip(points.reshape(-1, 2), w), faces, size, size)
        assert raster.covered.all()


def test_ties_go_to_the_lowest_id_and_nearer_wins():
    clip = screen_clip([[-1, -1], [3, -1], [-1, 3]] * 3)
    clip[0, 6:, 2] = -0.5
    assert (rasterize(clip[:, :6], torch.tensor([[3, 4, 5], [0, 1, 2]]), 5, 5).triangle == 0).all()
    assert (rasterize(clip, torch.tensor([[0, 1, 2], [3, 4, 5], [6, 7, 8]]), 5, 5).triangle == 2).all()


def test_borders_belong_to_the_triangle():
    """Vertices exactly on pixel centers: the closed triangle is covered."""
    corner = screen_clip([[-0.75, 0.75], [0.25, 0.75], [-0.75, -0.25]])  # centers of pixels (0,0), (0,2), (2,0) at 4 px
    covered = rasterize(corner, ONE_TRIANGLE, 4, 4).covered[0]
    expected = torch.tensor([[1, 1, 1, 0], [1, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]], dtype=torch.bool)
    assert torch.equal(covered, expected)


def test_depth_range_is_that_of_clip_space():
    for z, seen in ((-1.001, False), (-0.999, True), (0.999, True), (1.001, False)):
        clip = screen_clip([[-1, -1], [3, -1], [-1, 3]], w=2.0, z=z)
        assert rasterize(clip, ONE_TRIANGLE, 3, 3).covered.all() == seen
    behind = screen_clip([[-1, -1], [3, -1], [-1, 3]], w=-1.0)
    assert not rasterize(behind, ONE_TRIANGLE, 3, 3).covered.any()


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_degenerate_and_non_finite_triangles_are_skipped(bad):
    good = screen_clip([[-1, -1], [3, -1], [-1, 3]], z=0.5)
    worse = [screen_clip([[-1, -1], [1, 1], [0, 0]])]  # a line
    for column in range(4):
        broken = screen_clip([[-1, -1], [3, -1], [-1, 3]])
        broken[0, 1, column] = bad
        worse.append(broken)
    clip = torch.cat([good, *worse], dim=1).requires_grad_()
    faces = torch.cat([torch.arange(18).reshape(-1, 3), torch.tensor([[0, 0, 1], [2, 2, 2]])])
    raster = rasterize(clip, faces, 6, 6)
    assert (raster.triangle == 0).all()
    (raster.barycentric[..., 0].sum() + raster.depth.sum()).backward()
    assert torch.isfinite(clip.grad).all()


def test_smallest_and_empty_inputs():
    clip = screen_clip([[-1, -1], [3, -1], [-1, 3]])
    single = rasterize(clip, ONE_TRIANGLE, 1, 1)
    assert single.triangle.tolist() == [[[0]]] and single.barycentric.shape == (1, 1, 1, 3)
    none = torch.zeros(0, 3, dtype=torch.int64)
    for points in (clip, torch.zeros(1, 0, 4)):
        raster = rasterize(points.clone().requires_grad_(), none, 3, 4)
        assert not raster.covered.any() and (raster.depth == 0).all()
        raster.barycentric.sum().backward()
        assert interpolate(torch.zeros(0, 2), raster, none).shape == (1, 3, 4, 2)
    assert rasterize(torch.zeros(0, 3, 4), ONE_TRIANGLE, 3, 4).triangle.shape == (0, 3, 4)


def test_wrong_inputs_are_named():
    clip = torch.zeros(1, 3, 4)
    for arguments, word in (
        ((clip[0], ONE_TRIANGLE, 2, 2), "clip"),
        ((clip.double(), ONE_TRIANGLE, 2, 2), "float32"),
        ((clip, ONE_TRIANGLE.int(), 2, 2), "int64"),
        ((clip, ONE_TRIANGLE + 1, 2, 2), "0..2"),
        ((clip, ONE_TRIANGLE - 1, 2, 2), "0..2"),
        ((clip, ONE_TRIANGLE, 0, 2), "size"),
    ):
        with pytest.raises(ValueError, match=word):
            rasterize(*arguments)


def test_batches_threads_and_repeats_give_the_same_bits():
    clip, faces = soup(7, views=3, triangles=40)
    attributes = torch.randn(clip.shape[1], 5, generator=torch.Generator().manual_seed(1))
    cotangent = torch.randn(3, 31, 33, 5, generator=torch.Generator().manual_seed(2))

    def run(points, cotangent):
        leaf, values = points.clone().requires_grad_(), attributes.clone().requires_grad_()
        raster = rasterize(leaf, faces, 31, 33)
        out = interpolate(values, raster, faces)
        (out * cotangent).sum().backward()
        return raster.triangle, raster.barycentric, raster.depth, out, leaf.grad, values.grad

    before = torch.get_num_threads()
    results = []
    try:
        for threads in (1, 1, 2, 3):
            torch.set_num_threads(threads)
            results.append(run(clip, cotangent))
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other))
    for view in range(3):
        alone = run(clip[view : view + 1], cotangent[view : view + 1])
        assert all(torch.equal(a[view], b[0]) for a, b in zip(results[0][:4], alone[:4]))
        torch.testing.assert_close(results[0][4][view], alone[4][0], rtol=1e-5, atol=1e-5 * float(alone[4].abs().max()))


@pytest.mark.parametrize("views", [0, 1, 2])
def test_interpolation_matches_the_specification(views):
    """Shared attributes (0), one view, a batch with its own attributes; a face table of its own."""
    clip, faces = soup(4, views=max(views, 2) if views != 1 else 1, triangles=20)
    g = torch.Generator().manual_seed(8)
    table = torch.randint(0, 11, faces.shape, generator=g)
    attributes = torch.randn(*([views] if views else []), 11, 4, generator=g)
    with torch.no_grad():
        raster = rasterize(clip, faces, 13, 17)
    cotangent = torch.randn(len(clip), 13, 17, 4, generator=g)
    results = []
    for function in (interpolate, interpolate_reference):
        values, weights = attributes.clone().requires_grad_(), raster.barycentric.clone().requires_grad_()
        out = function(values, type(raster)(raster.triangle, weights, raster.depth), table)
        (out * cotangent).sum().backward()
        results.append((out, values.grad, weights.grad))
    for ours, spec in zip(*results):
        torch.testing.assert_close(ours, spec, rtol=1e-4, atol=1e-5)
    assert results[0][1].abs().sum() > 0


def test_interpolation_refuses_foreign_attributes():
    raster = rasterize(torch.zeros(2, 3, 4), ONE_TRIANGLE, 2, 2)
    with pytest.raises(ValueError, match="views"):
        interpolate(torch.zeros(3, 3, 1), raster, ONE_TRIANGLE)
    with pytest.raises(ValueError, match="0..1"):
        interpolate(torch.zeros(2, 1), raster, ONE_TRIANGLE)


@pytest.mark.parametrize("seed", [0, 1])
def test_nearest_faces_are_those_of_a_whole_raster(seed):
    generator = torch.Generator().manual_seed(seed)
    clip = torch.cat([torch.rand(2, 90, 3, generator=generator) * 2 - 1, torch.ones(2, 90, 1)], -1)
    faces = torch.arange(90).reshape(30, 3)
    found = nearest_faces(clip, faces, 23, 31)
    assert torch.equal(found, rasterize(clip, faces, 23, 31).triangle.long())
    assert (found < 0).any() and len(found.unique()) > 10
