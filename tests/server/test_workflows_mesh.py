"""The workflow that refines a mesh from elsewhere, and textual inversion, in the real ComfyUI."""

import json

import torch
from helpers.comfy_modules import prepare
from helpers.graphs import SMALL, api, changed, ui
from lift123.sync import graphs as to_api

NAME = "refine_mesh_texture"
FEW = {"ReferenceView": {"size": 96}, "MeshToScene": {"detail": 64}, "DMTetRefine": SMALL["DMTetRefine"],
       "BakeExport": SMALL["BakeExport"]}


def result(comfy, entry) -> dict:
    """Paths of the exported files by kind."""
    outputs = [o["lift123_files"][0] for o in entry["outputs"].values() if "glb" in o.get("lift123_files", [{}])[0]]
    return {kind: comfy.output / f["subfolder"] / f["filename"] for kind, f in outputs[0].items()}


def test_twin_is_the_conversion(comfy):
    assert to_api.ui_to_api(ui(NAME), comfy.info) == api(NAME)


def test_refining_keeps_the_mesh_and_gives_it_a_texture(comfy, weights):  # noqa: F811
    from lift123.pipelines.io.glb_reader import read_glb
    from lift123.pipelines.toybox.objects import make_object

    prompt = changed(api(NAME), **FEW)
    files = result(comfy, comfy.run(prompt, timeout=900))
    seed = next(n["inputs"]["seed"] for n in prompt.values() if n["class_type"] == "Lift123_ToyObject")
    truth, mesh = make_object(seed).mesh, read_glb(files["glb"].read_bytes())
    assert mesh.texture is not None and len(mesh.faces) == len(truth.faces), "not decimated"
    assert float((mesh.vertices.amax(0) - truth.vertices.amax(0)).abs().max()) < 0.02, "where the picture has it"
    manifest = json.loads(files["manifest"].read_text())
    assert {"Mesh import", "DMTet refine"} <= set(manifest["timings_seconds"])


def test_a_learnt_word_reaches_the_text_prior(comfy, weights):  # noqa: F811
    """RealFusion's way: the word is learned from the picture, and the 2D prior's prompt names it."""
    prompt = changed(api(NAME), **FEW)
    ids = {node["class_type"].removeprefix("Lift123_"): key for key, node in prompt.items()}
    defaults = {name: spec[1].get("default") for name, spec in
                comfy.info["Lift123_TextualInversion"]["input"]["required"].items() if name not in ("reference", "text_network")}
    prompt["100"] = {"class_type": "Lift123_TextualInversion", "inputs": {
        **defaults, "reference": [ids["ReferenceView"], 0], "text_network": [ids["LoadEmbedded"], 1], "name": "server_bear",
        "steps": 2, "batch": 1, "samples": 1, "start": "bear", "sentence": "a {}"}}
    prompt["101"] = {"class_type": "PreviewImage", "inputs": {"images": ["100", 3]}}
    prompt[ids["TextPrior"]]["inputs"].update(text_network=["100", 0], prompt=["100", 1])
    entry = comfy.run(prompt, timeout=900)
    assert result(comfy, entry)["glb"].stat().st_size
    assert len(entry["outputs"]["101"]["images"]) == 1
    file = comfy.base / "models" / "embeddings" / "server_bear.safetensors"
    prepare()
    from comfy.sd1_clip import load_embed

    assert isinstance(load_embed("server_bear", str(file.parent), 128, "clip_l"), torch.Tensor)
