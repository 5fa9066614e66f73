"""Several materials in one texture: every face shows what its own material shows there."""

import numpy as np
import pytest
import torch
from helpers.gltf_tiny import SIDE_COLORS, Tiny, box, encoded, shown_colors, six_colors, textured_box
from lift123.pipelines.core.errors import InputError
from lift123.pipelines.io import atlas, limits
from lift123.pipelines.io.assemble import assemble
from lift123.pipelines.io.color import linear_to_srgb, srgb_to_linear
from lift123.pipelines.io.glb_reader import read_glb
from lift123.pipelines.io.mesh_notes import Notes
from lift123.pipelines.io.surface_parts import Look, Soup

FACE_COLORS = np.repeat(SIDE_COLORS, 2, 0)


def read(tiny):
    notes = Notes()
    return read_glb(tiny.packed(), notes=notes), "\n".join(notes.lines)


def halves(first: dict, second: dict, colors=(None, None), uvs=(None, None)):
    """The box, sides 0..2 with one material and 3..5 with another; a dict holds ``texture`` (pixels) and ``factor``."""
    tiny = Tiny()
    points, own, faces = box()
    for k, look in enumerate((first, second)):
        texture = tiny.picture(encoded(look["texture"])) if "texture" in look else None
        more = {} if colors[k] is None else {"COLOR_0": tiny.accessor(colors[k])}
        if uvs[k] is not False:
            more["TEXCOORD_0"] = tiny.accessor(own if uvs[k] is None else uvs[k])
        if texture is not None and "sampler" in look:
            tiny.gltf.setdefault("samplers", []).append(look["sampler"])
            tiny.gltf["textures"][-1]["sampler"] = len(tiny.gltf["samplers"]) - 1
        material = tiny.material(texture, look.get("factor"))
        tiny.primitive(faces[6 * k : 6 * k + 6], material, POSITION=tiny.accessor(points), **more)
    return tiny


def srgb(color):
    return linear_to_srgb(torch.tensor(color, dtype=torch.float32)).numpy() * 255


def test_two_pictures():
    mesh, report = read(halves({"texture": six_colors()}, {"texture": six_colors(64, 96)[::1, ::1]}))
    assert np.abs(shown_colors(mesh) - FACE_COLORS).max() == 0 and mesh.vertex_colors is None
    assert "2 textures and 2 materials" in report


def test_a_picture_and_plain_colors():
    mesh, _ = read(halves({"texture": six_colors()}, {"factor": [0.2, 0.4, 0.6]}))
    assert np.abs(shown_colors(mesh)[:6] - FACE_COLORS[:6]).max() == 0
    assert np.allclose(shown_colors(mesh)[6:], srgb([0.2, 0.4, 0.6]), atol=0.01)


def test_a_picture_under_two_factors():
    """One picture, tinted in one half: the factor multiplies in linear light."""
    mesh, _ = read(halves({"texture": six_colors()}, {"texture": six_colors(), "factor": [0.5, 0.5, 0.5]}))
    tinted = linear_to_srgb(srgb_to_linear(torch.from_numpy(FACE_COLORS[6:] / 255.0)) * 0.5).numpy() * 255
    assert np.abs(shown_colors(mesh)[:6] - FACE_COLORS[:6]).max() == 0
    assert np.abs(shown_colors(mesh)[6:] - tinted).max() < 0.01


def test_a_picture_where_a_half_has_no_coordinates():
    mesh, report = read(halves({"texture": six_colors()}, {"texture": six_colors()}, uvs=(None, False)))
    mean = linear_to_srgb(srgb_to_linear(torch.from_numpy(six_colors() / 255.0)).mean((0, 1))).numpy() * 255
    assert np.abs(shown_colors(mesh)[:6] - FACE_COLORS[:6]).max() == 0
    assert np.abs(shown_colors(mesh)[6:] - mean).max() < 0.01 and "6 faces have a texture but no texture coordinates" in report


def test_vertex_colors_times_a_picture():
    """Each corner darkened in its own way: the middle of a face shows the picture times the mean of its corners."""
    darker = np.linspace(0.2, 1.0, 24)[:, None].repeat(3, 1)
    mesh, report = read(halves({"texture": six_colors()}, {"texture": six_colors()}, colors=(darker, darker)))
    means = darker[box()[2]].mean(1)
    wanted = linear_to_srgb(srgb_to_linear(torch.from_numpy(FACE_COLORS / 255.0)) * torch.from_numpy(means)).numpy() * 255
    assert np.abs(shown_colors(mesh) - wanted).max() < 9  # a texel beside the middle
    assert "vertex colors times texture" in report


def test_vertex_colors_beside_a_picture():
    colors = np.random.default_rng(0).uniform(0, 1, (24, 3)).astype(np.float32)
    mesh, _ = read(halves({"texture": six_colors()}, {}, colors=(None, colors)))
    assert np.abs(shown_colors(mesh)[:6] - FACE_COLORS[:6]).max() == 0
    wanted = srgb(colors[box()[2][6:]].mean(1))
    cells = mesh.uvs[mesh.face_uvs[6:]].double().numpy() * mesh.texture.shape[1::-1] - 0.5
    corners = mesh.texture.numpy()[cells[..., 1].round().astype(int), cells[..., 0].round().astype(int)]
    assert np.allclose(corners, linear_to_srgb(torch.from_numpy(colors[box()[2][6:]])).numpy(), atol=1e-4)
    assert np.abs(shown_colors(mesh)[6:] - wanted).max() < 60


@pytest.mark.parametrize("count", [1, 2, 3, 5, 7, 10, 11])
def test_any_number_of_cells(count):
    """Found by mutation: a grid of cells whose last row is not full."""
    tiny = Tiny()
    points, uvs, faces = box()
    colors = np.linspace(0, 1, 72).reshape(24, 3)
    tiny.primitive(faces[:count], tiny.material(tiny.picture(encoded(np.full((8, 8, 3), 255, np.uint8)))),
                   POSITION=tiny.accessor(points), TEXCOORD_0=tiny.accessor(uvs), COLOR_0=tiny.accessor(colors))
    mesh, _ = read(tiny)
    cells = mesh.uvs[mesh.face_uvs].double().numpy() * mesh.texture.shape[1::-1] - 0.5
    corners = mesh.texture.numpy()[cells[..., 1].round().astype(int), cells[..., 0].round().astype(int)]
    assert np.allclose(corners, linear_to_srgb(torch.from_numpy(colors[faces[:count]])).numpy(), atol=1e-3)


def test_even_vertex_colors_are_a_factor():
    tiny = textured_box()
    tiny.gltf["meshes"][0]["primitives"][0]["attributes"]["COLOR_0"] = tiny.accessor(np.full((24, 4), 0.25))
    mesh, report = read(tiny)
    wanted = linear_to_srgb(srgb_to_linear(torch.from_numpy(FACE_COLORS / 255.0)) * 0.25).numpy() * 255
    assert mesh.texture.shape == (32, 48, 3) and np.abs(shown_colors(mesh) - wanted).max() < 0.01 and report == ""


# Coordinates outside of the picture

def as_shown(uvs, wrap):
    """Where in the picture coordinates point, by the rule of their wrap mode."""
    if wrap == 33071:
        return uvs.clip(0.001, 0.999)
    if wrap == 33648:
        return 1 - np.abs(uvs % 2 - 1)
    return uvs % 1


@pytest.mark.parametrize("wrap", [10497, 33648, 33071], ids=["repeat", "mirror", "clamp"])
@pytest.mark.parametrize("moved", [(1.0, 0.0), (0.0, -3.0), (2.5, 0.5), (-0.25, 0.125), (40.0, 7.0)])
def test_coordinates_outside(wrap, moved):
    uvs = box()[1] + np.float32(moved)
    tiny = halves({"texture": six_colors(), "sampler": {"wrapS": wrap, "wrapT": wrap}}, {"factor": [1, 1, 1]}, uvs=(uvs, None))
    mesh, _ = read(tiny)
    middles = as_shown(uvs[box()[2][:6]].mean(1), wrap) * (48, 32)
    wanted = six_colors()[middles[:, 1].astype(int).clip(0, 31), middles[:, 0].astype(int).clip(0, 47)]
    assert np.abs(shown_colors(mesh)[:6] - wanted).max() <= 1
    assert bool((mesh.uvs >= 0).all()) and bool((mesh.uvs <= 1).all())


@pytest.mark.parametrize("times", [1.5, 3.0, 4.0, 20.0, 1000.0])
def test_one_picture_that_repeats(times):
    """A single tiled material is laid out, too: nothing behind the reader repeats textures."""
    points, uvs, faces = box()
    spread = (uvs - 0.5) * np.float32(times)
    tiny = Tiny()
    texture = tiny.picture(encoded(six_colors()))
    tiny.primitive(faces, tiny.material(texture), POSITION=tiny.accessor(points), TEXCOORD_0=tiny.accessor(spread))
    mesh, _ = read(tiny)
    assert bool((mesh.uvs >= 0).all()) and bool((mesh.uvs <= 1).all())
    assert mesh.texture.shape[0] * mesh.texture.shape[1] < 1 << 18
    if times <= 4:
        middles = (spread[faces].mean(1) % 1) * (48, 32)
        wanted = six_colors()[middles[:, 1].astype(int), middles[:, 0].astype(int)]
        assert np.abs(shown_colors(mesh) - wanted).max() <= 1


def test_coordinates_inside_stay_as_they_are():
    """The picture of a single material is not touched: the same texels, the same coordinates."""
    mesh, report = read(textured_box())
    assert torch.equal(mesh.texture, torch.from_numpy(six_colors()).float() / 255) and report == ""
    assert torch.equal(mesh.uvs, torch.from_numpy(box()[1]))


def test_large_pictures_shrink_to_fit(monkeypatch):
    monkeypatch.setattr(atlas, "PIXELS", 3000)
    mesh, report = read(halves({"texture": six_colors(64, 96)}, {"texture": six_colors(48, 48)}))
    assert mesh.texture.shape[0] * mesh.texture.shape[1] <= 3600 and "were shrunk to" in report
    assert np.abs(shown_colors(mesh) - FACE_COLORS).max() <= 1


def test_repetitions_do_not_make_much_more_of_a_picture(monkeypatch):
    monkeypatch.setattr(atlas, "REPEATED_PIXELS", 5000)
    spread = (box()[1] - 0.5) * 7
    mesh, report = read(halves({"texture": six_colors(64, 96)}, {"factor": [1, 1, 1]}, uvs=(spread, None)))
    assert mesh.texture.shape[0] * mesh.texture.shape[1] < 9000 and "were shrunk to" in report


def test_materials_in_one_texture_are_limited(monkeypatch):
    monkeypatch.setattr(atlas, "MATERIALS", 1)
    with pytest.raises(InputError, match="at most 1 materials"):
        read(halves({"texture": six_colors()}, {"factor": [1, 0, 0]}))


def test_pixels_of_all_pictures_are_limited(monkeypatch):
    from lift123.pipelines.io import gltf_materials

    monkeypatch.setattr(gltf_materials, "ALL_PIXELS", 2000)
    with pytest.raises(InputError, match="at most 2,000 pixels in all pictures"):
        read(halves({"texture": six_colors()}, {"texture": six_colors()}))
    assert limits.ALL_PIXELS == 2 * 8192**2


def test_rectangles_do_not_overlap():
    rng = np.random.default_rng(1)
    sizes = [tuple(int(x) for x in rng.integers(1, 90, 2)) for _ in range(60)]
    spots, (height, width) = atlas._shelves(sizes)
    taken = np.zeros((height, width), int)
    for (y, x), (h, w) in zip(spots, sizes, strict=True):
        taken[y : y + h, x : x + w] += 1
    assert taken.max() == 1 and taken.sum() == sum(h * w for h, w in sizes)


def test_a_vertex_between_two_colors_is_doubled():
    vertices = torch.tensor([[0.0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]])
    faces, looks = torch.tensor([[0, 1, 2], [0, 2, 3]]), [Look((1.0, 0.0, 0.0)), Look((0.0, 0.0, 1.0))]
    mesh = assemble(Soup(vertices, faces, torch.tensor([0, 1]), looks), Notes())
    assert mesh.vertex_colors[mesh.faces].round(decimals=6).tolist() == [[[1, 0, 0]] * 3, [[0, 0, 1]] * 3]
    assert torch.equal(mesh.vertices[mesh.faces], vertices[faces])
