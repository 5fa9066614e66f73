"""Graphs of the papers' further ablations and baselines: what differs between their rows, and runs in the real ComfyUI."""

import pytest
from helpers.graphs import SMALL, api, changed

TINY = {**SMALL, "NerfStage1": {**SMALL["NerfStage1"], "iterations": 6}, "Evaluate": {"size": 64, "lpips": "off"},
        "ToyObject": {"size": 64}, "ReferenceView": {"size": 64}, "RgsdPrior": {"steps": 20, "rungs": 2},
        "RgnvEnhance": {"steps": 20, "rungs": 2}, "SampleViews": {"views": 4, "steps": 2},
        "RenderViews": {"size": 64, "frames": 4}, "ToyCharacter": {"size": 64, "cells": 16}, "RefineLayers": {"steps": 1},
        "PreviewLayers": {"size": 64}, "ProjectColors": {"subdivide": 0}}
TINY["BakeExport"] = {**SMALL["BakeExport"], "frames": 6}


def nodes(prompt, name):
    return {key: node["inputs"] for key, node in prompt.items() if node["class_type"] == f"Lift123_{name}"}


def alike(a, b, but):
    """Whether two nodes differ in the named inputs only."""
    return {k for k in a if a[k] != b[k]} <= set(but)


def test_one_piece_and_layers_share_their_views():
    prompt = api("ablation_stdgen_pieces")
    one, apart = nodes(prompt, "LiftLayers").values()
    assert alike(one, apart, ["pieces"]) and {one["pieces"], apart["pieces"]} == {"one piece", "body, clothing, hair"}
    first, second = nodes(prompt, "RefineLayers").values()
    assert alike(first, second, ["layers"]) and first["views"] == one["views"]


def test_what_paints_the_surface_is_all_that_differs():
    prompt = api("ablation_hifi123_texture")
    stages = list(nodes(prompt, "DMTetRefine").values())
    assert len(stages) == 3 and all(alike(stages[0], other, ["prior"]) for other in stages[1:])
    assert {s["what"] for s in stages} == {"texture"}
    kinds = [prompt[s["prior"][0]]["class_type"].removeprefix("Lift123_") for s in stages]
    assert kinds == ["TextPrior", "RgsdPrior", "RgsdPrior"]
    image, states = (prompt[s["prior"][0]]["inputs"] for s in stages[1:])
    assert alike(image, states, ["aim"]) and (image["aim"], states["aim"]) == ("image", "states")
    judged = {entry["source"][0] for entry in nodes(prompt, "Evaluate").values()}
    assert judged == {*nodes(prompt, "DMTetRefine"), *nodes(prompt, "NerfStage1")}, "the coarse object, too"


def test_angles_are_those_of_the_paper_and_both_rows_are_judged_alike():
    prompt = api("ablation_hifi123_angles")
    (sampled,), (true,) = nodes(prompt, "SampleViews").values(), nodes(prompt, "RenderViews").values()
    assert sampled["views"] == true["frames"] == 16 and sampled["elevation"] == true["elevation"] == 0, "22.5 degrees apart"
    first, second = nodes(prompt, "CompareSets").values()
    assert first["around"] and alike(first, second, ["pictures"])


def test_the_learned_word_is_all_that_differs():
    prompt = api("ablation_concept")
    first, second = nodes(prompt, "DynamicStage2").values()
    assert alike(first, second, ["prior_2d"])
    told, learned = (prompt[s["prior_2d"][0]]["inputs"] for s in (first, second))
    assert alike({**told, "prompt": 0, "text_network": 0}, {**learned, "prompt": 0, "text_network": 0}, [])
    assert prompt[learned["prompt"][0]]["class_type"] == "Lift123_TextualInversion" and told["prompt"] == ""


def test_three_objects_have_curves_of_scores_and_weights():
    prompt = api("ablation_weight_curves")
    assert len({n["seed"] for n in nodes(prompt, "ToyObject").values()}) == 3
    shown = [n["inputs"]["images"] for n in prompt.values() if n["class_type"] == "PreviewImage"]
    kinds = sorted(prompt[key]["class_type"] for key, _ in shown)
    assert kinds == ["Lift123_DynamicStage2"] * 3 + ["Lift123_NerfStage1"] * 3


def test_baselines_are_wired_as_their_notes_say():
    prompt = api("neurallift_style")
    (options,), (both,) = nodes(prompt, "StageOptions").values(), nodes(prompt, "CombinePriors").values()
    parts = {prompt[v[0]]["class_type"] for v in both.values() if isinstance(v, list)}
    assert options["depth_form"] == "ranking" and parts == {"Lift123_TextPrior", "Lift123_ClipImagePrior"}
    prompt = api("six_views_fit")
    (given,), (six,) = nodes(prompt, "PicturesPrior").values(), nodes(prompt, "RenderViews").values()
    assert prompt[given["views"][0]]["class_type"] == "Lift123_RgnvEnhance" and six["frames"] == 6


# --------------------------------------------------------------------------------------- server


@pytest.mark.parametrize("name, told", [("ablation_stdgen_pieces", None), ("ablation_hifi123_texture", "4 done, 0 failed"),
                                        ("ablation_hifi123_angles", "90 degrees"), ("six_views_fit", None)])
def test_it_runs_in_comfyui(comfy, weights, name, told):  # noqa: F811
    entry = comfy.run(changed(api(name), **TINY), timeout=900)
    texts = [str(text) for output in entry["outputs"].values() for text in output.get("text", [])]
    assert told is None or any(told in text for text in texts)
    shown = [o for o in entry["outputs"].values() if o.get("images") or o.get("3d") or o.get("result")]
    assert len(shown) >= 3


def test_s_lrm_takes_six_colors_and_the_refinement_says_what_it_wants(comfy, weights):  # noqa: F811
    """Images to Character Views without normals, in the server."""
    from helpers.comfy_server import PromptFailed

    prompt = changed(api("stdgen_quickstart"), **TINY)
    (views,), (lift,), (refine,) = nodes(prompt, "CharacterMultiView"), nodes(prompt, "LiftLayers"), nodes(prompt, "RefineLayers")
    prompt["90"] = {"class_type": "Lift123_ImagesToViews", "inputs": {"colors": [views, 1]}}
    for node in prompt.values():
        node["inputs"] = {k: ["90", 0] if v == [views, 0] else v for k, v in node["inputs"].items()}
    with pytest.raises(PromptFailed, match="Connect normals to Images to Character Views"):
        comfy.run(prompt)
    for node in prompt.values():  # past the refinement, as the error says
        node["inputs"] = {k: [lift, 0] if v == [refine, 0] else v for k, v in node["inputs"].items()}
    del prompt[refine]
    assert any("glb" in o.get("lift123_files", [{}])[0] for o in comfy.run(prompt)["outputs"].values())
