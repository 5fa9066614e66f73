"""A loss whose input is missing is named by every stage: in the node's text and in the report."""

from dataclasses import replace

import pytest
import torch
from helpers.comfy_modules import prepare

prepare()
from helpers import fault_stages, tiny_stages
from lift123.host import runner
from lift123.host.specs import DynamicSpec
from lift123.nodes import stages
from lift123.pipelines import consistent123, hifi123, magic123
from lift123.pipelines.core.schedules import Constant
from lift123.pipelines.priors.combine import DynamicPrior
from lift123.pipelines.stages.loop.absent import absent_losses

SMALL = {**fault_stages.SETTINGS, "options": fault_stages.SMALL}


@pytest.fixture
def said(monkeypatch):
    lines = []
    monkeypatch.setattr(runner, "say", lambda text, key: lines.append(text))
    return lines


def bare():
    reference = tiny_stages.reference()
    return replace(reference, views=replace(reference.views, depth=None, normal=None))


def full(reference):
    views = reference.views
    normal = torch.tensor([0.0, 0.0, 1.0]).expand(*views.alpha.shape, 3)
    return replace(reference, views=replace(views, depth=torch.ones_like(views.alpha), normal=normal))


def test_every_stage_names_what_it_leaves_out(said, monkeypatch):
    given = bare()
    scene, _, words = stages.NerfStage1.execute(reference=given, iterations=2, seed=0, normal_weight=0.5, **SMALL).result
    for loss, weight in (("depth", "0.02"), ("normal", "0.5")):
        sentence = f"No {loss} loss (weight {weight}): the reference view has no {loss} map"
        assert sentence in words and sentence in said[-1]
    oracle = tiny_stages.oracle()
    monkeypatch.setattr(DynamicSpec, "check", lambda self, reference: None)
    monkeypatch.setattr(DynamicSpec, "build", lambda self, reference, device: DynamicPrior(oracle, oracle))
    unfinished = replace(scene, meta={**scene.meta, "step": 1})
    second = stages.DynamicStage2.execute(scene=unfinished, prior_3d=fault_stages.VIEW, prior_2d=fault_stages.TEXT,
                                          mesh_iterations=2, form="linear", clock="phase_local").result
    assert "No depth loss" in second[2] and "No normal loss" in said[-1]
    mesh = stages.DMTetRefine.execute(scene=scene, iterations=1, what="both", grid=6, depth_weight=3.0, **SMALL).result
    assert "No depth loss (weight 3)" in mesh[1] and "No depth loss" in said[-1] and "CLIP" not in mesh[1]
    quiet = stages.DMTetRefine.execute(scene=scene, iterations=1, what="both", grid=6, **SMALL).result
    assert quiet[1] == "step 1 of 1."


def test_presets_and_what_they_ask_of_the_reference():
    given = bare()
    asked = {}
    for preset in (magic123.PAPER, magic123.PRINTED, consistent123.PAPER, consistent123.PRINTED, hifi123.PAPER):
        for stage in ("nerf", "mesh"):
            config = getattr(preset, stage)
            asked[preset.name, stage] = [line.split()[1] for line in absent_losses(config, given)]
            assert absent_losses(config, full(given)) == ()
    assert asked == {
        ("magic123 paper", "nerf"): ["depth"], ("magic123 paper", "mesh"): [],
        ("magic123 printed", "nerf"): ["depth"], ("magic123 printed", "mesh"): ["depth"],
        ("paper", "nerf"): ["depth"], ("paper", "mesh"): [],
        ("printed", "nerf"): ["depth"], ("printed", "mesh"): ["depth"],
        ("hifi123 paper", "nerf"): ["depth", "normal"], ("hifi123 paper", "mesh"): [],
    }
    assert absent_losses(replace(hifi123.PAPER.nerf, depth=Constant(0.0), normal=Constant(0.0)), given) == ()
