"""Characters and motions of others in the real ComfyUI: from files to layers, a skeleton, poses and files again."""

import json

import numpy as np
import pytest
import torch
from helpers.bvh_tiny import NUMBERS, bvh_text
from helpers.comfy_server import PromptFailed
from lift123.pipelines.core.rig import BONES
from lift123.pipelines.io.character_file import read_character_file
from lift123.pipelines.io.gltf_entry import split_chunks
from lift123.pipelines.io.motion_file import read_motion
from lift123.pipelines.io.vrm import VrmMeta, write_vrm
from lift123.pipelines.stages.characters.refined_layers import load_layers
from lift123.pipelines.stages.characters.rig import in_a_pose, in_meters
from lift123.pipelines.toybox.characters import A_POSE, heldout_character
from lift123.pipelines.toybox.characters.rig import true_rigged

LEFT_ARM = 6 + 3 * 7  # of a frame: behind both legs and the spine


def node(kind, /, **inputs):
    return {"class_type": f"Lift123_{kind}", "inputs": inputs}


def exporting(rigged, prefix, **more):
    return node("ExportRigged", rigged=rigged, filename_prefix=prefix, files="glb", height=1.5, unlit=True, name="toy",
                author="toybox", avatar="everyone", commercial="no", changes="no", redistribution=False, credit=True,
                colors="vertex colors", **more)


@pytest.fixture(scope="module")
def files(comfy):
    """A VRM of a toy's truth and a BVH whose second frame has the left arm straight down, in the input folder."""
    toy = heldout_character(3)
    folder = comfy.base / "input"
    folder.mkdir(exist_ok=True)
    write_vrm(folder / "toy.vrm", in_meters(true_rigged(toy, toy.posed(A_POSE, 20))), VrmMeta())
    frames = np.zeros((2, NUMBERS))
    frames[:, 2], frames[1, LEFT_ARM + 2] = 90, 90  # the hips' height; degrees about the file's Y
    (folder / "arm.bvh").write_text(bvh_text(frames.tolist()))
    return folder


def written(comfy, entry, key, kind):
    """The path of a file that a node wrote."""
    file = entry["outputs"][key]["lift123_files"][0][kind]
    return comfy.output / file["subfolder"] / file["filename"]


def test_a_file_becomes_layers_is_posed_by_a_motion_file_and_written_again(comfy, files):
    """Its own skeleton moves as the same calls do here; a skeleton found anew in its layers is bound and written, too."""
    entry = comfy.run({
        "file": node("LoadCharacterFile", file="toy.vrm [input]", pose="a-pose"),
        "motion": node("LoadMotion", file="arm.bvh [input]", clip=0),
        "posed": node("PoseLayers", rigged=["file", 1], motion=["motion", 0], frame=1),
        "kept": node("SaveLayers", layers=["posed", 0], filename_prefix="lift123/posed"),
        "own": exporting(["file", 1], "lift123/own", motion_1=["motion", 0]),
        "fit": node("FitSkeleton", layers=["file", 0], symmetric=True, if_refused="error", size=64),
        "bind": node("BindLayers", layers=["file", 0], rig=["fit", 0], springs=False),
        "anew": exporting(["bind", 0], "lift123/anew", motion_1=["motion", 0]),
        "said": {"class_type": "PreviewAny", "inputs": {"source": ["motion", 1]}},
    })
    assert "2 frames" in json.dumps(entry["outputs"]["said"])
    rigged = in_a_pose(read_character_file(files / "toy.vrm").rigged)
    motion, _ = read_motion(files / "arm.bvh")
    want = rigged.posed(motion.frame(rigged.rig, 1)).framed()
    got = load_layers(written(comfy, entry, "kept", "scene")).layers
    assert got.names == want.names == ("body", "clothing", "hair")
    for name in want:
        assert torch.allclose(got[name].vertices, want[name].vertices, atol=1e-6), name
    for key in ("own", "anew"):
        path = written(comfy, entry, key, "glb")
        scene, _ = split_chunks(path.read_bytes())
        assert len(scene["skins"][0]["joints"]) == len(BONES) and len(scene["animations"]) == 1, key
        back, again = read_character_file(path).rigged, read_motion(path)[0]
        assert back.rig is not None and back.layers.names == want.names, key
        moves = again.frame(back.rig, 1)
        arm = [moves[i][:, :3] @ back.rig.joints[i] + moves[i][:, 3] for i in map(BONES.index, ("leftUpperArm", "leftHand"))]
        down = (arm[1] - arm[0]) / (arm[1] - arm[0]).norm()
        assert torch.allclose(down, torch.tensor([0.0, -1.0, 0.0]).double(), atol=0.1 if key == "anew" else 1e-4), (key, down)


def test_absent_files_stop_the_queue_and_broken_ones_are_named(comfy, files):
    (files / "broken.vrm").write_bytes((files / "toy.vrm").read_bytes()[:500])
    (files / "broken.bvh").write_text("HIERARCHY\nROOT Hips\n{\n")
    show = {"class_type": "PreviewAny"}
    for name, kind in (("LoadCharacterFile", "vrm"), ("LoadMotion", "bvh")):
        more = {"pose": "bind pose"} if kind == "vrm" else {"clip": 0}
        for file in ("absent", "broken"):
            prompt = {"1": node(name, file=f"{file}.{kind} [input]", **more),
                      "2": {**show, "inputs": {"source": ["1", 2 if kind == "vrm" else 1]}}}
            with pytest.raises(PromptFailed, match=f"{file}.{kind}|{kind.upper()}|GLB|glb"):
                comfy.run(prompt)
