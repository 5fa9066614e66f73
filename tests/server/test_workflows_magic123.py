"""Magic123's workflows and the five that teach by rewiring: the presets' numbers, and runs in the real ComfyUI."""


import pytest
from helpers.comfy_modules import prepare
from helpers.graphs import SMALL, api, built, changed, exported, stage, ui
from lift123.sync import graphs as to_api

TINY = {**SMALL, "NerfStage1": {**SMALL["NerfStage1"], "iterations": 6}, "SampleViews": {"views": 2, "steps": 2}}
GRAPHS = ["prior_2d_only", "prior_3d_only", "prior_both", "magic123_quickstart"]


def wired(prompt, done, name, entry="prior"):
    key, slot = prompt[stage(prompt, name)]["inputs"][entry]
    return done[key][slot]


@pytest.mark.parametrize("name, which, follow", [("magic123_quickstart", "QUICKSTART", None), ("magic123", "PAPER", None),
                                                 ("magic123", "PRINTED", "paper as printed")])
def test_the_graph_is_the_preset(name, which, follow):
    """The numbers on the nodes are those of ``pipelines/magic123.py``; one choice sets the paper's graph."""
    prompt, done = built(name, "TradeOffPrior", follow=follow)
    from lift123.pipelines import magic123

    preset = getattr(magic123, which)
    for where, balance, text, view in (("NerfStage1", preset.balance, preset.text, preset.view),
                                       ("DMTetRefine", preset.mesh_balance, preset.mesh_text, preset.mesh_view)):
        (told, text_weight), (seen, view_weight) = wired(prompt, done, where).parts
        assert (told.settings, seen.settings) == (text, view)
        assert (text_weight(0.5), view_weight(0.5)) == magic123.trade_off(preset.ratio, magic123.BALANCES[balance])
        assert (told.guidance, seen.guidance) == (preset.text_guidance, preset.view_guidance)
        assert seen.angle_scaling == preset.angle_scaling
        assert prompt[stage(prompt, where)]["inputs"]["preset"] == preset.name
        assert prompt[stage(prompt, where)]["inputs"]["iterations"] == 0, "the preset's"
    reference = prompt[stage(prompt, "ReferenceView")]["inputs"]
    assert (reference["size"], reference["radius"], reference["fovy"], reference["recenter"]) == (
        preset.reference_size, preset.radius, preset.fovy, preset.recenter)
    bake = prompt[stage(prompt, "BakeExport")]["inputs"]
    assert (bake["face_budget"], bake["texture_size"], bake["supersample"], bake["picture_texels"]) == (
        preset.bake.faces, preset.bake.size, preset.bake.supersample, preset.bake.picture)


def test_small_graphs_differ_in_their_priors_only():
    """What the five graphs teach: the wire into the stages is the method."""
    kinds = {}
    for name in GRAPHS + ["zero123_baseline"]:
        prompt, done = built(name, "TradeOffPrior")
        kinds[name] = wired(prompt, done, "NerfStage1").kinds()
        if name != "zero123_baseline":
            assert wired(prompt, done, "DMTetRefine") == wired(prompt, done, "NerfStage1")
        assert prompt[stage(prompt, "NerfStage1")]["inputs"]["preset"] == "magic123 quickstart"
    assert kinds == {"prior_2d_only": {"text"}, "prior_3d_only": {"view"}, "prior_both": {"text", "view"},
                     "magic123_quickstart": {"text", "view"}, "zero123_baseline": {"view"}}
    both, single = built("prior_both", "TradeOffPrior"), built("prior_3d_only")
    assert wired(*both, "NerfStage1").parts[1][0] == wired(*single, "NerfStage1")


def test_magic123_names_its_checkpoints():
    loaders = {n["type"].removeprefix("Lift123_Load"): n["widgets_values"][0] for n in ui("magic123")["nodes"]
               if n["type"].startswith("Lift123_Load")}
    assert loaders == {"ViewPrior": "105000.ckpt", "TextPrior": "v1-5-pruned-emaonly.safetensors",
                       "Depth": "dpt-beit-large-512", "Clip": "clip-vit-base-patch16.safetensors"}


def test_textual_inversion_is_bypassed_and_one_key_puts_it_in_between():
    """Bypassed, both Text Priors see the network itself; otherwise the network that knows the word, and its sentence."""
    workflow = ui("magic123")
    (word,) = [n for n in workflow["nodes"] if n["type"] == "Lift123_TextualInversion"]
    assert word["mode"] == to_api.BYPASSED and "bypassed" in word["title"]
    texts = [n["inputs"] for n in api("magic123").values() if n["class_type"] == "Lift123_TextPrior"]
    loader = next(str(n["id"]) for n in workflow["nodes"] if n["type"] == "Lift123_LoadTextPrior")
    assert [(t["text_network"], t["prompt"]) for t in texts] == [([loader, 0], "")] * 2
    word["mode"] = 0
    prepare()
    from lift123.sync import definitions, graphs

    prompt = to_api.ui_to_api(workflow, definitions.object_info(graphs.core_nodes(workflow)))
    texts = [n["inputs"] for n in prompt.values() if n["class_type"] == "Lift123_TextPrior"]
    key = str(word["id"])
    assert [(t["text_network"], t["prompt"]) for t in texts] == [([key, 0], [key, 1])] * 2
    assert prompt[key]["inputs"]["text_network"] == [loader, 0] and prompt[key]["inputs"]["preset"] == "paper"


# --------------------------------------------------------------------------------------- server


@pytest.mark.parametrize("name", GRAPHS)
def test_graph_runs_in_comfyui(comfy, weights, name):  # noqa: F811
    glb, manifest = exported(comfy, comfy.run(changed(api(name), **TINY), timeout=900))
    assert glb.name.startswith(name) and {"NeRF stage 1", "DMTet refine"} <= set(manifest["timings_seconds"])


def test_slider_changes_the_object_and_its_end_is_the_3d_prior(comfy, weights):  # noqa: F811
    def glb(name, **inputs):
        """Geometry and texture: the binary part, after a header of 12 bytes and the JSON, which holds the graph."""
        data = exported(comfy, comfy.run(changed(api(name), **{**TINY, **inputs}), timeout=900))[0].read_bytes()
        return data[20 + int.from_bytes(data[12:16], "little") :]

    alone = glb("prior_3d_only")
    assert glb("prior_both", TradeOffPrior={"lambda_2d_3d": 0.0}) == alone
    assert glb("prior_both", TradeOffPrior={"lambda_2d_3d": 2.0}) != alone


def test_baseline_shows_samples_and_a_nerf(comfy, weights):  # noqa: F811
    prompt = changed(api("zero123_baseline"), **TINY)
    entry = comfy.run(prompt, timeout=900)
    pictures = [entry["outputs"][key]["images"] for key, node in prompt.items() if node["class_type"] == "PreviewImage"]
    assert sorted(map(len, pictures)) == [2, 6], "two samples, six renders"
    assert list(exported(comfy, entry)[1]["timings_seconds"]) == ["NeRF stage 1"]


def test_paper_preset_is_refused_without_checkpoints_and_runs_with_embedded_networks(comfy, weights):  # noqa: F811
    from helpers.comfy_server import PromptFailed

    with pytest.raises(PromptFailed, match="105000.ckpt into models/checkpoints/") as refusal:
        comfy.run(api("magic123"))
    assert "v1-5-pruned-emaonly.safetensors into models/checkpoints/" in str(refusal.value)
    embedded = {"checkpoint": "embedded"}
    assert "Evaluate" in {n["class_type"].removeprefix("Lift123_") for n in api("magic123").values()}
    fewer = {"NerfStage1": {**TINY["NerfStage1"], "iterations": 4}, "ReferenceView": {"size": 128}}
    options = {"900": {"class_type": "Lift123_StageOptions", "inputs": {
        "reference_first": 1, "reference_every": 2, "normal_warmup": 0.4, "clay_share": -1, "normal_tv": -1,
        "normal_blur": -1, "orientation": -1, "entropy": -1, "half_levels_until": -1, "from_above": -1,
        "reference_noise": -1, "blur_gradient": "preset", "color_region": "preset", "initial_surface": "preset"}}}
    prompt = {**changed(api("magic123"), **{**TINY, **fewer, "LoadViewPrior": embedded, "LoadTextPrior": embedded,
                                              "LoadDepth": embedded, "LoadClip": embedded}), **options}
    for name in ("NerfStage1", "DMTetRefine"):  # a few iterations that are not all reference steps
        prompt[stage(prompt, name)]["inputs"]["options"] = ["900", 0]
    glb, manifest = exported(comfy, comfy.run(prompt, timeout=900))
    assert "magic123" in glb.name and {"NeRF stage 1", "DMTet refine"} <= set(manifest["timings_seconds"])


def test_realfusion_style_learns_a_word_and_lifts_with_it(comfy, weights):  # noqa: F811
    word = {"name": "lift123_test_word", "steps": 2, "batch": 1, "samples": 2, "resume": False}
    prompt = changed(api("realfusion_style"), **TINY, TextualInversion=word)
    told = prompt[stage(prompt, "TextPrior")]["inputs"]
    learned = stage(prompt, "TextualInversion")
    assert (told["text_network"], told["prompt"]) == ([learned, 0], [learned, 1]), "the word reaches the prior"
    entry = comfy.run(prompt, timeout=900)
    glb, manifest = exported(comfy, entry)
    assert glb.name.startswith("realfusion_style") and "NeRF stage 1" in manifest["timings_seconds"]
    assert (comfy.base / "models" / "embeddings" / "lift123_test_word.safetensors").is_file()
    assert len(entry["outputs"][learned]["images"]) == 2
