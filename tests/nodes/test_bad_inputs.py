"""Hundreds of inputs that cannot be right, over all nodes: each is answered with one InputError, before any work."""

import asyncio
import json
import re

import pytest
import torch
from helpers.comfy_modules import prepare

prepare()
import folder_paths
from helpers import good_inputs, tiny_stages
from helpers.good_inputs import BAD_CAMERAS, NODES, bad_meshes, bad_values, good
from lift123.host import convert, memory, specs, wires
from lift123.pipelines.core.errors import InputError, NotFinite, OutOfRoom
from lift123.pipelines.core.layers import LayeredMesh
from lift123.pipelines.stages.characters.refined_layers import RefinedLayers

INPUTS = [(name, entry.id) for name, node in NODES.items() for entry in node.define_schema().inputs
          if entry.get_io_type() != "*"]
MESHES = [(name, entry.id) for name, node in NODES.items() for entry in node.define_schema().inputs
          if "MESH" in entry.get_io_type().split(",")]
CAMERAS = [(name, entry.id) for name, node in NODES.items() for entry in node.define_schema().inputs
           if entry.get_io_type() == "LOAD3D_CAMERA"]


class Working(Exception):
    """A network was asked for: all checks have passed."""


@pytest.fixture(autouse=True)
def folders(tmp_path, monkeypatch):
    for name in ("output_directory", "input_directory", "temp_directory"):
        monkeypatch.setattr(folder_paths, name, str(tmp_path / name))
        (tmp_path / name).mkdir()

    def load(self, device):
        raise Working(self.kind)

    monkeypatch.setattr(specs.Network, "load", load)
    return tmp_path


def entry_of(name, entry):
    return next(e for e in NODES[name].define_schema().inputs if e.id == entry)


def refused(name, /, **given) -> InputError:
    """The error with which a node answers, which has to be ours and to end in advice."""
    with pytest.raises(InputError) as error:
        NODES[name].execute(**good(NODES[name], **given))
    assert error.value.remedy.endswith(".") and len(str(error.value)) < 1000, str(error.value)
    return error.value


def test_there_are_more_than_three_hundred():
    values = sum(len(bad_values(entry_of(*at))) for at in INPUTS)
    assert values + len(MESHES) * len(bad_meshes()) + len(CAMERAS) * len(BAD_CAMERAS) > 1500
    assert {name for name, _ in INPUTS} >= {n for n, node in NODES.items() if node.define_schema().inputs}


@pytest.mark.parametrize("name, entry", INPUTS, ids=lambda part: part.removeprefix("Lift123_"))
def test_values_of_another_kind(name, entry):
    for what, value in bad_values(entry_of(name, entry)).items():
        problem = refused(name, **{entry: value})
        assert problem.name == entry, f"{what}: {problem}"


@pytest.mark.parametrize("name", [n for n, node in NODES.items() if any(
    not e.optional and e.get_io_type() not in ("*",) for e in node.define_schema().inputs)])
def test_nothing_on_a_required_wire(name):
    for entry in NODES[name].define_schema().inputs:
        if not entry.optional and entry.get_io_type() != "*":
            assert refused(name, **{entry.id: None}).name == entry.id


@pytest.mark.parametrize("what", bad_meshes())
def test_meshes_without_a_surface(what):
    assert len(MESHES) >= 8
    for name, entry in MESHES:
        assert entry in refused(name, **{entry: bad_meshes()[what]}).name
    with pytest.raises(InputError):
        convert.any_mesh(bad_meshes()[what], "mesh")


def test_an_opaque_alpha_channel_is_left_out():
    mesh = good_inputs.box()
    mesh.vertex_colors = torch.cat([mesh.vertex_colors, torch.ones_like(mesh.vertex_colors[..., :1])], -1)
    assert torch.equal(convert.from_comfy_mesh(mesh).vertex_colors, mesh.vertex_colors[0, :, :3])


@pytest.mark.parametrize("what", BAD_CAMERAS)
def test_cameras_that_see_nothing(what):
    assert [name for name, _ in CAMERAS] == ["Lift123_ReferenceView", "Lift123_SampleViews", "Lift123_RenderViews"]
    for name, entry in CAMERAS:
        given = {"source": good_inputs.box()} if name == "Lift123_RenderViews" else {}
        assert refused(name, **given, **{entry: BAD_CAMERAS[what]}).name == "camera"


def test_a_camera_in_the_middle_has_no_direction():
    inside = {**good_inputs.CAMERA, "position": {}, "quaternion": {"x": 0, "y": 0, "z": 0, "w": 1}}
    assert refused("Lift123_SampleViews", camera=inside).name == "camera"


BAD_TEXTS = [
    ("PriorSchedule", "knots", {"form": "piecewise"},
     ["0:nan", "0: inf", "nan: 1", "", "0", "0:1:2", "1: 1, 0: 1", "a: b", ",,"]),
    ("SampleViews", "azimuths", {}, ["nan", "inf", "a", "1; 2", "1e9", ",".join("7" * 500)]),
    ("RgnvEnhance", "azimuths", {}, ["nan", "0, inf", "left", "1, 2, 3"]), ("RgsdPrior", "fixed_views", {}, ["nan", "x", "inf"]),
    ("BatchList", "values", {}, ["nan", "inf", "1:inf:1", "0:1:0", "0:1:nan", "0:1e9:1e-9", "1:2:3:4", "", "one"]),
    ("BatchList", "folder", {"source": "pictures of a folder"}, ["../..", "/etc", "absent", "x" * 5000]),
    ("BakeExport", "metrics", {}, ["", "no", "[]", "[" * 5000]), ("TextualInversion", "name", {}, ["", "../x", "a b", "x" * 500]),
    ("TextualInversion", "sentence", {}, ["", "no place for it"]),
    ("Results", "folder", {}, ["../..", "/etc", "absent", "x" * 5000]),
    ("LoadScene", "file", {}, ["", "../x", "/etc/passwd", "x" * 5000, "."]),
    ("LoadLayers", "file", {}, ["", "../x", "/etc/passwd", "x" * 5000, "."]),
    *((node, "filename_prefix", {}, ["", " ", "../x", "/x/y", "a/", "x" * 5000, "a/../../b"])
      for node in ("BakeExport", "SaveScene", "SaveLayers", "ExportCharacter")),
    *((node, "checkpoint", {}, ["absent", "../../etc", "x" * 5000, "/etc/passwd", "a\\b", "~"]) for node in (
        "LoadViewPrior", "LoadTextPrior", "LoadClip", "LoadDepth", "LoadDepthText", "LoadCanonicalizer", "LoadMultiView",
        "LoadSlrm", "LoadDepthControl")),
    *((node, "hub_name", {}, ["absent/absent", "../../etc", "x" * 5000]) for node in ("LoadViewPrior", "LoadClip", "LoadSlrm")),
]


@pytest.mark.parametrize("node, entry, more, texts", BAD_TEXTS, ids=lambda part: part if isinstance(part, str) else "")
def test_texts_that_mean_nothing(node, entry, more, texts):
    for text in texts:
        refused(f"Lift123_{node}", **{**more, entry: text})


BAD_PAIRS = {
    "a mask of another size": ("DepthPicture", lambda: {"mask": torch.ones(1, 9, 9), "mask_marks": "object"}),
    "a character's mask of another size": ("Canonicalize", lambda: {"mask": torch.ones(1, 9, 9), "mask_marks": "object"}),
    "two masks": ("Canonicalize", lambda: {"mask": torch.ones(2, 64, 64), "mask_marks": "object"}),
    "views' masks of another size": ("RgnvEnhance", lambda: {"mask": torch.ones(1, 9, 9), "mask_marks": "object"}),
    "views' depth of another size": ("RgnvEnhance", lambda: {"depth": torch.ones(1, 9, 9, 3)}),
    "views of two channels": ("RgnvEnhance", lambda: {"views": torch.ones(1, 64, 64, 1)}),
    "hair of another size": ("RefineLayers", lambda: {"hair_segments": torch.ones(1, 9, 20)}),
    "truth of another size": ("CompareSets", lambda: {"truth": torch.ones(2, 16, 16, 3), "pictures": torch.ones(2, 8, 8, 3)}),
    "truth of another count": ("CompareSets", lambda: {"truth": torch.ones(3, 16, 16, 3), "pictures": torch.ones(2, 16, 16, 3)}),
    "one pair": ("CompareSets", lambda: {"truth": torch.ones(1, 16, 16, 3), "pictures": torch.ones(1, 16, 16, 3)}),
    "five views": ("ImagesToViews", lambda: {"colors": torch.ones(5, 16, 16, 3), "normals": torch.ones(5, 16, 16, 3)}),
    "normals of another size": ("ImagesToViews", lambda: {"colors": torch.ones(6, 16, 16, 3), "normals": torch.ones(6, 8, 8, 3)}),
    "too few normals": ("ImagesToViews", lambda: {"colors": torch.ones(6, 16, 16, 3), "normals": torch.ones(3, 16, 16, 3)}),
    "a level that is not there": ("ViewsToImages", lambda: {"views": good_inputs.views().level(0), "level": "body"}),
    "views without two levels": ("RefineLayers", lambda: {"views": good_inputs.views().level(0)}),
    "more rungs than steps": ("RgsdPrior", lambda: {"steps": 4, "rungs": 9}),
    "t_min above t_max": ("ViewPrior", lambda: {"t_min": 0.9, "t_max": 0.1}),
    "floor above ceiling": ("ClipBoundary", lambda: {"floor": 0.9, "ceiling": 0.1}),
    "no prior": ("TradeOffPrior", lambda: {}),
    "priors swapped": ("TradeOffPrior", lambda: {"prior_3d": good_inputs.prior("text"), "prior_2d": good_inputs.prior()}),
    "a ramp's priors swapped": ("DynamicPrior", lambda: {"prior_3d": good_inputs.prior("text"), "prior_2d": good_inputs.prior()}),
    "a stage's priors swapped": ("DynamicStage2", lambda: {"prior_3d": good_inputs.prior("text"),
                                                           "prior_2d": good_inputs.prior()}),
    "a ramp in a sum": ("CombinePriors", lambda: {"prior_a": specs.DynamicSpec(good_inputs.prior(), good_inputs.prior("text"))}),
    "no layers": ("JoinLayers", lambda: {}),
    "the license": ("DownloadWeights", lambda: {}),
}


@pytest.mark.parametrize("what", BAD_PAIRS)
def test_inputs_that_do_not_belong_together(what):
    node, given = BAD_PAIRS[what]
    refused(f"Lift123_{node}", **given())


@pytest.mark.parametrize("name", [n for n, node in NODES.items() if any(
    e.get_io_type() == "LIFT123_LAYERS" for e in node.define_schema().inputs)])
def test_a_character_without_layers(name):
    wire = next(e.id for e in NODES[name].define_schema().inputs if e.get_io_type() == "LIFT123_LAYERS")
    empty = RefinedLayers(LayeredMesh({}))
    if name in ("Lift123_SplitLayers", "Lift123_SaveLayers"):
        NODES[name].execute(**good(NODES[name], **{wire: empty}))  # nothing to hand on, and nothing wrong
    else:
        assert "layer" in str(refused(name, **{wire: empty}))


TOO_LARGE = {
    "views of a NeRF": ("NerfStage1", lambda: {"render_size": 1024, "novel_batch": 16, "prior": good_inputs.prior()},
                        "novel_batch"),
    "a picture of a NeRF": ("NerfStage1", lambda: {"reference_size": 1024}, "reference_size"),
    "a grid": ("DMTetRefine", lambda: {"grid": 128}, "grid"),
    "an import's grid": ("MeshToScene", lambda: {"mesh": good_inputs.box(), "grid": 128, "surface": "refinable"}, "grid"),
    "a texture": ("BakeExport", lambda: {"texture_size": 4096, "supersample": 4}, "supersample"),
    "a character's texture": ("ExportCharacter", lambda: {"texture_size": 4096, "colors": "textures"}, "texture_size"),
    "a turntable": ("BakeExport", lambda: {"frames": 120, "turntable_size": 1024}, "frames"),
    "pictures": ("RenderViews", lambda: {"source": good_inputs.box(), "frames": 120, "size": 1024}, "frames"),
    "a camera's picture": ("RenderViews", lambda: {"source": good_inputs.box(), "camera": good_inputs.CAMERA, "size": 1024},
                           "size"),
    "an evaluation": ("Evaluate", lambda: {"source": good_inputs.box(), "size": 1024, "views": "turntable-100"}, "size"),
}


@pytest.mark.parametrize("what", TOO_LARGE)
def test_sizes_that_do_not_fit_are_refused_with_one_that_does(what, monkeypatch):
    node, given, widget = TOO_LARGE[what]
    free = {"views of a NeRF": 2**32, "a texture": 2**32, "a camera's picture": 2**26}.get(what, 2**30)
    monkeypatch.setattr(memory, "free_bytes", lambda device="cpu": free)
    problem = refused(f"Lift123_{node}", **given())
    assert problem.name == widget and re.search(rf"Set {widget} to \d+ or less", problem.remedy), problem
    least = int(re.search(r"to (\d+) or less", problem.remedy)[1])
    assert least < given().get(widget, 2)


def test_free_memory_is_asked_for_on_a_cpu_only():
    assert memory.free_bytes("cpu") > 2**20 and memory.free_bytes("cuda") is None


def test_a_scene_of_another_picture_is_not_resumed():
    view = tiny_stages.reference()
    other = type(view)(type(view.views)(view.camera, 1 - view.views.rgb, view.views.alpha), "a box")
    problem = refused("Lift123_NerfStage1", scene=good_inputs.scene(), reference=other)
    assert problem.name == "scene" and "another picture" in str(problem)
    moved = tiny_stages.HOME.orbit(0.4, 0.0, view.size)
    turned = type(view)(type(view.views)(moved, view.views.rgb, view.views.alpha), "a box")
    assert "another camera" in str(refused("Lift123_NerfStage1", scene=good_inputs.scene(), reference=turned))
    assert view.unlike(good_inputs.scene().reference.with_prompt("other words")) == ""


def test_errors_have_short_names():
    """ComfyUI shows module and name, unless the module is ``builtins``."""
    import execution

    assert [execution.full_type_name(kind) for kind in (InputError, NotFinite, OutOfRoom)] == [
        "InputError", "NotFinite", "OutOfRoom"]


def refused_when_queued(graph: dict) -> str:
    """What ComfyUI's own check of a graph says, called as its server does; empty for a graph that it takes."""
    import execution

    import nodes as core

    async def queue():
        request = wires.on_prompt({"prompt": json.loads(json.dumps(graph))})
        return await execution.validate_prompt("1", request["prompt"], None)

    known = dict(core.NODE_CLASS_MAPPINGS)
    core.NODE_CLASS_MAPPINGS.update(NODES)
    try:
        valid, error, _, node_errors = asyncio.run(queue())
    finally:
        core.NODE_CLASS_MAPPINGS.clear()
        core.NODE_CLASS_MAPPINGS.update(known)
    return "" if valid and not node_errors else json.dumps([error, node_errors])


def chain(**changes) -> dict:
    """Picture, priors, both NeRF stages, mesh stage, saved: a graph in API format, with inputs replaced by node."""

    def node(name, **wires_):
        kind, given = NODES[f"Lift123_{name}"], {}
        for entry in kind.define_schema().inputs:
            if entry.id not in wires_ and entry.get_io_type() in ("INT", "FLOAT", "BOOLEAN", "COMBO", "STRING"):
                given[entry.id] = getattr(entry, "default", None)
        given = {k: v for k, v in given.items() if v is not None}
        return {"class_type": f"Lift123_{name}", "inputs": {**given, **wires_, **changes.get(name, {})}}

    return {
        "toy": node("ToyObject"), "see": node("ReferenceView", image=["toy", 0], mask=["toy", 1], prompt="a box"),
        "net": node("LoadEmbedded"), "p3": node("ViewPrior", view_network=["net", 0]),
        "p2": node("TextPrior", text_network=["net", 1]), "sum": node("CombinePriors", prior_a=["p2", 0]),
        "one": node("NerfStage1", reference=["see", 0], prior=["p3", 0]),
        "two": node("DynamicStage2", scene=["one", 0], prior_3d=["p3", 0], prior_2d=["sum", 0]),
        "mesh": node("DMTetRefine", scene=["two", 0], prior=["two", 1]), "end": node("SaveScene", scene=["mesh", 0]),
    }


def test_crossed_wires_are_refused_when_queued():
    assert refused_when_queued(chain()) == ""
    swapped = chain(DynamicStage2={"prior_3d": ["sum", 0], "prior_2d": ["p3", 0]})
    assert "prior_3d: expected a prior that contains a View Prior" in refused_when_queued(swapped)
    assert "inside Combine Priors" in refused_when_queued(chain(CombinePriors={"prior_b": ["ramp", 0]}) | {
        "ramp": {"class_type": "Lift123_DynamicPrior", "inputs": {
            "prior_3d": ["p3", 0], "prior_2d": ["p2", 0], "form": "linear", "clock": "global"}}})
    backwards = chain(DynamicStage2={"scene": ["back", 0]})
    backwards["back"] = {**backwards["mesh"], "inputs": {**backwards["mesh"]["inputs"], "scene": ["one", 0], "prior": ["p3", 0]}}
    assert "a mesh scene" in refused_when_queued(backwards)
    assert "a description of the object" in refused_when_queued(chain(ReferenceView={"prompt": " "}))
    assert refused_when_queued(chain(ReferenceView={"prompt": ""}, TextPrior={"prompt": "a box"})) == ""


@pytest.mark.parametrize("name, value", [("rgb_weight", float("nan")), ("rgb_weight", float("inf")), ("grid", -5), ("grid", 129)])
def test_numbers_are_refused_when_queued(name, value):
    assert name in refused_when_queued(chain(DMTetRefine={name: value}))


def test_one_bad_file_does_not_hide_the_results(folders):
    from PIL import Image

    root = folders / "output_directory" / "runs"
    root.mkdir()
    manifest = {"manifest": 1, "batch": {"item": "a"}, "results": {"faces": 7}}
    for name in ("good_", "sheet_"):
        (root / f"{name}manifest.json").write_text(json.dumps(manifest | {"batch": {"item": name}}))
        Image.new("RGB", (384, 64)).save(root / f"{name}sheet.png")
    (root / "sheet_sheet.png").write_bytes(b"\x89PNG junk")
    deep = {"deep_": "[" * 200_000, "nested_": '{"a":' * 100_000, "absurd_": '{"manifest": 1, "timings_seconds": {"a": 1e999}}',
            "number_": '{"manifest": 1, "results": {"faces": 1' + "0" * 400 + "}}", "list_": '{"manifest": 1, "results": [1]}'}
    for name, text in deep.items():
        (root / f"{name}manifest.json").write_text(text)
    node = NODES["Lift123_Results"]
    table, _, sheet, *_ = node.execute(**good(node, folder="runs", newest_only=False)).result
    assert "runs/good" in table and "runs/sheet" in table and sheet.shape[0] == 1
