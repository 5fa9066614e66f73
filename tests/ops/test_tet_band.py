"""A band near the surface gives what all tetrahedra give; the nearest vertex of a stretched grid."""

import pytest
import torch
from lift123.pipelines.ops.marching_tets import find_crossing
from lift123.pipelines.ops.tet_band import Band
from lift123.pipelines.ops.tet_grid import nearest_vertices
from lift123.pipelines.ops.tet_lattice import a15_topology

N = 10


def same(one, other):
    return all(torch.equal(getattr(one, name), getattr(other, name)) for name in ("inside", "outside", "faces"))


def test_moving_growing_and_jumping_surfaces():
    grid, topology = a15_topology(N)
    band, noise = Band(topology), torch.Generator().manual_seed(0)
    drift = torch.zeros(len(grid))
    for step in range(40):
        drift += 0.01 * torch.randn(len(grid), generator=noise)
        sdf = grid.norm(dim=-1) - 0.3 - 0.012 * step + 0.05 * drift
        assert same(band.crossing(sdf), find_crossing(sdf, topology))
    assert 1 < band.renewed < 20  # it was left, and not in every step
    assert len(band.part.tets) < 0.5 * len(topology.tets)
    before = band.renewed
    for center in ((0.5, 0.0, 0.0), (-0.5, 0.2, 0.0)):
        sdf = (grid - torch.tensor(center)).norm(dim=-1) - 0.2
        sdf[topology.tets[0].long()[0]] = -1.0  # a speck far away from everything
        assert same(band.crossing(sdf), find_crossing(sdf, topology))
    assert band.renewed == before + 2


def test_surfaces_everywhere_nowhere_and_broken():
    grid, topology = a15_topology(4)
    band = Band(topology)
    noise = torch.randn(len(grid), generator=torch.Generator().manual_seed(1))
    for sdf in (noise, torch.ones(len(grid)), -torch.ones(len(grid))):
        assert same(band.crossing(sdf), find_crossing(sdf, topology))
    with pytest.raises(ValueError, match="NaN"):
        band.crossing(torch.full((len(grid),), torch.nan))
    with pytest.raises(ValueError, match="sdf must be"):
        band.crossing(torch.ones(3))


def test_nearest_vertex_against_brute_force():
    grid, scale = a15_topology(5)[0], torch.tensor([0.9, 0.5, 1.0])
    vertices = grid * scale
    points = 1.3 * (2 * torch.rand(300, 3, generator=torch.Generator().manual_seed(2)) - 1)  # some outside of the box
    for some in (points, points[:1], points[points[:, 0] > 0.95]):
        found = nearest_vertices(some, vertices, 2 * scale / 5)
        distances = (some[:, None].double() - vertices[None].double()).norm(dim=-1)
        got = distances.gather(1, found[:, None])[:, 0]
        assert torch.equal(got, distances.amin(1))
