"""The pack in a real ComfyUI: it imports, lists every node, serves templates and help, and can be interrupted."""

import json
import re
import subprocess
import sys
import time
import urllib.parse
from pathlib import Path

import pytest
from helpers.comfy_server import HttpError, PromptFailed
from lift123.launcher import settings, shipped

ROOT = Path(__file__).resolve().parent.parent.parent
TEMPLATES = sorted(shipped.TITLES.values())
STILL = {
    "1": {"class_type": "EmptyImage", "inputs": {"width": 32, "height": 16, "batch_size": 1, "color": 255}},
    "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "still"}},
}


def declared_nodes() -> list:
    """Node ids in the sources."""
    text = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "nodes").glob("*.py"))
    losses = re.findall(r"\"(\w+Loss)\", \"", text)  # their ids are made in one place
    return sorted(re.findall(r"node_id=\"(Lift123_\w+)\"", text) + [f"Lift123_{name}" for name in losses])


def test_the_pack_imports_without_errors(comfy):
    log = comfy.server.log_text()
    assert "IMPORT FAILED" not in log, comfy.server.log_tail(60)
    assert "Cannot import" not in log and "Error while calling comfy_entrypoint" not in log
    assert comfy.folder in log  # it is in the list of import times


def test_every_node_is_listed(comfy):
    listed = sorted(name for name in comfy.info if name.startswith("Lift123_"))
    assert len(listed) > 10 and listed == declared_nodes()
    for name in listed:
        assert comfy.info[name]["category"].startswith("3d/Lift123"), name
        assert comfy.info[name]["description"], name


def test_prompts_with_old_names_run_and_the_browser_is_told_the_new_ones(comfy):
    told = comfy.client.get("/node_replacements")
    assert told["Lift123_Canonicalise"][0]["new_node_id"] == "Lift123_Canonicalize"
    assert told["Lift123_LoadCanonicaliser"][0]["new_node_id"] == "Lift123_LoadCanonicalizer"
    entry = comfy.run({
        "1": {"class_type": "Lift123_ToyCharacter", "inputs": {"size": 32, "pose": 0, "cells": 16, "seed": 10000003}},
        "2": {"class_type": "Lift123_ExportCharacter", "inputs": {
            "layers": ["1", 4], "filename_prefix": "lift123/old", "height": 1.6, "facing": "+z",
            "colors": "vertex colours", "texture_size": 64, "face_budget": 100}},
        "3": {"class_type": "Lift123_LoadCanonicaliser", "inputs": {"checkpoint": "embedded"}},
        "4": {"class_type": "Lift123_Canonicalise", "inputs": {
            "image": ["1", 0], "canonical": ["3", 0], "mask_marks": "object", "complete": True, "steps": 1,
            "guidance": -1.0, "seed": 1}},
        "5": {"class_type": "PreviewImage", "inputs": {"images": ["4", 0]}}})
    assert entry["outputs"]["2"]["3d"] and len(entry["outputs"]["5"]["images"]) == 1


def test_missing_optional_libraries_remove_no_node(comfy, tmp_path):
    """Loads the pack as ComfyUI does in a process where none of our requirements can be imported."""
    script = tmp_path / "blocked.py"
    script.write_text(
        "import asyncio, importlib.abc, importlib.util, sys\n"
        "class Blocked(importlib.abc.MetaPathFinder):\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] in {'warp', 'diffusers', 'open_clip', 'xatlas', 'trimesh', 'nvdiffrast',\n"
        "                                  'fast_simplification'}:\n"
        "            raise ImportError('blocked: ' + name)\n"
        "sys.meta_path.insert(0, Blocked())\n"
        f"sys.path.insert(0, {str(settings.default_paths().comfyui)!r})\n"
        "sys.argv = ['main.py', '--cpu']\n"
        "import comfy.options; comfy.options.enable_args_parsing()\n"
        f"root = {str(ROOT)!r}\n"
        "spec = importlib.util.spec_from_file_location('a-pack', root + '/__init__.py',"
        " submodule_search_locations=[root])\n"
        "pack = importlib.util.module_from_spec(spec)\n"
        "sys.modules['a-pack'] = pack\n"
        "spec.loader.exec_module(pack)\n"
        "async def ids():\n"
        "    nodes = await (await pack.comfy_entrypoint()).get_node_list()\n"
        "    return sorted(node.GET_SCHEMA().node_id for node in nodes)\n"
        "print('IDS', *asyncio.run(ids()))\n",
        encoding="utf-8",
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    line = next(line for line in done.stdout.splitlines() if line.startswith("IDS "))
    assert line.split()[1:] == declared_nodes()


def test_templates_are_listed_and_served(comfy):
    listed = comfy.client.get("/workflow_templates").get(comfy.folder, [])
    assert TEMPLATES and sorted(listed) == TEMPLATES
    for name in TEMPLATES:
        base = f"/api/workflow_templates/{comfy.folder}/{urllib.parse.quote(name)}"
        workflow = comfy.client.get(base + ".json")
        assert workflow["nodes"], name
        thumbnail = comfy.client.raw(base + ".jpg")
        assert thumbnail[:3] == b"\xff\xd8\xff", f"{name} has no JPEG thumbnail"


def test_every_node_has_a_help_page(comfy):
    for name in declared_nodes():
        page = comfy.client.raw(f"/extensions/{comfy.folder}/docs/{name}.md").decode()
        assert page.lstrip().startswith("#") and len(page) > 200, name
    assert comfy.client.raw(f"/extensions/{comfy.folder}/docs/pictures/Lift123_NerfStage1.jpg")[:3] == b"\xff\xd8\xff"


def test_bad_prompts_are_rejected_before_anything_runs(comfy):
    with pytest.raises(PromptFailed, match="Lift123_ToyObject"):
        comfy.run({"1": {"class_type": "Lift123_ToyObject", "inputs": {"size": 1}},
                   "2": {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}}})
    with pytest.raises(HttpError):
        comfy.client.queue({})


def test_core_prompts_run_and_files_are_found(comfy):
    entry, events = comfy.events(STILL)
    files = comfy.files(entry)
    assert len(files) == 1 and files[0].read_bytes()[:4] == b"\x89PNG"
    assert {"executing", "executed"} <= {event["type"] for event in events if isinstance(event, dict)}


def test_a_long_stage_is_interrupted_within_seconds(comfy):
    """Interrupts the quickstart as soon as a stage reports progress; the server then goes on with other work."""
    prompt = json.loads(shipped.twin_file(settings.QUICKSTART).read_text(encoding="utf-8"))
    asked = []

    def stop_in_a_stage(job, _):
        if not asked and job.maximum >= 20 and job.value >= 2:
            asked.append(time.monotonic())
            comfy.client.interrupt()

    with pytest.raises(PromptFailed) as failed:
        comfy.run(prompt, timeout=240, on_event=stop_in_a_stage)
    assert asked and failed.value.interrupted, failed.value
    assert time.monotonic() - asked[0] < 20
    assert comfy.server.alive()
    still = json.loads(json.dumps(STILL).replace("255", "77"))  # not what the cache already holds
    assert comfy.files(comfy.run(still, timeout=60))
