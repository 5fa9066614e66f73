"""Decimation by the library and by our own rounds, on surfaces whose true place is known."""

import logging
import math

import numpy as np
import pytest
import torch
from lift123.pipelines.core.mesh import Mesh, merge
from lift123.pipelines.io import decimate as decimation
from lift123.pipelines.io import decimate_fast
from lift123.pipelines.io.decimate import decimate
from lift123.pipelines.ops.mesh_edges import mesh_edges

RING, TUBE = 0.6, 0.25


@pytest.fixture(autouse=True)
def small_is_large(monkeypatch):
    """The library sees small meshes, too."""
    pytest.importorskip("fast_simplification")
    monkeypatch.setattr(decimation, "FAST_FACES", 500)


def torus(rows=48) -> Mesh:
    """Closed, regular, colored by its place."""
    u, v = torch.meshgrid(*[torch.arange(rows) * (2 * math.pi / rows)] * 2, indexing="ij")
    reach = RING + TUBE * v.cos()
    points = torch.stack([reach * u.cos(), TUBE * v.sin(), reach * u.sin()], -1).reshape(-1, 3)
    i, j = torch.meshgrid(torch.arange(rows), torch.arange(rows), indexing="ij")
    a, b, c, d = (((i + k) % rows * rows + (j + l) % rows).reshape(-1) for k, l in ((0, 0), (1, 0), (1, 1), (0, 1)))
    return Mesh(points, torch.cat([torch.stack([a, c, b], -1), torch.stack([a, d, c], -1)]), points / 2 + 0.5)


def off(points) -> torch.Tensor:
    """Distances to the true torus."""
    return (torch.hypot(points[:, [0, 2]].norm(dim=-1) - RING, points[:, 1]) - TUBE).abs()


def edge_counts(mesh) -> list:
    return torch.bincount(mesh_edges(mesh.faces, len(mesh.vertices)).count).tolist()


def test_the_library_keeps_shape_topology_winding_and_colors():
    mesh = torus()
    small, again = decimate(mesh, 1000), decimate(mesh, 1000)
    assert not torch.equal(small.vertices, decimate(mesh, 1000, "fine").vertices), "the library did not work"
    assert 900 < len(small.faces) <= 1000 and edge_counts(small) == [0, 0, 3 * len(small.faces) // 2]
    assert len(small.vertices) * 2 == len(small.faces), "still a torus"
    assert off(small.vertices).max() < 0.01
    assert small.signed_volume().item() == pytest.approx(mesh.signed_volume().item(), rel=0.01)
    assert (small.vertex_colors - (small.vertices / 2 + 0.5)).abs().max() < 0.005
    assert small.uvs is None and small.faces.dtype == torch.int64
    assert torch.equal(small.vertices, again.vertices) and torch.equal(small.faces, again.faces)


def test_size_and_place_do_not_matter():
    mesh, move = torus(), torch.tensor([5.0, -3.0, 0.0])
    small = decimate(mesh, 1000)
    moved = decimate(Mesh(mesh.vertices * 1000 + move, mesh.faces), 1000)
    found = float(off((moved.vertices - move) / 1000).mean())
    assert found == pytest.approx(float(off(small.vertices).mean()), rel=0.05)


def needled(mesh) -> Mesh:
    """Every third face gets a point right beside its first corner, and with it faces like needles, as marching tets makes."""
    cut, whole = mesh.faces[::3], mesh.faces[torch.arange(len(mesh.faces)) % 3 > 0]
    a, b, c = cut.unbind(-1)
    new = len(mesh.vertices) + torch.arange(len(cut))
    beside = mesh.vertices[a] + 1e-7 * (mesh.vertices[b] + mesh.vertices[c] - 2 * mesh.vertices[a])
    parts = [torch.stack([new, p, q], -1) for p, q in ((a, b), (b, c), (c, a))]
    return Mesh(torch.cat([mesh.vertices, beside]), torch.cat([whole, *parts]))


def test_needles_that_stop_the_library_are_left_to_our_rounds():
    """The library refuses what touches them and would end far above the budget."""
    mesh = needled(torus(28))
    alone = decimate_fast.simplified(mesh.vertices.double().numpy(), mesh.faces.numpy(), 500)
    assert alone is not None and len(alone[1]) > 500, "the case does not occur any more"
    small, fine = decimate(mesh, 500), decimate(mesh, 500, "fine")
    assert len(small.faces) <= 500 and edge_counts(small) == [0, 0, 3 * len(small.faces) // 2]
    assert float(off(small.vertices).mean()) < 1.5 * float(off(fine.vertices).mean())


def test_open_edges_stay_and_copies_stay_apart():
    mesh = torus()
    cut = Mesh(mesh.vertices, mesh.faces[mesh.vertices[mesh.faces][:, :, 0].amin(1) > 0])

    def rim(given):
        edges = mesh_edges(given.faces, len(given.vertices))
        return sorted(map(tuple, given.vertices[torch.unique(edges.ends[edges.count == 1])].tolist()))

    small = decimate(cut, 1000)
    assert len(small.faces) <= 1000 and len(rim(small)) == len(rim(cut)) > 50
    assert np.allclose(rim(small), rim(cut), atol=1e-6)
    double = decimate(merge([mesh, mesh]), 2000)
    assert edge_counts(double) == [0, 0, 3 * len(double.faces) // 2]


def test_what_the_library_would_tear_is_left_to_our_rounds(monkeypatch):
    """It knows no link condition: a result with new odd edges is not taken."""
    torn = []

    def tearing(points, faces, budget, haste):
        torn.append(haste)
        return points, faces[: budget - 1]

    monkeypatch.setattr(decimate_fast, "_run", tearing)
    small = decimate(torus(24), 600)
    assert torn == [decimate_fast.QUICK, decimate_fast.CAREFUL]
    assert torch.equal(small.vertices, decimate(torus(24), 600, "fine").vertices)


def test_without_the_library_ours_is_used_and_that_is_said(monkeypatch, caplog):
    monkeypatch.setattr(decimate_fast, "find_spec", lambda name: None)
    decimate_fast._say_missing.cache_clear()
    with caplog.at_level(logging.WARNING):
        small = decimate(torus(24), 600)
        decimate(torus(24), 600)
    assert torch.equal(small.vertices, decimate(torus(24), 600, "fine").vertices)
    assert sum("pip install fast-simplification" in record.message for record in caplog.records) == 1


def test_bad_words_and_bad_numbers(monkeypatch):
    with pytest.raises(ValueError, match="fast, fine"):
        decimate(torus(24), 600, "quick")
    mesh = torus(24)
    faces = torch.cat([mesh.faces, torch.zeros(40, 3, dtype=torch.int64)])  # faces without corners of their own
    assert edge_counts(decimate(Mesh(mesh.vertices, faces), 600))[:2] == [0, 0]
    broken = mesh.vertices.clone()
    broken[5] = float("nan")
    monkeypatch.setattr(decimate_fast, "simplified", lambda *_: pytest.fail("the library was given NaN"))
    decimation._fast(Mesh(broken, mesh.faces), 600)
