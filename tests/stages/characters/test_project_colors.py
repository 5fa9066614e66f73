"""Colors from six views: what is seen is right, what is hidden is filled, nothing bleeds through."""

import dataclasses

import pytest
import torch
import trimesh
from helpers import layer_toys
from lift123.pipelines.core.character_views import CharacterViews
from lift123.pipelines.core.errors import InputError, StopStage
from lift123.pipelines.core.layers import LayeredMesh
from lift123.pipelines.core.mesh import Mesh
from lift123.pipelines.ops.mesh_edges import mesh_edges
from lift123.pipelines.stages.characters.project_colors import (
    ColorConfig,
    bake_layers,
    completed,
    project_colors,
    surface_colors,
)

PLAIN = ColorConfig(subdivide=0)


def bare(layers: LayeredMesh) -> LayeredMesh:
    return layers.map(lambda m: Mesh(m.vertices, m.faces))


@pytest.fixture(scope="module")
def truth():
    """The figure; its body's color changes smoothly over space, clothing and hair have one color each."""
    layers = layer_toys.figure(cells=48)
    body = layers["body"]
    return layers.replaced("body", dataclasses.replace(body, vertex_colors=(0.5 + body.vertices * 0.4).clamp(0, 1)))


@pytest.fixture(scope="module")
def views(truth):
    return layer_toys.views_of(truth, 128)


def test_seen_vertices_take_the_pictures_colors_and_layers_do_not_mix(truth, views):
    found = project_colors(bare(truth), views, PLAIN)
    body, clothing, hair = (found.layers[n].vertex_colors for n in truth)
    error = (body - truth["body"].vertex_colors).abs().amax(-1)
    assert float(error.mean()) < 0.02 and float(error.quantile(0.95)) < 0.06, (
        "the body below the clothes comes from level 2"
    )
    blue, brown = torch.tensor(layer_toys.COLORS["clothing"]), torch.tensor(layer_toys.COLORS["hair"])
    assert float((clothing - blue).abs().max()) < 0.06, "neither skin, nor hair, nor the white background"
    assert float((hair - brown).abs().max()) < 0.06
    assert found.seen["body"] > 0.8 and 0.2 < found.seen["clothing"] < 0.9 and not found.notes


def test_hidden_insides_take_the_color_of_what_they_hang_on(truth, views):
    inside = truth["hair"].vertices[:, 1] < 0.5
    found = project_colors(bare(truth), views, PLAIN)
    assert (
        float((found.layers["hair"].vertex_colors[inside] - torch.tensor(layer_toys.COLORS["hair"])).abs().max()) < 0.06
    )


def test_subdivision_multiplies_faces_up_to_the_limit(truth, views):
    body = bare(truth).select(("body",))
    fine = project_colors(body, views, ColorConfig(subdivide=1)).layers["body"]
    assert len(fine.faces) == 4 * len(body["body"].faces)
    same = project_colors(body, views, ColorConfig(subdivide=1, most_vertices=100)).layers["body"]
    assert len(same.faces) == len(body["body"].faces)


def test_completion_against_a_path_by_hand():
    """A strip colored at its left end: color walks right ring by ring; a part of its own takes the nearest color."""
    strip = trimesh.creation.box((1, 1, 1)).subdivide()
    mesh = Mesh(torch.tensor(strip.vertices, dtype=torch.float32), torch.tensor(strip.faces, dtype=torch.int64))
    far = Mesh(torch.cat([mesh.vertices, mesh.vertices + 5]), torch.cat([mesh.faces, mesh.faces + len(mesh.vertices)]))
    known = torch.zeros(len(far.vertices), dtype=torch.bool)
    known[: len(mesh.vertices)] = mesh.vertices[:, 0] < -0.4
    colors = torch.rand(len(far.vertices), 3, generator=torch.Generator().manual_seed(0))
    colors[known] = torch.tensor([0.2, 0.4, 0.6])
    out = completed(colors, known, far.vertices, mesh_edges(far.faces, len(far.vertices)).ends)
    assert torch.allclose(out, torch.tensor([0.2, 0.4, 0.6]).expand_as(out), atol=1e-6)
    red, green = torch.tensor([1.0, 0, 0]), torch.tensor([0.0, 1, 0])
    ends = mesh.vertices[:, 0].abs() > 0.4
    colors = torch.where(mesh.vertices[:, :1] < 0, red, green)
    out = completed(colors, ends, mesh.vertices, mesh_edges(mesh.faces, len(mesh.vertices)).ends)
    middle = out[~ends]
    assert torch.equal(out[ends], colors[ends]) and torch.allclose(middle.sum(1), torch.ones(len(middle)))
    assert float((middle[:, 0] - 0.5).abs().max()) < 0.3, "halfway between both ends"


def test_a_layer_that_no_view_shows_keeps_its_colors(truth, views):
    away = truth.replaced("hair", dataclasses.replace(truth["hair"], vertices=truth["hair"].vertices * 0.05 - 0.2))
    found = project_colors(away, views, PLAIN)
    assert any("hair: no view shows it" in n for n in found.notes) and found.seen["hair"] == 0
    assert torch.equal(found.layers["hair"].vertex_colors, truth["hair"].vertex_colors)
    gray = project_colors(bare(away), views, PLAIN).layers["hair"].vertex_colors
    assert torch.equal(gray, torch.full_like(gray, 0.7))


def test_progress_stop_and_missing_levels(truth, views):
    heard = []

    def stop(step):
        heard.append(step)
        raise StopStage

    found = project_colors(bare(truth), views, PLAIN, on_step=stop)
    assert len(heard) == 1 and heard[0].total == 3 and found.layers["hair"].vertex_colors is None
    level = CharacterViews(views.color[:1], views.normal[:1], views.alpha[:1], ("complete",))
    with pytest.raises(InputError, match="peel level that shows the body"):
        project_colors(truth, level, PLAIN)
    with pytest.raises(InputError, match="at least one layer"):
        project_colors(LayeredMesh({}), views, PLAIN)


def test_baked_textures_carry_the_vertex_colors(truth):
    hair = LayeredMesh({"hair": truth["hair"]})
    baked = bake_layers(hair, size=64, face_budget=400, supersample=1)["hair"]
    assert baked.texture.shape == (64, 64, 3) and baked.uvs is not None
    assert float((baked.texture - torch.tensor(layer_toys.COLORS["hair"])).abs().max()) < 0.02
    body = truth["body"]
    points = body.vertices[body.faces].mean(1)
    assert torch.allclose(surface_colors(body)(points), body.vertex_colors[body.faces].mean(1), atol=1e-4)
    assert float(surface_colors(bare(truth)["body"])(points).mean()) == pytest.approx(0.7)
