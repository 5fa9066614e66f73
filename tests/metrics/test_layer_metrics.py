"""Inside or outside, and how deep: against closed forms and against winding numbers."""

import pytest
import torch
import trimesh
from lift123.pipelines.core.mesh import Mesh
from lift123.pipelines.metrics.layers import depth_inside, penetration, signed_distance, winding_numbers


def mesh_of(made) -> Mesh:
    return Mesh(torch.tensor(made.vertices, dtype=torch.float32), torch.tensor(made.faces, dtype=torch.int64))


def test_signed_distance_agrees_with_winding_numbers_everywhere():
    """A box has sharp edges and corners, where a face's own normal would tell wrong; a torus is not convex."""
    rng = torch.Generator().manual_seed(0)
    for made in (
        trimesh.creation.box((1, 0.5, 0.3)),
        trimesh.creation.torus(0.6, 0.2, 24, 12),
        trimesh.creation.icosphere(1),
    ):
        mesh = mesh_of(made)
        points = torch.rand(3000, 3, generator=rng) * 2 - 1
        inside = winding_numbers(points, mesh) > 0.5
        assert 20 < int(inside.sum()) < 2000
        assert torch.equal(signed_distance(points, mesh) < 0, inside)


def test_signed_distance_of_a_box_in_closed_form():
    mesh = mesh_of(trimesh.creation.box((1, 0.5, 0.3)))
    points = torch.rand(500, 3, generator=torch.Generator().manual_seed(1)) * 2 - 1
    q = points.abs() - torch.tensor([0.5, 0.25, 0.15])
    expected = q.clamp(min=0).norm(dim=-1) + q.amax(-1).clamp(max=0)
    assert torch.allclose(signed_distance(points, mesh), expected, atol=1e-5)


def test_a_hollow_shell_is_empty_within():
    outer, inner = trimesh.creation.icosphere(3), trimesh.creation.icosphere(3)
    inner.apply_scale(0.8)
    inner.invert()
    shell = mesh_of(trimesh.util.concatenate([outer, inner]))
    points = torch.tensor([[0.0, 0, 0], [0.9, 0, 0], [0, 0, 1.1]])
    assert (signed_distance(points, shell) < 0).tolist() == [False, True, False]
    assert winding_numbers(points, shell).round().tolist() == [0, 1, 0]


def test_penetration_of_a_sphere_that_peeks_in():
    inner, outer = mesh_of(trimesh.creation.icosphere(4)), mesh_of(trimesh.creation.icosphere(3))
    assert penetration(outer.transformed(1.05), inner, 0.005) == {"deepest": 0.0, "share": 0.0}
    found = penetration(outer.transformed(1.05, torch.tensor([0.2, 0.0, 0.0])), inner, 0.005)
    assert found["deepest"] == pytest.approx(0.15, abs=0.01) and 0.2 < found["share"] < 0.5
    assert not bool(depth_inside(outer.vertices * 0.999, inner, 0.01).any()), "shallow ones do not count"
    assert penetration(Mesh(torch.zeros(0, 3), torch.zeros(0, 3, dtype=torch.int64)), inner) == {
        "deepest": 0.0,
        "share": 0.0,
    }
