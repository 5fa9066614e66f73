"""Pictures to layers: surfaces of an S-LRM whose field is known in closed form, and what bad views are told."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from helpers.slrm_tiny import TINY, filled
from lift123.pipelines.core.character_views import CharacterViews
from lift123.pipelines.core.errors import InputError, StopStage
from lift123.pipelines.networks.stdgen.slrm import Slrm
from lift123.pipelines.networks.stdgen.slrm_config import EncoderConfig, SlrmConfig
from lift123.pipelines.networks.stdgen.slrm_decoder import sample_planes
from lift123.pipelines.networks.stdgen.slrm_surface import cube_weights, displaced, grid_values, layer_surface
from lift123.pipelines.ops.flexicubes import CubeGrid, CubeWeights, closed_border, find_patches, place_patches
from lift123.pipelines.ops.mesh_edges import connected_parts, mesh_edges
from lift123.pipelines.ops.semantic_field import CODES, extraction_sdf
from lift123.pipelines.stages.characters.lift_layers import LiftConfig, drop_islands, lift_field, lift_layers

CONFIG = SlrmConfig(
    encoder=EncoderConfig(image_size=16, patch=8, base_grid=2, width=8, layers=1, heads=1, hidden=8),
    width=8, layers=1, heads=1, plane_tokens=32, plane_channels=2, decoder_width=8,
    grid=CubeGrid((48, 48, 60), (-0.72, -0.72, -0.9), (0.72, 0.72, 0.9)),
)
WIDTH = 0.03
SKIN, CLOTH, CURL = 0.5, 0.58, 0.62


class Function(torch.nn.Module):
    """A function of coordinates as the rest of a decoder."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, points):
        return self.function(points)


def parts_of(p, bald=False):
    """Distances to the whole, to body, clothing and hair of a ball with a nose (+x), a skirt (z < 0) and a cap (z > 0.2)."""
    r, z = p.norm(dim=-1), p[..., 2]
    nose = (p - p.new_tensor([SKIN, 0, 0.1])).norm(dim=-1) - 0.1
    body = torch.minimum(r - SKIN, nose)
    cloth, hair = torch.maximum(r - CLOTH, z), torch.maximum(r - CURL, 0.2 - z)
    if bald:
        hair = torch.full_like(hair, 9.0)
    whole = torch.stack([body, cloth, hair]).amin(0)
    return whole, body, torch.maximum(cloth, -body), torch.maximum(hair, -body)


class Drawn(Slrm):
    """An S-LRM whose triplane holds coordinates and whose decoders compute a known figure from them."""

    def __init__(self, bald=False, crumb=False, nothing=False):
        super().__init__(CONFIG)
        self.eval().requires_grad_(False)

        def sdf(p):
            value = parts_of(p, bald)[0]
            if crumb:
                value = torch.minimum(value, (p - p.new_tensor([0.0, 0.0, 0.8])).norm(dim=-1) - 0.05)
            return torch.ones_like(value)[..., None] if nothing else value[..., None] / WIDTH

        def logits(p):
            _, body, cloth, hair = parts_of(p, bald)
            return -torch.stack([hair, torch.full_like(body, 9.0), body, cloth], -1) / WIDTH

        def rgb(p):
            return torch.where(p[..., 1:2] > 0, 4.0, -4.0).expand(*p.shape[:-1], 3)

        for name, function in (("net_sdf", sdf), ("semantic_net", logits), ("net_rgb", rgb)):
            pick = torch.nn.Sequential(*self.decoder.net_sdf[:1])[0].__class__(6, 3)
            with torch.no_grad():
                pick.weight.zero_(), pick.bias.zero_()
                for row, column in enumerate((0, 1, 3)):
                    pick.weight[row, column] = 1
            setattr(self.decoder, name, torch.nn.Sequential(pick, Function(function)))

    def triplane(self, color):
        size = 2 * CONFIG.plane_tokens
        ramp = (torch.arange(size) + 0.5) / size * 2 - 1
        planes = torch.zeros(1, 3, 2, size, size)
        planes[0, 0, 0], planes[0, 0, 1] = ramp[None, :], ramp[:, None]  # x along the width, y along the height
        planes[0, 1, 1] = ramp[:, None]  # z along the height
        return planes


def ellipses(size=32) -> CharacterViews:
    """Views with plausible outlines: broad from the front and the back, narrow from the sides, the hair to one side."""
    y, x = torch.meshgrid(*[(torch.arange(size) + 0.5) / size * 2 - 1] * 2, indexing="ij")
    alpha = []
    for degrees in (0, 45, 90, 180, 270, 315):
        wide = 0.2 + 0.4 * abs(math.cos(math.radians(degrees)))
        bun = 0.3 * math.cos(math.radians(degrees))
        ball = (x / wide).square() + (y / 0.8).square() < 1
        alpha.append(ball | ((x - bun).square() + (y + 0.6).square() < 0.2**2))
    alpha = torch.stack(alpha).float()[None]
    color = 1 - 0.5 * alpha[..., None].expand(-1, -1, -1, -1, 3)
    return CharacterViews(color, torch.zeros_like(color), alpha, ("complete",))


def is_closed(mesh) -> bool:
    return bool(mesh_edges(mesh.faces, len(mesh.vertices)).count.eq(2).all())


def test_a_known_figure_comes_out_in_layers():
    steps = []
    layers = lift_layers(ellipses(), Drawn(), LiftConfig(dilate=False), on_step=steps.append)
    assert layers.names == ("body", "clothing", "hair")
    assert [s.index for s in steps] == [1, 2, 3, 4, 5] and steps[0].total == 5 and "faces" in steps[-1].note
    cap = math.pi * ((2 * CURL**3 / 3 - CURL**2 * 0.2 + 0.2**3 / 3) - (2 * SKIN**3 / 3 - SKIN**2 * 0.2 + 0.2**3 / 3))
    volumes = {"clothing": 2 / 3 * math.pi * (CLOTH**3 - SKIN**3), "hair": cap}
    for name in layers:
        mesh = layers[name]
        assert is_closed(mesh) and float(mesh.signed_volume()) > 0
        if name in volumes:
            assert float(mesh.signed_volume()) == pytest.approx(volumes[name], rel=0.06)  # three cells thick
    body, clothing, hair = (layers[n].vertices for n in layers)
    assert body[:, 2].max() == pytest.approx(0.6, abs=0.01) and body[:, 0].max() == pytest.approx(
        SKIN, abs=0.01
    )  # nose at +z
    assert clothing[:, 1].max() < 0.02 and hair[:, 1].min() > 0.18  # up is y
    bright = layers["body"].vertex_colors.mean(-1) > 0.5
    clear = body[:, 0].abs() > 0.05
    assert torch.equal(bright[clear], body[clear, 0] > 0)  # S-LRM's +y is the scene's +x


def test_all_five_codes_and_dilation():
    field = lift_field(ellipses().color[0], Drawn())
    meshes = {name: field.surface(name, LiftConfig(dilate=False)) for name in CODES}
    volume = {name: float(mesh.signed_volume()) for name, mesh in meshes.items()}
    assert volume["full"] > volume["no hair"] > volume["body"] > volume["hair"] > 0
    assert field.surface(0).vertices.shape == meshes["full"].vertices.shape
    thick = field.surface("hair")
    assert is_closed(thick) and float(thick.signed_volume()) > volume["hair"]


def test_empty_layers_are_absent_and_crumbs_are_dropped():
    notes = []
    layers = lift_layers(ellipses(), Drawn(bald=True, crumb=True), on_step=lambda s: notes.append(s.note))
    assert "hair" not in layers and "hair: nothing found, left out" in notes
    assert all(layers[n].vertices[:, 1].max() < 0.7 for n in layers)
    field = lift_field(ellipses().color[0], Drawn(crumb=True))
    whole, kept = field.surface("full", LiftConfig(islands=0)), field.surface("full")
    assert whole.vertices[:, 1].max() > 0.8 > 0.7 > kept.vertices[:, 1].max()
    parts = [
        int(connected_parts(mesh_edges(m.faces, len(m.vertices)).ends, len(m.vertices)).max()) for m in (whole, kept)
    ]
    assert parts == [1, 0]
    with pytest.raises(InputError, match="nothing solid"):
        lift_layers(ellipses(), Drawn(nothing=True))


def test_drop_islands_counts_vertices():
    vertices = torch.arange(30.0).reshape(10, 3)
    faces = torch.tensor([[0, 1, 2], [3, 4, 5], [4, 5, 6]])
    kept, left = drop_islands(vertices, faces, 4)
    assert torch.equal(kept, vertices[3:7]) and left.tolist() == [[0, 1, 2], [1, 2, 3]]
    assert len(drop_islands(vertices, faces, 3)[1]) == 3 and len(drop_islands(vertices, faces, 5)[1]) == 0


def test_stopping_returns_what_is_finished():
    def stop(step):
        if step.index == 3:
            raise StopStage

    assert lift_layers(ellipses(), Drawn(), on_step=stop).names == ("body",)


def test_views_that_are_unsure_are_lifted_with_a_remark():
    good, notes = ellipses(), []
    alpha = good.alpha.clone()
    alpha[:, 3, :, 16:] = 0  # half of the back is missing, and no other view mirrors the front
    found = lift_layers(replace(good, alpha=alpha), Drawn(), on_step=lambda s: notes.append(s.note))
    assert len(found) and "front and back" in notes[0]


def test_views_that_cannot_be_right_are_refused():
    good, network = ellipses(), Drawn()
    lift_layers(good, network)

    def refused(words, **changes):
        with pytest.raises(InputError, match=words):
            lift_layers(replace(good, **changes), network)

    swapped = [0, 1, 3, 2, 4, 5]  # right and back exchanged
    refused("in this order|order front", color=good.color[:, swapped], alpha=good.alpha[:, swapped])
    back_unmirrored = good.alpha.clone()
    back_unmirrored[:, 3] = 0
    refused("nothing in picture 3", alpha=back_unmirrored)
    small = torch.zeros_like(good.alpha)
    small[..., 12:20, 12:20] = 1
    refused("one height", alpha=torch.cat([good.alpha[:, :5], small[:, 5:]], 1))
    refused("level 0", levels=("body",))
    wide = CharacterViews(good.color[..., :20, :, :], good.normal[..., :20, :, :], good.alpha[..., :20, :], good.levels)
    with pytest.raises(InputError, match="square"):
        lift_layers(wide, network)
    with pytest.raises(InputError, match="six color"):
        lift_field(good.color[0, :5], filled(TINY))
    with pytest.raises(InputError, match="NeRF variant"):
        lift_layers(good, Slrm(replace(CONFIG, kind="nerf")))
    broken = filled(TINY)
    with torch.no_grad():
        broken.decoder.net_sdf[6].bias.fill_(torch.nan)
    with pytest.raises(InputError, match="finite"):
        lift_layers(good, broken)


def test_surface_uses_weights_and_displacements_of_crossed_cubes_as_if_all_were_made():
    """The same mesh as evaluating the weight decoder and the displacements everywhere, the dense way."""
    network = filled(replace(TINY, lora_rank=0), seed=3, scale=0.5)
    planes = network.triplane(torch.rand(6, 24, 24, 3, generator=torch.Generator().manual_seed(1)))
    with torch.no_grad():
        values = grid_values(network, planes)
        shift = values.sdf.median()
        values = replace(values, sdf=values.sdf - shift)
        found = layer_surface(network, planes, values, CODES["no hair"])
        grid, decoder = TINY.grid, network.decoder
        sdf = extraction_sdf(values.sdf, values.probability, 1, grid.shape)
        features = sample_planes(planes, grid.points()[None])[0]
        cubes = torch.arange(7 * 8 * 9)
        every = CubeWeights.from_raw(decoder.cube_weights(features[grid.corners(cubes)].flatten(1)))
        points = grid.points() + torch.tanh(decoder.deformation(features)) / (9 * 4)
        sdf = closed_border(sdf, grid)
        patches = find_patches(sdf, grid)
        chosen = CubeWeights(*(w[patches.cubes] for w in (every.beta, every.alpha, every.gamma)))
        expected = place_patches(patches, sdf, points, chosen)
        assert len(found.faces) > 100 and torch.equal(found.faces, expected.faces)
        assert torch.allclose(found.vertices, expected.vertices, atol=1e-5)
        assert torch.allclose(cube_weights(network, planes, patches).gamma, chosen.gamma, atol=1e-5)
        moved = displaced(network, planes, patches) - grid.points()
        assert 0 < moved.abs().max() <= 1 / 36 + 1e-6  # up to rounding
        still = torch.ones(len(moved), dtype=torch.bool)
        still[patches.corners.reshape(-1)] = False
        assert still.any() and not moved[still].any()


def test_gradients_reach_the_network_through_a_surface():
    network = filled(replace(TINY, lora_rank=0), seed=3, scale=0.5).train()
    images = network.prepare(torch.rand(1, 6, 24, 24, 3, generator=torch.Generator().manual_seed(1)))
    planes = network(images)
    values = grid_values(network, planes)
    values = replace(values, sdf=values.sdf - values.sdf.detach().median())
    mesh = layer_surface(network, planes, values, CODES["body"], training=True)
    (mesh.vertices.square().sum() + mesh.deviation.mean()).backward()
    for name in ("net_sdf", "semantic_net", "net_weight", "net_deformation"):
        assert float(getattr(network.decoder, name)[0].weight.grad.abs().max()) > 0, name
    assert float(network.transformer.pos_embed.grad.abs().max()) > 0
