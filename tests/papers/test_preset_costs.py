"""The counted costs against what real runs ask of their networks, and against the published size of a network."""

from dataclasses import replace
from types import SimpleNamespace

import preset_costs
import pytest
from helpers.counted import Counting, networks, small
from helpers.tiny_stages import SIZE
from helpers.tiny_stages import reference as _reference
from lift123.pipelines import consistent123, hifi123, magic123


@pytest.mark.parametrize("name", ["quickstart", "paper"])
def test_consistent123_asks_its_networks_as_often_as_counted(name):
    preset = small(consistent123.PRESETS[name])
    preset = replace(preset, boundary=replace(preset.boundary, interval=2, views=2, size=SIZE))
    models = networks()
    scene = consistent123.run(_reference(), models, preset, seed=0)
    switch = scene.switch_step
    assert switch == round(preset.boundary.ceiling * 16) or switch in (10, 11, 12)
    novel = [step for step in range(16) if preset.nerf.shows(step, True)[1]]
    late = [step for step in range(6) if preset.mesh.shows(step, True)[1]]
    assert models.view.predicted == len(novel) + len(late)
    # The ramp starts at weight 0 on its first step, where the 2D prior is left out too.
    expected = len([s for s in novel if s > switch]) + len(late)
    assert models.text.predicted in (expected, expected + 1)
    assert models.view.encoded == models.view.predicted and models.text.encoded == models.text.predicted
    asked = (models.view.conditioned, models.text.conditioned)
    assert max(asked) <= 2, "references and prompts are given once per stage"
    assert models.clip.words == 1
    reference, shown = preset_costs.reference_share(preset.nerf)
    assert shown == len(novel) / 16 and reference >= 2 / 16


@pytest.mark.parametrize("ratio, text_calls", [(1.0, True), (0.0, False)])
def test_magic123_asks_only_priors_that_weigh(ratio, text_calls):
    preset, models = small(magic123.PRESETS["magic123 paper"]), networks()
    magic123.run(_reference(), models, preset, ratio=ratio, seed=0)
    novel = sum(config.shows(step, True)[1] for config in (preset.nerf, preset.mesh) for step in range(config.iterations))
    assert models.view.predicted == novel
    assert models.text.predicted == (novel if text_calls else 0)


def test_hifi123_asks_its_coarse_networks_as_often_as_counted():
    from helpers.hifi_toys import depth_text, reference

    preset = small(hifi123.PRESETS["hifi123 quickstart"], nerf=6, mesh=1)
    preset = replace(preset, mesh=replace(preset.mesh, optimize="texture"), guide=replace(preset.guide, rungs=1, steps=2))
    models = SimpleNamespace(view=Counting(), text=Counting(), depth_text=depth_text())
    assert hifi123.run(reference(), models, preset, seed=0).finished
    novel = sum(preset.nerf.shows(step, True)[1] for step in range(6))
    assert models.view.predicted == models.text.predicted == novel > 0


@pytest.mark.parametrize("tau, reuse", [("draw", 1), ("draw", 4), ("mean", 1)])
def test_rgsd_makes_as_many_targets_as_counted(tau, reuse):
    """On average over the levels that are drawn; the stand-in for the guide counts as the real one (``test_rgsd``)."""
    from helpers.rgsd_toys import PAPER
    from helpers.rgsd_toys import prior as _prior
    from helpers.rgsd_toys import run as _run

    paper = hifi123.PAPER
    preset = replace(paper, rgsd=replace(paper.rgsd, tau=tau, reuse=reuse, slots=4))
    prior = _prior(replace(PAPER, tau=tau, reuse=reuse, slots=4, fixed=paper.rgsd.fixed))
    _run(prior, paper.mesh.iterations)
    made = sum(tally.evaluations for tally in prior.tally.values()) + 2 * paper.guide.rungs
    assert preset_costs.rgsd_evaluations(preset) * paper.mesh.iterations == pytest.approx(made, rel=0.03)


def test_rgsd_costs_what_the_specification_counts():
    """12 evaluations per iteration at the paper's setting, beside those that are made once (H-B.7); 4.5 when four visits
    share a target."""
    paper = hifi123.PAPER
    once = (24 + 2 * 36) / paper.mesh.iterations
    assert preset_costs.rgsd_evaluations(paper) == pytest.approx(12 + once)
    shared = replace(paper, rgsd=replace(paper.rgsd, reuse=4, slots=4))
    assert preset_costs.rgsd_evaluations(shared) == pytest.approx((12 + 2 * 11) / 4 / 2 + once)
    rows = preset_costs.rows_of(paper)
    assert [row[1] for row in rows] == ["NeRF, both", "mesh, RGSD"]
    assert float(rows[0][3]) == pytest.approx(4 * (4 / 3 + 2 * 2 / 3), abs=0.01), "4 views for a third of the time, then 2"


def test_network_sizes_are_the_published_ones():
    """Stable Diffusion 1.5's UNet has 859.5 million parameters, and one evaluation at 64 x 64 takes about 0.8 TFLOP."""
    cost = preset_costs.network_cost("SD 1.5")
    assert cost["unet"] == pytest.approx(803e9, rel=0.01)
    encoder = 34.2e6
    assert cost["bytes"] == pytest.approx(859.5e6 * 2 + encoder * 4, rel=0.01)


def test_flops_of_a_convolution_by_hand():
    size = preset_costs.NETWORKS["embedded text"]
    assert preset_costs.network_cost(size.name)["unet"] > 2 * 16 * 16 * 4 * 64 * 9, "more than its first convolution"
    quick = consistent123.QUICKSTART.nerf.field
    assert preset_costs.field_cost(quick) == (2 * (16 * 32 + 32 * 4), 8 * 8 * 2 * 4)


def test_every_preset_has_its_rows():
    for preset in (*consistent123.PRESETS.values(), *magic123.PRESETS.values(), *hifi123.PRESETS.values()):
        rows = preset_costs.rows_of(preset)
        assert sum(row[2] for row in rows) == preset.nerf.iterations + preset.mesh.iterations
        assert all(float(row[3]) > 0 for row in rows)
