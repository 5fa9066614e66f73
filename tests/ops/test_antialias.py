"""Silhouettes: against the specification, finite differences, and areas in closed form."""

import math

import pytest
import torch
from lift123.pipelines.core.cameras import Cameras
from lift123.pipelines.core.mesh import Mesh
from lift123.pipelines.ops.antialias import (
    antialias,
    antialias_reference,
    cached_topology,
    edge_topology,
    silhouette_pairs,
)
from lift123.pipelines.ops.rasterize import rasterize
from lift123.pipelines.render.surface import project, render_surface

FOVY = math.radians(40)


def sphere(rings: int, radius: float = 0.7):
    """(vertices, faces) with 4 rings^2 triangles, degenerate ones at the poles included."""
    theta, phi = torch.linspace(0, math.pi, rings + 1), torch.arange(2 * rings) * (math.pi / rings)
    t, p = torch.meshgrid(theta, phi, indexing="ij")
    vertices = radius * torch.stack([t.sin() * p.sin(), t.cos(), t.sin() * p.cos()], -1).reshape(-1, 3)
    i, j = torch.meshgrid(torch.arange(rings), torch.arange(2 * rings), indexing="ij")
    after = (j + 1) % (2 * rings)
    a, b, c, d = i * 2 * rings + j, (i + 1) * 2 * rings + j, (i + 1) * 2 * rings + after, i * 2 * rings + after
    faces = torch.cat([torch.stack([a, b, c], -1).reshape(-1, 3), torch.stack([a, c, d], -1).reshape(-1, 3)])
    return vertices, faces


def scene(rings: int):
    """Two overlapping spheres and a big triangle behind them."""
    v, f = sphere(rings)
    wall = torch.tensor([[-1.0, -0.9, -0.8], [1.1, -0.7, -0.9], [0.1, 1.0, -1.1]])
    vertices = torch.cat([v, v * 0.6 + torch.tensor([0.45, 0.2, 0.3]), wall])
    last = 2 * len(v) + torch.arange(3)
    return vertices, torch.cat([f, f + len(v), last[None]])


def sphere_area(radius: float, distance: float, size: int) -> float:
    """Pixels of the outline of a sphere looked at head on."""
    return math.pi * (math.tan(math.asin(radius / distance)) / math.tan(FOVY / 2) * size / 2) ** 2


@pytest.mark.parametrize("rings, height, width", [(5, 22, 26), (24, 15, 13)])
def test_forward_and_backward_match_the_specification(rings, height, width):
    """Triangles larger and much smaller than pixels."""
    vertices, faces = scene(rings)
    cameras = Cameras.orbit(torch.tensor([0.3, 2.5]), 0.25, 3.0, FOVY, height, width)
    clip = project(vertices, cameras)
    raster = rasterize(clip, faces, height, width)
    g = torch.Generator().manual_seed(1)
    color = torch.rand(2, height, width, 3, generator=g)
    cotangent = torch.randn(2, height, width, 3, generator=g)
    results = []
    for function in (antialias, antialias_reference):
        leaf, points = color.clone().requires_grad_(), clip.clone().requires_grad_()
        out = function(leaf, raster, points, faces)
        (out * cotangent).sum().backward()
        results.append((out, leaf.grad, points.grad))
    (ours, *grads), (spec, *spec_grads) = results
    assert ((spec - color).abs().amax(-1) > 1e-3).sum() > 40
    torch.testing.assert_close(ours, spec, rtol=1e-4, atol=1e-4)
    for grad, spec_grad in zip(grads, spec_grads):
        assert spec_grad.abs().max() > 0.1
        assert (grad - spec_grad).abs().max() < 1e-4 * spec_grad.abs().max()


@pytest.mark.parametrize("rings, size", [(35, 128), (141, 512)])
def test_area_of_a_sphere_and_its_gradient(rings, size):
    """4,900 triangles, and 79,524 of which most are smaller than a pixel (per triangle alone: 0.008 for 1.05)."""
    vertices, faces = sphere(rings)
    camera = Cameras.orbit(0.3, 0.2, 3.2, FOVY, size, size)
    scale = torch.ones((), requires_grad=True)
    area = render_surface(Mesh(vertices * scale, faces), camera, want_normal=False).alpha.sum()
    area.backward()
    step = 1e-3
    exact = (sphere_area(0.7 + 0.7 * step, 3.2, size) - sphere_area(0.7 - 0.7 * step, 3.2, size)) / (2 * step)
    assert abs(float(area.detach()) / sphere_area(0.7, 3.2, size) - 1) < 4e-3
    assert abs(float(scale.grad) / exact - 1) < 2e-2


@pytest.mark.parametrize("seed", range(5))
def test_area_gradient_of_a_triangle_in_closed_form(seed):
    """The covered area of one triangle is its shoelace area: gradients to all its corners."""
    size = 128
    g = torch.Generator().manual_seed(seed)
    angles = torch.sort(torch.rand(3, generator=g) * 0.8 + torch.arange(3) * 2.1).values
    xy = torch.stack([angles.cos(), angles.sin()], 1) * 0.8
    w = torch.rand(3, generator=g) + 0.5

    def clip_of(points):
        return torch.cat([points * w[:, None], torch.zeros(3, 1), w[:, None]], 1)[None]

    exact = xy.double().requires_grad_()
    (ax, ay), (bx, by), (cx, cy) = exact
    area = ((bx - ax) * (cy - ay) - (by - ay) * (cx - ax)).abs() / 2 * (size / 2) ** 2
    area.backward()
    points, faces = xy.clone().requires_grad_(), torch.tensor([[0, 1, 2]])
    clip = clip_of(points)
    raster = rasterize(clip.detach(), faces, size, size)
    covered = antialias(raster.covered.float()[..., None], raster, clip, faces).sum()
    covered.backward()
    assert abs(float((covered / area).detach()) - 1) < 5e-3
    assert (points.grad - exact.grad).norm() < 0.03 * exact.grad.norm()


def test_gradient_is_the_derivative_of_the_picture():
    """Central differences of the blended picture itself, while no pair changes its edge.

    One cotangent for all pixels: where the silhouette passes the pixels' border the receiving pixel changes, a kink
    of the single pixel but not of their sum.
    """
    vertices, faces = sphere(4)
    camera = Cameras.orbit(0.3, 0.2, 3.0, FOVY, 20, 20)
    clip = project(vertices, camera)
    raster = rasterize(clip, faces, 20, 20)
    g = torch.Generator().manual_seed(2)
    color, cotangent = torch.rand(1, 20, 20, 2, generator=g), torch.randn(2, generator=g)
    topology = edge_topology(faces)
    pairs = silhouette_pairs(raster, clip, faces, topology)[1]
    leaf = clip.clone().requires_grad_()
    (antialias(color, raster, leaf, faces, topology) * cotangent).sum().backward()
    checked = 0
    for vertex in (leaf.grad[0].abs().sum(1) > 1).nonzero().reshape(-1).tolist():
        for column in (0, 1, 3):
            values = []
            for sign in (1, -1):
                moved = clip.clone()
                moved[0, vertex, column] += sign * 2e-3
                if torch.equal(silhouette_pairs(raster, moved, faces, topology)[1], pairs):
                    values.append((antialias(color, raster, moved, faces, topology) * cotangent).sum())
            if len(values) == 2:
                numeric, ours = float(values[0] - values[1]) / 4e-3, float(leaf.grad[0, vertex, column])
                checked += 1
                assert abs(numeric - ours) < 0.02 * (abs(ours) + 1)
    assert checked > 10


def test_silhouette_of_one_surface_before_another():
    """A near square over a far one that fills the picture: the edge between them carries the gradient."""
    size = 32
    near, far = torch.tensor([-0.5, 0.33]), torch.tensor([-3.0, 3.0])

    def square(x, z):
        return [[x[0], x[0], z], [x[1], x[0], z], [x[1], x[1], z], [x[0], x[1], z]]

    rows = torch.tensor(square(near.tolist(), -0.5) + square(far.tolist(), 0.5))
    clip = torch.cat([rows, torch.ones(8, 1)], 1)[None].requires_grad_()
    faces = torch.tensor([[0, 1, 2], [0, 2, 3], [4, 5, 6], [4, 6, 7]])
    raster = rasterize(clip, faces, size, size)
    assert raster.covered.all()
    color = (raster.triangle < 2).float()[..., None]
    out = antialias(color, raster, clip, faces)
    side = 0.83 * size / 2
    assert abs(float(out.sum()) - side**2) < 0.5
    out.sum().backward()
    right = clip.grad[0, 1, 0] + clip.grad[0, 2, 0]  # moving the right side by 1 NDC adds size / 2 columns
    assert abs(float(right) - side * size / 2) < 0.03 * side * size / 2
    assert clip.grad[0, 4:].abs().max() == 0


def test_inside_of_a_smooth_surface_is_left_alone():
    vertices, faces = sphere(40)
    camera = Cameras.orbit(0.3, 0.2, 3.0, FOVY, 48, 48)
    clip = project(vertices, camera)
    raster = rasterize(clip, faces, 48, 48)
    color = torch.rand(1, 48, 48, 3, generator=torch.Generator().manual_seed(0))
    changed = (antialias(color, raster, clip, faces) != color).any(-1)
    covered = raster.covered.float()[:, None]
    near_outline = torch.nn.functional.max_pool2d(covered, 3, 1, 1) != -torch.nn.functional.max_pool2d(-covered, 3, 1, 1)
    assert changed.sum() > 50
    assert not (changed & ~near_outline[:, 0]).any()


def test_edges_between_touching_parts_of_one_surface_are_no_silhouettes():
    """A welded square of four triangles shows no silhouette inside; unwelded, blending changes no equal colors."""
    corners = torch.tensor([[-0.9, -0.9], [0.9, -0.9], [0.9, 0.9], [-0.9, 0.9], [0.13, 0.21]])
    clip = torch.cat([corners, torch.zeros(5, 1), torch.ones(5, 1)], 1)[None]
    faces = torch.tensor([[0, 1, 4], [1, 2, 4], [2, 3, 4], [3, 0, 4]])
    raster = rasterize(clip, faces, 16, 16)
    slots, codes = silhouette_pairs(raster, clip, faces, edge_topology(faces))
    edges = codes[slots] // 2
    assert len(slots) > 0 and (edges % 3 == 0).all()  # corner 0 to 1 of each face is the outer border


def test_topology_matches_a_dictionary():
    _, faces = sphere(4)
    extra = torch.tensor([[0, 1, 90], [90, 1, 0], [91, 92, 93], [94, 94, 95]])  # three at an edge, alone, degenerate
    faces = torch.cat([faces, extra, faces[:1]])
    owners: dict = {}
    for index, face in enumerate(faces.tolist()):
        for k in range(3):
            edge = frozenset((face[k], face[(k + 1) % 3]))
            if len(edge) == 2:
                owners.setdefault(edge, []).append(index)
    found = edge_topology(faces).neighbor.tolist()
    kinds = set()
    for index, face in enumerate(faces.tolist()):
        for k in range(3):
            sharing = owners.get(frozenset((face[k], face[(k + 1) % 3])), [])
            kinds.add(len(sharing))
            assert found[index][k] == (sum(sharing) - index if len(sharing) == 2 else -1)
    assert {0, 1, 2, 3} <= kinds


def test_remembered_topology_notices_changes():
    _, faces = sphere(3)
    first = cached_topology(faces)
    assert cached_topology(faces) is first
    faces[0] = faces[-1]
    assert not torch.equal(cached_topology(faces).neighbor, first.neighbor)


def test_same_bits_twice_and_on_any_number_of_threads():
    vertices, faces = scene(12)
    cameras = Cameras.orbit(torch.tensor([0.3, 1.0]), 0.25, 3.0, FOVY, 40, 40)
    results, before = [], torch.get_num_threads()
    try:
        for threads in (1, 1, 2):
            torch.set_num_threads(threads)
            leaf = vertices.clone().requires_grad_()
            out = render_surface(Mesh(leaf, faces), cameras)
            (out.rgb.square().sum() + out.normal.sum() + out.depth.sum()).backward()
            results.append((out.rgb, out.depth, leaf.grad))
    finally:
        torch.set_num_threads(before)
    assert results[0][2].abs().sum() > 0
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other))


def test_smallest_empty_and_behind():
    faces = torch.tensor([[0, 1, 2]])
    clip = torch.tensor([[[-1.0, -1, 0, 1], [3, -1, 0, 1], [0, 1, -2, -0.5]]])  # one corner behind the camera
    for size in (1, 2, 9):
        raster = rasterize(clip, faces, size, size)
        color = raster.covered.float()[..., None]
        assert torch.isfinite(antialias(color, raster, clip, faces)).all()
    none = torch.zeros(0, 3, dtype=torch.int64)
    raster = rasterize(clip, none, 4, 4)
    assert antialias(torch.ones(1, 4, 4, 2), raster, clip, none).shape == (1, 4, 4, 2)
    assert edge_topology(none).neighbor.shape == (0, 3)
