"""Manifests and GLB extras of toy runs name versions, inputs, and every stage with its settings and seconds."""

import json
from dataclasses import replace

import pytest
import torch
from helpers import tiny_stages as tiny
from helpers.comfy_modules import prepare

prepare()
import folder_paths
from comfyui_version import __version__ as COMFYUI
from helpers.stdgen_wires import SAMPLER, SEED
from lift123.host import checkpoints, runner, specs
from lift123.host import story as telling
from lift123.nodes import characters, export, layers, layers_out, stages
from lift123.pipelines import stdgen
from lift123.pipelines.core.mesh import Mesh
from lift123.pipelines.core.schedules import Constant
from lift123.pipelines.core.story import Story
from lift123.pipelines.io.glb_reader import read_extras
from lift123.pipelines.io.manifest import pack_version
from lift123.pipelines.priors.sds import SdsSettings
from lift123.pipelines.stages.loop.scene import Scene
from lift123.pipelines.stages.objects.fit_nerf import fit_nerf
from lift123.pipelines.stages.objects.refine_mesh import refine_mesh


@pytest.fixture
def output(tmp_path, monkeypatch):
    monkeypatch.setattr(folder_paths, "output_directory", str(tmp_path))
    return tmp_path


def told_by(output, name):
    """(manifest, GLB extras) of a result, which agree but for seconds and what is known once the file is written."""
    manifest = json.loads((output / f"{name}_00001_manifest.json").read_text())
    extras = read_extras((output / f"{name}_00001_.glb").read_bytes())
    assert "timings_seconds" not in extras
    assert all(extras[k] == manifest[k] for k in ("settings", "inputs", "weights", "environment", "seed", "method"))
    versions = manifest["environment"]
    assert versions["lift123"] == pack_version() != "unknown" and versions["comfyui"] == COMFYUI
    assert versions["libraries"]["torch"].split("+")[0] == torch.__version__.split("+")[0]
    return manifest, extras


def nerf_stage(scene=None, until=None, name="NeRF stage 1"):
    return runner.run_stage(name, lambda hooks: fit_nerf(
        tiny.reference(), None, tiny.NERF, scene=scene, until=until, seed=3, **hooks), None, scene)


def mesh_stage(scene, until=None, **changes):
    return runner.run_stage("DMTet refine", lambda hooks: refine_mesh(
        None, scene, replace(tiny.MESH, **changes), until=until, **hooks), None, scene)


def bake(scene, name):
    export.BakeExport.execute(scene=scene, filename_prefix=name, texture_size=64, face_budget=200, supersample=1, frames=4,
                              turntable_size=64, elevation=10.0)


def test_an_object_tells_every_stage_also_through_files(output):
    first = nerf_stage()
    second = mesh_stage(Scene.load(first.save(output / "a.safetensors")))
    third = mesh_stage(Scene.load(second.save(output / "b.safetensors")), optimize="texture")
    bake(third, "object")
    manifest, _ = told_by(output, "object")
    found = manifest["settings"]["stages"]
    assert [(e["stage"], e["kind"], e["steps"], e["total"], e["seed"]) for e in found] == [
        ("NeRF stage 1", "nerf", 24, 24, 3), ("DMTet refine", "mesh", 8, 8, 3), ("DMTet refine", "mesh", 8, 8, 3)]
    assert found[0]["settings"] == first.meta["config"] and found[0]["settings"]["mesh_iterations"] == 8
    assert [e["settings"]["optimize"] for e in found[1:]] == ["both", "texture"]
    assert {e["pack"] for e in found} == {pack_version()} and set(manifest["timings_seconds"]) == {"NeRF stage 1", "DMTet refine"}
    picture = manifest["inputs"]["picture"]
    assert (picture["width"], picture["height"], len(picture["sha256"])) == (16, 16, 64)
    assert manifest["inputs"]["prompt"] == "a box"


def test_an_interrupted_run_tells_what_an_uninterrupted_one_does(output):
    whole = mesh_stage(nerf_stage())
    half = nerf_stage(until=10)
    assert half.meta["stages"][0]["steps"] == 10
    begun = mesh_stage(nerf_stage(half), until=4)
    again = mesh_stage(Scene.load(begun.save(output / "half.safetensors")))
    assert again.meta["stages"] == whole.meta["stages"] and tiny.same(again, whole)
    bake(whole, "whole")
    bake(again, "again")
    assert (output / "whole_00001_.glb").read_bytes() == (output / "again_00001_.glb").read_bytes()


def test_a_partial_scene_tells_its_stages(output):
    class Breaks:
        def __init__(self, hooks):
            self.hooks = hooks

        def __call__(self, step):
            if step.index == 5:
                raise MemoryError("no room")

    before = nerf_stage()
    with pytest.raises(RuntimeError, match="continues from it"):
        runner.run_stage("DMTet refine", lambda hooks: refine_mesh(
            None, before, tiny.MESH, **{**hooks, "on_step": Breaks(hooks)}), None, before)
    left = Scene.load(next((output / "lift123").glob("partial_dmtet_refine_*.safetensors")))
    assert [(e["stage"], e["steps"]) for e in left.meta["stages"]] == [("NeRF stage 1", 24), ("DMTet refine", left.step)]
    assert 0 < left.step < 8


def test_scenes_without_a_story_are_exported(output):
    bake(tiny.nerf(), "old")
    manifest, _ = told_by(output, "old")
    assert manifest["settings"]["stages"] == [] and manifest["settings"]["stage"]["size"] == tiny.SIZE


def test_nodes_add_priors_and_boundaries():
    prior = specs.PriorSpec(specs.Network("view"), SdsSettings(t_range=(0.2, 0.6)), guidance=3.0)
    scene = telling.with_settings(nerf_stage(), prior=specs.SumSpec(((prior, Constant(2.0)),)), boundary=None)
    entry = scene.meta["stages"][-1]
    (part, weight), = entry["prior"]["parts"]
    assert part["network"]["name"] == "embedded" and part["guidance"] == 3.0 and part["settings"]["t_range"] == [0.2, 0.6]
    assert weight["value"] == 2.0 and "boundary" not in entry and json.dumps(entry)
    shown = {i.id: i.default for i in stages.NerfStage1.GET_SCHEMA().inputs if getattr(i, "default", None) is not None}
    made = stages.NerfStage1.execute(**{**shown, "iterations": 1, "render_size": 16, "reference_size": 16, "preset": "quickstart",
                                        "reference": tiny.reference()}).result[0]
    assert made.meta["stages"][0]["settings"] == made.meta["config"] and made.meta["stages"][0]["stage"] == "NeRF stage 1"


def test_settings_are_told_without_paths_and_objects():
    class Model:
        pass

    assert telling.told({"a": ("/models/x.pt", Model(), 1.5, None, True), 2: "a/b"}) == {
        "a": ["x.pt", "Model", 1.5, None, True], "2": "a/b"}


# ------------------------------------------------------------------------------------------- characters


@pytest.fixture
def quick(monkeypatch):
    """The quickstart's refinement with two steps and small pictures."""
    preset = stdgen.QUICKSTART
    few = {name: replace(getattr(preset.refine, name), steps=2) for name in ("body", "outer", "detail")}
    monkeypatch.setitem(stdgen.PRESETS, preset.name, replace(preset, refine=replace(
        preset.refine, size=32, even=2, preview_every=0, **few)))


def exported(output, given, name, graph=None):
    found = layers_out.character_record(given, [], graph, name, None)
    layers_out.ExportCharacter.execute(layers=given, filename_prefix=name, height=1.6, facing="+z", colors="vertex colors",
                                       texture_size=64, face_budget=300)
    return told_by(output, name)[0], found


def test_a_character_tells_pictures_networks_settings_and_times(toy, networks, output):
    given = {"image": toy[0], "mask": toy[1], "canonical": networks[0], "mask_marks": "object", "complete": False, **SAMPLER}
    a_pose = characters.Canonicalize.execute(**given).result[0]
    views = characters.CharacterMultiView.execute(
        image=a_pose, multiview=networks[1], levels="complete + no hair + body", **{**SAMPLER, "seed": 5}).result[0]
    names = [(e["stage"], e["seed"]) for e in views.story.stages]
    assert names == [("Canonicalize", 0), ("Multi-view", 5)] and views.story.inputs["picture"]["width"] == toy[0].shape[2]
    assert views.story.stages[1]["settings"]["levels"] == [0, 1, 2] and views.story.stages[1]["network"]["kind"] == "multiview"
    assert set(views.story.seconds) == {"Canonicalize", "Multi-view"} and min(views.story.seconds.values()) > 0
    edited = characters.CharacterMultiView.execute(
        image=a_pose * 0.9, multiview=networks[1], levels="complete", **SAMPLER).result[0]
    assert [e["stage"] for e in edited.story.stages] == ["Multi-view"] and edited.story.inputs != views.story.inputs
    lifted = characters.LiftLayers.execute(views=views, slrm=networks[2], dilate="as trained").result[0]
    assert [e["stage"] for e in lifted.story.stages] == ["Canonicalize", "Multi-view", "S-LRM"]
    assert lifted.story.stages[-1]["settings"] == {"dilate": None, "islands": None, "whole": False}


def small(given):
    """Layers of a few hundred faces with the story of ``given``."""
    points = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]]) - 0.3
    mesh = Mesh(points, torch.tensor([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]]), torch.rand(4, 3))
    return replace(given, layers=given.layers.select(()).replaced("body", mesh))


def test_layers_tell_refinement_files_and_colors(toy, quick, output):
    body = replace(toy[4], layers=toy[4].layers.select(("body",)))
    done, _ = layers.RefineLayers.execute(layers=body, views=toy[3], preset="stdgen quickstart", steps=0, again=False,
                                          seed=7).result
    name = layers.SaveLayers.execute(layers=done, filename_prefix="kept").result[0]
    back = layers.LoadLayers.execute(file=name).result[0]
    assert back.story == done.story
    painted = layers_out.ProjectColors.execute(layers=back, views=toy[3], subdivide=0, paint="all layers").result[0]
    graph = {"1": {"class_type": "Lift123_LoadCharacterEmbedded", "inputs": {}}}
    manifest, asked = exported(output, painted, "figure", graph)
    found = manifest["settings"]["stages"]
    assert [e["stage"] for e in found] == ["Toy Character", "Refine Layers", "Project colors"] and manifest["seed"] == SEED
    assert found[1]["seed"] == 7 and found[1]["settings"]["size"] == 32 and found[2]["settings"]["subdivide"] == 0
    assert {"Refine Layers", "Project colors"} <= set(manifest["timings_seconds"]) == set(painted.story.seconds)
    weights = {w["name"]: w for w in asked["weights"]}
    assert set(weights) == {f"stdgen_{n}.safetensors" for n in ("canonical", "multiview", "slrm")}
    assert all(len(w["sha256"]) == 64 and w["bytes"] > 1e6 for w in weights.values())
    assert all(not n.startswith("stdgen_") for n in checkpoints.weight_files("view", "embedded"))


def test_an_interrupted_refinement_keeps_its_story(toy, quick, output):
    import comfy.model_management as mm

    mm.interrupt_current_processing(True)
    with pytest.raises(mm.InterruptProcessingException):
        layers.RefineLayers.execute(layers=toy[4], views=toy[3], preset="stdgen quickstart", steps=0, again=False, seed=7)
    left = next((output / "lift123").glob("partial_refine_layers_*.safetensors"))
    back = layers.LoadLayers.execute(file=f"lift123/{left.name}").result[0]
    assert [e["stage"] for e in back.story.stages] == ["Toy Character", "Refine Layers"]


def test_replaced_and_joined_layers_tell_both_stories(toy, output):
    old, new = small(toy[4]), small(toy[4])
    new = replace(new, story=Story().then({"stage": "S-LRM", "settings": {}}, 2.0))
    both = layers.ReplaceLayers.execute(old=old, new=new, replace="body").result[0]
    assert [e["stage"] for e in both.story.stages] == ["Toy Character", "S-LRM", "Replace Layers"]
    hair = layers.to_comfy_mesh(new.layers["body"])
    joined = layers.JoinLayers.execute(fit=True, hair=hair).result[0]
    assert [e["settings"] for e in joined.story.stages] == [{"fit": True, "layers": ["hair"]}]
    manifest, _ = exported(output, both, "both")
    assert [e["stage"] for e in manifest["settings"]["stages"]] == ["Toy Character", "S-LRM", "Replace Layers"]
