"""Ablations: the acts of Consistent123 one by one."""

from dataclasses import replace

import torch
from lift123.pipelines import consistent123
from test_preset_costs import networks, small
from test_stages import SIZE, _reference


def short(**changes):
    preset = small(consistent123.QUICKSTART)
    return replace(replace(preset, boundary=replace(preset.boundary, interval=2, views=2, size=SIZE)), **changes)


def test_a_shared_first_act_changes_nothing():
    preset, models = short(), networks()
    whole = consistent123.run(_reference(), models, preset, seed=3)
    first = consistent123.explore(_reference(), networks(), preset, seed=3)
    assert first.step == first.switch_step == whole.switch_step < 16
    rest = networks()
    parts = consistent123.run(_reference(), rest, preset, scene=first)
    assert parts.switch_step == whole.switch_step and rest.clip.asked == 0, "the boundary has been found already"
    assert all(torch.equal(parts.tensors[k], v) for k, v in whole.tensors.items())


def test_without_text_the_3d_prior_is_alone_and_without_boundary_the_ramp_begins_at_once():
    seen = 16 - 2 + 6  # the first two steps look at the picture only
    models = networks()
    models.text = None
    alone = consistent123.run(_reference(), models, short(), seed=0)
    assert alone.switch_step is None and models.clip.asked == 0 and models.view.predicted == seen
    models = networks()
    single = consistent123.run(_reference(), models, short(boundary=None), seed=0)
    assert single.switch_step == 0 and models.clip.asked == 0
    assert models.view.predicted == models.text.predicted == seen
