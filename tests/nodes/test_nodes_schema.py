"""Every node: schema, tooltips, help page, translation file, and what the browser is told."""

import inspect
import json
import re

import pytest
from helpers.comfy_modules import prepare

prepare()
from conftest import ROOT
from lift123.host.renamed import NODES as FORMER
from lift123.nodes import all_nodes
from lift123.sync.translations import own_types

NODES = {node.define_schema().node_id: node for node in all_nodes()}
CORE_TYPES = {"IMAGE", "MASK", "MESH", "FILE_3D", "FILE_3D_GLB", "FILE_3D_GLTF", "FILE_3D_OBJ", "FILE_3D_PLY", "FILE_3D_STL",
              "LOAD3D_CAMERA", "INT", "FLOAT",
              "STRING", "BOOLEAN", "COMBO", "MODEL", "CLIP", "VAE", "CLIP_VISION", "*"}


@pytest.fixture(params=sorted(NODES))
def node(request):
    return NODES[request.param]


def test_ids_are_unique_and_ours():
    """Which nodes there are is written in ``locales/en/nodeDefs.json``, from which no node may vanish (``sync/files.py``)."""
    assert all(re.fullmatch(r"Lift123_[A-Z]\w+", name) for name in NODES)
    assert len(NODES) == len(all_nodes()), "two nodes share an id"


def test_schema_is_complete(node):
    schema = node.GET_SCHEMA()
    assert schema.category.startswith("3d/Lift123/") and schema.display_name and len(schema.description) > 30
    for part in [*schema.inputs, *schema.outputs]:
        assert part.tooltip and len(part.tooltip) > 10, f"{part.id} needs a tooltip"
    for output in schema.outputs:
        assert output.display_name and output.display_name.lower() == output.display_name
    types = {t for part in [*schema.inputs, *schema.outputs] for t in part.get_io_type().split(",")}
    assert types <= set(own_types()) | CORE_TYPES


def test_run_takes_exactly_the_schema_inputs(node):
    parameters = inspect.signature(node.run).parameters
    open_ended = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    named = {name for name, p in parameters.items() if p.kind is not p.VAR_KEYWORD}
    inputs = {i.id: i for i in node.GET_SCHEMA().inputs}
    assert named <= set(inputs)
    assert open_ended or named == set(inputs)
    for name in named:
        assert inputs[name].optional == (parameters[name].default is not inspect.Parameter.empty), name


def test_numbers_have_ranges_that_hold_their_default(node):
    for entry in node.GET_SCHEMA().inputs:
        if entry.get_io_type() in ("INT", "FLOAT"):
            assert entry.min <= entry.default <= entry.max, entry.id
        if entry.get_io_type() == "COMBO":
            assert entry.default in entry.options, entry.id


def test_seeds_are_the_last_numbers(node):
    """Tools that read widget values by position do not know the companion value after a seed."""
    numbers = [i for i in node.GET_SCHEMA().inputs if i.get_io_type() in ("INT", "FLOAT", "STRING", "BOOLEAN")]
    seeds = [i for i in numbers if getattr(i, "control_after_generate", None)]
    assert seeds == numbers[len(numbers) - len(seeds):]


def test_browser_description_is_json(node):
    json.dumps(node.GET_NODE_INFO_V1())


def test_nodes_with_files_are_not_shared_between_graphs():
    for node in NODES.values():
        schema = node.GET_SCHEMA()
        if schema.is_output_node:
            assert schema.not_idempotent, schema.node_id
        if any(i.id == "filename_prefix" for i in schema.inputs):
            assert "filename_prefix" in inspect.signature(node.validate_inputs).parameters


def test_help_page_says_more_than_the_schema(node):
    """Its generated part is compared in ``tests/project/test_sync.py``; below it stands what a person wrote."""
    page = (ROOT / "web" / "docs" / f"{node.GET_SCHEMA().node_id}.md").read_text(encoding="ascii")
    assert "\n## Good to know\n" in page and len(page) > 400


def test_no_help_page_without_a_node():
    pages = {p.stem for p in (ROOT / "web" / "docs").glob("*.md")}
    assert pages == set(NODES)


def test_browser_code_stays_in_its_namespace():
    """No globals of its own, no listeners on or changes of the page's document, no patches; every name begins with ours."""
    names = set()
    for path in (ROOT / "web" / "js").glob("*.js"):
        script = path.read_text(encoding="ascii")
        names |= set(re.findall(r'registerExtension\(\{\s*name: "([^"]+)"', script))
        assert not re.search(r"window\.\w+ *=[^=]|globalThis|\bdocument\.(?!createElement|querySelector)", script), path.name
        assert not re.search(r"LGraph|prototype|https?://", script), path.name
        assert set(re.findall(r'"(Lift123_[A-Za-z]\w+)"', script)) <= set(NODES) | set(FORMER), path.name
    own = ("finish", "renamed", "live", "looks", "ended", "menu", "presets", "reordered", "help", "compare")
    assert names == {f"lift123.{name}" for name in own}


def test_every_type_of_wire_of_ours_has_a_color():
    """And every category of nodes one of ComfyUI's own."""
    script = (ROOT / "web" / "js" / "looks.js").read_text(encoding="ascii")
    colors = dict(re.findall(r'(LIFT123_\w+): "(#\w{6})"', script))
    assert set(colors) == set(own_types())
    assert len(set(colors.values())) == len(colors)
    rooms = {node.GET_SCHEMA().category.split("/")[-1] for node in NODES.values()}
    assert rooms - {"convert"} == set(re.findall(r'(\w+): "(?:green|brown|purple|red|pale_blue|cyan|yellow)"', script))


def test_pack_mistakes_that_core_punishes():
    """Two web folders load the script twice; NODE_CLASS_MAPPINGS would silence the V3 entry point."""
    import lift123

    assert not hasattr(lift123, "NODE_CLASS_MAPPINGS")
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert not re.search(r"(?m)^web *=", text)
