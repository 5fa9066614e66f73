"""Graphs that were saved under older names validate in ComfyUI's own code."""

import asyncio
import copy
import json

import pytest
from helpers.comfy_modules import prepare

prepare()
from app.node_replace_manager import NodeReplaceManager
from lift123.host import renamed
from lift123.sync import definitions, graphs

import nodes as core

NODES = definitions.pack_nodes()
# As the editor exported it before: every node that was renamed, with every input and choice that was.
OLD = {
    "1": {"class_type": "Lift123_ToyCharacter", "inputs": {"size": 64, "pose": 0, "cells": 16, "seed": 1}},
    "2": {"class_type": "Lift123_LoadCanonicaliser", "inputs": {"checkpoint": "embedded"}},
    "3": {"class_type": "Lift123_Canonicalise", "inputs": {
        "image": ["1", 0], "canonical": ["2", 0], "mask_marks": "object", "complete": False, "steps": 0,
        "guidance": -1.0, "seed": 42}},
    "4": {"class_type": "Lift123_ProjectColors", "inputs": {
        "layers": ["12", 0], "views": ["1", 3], "subdivide": 0, "paint": "layers without colours"}},
    "5": {"class_type": "Lift123_ExportCharacter", "inputs": {
        "layers": ["4", 0], "filename_prefix": "lift123/old", "height": 1.6, "facing": "+z", "colors": "vertex colours",
        "texture_size": 1024, "face_budget": 20000}},
    "6": {"class_type": "PreviewImage", "inputs": {"images": ["3", 0]}},
    "7": {"class_type": "Lift123_DownloadWeights", "inputs": {"name": "dpt-large", "accept_licence": True}},
    "8": {"class_type": "Lift123_InvertReconstruct", "inputs": {
        "reference": ["9", 0], "depth_text_network": ["10", 4], "steps": 10, "rungs": 1, "corrections": 0,
        "background": "grey"}},
    "9": {"class_type": "Lift123_ReferenceView", "inputs": {
        "image": ["3", 0], "prompt": "", "negative": "", "size": 64, "border": 0.1, "recenter": True, "elevation": 0.0,
        "radius": 3.2, "fovy": 20.0, "mask_marks": "object", "depth_convention": "inverse-depth"}},
    "10": {"class_type": "Lift123_LoadEmbedded", "inputs": {}},
    "11": {"class_type": "PreviewImage", "inputs": {"images": ["8", 0]}},
    "12": {"class_type": "Lift123_RefineLayers", "inputs": {
        "layers": ["1", 4], "views": ["1", 3], "preset": "quickstart", "steps": 0, "again": False, "seed": 0}},
}


@pytest.fixture
def comfy_nodes(monkeypatch):
    """The pack in ComfyUI's own table of nodes."""
    for name, node in NODES.items():
        monkeypatch.setitem(core.NODE_CLASS_MAPPINGS, name, node)


def refusals(prompt):
    """What ComfyUI says of a prompt, after its own replacement of nodes: node id -> messages (empty: accepted)."""
    import execution

    prompt, manager = copy.deepcopy(prompt), NodeReplaceManager()
    for replacement in renamed.replacements():
        manager.register(replacement)
    manager.apply_replacements(prompt)
    good, error, _, errors = asyncio.run(execution.validate_prompt("0", prompt, None))
    found = {key: [e["details"] for e in found["errors"]] for key, found in errors.items()}
    return found if good or errors else {"": [error["message"]]}


def test_the_table_fits_the_nodes():
    for node in renamed.NODES.values():
        schema = NODES[node.new].GET_SCHEMA()
        ids = [i.id for i in schema.inputs]
        assert node.old not in NODES and {*node.sockets, *node.widgets} - {renamed.COMPANION} <= set(ids)
        assert len(schema.outputs) >= node.outputs
        seeds = [i.id for i in schema.inputs if getattr(i, "control_after_generate", None)]
        after = [node.widgets[n - 1] for n, name in enumerate(node.widgets) if name == renamed.COMPANION]
        assert after == [name for name in node.widgets if name in seeds]
    for node, names in renamed.INPUTS.items():
        ids = {i.id for i in NODES[node].GET_SCHEMA().inputs}
        assert set(names.values()) <= ids and not set(names) & ids
    for (node, entry), words in renamed.CHOICES.items():
        options = next(i.options for i in NODES[node].GET_SCHEMA().inputs if i.id == entry)
        assert set(words.values()) <= set(options), "a new word that is offered"
        assert not set(words) & set(options), "an old word that is not"


def test_old_prompts_validate(comfy_nodes):
    assert refusals(renamed.on_prompt({"prompt": OLD})["prompt"]) == {}
    with pytest.raises(KeyError):  # why prompts are rewritten: ComfyUI's own replacement wants every mapped input
        refusals(OLD)


def test_only_names_change():
    done, before = renamed.current(OLD), copy.deepcopy(OLD)
    assert OLD == before and done["4"]["inputs"] == {**OLD["4"]["inputs"], "paint": "layers without colors"}
    assert done["5"]["inputs"]["colors"] == "vertex colors" and done["8"]["inputs"]["background"] == "gray"
    assert done["12"]["inputs"] == {**OLD["12"]["inputs"], "preset": "stdgen toy"}
    assert done["7"]["inputs"] == {"name": "dpt-large", "accept_license": True}
    assert done["3"] == {"class_type": "Lift123_Canonicalize", "inputs": OLD["3"]["inputs"]}
    assert all(done[key] == OLD[key] for key in ("1", "6", "9", "10", "11"))
    assert renamed.current(done) is done, "today's prompts pass as they are"


def test_what_is_no_prompt_passes():
    """ComfyUI complains about it in its own words."""
    broken = {"1": None, "2": {"class_type": 3}, "3": {"class_type": "X", "inputs": []}}
    for odd in ({}, {"prompt": None}, {"prompt": broken}):
        assert renamed.on_prompt(odd) == odd
    mine = {"1": {"class_type": "Other", "inputs": {"background": "grey", "accept_licence": True}}}
    assert renamed.current(mine) is mine, "other packs' nodes are theirs"


def test_comfyui_replaces_nodes_with_all_wires_and_values(comfy_nodes):
    """Its own replacement, with the mappings the browser gets, too (it wants ``_meta`` and every mapped input)."""
    prompt = {key: {**copy.deepcopy(OLD[key]), "_meta": {"title": "t"}} for key in ("1", "2", "3", "6")}
    prompt["3"]["inputs"]["mask"] = ["1", 1]
    prompt["2"]["inputs"]["hub_name"] = ""
    assert refusals(prompt) == {}
    told = json.loads(json.dumps([r.as_dict() for r in renamed.replacements()]))
    assert {r["old_node_id"]: r["new_node_id"] for r in told} == {
        "Lift123_Canonicalise": "Lift123_Canonicalize", "Lift123_LoadCanonicaliser": "Lift123_LoadCanonicalizer"}
    for entry in told:  # the browser finds values by their place in widgets_values, and keeps only mapped outputs
        ids = {m["new_id"] for m in entry["input_mapping"]}
        assert set(entry["old_widget_ids"]) - {renamed.COMPANION} <= ids
        assert entry["output_mapping"][0] == {"new_idx": 0, "old_idx": 0}


def test_old_ui_graphs_convert():
    """A graph as the browser saved it: the old node, and an old word among values by position."""
    info = definitions.object_info(set())
    workflow = {"links": [[5, 1, 0, 2, 1, "LIFT123_CANONICAL"]], "nodes": [
        {"id": 1, "type": "Lift123_LoadCanonicaliser", "inputs": [], "widgets_values": ["embedded", ""]},
        {"id": 2, "type": "Lift123_Canonicalise",
         "inputs": [{"name": "image", "link": None}, {"name": "canonical", "link": 5}],
         "widgets_values": ["object", True, 3, 2.5, 9, "fixed"]},
        {"id": 3, "type": "Lift123_ProjectColors", "inputs": [], "widgets_values": [1, "layers without colours"]}]}
    prompt = graphs.ui_to_api(workflow, info)
    assert prompt["2"] == {"class_type": "Lift123_Canonicalize", "_meta": {"title": "Canonicalize"}, "inputs": {
        "mask_marks": "object", "complete": True, "steps": 3, "guidance": 2.5, "seed": 9, "when": "always",
        "head": "as drawn", "canonical": ["1", 0]}}
    assert prompt["1"]["inputs"] == {"checkpoint": "embedded", "hub_name": ""}
    assert prompt["3"]["inputs"]["paint"] == "layers without colors"
