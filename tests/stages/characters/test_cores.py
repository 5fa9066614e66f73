"""Layers on several cores: what one, two and four threads make is the same, bit for bit."""

import dataclasses
from threading import get_ident

import torch
from helpers import layer_toys
from lift123.pipelines import stdgen
from lift123.pipelines.core.errors import StopStage
from lift123.pipelines.core.threads import single
from lift123.pipelines.loaders.embedded_characters import load_small_multiview
from lift123.pipelines.metrics.layers import winding_numbers
from lift123.pipelines.stages.characters.multiview import MultiViewSettings, draw_views
from lift123.pipelines.stages.characters.project_colors import ColorConfig, project_colors
from lift123.pipelines.stages.characters.refine_layers import refine_layers

SIZE = 64


def short():
    """The small refinement, both fits of every layer with two steps."""
    small = stdgen.TOY.refine
    fits = {name: dataclasses.replace(getattr(small, name), steps=2) for name in ("body", "outer", "detail")}
    return dataclasses.replace(small, size=SIZE, **fits)


def test_one_two_and_four_threads_refine_and_paint_alike():
    truth = layer_toys.figure(cells=32)
    views, coarse = layer_toys.views_of(truth, SIZE), layer_toys.degraded(truth, edge=0.12)
    before, made = torch.get_num_threads(), []
    try:
        for count in (1, 2, 4):
            torch.set_num_threads(count)
            with single():
                refined = refine_layers(coarse, views, short())
                painted = project_colors(refined.layers, views, ColorConfig()).layers
                wound = winding_numbers(torch.rand(300, 3, generator=torch.Generator().manual_seed(0)) - 0.5, truth["body"])
            tensors = [getattr(painted[n], kind) for n in painted for kind in ("vertices", "faces", "vertex_colors")]
            made.append([*tensors, wound])
    finally:
        torch.set_num_threads(before)
    assert len(made[0]) == 10 and float(made[0][2].std()) > 0.01 and len(made[0][-1].round().unique()) == 2
    for other in made[1:]:
        assert not [i for i, (a, b) in enumerate(zip(other, made[0], strict=True)) if not torch.equal(a, b)]


def test_levels_of_views_drawn_beside_each_other_are_those_drawn_in_turn():
    """And who stops within the first has that one, whatever has been begun beside it."""
    network, before = load_small_multiview(), torch.get_num_threads()
    picture = layer_toys.views_of(layer_toys.figure(cells=32), SIZE).color[0, 0]
    asked, threads = network.unet.register_forward_pre_hook(lambda *_: threads.add(get_ident())), set()

    def stop(step):
        raise StopStage

    made, stopped = [], []
    try:
        for count in (1, 2, 4):
            torch.set_num_threads(count)
            for steps in (1, 2):
                threads.clear()
                with single():
                    made.append(draw_views(network, picture, MultiViewSettings(steps=steps)))
                assert (len(threads) > 1) == (count > 1)
            with single():
                stopped.append(draw_views(network, picture, MultiViewSettings(), on_step=stop))
    finally:
        torch.set_num_threads(before)
        asked.remove()
    for steps, views in enumerate(made):
        for kind in ("color", "normal", "alpha"):
            assert torch.equal(getattr(views, kind), getattr(made[steps % 2], kind)), (steps, kind)
    assert len(made[0].levels) == 3 and not torch.equal(made[0].color, made[1].color)
    for views in stopped:
        assert views.levels == made[0].levels[:1] and torch.equal(views.color, made[0].color[:1])
