"""StdGEN's page: `run` is what the nodes do one after the other, and the graphs are the presets."""

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from helpers import layer_toys
from helpers.comfy_modules import prepare

prepare()
from lift123.host import renamed, specs
from lift123.launcher.shipped import graph_file, twin_file
from lift123.nodes import characters, layers, layers_out
from lift123.pipelines import stdgen
from lift123.pipelines.core.errors import InputError, StopStage
from lift123.pipelines.loaders.embedded_characters import load_embedded_characters
from lift123.pipelines.networks.stdgen.canonical import Canonicalizer
from lift123.pipelines.networks.stdgen.multiview import MultiView
from lift123.pipelines.networks.stdgen.slrm_config import SlrmConfig
from lift123.pipelines.stages.characters import canonicalize, lift_layers, multiview, project_colors, refine_layers
from lift123.pipelines.stages.characters.picture import read_character
from lift123.pipelines.stages.characters.project_colors import ColorConfig
from lift123.pipelines.stages.characters.refine_config import with_steps
from lift123.pipelines.stages.characters.refined_layers import RefinedLayers
from lift123.pipelines.toybox.characters import input_picture, make_character
from lift123.sync.subgraphs import all_nodes

SEED = 7
# What a graph that says "the network's own" gets from the published networks: the defaults of their classes.
PUBLISHED = SimpleNamespace(canonical=Canonicalizer(*[None] * 6), multiview=MultiView(*[None] * 5),
                            slrm=SimpleNamespace(config=SlrmConfig()))
GRAPHS = [("stdgen_quickstart", "QUICKSTART"), ("stdgen_toy", "TOY"), ("stdgen", "PAPER"), ("stdgen_edit", "PAPER")]


@pytest.fixture(scope="module")
def networks():
    """The embedded networks."""
    return load_embedded_characters()


@pytest.fixture(scope="module")
def figure():
    """(IMAGE, MASK) of a toy character in some pose."""
    rgba = input_picture(make_character(10000003), 0, 96)
    return (rgba[..., :3] * rgba[..., 3:] + 1 - rgba[..., 3:])[None], rgba[..., 3][None]


@pytest.fixture(scope="module")
def short():
    """The quickstart with the shortest refinement, painted as it is."""
    refine = replace(stdgen.with_steps(stdgen.QUICKSTART.refine, 1), size=32, even=2)
    return replace(stdgen.QUICKSTART, refine=refine, colors=ColorConfig(subdivide=0))


@pytest.fixture(scope="module")
def made(networks, figure, short):
    """(what `run` gives, the steps it told of)."""
    steps = []
    picture = read_character(figure[0][0], figure[1][0])
    return stdgen.run(picture, networks, short, seed=SEED, on_step=steps.append), steps


def same(a, b) -> bool:
    return a.names == b.names and all(
        torch.equal(getattr(a[n], part), getattr(b[n], part)) for n in a for part in ("vertices", "faces", "vertex_colors"))


# ----------------------------------------------------------------------------------------------- run


def test_run_is_what_the_nodes_do_one_after_the_other(made, networks, figure, short, monkeypatch):
    found, _ = made
    monkeypatch.setattr(specs.Network, "load", lambda self, device: getattr(networks, self.kind))
    monkeypatch.setitem(stdgen.PRESETS, short.name, short)
    loaded = dict(zip(("canonical", "multiview", "slrm"), characters.LoadCharacterEmbedded.execute().result, strict=True))
    sampler = {"steps": 0, "guidance": -1.0, "seed": SEED}
    a_pose = characters.Canonicalize.execute(image=figure[0], mask=figure[1], canonical=loaded["canonical"],
                                             mask_marks="object", complete=False, **sampler).result[0]
    assert torch.equal(a_pose[0], found.a_pose)
    views = characters.CharacterMultiView.execute(image=a_pose, multiview=loaded["multiview"],
                                                  levels="complete + no hair + body", **sampler).result[0]
    assert views.levels == found.views.levels
    assert all(torch.equal(getattr(views, part), getattr(found.views, part)) for part in ("color", "normal", "alpha"))
    coarse = characters.LiftLayers.execute(views=views, slrm=loaded["slrm"], dilate="as trained").result[0]
    assert same(coarse.layers, found.coarse)
    refined = layers.RefineLayers.execute(layers=coarse, views=views, preset=short.name, steps=0, again=False,
                                          seed=SEED).result[0]
    painted = layers_out.ProjectColors.execute(layers=refined, views=views, subdivide=0, paint="all layers").result[0]
    assert same(painted.layers, found.refined.layers) and painted.finished == found.refined.finished
    assert painted.notes == found.refined.notes[: len(painted.notes)] and painted.reach == found.refined.reach


def test_an_a_pose_of_ones_own_takes_the_first_acts_place(made, networks, short):
    found, _ = made
    rest = SimpleNamespace(multiview=networks.multiview, slrm=networks.slrm)

    def stop(step):
        if step.stage.startswith("Refine"):
            raise StopStage

    again = stdgen.run(None, rest, short, a_pose=found.a_pose, seed=SEED, on_step=stop)
    assert same(again.coarse, found.coarse) and torch.equal(again.views.normal, found.views.normal)


@pytest.mark.parametrize("act, last", [("Canonicalize", "a_pose"), ("Multi-view", "views"), ("S-LRM", "coarse"),
                                       ("Refine", "refined")])
def test_a_stop_ends_the_run_with_what_there_is(made, networks, figure, short, act, last):
    """The stage that is stopped hands on what it has; no later one begins."""
    told = []

    def stop(step):
        told.append(step.stage)
        if step.stage.startswith(act):
            raise StopStage

    found = stdgen.run(read_character(figure[0][0], figure[1][0]), networks, short, seed=SEED, on_step=stop)
    fields = ["a_pose", "views", "coarse", "refined"]
    there = [name for name in fields if getattr(found, name) is not None]
    assert there == fields[: fields.index(last) + 1] and told[-1].startswith(act)
    assert sum(name.startswith(act) for name in told) == 1
    if act == "Refine":
        assert not found.refined.finished, "the body was begun only"
        whole, steps = made
        assert len(told) < len(steps) and torch.equal(found.a_pose, whole.a_pose)


def test_layers_from_elsewhere_are_finished_without_networks(short):
    truth = layer_toys.figure(cells=16)
    views = layer_toys.views_of(truth, 32)
    done = stdgen.finish(layer_toys.degraded(truth, edge=0.1), views, short)
    assert isinstance(done, RefinedLayers) and done.complete and done.layers.names == truth.names
    assert all(done.layers[n].vertex_colors is not None for n in done.layers)


# -------------------------------------------------------------------------------------------- presets


class Seen(Exception):
    """Carries what a stage was called with out of a node."""


def config_of(monkeypatch, module, name: str, node, **inputs):
    """The settings with which ``node`` calls the stage ``module.name``."""

    def caught(*given, **named):
        kinds = (canonicalize.CanonicalSettings, multiview.MultiViewSettings, lift_layers.LiftConfig,
                 refine_layers.RefineConfig, ColorConfig)
        raise Seen(next(value for value in (*given, *named.values()) if isinstance(value, kinds)))

    with monkeypatch.context() as patch:
        patch.setattr(module, name, caught)
        patch.setattr(specs.Network, "load", lambda self, device: SimpleNamespace(stock=False))
        with pytest.raises(Seen) as seen:
            node.execute(**inputs)
    return seen.value.args[0]


def resolved(settings, network):
    """The settings with the network's own numbers in the place of None, and without the seed."""
    own = {name: getattr(network, name) for name in ("steps", "guidance", "eta")
           if getattr(settings, name, 0) is None}
    return replace(settings, seed=0, **own)


def widgets(graph: str, node) -> list[dict]:
    """The values, wires left out, of every node of this class in a shipped graph."""
    prompt = json.loads(twin_file(graph).read_text(encoding="utf-8"))
    kind = node.define_schema().node_id
    return [{k: v for k, v in n["inputs"].items() if not isinstance(v, list)}
            for n in prompt.values() if n["class_type"] == kind]


def settings_of(monkeypatch, figure, models, given: dict) -> dict:
    """Field of a preset -> settings with which the nodes call their stages; ``given``: node class -> its values."""
    truth = layer_toys.figure(cells=16)
    views, found = layer_toys.views_of(truth, 32), {}
    for values in given.get(characters.Canonicalize, ()):
        got = config_of(monkeypatch, canonicalize, "canonicalize", characters.Canonicalize, image=figure[0], mask=figure[1],
                        canonical=specs.Network("canonical"), **{**values, "mask_marks": "object"})
        found.setdefault("canonical", []).append(resolved(got, models.canonical))
    for values in given.get(characters.CharacterMultiView, ()):
        got = config_of(monkeypatch, multiview, "draw_views", characters.CharacterMultiView, image=figure[0],
                        multiview=specs.Network("multiview"), **values)
        found.setdefault("views", []).append(resolved(got, models.multiview))
    for values in given.get(characters.LiftLayers, ()):
        got = config_of(monkeypatch, lift_layers, "lift_layers", characters.LiftLayers, views=views,
                        slrm=specs.Network("slrm"), **values)
        found.setdefault("lift", []).append(replace(got, dilate=models.slrm.config.dilate) if got.dilate is None else got)
    layered = RefinedLayers(truth)
    for values in given.get(layers.RefineLayers, ()):
        got = config_of(monkeypatch, refine_layers, "refine_layers", layers.RefineLayers, layers=layered, views=views, **values)
        found.setdefault("refine", []).append(got)
    for values in given.get(layers_out.ProjectColors, ()):
        values = {**values, "paint": "all layers"}
        got = config_of(monkeypatch, project_colors, "project_colors", layers_out.ProjectColors, layers=layered, views=views,
                        **values)
        found.setdefault("colors", []).append(got)
    return found


NODES = (characters.Canonicalize, characters.CharacterMultiView, characters.LiftLayers, layers.RefineLayers,
         layers_out.ProjectColors)


def compare(found: dict, preset) -> None:
    """Every stage's settings are the preset's, seeds aside."""
    for field, every in found.items():
        wanted = getattr(preset, field)
        wanted = replace(wanted, seed=0) if hasattr(wanted, "seed") else wanted
        assert all(one == wanted for one in every), field


@pytest.mark.parametrize("graph, name", GRAPHS)
def test_the_graph_is_the_preset(monkeypatch, networks, figure, graph, name):
    """What the nodes of a shipped graph ask of their stages is what the page says, with the networks the graph loads."""
    models = PUBLISHED if name == "PAPER" else networks
    given = {node: widgets(graph, node) for node in NODES}
    found = settings_of(monkeypatch, figure, models, given)
    compare(found, getattr(stdgen, name))
    assert {"refine", "colors"} <= set(found) and (graph != "stdgen_quickstart" or len(found) == 5)
    ends = json.loads(graph_file(graph).read_text(encoding="utf-8"))
    drawn = [n["widgets_values"][:2] for n in all_nodes(ends) if n["type"] == "Lift123_RefineLayers"]
    assert drawn == [[getattr(stdgen, name).name, 0]] * len(drawn) and drawn


def test_a_node_fresh_from_the_menu_is_the_quickstart(monkeypatch, networks, figure):
    given = {node: [{i.id: i.default for i in node.define_schema().inputs if hasattr(i, "default") and not i.optional}]
             for node in NODES}
    found = settings_of(monkeypatch, figure, networks, given)
    assert len(found) == 5
    compare(found, stdgen.QUICKSTART)


def test_the_nodes_offer_the_pages_presets_and_tell_their_numbers():
    assert list(stdgen.PRESETS) == layers.PRESETS and all(p.name == name for name, p in stdgen.PRESETS.items())
    tips = {node: {i.id: i.tooltip for i in node.define_schema().inputs} for node in NODES}
    for node, field in ((characters.Canonicalize, "canonical"), (characters.CharacterMultiView, "views")):
        paper, small = getattr(stdgen.PAPER, field), getattr(stdgen.QUICKSTART, field)
        for name in ("steps", "guidance"):
            told = f"published: {getattr(paper, name):g}; embedded: {getattr(small, name):g}"
            assert told in tips[node][name]
    first = {name: getattr(stdgen, name).refine.body.steps for name in ("QUICKSTART", "TOY", "PAPER")}
    assert ("quickstart: {QUICKSTART}; toy: {TOY}; paper: {PAPER}".format(**first)) in tips[layers.RefineLayers]["steps"]


@pytest.mark.parametrize("preset, steps, wanted", [
    ("quickstart", 0, stdgen.TOY.refine), ("quickstart", 6, with_steps(stdgen.TOY.refine, 6)), ("paper", 0, stdgen.PAPER.refine)])
def test_graphs_saved_with_former_choices_give_what_they_gave(monkeypatch, figure, preset, steps, wanted):
    """The three pairs that shipped graphs had when "quickstart" meant 80 steps on the node."""
    saved = {"class_type": "Lift123_RefineLayers", "inputs": {"preset": preset, "steps": steps, "again": False, "seed": 0}}
    values = renamed.current({"1": saved})["1"]["inputs"]
    found = settings_of(monkeypatch, figure, PUBLISHED, {layers.RefineLayers: [values]})
    assert found == {"refine": [wanted]}
    if preset == "quickstart":
        assert (wanted.body.steps, wanted.outer.steps, wanted.detail.steps) == ((80, 80, 30) if not steps else (6, 6, 2))


def test_a_character_without_layers_is_refused():
    with pytest.raises(InputError, match="at least one layer"):
        stdgen.finish(layer_toys.figure(cells=16).select(()), layer_toys.views_of(layer_toys.figure(cells=16), 16))


def test_steps_of_both_fits_change_together():
    config = stdgen.PAPER.refine
    paper = with_steps(config, 50)
    assert (paper.body.steps, paper.outer.steps, paper.detail.steps) == (50, 50, 25)
    assert with_steps(config, 1).detail.steps == 1 and with_steps(config, 0) is config


def test_export_is_refused_before_anything_runs_where_it_could_not_write():
    assert layers_out.ExportCharacter.validate_inputs("lift123/fine") is True
    assert layers_out.ExportCharacter.validate_inputs("../outside") is not True
    assert layers.SaveLayers.validate_inputs("../outside") is not True
