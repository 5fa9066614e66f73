"""Cutting out by color: the cut against an exact one, toys on backgrounds of several kinds, and what is refused."""

import re

import numpy as np
import pytest
import torch
from lift123.launcher.shipped import TITLES
from lift123.pipelines.core.cameras import HOME
from lift123.pipelines.core.errors import InputError
from lift123.pipelines.stages.inputs import cut
from lift123.pipelines.stages.inputs.color_model import fit_colors, to_lab
from lift123.pipelines.stages.inputs.cut_out import content_box, cut_out, own_colors
from lift123.pipelines.stages.inputs.reference import prepare_reference
from lift123.pipelines.toybox.objects import make_object
from lift123.pipelines.toybox.render import render_toy

SIDE = 128


def random(*size, seed=0):
    return torch.rand(*size, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def toy():
    """(straight colors [H, W, 3], coverage [H, W]) of a red cactus-like toy."""
    views = render_toy(make_object(7), HOME.orbit(0.3, 0.2, SIDE), supersample=1)
    return views.rgb[0], views.alpha[0]


def on(toy, background):
    rgb, alpha = toy
    return (rgb * alpha[..., None] + background * (1 - alpha[..., None])).clamp(0, 1)


def overlap(a, b):
    a, b = a > 0.5, b > 0.5
    return float((a & b).sum() / (a | b).sum())


def grain(scale=0.02, seed=1):
    return scale * (random(SIDE, SIDE, 3, seed=seed) - 0.5)


def gradient():
    ramp = torch.linspace(0, 1, SIDE)[:, None, None]
    return (torch.tensor([0.45, 0.55, 0.65]) * (1 - ramp) + torch.tensor([0.75, 0.8, 0.85]) * ramp).expand(SIDE, SIDE, 3)


def test_the_cut_costs_as_little_as_an_exact_one():
    """Maximum flow through the same graph (scipy) is the least that any cut can cost."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import maximum_flow

    unary, weights = 4 * (random(9, 11) - 0.5), cut.neighbor_weights(random(9, 11, 3, seed=3), 1.0)
    number = torch.arange(99).reshape(9, 11)
    pairs = [(99, i, -v) if v < 0 else (i, 100, v) for i, v in enumerate(unary.flatten().tolist())]
    for weight, step in zip(weights, cut.STEPS, strict=True):
        first, second = cut._ends(9, 11, step)
        ends = zip(number[first].flatten().tolist(), number[second].flatten().tolist(), weight.flatten().tolist(), strict=True)
        pairs += [edge for a, b, w in ends for edge in ((a, b, w), (b, a, w))]
    a, b, cost = map(np.array, zip(*pairs, strict=True))
    graph = coo_matrix(((cost * 1e5).round().astype(np.int32), (a, b)), shape=(101, 101)).tocsr()
    least = maximum_flow(graph, 99, 100).flow_value / 1e5 + float(unary.clamp(max=0).sum())
    u = (cut.minimal_cut(unary, weights, torch.zeros(9, 11), 600) > 0.5).float()
    borders = sum(float((w * cut._difference(u, s).abs()).sum()) for w, s in zip(weights, cut.STEPS, strict=True))
    assert 0 < float(u.mean()) < 1 and float((u * unary).sum()) + borders == pytest.approx(least, abs=2e-3)


def test_lab_of_known_colors():
    """Published values of sRGB's red and of middle gray."""
    lab = to_lab(torch.tensor([[1.0, 0.0, 0.0], [0.5, 0.5, 0.5], [1.0, 1.0, 1.0]]))
    assert torch.allclose(lab, torch.tensor([[53.24, 80.09, 67.20], [53.39, 0.0, 0.0], [100.0, 0.0, 0.0]]), atol=0.05)


def test_a_color_model_finds_the_parts_that_were_mixed():
    centers = torch.tensor([[20.0, 0.0, 0.0], [70.0, 40.0, 10.0], [60.0, -30.0, 30.0]])
    colors = torch.cat([c + 4 * (random(400, 3, seed=i) - 0.5) for i, c in enumerate(centers)])
    model = fit_colors(colors, torch.ones(1200), 3)
    nearest = torch.cdist(centers, model.mean)
    assert float(nearest.amin(1).max()) < 0.5 and torch.allclose(model.share, torch.full((3,), 1 / 3), atol=0.01)
    assert float(model.cost(centers).max()) < float(model.cost(torch.tensor([[90.0, 0.0, 0.0]])))


@pytest.mark.parametrize("kind", ["gradient", "two colors", "soft shadow"])
def test_toys_are_found_on_opaque_backgrounds(toy, kind):
    background = gradient() + grain()
    if kind == "two colors":
        background = background.clone()
        background[80:] = torch.tensor([0.35, 0.3, 0.25]) + grain()[80:]
    if kind == "soft shadow":
        fallen = torch.roll(toy[1], (6, 9), (0, 1))[None, None]
        background = background * (1 - 0.35 * torch.nn.functional.avg_pool2d(fallen, 15, 1, 7)[0, 0, ..., None])
    rgb, alpha, report = cut_out(on(toy, background), side=SIDE)
    assert overlap(alpha, toy[1]) > 0.93 and not [line for line in report if "rim" in line]
    assert overlap(prepare_reference(rgb, alpha, size=SIDE, recenter=False)[0].views.alpha[0], toy[1]) > 0.93


def test_a_drawn_mask_keeps_other_things_out(toy):
    picture = on(toy, gradient())
    picture[90:116, 92:116] = torch.tensor([0.9, 0.1, 0.1])
    drawn = torch.nn.functional.max_pool2d(toy[1][None, None], 13, 1, 6)[0, 0]
    assert overlap(cut_out(picture, drawn, SIDE)[1], toy[1]) > 0.93
    assert any("2 parts" in line for line in cut_out(picture, side=SIDE)[2])


def test_letterbox_bars_are_no_background(toy):
    picture = on(toy, gradient() + grain())
    boxed = torch.cat([torch.zeros(20, SIDE, 3), picture, torch.zeros(14, SIDE, 3)])
    assert content_box(boxed) == (21, 19 + SIDE, 0, SIDE) and content_box(picture) == (0, SIDE, 0, SIDE)
    _, alpha, report = cut_out(boxed, side=SIDE)
    assert overlap(alpha[20:-14], toy[1]) > 0.93 and float(alpha[:20].max()) == 0, "a blurred row goes with each bar"
    assert "letterbox" in report[0]


def test_the_edge_takes_the_objects_color():
    rgb, alpha = torch.zeros(9, 9, 3), torch.zeros(9, 9)
    rgb[..., 1] = 1
    rgb[3:6, 3:6] = torch.tensor([1.0, 0.0, 0.0])
    alpha[2:7, 2:7] = 0.5
    alpha[3:6, 3:6] = 1
    own = own_colors(rgb, alpha)
    assert torch.equal(own[2:7, 2:7], torch.tensor([1.0, 0.0, 0.0]).expand(5, 5, 3)) and torch.equal(own[0], rgb[0])


def test_pictures_of_one_color_are_refused():
    with pytest.raises(InputError, match=re.escape(TITLES["photo_remover"])):
        cut_out(torch.full((64, 64, 3), 0.5) + grain(0.01)[:64, :64], side=64)
