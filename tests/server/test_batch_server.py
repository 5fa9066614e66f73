"""A list over pictures in the real server: one broken, the others become assets; queued again, the done are skipped."""

import json
import shutil

import numpy as np
import pytest
import torch
from lift123.pipelines.core.cameras import Cameras
from lift123.pipelines.io.glb_reader import read_extras
from lift123.pipelines.toybox.objects import make_object
from lift123.pipelines.toybox.render import render_toy
from PIL import Image

NAMES = ["a", "b", "c", "d", "e"]
BROKEN = "c"


def node(kind, **inputs):
    return {"class_type": f"Lift123_{kind}", "inputs": inputs}


def graph():
    """Pictures -> reference -> an imported mesh in their colors -> metrics -> asset -> table."""
    return {
        "list": node("BatchList", folder="five", values="", name="five", at_most=0, skip_done=True,
                     source="pictures of a folder", pace="all in one run"),
        "toy": node("ToyObject", size=32, azimuth=0.0, elevation=0.0, seed=12),
        "reference": node("ReferenceView", image=["list", 0], mask=["list", 1], prompt=["list", 2], size=64),
        "scene": node("MeshToScene", mesh=["toy", 4], reference=["reference", 0], turn=0.0, grid=16, detail=64,
                      find_turn=False, fit=True, seed=0, up="y", surface="untouched", colors="mesh"),
        "evaluate": node("Evaluate", source=["scene", 0], size=64, intersections=False, seed=0, views="turntable-8",
                         lpips="alex", truth=["toy", 4]),
        "export": node("BakeExport", scene=["scene", 0], filename_prefix=["list", 5], texture_size=64, face_budget=500,
                       supersample=1, frames=6, turntable_size=64, elevation=10.0, metrics=["evaluate", 2]),
        "results": node("Results", folder="lift123/five", filename_prefix="lift123/table", newest_only=True,
                        after=["export", 0]),
    }


@pytest.fixture(scope="module")
def five(comfy):
    """The input folder with five pictures, one of which is none; everything is complete by the defaults of the schema."""
    folder = comfy.base / "input" / "five"
    folder.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(comfy.output / "lift123" / "five", ignore_errors=True)
    camera = Cameras.orbit(0.0, 0.0, 3.2, 0.349, 64, 64)
    for n, name in enumerate(NAMES):
        views = render_toy(make_object(n + 3), camera)
        pixels = torch.cat([views.rgb[0], views.alpha[0, ..., None]], -1)
        Image.fromarray((pixels.clamp(0, 1) * 255).byte().numpy()).save(folder / f"{name}.png")
    (folder / f"{BROKEN}.png").write_bytes(b"not a picture")
    return folder


def completed(comfy, prompt):
    """The prompt with every missing widget at its default."""
    for entry in prompt.values():
        for name, (_, *options) in comfy.info[entry["class_type"]]["input"]["required"].items():
            default = (options[0] if options else {}).get("default")
            if name not in entry["inputs"] and default is not None:
                entry["inputs"][name] = default
    return prompt


def assets(comfy):
    return sorted(p.name for p in (comfy.output / "lift123" / "five").glob("*.glb"))


def failures(events):
    return [e["data"]["text"] for e in events if isinstance(e, dict) and e.get("type") == "lift123.failed"]


def table_of(entry):
    return entry["outputs"]["results"]["text"][0]


def test_five_pictures_one_broken_then_mended(comfy, five):
    entry, events = comfy.events(completed(comfy, graph()), timeout=280)
    assert assets(comfy) == [f"{name}_00001_.glb" for name in NAMES if name != BROKEN]
    assert len(failures(events)) == 1 and failures(events)[0].startswith("c.png failed, the others go on. Batch List: c.png")
    table = table_of(entry)
    assert "4 done, 1 failed" in table and "reference_psnr" in table and "cannot be read" in table
    rows = [line for line in table.splitlines() if line.startswith("| lift123/five/")]
    assert [("failed" in row) for row in rows] == [False, False, True, False, False]
    place = comfy.output / "lift123" / "five"
    manifest = json.loads((place / "a_00001_manifest.json").read_text())
    metrics = manifest["results"]["metrics"]["metrics"]
    assert metrics["iou"] > 0.8 and np.isfinite(metrics["novel_psnr"]) and manifest["batch"]["item"] == "a.png"
    assert "alexnet" in manifest["results"]["metrics"]["left_out"]["reference LPIPS (alex)"]
    inside = read_extras((place / "a_00001_.glb").read_bytes())
    assert inside["batch"] == manifest["batch"] and inside["graph"] == manifest["graph"]

    # queued again: the four are left alone, the broken one is tried, this time an empty picture that fails later on
    Image.new("RGBA", (64, 64)).save(five / f"{BROKEN}.png")
    entry, events = comfy.events(completed(comfy, graph()), timeout=280)
    assert len(assets(comfy)) == 4 and len(failures(events)) == 1 and "Reference View" in failures(events)[0]
    assert "4 done, 1 failed" in table_of(entry)

    # mended: one more asset, nothing repeated, no failure left
    shutil.copy(five / "a.png", five / f"{BROKEN}.png")
    entry, events = comfy.events(completed(comfy, graph()), timeout=280)
    assert assets(comfy) == [f"{name}_00001_.glb" for name in NAMES] and not failures(events)
    assert "5 done, 0 failed" in table_of(entry)
