"""The shipped workflows: well formed, equal to their API twins and presets, and running in the real ComfyUI."""

import json
import struct
import time
from urllib.parse import quote

import pytest
from helpers.comfy_modules import prepare
from helpers.graphs import FOLDER, INPAINTING, SMALL, api, built, changed, ui
from lift123.launcher.shipped import TITLES, graph_file
from lift123.sync import graphs as to_api
from lift123.sync import subgraphs

PICTURES_ONLY = {"ablation_hifi123_angles", "ablation_weight_curves", "distillation_suite", "edit_words",
                 "text_to_3d", "three_photos", "ablation_hifi123",
                 "hifi123_inversion", "hifi123_novel_views", "hifi123_rgnv_enhance"}
NAMES = sorted(TITLES)
CORE_NODES = {"LoadImage", "MaskToImage", "PreviewImage", "Preview3D", "MarkdownNote", "LoadBackgroundRemovalModel",
              "RemoveBackground", "LoadMoGeModel", "MoGeInference", "MoGeRender"}


# ---------------------------------------------------------------------------------------- files


def test_every_workflow_has_thumbnail_and_twin():
    assert len(NAMES) >= 28 and sorted(p.stem for p in (FOLDER / "api").glob("*.json")) == NAMES
    for name in NAMES:
        assert graph_file(name).with_suffix(".jpg").read_bytes()[:3] == b"\xff\xd8\xff", "a JPEG"


@pytest.mark.parametrize("name", NAMES)
def test_links_are_consistent(name):
    workflow = ui(name)
    nodes = {n["id"]: n for n in workflow["nodes"]}
    assert workflow["version"] == 0.4 and len(nodes) == len(workflow["nodes"])
    for link, source, out, target, into, kind in workflow["links"]:
        assert link in nodes[source]["outputs"][out]["links"] and nodes[source]["outputs"][out]["type"] == kind
        entry = nodes[target]["inputs"][into]
        assert entry["link"] == link and (entry["type"] == "*" or kind in entry["type"].split(","))
    used = {n["type"] for n in subgraphs.all_nodes(workflow) if n["type"] not in INPAINTING or n["mode"] == 0}
    assert {t for t in used if not t.startswith("Lift123_")} <= CORE_NODES, "no other pack is needed"
    assert used & {"LoadImage", "Lift123_ToyObject", "Lift123_ToyCharacter", "Lift123_WordsOnly"}
    assert ("Preview3D" in used or name in PICTURES_ONLY)


GROWING = {"NerfStage1", "DynamicStage2", "DMTetRefine", "ReferenceView", "EstimateDepth", "BakeExport", "Evaluate"}


def room(node):
    """Height of a node after a run, at least: rows, widgets (seeds and prompts take more), text, and a picture of 240."""
    kind, inputs = node["type"].removeprefix("Lift123_"), node["inputs"]
    widgets = [slot["name"] for slot in inputs if "widget" in slot]
    rows = 20 * max(len(inputs) - len(widgets), len(node["outputs"])) + 10
    rows += sum({"seed": 48, "prompt": 70, "image": 48}.get(name, 24) for name in widgets)
    return rows + (240 if kind in GROWING or kind == "LoadImage" else 0)


@pytest.mark.parametrize("name", NAMES)
def test_nodes_have_room_and_groups_hold_them(name):
    """What a node shows after a run fits into it; no two overlap, and none sticks out of its group."""
    graph, boxes = ui(name), []
    for node in graph["nodes"]:
        (x, y), (w, h) = node["pos"], node["size"]
        boxes.append((x, y - 30, x + w, y + h))  # with its title bar
        assert node["type"] not in {f"Lift123_{kind}" for kind in GROWING} or name.endswith("quickstart") or h >= room(node)
    for n, (left, top, right, bottom) in enumerate(boxes):
        for other in boxes[n + 1 :]:
            assert not (left < other[2] and other[0] < right and top < other[3] and other[1] < bottom), graph["nodes"][n]["type"]
    for group in graph["groups"]:
        x, y, w, h = group["bounding"]
        for left, top, right, bottom in boxes:
            if x < (left + right) / 2 < x + w and y < top + 30 < y + h:
                assert x <= left and y <= top and right <= x + w and bottom <= y + h, group["title"]


@pytest.mark.parametrize("name, count", [("consistent123", 3), ("hifi123", 3), ("magic123", 3), ("stdgen", 2),
                                         ("stdgen_edit", 2)])
def test_loaders_of_public_checkpoints_let_the_browser_offer_missing_files(name, count):
    """The browser's dialog wants metadata whose name is the widget's value, a file name (``registry.template_models``)."""
    from lift123.pipelines.catalog.registry import template_models

    loaders = [n for n in ui(name)["nodes"] if n["type"].startswith("Lift123_Load")]
    single = [n for n in loaders if "." in n["widgets_values"][0]]
    assert len(single) == count, "the dialog offers single files; folders carry the same data for other readers"
    for node in loaders:
        expected = template_models(node["widgets_values"][0])
        assert expected and node["properties"]["models"] == expected
        assert api(name)[str(node["id"])]["inputs"]["checkpoint"] == node["widgets_values"][0]


def test_loaders_of_core_carry_the_same_data():
    """Every loader of a checkpoint in any graph, ComfyUI's own included: a name, an address and a folder."""
    own_files = ("LoadImage", "Lift123_LoadEmbedded", "Lift123_LoadCharacterEmbedded")
    for name in TITLES:
        graph = ui(name)
        inner = [node for part in graph.get("definitions", {}).get("subgraphs", []) for node in part["nodes"]]
        for node in graph["nodes"] + inner:
            if "Load" not in node["type"] or node["type"] in own_files:
                continue
            models = node["properties"]["models"]
            assert models and all(model["url"] and model["directory"] for model in models), (name, node["type"])
            assert models[0]["name"] == node["widgets_values"][0] or "." not in node["widgets_values"][0]


@pytest.mark.parametrize("name", ["consistent123", "magic123", "hifi123", "stdgen", "stdgen_edit"])
def test_graphs_of_papers_end_in_a_measurement(name):
    """Evaluate has what they made and a CLIP network, and its table is shown."""
    prompt = api(name)
    (key,) = (key for key, node in prompt.items() if node["class_type"] == "Lift123_Evaluate")
    given = prompt[key]["inputs"]
    assert prompt[given["clip"][0]]["class_type"] == "Lift123_LoadClip" and isinstance(given["source"], list)
    wired = [node["class_type"] for node in prompt.values() if any(v[:1] == [key] for v in node["inputs"].values()
                                                                  if isinstance(v, list))]
    assert "PreviewImage" in wired and ("Lift123_BakeExport" in wired or name.startswith("stdgen"))


def test_no_machine_paths():
    for path in [*FOLDER.glob("*.json"), *(FOLDER / "api").glob("*.json")]:
        text = path.read_text(encoding="utf-8")
        assert "/home/" not in text and "/Users/" not in text and ":\\" not in text


# -------------------------------------------------------------------------------------- presets


PAPERS = ["magic123", "consistent123", "hifi123", "stdgen", "stdgen_edit"]


@pytest.mark.parametrize("name", PAPERS)
def test_every_graph_of_a_paper_ends_in_evaluate_and_says_what_is_missing(name):
    prompt = api(name)
    (evaluated,) = [n["inputs"] for n in prompt.values() if n["class_type"] == "Lift123_Evaluate"]
    assert prompt[evaluated["clip"][0]]["class_type"] == "Lift123_LoadClip"
    source = prompt[evaluated["source"][0]]["class_type"]
    assert source == ("Lift123_PreviewLayers" if name.startswith("stdgen") else "Lift123_DMTetRefine")
    (note,) = [n["widgets_values"][0] for n in ui(name)["nodes"] if n["type"] == "MarkdownNote"]
    assert "**Evaluate**" in note and "left out and why" in note


def test_no_character_graph_opens_on_the_bear():
    shown = {name: {n["inputs"]["image"] for n in api(name).values() if n["class_type"] == "LoadImage"} for name in NAMES}
    for name, pictures in shown.items():
        if name.startswith("stdgen"):
            assert pictures <= {"lift123_character.png", "lift123_posed_character.png"}, name
    from PIL import Image

    with Image.open(FOLDER / "sample" / "lift123_character.png") as picture:
        assert picture.mode == "RGBA" and picture.size == (512, 512) and picture.getchannel("A").getbbox()[3] > 400


def test_consistent123_has_depth_for_its_depth_loss():
    prompt = api("consistent123")
    (estimate,) = [(k, n) for k, n in prompt.items() if n["class_type"] == "Lift123_EstimateDepth"]
    stage = next(n for n in prompt.values() if n["class_type"] == "Lift123_NerfStage1")
    assert stage["inputs"]["reference"] == [estimate[0], 0]


@pytest.mark.parametrize("name, preset, follow", [("consistent123_quickstart", "QUICKSTART", None),
                                                  ("consistent123", "PAPER", None),
                                                  ("consistent123", "PRINTED", "paper as printed")])
def test_the_graph_is_the_preset(name, preset, follow):
    """The numbers on the nodes are those of ``pipelines/consistent123.py``: nobody edits one and forgets the other."""
    prompt, done = built(name, follow=follow)
    from lift123.pipelines import consistent123

    preset = getattr(consistent123, preset)
    kinds = {key: node["class_type"].removeprefix("Lift123_") for key, node in prompt.items()}

    def source(key, entry):
        return done[prompt[key]["inputs"][entry][0]][prompt[key]["inputs"][entry][1]]

    nerf, second, mesh = (next(k for k, v in kinds.items() if v == n) for n in
                          ("NerfStage1", "DynamicStage2", "DMTetRefine"))
    view, text = source(second, "prior_3d"), source(second, "prior_2d")
    assert (view.settings, text.settings) == (preset.view, preset.text)
    assert (view.guidance, text.guidance) == (preset.view_guidance, preset.text_guidance)
    assert view.angle_scaling == preset.angle_scaling and source(nerf, "prior") == view
    assert source(nerf, "boundary").rule == preset.boundary
    assert prompt[second]["inputs"]["form"] == preset.form
    assert {"phase_local": "local", "global": "global"}.get(prompt[second]["inputs"]["clock"]) == preset.clock
    if prompt[mesh]["inputs"]["prior"] == [second, 1]:
        assert (preset.mesh_view, preset.mesh_text) == (preset.view, preset.text)
    else:
        dynamic = source(mesh, "prior")
        assert (dynamic.prior_3d.settings, dynamic.prior_2d.settings) == (preset.mesh_view, preset.mesh_text)
        assert (dynamic.form, dynamic.clock) == (preset.form, preset.clock)
    inputs = {kinds[k]: node["inputs"] for k, node in prompt.items()}
    assert inputs["NerfStage1"]["preset"] == inputs["DMTetRefine"]["preset"] == preset.name
    assert inputs["NerfStage1"]["iterations"] in (0, preset.nerf.iterations)
    assert inputs["DMTetRefine"]["iterations"] in (0, preset.mesh.iterations)
    assert inputs["DynamicStage2"]["mesh_iterations"] in (0, preset.mesh.iterations)
    assert preset.nerf.mesh_iterations == preset.mesh.iterations
    assert inputs["ReferenceView"]["size"] == preset.reference_size
    bake = inputs["BakeExport"]
    assert (bake["face_budget"], bake["texture_size"], bake["supersample"], bake["picture_texels"]) == (
        preset.bake.faces, preset.bake.size, preset.bake.supersample, preset.bake.picture)


def test_stage_2_finds_the_configuration_of_stage_1_in_the_scene():
    prepare()
    from lift123.nodes.stages import overridden
    from lift123.pipelines.consistent123 import PAPER, QUICKSTART
    from lift123.pipelines.core.settings import configured, describe
    from lift123.pipelines.stages.objects.fit_nerf import NerfConfig

    for config in (PAPER.nerf, overridden(QUICKSTART.nerf, iterations=7, rgb_weight=0.0, render_size=48)):
        assert configured(NerfConfig(), json.loads(json.dumps(describe(config)))) == config
    assert config.iterations == 7 and config.size == 48 and config.rgb(0.5) == 0.0
    assert overridden(QUICKSTART.nerf, iterations=0, rgb_weight=-1.0) == QUICKSTART.nerf


# --------------------------------------------------------------------------------------- server


@pytest.mark.parametrize("name", NAMES)
def test_twin_is_the_conversion(comfy, name):
    """By the real server's own description of the nodes; ``tests/project/test_sync.py`` does it without a server."""
    assert to_api.ui_to_api(ui(name), comfy.info) == api(name)


def test_browser_finds_templates_help_translations_and_sample(comfy):
    assert set(comfy.client.get("/workflow_templates")[comfy.folder]) == set(TITLES.values())
    for name in NAMES:
        base = f"/api/workflow_templates/{comfy.folder}/{quote(TITLES[name])}"
        assert json.loads(comfy.client.raw(base + ".json")) == ui(name)
        assert comfy.client.raw(base + ".jpg")[:2] == b"\xff\xd8"
    assert comfy.client.raw(f"/extensions/{comfy.folder}/docs/Lift123_NerfStage1.md").startswith(b"# NeRF Stage 1")
    assert comfy.client.raw(f"/extensions/{comfy.folder}/js/commands.js")
    assert "Lift123_NerfStage1" in comfy.client.get("/i18n")["en"]["nodeDefs"]
    samples = sorted(file.name for file in (FOLDER / "sample").glob("*.png"))
    assert len(samples) == 7
    for sample in samples:
        assert sample in comfy.info["LoadImage"]["input"]["required"]["image"][0]


def test_paper_preset_without_its_checkpoints_is_refused_with_instructions(comfy):
    from helpers.comfy_server import PromptFailed

    with pytest.raises(PromptFailed, match="zero123-xl.ckpt into models/checkpoints/") as refusal:
        comfy.run(api("consistent123"))
    assert "models/lift123_clip" in str(refusal.value) and "Nothing is downloaded" in str(refusal.value)


def check_results(comfy, entry):
    """The four files exist, the GLB has a texture, the manifest tells the story."""
    from lift123.pipelines.io.glb_reader import read_glb

    outputs = [o["lift123_files"][0] for o in entry["outputs"].values() if "glb" in o.get("lift123_files", [{}])[0]]
    files = {kind: comfy.output / f["subfolder"] / f["filename"] for kind, f in outputs[0].items()}
    assert set(files) == {"glb", "turntable", "contact_sheet", "manifest", "curves"}
    assert all(p.stat().st_size for p in files.values())
    mesh = read_glb(files["glb"].read_bytes())
    assert mesh.texture is not None and len(mesh.faces) > 50
    manifest = json.loads(files["manifest"].read_text())
    assert manifest["results"]["boundary"]["switch_step"] and len(manifest["weights"]) >= 5
    assert {"NeRF stage 1", "DMTet refine"} <= set(manifest["timings_seconds"]) and manifest["graph"]
    assert files["turntable"].read_bytes()[8:12] == b"WEBP"
    return files


def test_quickstart_runs_with_previews_and_text_and_repeats_byte_for_byte(comfy, weights):
    prompt = changed(api("consistent123_quickstart"), **SMALL)
    entry, messages = comfy.events(prompt, timeout=900)
    files = check_results(comfy, entry)
    binary = [m for m in messages if isinstance(m, (bytes, bytearray))]
    kinds = {struct.unpack(">I", m[:4])[0] for m in binary}
    texts = [m[8:].decode("utf-8", "ignore") for m in binary if m[:4] == b"\x00\x00\x00\x03"]
    assert kinds & {1, 4}, "live pictures"
    assert any("NeRF stage 1" in t or "NeRF " in t for t in texts) and any("Mesh" in t or "DMTet" in t for t in texts)
    for attempt in range(4):  # until ComfyUI has dropped its cached results: a busy worker looks for the flag late
        comfy.client.post("/free", {"unload_models": True, "free_memory": True})
        time.sleep(1.5 + 2 * attempt)
        again = check_results(comfy, comfy.run(prompt, timeout=900))
        if again["glb"] != files["glb"]:
            break
    assert again["glb"] != files["glb"] and again["glb"].read_bytes() == files["glb"].read_bytes()


def test_paper_preset_runs_with_embedded_networks(comfy, weights):
    embedded = {"checkpoint": "embedded"}
    fewer = {"NerfStage1": {**SMALL["NerfStage1"], "iterations": 8},  # its field and grid are made for a GPU
             "ClipBoundary": {"interval": 4, "window": 1, "size": 32, "views": 2}, "ReferenceView": {"size": 128}}
    prompt = changed(api("consistent123"), **{**SMALL, **fewer, "LoadViewPrior": embedded, "LoadTextPrior": embedded,
                                              "LoadClip": embedded, "LoadDepth": embedded})
    check_results(comfy, comfy.run(prompt, timeout=900))
    assert list((comfy.output / "lift123").glob("consistent123_scene_*.safetensors"))


def long_stage(prompt):
    """Only picture, networks and a NeRF stage that would run for hours."""
    prompt = changed(prompt, **{**SMALL, "NerfStage1": {**SMALL["NerfStage1"], "iterations": 50000}})
    stage = next(k for k, n in prompt.items() if n["class_type"] == "Lift123_NerfStage1")
    del prompt[stage]["inputs"]["boundary"]
    keep = {k: n for k, n in prompt.items() if n["class_type"].removeprefix("Lift123_") in (
        "LoadImage", "ReferenceView", "LoadEmbedded", "EstimateDepth", "PriorSchedule", "ViewPrior", "NerfStage1")}
    keep["99"] = {"class_type": "Lift123_SaveScene", "inputs": {"scene": [stage, 0], "filename_prefix": "lift123/early"}}
    return keep


def test_finish_with_what_you_have(comfy, weights):
    asked = []

    def ask(job, message):
        if not asked and "NeRF" in job.text:
            asked.append(comfy.client.post("/lift123/finish", {}))

    entry = comfy.run(long_stage(api("consistent123_quickstart")), timeout=600, on_event=ask)
    assert asked[0]["finishing"] and "lift123/early" in json.dumps(entry["outputs"]).replace("\\\\", "/")
    assert comfy.client.post("/lift123/finish", {}) == {"finishing": []}


def test_interruption_keeps_the_partial_scene(comfy, weights):
    from helpers.comfy_server import PromptFailed

    before = set(comfy.output.rglob("partial_*.safetensors"))
    asked = []

    def interrupt(job, message):
        if not asked and "NeRF" in job.text:
            asked.append(True)
            comfy.client.interrupt()

    prompt = long_stage(changed(api("consistent123_quickstart"), ReferenceView={"border": 0.25}))
    with pytest.raises(PromptFailed) as stopped:
        comfy.run(prompt, timeout=600, on_event=interrupt)
    assert stopped.value.interrupted
    partial = set(comfy.output.rglob("partial_nerf_stage_1_*.safetensors")) - before
    assert len(partial) == 1
    back = {"1": {"class_type": "Lift123_LoadScene", "inputs": {
                "file": partial.pop().relative_to(comfy.output).as_posix()}},
            "2": {"class_type": "Lift123_RenderViews", "inputs": {
                "source": ["1", 0], "size": 32, "frames": 2, "elevation": 0.0, "radius": 3.2, "fovy": 20.0, "what": "rgb"}},
            "3": {"class_type": "PreviewImage", "inputs": {"images": ["2", 0]}}}
    assert len(comfy.run(back, timeout=300)["outputs"]["3"]["images"]) == 2
