"""Motions of others: BVH and VRMA against poses in closed form, the pack's own files read back, damaged ones."""

import math

import numpy as np
import pytest
import torch
from helpers.bvh_tiny import NUMBERS, bvh_text
from lift123.pipelines.core.errors import InputError
from lift123.pipelines.core.layers import LayeredMesh
from lift123.pipelines.core.mesh import Mesh
from lift123.pipelines.core.rig import BONES, PARENTS, Rig, RiggedLayers, Skin, quaternions, rotation
from lift123.pipelines.io.glb import Buffer, pack
from lift123.pipelines.io.motion_bvh import read_bvh
from lift123.pipelines.io.motion_clip import MOST_FRAMES, thinned
from lift123.pipelines.io.motion_file import read_motion, to_motion
from lift123.pipelines.io.motion_gltf import sampled
from lift123.pipelines.io.rig_glb import write_rigged
from lift123.pipelines.rigging.motions import walk, wave

PLACES = {"hips": (0, 1, 0), "spine": (0, 1.1, 0), "chest": (0, 1.2, 0), "neck": (0, 1.4, 0), "head": (0, 1.5, 0)}
for _side, _sign in (("left", 1), ("right", -1)):
    PLACES |= {f"{_side}Shoulder": (0.05 * _sign, 1.38, 0), f"{_side}UpperArm": (0.15 * _sign, 1.38, 0),
               f"{_side}LowerArm": (0.33 * _sign, 1.2, 0), f"{_side}Hand": (0.5 * _sign, 1.03, 0),
               f"{_side}UpperLeg": (0.1 * _sign, 0.95, 0), f"{_side}LowerLeg": (0.1 * _sign, 0.5, 0),
               f"{_side}Foot": (0.1 * _sign, 0.08, 0), f"{_side}Toes": (0.1 * _sign, 0.02, 0.12)}


@pytest.fixture(scope="module")
def rig():
    """A skeleton by hand in A-pose; each hand goes on along its arm."""
    joints = torch.tensor([PLACES[n] for n in BONES], dtype=torch.float64)
    parents = tuple(-1 if PARENTS[n] is None else BONES.index(PARENTS[n]) for n in BONES)
    tips = joints + torch.tensor([0.0, 0.1, 0.0])
    for side in ("left", "right"):
        for a, b in (("Shoulder", "UpperArm"), ("UpperArm", "LowerArm"), ("LowerArm", "Hand")):
            tips[BONES.index(side + a)] = joints[BONES.index(side + b)]
        hand, elbow = joints[BONES.index(f"{side}Hand")], joints[BONES.index(f"{side}LowerArm")]
        tips[BONES.index(f"{side}Hand")] = hand + (hand - elbow) * 0.4
    return Rig(BONES, parents, joints, tips)


@pytest.fixture(scope="module")
def glb(rig):
    flat = Mesh(torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0]]), torch.tensor([[0, 1, 2]]))
    rigged = RiggedLayers(LayeredMesh({"body": flat}), rig, {"body": Skin.strongest(torch.ones(3, len(BONES)))})
    return write_rigged(None, rigged, [walk(), wave()])


def joints_of(motion, rig, frame):
    """[J, 3] where the bones of a skeleton stand in one frame."""
    moves = motion.frame(rig, frame)
    return torch.stack([m[:, :3] @ p + m[:, 3] for m, p in zip(moves, rig.joints)])


@pytest.mark.parametrize("clip, made", [(0, walk), (1, wave)])
def test_the_pack_s_own_animations_come_back(glb, rig, tmp_path, clip, made):
    """From a file that stands in A-pose to turns that count from the T-pose."""
    (tmp_path / "toy.glb").write_bytes(glb)
    motion, notes = read_motion(tmp_path / "toy.glb", clip)
    want = made()
    assert not notes and motion.name == want.name and len(motion) == len(want) and motion.loops == want.loops
    assert torch.allclose(motion.times, want.times, atol=1e-5)
    for name, turns in want.turns.items():
        if float((turns - torch.eye(3)).abs().max()) > 1e-6:
            assert torch.allclose(motion.turns[name], turns, atol=1e-5), name
    for k in range(0, len(want), 9):
        assert torch.allclose(joints_of(motion, rig, k), joints_of(want, rig, k), atol=1e-5)


def test_bvh_stands_up_and_turns_as_it_says(tmp_path):
    """A left arm that hangs: about the file's Y (forwards) by 90 degrees is our Z by -90; the hips go up and forwards."""
    frames = np.zeros((2, NUMBERS))
    frames[:, 2] = 90
    frames[1, :3] = [0, -9, 99]  # forwards is -Y there
    arm = 6 + 3 * 7  # behind both legs and the spine
    frames[1, arm + 2] = 90
    (tmp_path / "a.bvh").write_text(bvh_text(frames.tolist()))
    motion, _ = read_motion(tmp_path / "a.bvh")
    assert len(motion) == 2 and math.isclose(motion.seconds, 0.1) and not motion.loops
    assert set(motion.turns) == {"leftUpperArm"}
    down = motion.turns["leftUpperArm"][1] @ torch.tensor([1.0, 0, 0]).double()
    assert torch.allclose(down, torch.tensor([0.0, -1.0, 0.0]).double(), atol=1e-9)
    assert torch.allclose(motion.turns["leftUpperArm"][0], torch.eye(3).double(), atol=1e-9)
    tall = 85.0  # the hips above the ankles
    assert torch.allclose(motion.shift[1] - motion.shift[0], torch.tensor([0.0, 9 / tall, 9 / tall]).double(), atol=1e-9)
    assert abs(float(motion.shift[0, 1])) < 1e-9, "the lowest ankle of all frames stands on the floor"


def test_the_order_of_rotations_is_that_of_the_channels():
    frames = np.zeros((1, NUMBERS))
    frames[0, 2], frames[0, 3:6] = 90, (30, 40, 50)  # z, x, y
    clip, _ = read_bvh(bvh_text(frames.tolist()).encode(), "x")
    z, x, y = (rotation(np.radians(a) * np.eye(3)[k]) for a, k in ((30, 2), (40, 0), (50, 1)))
    assert np.allclose(clip.turns[0, 0], (z @ x @ y).numpy())


def vrma(turn, rest):
    """A VRM animation whose bones' own axes stand askew (``rest``): the left upper arm turns by ``turn`` of space."""
    buffer, names = Buffer(), ("hips", "head", "leftUpperLeg", "rightUpperLeg", "leftUpperArm", "leftLowerArm", "leftHand")
    above = {"leftLowerArm": "leftUpperArm", "leftHand": "leftLowerArm"}
    straight = PLACES | {"leftUpperArm": (0.15, 1.38, 0), "leftLowerArm": (0.4, 1.38, 0), "leftHand": (0.6, 1.38, 0)}
    nodes = []
    for name in names:
        parent = above.get(name, "hips") if name != "hips" else None
        step = torch.tensor(straight[name]).double() - (torch.tensor(straight[parent]).double() if parent else 0)
        local = rest.T @ step if parent else step
        node = {"name": f"bone {len(nodes)}", "translation": local.tolist(),
                "children": [names.index(n) for n in names if n != "hips" and above.get(n, "hips") == name]}
        if parent is None:
            node["rotation"] = quaternions(rest[None])[0].tolist()
        nodes.append({k: v for k, v in node.items() if v != []})
    moved = rest.T @ turn @ rest  # in the bone's own axes
    times = buffer.accessor(np.array([0.0, 1.0]), "SCALAR", None, bounds=True)
    values = quaternions(torch.stack([torch.eye(3).double(), moved])).numpy()
    sampler = {"input": times, "output": buffer.accessor(values, "VEC4", None)}
    channel = {"sampler": 0, "target": {"node": names.index("leftUpperArm"), "path": "rotation"}}
    human = {name: {"node": k} for k, name in enumerate(names)}
    gltf = {"asset": {"version": "2.0"}, "nodes": nodes, "animations": [{"samplers": [sampler], "channels": [channel]}],
            "extensionsUsed": ["VRMC_vrm_animation"],
            "extensions": {"VRMC_vrm_animation": {"specVersion": "1.0", "humanoid": {"humanBones": human}}},
            "accessors": buffer.accessors, "bufferViews": buffer.views, "buffers": [{"byteLength": len(buffer.data)}]}
    return pack(gltf, bytes(buffer.data))


def test_vrma_with_askew_axes_turns_in_space(tmp_path):
    turn, rest = rotation((0.3, -0.5, 0.9)), rotation((0.7, 0.2, -1.1))
    (tmp_path / "a.vrma").write_bytes(vrma(turn, rest))
    motion, _ = read_motion(tmp_path / "a.vrma")
    assert motion.name == "a" and set(motion.turns) == {"leftUpperArm"}
    assert torch.allclose(motion.turns["leftUpperArm"][1], turn, atol=1e-5)


def test_interpolations_of_gltf():
    keys, times = np.array([0.0, 2.0]), np.array([0.0, 1.0, 1.9, 2.0, 9.0])
    values = np.array([[0.0, 0, 0], [4.0, 0, 0]])
    assert sampled((keys, values, "LINEAR"), times, False)[:, 0].tolist() == [0, 2, 3.8, 4, 4]
    assert sampled((keys, values, "STEP"), times, False)[:, 0].tolist() == [0, 0, 0, 4, 4]
    cubic = np.array([[0.0, 0, 0], [0, 0, 0], [2, 0, 0], [2, 0, 0], [4, 0, 0], [0, 0, 0]])
    assert np.allclose(sampled((keys, cubic, "CUBICSPLINE"), times[:4], False)[:, 0], [0, 2, 3.8, 4]), "a straight line"
    ends = quaternions(torch.stack([torch.eye(3).double(), rotation((0, 0, 1.0))])).numpy()
    half = sampled((keys, ends * [[1], [-1]], "LINEAR"), times[1:2], True)
    assert np.allclose(half[0], quaternions(rotation((0, 0, 0.5))[None])[0]), "the shorter arc"
    assert thinned(MOST_FRAMES) == (slice(None, None, 1), ()) and thinned(MOST_FRAMES + 1)[0].step == 2


def test_damaged_and_foreign_files_are_refused(glb, tmp_path):
    good = bvh_text([[0.0] * NUMBERS])
    wrong = ["HIERARCHY", good[:300], good.replace("Frames: 1", "Frames: 100000000"),
             good.replace("Frame Time: 0.1", "Frame Time: 0"), good.replace("Hips", "Thing"),
             good.replace("OFFSET 0 0 90", "OFFSET 0 0 nan"), good.replace("0 0 -40", "0 0 -1e200"),
             good.replace("3 Zrotation", "9 Zrotation"),
             good.replace("}", "", 1), "HIERARCHY\n" + "ROOT a {\n" * 400, good[: good.index("MOTION")],
             good.rsplit("0.0", 1)[0], "something else"]
    assert len(to_motion(read_bvh(good.encode(), "x")[0])) == 1
    for k, text in enumerate(wrong):
        (tmp_path / f"{k}.bvh").write_text(text)
        with pytest.raises(InputError):
            read_motion(tmp_path / f"{k}.bvh")
    (tmp_path / "a.glb").write_bytes(glb)
    with pytest.raises(InputError, match="animation 2 of 2"):
        read_motion(tmp_path / "a.glb", 2)
    for cut in (30, len(glb) // 2):
        (tmp_path / "a.glb").write_bytes(glb[:cut])
        with pytest.raises(InputError):
            read_motion(tmp_path / "a.glb")
    with pytest.raises(InputError, match="no hips"):
        clip, _ = read_bvh(good.encode(), "x")
        to_motion(type(clip)("x", ("head",), clip.rest[:1], clip.places[:1], clip.turns[:, :1], clip.hips, clip.times))
