"""Thin parts must be in the initial surface: an analytic ball with a wire thinner than a tetrahedron."""


import pytest
import torch
from lift123.pipelines.core.cameras import HOME
from lift123.pipelines.core.views import Views
from lift123.pipelines.fields.tet_sdf import TetSdf
from lift123.pipelines.ops.occupancy import OccupancyGrid
from lift123.pipelines.render.surface import render_surface
from lift123.pipelines.render.volume import VolumeSettings, render_volume
from lift123.pipelines.stages.objects.cover import cover, nearest_known, seen_points

FINE = VolumeSettings(step=0.005, max_samples=1024)
CAMERA = HOME.orbit(0.0, 0.0, 64)
WIRE = 0.012  # half thickness; a tetrahedron of the grid below is about 0.05


class Microphone:
    """A ball with a horizontal wire towards +x at height y = 0.031 and depth z = 0.11, dense as ``wire`` says."""

    def __init__(self, wire: float):
        self.wire = wire

    def density(self, x):
        ball = x.norm(dim=-1) < 0.25
        wire = (x[:, 0] > 0) & (x[:, 0] < 0.45) & ((x[:, 1] - 0.031).abs() < WIRE) & ((x[:, 2] - 0.11).abs() < WIRE)
        return torch.where(ball, 200.0, torch.where(wire, self.wire, 0.0))

    def albedo(self, x):
        return torch.full_like(x, 0.5)


def target() -> Views:
    alpha = render_volume(Microphone(400.0), CAMERA, OccupancyGrid(8), FINE).alpha
    return Views(CAMERA, torch.full((1, 64, 64, 3), 0.5), (alpha > 0.5).float())


def missing(surface: TetSdf, views: Views) -> int:
    shown = render_surface(surface.extract().detach(), CAMERA, surface.albedo, grad=False).alpha
    return int(((views.alpha > 0.5) & (shown < 0.5)).sum())


@pytest.mark.parametrize("wire", [400.0, 0.0], ids=["the field has the wire", "the field lost the wire"])
def test_wire_thinner_than_a_tetrahedron_is_in_the_initial_surface(wire):
    views, field = target(), Microphone(wire)
    points = seen_points(field, OccupancyGrid(8), FINE, views)
    surface = TetSdf.from_density(field.density, 20, 10.0, field, points=points)
    assert surface.scale[0] > 0.45, "the wire's tip lies in the grid's box"
    before = missing(surface, views)
    wire_pixels = int((views.alpha[0, :, 50:] > 0.5).sum())
    assert wire_pixels >= 8 and before > 10
    assert cover(surface, points, views) == before
    assert missing(surface, views) <= before / 2
    tip = surface.extract().vertices
    tip = tip[tip[:, 0] > 0.33]
    assert len(tip) and (tip[:, 2] - 0.11).abs().max() < (0.1 if wire else 0.2)


def test_a_covered_picture_changes_nothing():
    field = Microphone(0.0)
    surface = TetSdf.from_density(field.density, 20, 10.0, field)
    before = surface.sdf.clone()
    views = target()
    inside = Views(CAMERA, views.rgb, views.alpha * (render_volume(field, CAMERA, OccupancyGrid(8), FINE).alpha > 0.9))
    shrunk = -torch.nn.functional.max_pool2d(-inside.alpha[:, None], 7, 1, 3)[:, 0]
    views = Views(CAMERA, views.rgb, shrunk)
    assert cover(surface, seen_points(field, OccupancyGrid(8), FINE, views), views) == 0
    assert torch.equal(surface.sdf, before)


def test_an_empty_field_covers_nothing():
    full = Microphone(0.0)
    surface = TetSdf.from_density(full.density, 20, 10.0, full)
    empty = Microphone(0.0)
    empty.density = lambda x: torch.zeros(len(x))
    points = seen_points(empty, OccupancyGrid(8), FINE, target())
    assert points.shape == (0, 3) and cover(surface, points, target()) == 0


def test_nearest_known_against_brute_force():
    generator = torch.Generator().manual_seed(0)
    values = torch.rand(13, 17, generator=generator)
    known, wanted = torch.rand(2, 13, 17, generator=generator) > 0.8
    got = nearest_known(values, known, wanted)
    sources = [(i, j) for i in range(13) for j in range(17) if known[i, j]]
    for value, (i, j) in zip(got, wanted.nonzero().tolist(), strict=True):
        distance = min((i - a) ** 2 + (j - b) ** 2 for a, b in sources)
        assert float(value) in [float(values[a, b]) for a, b in sources if (i - a) ** 2 + (j - b) ** 2 == distance]
