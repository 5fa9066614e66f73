"""Cleaned meshes against meshes of which everything is known, and trimesh's own idea of watertight."""

import numpy as np
import pytest
import torch
import trimesh
from helpers.shapes import ball, box
from lift123.pipelines.core.errors import InputError
from lift123.pipelines.core.mesh import Mesh, merge
from lift123.pipelines.ops.holes import boundary_loops, fill_holes
from lift123.pipelines.stages.results.clean_mesh import CleanConfig, clean_mesh, condition

BOX = box((-0.5, -0.5, -0.5), (0.5, 0.5, 0.5))


def without(mesh, *faces):
    keep = torch.ones(len(mesh.faces), dtype=torch.bool)
    keep[list(faces)] = False
    return Mesh(mesh.vertices, mesh.faces[keep])


def by_trimesh(mesh):
    return trimesh.Trimesh(mesh.vertices.numpy(), mesh.faces.numpy(), process=False)


def test_the_condition_of_known_meshes():
    closed = condition(BOX)
    assert (closed.faces, closed.parts, closed.holes, closed.watertight) == (12, 1, 0, True)
    two = condition(without(BOX, 0, 1, 2, 3))  # two opposite sides
    assert (two.holes, two.edges, two.watertight) == (2, 8, False) and "2 holes (8 open edges)" in str(two)
    assert condition(without(BOX, 0)).holes == 1
    flipped = Mesh(BOX.vertices, torch.cat([BOX.faces[:11], BOX.faces[11:].flip(1)]))
    assert condition(flipped).twisted == 3 and not condition(flipped).watertight
    fin = Mesh(torch.cat([BOX.vertices, torch.tensor([[0.0, 2.0, 0.0]])]), torch.cat([BOX.faces, torch.tensor([[0, 1, 8]])]))
    assert condition(fin).crowded == 1 and condition(fin).edges == 2
    pair = merge([BOX, box((2.0, 2.0, 2.0), (3.0, 3.0, 3.0))])
    assert condition(pair).parts == 2 and condition(pair).watertight


def test_doubled_vertices_of_a_texture_seam_are_no_holes():
    split = Mesh(BOX.vertices[BOX.faces.reshape(-1)], torch.arange(36).reshape(12, 3))
    assert condition(split) == condition(BOX)


def test_holes_that_touch_at_a_vertex_are_two():
    fan = torch.tensor([[0, 1, 2], [0, 3, 4]])  # two triangles with one common vertex: each its own outline
    assert sorted(sorted(loop.tolist()) for loop in boundary_loops(fan)) == [[0, 1, 2], [0, 3, 4]]


@pytest.mark.parametrize("gone", [(0,), (0, 1), (0, 1, 2, 3), (0, 1, 6, 7)])
def test_filled_holes_make_trimesh_call_it_watertight(gone):
    mesh = Mesh(*fill_holes(BOX.vertices, without(BOX, *gone).faces))
    found = by_trimesh(mesh)
    assert found.is_watertight and found.is_winding_consistent
    assert found.volume == pytest.approx(1.0, abs=1e-6 if gone != (0, 1, 6, 7) else 0.5)


def test_a_cut_ball_is_closed_and_keeps_its_budget():
    whole = ball(0.5, 8)
    cut = Mesh(whole.vertices, whole.faces[whole.vertices[whole.faces][:, :, 1].amax(1) < 0.35])
    made, told = clean_mesh(cut, CleanConfig(faces=300, holes="fill"))
    found = by_trimesh(made)
    assert found.is_watertight and len(made.faces) <= 300
    assert found.volume == pytest.approx(by_trimesh(whole).volume, rel=0.12)
    assert "1 hole" in told[0] and "watertight" in told[1]


def test_parts():
    crumb = box((0.8, 0.8, 0.8), (0.81, 0.81, 0.81))
    small = box((1.0, 1.0, 1.0), (1.5, 1.5, 1.5))
    mesh = merge([BOX, crumb, small])
    assert len(clean_mesh(mesh, CleanConfig(parts="all"))[0].faces) == 36
    assert len(clean_mesh(mesh, CleanConfig(parts="no crumbs"))[0].faces) == 24
    largest = clean_mesh(mesh, CleanConfig(parts="largest"))[0]
    assert len(largest.faces) == 12 and float(largest.vertices.abs().max()) == pytest.approx(0.5)


def test_what_cannot_be_filled_is_built_anew_in_its_place():
    """Two boxes through each other and a fin: not one solid for anybody."""
    mesh = merge([BOX, box((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))]).transformed(10.0, torch.tensor([5.0, 0.0, -3.0]))
    made, told = clean_mesh(mesh, CleanConfig(faces=None, holes="rebuild", grid=8))
    found = by_trimesh(made)
    assert found.is_watertight and condition(made).parts == 1
    assert found.volume == pytest.approx(1875.0, rel=0.1), "1000 + 1000 - 125: the inner walls are gone"
    assert np.allclose(found.bounds, [[0, -5, -8], [15, 10, 7]], atol=1.0) and "built anew" in told[-1]


def test_a_sound_mesh_comes_back_untouched_and_colors_follow_changes():
    draw = torch.Generator().manual_seed(0)
    same = Mesh(BOX.vertices, BOX.faces, None, torch.rand(8, 2, generator=draw), BOX.faces.clone(),
                torch.rand(4, 4, 3, generator=draw))
    made, told = clean_mesh(same)
    assert torch.equal(made.texture, same.texture) and told[-1] == "nothing to do"
    colored = Mesh(BOX.vertices, BOX.faces, BOX.vertices + 0.5)
    made, _ = clean_mesh(Mesh(colored.vertices, colored.faces[2:], colored.vertex_colors))
    assert torch.allclose(made.vertex_colors[:8], colored.vertex_colors, atol=1e-6), "corners keep theirs"
    baked, _ = clean_mesh(Mesh(colored.vertices, colored.faces[2:], colored.vertex_colors), CleanConfig(texture=64))
    assert baked.texture is not None and baked.texture.shape == (64, 64, 3) and baked.vertex_colors is None


def test_an_empty_mesh_is_refused():
    with pytest.raises(InputError):
        clean_mesh(Mesh(torch.zeros(0, 3), torch.zeros(0, 3, dtype=torch.int64)))
