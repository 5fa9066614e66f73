"""Skinned GLB and VRM files: read back, validated, opened in a real browser."""

import json
import os
import struct
import subprocess
from pathlib import Path

import pytest
import torch
from helpers.tools import tools
from lift123.launcher import browser
from lift123.pipelines.core.errors import InputError
from lift123.pipelines.core.rig import REQUIRED
from lift123.pipelines.io.glb import read_glb
from lift123.pipelines.io.vrm import VrmMeta
from lift123.pipelines.ops.texture import sample_texture
from lift123.pipelines.rigging.motions import walk
from lift123.pipelines.stages.characters.export import ExportFrame
from lift123.pipelines.stages.characters.rig import in_meters
from lift123.pipelines.stages.characters.rig_files import write_files
from lift123.pipelines.stages.characters.texture_layers import TextureConfig, texture_layers
from lift123.pipelines.toybox.characters import A_POSE, heldout_character
from lift123.pipelines.toybox.characters.rig import true_rigged

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture(scope="module")
def rigged():
    toy = heldout_character(3)
    return true_rigged(toy, toy.posed(A_POSE, 20))


@pytest.fixture(scope="module")
def files(rigged, tmp_path_factory):
    """A character written from its truth: folder with toy.glb and toy.vrm."""
    folder = tmp_path_factory.mktemp("rig")
    write_files({"glb": folder / "toy.glb", "vrm": folder / "toy.vrm"}, rigged, ExportFrame(), [walk()], VrmMeta("Toy", ("me",)))
    return folder


@pytest.fixture(scope="module")
def textured(rigged, tmp_path_factory):
    """The same with textures: folder with toy.glb and toy.vrm."""
    folder, small = tmp_path_factory.mktemp("textured"), TextureConfig(64, 300, 2, 1)
    layers = texture_layers(rigged.layers, config=small).layers
    made = true_rigged(heldout_character(3), layers)
    write_files({"glb": folder / "toy.glb", "vrm": folder / "toy.vrm"}, made, ExportFrame(), [walk()], VrmMeta("Toy", ("me",)))
    return folder


def gltf_of(path):
    data = path.read_bytes()
    (length,) = struct.unpack_from("<I", data, 12)
    return json.loads(data[20 : 20 + length])


def test_vertices_come_back_as_they_were_written(files, rigged):
    """The reader bends the skin as the nodes stand: the A-pose's file gives the A-pose, in meters."""
    want = in_meters(rigged).layers.merged()
    got = read_glb((files / "toy.glb").read_bytes(), weld=False)
    assert torch.allclose(got.vertices, want.vertices, atol=1e-5) and len(got.faces) == len(want.faces)


def test_vrm_stands_in_t_pose(files, rigged):
    moved = in_meters(rigged)
    assert moved.rig is not None
    want, got = moved.posed(moved.rig.t_pose()).merged(), read_glb((files / "toy.vrm").read_bytes(), weld=False)
    assert torch.allclose(got.vertices, want.vertices, atol=1e-5)


def test_vrm_says_which_bone_is_which(files):
    gltf = gltf_of(files / "toy.vrm")
    bones = gltf["extensions"]["VRMC_vrm"]["humanoid"]["humanBones"]
    assert set(REQUIRED) <= set(bones) and all(gltf["nodes"][b["node"]]["name"] == n for n, b in bones.items())
    meta = gltf["extensions"]["VRMC_vrm"]["meta"]
    assert meta["name"] == "Toy" and meta["authors"] == ["me"] and meta["licenseUrl"].startswith("https://vrm.dev/licenses/1.0")
    assert {"VRMC_vrm"} <= set(gltf["extensionsUsed"]) and "animations" not in gltf
    (animation,) = gltf_of(files / "toy.glb")["animations"]
    assert animation["name"] == "walk" and {c["target"]["path"] for c in animation["channels"]} == {"rotation", "translation"}


def test_textures_are_in_both_files_and_vertex_colors_in_neither(textured, rigged):
    for name in ("toy.glb", "toy.vrm"):
        gltf = gltf_of(textured / name)
        assert len(gltf["images"]) == len(gltf["textures"]) == len(rigged.layers)
        for k, mesh in enumerate(gltf["meshes"]):
            (primitive,) = mesh["primitives"]
            names = set(primitive["attributes"])
            assert {"TEXCOORD_0", "JOINTS_0", "WEIGHTS_0"} <= names and "COLOR_0" not in names
            assert gltf["materials"][primitive["material"]]["pbrMetallicRoughness"]["baseColorTexture"] == {"index": k}
    got, want = read_glb((textured / "toy.glb").read_bytes()), rigged.layers.merged()
    assert got.texture is not None and got.uvs is not None and want.vertex_colors is not None
    seen = sample_texture(got.texture, got.uvs[got.face_uvs].mean(1)).mean(0)
    assert float((seen - want.vertex_colors[want.faces].mean((0, 1))).abs().max()) < 0.1, "the colors are the layers' own"


def test_the_same_character_gives_the_same_bytes(files, rigged):
    again = write_files({"glb": None, "vrm": None}, rigged, ExportFrame(), [walk()], VrmMeta("Toy", ("me",)))
    assert again["glb"] == (files / "toy.glb").read_bytes() and again["vrm"] == (files / "toy.vrm").read_bytes()


def test_meta_wants_names_and_vrm_s_words():
    for wrong in ({"name": " "}, {"authors": ("",)}, {"avatar": "nobody"}):
        with pytest.raises(InputError):
            VrmMeta(**wrong)


def test_the_gltf_validator_finds_no_error(files, textured):
    node = tools("gltf-validator").node
    script = ("const v=require('gltf-validator'),fs=require('fs');for(const f of process.argv.slice(1))"
              "v.validateBytes(new Uint8Array(fs.readFileSync(f))).then(r=>console.log(JSON.stringify(r.issues)))")
    done = subprocess.run(["node", "-e", script, *(str(f / name) for f in (files, textured) for name in ("toy.glb", "toy.vrm"))],
                          cwd=node, capture_output=True, text=True, timeout=120, check=True)
    issues = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(issues) == 4
    for found in issues:
        assert found["numErrors"] == 0 and found["numWarnings"] == 0, found["messages"]


def test_three_vrm_opens_and_poses_it(textured):
    files = textured
    paths = tools("playwright-core", "three", "@pixiv/three-vrm")
    chromium = browser.find_chromium(paths)
    if not chromium:
        assert os.environ.get("LIFT123_REQUIRE_BROWSER") != "1", "no Chromium"
        pytest.skip("no Chromium")
    pose = {"leftUpperArm": [0, 0, -1.2], "rightLowerLeg": [1.0, 0, 0], "head": [0, 0.6, 0]}
    task = {"node": str(paths.node), "chromium": chromium, "file": str(files / "toy.vrm"), "out": str(files), "pose": pose}
    (files / "task.json").write_text(json.dumps(task))
    subprocess.run(["node", str(ROOT / "tests" / "browser" / "vrm.mjs"), str(files / "task.json")], timeout=300, check=True)
    report = json.loads((files / "report.json").read_text())
    assert "crash" not in report and not report["errors"], report
    assert report["about"]["meta"]["name"] == "Toy" and report["about"]["lookAt"] and report["about"]["firstPerson"] >= 2
    rest, posed = report["rest"], report["posed"]
    arm = torch.tensor(rest["bones"]["leftHand"]) - torch.tensor(rest["bones"]["leftUpperArm"])
    assert arm[0] > 0.1 and abs(float(arm[1])) < 0.02, "a T-pose"
    assert posed["bones"]["leftHand"][1] < rest["bones"]["leftHand"][1] - 0.1, "the arm went down"
    assert posed["bones"]["rightFoot"][2] < rest["bones"]["rightFoot"][2] - 0.05, "the knee bent backwards"
    assert (files / "rest.png").stat().st_size > 2000 and (files / "rest.png").read_bytes() != (files / "posed.png").read_bytes()
