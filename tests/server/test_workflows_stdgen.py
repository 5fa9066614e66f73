"""StdGEN's workflows: what is ground truth in them, what they ask for, and runs in the real ComfyUI."""

import copy
import json

import pytest
from conftest import ROOT
from helpers.batches import running, wait_until
from helpers.graphs import INPAINTING, api, changed, ui
from helpers.graphs import SMALL as FEW
from lift123.sync import graphs as to_api

SMALL = {"ToyCharacter": {"size": 64, "cells": 16}, "RefineLayers": {"steps": 1, "preset": "stdgen quickstart"},
         "PreviewLayers": {"size": 64}, "ProjectColors": {"subdivide": 0}, "Evaluate": FEW["Evaluate"]}
WIRES = {"Canonicalize": "canonical", "CharacterMultiView": "multiview", "LiftLayers": "slrm"}


def nodes_of(prompt, name):
    return {key: node for key, node in prompt.items() if node["class_type"] == f"Lift123_{name}"}


def with_truth(prompt, seeds):
    """The graph with a toy character in the place of each chain of Load Image, Character Multi-View and S-LRM."""
    prompt, chains = copy.deepcopy(prompt), {}
    for key, seed in zip(nodes_of(prompt, "CharacterMultiView"), seeds, strict=True):
        prompt[key] = {"class_type": "Lift123_ToyCharacter", "inputs": {"size": 64, "pose": 0, "cells": 16, "seed": seed}}
        chains[key] = (key, 3)
    for key, node in nodes_of(prompt, "LiftLayers").items():
        chains[key] = (node["inputs"]["views"][0], 4)
    for node in prompt.values():
        for name, value in node["inputs"].items():
            if isinstance(value, list) and value[0] in chains:
                node["inputs"][name] = list(chains[value[0]])
    dropped = {k for k, n in prompt.items() if n["class_type"] == "LoadImage" or n["class_type"].startswith("Lift123_Load")}
    for node in nodes_of(prompt, "Evaluate").values():
        del node["inputs"]["clip"]
    return {key: node for key, node in prompt.items() if key not in {*dropped, *nodes_of(prompt, "LiftLayers")}}


@pytest.mark.parametrize("name", ["stdgen_quickstart", "stdgen_toy"])
def test_what_is_ground_truth_is_labeled(name):
    """Where a graph takes a toy's views, A-pose or layers, its note and the titles of the nodes say so."""
    workflow, prompt = ui(name), api(name)
    toy = next(iter(nodes_of(prompt, "ToyCharacter")), None)
    used = {tuple(v) for n in prompt.values() for v in n["inputs"].values() if isinstance(v, list)}
    truth = {slot for key, slot in used if key == toy} & {2, 3, 4}
    said = " ".join(n.get("title", "") for n in workflow["nodes"])
    told = next(n["widgets_values"][0] for n in workflow["nodes"] if n["type"] == "MarkdownNote")
    if truth:
        assert "GROUND TRUTH" in said and "ground truth" in told and "**green**" in told.replace("**Green nodes", "**green**")
    else:
        assert "ground truth" not in told.lower() and "GROUND TRUTH" not in said
        (stage,) = nodes_of(prompt, "Canonicalize").values()
        assert stage["inputs"]["mask_marks"] == "auto", "a toy's mask marks the object, Load Image's the background"
    for kind, node in (("canonical", "Canonicalize"), ("multiview", "CharacterMultiView"), ("slrm", "LiftLayers")):
        if name == "stdgen_quickstart":  # a network that ships is used
            there = (ROOT / "pipelines" / "embedded" / f"stdgen_{kind}.safetensors").is_file()
            assert bool(nodes_of(prompt, node)) == there, f"build the graph again: {kind} has changed"


@pytest.mark.parametrize("name", ["stdgen", "stdgen_edit"])
def test_public_graphs_wire_each_network_to_its_stage_and_use_the_papers_numbers(name):
    prompt = api(name)
    for stage, wire in WIRES.items():
        for node in nodes_of(prompt, stage).values():
            loader = prompt[node["inputs"][wire][0]]
            assert loader["class_type"] == {"canonical": "Lift123_LoadCanonicalizer", "multiview": "Lift123_LoadMultiView",
                                            "slrm": "Lift123_LoadSlrm"}[wire]
            assert loader["inputs"]["checkpoint"].startswith("StdGEN-")
    for stage in ("Canonicalize", "CharacterMultiView"):
        assert all((n["inputs"]["steps"], n["inputs"]["guidance"]) == (0, -1.0) for n in nodes_of(prompt, stage).values())
    assert {n["inputs"]["preset"] for n in nodes_of(prompt, "RefineLayers").values()} == {"stdgen paper"}
    assert all(n["inputs"]["steps"] == 0 and not n["inputs"]["again"] for n in nodes_of(prompt, "RefineLayers").values())


@pytest.mark.parametrize("name", ["stdgen_quickstart", "stdgen_rigged"])
def test_the_pictures_own_head_reaches_the_export(name):
    """Canonicalize lays it on the A-pose, Texture Layers on the front, and the file carries the textures."""
    prompt = api(name)
    ((key, stage),), ((texture, textured),) = (nodes_of(prompt, kind).items() for kind in ("Canonicalize", "TextureLayers"))
    assert stage["inputs"]["head"] == "from the picture" and textured["inputs"]["picture"] == [key, 0]
    assert textured["inputs"]["views"][0] in nodes_of(prompt, "CharacterMultiView")
    assert textured["inputs"]["layers"][0] in nodes_of(prompt, "ProjectColors")
    for export in (*nodes_of(prompt, "ExportCharacter").values(), *nodes_of(prompt, "ExportRigged").values()):
        assert export["inputs"]["colors"] == "textures"
    used = [n["inputs"]["layers"][0] for kind in ("ExportCharacter", "BindLayers") for n in nodes_of(prompt, kind).values()]
    assert used == [texture]


def test_editing_refines_and_paints_the_new_hair_alone():
    prompt = api("stdgen_edit")
    (key, replacing), = nodes_of(prompt, "ReplaceLayers").items()
    assert replacing["inputs"]["replace"] == "hair"
    second = next(k for k, n in nodes_of(prompt, "RefineLayers").items() if n["inputs"]["layers"][0] == key)
    paint = next(n for n in nodes_of(prompt, "ProjectColors").values() if n["inputs"]["layers"][0] == second)
    assert paint["inputs"]["paint"] == "layers without colors"
    lifted = prompt[replacing["inputs"]["new"][0]]
    assert paint["inputs"]["views"] == lifted["inputs"]["views"] == prompt[second]["inputs"]["views"], "of the edited picture"


def inpainting(workflow):
    """The editing graph as a person leaves it who inpaints in it: its muted nodes on, and their picture rebuilt."""
    workflow = copy.deepcopy(workflow)
    muted = [n for n in workflow["nodes"] if n.get("mode")]
    decode = next(n for n in muted if n["type"] == "VAEDecode")
    fed = next(n for n in workflow["nodes"] if n.get("title") == "Character Multi-View, new")
    wire = next(e["link"] for e in fed["inputs"] if e["name"] == "image")
    next(link for link in workflow["links"] if link[0] == wire)[1:3] = [decode["id"], 0]
    for node in muted:
        node["mode"] = 0
    return workflow, muted


# --------------------------------------------------------------------------------------------- server


def exported(comfy, entry):
    """(GLB's JSON, manifest) of Export Character."""
    files = next(o["lift123_files"][0] for o in entry["outputs"].values() if "glb" in o.get("lift123_files", [{}])[0])
    glb, manifest = ((comfy.output / files[k]["subfolder"] / files[k]["filename"]).read_bytes() for k in ("glb", "manifest"))
    return json.loads(glb[20 : 20 + int.from_bytes(glb[12:16], "little")]), json.loads(manifest)


def test_a_toy_character_runs_to_a_glb_with_named_layers(comfy):
    former = {"steps": 1, "preset": "quickstart"}  # as graphs said it that were saved earlier
    prompt = changed(api("stdgen_toy"), **{**SMALL, "RefineLayers": former})
    entry = comfy.run(prompt, timeout=600)
    scene, manifest = exported(comfy, entry)
    root = scene["nodes"][scene["scenes"][0]["nodes"][0]]
    assert root["name"] == "character" and [scene["nodes"][i]["name"] for i in root["children"]] == ["body", "clothing", "hair"]
    assert set(manifest["results"]["layers"]) == {"body", "clothing", "hair"} and manifest["graph"]
    shown = [len(entry["outputs"][key]["images"]) for key, node in prompt.items()
             if node["class_type"] in ("PreviewImage", "Lift123_PreviewLayers")]
    assert sorted(shown) == [1, 6, 6, 6, 6, 6]


def test_hair_of_another_character_is_put_on_the_first(comfy):
    """The editing graph with the truth of two toy characters in the place of networks and pictures."""
    prompt = changed(with_truth(api("stdgen_edit"), (10000003, 10000001)), **SMALL)
    _, manifest = exported(comfy, comfy.run(prompt, timeout=600))
    assert any(note.startswith("Replaced: hair; kept: body, clothing") for note in manifest["results"]["notes"])
    assert set(manifest["results"]["layers"]) == {"body", "clothing", "hair"}


@pytest.mark.parametrize("name", ["stdgen", "stdgen_edit"])
def test_public_graphs_are_refused_without_their_checkpoints(comfy, name):
    from helpers.comfy_server import PromptFailed

    with pytest.raises(PromptFailed, match="StdGEN-multiview-1024") as refusal:
        comfy.run(api(name))
    assert "StdGEN-mesh-slrm.pth" in str(refusal.value) and "models/diffusers" in str(refusal.value)


def test_inpainting_inside_the_editing_graph_waits_for_a_checkpoint_only(comfy):
    """Nothing of the muted group runs as shipped; switched on, all its inputs are wired, and only the model is missing."""
    from helpers.comfy_server import PromptFailed

    workflow, muted = inpainting(ui("stdgen_edit"))
    assert {n["type"] for n in muted} == {*INPAINTING, "LoadImage", "PreviewImage"}
    assert not {str(n["id"]) for n in muted} & set(api("stdgen_edit"))
    prompt = to_api.ui_to_api(workflow, comfy.info)
    for node in muted:
        wanted = comfy.info[node["type"]]["input"]["required"]
        assert set(prompt[str(node["id"])]["inputs"]) == set(wanted), node["type"]
    prompt = with_truth(prompt, (10000003, 10000001))  # stands for the pack's own networks
    kept = {str(n["id"]) for n in muted}
    prompt.update({key: to_api.ui_to_api(workflow, comfy.info)[key] for key in kept})
    with pytest.raises(PromptFailed, match="512-inpainting-ema.safetensors") as refusal:
        comfy.run(prompt)
    assert "ckpt_name" in str(refusal.value) and "Lift123" not in str(refusal.value)
    quiet = wait_until(lambda: not running(comfy.client), 60)
    assert quiet, "what ComfyUI would have run in spite of the error, twice two hundred steps, is taken back"
