"""The fault table, short form: nine long stages ended in the middle end where they would have ended, bit for bit.

``launch.py bench faults`` is the long form.
"""

import os
import random

import pytest
from helpers.comfy_modules import prepare
from helpers.faults import Worker

prepare()
pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="children are forked from a process that has imported all")

# stage -> states that it keeps on its way
KEPT = {"NeRF stage 1": 9, "NeRF stage 2": 9, "DMTet": 11, "RGSD": 11, "Textual inversion": 11, "Canonicalize": 8,
        "Multi-view": 10, "Refine Layers": 10, "RGNV": 17}


@pytest.fixture(scope="module")
def worker():
    """A process that runs stages in children."""
    running = Worker()
    yield running
    running.close()


@pytest.fixture(scope="module")
def whole(worker, tmp_path_factory):
    """Stage -> what it gives without a pause, each made once, with states every 20 seconds as usual."""
    known = {}

    def make(stage):
        if stage not in known:
            known[stage] = worker.run(stage, tmp_path_factory.mktemp("whole"), every=20.0)
            assert known[stage]["code"] == 0 and known[stage]["key"] and not known[stage]["left"]
        return known[stage]

    return make


@pytest.mark.parametrize("stage", list(KEPT))
def test_a_killed_stage_goes_on_bit_for_bit(worker, whole, tmp_path, stage):
    at = random.Random(stage).randint(2, KEPT[stage] - 1)
    killed = worker.run(stage, tmp_path, "kill", at)
    assert killed["code"] == -9 and len(killed["left"]) == 2, killed
    again = worker.run(stage, tmp_path)
    assert again["code"] == 0 and again["key"] == whole(stage)["key"]
    assert whole(stage)["steps"] == KEPT[stage] and again["steps"] == KEPT[stage] - at, "no step is made twice"
    assert "continued from step" in again["said"][-1] and not again["left"]


def test_a_kill_in_a_later_stage_does_not_cost_the_one_before(worker, tmp_path):
    """NeRF stage 1 keeps 9 states, then DMTet 7; killed after its fourth."""
    whole = worker.run("One prompt", tmp_path / "whole", every=20.0)
    assert whole["code"] == 0 and whole["steps"] == 16 and not whole["left"], "nothing stays when the prompt has ended well"
    killed = worker.run("One prompt", tmp_path / "killed", "kill", 13)
    names = [name.split("_")[0] + ("_done" if "_done_" in name else "") for name in killed["left"]]
    assert killed["code"] == -9 and names == ["dmtet", "dmtet", "nerf_done"]
    again = worker.run("One prompt", tmp_path / "killed")
    assert again["key"] == whole["key"] and again["steps"] == 3 and not again["left"]
    assert "NeRF stage 1: taken from the attempt before, which had finished it" in again["said"]
    assert any("continued from step 4" in text for text in again["said"])


@pytest.mark.parametrize("fault", ["terminate", "full", "readonly", "deleted"])
def test_trouble_with_the_disk_costs_time_at_most(worker, whole, tmp_path, fault):
    ended = worker.run("Canonicalize", tmp_path, fault, 3)
    assert ended["code"] == (-15 if fault == "terminate" else -9) and len(ended["left"]) == 2
    assert all(name.endswith(".safetensors") for name in ended["left"]), "no half-written file stays"
    again = worker.run("Canonicalize", tmp_path)
    assert again["key"] == whole("Canonicalize")["key"] and "continued from step" in again["said"][-1]


def test_an_interrupted_stage_keeps_a_scene_and_its_state(worker, whole, tmp_path):
    ended = worker.run("NeRF stage 1", tmp_path, "interrupt", 5, every=20.0)
    assert ended["code"] == 130 and ended["partial"] == ["partial_nerf_stage_1_00001_.safetensors"] and ended["left"]
    assert ended["said"][-1].endswith("; Load Scene continues from it, and so does queueing the same graph again.")
    again = worker.run("NeRF stage 1", tmp_path)
    assert again["key"] == whole("NeRF stage 1")["key"] and not again["left"]


def test_damaged_states_are_passed_over_in_the_node(worker, whole, tmp_path):
    worker.run("Canonicalize", tmp_path, "kill", 4)
    older, newer = sorted((tmp_path / "lift123" / "unfinished").iterdir())
    data = bytearray(newer.read_bytes())
    data[len(data) // 2] ^= 1
    newer.write_bytes(data)
    again = worker.run("Canonicalize", tmp_path, "kill", 2)
    again = worker.run("Canonicalize", tmp_path, "interrupt", 1)
    for path in (tmp_path / "lift123" / "unfinished").iterdir():
        path.write_bytes(path.read_bytes()[:100])
    again = worker.run("Canonicalize", tmp_path)
    assert again["key"] == whole("Canonicalize")["key"] and again["said"][-1].endswith("is damaged | begun anew")


def test_networks_of_comfyui_are_told_apart_by_their_graph_and_patches():
    from types import SimpleNamespace

    from lift123.nodes.comfy_networks import ComfyNetwork, origin
    from lift123.pipelines.io.fingerprint import fingerprint

    def graph(name, title="a"):
        return {"1": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": name}, "_meta": {"title": title}},
                "2": {"class_type": "Lift123_ModelAsText", "inputs": {"model": ["1", 0], "clip": ["1", 1], "vae": ["1", 2]}}}

    def key(name="x.ckpt", strength=1.0, title="a"):
        model = SimpleNamespace(patches={"weight": [(strength, None, 1.0, None, None)]})
        hidden = SimpleNamespace(prompt=graph(name, title), unique_id="2")
        return fingerprint(ComfyNetwork("text", model, None, origin=origin(hidden)))

    assert key() == key(title="another") and len({key(), key("y.ckpt"), key(strength=0.5)}) == 3
    with pytest.raises(TypeError, match="unknown graph"):
        fingerprint(ComfyNetwork("text", None, None, origin=origin(None)))
