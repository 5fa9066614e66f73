"""Shipped graphs, shortened, and what their nodes hand on."""

import copy
import json

import pytest
from conftest import ROOT
from lift123.launcher.shipped import graph_file, twin_file

from helpers.comfy_modules import prepare

FOLDER = ROOT / "workflows"


ABLATIONS = ["ablation_boundary", "ablation_coarse_fine", "ablation_loss_weights", "ablation_prior_trade_off",
             "ablation_schedules", "ablation_strategies", "ablation_two_stages"]


INPAINTING = {"CheckpointLoaderSimple", "CLIPTextEncode", "VAEEncodeForInpaint", "KSampler", "VAEDecode"}


def ui(name):
    return json.loads(graph_file(name).read_text(encoding="utf-8"))


def api(name):
    return json.loads(twin_file(name).read_text(encoding="utf-8"))


def changed(prompt, **by_class):
    """A copy with inputs replaced, by node class without its prefix."""
    prompt = copy.deepcopy(prompt)
    for node in prompt.values():
        node["inputs"].update(by_class.get(node["class_type"].removeprefix("Lift123_"), {}))
    return prompt


@pytest.fixture
def weights():
    if not (ROOT / "pipelines" / "embedded" / "settings.json").is_file():
        pytest.skip("the embedded networks are not here: run 'python3 launch.py train-embedded'")


def settled(prompt, follow=None):
    """The prompt with what its settings nodes say in the place of the wires to them; follow: instead of their own choice."""
    prepare()
    from lift123.nodes import sources

    prompt = copy.deepcopy(prompt)
    kinds = {"Lift123_Magic123Settings": sources.Magic123Settings, "Lift123_Consistent123Settings": sources.Consistent123Settings}
    said = {key: kinds[node["class_type"]].execute(follow=follow or node["inputs"]["follow"]).result
            for key, node in prompt.items() if node["class_type"] in kinds}
    for node in prompt.values():
        for name, value in node["inputs"].items():
            if isinstance(value, list) and value[0] in said:
                node["inputs"][name] = said[value[0]][value[1]]
    return {key: node for key, node in prompt.items() if key not in said}


def built(name, *more, follow=None):
    """What the prior and boundary nodes of a workflow (and those named in ``more``) hand on, by node id.

    follow: of its settings node, see ``settled``.
    """
    prepare()
    from lift123.nodes import all_nodes

    classes = {n.GET_SCHEMA().node_id: n for n in all_nodes()}
    light = {f"Lift123_{n}" for n in ("LoadEmbedded", "PriorSchedule", "ViewPrior", "TextPrior", "ClipBoundary",
                                      "DynamicPrior", "LoadViewPrior", "LoadTextPrior", "LoadClip", *more)}
    embedded = {f"Load{kind}": {"checkpoint": "embedded"} for kind in ("ViewPrior", "TextPrior", "Clip")}
    prompt, done = changed(settled(api(name), follow), **embedded), {}

    def value(given):
        return run(given[0])[given[1]] if isinstance(given, list) else given

    def run(key):
        if key not in done:
            node = prompt[key]
            done[key] = classes[node["class_type"]].execute(**{k: value(v) for k, v in node["inputs"].items()}).result
        return done[key]

    for key, node in prompt.items():
        if node["class_type"] in light:
            run(key)
    return prompt, done


SMALL = dict(
    NerfStage1={"iterations": 16, "render_size": 32, "reference_size": 32, "preview_every": 2},
    DynamicStage2={"mesh_iterations": 4},
    DMTetRefine={"iterations": 4, "render_size": 32, "reference_size": 32, "grid": 8, "preview_every": 2},
    BakeExport={"texture_size": 128, "face_budget": 500, "supersample": 1, "frames": 4, "turntable_size": 64},
    ClipBoundary={"interval": 2, "window": 1, "size": 32},
    Evaluate={"size": 64, "lpips": "off", "views": "papers-18", "intersections": False},
)


def stage(prompt, name):
    return next(key for key, node in prompt.items() if node["class_type"] == f"Lift123_{name}")


def exported(comfy, entry):
    """The GLB and the manifest of a run."""
    from lift123.pipelines.io.glb_reader import read_glb

    files = [o["lift123_files"][0] for o in entry["outputs"].values() if "glb" in o.get("lift123_files", [{}])[0]][0]
    place = {kind: comfy.output / f["subfolder"] / f["filename"] for kind, f in files.items()}
    mesh = read_glb(place["glb"].read_bytes())
    assert mesh.texture is not None and len(mesh.faces) > 50
    return place["glb"], json.loads(place["manifest"].read_text(encoding="utf-8"))
