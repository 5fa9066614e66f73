"""The real page in a real browser: the template loads, runs from the queue button, previews, and ends in the viewer.

One browser session does what a person does; the tests look at its report and its screenshots (kept in
``$LIFT123_SCREENSHOTS`` when that is set).
"""

import json
from pathlib import Path

import pytest
import torch
from helpers.page import colorful, driver, our_errors, pixels
from helpers.two_runs import write_two_runs
from lift123.launcher import browser, jobs, settings
from lift123.launcher.shipped import TITLES, graph_file, twin_file
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent.parent
NAME = settings.QUICKSTART
FEW = {  # enough to pass through every stage; quality has its own benchmark
    "Lift123_NerfStage1": {"iterations": 40, "preview_every": 2},
    "Lift123_DynamicStage2": {"mesh_iterations": 20},
    "Lift123_DMTetRefine": {"iterations": 20},
    "Lift123_BakeExport": {"texture_size": 256, "frames": 8, "turntable_size": 96},
}
FORMER = {"Lift123_Canonicalize": "Lift123_Canonicalise", "Lift123_LoadCanonicalizer": "Lift123_LoadCanonicaliser"}


@pytest.fixture(scope="module")
def drive():
    """The browser of all tests here: a ``helpers.page.Driver``."""
    with driver() as running:
        yield running


def shipped(name: str) -> dict:
    return json.loads(graph_file(name).read_text(encoding="utf-8"))


def with_the_preset_last(graph: dict) -> dict:
    """As it was saved when the presets stood behind the numbers."""
    for node in graph["nodes"]:
        if node["type"] in ("Lift123_NerfStage1", "Lift123_DMTetRefine"):
            place = [slot["name"] for slot in node["inputs"]].index("preset")
            node["inputs"] = [slot for slot in node["inputs"] if slot["name"] not in ("preset", "quality")] + [
                node["inputs"][place]]
            node["widgets_values"] = [*node["widgets_values"][1:-1], node["widgets_values"][0]]  # quality was not there
    return graph


def character(comfy) -> Path:
    """A character's GLB, exported from the canvas of ``stdgen_quickstart``, with a toy object for a body."""
    prompt = {"1": {"class_type": "Lift123_ToyObject", "inputs": {"size": 32, "azimuth": 0.0, "elevation": 0.0, "seed": 7}},
              "2": {"class_type": "Lift123_JoinLayers", "inputs": {"body": ["1", 4], "fit": True}},
              "3": {"class_type": "Lift123_ExportCharacter", "inputs": {
                  "layers": ["2", 0], "filename_prefix": "lift123/dropped", "height": 1.6, "facing": "+z",
                  "colors": "vertex colors", "texture_size": 64, "face_budget": 100}}}
    entry = jobs.run(comfy.client, prompt, workflow=shipped("stdgen_quickstart"), alive=comfy.server.alive, timeout=300)
    return next(path for path in comfy.files(entry) if path.suffix == ".glb")


@pytest.fixture(scope="module")
def session(comfy, drive, tmp_path_factory):
    """The quickstart, opened from the template browser and run with few iterations; then its results are dropped."""
    names = comfy.client.get("/workflow_templates")[comfy.folder]  # in the order of the page, which draws cards as one scrolls
    graphs = [{"file": "old order", "data": with_the_preset_last(shipped("prior_both"))}]
    graphs += [{"file": path.stem, "data": json.loads(path.read_text(encoding="utf-8"))}
               for path in sorted((ROOT / "subgraphs").glob("*.json"))]
    return drive(comfy, tmp_path_factory.mktemp("browser"), templates=names, openTemplate=TITLES[NAME], widgets=FEW, run=True,
                 timeout=600, viewer="Preview3D", look=True, appMode=True, drop=[str(character(comfy))], graphs=graphs,
                 results=True)


def test_templates_show_with_thumbnails(session):
    names = list(TITLES.values())
    for name in names:
        assert name in session["templateText"]
        assert session["thumbnails"].get(f"{name}.jpg") == 200, f"{name}: {session['thumbnails']}"
    assert session["shownPictures"] >= len(names) and session["cardsMissing"] == []


def test_the_template_loads_without_missing_nodes(session):
    workflow = json.loads(graph_file(NAME).read_text(encoding="utf-8"))
    assert session["graph"]["missing"] == []
    assert sorted(session["graph"]["types"]) == sorted(node["type"] for node in workflow["nodes"])


def test_the_page_makes_the_shipped_api_prompt(session):
    """workflows/api/NAME.json is what the browser itself sends."""
    shipped = json.loads(twin_file(NAME).read_text(encoding="utf-8"))

    def plain(prompt: dict) -> dict:
        return {key: (node["class_type"], {k: v for k, v in node["inputs"].items()
                                           if (node["class_type"], k) != ("Preview3D", "image")})
                for key, node in prompt.items()}

    assert plain(session["graph"]["api"]) == plain(shipped)


def test_it_runs_from_the_queue_button_with_previews_and_text(session):
    assert session["usedButton"] and session["run"]["end"] == "success", session["run"]["end"]
    assert session["run"]["previews"] >= 3
    texts = [text for text in session["run"]["texts"] if "/" in text]
    assert any(" left" in text.split("\n")[0] for text in texts), texts[:5]
    wanted = {f"{node}.{name}" for node, values in FEW.items() for name in values}
    assert set(session["set"]) == wanted, "a widget of the workflow changed its name"


def test_the_result_shows_in_the_3d_viewer(session):
    boxes = [box for box in session["viewerBoxes"] if box["height"] > 250]
    assert boxes, session["viewerBoxes"]
    box = boxes[0]
    x, y, w, h = (int(box[key]) for key in ("x", "y", "width", "height"))
    middle = pixels(session, "viewer")[y + h // 4 : y + 3 * h // 4, x + w // 4 : x + 3 * w // 4]
    assert colorful(middle) > 0.05, f"the viewer is empty: {session['out'] / 'viewer.png'}"


def boxes_that_overlap(nodes: list) -> list:
    """Titles of pairs whose rectangles, title bars included, share more than a hair."""
    def apart(a, b):
        return a["x"] + a["w"] <= b["x"] + 1 or a["y"] + a["h"] <= b["y"] + 1

    return [(a["title"], b["title"]) for n, a in enumerate(nodes) for b in nodes[n + 1 :] if not apart(a, b) and not apart(b, a)]


@pytest.mark.parametrize("moment", ["before", "after", "afterOther"])
def test_the_quickstart_fits_and_nothing_overlaps(session, moment):
    """Opened, run, and then in the other node renderer: rectangles as the page draws them."""
    nodes = session[moment]["nodes"]
    assert len(nodes) == 6 and {n["vue"] for n in nodes} == {moment == "afterOther"}
    assert not boxes_that_overlap(nodes), nodes
    assert max(n["x"] + n["w"] for n in nodes) - min(n["x"] for n in nodes) <= 1900
    assert max(n["y"] + n["h"] for n in nodes) - min(n["y"] for n in nodes) <= 1100


def test_letters_can_be_read_at_the_zoom_of_the_template(session):
    """Notes and text areas have letters of their own (a setting of the page, 10 at zoom 1), which a wider window enlarges."""
    assert session["before"]["letters"]["canvas"] >= 10
    sizes = sorted(entry["px"] for entry in session["afterOther"]["letters"]["sizes"])
    assert sizes[0] >= 8 and sum(size >= 9.7 for size in sizes) > len(sizes) / 2, session["afterOther"]["letters"]


def test_results_dropped_on_the_canvas_bring_their_graph_back(session):
    dropped = {Path(entry["file"]).name: entry["types"] for entry in session["dropped"]}
    kinds = sorted(name.split("_")[-1].split(".")[-1] for name in dropped)
    assert kinds == ["glb", "glb", "json", "png", "webp"], dropped
    for name, types in dropped.items():
        graph = shipped("stdgen_quickstart" if name.startswith("dropped") else NAME)
        assert sorted(types) == sorted(node["type"] for node in graph["nodes"]), name


def test_app_mode_is_a_form_of_the_quickstart(session):
    said = session["app"]["text"] + " ".join(session["app"]["values"])
    for word in ("prompt", "quality", "seed", "a pink bear striped with brown"):
        assert word in said, said
    assert max(session["app"]["shown"]) > 300 and ".glb" in session["app"]["text"], "the result of the run before, in the viewer"


def test_blueprints_open_and_are_listed(comfy, session):
    names = {path.stem for path in (ROOT / "subgraphs").glob("*.json")}
    listed = {entry["name"] for entry in comfy.client.get("/global_subgraphs").values()
              if entry["info"]["node_pack"].endswith(comfy.folder)}
    entries = session["graphs"][1:]
    assert listed == names == {entry["file"] for entry in entries} and len(names) == 6
    for entry in entries:
        assert entry["missing"] == [], entry
        labels = {"Picture to 3D": "iterations (preset: 200)", "HiFi-123": "render_size (preset: 128)",
                  "StdGEN": "steps (preset: 200)",  # these two by the wire of a node of settings
                  "Magic123": "render_size (preset: 128)", "Consistent123": "render_size (preset: 128)"}
        assert labels.get(entry["file"]) in [None, *entry["labels"]], entry["labels"]
        assert {"Lift123_DMTetRefine", "Lift123_RefineLayers"} & set(entry["inside"]) & set(entry["sent"]), entry


def test_curves_and_surfaces_come_while_stages_run(session):
    """Of all three, each as long as the stage; the surfaces are files of the temp folder."""
    curves = session["run"]["curves"]
    assert len(curves) == 3 and all(0 < curve["steps"][-1] <= curve["total"] for curve in curves.values())
    assert all({"rgb", "mask"} <= set(curve["losses"]) for curve in curves.values())
    assert min(session[moment]["curve"] for moment in ("after", "afterOther")) > 60, "the last stage's is still in sight"
    assert session["run"]["surfaces"] and {s["file"]["type"] for s in session["run"]["surfaces"]} == {"temp"}


def test_the_end_of_a_run_is_told_with_its_picture_path_and_size(session):
    assert "is ready after" in session["ended"]["text"] and "turntable.webp" in session["ended"]["file"]
    last = [line.strip() for line in [text for text in session["run"]["texts"] if " faces" in text][-1].split("\n")]
    assert last[0].startswith("output/lift123/") and last[0].endswith(".glb") and " | " in last[1]


def test_results_have_a_menu_and_wires_and_nodes_have_colors(session):
    seen = session["results"]
    own = ["Copy path", "Open folder", "Send to Compare", "Use as reference"]
    assert [entry for entry in seen["menu"] if entry in own] == own  # extensions are asked in any order
    assert seen["compare"][0][0].startswith("lift123/") and seen["compare"][0][1] == ""
    assert any(str(values[0]).startswith("lift123/") for values in seen["loaders"]), "its picture, as the next reference"
    assert seen["wire"] == seen["slot"] == "#4fd1c5" and seen["colors"]["Lift123_BakeExport"]


def test_values_follow_their_inputs_when_those_have_moved(session):
    """A graph saved in the former order of inputs sends what it did."""
    old = session["graphs"][0]
    twin = json.loads(twin_file("prior_both").read_text(encoding="utf-8"))
    stages = [key for key, node in twin.items() if node["class_type"] in ("Lift123_NerfStage1", "Lift123_DMTetRefine")]
    assert len(stages) == 2 and old["missing"] == []
    assert [old["api"][key]["inputs"] for key in stages] == [twin[key]["inputs"] for key in stages]


def test_no_console_errors_of_ours(session):
    assert not our_errors(session), our_errors(session)
    assert not [line for line in session["failedRequests"] if "lift123" in line.lower()]


def test_the_template_loads_in_the_new_node_renderer(comfy, drive, tmp_path):
    """Nodes 2.0, the default of new installations, draws nodes as page elements."""
    stage = working(comfy)
    report = drive(comfy, tmp_path, workflow=str(graph_file(NAME)), vueNodes=True, stage=stage)
    assert report["graph"]["missing"] == [] and not our_errors(report), our_errors(report)
    assert (tmp_path / "finished.png").stat().st_size > 20000
    shows_the_stage(report["stage"], stage["text"])
    shows_the_stage(report["stageOther"], stage["text"])


def working(comfy) -> dict:
    """What the quickstart's first stage tells the page halfway."""
    from lift123.pipelines.core.mesh import Mesh
    from lift123.pipelines.io.glb import write_glb

    corners = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]])
    faces = torch.tensor([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]])
    write_glb(comfy.output / "live.glb", Mesh(corners, faces, vertex_colors=corners))
    graph = json.loads(twin_file(NAME).read_text(encoding="utf-8"))
    node = next(key for key, entry in graph.items() if entry["class_type"] == "Lift123_NerfStage1")
    return {"node": node, "file": {"filename": "live.glb", "subfolder": "", "type": "output"},
            "text": "50 % | 1 min 5 s left | 1.4 GB\nrgb 0.25 | CLIP score 0.27\nNeRF 40/80"}


def shows_the_stage(seen: dict, text: str) -> None:
    """Text, picture, curves, their names and a surface stand in the closed subgraph's node, wholly inside of it."""
    host = shipped(NAME)["definitions"]["subgraphs"][0]["id"]
    assert [name for name, widgets in seen["nodes"] if "lift123_live" in (widgets or [])] == [host]
    assert all(word in seen["words"] for word in (*text.split("\n"), "rgb", "mask", "prior", "CLIP score 0.27"))
    assert seen["inked"] >= 4 and seen["views"] == 1, "four lines in colors of their own, and ComfyUI's viewer"
    assert seen["picture"] == 64 and min(seen["inside"]) >= 0 and min(seen["size"]) > 200, seen


def test_a_newer_page_opens_todays_graphs_without_complaint(comfy, drive, tmp_path):
    """Nothing is missing and the same is sent; the page's files are another release's."""
    page = browser.newer_page(settings.default_paths())
    assert (page / "index.html").exists(), "python3 launch.py test installs it"
    names = [NAME, "magic123"]  # a closed method; many nodes, choices by wire
    report = drive(comfy, tmp_path, page=str(page), vueNodes=True, graphs=[{"file": n, "data": shipped(n)} for n in names])
    assert {path.name for path in (page / "assets").glob("index-*.js")} & set(report["scripts"]), "it is that page"
    assert not our_errors(report), our_errors(report)
    for seen in report["graphs"]:
        twin = json.loads(twin_file(seen["file"]).read_text(encoding="utf-8"))
        assert seen["missing"] == [] and ours_in(seen["api"]) == ours_in(twin), seen["file"]


def ours_in(prompt: dict) -> dict:
    """The pack's nodes of a prompt: type and inputs by id."""
    return {key: (node["class_type"], node["inputs"]) for key, node in prompt.items()
            if node["class_type"].startswith("Lift123_")}


def test_a_wrong_graph_is_refused_at_its_node_and_help_leads_on(comfy, drive, tmp_path):
    seen = drive(comfy, tmp_path, workflow=str(graph_file(NAME)), help=True)["help"]
    assert set(seen["refused"]) == {"Lift123_NerfStage1"}, "the node that is wrong is outlined, no other"
    assert "Wire RGSD Prior into DMTet Refine" in seen["refused"]["Lift123_NerfStage1"]
    width, shown = seen["picture"]
    assert width == 256 and 0 < shown <= 272, "it fits the panel"
    assert "Reference View" in seen["followed"], "in the same panel"
    assert seen["mark"] == "?"


def test_the_browser_offers_the_missing_checkpoints_of_a_template(comfy, drive, tmp_path):
    """Its missing-model dialog reads the metadata that the loaders of a template carry; what it would queue is the twin,
    settings wired into choices and a bypassed node included."""
    report = drive(comfy, tmp_path, workflow=str(graph_file("magic123")), click="View details")
    assert report["graph"]["types"] and report["text"]
    twin = json.loads(twin_file("magic123").read_text(encoding="utf-8"))
    for key, node in twin.items():
        if node["class_type"].startswith("Lift123_"):
            assert report["graph"]["api"][key]["inputs"] == node["inputs"], node["class_type"]
    wanted = [node["widgets_values"][0] for node in json.loads(graph_file("magic123").read_text())["nodes"]
              if node["properties"].get("models") and "." in node["widgets_values"][0]]
    assert len(wanted) == 3 and all(name in report["text"] for name in wanted), report["text"]


def test_a_graph_of_former_names_opens_with_todays(comfy, drive, tmp_path):
    """Nothing is missing, no error is shown, and values and wires stay."""
    old = json.loads(graph_file("stdgen").read_text(encoding="utf-8"))
    now = {}
    for node in old["nodes"]:
        now[node["id"]] = node["type"]
        for new, former in FORMER.items():
            if node["type"] == new:
                node["type"] = former
        if node["type"] == "Lift123_LoadClip":
            node["widgets_values"][0] = "embedded"  # the page marks a file that is missing
        if node["type"] == "Lift123_ProjectColors":
            node["widgets_values"][1] = "layers without colours"
    assert set(FORMER.values()) <= {node["type"] for node in old["nodes"]}
    path = tmp_path / "old.json"
    path.write_text(json.dumps(old), encoding="utf-8")
    report = drive(comfy, tmp_path, workflow=str(path))
    assert report["graph"]["missing"] == [] and sorted(report["graph"]["types"]) == sorted(now.values())
    shipped = json.loads(twin_file("stdgen").read_text(encoding="utf-8"))
    sent = report["graph"]["api"]
    for key, node in shipped.items():
        if node["class_type"] in (*FORMER, "Lift123_ProjectColors"):
            expected = dict(node["inputs"])
            if node["class_type"] == "Lift123_ProjectColors":
                expected["paint"] = "layers without colors"
            assert (sent[key]["class_type"], sent[key]["inputs"]) == (node["class_type"], expected)


def test_two_runs_are_compared_in_their_node(comfy, drive, tmp_path):
    """Turntables, curves and differences are all seen, inside of the node, in both renderers."""
    write_two_runs(comfy.output / "compared", save_animation)
    node = {"id": 1, "type": "Lift123_CompareRuns", "pos": [50, 50], "size": [300, 250], "flags": {}, "order": 0, "mode": 0,
            "inputs": [], "outputs": [], "properties": {}, "widgets_values": ["", "", "compared", "compared/both"]}
    (tmp_path / "compare.json").write_text(json.dumps({
        "last_node_id": 1, "last_link_id": 0, "version": 0.4, "config": {}, "extra": {}, "groups": [], "links": [],
        "nodes": [node]}))
    report = drive(comfy, tmp_path, workflow=str(tmp_path / "compare.json"), run=True, timeout=60, pictures=["both_0", 3])
    assert report["run"]["end"] == "success" and not our_errors(report), our_errors(report)
    for seen in (report["pictures"], report["picturesOther"]):
        assert sorted(entry["file"].rpartition("_")[2] for entry in seen) == ["curves.png", "differences.png", "turntables.webp"]
        assert all(min(entry["width"], entry["height"]) > 80 and entry["below"] > 0 for entry in seen), seen
        assert max(entry["width"] for entry in seen) < 420, "none is wider than its node"


def save_animation(pictures: torch.Tensor, path: Path) -> None:
    """[N, H, W, 3] as a moving WebP."""
    frames = [Image.fromarray((picture * 255).byte().numpy()) for picture in pictures]
    frames[0].save(path, save_all=True, append_images=frames[1:])


def old_batch_graph() -> dict:
    """A list of three numbers and what shows them, as saved before the list had its last widget."""
    return {
        "last_node_id": 2, "last_link_id": 1, "version": 0.4, "config": {}, "extra": {}, "groups": [],
        "links": [[1, 1, 2, 2, 0, "STRING"]],
        "nodes": [
            {"id": 1, "type": "Lift123_BatchList", "pos": [50, 50], "size": [400, 400], "flags": {}, "order": 0, "mode": 0,
             "inputs": [], "properties": {}, "widgets_values": ["", "1 2 3", "in_the_page", 0, True, "numbers", ""],
             "outputs": [{"name": n, "type": t, "links": [1] if n == "text" else None} for n, t in (
                 ("image", "IMAGE"), ("mask", "MASK"), ("text", "STRING"))]},
            {"id": 2, "type": "PreviewAny", "pos": [600, 50], "size": [300, 200], "flags": {}, "order": 1, "mode": 0,
             "inputs": [{"name": "source", "type": "*", "link": 1}], "outputs": [], "properties": {}, "widgets_values": []},
        ],
    }


def test_the_page_follows_a_batch_that_goes_on_by_itself(comfy, drive, tmp_path):
    """One click runs all three; the page that clicked sees every run, and the button that ends a batch answers."""
    (tmp_path / "batch.json").write_text(json.dumps(old_batch_graph()))
    report = drive(comfy, tmp_path, workflow=str(tmp_path / "batch.json"), vueNodes=True, click="Stop after this one", run=True,
                   runs=3, timeout=300)
    assert report["graph"]["missing"] == [] and not our_errors(report), our_errors(report)
    assert report["graph"]["api"]["1"]["inputs"]["pace"] == "one run each"
    assert "No batch is running" in report["text"]
    assert report["run"]["end"] == "success" and [str(n) for n in report["run"]["executed"]].count("2") == 3
    assert [t.split(".")[0] for t in report["run"]["texts"]] == [f"model {n} of 3: {n}" for n in (1, 2, 3)]
