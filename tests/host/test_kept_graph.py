"""The graph inside of results, read back with Pillow and the pack's own reader of GLB files."""

import json
from types import SimpleNamespace

import pytest
import torch
from helpers.comfy_modules import prepare

prepare()
from comfy.cli_args import args
from lift123.host import kept_graph
from lift123.nodes.batch import BatchList
from lift123.nodes.compare import CompareRuns
from lift123.nodes.export import save_animation, save_png
from lift123.nodes.results import Results
from PIL import Image

PROMPT = {"1": {"class_type": "LoadImage", "inputs": {"image": "b\u00e4r.png"}}}
WORKFLOW = {"version": 0.4, "nodes": [{"id": 1, "title": "\u30af\u30de"}], "links": [],
            "extra": {"ds": {"scale": 2.0}, "mine": 1}}
LOOKED_AWAY = WORKFLOW | {"extra": {"mine": 1}}


@pytest.fixture
def hidden():
    return SimpleNamespace(prompt=PROMPT, extra_pnginfo={"workflow": WORKFLOW, "other": [1]})


def test_png_and_webp_carry_what_core_writes(hidden, tmp_path):
    pixels = torch.linspace(0, 1, 3 * 8 * 8 * 3).reshape(3, 8, 8, 3)
    save_png(pixels[0], tmp_path / "a.png", hidden)
    with Image.open(tmp_path / "a.png") as picture:
        assert {k: json.loads(v) for k, v in picture.text.items()} == {"prompt": PROMPT, "workflow": LOOKED_AWAY, "other": [1]}
    save_animation(pixels, tmp_path / "a.webp", 80, hidden)
    with Image.open(tmp_path / "a.webp") as picture:
        assert picture.n_frames == 3
        exif = picture.getexif()
    assert json.loads(exif[0x0110].removeprefix("prompt:")) == PROMPT
    assert json.loads(exif[0x010F].removeprefix("workflow:")) == LOOKED_AWAY and exif[0x010E] == "other:[1]"


def test_a_manifest_is_a_graph_too_and_keeps_its_own_words(hidden):
    made = kept_graph.in_manifest({"seed": 3, "version": 9}, hidden)
    assert made == LOOKED_AWAY | {"seed": 3, "version": 9} and WORKFLOW["extra"]["ds"]
    hidden.extra_pnginfo = None
    assert kept_graph.in_manifest({"seed": 3}, hidden) == {"seed": 3}
    assert kept_graph.texts(hidden) == {"prompt": json.dumps(PROMPT)}


def test_no_fingerprint_gets_into_a_file(hidden):
    """ComfyUI notes them in the running graph; NaN would not even be JSON."""
    hidden.prompt = {"1": PROMPT["1"] | {"is_changed": [float("nan")]}}
    assert kept_graph.kept(hidden)["prompt"] == PROMPT and "is_changed" in hidden.prompt["1"]


@pytest.mark.parametrize("node", [BatchList, CompareRuns, Results])
def test_nodes_that_always_run_never_give_one_fingerprint_twice(node):
    seen = [node.fingerprint_inputs() for _ in range(3)]
    assert len(set(map(json.dumps, seen))) == 3 and "NaN" not in json.dumps(seen)


def test_nothing_is_kept_where_comfyui_keeps_nothing(hidden, tmp_path, monkeypatch):
    save_png(torch.zeros(4, 4, 3), tmp_path / "none.png")
    monkeypatch.setattr(args, "disable_metadata", True)
    assert kept_graph.kept(hidden) == {} == kept_graph.kept(None)
    save_png(torch.zeros(4, 4, 3), tmp_path / "off.png", hidden)
    assert (tmp_path / "off.png").read_bytes() == (tmp_path / "none.png").read_bytes()
