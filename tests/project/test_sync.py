"""What is generated is what the schemas say; generators leave alone what a person wrote."""

import copy
import json
import re

import pytest
from conftest import ROOT
from helpers.comfy_modules import prepare

prepare()
from lift123.launcher import shipped
from lift123.sync import blueprints, definitions, files, graphs, pages, subgraphs, translations
from lift123.sync.definitions import SyncError

NODES = definitions.pack_nodes()
TITLES = {name: node.GET_SCHEMA().display_name for name, node in NODES.items()}


@pytest.fixture(scope="module")
def wanted():
    return files.wanted()


def test_nothing_is_stale(wanted):
    stale = [file.relative_to(ROOT).as_posix() for file in files.stale(wanted)]
    assert not stale, f"{files.REMEDY}: {', '.join(stale)}"


def test_every_node_has_a_page_and_every_graph_a_twin(wanted):
    names = {file.relative_to(ROOT).as_posix() for file in wanted}
    assert {f"web/docs/{name}.md" for name in NODES} <= names
    for name, title in shipped.TITLES.items():
        assert {f"workflows/{title}.json", f"workflows/api/{name}.json"} <= names


def test_a_second_sync_changes_nothing(wanted, tmp_path):
    copied = {tmp_path / file.relative_to(ROOT): text for file, text in wanted.items()}
    assert set(files.write(copied)) == set(copied) and not files.write(copied)
    assert files.wanted(tmp_path) == copied


def test_from_nothing_but_schemas(tmp_path):
    """Without translations and pages all of them are made; pages then hold the lists alone."""
    made = files.wanted(tmp_path)
    # two of words, former names, places in the menu, presets' numbers; without graphs no blueprints
    assert len(made) == len(NODES) + 5
    page = made[tmp_path / "web" / "docs" / "Lift123_NerfStage1.md"]
    assert page.startswith("# NeRF Stage 1\n\nFits a hash-grid NeRF") and "## Good to know" not in page
    assert "\n- **seed**: Same seed, same machine: same result. Default 0, 0 to 2^32 - 1. `INT`\n" in page


# ---------------------------------------------------------------------------------------------- words


def test_main_words_cover_every_menu_folder_and_wire(wanted):
    words = json.loads(wanted[ROOT / "locales" / "en" / "main.json"])
    folders = {folder for node in NODES.values() for folder in node.GET_SCHEMA().category.split("/")[1:]}
    assert set(words["nodeCategories"]) == folders and "characters" in folders
    used = {t for node in NODES.values() for part in [*node.GET_SCHEMA().inputs, *node.GET_SCHEMA().outputs]
            for t in part.get_io_type().split(",") if t.startswith("LIFT123_")}
    assert set(words["dataTypes"]) == used
    assert words["dataTypes"]["LIFT123_SLRM"] == "S-LRM"
    assert words["dataTypes"]["LIFT123_VIEW_NETWORK"] == "VIEW NETWORK"


def test_a_node_does_not_vanish_in_silence(tmp_path):
    names = tmp_path / "nodeDefs.json"
    names.write_text(json.dumps({"Lift123_Canonicalise": {}, **dict.fromkeys(NODES, {})}))
    made = json.loads(files.locales(NODES, tmp_path)[names])  # the old one has a new name
    assert made == translations.node_definitions(NODES)
    left = {name: node for name, node in NODES.items() if name != "Lift123_Estimate"}
    with pytest.raises(SyncError, match="Lift123_Estimate has gone.*host/renamed.py"):
        files.locales(left, tmp_path)


def test_pages_keep_what_a_person_wrote():
    schema = NODES["Lift123_PreviewLayers"].GET_SCHEMA()
    page = files.read(ROOT / "web" / "docs" / "Lift123_PreviewLayers.md")
    torn = page.replace("# Preview Layers", "# Old Name").replace("Height of the pictures", "Side")
    torn = torn.replace("- **at**:", "- **gone**:").replace("[S-LRM](Lift123_LiftLayers.md)", "[Nothing](Lift123_Gone.md)")
    assert torn != page and pages.help_page(schema, torn, titles=TITLES) == page
    more = page.replace("## See also", "## A person's section\n\nStays.\n\n## See also")
    assert pages.help_page(schema, more, titles=TITLES) == more
    assert "## Good to know\n\n- The mesh output shows the same in a 3D viewer." in page


def test_a_page_shows_its_picture_and_links_the_nodes_it_names():
    schema = NODES["Lift123_BakeExport"].GET_SCHEMA()
    page = pages.help_page(schema, "# Old\n\nOld.\n\n![Old](pictures/Old.jpg)\n\nBehind Batch List; no Export.\n", True, TITLES)
    assert page.count("![") == 1 and "![Bake and Export](pictures/Lift123_BakeExport.jpg)\n\nBehind Batch List" in page
    assert "## See also\n\n" in page and "[Batch List](Lift123_BatchList.md)" in page
    assert "[Evaluate](Lift123_Evaluate.md)" in page, "its metrics input names it"
    assert "(Lift123_BakeExport.md)" not in page, "no link to itself"
    assert pages.help_page(schema, page, True, TITLES) == page


def test_pictures_of_help_pages_are_small_and_links_lead_somewhere():
    folder = ROOT / "web" / "docs"
    pictures = sorted((folder / pages.PICTURES).iterdir())
    assert {picture.stem for picture in pictures} <= set(NODES) and len(pictures) > 30
    assert sum(picture.stat().st_size for picture in pictures) < 1_000_000
    for page in folder.glob("*.md"):
        for link in re.findall(r"\]\(([^)#]+)\)", files.read(page)):
            assert link.startswith("http") or (folder / link).is_file(), f"{page.name}: {link}"


def test_no_wide_table_in_a_panel_of_272_pixels():
    for page in (ROOT / "web" / "docs").glob("*.md"):
        heads = [line for line in files.read(page).splitlines() if line.startswith("|--") or line.startswith("| --")]
        assert all(line.count("|") <= 4 for line in heads), f"{page.name}: more than three columns"


def test_the_list_of_nodes_stands_between_its_markers():
    with pytest.raises(SyncError, match="lacks the lines"):
        pages.node_list(NODES, "# Nodes\n")
    page = pages.node_list(NODES, f"# Nodes\n\n{pages.BEGIN}\nold\n{pages.END}\n\nBelow.\n")
    assert page.startswith(f"# Nodes\n\n{pages.BEGIN}\n| menu |") and page.endswith(f"|\n{pages.END}\n\nBelow.\n")
    rows = [line for line in page.splitlines() if line.startswith("| ") and not line.startswith("| menu")]
    assert len(rows) == len(NODES) and "old" not in page.split("\n")
    assert pages.node_list(NODES, page) == page


def test_first_sentences():
    assert pages.first_sentence("Draws it (StdGEN Sec. 3.1). More.") == "Draws it (StdGEN Sec. 3.1)."
    assert pages.first_sentence("A .glb or .obj file. It is read.") == "A .glb or .obj file."
    assert pages.first_sentence("One sentence") == "One sentence."


# --------------------------------------------------------------------------------------------- graphs


def test_converter_on_a_small_graph():
    """Seeds and uploads have a companion value; muted nodes and their links disappear."""
    info = {
        "A": {"input": {"required": {"image": [["x"], {"image_upload": True}], "seed": ["INT", {
            "control_after_generate": True}], "n": ["INT", {"default": 5}], "in": ["IMAGE"]}},
            "input_order": {"required": ["image", "seed", "n", "in"]}, "display_name": "Node A"},
        "B": {"input": {"required": {}}, "input_order": {"required": []}, "display_name": "B"},
    }
    slot = {"name": "in", "type": "IMAGE", "link": 7}
    nodes = [{"id": 2, "type": "A", "inputs": [slot], "widgets_values": ["x", "image", 3, "fixed", 9]},
             {"id": 1, "type": "B", "title": "mine"}]
    prompt = graphs.ui_to_api({"nodes": nodes, "links": [[7, 1, 0, 2, 0, "IMAGE"]]}, info)
    assert prompt["2"] == {"class_type": "A", "_meta": {"title": "Node A"},
                           "inputs": {"image": "x", "seed": 3, "n": 9, "in": ["1", 0]}}
    assert prompt["1"]["_meta"]["title"] == "mine"
    nodes[1]["mode"] = 2
    assert list(graphs.ui_to_api({"nodes": nodes, "links": [[7, 1, 0, 2, 0, "IMAGE"]]}, info)["2"]["inputs"]) == [
        "image", "seed", "n"]
    with pytest.raises(ValueError, match="no node 'C'"):
        graphs.ui_to_api({"nodes": [{"id": 1, "type": "C"}], "links": []}, info)


@pytest.fixture(scope="module")
def info():
    return definitions.object_info({"LoadImage", "PreviewImage", "Preview3D"})


def graph_of(name):
    return json.loads(files.read(shipped.graph_file(name)))


@pytest.fixture
def flat():
    """A graph without subgraphs."""
    return graph_of("prior_both")


def with_input(info, node, name, spec, before):
    """``info`` in which a node has one more required input, in front of ``before``."""
    info = copy.deepcopy(info)
    info[node]["input"]["required"][name] = spec
    order = info[node]["input_order"]["required"]
    order.insert(order.index(before), name)
    return info


@pytest.mark.parametrize("graph, before", [("prior_both", "iterations"), ("prior_both", "seed"), ("prior_both", "preset"),
                                           ("consistent123_quickstart", "seed")])
def test_a_new_number_gets_its_default_where_it_belongs(info, graph, before):
    """Whatever stands around it (a seed has two values), nothing else of the graph and its twin changes; inside of a
    subgraph, too."""
    given = graph_of(graph)
    more = with_input(info, "Lift123_NerfStage1", "new", ["FLOAT", {"default": 0.25, "min": 0.0, "max": 1.0}], before)
    full, twin = graphs.filled_in(given, more), graphs.ui_to_api(given, info)
    after = graphs.ui_to_api(full, more)
    stage, old = (next(n for n in subgraphs.all_nodes(g) if n["type"] == "Lift123_NerfStage1") for g in (full, given))
    (sent,) = (n for n in after.values() if n["class_type"] == "Lift123_NerfStage1")
    assert sent["inputs"].pop("new") == 0.25 and after == twin
    place = stage["widgets_values"].index(0.25)
    assert stage["widgets_values"][:place] + stage["widgets_values"][place + 1:] == old["widgets_values"]
    assert {"name": "new", "type": "FLOAT", "widget": {"name": "new"}, "link": None} in stage["inputs"]
    assert graphs.filled_in(full, more) == full


def test_another_order_of_inputs_moves_values_with_their_names(info, flat):
    """A graph that was saved when the preset stood last: its twin is the same, and filled in it has today's order."""
    node = next(n for n in flat["nodes"] if n["type"] == "Lift123_NerfStage1")
    old = copy.deepcopy(flat)
    was = next(n for n in old["nodes"] if n["id"] == node["id"])
    place = next(k for k, s in enumerate(was["inputs"]) if s["name"] == "preset")
    was["inputs"].append(was["inputs"].pop(place))
    was["widgets_values"].append(was["widgets_values"].pop(0))
    assert was["widgets_values"] != node["widgets_values"] and graphs.ui_to_api(old, info) == graphs.ui_to_api(flat, info)
    assert graphs.filled_in(old, info) == flat


# ------------------------------------------------------------------------------------------ subgraphs


def nested():
    """A picture through two subgraphs, one inside the other, into B; a number that shows outside of both."""
    def wire(number, source, out, target, into, kind="IMAGE"):
        return {"id": number, "origin_id": source, "origin_slot": out, "target_id": target, "target_slot": into, "type": kind}

    slots = [{"name": "in", "type": "IMAGE", "link": 1}, {"name": "n", "type": "INT", "widget": {"name": "n"}, "link": 2}]
    ends = {"inputs": [{"name": "in"}, {"name": "n"}], "outputs": [{"name": "out"}]}
    wires = [wire(1, -10, 0, 5, 0), wire(2, -10, 1, 5, 1, "INT"), wire(3, 5, 0, -20, 0)]
    inner = {"id": "inner", **ends, "links": wires, "nodes": [
        {"id": 5, "type": "A", "inputs": slots, "outputs": [{"type": "IMAGE"}], "widgets_values": [1]}]}
    middle = {"id": "middle", **ends, "links": wires, "nodes": [
        {"id": 5, "type": "inner", "inputs": slots, "outputs": [{"type": "IMAGE"}], "widgets_values": [2]}]}
    host = {"id": 3, "type": "middle", "inputs": [slots[0] | {"link": 9}, slots[1] | {"link": None}],
            "outputs": [{"type": "IMAGE"}], "widgets_values": [7]}
    ends = [{"id": 1, "type": "P", "inputs": [], "outputs": [{"type": "IMAGE"}]},
            {"id": 2, "type": "B", "inputs": [{"name": "x", "type": "IMAGE", "link": 8}], "outputs": []}]
    return {"nodes": [*ends, host], "links": [[9, 1, 0, 3, 0, "IMAGE"], [8, 3, 0, 2, 0, "IMAGE"]],
            "definitions": {"subgraphs": [middle, inner]}}


def test_subgraphs_are_unfolded_as_the_browser_does():
    def described(name, **inputs):
        return {"input": {"required": inputs}, "input_order": {"required": list(inputs)}, "display_name": name}

    info = {"P": described("P"), "A": described("A", **{"in": ["IMAGE"], "n": ["INT", {}]}), "B": described("B", x=["IMAGE"])}
    prompt = graphs.ui_to_api(nested(), info)
    assert {key: node["inputs"] for key, node in prompt.items()} == {
        "1": {}, "3:5:5": {"in": ["1", 0], "n": 7}, "2": {"x": ["3:5:5", 0]}}
    muted = nested()
    muted["nodes"][2]["mode"] = 4
    with pytest.raises(SyncError, match="subgraph 3 is bypassed"):
        graphs.ui_to_api(muted, info)


@pytest.mark.parametrize("name", sorted(blueprints.BLUEPRINTS))
def test_a_blueprint_is_its_graph(wanted, name):
    """One node, whose links agree with its slots; inside it are the graph's own nodes with their values and wires."""
    made = json.loads(wanted[ROOT / "subgraphs" / f"{name}.json"])
    (host,), (inner,) = made["nodes"], made["definitions"]["subgraphs"]
    assert host["type"] == inner["id"] and [s["name"] for s in host["inputs"]] == [s["name"] for s in inner["inputs"]]
    assert [s["name"] for s in host["outputs"]] == [s["name"] for s in inner["outputs"]] and host["outputs"]
    assert sum("widget" in s for s in host["inputs"]) == len(host["widgets_values"]) >= 2
    nodes = {n["id"]: n for n in inner["nodes"]}
    for link in inner["links"]:
        if link["target_id"] != subgraphs.EXIT:
            assert nodes[link["target_id"]]["inputs"][link["target_slot"]]["link"] == link["id"]
    graph = graph_of(blueprints.BLUEPRINTS[name].graph)
    info = definitions.object_info(graphs.core_nodes(graph))
    plain = graphs.ui_to_api(graph, info)
    alone = graphs.ui_to_api(made, info)
    assert {n["class_type"] for n in alone.values()} >= {"Lift123_RefineLayers"} or len(alone) >= 9
    whole = {key.split(":")[-1]: node["inputs"] for key, node in plain.items()}
    for key, node in alone.items():
        theirs = whole[key.split(":")[-1]]
        for word, value in node["inputs"].items():
            if isinstance(value, list):
                assert theirs[word][0].split(":")[-1] == value[0].split(":")[-1] and theirs[word][1] == value[1]
            else:
                assert theirs[word] == value, (key, word)


def test_new_seeds_and_sockets(info, flat):
    """A seed brings its companion; a socket moves the slots that links count."""
    seed = ["INT", {"default": 7, "control_after_generate": True}]
    more = with_input(info, "Lift123_ReferenceView", "seed", seed, "size")
    more = with_input(more, "Lift123_ReferenceView", "extra", ["MASK", {}], "image")
    linked = copy.deepcopy(flat)
    reference = next(n for n in linked["nodes"] if n["type"] == "Lift123_ReferenceView")
    full = graphs.filled_in(linked, more)
    node = next(n for n in full["nodes"] if n["id"] == reference["id"])
    assert node["inputs"][0] == {"name": "extra", "type": "MASK", "link": None}
    values = node["widgets_values"]
    assert values[2:4] == [7, "fixed"] and values[:2] + values[4:] == reference["widgets_values"]
    by_id = {n["id"]: n for n in full["nodes"]}
    for link, source, out, target, into, _ in full["links"]:
        assert by_id[target]["inputs"][into]["link"] == link and link in by_id[source]["outputs"][out]["links"]
    twin = graphs.ui_to_api(full, more)
    assert twin[str(node["id"])]["inputs"].pop("seed") == 7 and twin == graphs.ui_to_api(flat, info)


def test_new_outputs_and_other_words_for_old_ones(info, flat):
    more = copy.deepcopy(info)
    stage = more["Lift123_NerfStage1"]
    stage["output_name"], stage["output"] = ["first", *stage["output_name"]], ["MASK", *stage["output"]]
    full = graphs.filled_in(flat, more)
    node = next(n for n in full["nodes"] if n["type"] == "Lift123_NerfStage1")
    assert node["outputs"][0] == {"name": "first", "type": "MASK", "links": []} and len(node["outputs"]) == 4
    ours, theirs = ([link for link in g["links"] if link[1] == node["id"]] for g in (full, flat))
    assert ours and [link[2] for link in ours] == [link[2] + 1 for link in theirs]
    more = copy.deepcopy(info)
    more["Lift123_NerfStage1"]["output_name"][1] = "curve"
    assert graphs.filled_in(flat, more)["links"] == flat["links"]


def test_what_has_gone_is_left_to_a_person(info, flat):
    less = copy.deepcopy(info)
    less["Lift123_NerfStage1"]["input_order"]["required"].remove("render_size")
    with pytest.raises(SyncError, match="input render_size has gone"):
        graphs.filled_in(flat, less)
    less = copy.deepcopy(info)
    less["Lift123_NerfStage1"]["output_name"].pop()
    with pytest.raises(SyncError, match="are not among"):
        graphs.filled_in(flat, less)
    with pytest.raises(SyncError, match="a graph uses NoSuchNode"):
        definitions.object_info({"NoSuchNode"})
