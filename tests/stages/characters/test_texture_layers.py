"""Textures of layers: detail that vertices cannot carry, no foreign color at borders, no seam at charts."""

import dataclasses

import pytest
import torch
from helpers import layer_toys
from lift123.pipelines.core.errors import InputError
from lift123.pipelines.core.layers import LayeredMesh
from lift123.pipelines.core.ortho import six_views
from lift123.pipelines.ops.closest import closest_point
from lift123.pipelines.ops.texture import sample_texture
from lift123.pipelines.render import normal_maps
from lift123.pipelines.stages.characters.export import character_picture
from lift123.pipelines.stages.characters.front_picture import front_picture, read_front
from lift123.pipelines.stages.characters.picture import CharacterPicture
from lift123.pipelines.stages.characters.project_colors import bake_layers, surface_colors
from lift123.pipelines.stages.characters.texture_layers import TextureConfig, texture_layers, untextured

SMALL = TextureConfig(size=128, faces=400, padding=4, supersample=1, sides=(192, 256))


def waves(points, rate=20.0):
    """A pattern finer than the coarse layers' vertices, around each layer's middle gray."""
    return torch.stack([0.5 + 0.3 * torch.sin(points[:, k] * rate) for k in (1, 0, 1)], -1)


@pytest.fixture(scope="module")
def coarse():
    """Layers as a reconstruction gives them: few vertices, mean colors."""
    layers = layer_toys.figure(cells=28)
    gray = torch.full_like(layers["body"].vertices, 0.5)
    return layers.replaced("body", dataclasses.replace(layers["body"], vertex_colors=gray))


@pytest.fixture(scope="module")
def fine():
    layers = layer_toys.figure(cells=48)
    return layers.replaced("body", dataclasses.replace(layers["body"], vertex_colors=waves(layers["body"].vertices)))


@pytest.fixture(scope="module")
def views(fine):
    return layer_toys.views_of(fine, 112)


@pytest.fixture(scope="module")
def textured(coarse, views):
    return texture_layers(coarse, views, None, SMALL)


def drawn(layers, rows=256, half=1.2, shift=0.0):
    """The front as a picture with coverage."""
    mesh, camera = layers.merged(), six_views(rows, window=half)[0]
    moved = mesh.transformed(1.0, torch.tensor([shift, 0.0, 0.0]))
    rgba = normal_maps.render_attributes(moved.vertices, mesh.faces, mesh.vertex_colors, camera)[0]
    return CharacterPicture(rgba[..., :3] / rgba[..., 3:].clamp(min=1e-3), rgba[..., 3].clamp(0, 1))


def centers(mesh):
    """(colors of the texture, points) at the middles of all faces."""
    return sample_texture(mesh.texture, mesh.uvs[mesh.face_uvs].mean(1)), mesh.vertices[mesh.faces].mean(1)


def test_textures_show_what_vertices_cannot(textured):
    body = textured.layers["body"]
    colors, points = centers(body)
    seen = points[:, 2].abs() > 0.15  # front and back, which the body's views look at
    wrong = (colors - waves(points)).abs().mean(1)[seen]
    at_vertices = (body.vertex_colors[body.faces].mean(1) - waves(points)).abs().mean(1)[seen]
    assert float(wrong.mean()) < 0.06 and float(wrong.mean()) < 0.5 * float(at_vertices.mean())
    assert textured.seen["body"] > 0.6 and len(body.uvs) < 2 * len(body.vertices)


def test_no_neighbor_s_color_and_no_background_at_borders(textured):
    for name in ("clothing", "hair"):
        colors, _ = centers(textured.layers[name])
        assert float((colors - torch.tensor(layer_toys.COLORS[name])).abs().max()) < 0.06, name
        assert float((textured.layers[name].texture - torch.tensor(layer_toys.COLORS[name])).abs().max()) < 0.06, name


def test_both_sides_of_a_chart_s_seam_have_one_color(textured):
    body = textured.layers["body"]
    ends = torch.cat([torch.cat([body.faces[:, [a, b]], body.face_uvs[:, [a, b]]], 1) for a, b in ((0, 1), (1, 2), (2, 0))])
    flip = ends[:, 0] > ends[:, 1]
    ends[flip] = ends[flip][:, [1, 0, 3, 2]]
    ends = ends[(ends[:, 0] * len(body.vertices) + ends[:, 1]).argsort(stable=True)].reshape(-1, 2, 4)
    assert torch.equal(ends[:, 0, :2], ends[:, 1, :2]), "closed: every edge has two faces"
    cut = ends[(ends[:, 0, 2:] != ends[:, 1, 2:]).any(1)]
    assert len(cut) > 20
    sides = [sample_texture(body.texture, body.uvs[cut[:, k, 2:]].mean(1)) for k in (0, 1)]
    assert float((sides[0] - sides[1]).abs().mean()) < 0.04


def test_the_picture_is_laid_over_the_front_at_its_full_size(coarse, fine):
    body = LayeredMesh({"body": fine["body"]})
    front, said = front_picture(drawn(body, 384, 1.5, 0.2), LayeredMesh({"body": coarse["body"]}))
    assert front is not None and "384 rows" in said
    assert abs(float(front.camera.half_height) - 1.5) < 0.02 and abs(float(front.camera.c2w[0, 0, 3]) + 0.2) < 0.02
    made = texture_layers(LayeredMesh({"body": coarse["body"]}), None, front, SMALL).layers["body"]
    colors, points = centers(made)
    found = (colors - waves(points)).abs().mean(1)
    ahead = closest_point(points, coarse["body"].vertices, coarse["body"].faces)
    facing = torch.nn.functional.normalize(coarse["body"].face_normals(), dim=-1)[ahead.face][:, 2]
    assert float(found[facing > 0.8].mean()) < 0.08
    assert float((colors[facing < -0.2] - 0.5).abs().max()) < 1e-3, "nothing reaches the back"


def test_a_picture_of_something_else_is_left_out_in_a_sentence(coarse, fine):
    turned = drawn(fine.map(lambda m: dataclasses.replace(m, vertices=m.vertices[:, [1, 0, 2]], faces=m.faces.flip(1))))
    front, said = front_picture(turned, coarse)
    assert front is None and said.startswith("LOOK") and "A-pose" in said
    assert read_front(torch.ones(1, 64, 64, 3), coarse)[0] is None
    other = drawn(fine.map(lambda m: dataclasses.replace(m, vertex_colors=torch.tensor([0.0, 1.0, 0.0]).expand_as(m.vertices))))
    front, _ = front_picture(other, coarse)
    assert front is not None and float(front.share.mean()) < 0.1 * float(other.alpha.mean()), "colors that the layers do not have"


def test_vertex_colors_stay_and_a_texture_is_a_color_function(textured):
    plain = untextured(textured.layers)["body"]
    assert plain.texture is None and plain.uvs is None and plain.vertex_colors is not None
    body = textured.layers["body"]
    colors, points = centers(body)
    assert float((surface_colors(body)(points) - colors).abs().max()) < 1e-3


def test_what_cannot_be_textured_is_refused(coarse, views):
    with pytest.raises(InputError, match="at least one layer"):
        texture_layers(LayeredMesh({}), views)
    with pytest.raises(InputError, match="peel level"):
        texture_layers(coarse, views.level(0), None, SMALL)
    with pytest.raises(InputError, match="at least 100"):
        TextureConfig(faces=3)


def test_textured_layers_are_shown_with_their_textures_and_exported_with_them(textured, coarse):
    joined = textured.layers.joined()
    assert joined.texture.shape == (SMALL.size, 3 * SMALL.size, 3) and len(joined.faces) == len(textured.layers.merged().faces)
    at = 0
    for mesh in textured.layers.layers.values():
        ours = sample_texture(joined.texture, joined.uvs[joined.face_uvs[at : at + len(mesh.faces)]].mean(1))
        assert torch.allclose(ours, sample_texture(mesh.texture, mesh.uvs[mesh.face_uvs].mean(1)), atol=1e-4)
        at += len(mesh.faces)
    plain = character_picture(untextured(textured.layers), 128)
    assert float((character_picture(textured.layers, 128) - plain).abs().max()) > 0.1, "finer than vertices"
    mixed = textured.layers.replaced("hair", coarse["hair"])
    assert mixed.joined().texture is None and coarse.joined().texture is None
    baked = bake_layers(mixed, size=32, face_budget=100, supersample=1)
    assert baked["body"] is mixed["body"] and baked["hair"].texture.shape == (32, 32, 3)
