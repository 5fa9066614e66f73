"""FlexiCubes: tables against their claims, closed manifolds, positions and gradients against closed forms."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from lift123.pipelines.core.mesh import Mesh
from lift123.pipelines.ops import flexicubes as module
from lift123.pipelines.ops.flexicubes import (
    WEIGHTS,
    CubeGrid,
    CubeWeights,
    closed_border,
    find_patches,
    flexicubes,
    place_patches,
)
from lift123.pipelines.ops.flexicubes_tables import EDGES, FACES, cube_tables, rings
from lift123.pipelines.ops.mesh_edges import compact, connected_parts, mesh_edges


def sphere(points, radius=0.6):
    return points.norm(dim=-1) - radius


def torus(points, ring=0.55, tube=0.22):
    return torch.stack([points[:, :2].norm(dim=-1) - ring, points[:, 2]], -1).norm(dim=-1) - tube


def euler(mesh: Mesh) -> int:
    """V - E + F after checking that every edge joins two faces that run along it in opposite directions."""
    edges = mesh_edges(mesh.faces, len(mesh.vertices))
    assert edges.count.eq(2).all(), Counter(edges.count.tolist())
    directed = torch.cat([mesh.faces[:, [0, 1]], mesh.faces[:, [1, 2]], mesh.faces[:, [2, 0]]])
    assert len(torch.unique(directed, dim=0)) == len(directed)
    return len(mesh.vertices) - len(edges.ends) + len(mesh.faces)


def vertex_fans_are_single(mesh: Mesh) -> bool:
    """Whether the faces at each vertex form one fan: corners joined across shared edges give one part per vertex."""
    faces = mesh.faces
    corner = torch.arange(faces.numel()).reshape(-1, 3)
    pairs = mesh_edges(faces, len(mesh.vertices)).pairs
    links = []
    for k in range(3):
        for m in range(3):
            same = faces[pairs[:, 0], k] == faces[pairs[:, 1], m]
            links.append(torch.stack([corner[pairs[same, 0], k], corner[pairs[same, 1], m]], -1))
    parts = connected_parts(torch.cat(links), faces.numel())
    return int(parts.max()) + 1 == len(torch.unique(faces))


def meshed(sdf, grid, **options) -> Mesh:
    found = flexicubes(sdf, grid, **options)
    vertices, faces, _ = compact(found.vertices, found.faces)
    return Mesh(vertices, faces)


def test_the_tables_claims_hold_for_every_pattern():
    tables = cube_tables()
    for pattern in range(256):
        crossed = {e for e, (a, b) in enumerate(EDGES) if (pattern >> a & 1) != (pattern >> b & 1)}
        for other in (None, *range(6)):
            found = rings(pattern, other)
            assert sorted(e for edges, _ in found for e in edges) == sorted(crossed)  # each crossing in one ring
            for edges, faces in found:
                assert len(edges) >= 3
                for edge, following, face in zip(edges, edges[1:] + edges[:1], faces, strict=True):
                    assert set(EDGES[edge]) | set(EDGES[following]) <= set(FACES[face])
        twice = [f for _, faces in rings(pattern) for f, n in Counter(faces).items() if n > 1]
        assert len(twice) <= 1
        assert tables.trouble[pattern] == (twice[0] if twice else -1)
        if twice:
            after = rings(pattern, twice[0])
            assert len(after) == len(rings(pattern)) + 1
            assert not [f for _, faces in after for f, n in Counter(faces).items() if n > 1]
    assert int((tables.trouble >= 0).sum()) == 36 and int(tables.count.max()) == 4


@pytest.mark.parametrize("training", [False, True])
def test_sphere_is_closed_outward_and_on_the_surface(training):
    grid = CubeGrid((24, 26, 28), (-0.9, -1.0, -0.8), (1.0, 0.9, 1.1))
    sdf = sphere(grid.points())
    mesh = meshed(sdf, grid, training=training)
    assert euler(mesh) == 2 and vertex_fans_are_single(mesh)
    assert float(mesh.signed_volume()) == pytest.approx(4 / 3 * torch.pi * 0.6**3, rel=0.02)
    outward = (mesh.face_normals() * mesh.vertices[mesh.faces].mean(1)).sum(-1)
    assert (outward > 0).all()
    cell = max(grid.cell)
    sagitta = cell**2 / (2 * 0.6)  # of a chord; the centers of quads lie on chords of chords
    assert (mesh.vertices.norm(dim=-1) - 0.6).abs().max() < sagitta * (1 + training)


def test_torus_has_one_hole():
    grid = CubeGrid((40, 40, 20), (-1, -1, -0.5), (1, 1, 0.5))
    mesh = meshed(torus(grid.points()), grid)
    assert euler(mesh) == 0 and vertex_fans_are_single(mesh)
    assert float(mesh.signed_volume()) == pytest.approx(2 * torch.pi**2 * 0.55 * 0.22**2, rel=0.02)


def test_random_signs_give_a_closed_manifold():
    """Noise has every ambiguous pattern next to every other; the surface must have no edge of one or four faces."""
    for seed in range(6):
        grid = CubeGrid((9, 8, 7))
        noise = torch.randn(grid.shape, generator=torch.Generator().manual_seed(seed)).reshape(-1)
        sdf = closed_border(noise, grid)
        generator = torch.Generator().manual_seed(seed + 100)
        weights = CubeWeights.from_raw(torch.randn(9 * 8 * 7, WEIGHTS, generator=generator))
        mesh = meshed(sdf, grid, weights=weights)
        assert euler(mesh) % 2 == 0 and vertex_fans_are_single(mesh)
        pattern_trouble = cube_tables().trouble
        inside = (sdf < 0)[grid.corners(find_patches(sdf, grid).cubes)].long()
        assert int((pattern_trouble[(inside << torch.arange(8)).sum(-1)] >= 0).sum()) > 0  # the pitfall occurs


def test_without_the_second_pairing_the_pitfall_is_real(monkeypatch):
    """Two cubes whose rings both pass twice through the face between them: four quads would meet at one line."""
    troubled = [p for p in range(256) if cube_tables().trouble[p] == 1]  # face x = 1
    pattern = troubled[0]
    grid = CubeGrid((4, 3, 3))
    sdf = torch.ones(grid.shape)
    middle = grid.corners(torch.tensor([(1 * 3 + 1) * 3 + 1]))[0]
    flat = sdf.reshape(-1)
    for c in range(8):
        if pattern >> c & 1:
            flat[middle[c]] = -1.0
    mirrored = grid.corners(torch.tensor([(2 * 3 + 1) * 3 + 1]))[0]
    for c in range(8):
        if pattern >> c & 1:
            flat[mirrored[c ^ 1]] = -1.0
    found = flexicubes(flat, grid)
    assert euler(Mesh(*compact(found.vertices, found.faces)[:2])) % 2 == 0
    assert quads_per_side(flat, grid) == {2}
    monkeypatch.setattr(module, "_paired_otherwise", lambda cubes, *_: torch.zeros_like(cubes))
    assert 4 in quads_per_side(flat, grid)


def quads_per_side(sdf, grid) -> set:
    quads = find_patches(sdf, grid).quads
    sides = torch.cat([quads.roll(-k, -1)[:, :2] for k in range(4)]).sort(-1).values
    return set(torch.unique(sides, dim=0, return_counts=True)[1].tolist())


def test_one_cube_by_hand():
    """Corner 0 inside alone: crossings and dual vertex from the paper's equations, written out."""
    grid = CubeGrid((2, 2, 2), (0, 0, 0), (2, 2, 2))
    sdf = torch.full((27,), 3.0)
    center = 13
    sdf[center] = -1.0
    raw = torch.randn(8, WEIGHTS, generator=torch.Generator().manual_seed(0))
    weights = CubeWeights.from_raw(raw)
    patches = find_patches(sdf, grid)
    assert patches.cubes.tolist() == list(range(8)) and len(patches.home) == 8 and len(patches.quads) == 6
    mesh = place_patches(patches, sdf, grid.points(), weights)
    alpha, beta = 1 + 0.5 * raw[7, 12:20].tanh(), 1 + 0.5 * raw[7, :12].tanh()  # cube 7 has the center as its corner 0
    total, weight = torch.zeros(3), 0.0
    for edge, axis in ((0, 0), (8, 1), (3, 2)):  # (0, 1), (2, 0), (0, 4)
        far = 1 << axis
        share = -1 * alpha[0] / (-1 * alpha[0] - 3 * alpha[far])
        crossing = torch.ones(3)
        crossing[axis] += share
        total, weight = total + beta[edge] * crossing, weight + beta[edge]
    assert torch.allclose(mesh.vertices[7], total / weight, atol=1e-6)
    gamma = 0.25 + 0.5 * raw[:, 20].sigmoid()
    assert torch.allclose(weights.gamma, gamma)
    whole = Mesh(mesh.vertices, mesh.faces)
    assert euler(whole) == 2 and float(whole.signed_volume()) > 0
    for quad in patches.quads:  # the cut follows the larger product
        a, b, c, d = quad.tolist()
        cut = {a, c} if gamma[a] * gamma[c] > gamma[b] * gamma[d] else {b, d}
        assert sum(cut <= set(face) for face in mesh.faces.tolist()) == 2


def test_gradients_against_finite_differences():
    grid = CubeGrid((4, 4, 4))
    generator = torch.Generator().manual_seed(3)
    points = grid.points().double()
    sdf = (sphere(points) + 0.05 * torch.randn(len(points), generator=generator, dtype=torch.double)).requires_grad_()
    moved = (points + 0.02 * torch.randn(points.shape, generator=generator, dtype=torch.double)).requires_grad_()
    raw = torch.randn(64, WEIGHTS, generator=generator, dtype=torch.double, requires_grad=True)

    def measure(sdf, moved, raw):
        mesh = flexicubes(sdf, grid, CubeWeights.from_raw(raw), moved, training=True)
        direction = torch.cos(torch.arange(mesh.vertices.numel(), dtype=torch.double)).reshape(-1, 3)
        return (mesh.vertices * direction).sum() + mesh.deviation.square().sum()

    assert torch.autograd.gradcheck(measure, (sdf, moved, raw), eps=1e-7, atol=1e-5, fast_mode=True)


def test_deviation_is_zero_exactly_where_crossings_are_equally_far():
    grid = CubeGrid((2, 2, 2))
    sdf = torch.ones(27)
    sdf[13] = -1.0
    assert flexicubes(sdf, grid).deviation.abs().max() < 1e-6  # three crossings, symmetric
    raw = torch.zeros(8, WEIGHTS)
    raw[:, 0] = 3.0
    uneven = flexicubes(sdf, grid, CubeWeights.from_raw(raw))
    assert uneven.deviation.mean() > 1e-3


def test_border_is_closed_on_demand_and_nothing_gives_nothing():
    grid = CubeGrid((6, 6, 6))
    sdf = -torch.ones(343)
    mesh = meshed(closed_border(sdf, grid), grid)
    assert euler(mesh) == 2
    assert float(mesh.signed_volume()) == pytest.approx(8, rel=0.25)
    assert len(flexicubes(sdf.abs(), grid).faces) == 0 and len(flexicubes(sdf.abs(), grid).vertices) == 0
    with pytest.raises(ValueError, match="NaN"):
        find_patches(torch.full((343,), torch.nan), grid)
    with pytest.raises(ValueError, match="343"):
        find_patches(torch.zeros(5), grid)
