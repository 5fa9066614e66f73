"""The skinned GLB in Blender, where its Python module is: bones, textures, animations, and where the vertices go.

    pip install bpy            in an environment of its own (its versions of other packages are old)
    LIFT123_BPY=/path/to/that/python python3 launch.py test tests/io/test_blender.py

LIFT123_BPY_PICTURES names a folder that keeps the picture.
"""

import json
import os
import subprocess
from pathlib import Path

import pytest
import torch
from lift123.pipelines.core.rig import BONES
from lift123.pipelines.rigging.motions import walk, wave
from lift123.pipelines.stages.characters.export import ExportFrame
from lift123.pipelines.stages.characters.rig import in_meters
from lift123.pipelines.stages.characters.rig_files import write_files
from lift123.pipelines.stages.characters.texture_layers import TextureConfig, texture_layers
from lift123.pipelines.toybox.characters import A_POSE, heldout_character
from lift123.pipelines.toybox.characters.rig import true_rigged

SCRIPT = Path(__file__).resolve().parent.parent / "blender" / "open_character.py"
FRAME = 6  # of the walk: the widest step


def test_blender_opens_bends_and_shows_it(tmp_path):
    python = os.environ.get("LIFT123_BPY")
    if not python:
        pytest.skip("no Blender: LIFT123_BPY names no Python with its module bpy (see the head of this file)")
    kept = os.environ.get("LIFT123_BPY_PICTURES")
    toy = heldout_character(3)
    layers = toy.posed(A_POSE, 48 if kept else 20)
    textured = texture_layers(layers, config=TextureConfig(512, 6000) if kept else TextureConfig(64, 300, 2, 1)).layers
    rigged = true_rigged(toy, textured)
    write_files({"glb": tmp_path / "toy.glb"}, rigged, ExportFrame(), [walk(), wave()])
    task = {"file": str(tmp_path / "toy.glb"), "frame": FRAME, "report": str(tmp_path / "report.json"), "size": 512,
            "picture": os.path.join(kept, "blender.png") if kept else None}
    (tmp_path / "task.json").write_text(json.dumps(task))
    done = subprocess.run([python, str(SCRIPT), str(tmp_path / "task.json")], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-2000:]
    report = json.loads((tmp_path / "report.json").read_text())
    assert set(BONES) <= set(report["bones"]) and {"walk", "wave"} <= {a.split("_")[0] for a in report["actions"]}
    assert set(report["meshes"]) == set(textured.names) and len(report["images"]) == len(textured)
    assert all(uvs and groups >= len(BONES) for uvs, groups in report["layers"].values())
    moved = in_meters(rigged, ExportFrame())
    motion = {"walk": walk(), "wave": wave()}[report["action"].split("_")[0]]
    want = moved.posed(motion.frame(moved.rig, FRAME))
    for name, points in report["meshes"].items():
        found = torch.tensor(points)[:, [0, 2, 1]] * torch.tensor([1.0, 1.0, -1.0])  # z up, facing -y -> y up, facing +z
        near = torch.cdist(found, want[name].vertices).amin(1)
        assert float(near.max()) < 2e-3, name
