"""A skeleton of VRM's bones for a body in A-pose, from its slices (ours).

Where a joint is, follows from what slices show: shoulders on the arms' axes a little above the armpits, wrists an arm's
width before the hands' ends, the head's joint at the neck, legs' joints where the trunk is thickest.  Elbows, knees and the
spine, which a straight figure does not show, stand in proportion.  Proportions were chosen on toy characters
(``benchmarks/bench_rig.py``), others than those that are reported.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

from ..core.errors import InputError
from ..core.mesh import Mesh
from ..core.rig import BONES, PARENTS, Rig
from .landmarks import Landmarks, Limb, landmarks
from .volume import Volume, body_volume

HEAD_ABOVE = 0.16  # of half the head's width: its joint above the neck's thinnest row
HIPS_ABOVE, SPINE_ABOVE = 0.075, 0.38  # of the way from the legs' joints to the head's
LEGS_BELOW = 0.3  # rows: the legs' joints below the trunk's thickest row
CROTCH_BELOW = (2.0, 14.0)  # percent of the height: how far below the legs' joints legs part
LEG_SHARE = (0.4, 0.65)  # of the height of the head's joint: where the legs' joints can be
LEGS_AT = 0.53  # of it: where they are when the trunk does not tell
ELBOW, KNEE = 0.52, 0.5  # of the way along the limb
ANKLE = 0.0375  # of the height
HAND = 2.9  # of the arm's radius: the hand's length
SHOULDER_OUT = 0.35  # of the way from the middle to the arm's joint
TOES = 0.52  # of the way from ankle to the foot's tip
ARM_ANGLES = (20.0, 70.0)  # degrees below the horizontal
SEATED = 0.13  # of the height: knees before the hips
UNLIKE = 0.2  # of the height: heights of the two hands in a figure that is no A-pose


@dataclass(frozen=True)
class FittedRig:
    """rig: in the body's frame.  marks: what it was read from.  volume: the body's voxels."""

    rig: Rig
    marks: Landmarks
    volume: Volume


def fit_rig(body: Mesh, symmetric: bool = True) -> FittedRig:
    """The skeleton of a body in A-pose that faces +Z.

    symmetric: left and right are each other's mirror image about the body's middle plane, as far as both were found.
    Bones placed by proportion alone because the body does not show them are named in ``guessed``.
    Raises InputError for several figures and for what is no A-pose.
    """
    volume = body_volume(body)
    marks = landmarks(volume)
    arms, guessed = _both_arms(marks)
    joints, tips = _trunk(marks, guessed)
    for side, sign in (("left", 1), ("right", -1)):
        _arm(joints, tips, marks, arms[sign], side, sign)
        _leg(joints, tips, marks, volume, side, sign, guessed)
    _refuse_seated(joints, marks)
    if symmetric:
        joints, tips = (_mirrored(points, marks.axis) for points in (joints, tips))
    starts, ends = (torch.from_numpy(volume.place(np.stack([points[n] for n in BONES]))) for points in (joints, tips))
    parents = tuple(-1 if PARENTS[n] is None else BONES.index(str(PARENTS[n])) for n in BONES)
    names = tuple(n for n in BONES if n in guessed)
    notes = (f"Guessed by proportion: {', '.join(names)}.",) if names else ()
    return FittedRig(Rig(BONES, parents, starts, ends, names, notes=notes), marks, volume)


def _both_arms(marks: Landmarks) -> tuple[dict[int, Limb], set[str]]:
    """Both arms, a missing one as the mirror image of the other; names of bones that were guessed."""
    arms, guessed = dict(marks.arms), set()
    remedy = "Use Canonicalize with when = always, or a figure whose arms hang about 45 degrees down, free of the body."
    if arms[1] is None and arms[-1] is None:
        raise InputError("body", "a figure in A-pose", "one whose arms do not stand apart from its body", remedy)
    for sign, side in ((1, "left"), (-1, "right")):
        if arms[sign] is None:
            other = arms[-sign]
            assert other is not None
            flip = np.array([2 * marks.axis, 0, 0])
            arms[sign] = replace(other, centers=flip + other.centers * [-1, 1, 1], tip=flip + other.tip * [-1, 1, 1])
            guessed |= {f"{side}{b}" for b in ("Shoulder", "UpperArm", "LowerArm", "Hand")}
    found = {sign: arm for sign, arm in arms.items() if arm is not None}
    angles = {sign: _angle(arm) for sign, arm in found.items()}
    if not all(ARM_ANGLES[0] <= angle <= ARM_ANGLES[1] for angle in angles.values()):
        said = " and ".join(f"{angle:.0f}" for angle in angles.values())
        raise InputError("body", "arms that hang about 45 degrees down (A-pose)", f"arms {said} degrees below the horizontal",
                         remedy)
    if abs(float(found[1].tip[1] - found[-1].tip[1])) > UNLIKE * marks.height:
        raise InputError("body", "a figure in A-pose", "one whose hands are at different heights", remedy)
    return found, guessed


def _line(arm: Limb) -> tuple[np.ndarray, np.ndarray]:
    """(x and z as straight lines of y: slopes [2], values at y = 0 [2]) of an arm's upper four fifths."""
    part = arm.centers[len(arm.centers) // 5 :]
    fits = [np.polyfit(part[:, 1], part[:, k], 1) for k in (0, 2)]
    return np.array([fits[0][0], fits[1][0]]), np.array([fits[0][1], fits[1][1]])


def _angle(arm: Limb) -> float:
    """Degrees below the horizontal."""
    slope, _ = _line(arm)
    return float(np.degrees(np.arctan2(1.0, np.hypot(*slope))))


def _at(centers: np.ndarray, row: float) -> np.ndarray:
    """(x, z) of [rows, 2] centers at a row, or at the nearest one that has any."""
    rows = np.flatnonzero(np.isfinite(centers[:, 0]))
    return np.array([np.interp(row, rows, centers[rows, k]) for k in (0, 1)])


def _trunk(marks: Landmarks, guessed: set[str]) -> tuple[dict, dict]:
    """Joints and tips of what lies on the middle plane, voxels."""
    head = marks.neck + HEAD_ABOVE * marks.head_half
    legs = marks.hips - LEGS_BELOW
    share = (legs - marks.floor) / max(head - marks.floor, 1e-9)
    parting = None if marks.crotch is None else (legs - marks.crotch) / marks.height * 100
    if not LEG_SHARE[0] <= share <= LEG_SHARE[1] or (parting is not None and parting < CROTCH_BELOW[0]):
        legs = marks.floor + LEGS_AT * (head - marks.floor)
        if marks.crotch is not None:
            legs = max(legs, marks.crotch + CROTCH_BELOW[0] / 100 * marks.height)
        guessed |= {"hips", "spine", "leftUpperLeg", "rightUpperLeg"}
    if marks.crotch is None:
        guessed |= {f"{side}{bone}" for side in ("left", "right") for bone in ("UpperLeg", "LowerLeg", "Foot", "Toes")}
    tall = head - legs
    neck = min(marks.shoulder + 0.03 * tall, head - 0.03 * tall)
    rows = {"hips": legs + HIPS_ABOVE * tall, "spine": legs + SPINE_ABOVE * tall, "neck": neck, "head": head}
    rows["chest"] = (rows["spine"] + rows["neck"]) / 2
    depth = {n: _at(marks.trunk, y)[1] for n, y in rows.items()}
    depth["head"] = depth["neck"] = _at(marks.trunk, min(marks.neck, marks.shoulder))[1]
    joints = {n: np.array([marks.axis, y, depth[n]]) for n, y in rows.items()}
    joints["legs"] = np.array([marks.axis, legs, depth["hips"]])
    tips = {"hips": joints["spine"], "spine": joints["chest"], "chest": joints["neck"], "neck": joints["head"],
            "head": np.array([marks.axis, marks.top, _at(marks.trunk, marks.head)[1]])}
    return joints, tips


def _arm(joints: dict, tips: dict, marks: Landmarks, arm: Limb, side: str, sign: int) -> None:
    slope, base = _line(arm)
    x, z = slope * marks.shoulder + base
    least = 0.04 * marks.height
    shoulder = np.array([marks.axis + sign * max((x - marks.axis) * sign, least), marks.shoulder, z])
    path = np.concatenate([arm.centers[np.argsort(arm.centers[:, 1])], shoulder[None]])[::-1]  # from the shoulder down
    end = path[-1] + (path[-1] - path[-2]) / max(np.linalg.norm(path[-1] - path[-2]), 1e-9) * 0.3 * arm.radius
    lengths = np.concatenate([[0.0], np.linalg.norm(np.diff(path, axis=0), axis=1).cumsum()])
    reach = max(lengths[-1] + 0.3 * arm.radius - HAND * arm.radius, 0.55 * lengths[-1])

    def along(length: float) -> np.ndarray:
        return np.array([np.interp(length, lengths, path[:, k]) for k in range(3)])

    joints[f"{side}UpperArm"], joints[f"{side}LowerArm"], joints[f"{side}Hand"] = shoulder, along(ELBOW * reach), along(reach)
    middle = np.array([marks.axis, shoulder[1], joints["chest"][2]])
    joints[f"{side}Shoulder"] = middle + (shoulder - middle) * SHOULDER_OUT
    tips |= {f"{side}Shoulder": shoulder, f"{side}UpperArm": joints[f"{side}LowerArm"],
             f"{side}LowerArm": joints[f"{side}Hand"], f"{side}Hand": end}


def _leg(joints: dict, tips: dict, marks: Landmarks, volume: Volume, side: str, sign: int, guessed: set[str]) -> None:
    hip_row, centers = float(joints["legs"][1]), marks.legs[sign]
    ankle_row = marks.floor + ANKLE * marks.height
    knee_row = ankle_row + (hip_row - ankle_row) * KNEE
    high = knee_row if marks.crotch is None else max(marks.crotch, knee_row)
    rows = [r for r in range(int(ankle_row) + 3, int(high) + 1) if np.isfinite(centers[r, 0])]
    if len(rows) < 4:
        guessed |= {f"{side}{bone}" for bone in ("UpperLeg", "LowerLeg", "Foot", "Toes")}
        rows = [int(marks.floor), int(marks.floor) + 1]
        out = np.array([[marks.axis + sign * 0.055 * marks.height, _at(marks.trunk, marks.floor + 2)[1]]] * 2)
    else:
        out = centers[rows]
    fits = [np.polyfit(rows, out[:, k], 1) for k in (0, 1)]
    knee, ankle = (np.array([np.polyval(fits[0], r), r, np.polyval(fits[1], r)]) for r in (knee_row, ankle_row))
    least, most = 0.02 * marks.height, 0.1 * marks.height
    x = np.clip((np.polyval(fits[0], hip_row) - marks.axis) * sign, least, most)
    hip = np.array([marks.axis + sign * x, hip_row, joints["legs"][2]])
    toe = _foot_tip(marks, volume, sign, ankle)
    toes = ankle + (toe - ankle) * [TOES, 0.45, TOES]
    names = [f"{side}{bone}" for bone in ("UpperLeg", "LowerLeg", "Foot", "Toes")]
    joints |= dict(zip(names, (hip, knee, ankle, toes), strict=True))
    tips |= dict(zip(names, (knee, ankle, toes, toe), strict=True))


def _foot_tip(marks: Landmarks, volume: Volume, sign: int, ankle: np.ndarray) -> np.ndarray:
    """The foremost place of a foot, voxels."""
    foot = np.argwhere(volume.solid[:, int(marks.floor) : int(np.ceil(ankle[1])) + 1]) + [0, int(marks.floor), 0]
    foot = foot[(foot[:, 0] - marks.axis) * sign > 0]
    if not len(foot):
        return ankle + [0, marks.floor - ankle[1], 0.05 * marks.height]
    front = foot[foot[:, 2] >= foot[:, 2].max() - 1]
    return np.array([front[:, 0].mean(), marks.floor, max(front[:, 2].mean(), ankle[2] + 0.02 * marks.height)])


def _refuse_seated(joints: dict, marks: Landmarks) -> None:
    ahead = np.mean([joints[f"{side}LowerLeg"][2] for side in ("left", "right")]) - joints["hips"][2]
    if abs(ahead) > SEATED * marks.height:
        raise InputError("body", "a standing figure in A-pose", "one whose knees are far before or behind its hips (seated?)",
                         "Use Canonicalize with when = always, or a standing figure.")


def _mirrored(points: dict, axis: float) -> dict:
    """Points whose left and right are mirror images."""
    out = dict(points)
    for name in points:
        if name.startswith("left"):
            other = name.replace("left", "right", 1)
            mirror = np.array([2 * axis, 0, 0]) + points[other] * [-1, 1, 1]
            out[name] = (points[name] + mirror) / 2
            out[other] = np.array([2 * axis, 0, 0]) + out[name] * [-1, 1, 1]
    return out
