"""Skeletons, weights and motions against the toybox's truth."""

import math
from dataclasses import replace

import pytest
import torch
import trimesh
from lift123.pipelines.core.errors import InputError
from lift123.pipelines.core.layers import LayeredMesh
from lift123.pipelines.core.mesh import Mesh, merge
from lift123.pipelines.core.rig import (
    BONES,
    PARENTS,
    REQUIRED,
    Rig,
    RiggedLayers,
    Skin,
    between,
    compose,
    inverse,
    matrices,
    quaternions,
    rotation,
)
from lift123.pipelines.io.glb import read_glb
from lift123.pipelines.metrics.layers import penetration
from lift123.pipelines.ops.closest import closest_point
from lift123.pipelines.rigging.dress import bind_layers, hair_chains
from lift123.pipelines.rigging.motions import pose_from_text, walk
from lift123.pipelines.stages.characters.export import ExportFrame
from lift123.pipelines.stages.characters.rig import find_rig, stretched
from lift123.pipelines.stages.characters.rig_files import write_files
from lift123.pipelines.toybox.characters import A_POSE, heldout_character
from lift123.pipelines.toybox.characters.rig import posed_in_a_frame, true_rigged, true_turns

CELLS = 32


@pytest.fixture(scope="module")
def toy():
    return heldout_character(3)


@pytest.fixture(scope="module")
def layers(toy):
    return toy.posed(A_POSE, CELLS)


@pytest.fixture(scope="module")
def truth(toy, layers):
    return true_rigged(toy, layers)


@pytest.fixture(scope="module")
def found(layers):
    return bind_layers(layers, find_rig(layers))


def height_of(layers):
    y = layers["body"].vertices[:, 1]
    return float(y.max() - y.min())


def test_true_weights_follow_the_posed_character(toy, truth):
    """Bent by its true weights, the A-pose's surface lies on the posed one that the toybox models anew."""
    pose = toy.pose(0)
    bent, real = truth.posed(truth.rig.motions(true_turns(pose))), posed_in_a_frame(toy, pose, CELLS)
    distance = closest_point(bent["body"].vertices, real["body"].vertices, real["body"].faces).distance
    assert float(distance.mean()) < 0.005 * height_of(truth.layers)


def test_every_required_joint_is_found(found, truth):
    errors = (found.rig.joints[: len(BONES)] - truth.rig.joints).norm(dim=1) / height_of(truth.layers)
    worst = {n: float(e) for n, e in zip(BONES, errors, strict=True) if n in REQUIRED}
    assert sum(worst.values()) / len(worst) < 0.03 and max(worst.values()) < 0.06, worst
    assert not found.rig.guessed


def test_posed_bodies_agree_with_the_truth(toy, found, truth):
    turns = true_turns(toy.pose(1))
    got, want = found.posed(found.rig.motions(turns))["body"], truth.posed(truth.rig.motions(turns))["body"]
    assert float((got.vertices - want.vertices).norm(dim=1).mean()) < 0.015 * height_of(truth.layers)


@pytest.mark.parametrize("degrees, least, most", [(45, 0.985, 1.015), (90, 0.97, 1.015)])
def test_bends_at_every_joint_keep_the_body_s_volume(found, degrees, least, most):
    """Every bone about each axis, limbs of the left forwards, of the right backwards; a twist of the neck loses the most."""
    before, angle = float(found.layers["body"].signed_volume()), math.radians(degrees)
    for bone in found.rig.names[: len(BONES)]:
        for axis in torch.eye(3, dtype=torch.float64) * (-angle if bone.startswith("right") else angle):
            bent = found.skins["body"].bend(found.layers["body"].vertices, found.rig.motions({bone: rotation(axis)}))
            volume = float(replace(found.layers["body"], vertices=bent).signed_volume())
            assert least < volume / before < most, (bone, axis.tolist())


def test_no_vertex_follows_a_far_limb(found, truth):
    """Each arm's and each leg's columns hold nothing on the other side of the body."""
    skin, x = found.skins["body"], found.layers["body"].vertices[:, 0]
    dense, reach = skin.dense(len(found.rig.names)), 0.05 * height_of(truth.layers)
    for side, sign in (("left", -1), ("right", 1)):
        limbs = [found.rig.index(f"{side}{bone}") for bone in ("LowerArm", "Hand", "LowerLeg", "Foot", "Toes")]
        assert float(dense[sign * x > reach][:, limbs].max()) < 0.05
    hands = [found.rig.index(f"{side}Hand") for side in ("left", "right")]
    legs = [found.rig.index(f"{side}{b}") for side in ("left", "right") for b in ("UpperLeg", "LowerLeg")]
    assert float(dense[dense[:, hands].sum(1) > 0.5][:, legs].max()) < 0.01


def test_weights_are_few_and_sum_to_one(found):
    for name, skin in found.skins.items():
        assert len(skin.joints) == len(found.layers[name].vertices) and int((skin.weights > 0).sum(1).max()) <= 4
        assert torch.allclose(skin.weights.sum(1), torch.ones(len(skin.weights)), atol=1e-5) and float(skin.weights.min()) >= 0


def test_clothing_stays_outside_of_the_bent_body(found):
    arm = found.posed(found.rig.motions({"leftLowerArm": rotation((0, -0.8, 0)), "rightUpperArm": rotation((0, 0, -0.4))}))
    assert penetration(arm["clothing"], arm["body"], 0.01)["share"] < 0.03


def test_hanging_hair_swings_and_else_goes_with_the_head(layers):
    rig = find_rig(layers)
    head = rig.index("head")
    grown, weights = hair_chains(layers["hair"], rig)
    assert len(weights) == len(layers["hair"].vertices) and torch.allclose(weights.sum(1), torch.ones(len(weights)), atol=1e-4)
    turned = grown.motions({"head": rotation((0, 0.5, 0))})
    for chain in grown.chains:
        assert PARENTS.get(chain[0]) is None and grown.parents[grown.index(chain[0])] == head
        for name in chain:
            assert torch.allclose(turned[grown.index(name)], turned[head]), "without springs it is a part of the head"


def test_a_walk_keeps_feet_on_the_floor_and_does_not_tear_the_body(found):
    motion, rest = walk(), found.rig.t_pose()
    floor = float(found.layers["body"].vertices[:, 1].min())
    for k in range(0, len(motion), 6):
        posed = found.posed(motion.frame(found.rig, k, rest))
        assert abs(float(posed["body"].vertices[:, 1].min()) - floor) < 0.04 * height_of(found.layers)
        assert float((stretched(found.layers["body"], posed["body"]) > 3).float().mean()) < 0.002
    assert torch.allclose(motion.frame(found.rig, 0, rest), motion.frame(found.rig, len(motion) - 1, rest), atol=1e-6)


def test_turns_and_quaternions_are_inverse_to_each_other():
    vectors = torch.randn(50, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 3
    turns = rotation(vectors)
    assert torch.allclose(matrices(quaternions(turns)), turns, atol=1e-9)
    assert torch.allclose(turns @ turns.transpose(1, 2), torch.eye(3, dtype=torch.float64).expand_as(turns), atol=1e-9)
    moves = torch.cat([turns, torch.ones(50, 3, 1)], -1).double()
    same = compose(moves, inverse(moves))
    assert torch.allclose(same[..., :3], torch.eye(3).double().expand(50, 3, 3), atol=1e-9)
    assert float(same[..., 3].abs().max()) < 1e-9
    a, b = vectors[0], vectors[1]
    assert torch.allclose(between(a, b) @ (a / a.norm()), b / b.norm(), atol=1e-9)
    assert torch.allclose(between(a, -a) @ a, -a, atol=1e-9)


def test_the_t_pose_stretches_arms_and_keeps_their_lengths(found):
    rig = found.rig
    rest = rig.t_pose()
    at = {n: rest[rig.index(n), :, :3] @ rig.joint(n) + rest[rig.index(n), :, 3] for n in BONES}
    for side, sign in (("left", 1), ("right", -1)):
        for a, b in (("UpperArm", "LowerArm"), ("LowerArm", "Hand")):
            along = at[f"{side}{b}"] - at[f"{side}{a}"]
            length = (rig.joint(f"{side}{b}") - rig.joint(f"{side}{a}")).norm()
            assert torch.allclose(along, torch.tensor([sign * float(length), 0, 0]).double(), atol=1e-9)


def block(low, high):
    """A closed box of small faces."""
    made = trimesh.creation.box(bounds=[low, high]).subdivide().subdivide()
    return Mesh(torch.tensor(made.vertices, dtype=torch.float32), torch.tensor(made.faces, dtype=torch.int64))


def beside(mesh, x):
    return replace(mesh, vertices=mesh.vertices + torch.tensor([x, 0.0, 0.0]))


SITTING = {f"{bone}_{side}": [turn, 0, 0] for side in "lr" for bone, turn in (("thigh", -1.5), ("shin", 1.5))}
WRONG = {
    "no body": ("a body layer", lambda layers, toy: LayeredMesh({"hair": layers["hair"]})),
    "two figures": ("one figure", lambda layers, toy: LayeredMesh(
        {"body": merge([layers["body"], beside(layers["body"], 1.5)])})),
    "hair elsewhere": ("one character", lambda layers, toy: layers.replaced("hair", beside(layers["hair"], 5.0))),
    "arms down": ("A-pose", lambda layers, toy: LayeredMesh(
        {"body": toy.posed({"arm_l": [0, 0, -0.75], "arm_r": [0, 0, 0.75]}, 24)["body"]})),
    "seated": ("seated", lambda layers, toy: LayeredMesh({"body": toy.posed(SITTING, 24)["body"]})),
    "a cloak over the arms": ("arms do not stand apart", lambda layers, toy: LayeredMesh(
        {"body": merge([layers["body"], block((-0.7, -1, -0.3), (0.7, 0.45, 0.25))])})),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_cannot_be_rigged_is_refused_in_one_sentence_and_stays_a_static_file(layers, toy, name):
    words, make = WRONG[name]
    wrong = make(layers, toy)
    with pytest.raises(InputError, match=words) as told:
        find_rig(wrong)
    said = str(told.value)
    assert "\n" not in said and len(said) < 260
    written = write_files({"glb": None, "vrm": None}, RiggedLayers(wrong, None, refused=said), ExportFrame(), [walk()])
    assert set(written) == {"glb"} and len(read_glb(written["glb"], weld=False).faces) == len(wrong.merged().faces)


def test_a_cape_as_part_of_the_body_names_what_was_guessed(layers):
    """A curtain behind the legs closes their outline: they are placed by proportion, and the walk still works."""
    body = merge([Mesh(layers["body"].vertices, layers["body"].faces), block((-0.35, -1, -0.3), (0.35, 0.45, -0.1))])
    rig = find_rig(LayeredMesh({"body": body}))
    legs = {f"{side}{bone}" for side in ("left", "right") for bone in ("UpperLeg", "LowerLeg", "Foot", "Toes")}
    assert legs <= set(rig.guessed) and "leftUpperArm" not in rig.guessed
    assert all(name in rig.notes[0] for name in legs)
    made = bind_layers(LayeredMesh({"body": body}), rig)
    assert write_files({"vrm": None}, made, ExportFrame())["vrm"][:4] == b"glTF"


@pytest.mark.parametrize("share", [0.5, 0.7])
def test_an_arm_that_ends_in_a_point_is_found(layers, truth, share):
    """The last share of the forearm and hand thins to nothing; the arm's joints stay where they were."""
    body, rig = layers["body"], truth.rig
    start, end = rig.joint("rightLowerArm").float(), rig.tips[rig.index("rightHand")].float()
    length = (end - start).norm()
    along = (end - start) / length
    out = (body.vertices - start) @ along
    away = body.vertices - start - out[:, None] * along
    thin = ((1.02 - out / length) / share).clamp(0.02, 1)
    near = (out > 0) & (away.norm(dim=1) < 0.2)
    pointed = torch.where(near[:, None], start + out[:, None] * along + away * thin[:, None], body.vertices)
    found = find_rig(layers.replaced("body", replace(body, vertices=pointed)))
    off = (found.joints - rig.joints).norm(dim=1) / height_of(layers)
    assert not found.guessed and float(off[[rig.index(f"right{b}") for b in ("UpperArm", "LowerArm")]].max()) < 0.03


def test_poses_by_hand():
    assert torch.allclose(pose_from_text('{"head": [0, 90, 0]}').turns["head"][0] @ torch.tensor([0, 0, 1.0]).double(),
                          torch.tensor([1.0, 0, 0]).double(), atol=1e-9)
    for text in ("[1]", '{"tail": [0, 0, 0]}', '{"head": 3}', '{"head": [0, 0, 1e999]}', "{"):
        with pytest.raises(InputError):
            pose_from_text(text)


def test_broken_skeletons_and_skins_are_refused():
    points = torch.zeros(2, 3, dtype=torch.float64)
    with pytest.raises(ValueError, match="parents"):
        Rig(("a", "b"), (1, -1), points, points)
    with pytest.raises(ValueError, match="bone"):
        Skin.strongest(torch.zeros(3, 5))
