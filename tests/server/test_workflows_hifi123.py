"""HiFi-123's workflows: the presets' numbers, and runs in the real ComfyUI."""


import pytest
from helpers.comfy_modules import prepare
from helpers.graphs import SMALL, api, changed, exported, stage, ui

FEW = {"steps": 20, "rungs": 2}
TINY = {**SMALL, "NerfStage1": {**SMALL["NerfStage1"], "iterations": 6}, "ReferenceView": {"size": 96},
        "RgsdPrior": FEW, "RgnvEnhance": FEW, "InvertReconstruct": {**FEW, "null_text_steps": 1},
        "SampleViews": {"views": 2, "steps": 2},
        "MeshToScene": {"detail": 64}, "RenderViews": {"size": 64, "frames": 2},
        "Evaluate": {"size": 64, "lpips": "off", "views": "papers-18"}}
EMBEDDED = {f"Load{kind}": {"checkpoint": "embedded"} for kind in ("ViewPrior", "TextPrior", "Depth", "DepthText", "Clip")}


def priors(prompt):
    """Outputs of the loaders, schedules and priors by node id."""
    prepare()
    from lift123.nodes import all_nodes

    classes = {n.GET_SCHEMA().node_id: n for n in all_nodes()}
    done = {}

    def value(given):
        return run(given[0])[given[1]] if isinstance(given, list) else given

    def run(key):
        if key not in done:
            node = prompt[key]
            done[key] = classes[node["class_type"]].execute(**{k: value(v) for k, v in node["inputs"].items()}).result
        return done[key]

    for key, node in prompt.items():
        if node["class_type"] in ("Lift123_CombinePriors", "Lift123_RgsdPrior"):
            run(key)
    return done


def wired(prompt, done, name, entry="prior"):
    key, slot = prompt[stage(prompt, name)]["inputs"][entry]
    return done[key][slot]


@pytest.mark.parametrize("name, which", [("hifi123_quickstart", "QUICKSTART"), ("hifi123", "PAPER")])
def test_the_graph_is_the_preset(name, which):
    """The numbers on the nodes are those of ``pipelines/hifi123.py``, with Stable Diffusion in DeepFloyd IF's place."""
    prompt = changed(api(name), **EMBEDDED)
    done = priors(prompt)
    from lift123.pipelines import hifi123

    preset = getattr(hifi123, which)
    told_of = hifi123.with_stable_diffusion(preset) if which == "PAPER" else preset
    (told, text_weight), (seen, view_weight) = wired(prompt, done, "NerfStage1").parts
    assert (told.settings, seen.settings) == (told_of.text, preset.view)
    assert (told.guidance, seen.guidance) == (told_of.text_guidance, preset.view_guidance)
    assert text_weight(0.5) == view_weight(0.5) == 1 and not seen.angle_scaling
    painter = wired(prompt, done, "DMTetRefine")
    assert (painter.settings, painter.guide) == (preset.rgsd, preset.guide) and painter.background == "auto"
    for where in ("NerfStage1", "DMTetRefine"):
        given = prompt[stage(prompt, where)]["inputs"]
        assert (given["preset"], given["iterations"]) == (preset.name, 0)
    assert prompt[stage(prompt, "DMTetRefine")]["inputs"]["what"] == "texture"
    reference = prompt[stage(prompt, "ReferenceView")]["inputs"]
    assert (reference["size"], reference["radius"], reference["fovy"], reference["recenter"]) == (
        preset.reference_size, preset.radius, preset.fovy, preset.recenter)
    bake = prompt[stage(prompt, "BakeExport")]["inputs"]
    assert (bake["face_budget"], bake["texture_size"], bake["supersample"], bake["picture_texels"]) == (
        preset.bake.faces, preset.bake.size, preset.bake.supersample, preset.bake.picture)


def test_other_graphs_use_the_quickstarts_numbers():
    from lift123.pipelines.hifi123 import QUICKSTART

    views = QUICKSTART.views
    for name, count in (("hifi123_novel_views", 1), ("hifi123_rgnv_enhance", 3), ("ablation_hifi123", 4)):
        nodes = [{**n["inputs"]} for n in api(name).values() if n["class_type"] == "Lift123_RgnvEnhance"]
        if name == "hifi123_rgnv_enhance":
            assert [n["rungs"] for n in nodes] == [views.rungs, views.rungs, 4], "supplementary Fig. 3"
            nodes[2]["rungs"] = views.rungs
        wanted = (views.steps, views.rungs, views.guidance, views.space)
        assert [(n["steps"], n["rungs"], n["guidance"], n["space"]) for n in nodes] == [wanted] * count
    prompt = api("hifi123_texture_mesh")
    painter = wired(prompt, priors(prompt), "DMTetRefine")
    assert (painter.settings, painter.guide) == (QUICKSTART.rgsd, QUICKSTART.guide)
    given = prompt[stage(prompt, "MeshToScene")]["inputs"]
    assert given["surface"] == "untouched"


def test_the_ablation_shows_every_variant_of_the_same_views():
    """Only ``ablation`` differs between the four nodes."""
    from lift123.nodes.hifi123 import ABLATION

    nodes = [dict(n["inputs"]) for n in api("ablation_hifi123").values() if n["class_type"] == "Lift123_RgnvEnhance"]
    assert sorted(n.pop("ablation") for n in nodes) == sorted(ABLATION)
    assert all(n == nodes[0] for n in nodes)


def test_less_depth_and_fewer_rungs_stand_beside_the_whole():
    """The paper's supplementary Figs. 2 and 3: the outline for depth, a smaller step l; all else is the same."""
    prompt = api("hifi123_rgnv_enhance")
    whole, outline, few = (n["inputs"] for n in prompt.values() if n["class_type"] == "Lift123_RgnvEnhance")
    made = prompt[outline["depth"][0]]
    assert made["class_type"] == "MaskToImage" and made["inputs"]["mask"] == whole["mask"]
    assert {k for k in whole if whole[k] != outline[k]} == {"depth"} and {k for k in whole if whole[k] != few[k]} == {"rungs"}


def test_hifi123_names_its_checkpoints():
    loaders = {n["type"].removeprefix("Lift123_Load"): n["widgets_values"][0] for n in ui("hifi123")["nodes"]
               if n["type"].startswith("Lift123_Load")}
    assert loaders == {"ViewPrior": "105000.ckpt", "TextPrior": "v2-1_512-ema-pruned.safetensors", "Depth": "dpt-hybrid-midas",
                       "DepthText": "stable-diffusion-2-depth", "Clip": "clip-vit-base-patch16.safetensors"}


# --------------------------------------------------------------------------------------- server


def test_quickstart_runs_in_comfyui(comfy, weights):  # noqa: F811
    glb, manifest = exported(comfy, comfy.run(changed(api("hifi123_quickstart"), **TINY), timeout=900))
    assert glb.name.startswith("hifi123_quickstart") and {"NeRF stage 1", "DMTet refine"} <= set(manifest["timings_seconds"])
    assert manifest["results"]["metrics"], "what Evaluate measured travels with the result"


def test_paper_preset_is_refused_without_checkpoints(comfy):
    from helpers.comfy_server import PromptFailed

    with pytest.raises(PromptFailed, match="stable-diffusion-2-depth") as refusal:
        comfy.run(api("hifi123"))
    for name in ("105000.ckpt", "v2-1_512-ema-pruned.safetensors", "dpt-hybrid-midas"):
        assert name in str(refusal.value)


def test_paper_preset_runs_with_embedded_networks(comfy, weights):  # noqa: F811
    fewer = {**TINY, "NerfStage1": {"iterations": 2, "novel_batch": 1, "render_size": 16, "reference_size": 16}}
    glb, manifest = exported(comfy, comfy.run(changed(api("hifi123"), **fewer, **EMBEDDED), timeout=900))
    assert "hifi123" in glb.name and {"NeRF stage 1", "DMTet refine"} <= set(manifest["timings_seconds"])


def test_painting_a_mesh_keeps_every_triangle(comfy, weights):  # noqa: F811
    """The exported corners, triangle by triangle, are the given mesh's, scaled and moved under the picture."""
    from lift123.pipelines.io.glb_reader import read_glb
    from lift123.pipelines.toybox.objects import make_object

    prompt = changed(api("hifi123_texture_mesh"), **TINY)
    glb, manifest = exported(comfy, comfy.run(prompt, timeout=900))
    given, got = make_object(prompt[stage(prompt, "ToyObject")]["inputs"]["seed"]).mesh, read_glb(glb.read_bytes())
    before, after = given.vertices[given.faces].flatten(0, 1).double(), got.vertices[got.faces].flatten(0, 1).double()
    assert before.shape == after.shape
    a, b = before - before.mean(0), after - after.mean(0)
    scale = (a * b).sum() / (a * a).sum()
    assert float((scale * a - b).abs().max()) < 1e-4 * float(b.abs().max()) and 0.5 < float(scale) < 2
    assert {"Mesh import", "DMTet refine"} <= set(manifest["timings_seconds"])


@pytest.mark.parametrize("name, counts", [("hifi123_novel_views", [2, 2, 2]), ("hifi123_rgnv_enhance", [2] * 3),
                                          ("ablation_hifi123", [2] * 4), ("hifi123_inversion", [4, 4, 6])])
def test_graphs_of_pictures_run_in_comfyui(comfy, weights, name, counts):  # noqa: F811
    prompt = changed(api(name), **TINY)
    entry = comfy.run(prompt, timeout=900)
    shown = [len(entry["outputs"][key]["images"]) for key, node in prompt.items() if node["class_type"] == "PreviewImage"]
    assert sorted(shown) == sorted(counts)
