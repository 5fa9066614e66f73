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


def test_rows_of_the_distillation_suite_differ_in_their_method_only():
    from lift123.pipelines.distill.registry import METHODS

    prompt = api("distillation_suite")
    told = {key: inputs["method"] for key, inputs in nodes(prompt, "Distillation").items()}
    assert sorted(told.values()) == sorted(set(METHODS) - {"dds"})
    rows = list(nodes(prompt, "ViewPrior").values())
    assert sorted(row["distillation"][0] for row in rows) == sorted(told)
    assert all(alike(row, rows[0], ["distillation"]) for row in rows)
    fits = list(nodes(prompt, "NerfStage1").values())
    assert all(alike(fit, fits[0], ["prior"]) for fit in fits)
    (results,) = nodes(prompt, "Results").values()
    assert len([k for k in results if k.startswith("after")]) == len(told)


def test_two_rows_of_the_distillation_suite_end_in_one_table(comfy, weights):  # noqa: F811
    prompt = changed(api("distillation_suite"), **{**TINY, "NerfStage1": {**TINY["NerfStage1"], "iterations": 2}})
    kept = {k for k, n in nodes(prompt, "Distillation").items() if n["method"] in ("sds", "csd")}
    for level in ("ViewPrior", "NerfStage1", "Evaluate", "BakeExport", "PreviewImage"):
        kind = level if level == "PreviewImage" else f"Lift123_{level}"
        for key, node in list(prompt.items()):
            if node["class_type"] == kind:
                wires = {v[0] for v in node["inputs"].values() if isinstance(v, list)}
                if wires & kept:
                    kept.add(key)
                else:
                    del prompt[key]
    prompt = {k: n for k, n in prompt.items() if n["class_type"] != "Lift123_Distillation" or k in kept}
    key = next(k for k, n in prompt.items() if n["class_type"] == "Lift123_Results")
    inputs = prompt[key]["inputs"]
    prompt[key]["inputs"] = {k: v for k, v in inputs.items() if not isinstance(v, list) or v[0] in prompt}
    text = comfy.run(prompt, timeout=900)["outputs"][key]["text"][0]
    assert "2 done, 0 failed" in text and "distillation_suite/csd_00001" in text and "novel_psnr" in text


WORDS = {**TINY, "NerfStage1": {**TINY["NerfStage1"], "iterations": 3}, "RenderViews": {"size": 64, "frames": 2},
         "PhotoLoss": {"size": 32}}


@pytest.mark.parametrize("name, shown", [("text_to_3d_mesh", [6]), ("three_photos", [2]), ("edit_words", [2, 2])])
def test_words_photos_and_edits_run_in_comfyui(comfy, weights, name, shown):  # noqa: F811
    """No picture, three pictures, and an existing scene: the embedded networks teach, and something is to be seen."""
    entry = comfy.run(changed(api(name), **WORDS), timeout=900)
    prompt = api(name)
    counts = [len(entry["outputs"][k]["images"]) for k, n in prompt.items() if n["class_type"] == "PreviewImage"]
    assert sorted(counts) == shown
    if name == "text_to_3d_mesh":
        assert any("glb" in o.get("lift123_files", [{}])[0] for o in entry["outputs"].values())
    if name == "three_photos":
        assert any("novel_psnr" in str(o.get("text", "")) or "novel-view PSNR" in str(o.get("text", ""))
                   for o in entry["outputs"].values())
