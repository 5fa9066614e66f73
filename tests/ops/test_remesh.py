"""Continuous remeshing keeps surfaces surfaces: known cases, invariants, and the optimizer's formulas."""

import pytest
import torch
import trimesh
from lift123.pipelines.core.errors import InputError
from lift123.pipelines.core.mesh import Mesh
from lift123.pipelines.metrics.geometry import mesh_facts
from lift123.pipelines.ops.remesh import (
    Surface,
    check_manifold,
    collapse_edges,
    flip_edges,
    remesh,
    split_edges,
    subdivide,
)
from lift123.pipelines.ops.remesh_edges import edge_table, independent
from lift123.pipelines.ops.remesh_optimizer import RemeshConfig, RemeshOptimizer


def of_trimesh(made, length=0.1, values=None) -> Surface:
    points = torch.tensor(made.vertices, dtype=torch.float32)
    values = torch.zeros(len(points), 0) if values is None else values(points)
    return Surface(points, torch.tensor(made.faces, dtype=torch.int64), torch.full((len(points),), length), values)


def sphere(level=3, length=0.1, **more) -> Surface:
    return of_trimesh(trimesh.creation.icosphere(level), length, **more)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def lengths(surface):
    a, b = edge_table(surface.faces, len(surface.points)).ends.unbind(1)
    return (surface.points[a] - surface.points[b]).norm(dim=-1)


def facts(surface):
    return mesh_facts(Mesh(surface.points, surface.faces))


def check_sound(surface, euler=2):
    found = facts(surface)
    assert found["watertight"] and found["consistent_winding"] and found["euler"] == euler, found
    assert found["vertices"] == len(surface.points), "no vertex without a face"


@pytest.mark.parametrize("length", [0.06, 0.1, 0.4])
def test_edges_reach_the_bounds_and_a_sphere_stays_one(length):
    surface, rng = sphere(length=length), generator()
    for _ in range(12 if length < 0.2 else 40):
        surface = remesh(surface, rng)
        radius = surface.points.norm(dim=-1, keepdim=True)
        surface = Surface(surface.points / radius, surface.faces, surface.length, surface.values)
    check_sound(surface)
    found = lengths(surface)
    assert float(((found >= 0.45 * length) & (found <= 1.5 * length)).float().mean()) > 0.97
    center = surface.points[surface.faces].mean(1)
    assert bool(((surface.normals() * center).sum(-1) > 0).all()), "no face turned over"


def test_volume_of_a_sphere_is_kept_without_any_projection():
    surface, rng = sphere(4, length=0.08), generator()
    before = facts(surface)["volume"]
    for _ in range(10):
        surface = remesh(surface, rng)
    assert abs(facts(surface)["volume"] / before - 1) < 0.01
    check_sound(surface)


def test_a_torus_and_two_parts_keep_their_euler_characteristic():
    torus = of_trimesh(trimesh.creation.torus(0.6, 0.25, 24, 16), length=0.15)
    pair = trimesh.util.concatenate([trimesh.creation.icosphere(2), trimesh.creation.box((9, 9, 9))])
    for surface, euler in ((torus, 0), (of_trimesh(pair, length=0.6), 4)):
        rng = generator()
        for _ in range(10):
            surface = remesh(surface, rng)
        check_sound(surface, euler)


def test_rough_surfaces_stay_manifold():
    surface, rng = sphere(3, length=0.12), generator(1)
    for _ in range(8):
        noise = torch.randn(surface.points.shape, generator=rng) * 0.03
        surface = remesh(Surface(surface.points + noise, surface.faces, surface.length, surface.values), rng)
    check_sound(surface)
    check_manifold(surface.faces, len(surface.points))


def test_the_smallest_closed_surface_does_not_vanish():
    surface, rng = of_trimesh(trimesh.creation.icosphere(1), length=100.0), generator()
    for _ in range(30):
        surface = remesh(surface, rng)
    check_sound(surface)
    assert 4 <= len(surface.points) <= 8


def test_a_boundary_stays_where_it_is():
    plane = trimesh.creation.icosphere(3)
    plane.update_faces(plane.triangles_center[:, 2] > 0.3)
    plane.remove_unreferenced_vertices()
    surface, rng = of_trimesh(plane, length=0.4), generator()

    def border(s):
        edges = edge_table(s.faces, len(s.points))
        return {tuple(round(x, 5) for x in p) for p in s.points[edges.boundary_vertex].tolist()}

    before = border(surface)
    for _ in range(5):
        surface = remesh(surface, rng)
    assert border(surface) == before and facts(surface)["euler"] == 1


def test_same_seed_same_mesh_and_other_seed_still_sound():
    first, second = (remesh(sphere(length=0.5), generator(3)) for _ in range(2))
    assert torch.equal(first.points, second.points) and torch.equal(first.faces, second.faces)


@pytest.mark.parametrize("marked", [1, 2, 3])
def test_split_patterns_keep_the_area_and_the_winding(marked):
    points = torch.tensor([[0.0, 0, 0], [4, 0, 0], [1, 3, 0]])
    faces = torch.tensor([[0, 1, 2]])
    # edges: 0-1 long 4, 1-2 about 4.24, 0-2 about 3.16
    limit = {1: 4.1, 2: 3.5, 3: 1.0}[marked]
    after = split_edges(Surface(points, faces, torch.ones(3), points.clone()), torch.full((3,), limit))
    assert len(after.faces) == marked + 1 and len(after.points) == 3 + marked
    normals = after.normals()
    assert bool((normals[:, 2] > 0).all()) and float(normals.norm(dim=-1).sum() / 2) == pytest.approx(6.0)
    assert torch.allclose(after.values, after.points), "attributes are averaged as positions are"


def test_subdivision_makes_four_of_each_face():
    before = sphere(1)
    after = subdivide(before)
    assert len(after.faces) == 4 * len(before.faces)
    assert facts(after)["area"] == pytest.approx(facts(before)["area"], rel=1e-5)
    check_sound(after)


def test_a_short_edge_collapses_to_its_middle_with_mean_attributes():
    grid = trimesh.creation.icosphere(2)
    surface = of_trimesh(grid, values=lambda p: p * 2)
    edges = edge_table(surface.faces, len(surface.points))
    a, b = edges.ends[10].tolist()
    points = surface.points.clone()
    points[b] = points[a] + 0.05 * (points[b] - points[a])
    values = points * 2
    after = collapse_edges(
        Surface(points, surface.faces, surface.length, values), torch.full((len(points),), 0.03), generator()
    )
    assert len(after.points) == len(points) - 1 and len(after.faces) == len(surface.faces) - 2
    middle = (points[a] + points[b]) / 2
    assert float((after.points - middle).norm(dim=-1).min()) < 1e-6
    assert torch.allclose(after.values, after.points * 2, atol=1e-6)
    check_sound(after)


def test_flips_even_out_the_valences_and_never_join_what_is_joined():
    surface = sphere(2)
    edges = edge_table(surface.faces, len(surface.points))
    spread = lambda s: float(((torch.bincount(edge_table(s.faces, len(s.points)).ends.reshape(-1)) - 6.0) ** 2).sum())  # noqa: E731
    rng = generator(5)
    noisy = Surface(surface.points, surface.faces, surface.length, surface.values)
    keep = edges.ends[torch.randperm(len(edges.ends), generator=rng)[:20]]
    split = torch.full((len(surface.points),), 9.0)
    split[keep.reshape(-1)] = 0.1
    noisy = split_edges(noisy, split)
    after = noisy
    for _ in range(5):
        after = flip_edges(after)
        check_sound(after)
    assert spread(after) < spread(noisy)
    tetra = of_trimesh(
        trimesh.Trimesh([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]], [[0, 2, 1], [0, 1, 3], [1, 2, 3], [0, 3, 2]])
    )
    assert torch.equal(flip_edges(tetra).faces, tetra.faces)


def test_chosen_edges_share_no_neighbor():
    surface = sphere(3)
    edges = edge_table(surface.faces, len(surface.points))
    rank = torch.rand(len(edges.ends), generator=generator())
    chosen = independent(edges.ends, torch.arange(len(edges.ends)), rank, len(surface.points), rounds=3)
    near = [set() for _ in range(len(surface.points))]
    for a, b in edges.ends.tolist():
        near[a].add(b), near[b].add(a)
    seen = {}
    for edge in chosen.tolist():
        for vertex in set.union(*(near[v] for v in edges.ends[edge].tolist())):
            assert seen.setdefault(vertex, edge) == edge
    assert len(chosen) > 5 and int(rank.argmax()) in chosen.tolist()


def test_edge_table_against_plain_python():
    surface = sphere(1)
    edges = edge_table(surface.faces, len(surface.points))
    owners = {}
    for f, face in enumerate(surface.faces.tolist()):
        for k in range(3):
            owners.setdefault(tuple(sorted((face[k], face[(k + 1) % 3]))), []).append(3 * f + k)
            assert tuple(edges.ends[edges.of_face[f, k]].tolist()) == tuple(sorted((face[k], face[(k + 1) % 3])))
    assert {tuple(e): h for e, h in zip(edges.ends.tolist(), edges.halves.tolist(), strict=True)} == owners


def test_non_manifold_input_names_the_number_of_edges():
    points = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1]])
    fan = torch.tensor([[0, 1, 2], [1, 0, 3], [0, 1, 4]])
    with pytest.raises(InputError, match="1 edges of three or more"):
        check_manifold(fan, 5)
    with pytest.raises(InputError, match="1 edges whose two faces are wound against"):
        RemeshOptimizer(points, torch.tensor([[0, 1, 2], [0, 1, 3]]), RemeshConfig(), generator())
    check_manifold(torch.zeros(0, 3, dtype=torch.int64), 0)


def test_the_optimizer_follows_its_formulas():
    """Two steps on an octahedron without remeshing, against the formulas written out."""
    surface = of_trimesh(trimesh.creation.icosphere(0))
    config = RemeshConfig(rate=0.1, decay=0.5, longest=0.2, every=0, ramp=5)
    optimizer = RemeshOptimizer(surface.points, surface.faces, config, generator())
    v, m1, m2, nu, rate = surface.points.double(), 0.0, 0.0, torch.zeros(12, dtype=torch.float64), 0.1
    near = [set() for _ in range(12)]
    for face in surface.faces.tolist():
        for k in range(3):
            near[face[k]] |= {face[k - 1], face[k - 2]}
    rng = generator(2)
    for k in (1, 2):
        g0 = torch.randn(12, 3, generator=rng)
        optimizer.points.grad = g0.clone()
        optimizer.step()
        mean = torch.stack([v[sorted(n)].mean(0) for n in near])
        g = g0.double() + 0.02 * nu[:, None] * (v - mean)
        if k > 1:
            g = torch.maximum(torch.minimum(g, 10 * m1.abs()), -10 * m1.abs())
        keep, take = 0.8 * (1 - 0.8 ** (k - 1)) / (1 - 0.8**k), 0.2 / (1 - 0.8**k)
        m1, m2 = m1 * keep + g * take, m2 * keep + g.square().sum(-1) * take
        u = m1 / (m2.sqrt() + 1e-8)[:, None]
        nu = u.norm(dim=-1)
        v = v - rate * min(1, k * 0.2 / 5) * 0.2 * u
        rate *= 0.5
        assert torch.allclose(optimizer.points.detach().double(), v, atol=1e-6)


def test_the_optimizer_grows_a_small_ball_to_a_big_one():
    surface = sphere(2)
    optimizer = RemeshOptimizer(
        surface.points * 0.5, surface.faces, RemeshConfig(longest=0.3, shortest=0.1), generator()
    )
    for _ in range(60):
        ((optimizer.points.norm(dim=-1) - 1) ** 2).mean().backward()
        optimizer.step()
    radius = optimizer.points.detach().norm(dim=-1)
    assert float((radius - 1).abs().mean()) < 0.03 and float((radius - 1).abs().max()) < 0.1
    check_sound(Surface(optimizer.points.detach(), optimizer.faces, optimizer.length, torch.zeros(len(radius), 0)))
    assert float(optimizer.length.mean()) < 0.3, "edges shrink where nothing moves any more"


def test_a_restored_optimizer_continues_the_same():
    def run(optimizer, steps):
        for _ in range(steps):
            ((optimizer.points.norm(dim=-1) - 1) ** 2).mean().backward()
            optimizer.step()
        return optimizer

    surface, config, rng = sphere(2), RemeshConfig(longest=0.3), generator(4)
    first = run(RemeshOptimizer(surface.points * 0.7, surface.faces, config, rng), 5)
    saved, state = first.state(), rng.get_state()
    run(first, 5)
    again = RemeshOptimizer(surface.points, surface.faces, config, torch.Generator())
    again.generator.set_state(state)
    again.restore(saved)
    run(again, 5)
    assert torch.equal(again.points, first.points) and torch.equal(again.faces, first.faces)
