"""Characters of others: VRM 0.x, VRM 1.0 and skinned GLB come in as layers in their bind pose, with their skeleton."""

import json
import struct
from dataclasses import replace

import numpy as np
import pytest
import torch
from lift123.pipelines.core.errors import InputError
from lift123.pipelines.core.mesh import Mesh
from lift123.pipelines.core.rig import BONES, REQUIRED
from lift123.pipelines.io.character_file import read_character_file
from lift123.pipelines.io.character_rules import bone_by_name, part_by_name
from lift123.pipelines.io.glb import pack, write_glb_nodes
from lift123.pipelines.io.gltf_entry import split_chunks
from lift123.pipelines.io.rig_glb import write_rigged
from lift123.pipelines.io.vrm import VrmMeta, write_vrm
from lift123.pipelines.rigging.motions import walk
from lift123.pipelines.stages.characters.rig import in_a_pose, in_meters
from lift123.pipelines.toybox.characters import A_POSE, heldout_character
from lift123.pipelines.toybox.characters.rig import true_rigged

MATERIALS = {"body": "N00_000_00_Body_00_SKIN (Instance)", "clothing": "N00_002_01_Tops_01_CLOTH (Instance)",
             "hair": "N00_000_Hair_00_HAIR (Instance)"}


@pytest.fixture(scope="module")
def truth():
    toy = heldout_character(3)
    return true_rigged(toy, toy.posed(A_POSE, 20))


@pytest.fixture(scope="module")
def glb(truth):
    return write_rigged(None, in_meters(truth), [walk()])


@pytest.fixture(scope="module")
def vrm(truth):
    return write_vrm(None, in_meters(truth), VrmMeta())


def as_vrm_0(data: bytes) -> bytes:
    """The file as a writer of VRM 0.x makes it: facing -Z, one mesh of three materials, VRoid's names, the old extension."""
    gltf, binary = split_chunks(data)
    raw = bytearray(binary)

    def values(index):
        accessor = gltf["accessors"][index]
        width = {"VEC3": 3, "MAT4": 16, "SCALAR": 1}[accessor["type"]]
        start = gltf["bufferViews"][accessor["bufferView"]]["byteOffset"]
        return np.frombuffer(raw, "<f4", accessor["count"] * width, start).reshape(-1, width)

    half = np.diag([-1.0, 1.0, -1.0, 1.0])
    for mesh in gltf["meshes"]:
        points = values(mesh["primitives"][0]["attributes"]["POSITION"])
        points *= np.array([-1, 1, -1], np.float32)
        for key in ("min", "max"):
            gltf["accessors"][mesh["primitives"][0]["attributes"]["POSITION"]].pop(key)
    binds = values(gltf["skins"][0]["inverseBindMatrices"])
    binds[:] = (np.einsum("ij,njk,kl->nil", half, binds.reshape(-1, 4, 4).transpose(0, 2, 1), half).transpose(0, 2, 1)
                .reshape(-1, 16))
    bones = gltf.pop("extensions")["VRMC_vrm"]["humanoid"]["humanBones"]
    joints = gltf["skins"][0]["joints"]
    for k, node in enumerate(gltf["nodes"]):
        if "translation" in node:
            node["translation"] = [-node["translation"][0], node["translation"][1], -node["translation"][2]]
        node["name"] = f"J_{k}" if k in joints else f"node {k}"
    names = [material["name"] for material in gltf["materials"]]
    for material in gltf["materials"]:
        material["name"] = MATERIALS[material["name"]]
    gltf["meshes"] = [{"name": "merged", "primitives": [m["primitives"][0] for m in gltf["meshes"]]}]
    first = next(k for k, node in enumerate(gltf["nodes"]) if "mesh" in node)
    for node in gltf["nodes"][first + 1 :]:
        node.pop("mesh"), node.pop("skin")
    gltf["nodes"][first]["mesh"] = 0
    human = [{"bone": name, "node": row["node"], "useDefaultValues": True} for name, row in bones.items()]
    gltf["extensions"] = {"VRM": {"specVersion": "0.0", "humanoid": {"humanBones": human}, "meta": {"title": "toy"}}}
    gltf["extensionsUsed"] = ["VRM"]
    assert len(names) == 3
    return pack(gltf, bytes(raw))


def check(found, truth):
    """Layers, joints and weights of what was written, up to the frame."""
    want, rig = truth.layers.framed(), truth.rig
    assert found.rigged.layers.names == want.names and found.rigged.rig is not None
    for name in want:
        got = found.rigged.layers[name]
        assert got.vertices.shape == want[name].vertices.shape and torch.equal(got.faces, want[name].faces)
        assert torch.allclose(got.vertices, want[name].vertices, atol=1e-4), name
        assert torch.allclose(got.vertex_colors, want[name].vertex_colors, atol=2e-3)
        bones = found.rigged.rig.names
        dense, true = found.rigged.skins[name].dense(len(bones)), truth.skins[name].dense(len(rig.names))
        assert torch.allclose(dense, true[:, [rig.index(b) for b in bones]], atol=2e-3), name
    points = torch.cat([truth.layers[n].vertices for n in truth.layers])
    low, high = points.amin(0).double(), points.amax(0).double()
    scale = 2 / float((high - low).max())
    joints = (rig.joints - (low + high) / 2) * scale
    assert found.rigged.rig.names == BONES
    assert torch.allclose(found.rigged.rig.joints, joints, atol=1e-4)


def test_a_skinned_glb_comes_back_as_it_was_bound(glb, truth):
    check(read_character_file(glb), truth)


def test_colors_beside_a_texture_are_those_of_its_faces_with_area(truth):
    """Unwrapping leaves faces without area at the texture's corner; a vertex that has one keeps its own place's color."""
    body = truth.layers["body"]
    low, high = body.vertices.amin(0), body.vertices.amax(0)
    uvs = ((body.vertices - low) / (high - low))[:, :2] * 0.8 + 0.1
    ramp = (torch.arange(64) + 0.5) / 64
    picture = torch.stack([ramp[None].expand(64, 64), ramp[:, None].expand(64, 64), torch.full((64, 64), 0.25)], dim=-1)
    flat = body.faces[:, [0, 0, 1]]
    mesh = Mesh(body.vertices, torch.cat([body.faces, flat]), None, torch.cat([uvs, torch.zeros(1, 2)]),
                torch.cat([body.faces, torch.full_like(flat, len(uvs))]), picture)
    found = read_character_file(write_rigged(None, in_meters(replace(truth, layers=truth.layers.replaced("body", mesh))), []))
    got = found.rigged.layers["body"]
    near = torch.cdist(got.vertices, truth.layers.framed()["body"].vertices).argmin(1)
    assert float((got.vertex_colors[:, :2] - uvs[near]).abs().max()) < 0.01


def test_vrm_1_stands_in_t_pose_and_comes_in_bind_pose(vrm, truth):
    found = read_character_file(vrm)
    check(found, truth)
    assert found.face is None and found.parts == ("body: body", "clothing: clothing", "hair: hair")


def test_vrm_0_of_others_by_materials_and_its_bones(vrm, truth):
    """It faces -Z, is one mesh, and nothing but materials and the humanoid says what is what."""
    found = read_character_file(as_vrm_0(vrm))
    check(found, truth)
    assert found.parts[0] == f"body: {MATERIALS['body']}"


def test_unnamed_parts_are_told_by_their_bones(vrm, truth):
    gltf, binary = split_chunks(vrm)
    gltf["materials"] = [{**m, "name": m["name"] if m["name"] == "clothing" else f"Material.{k}"}
                         for k, m in enumerate(gltf["materials"])]
    head = gltf["extensions"]["VRMC_vrm"]["humanoid"]["humanBones"]["head"]["node"]
    extra = len(gltf["nodes"])
    gltf["nodes"].append({"name": "lock"})
    gltf["nodes"][head].setdefault("children", []).append(extra)
    for node in gltf["nodes"]:
        if "mesh" in node:
            node["name"] = "thing"
    hair = next(m for m in gltf["meshes"] if m["name"] == "hair")["primitives"][0]["attributes"]
    skin = gltf["skins"][0]
    count = len(skin["joints"])
    skin["joints"].append(extra)
    binds = gltf["accessors"][skin["inverseBindMatrices"]]
    start = gltf["bufferViews"][binds["bufferView"]]["byteOffset"]
    own = np.frombuffer(binary, "<f4", count * 16, start).reshape(-1, 16)
    raw = bytes(binary) + np.concatenate([own, own[head : head + 1]]).astype("<f4").tobytes()
    rows = gltf["accessors"][hair["JOINTS_0"]]["count"]
    moved = np.zeros((rows, 4), "<u2")
    moved[:, 0] = count
    whole = np.tile(np.array([1, 0, 0, 0], "<f4"), (rows, 1))
    views = [(raw, len(binary), (count + 1) * 64), (b"", 0, rows * 8), (b"", 0, rows * 16)]
    raw, at = raw + moved.tobytes() + whole.tobytes(), len(binary)
    for (_, _, size), kind, component, number in zip(views, ("MAT4", "VEC4", "VEC4"), (5126, 5123, 5126), (count + 1, rows, rows),
                                                     strict=True):
        gltf["bufferViews"].append({"buffer": 0, "byteOffset": at, "byteLength": size})
        gltf["accessors"].append({"bufferView": len(gltf["bufferViews"]) - 1, "componentType": component, "type": kind,
                                  "count": number})
        at += size
    gltf["buffers"] = [{"byteLength": len(raw)}]
    last = len(gltf["accessors"])
    skin["inverseBindMatrices"], hair["JOINTS_0"], hair["WEIGHTS_0"] = last - 3, last - 2, last - 1
    for mesh in gltf["meshes"]:
        mesh["name"] = "thing"
    found = read_character_file(pack(gltf, raw)).rigged
    assert found.layers.names == truth.layers.names and len(found.layers["hair"].faces) == len(truth.layers["hair"].faces)
    assert torch.equal(found.skins["hair"].joints[:, 0], torch.full((len(found.layers["hair"].vertices),), BONES.index("head")))


def test_an_a_pose_is_made_of_other_poses(glb):
    found = read_character_file(glb).rigged
    up = in_a_pose(found, 0.0)
    assert up.rig is not None
    assert abs(float(up.rig.joint("leftHand")[1] - up.rig.joint("leftUpperArm")[1])) < 1e-6
    back = in_a_pose(up, 45.0)
    arm = back.rig.joint("rightHand") - back.rig.joint("rightUpperArm")
    assert abs(float(arm[1] / arm[0]) - 1) < 1e-6 and float(arm[0]) < 0
    assert float((up.layers["body"].vertices - back.layers["body"].vertices).norm(dim=1).max()) > 0.3


def test_layers_without_bones_say_so(truth):
    found = read_character_file(write_glb_nodes(None, dict(truth.layers.layers), "root"))
    assert found.rigged.rig is None and "no skeleton" in found.rigged.refused and found.rigged.layers.names == truth.layers.names
    with pytest.raises(InputError, match="no skeleton"):
        in_a_pose(found.rigged)


@pytest.mark.parametrize("name, bone", [
    ("mixamorig:LeftForeArm", "leftLowerArm"), ("mixamorig:RightUpLeg", "rightUpperLeg"), ("mixamorig:LeftLeg", "leftLowerLeg"),
    ("mixamorig:Spine1", "chest"), ("J_Bip_L_UpperArm", "leftUpperArm"), ("J_Bip_C_Hips", "hips"), ("thigh_r", "rightUpperLeg"),
    ("upper_arm.L", "leftUpperArm"), ("Left elbow", "leftLowerArm"), ("DEF-shin.R", "rightLowerLeg"),
    ("clavicle_l", "leftShoulder"),
    ("pelvis", "hips"), ("Head", "head"), ("lowerLeg.R", "rightLowerLeg"), ("tail", None), ("mixamorig:LeftHandThumb1", None),
    ("J_Sec_Hair1_01", None), ("leftToeBase", "leftToes"),
])
def test_bones_by_the_names_of_many_programs(name, bone):
    assert bone_by_name(name) == bone


def test_parts_by_name():
    said = {"N00_000_00_FaceEyeline_00_FACE": "face", "N00_001_02_Shoes_01_CLOTH": "body", "Hair.001": "hair",
            "Dress": "clothing", "N00_000_00_HairBack_00_HAIR": "hair", "Material.003": None, "body": "body", "EyeIris": "face"}
    assert {name: part_by_name(name) for name in said} == said


def test_damaged_files_are_refused(vrm):
    gltf, binary = split_chunks(vrm)

    def changed(change):
        copy = json.loads(json.dumps(gltf))
        change(copy)
        return pack(copy, bytes(binary))

    def set_bone(g):
        g["extensions"]["VRMC_vrm"]["humanoid"]["humanBones"]["hips"]["node"] = 10_000

    for change in (set_bone, lambda g: g["skins"][0].update(joints=[10_000]), lambda g: g["skins"][0].update(joints=[]),
                   lambda g: g.update(meshes=[]), lambda g: g["extensions"]["VRMC_vrm"].update(humanoid=3)):
        with pytest.raises(InputError):
            read_character_file(changed(change))
    circle = changed(lambda g: g["nodes"][0].update(children=[0, *g["nodes"][0]["children"]]))
    assert read_character_file(circle).rigged.rig is not None, "ends, for no step of it goes round"
    for cut in (0, 20, 1000, len(vrm) // 2):
        with pytest.raises(InputError):
            read_character_file(vrm[:cut])
    with pytest.raises(InputError):
        read_character_file(struct.pack("<4sII", b"glTF", 2, 12))
    assert set(REQUIRED) <= set(BONES)
