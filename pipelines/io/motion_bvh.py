"""BVH (Biovision Hierarchy): a skeleton of offsets and channels of numbers, read within bounds."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from ..core.errors import InputError
from .humanoid import named_joints, upright
from .limits import within
from .motion_clip import Clip, known, thinned

BYTES, JOINTS, DEPTH, NUMBERS = 1 << 26, 1024, 256, 20_000_000
_AXES = {"x": 0, "y": 1, "z": 2}


@dataclass
class _Joint:
    name: str
    parent: int
    offset: np.ndarray
    channels: list[str] = field(default_factory=list)
    first: int = 0  # of its numbers in a frame


def _bad(got: str) -> InputError:
    return InputError("motion file", "a BVH file", got, "Export the motion again.")


def read_bvh(data: bytes, name: str) -> tuple[Clip, tuple[str, ...]]:
    """(clip, remarks).  InputError for a damaged or too large file and for joints of unknown names."""
    within("BVH file", len(data), BYTES, "bytes")
    head, _, tail = data.partition(b"MOTION")
    joints = _hierarchy(head.decode("latin-1").split())
    frames, pause = _frames(tail, sum(len(j.channels) for j in joints))
    keep, notes = thinned(len(frames))
    frames, times = frames[keep], np.arange(len(frames))[keep] * pause
    human = named_joints({k: j.name for k, j in enumerate(joints) if j.name})
    bones = known(human)
    if "hips" not in bones:
        raise _bad("joints of unknown names, no hips among them")
    turns, places = _moved(joints, frames)
    rest = np.stack([_rest(joints, k) for k in range(len(joints))])
    stand = upright({bone: rest[human[bone]] for bone in bones})
    lowest = np.stack([row[(row @ stand.T)[:, 1].argmin()] for row in places])
    index = [human[bone] for bone in bones]
    still = np.tile(np.eye(3), (len(bones), 1, 1))
    return Clip(name, bones, still, rest[index], turns[:, index], places[:, human["hips"]], times, lowest), notes


def _hierarchy(words: list[str]) -> list[_Joint]:
    """Joints, parents first; ends of limbs have no name and no channels."""
    joints: list[_Joint] = []
    open_joints: list[int] = []
    at, count = 1, 0  # behind HIERARCHY
    while at < len(words):
        word = words[at].upper()
        if word in ("ROOT", "JOINT", "END"):
            brace = next((k for k in range(at + 1, min(at + 40, len(words))) if words[k] == "{"), None)
            if brace is None:
                raise _bad("a joint without braces")
            within("BVH file", len(joints) + 1, JOINTS, "joints")
            within("BVH file", len(open_joints) + 1, DEPTH, "joints below each other")
            label = "" if word == "END" else " ".join(words[at + 1 : brace])
            joints.append(_Joint(label, open_joints[-1] if open_joints else -1, np.zeros(3)))
            open_joints.append(len(joints) - 1)
            at = brace + 1
        elif word == "}" and open_joints:
            open_joints.pop()
            at += 1
        elif word == "OFFSET" and open_joints:
            joints[open_joints[-1]].offset = _numbers(words[at + 1 : at + 4], 3)
            at += 4
        elif word == "CHANNELS" and open_joints:
            joint = joints[open_joints[-1]]
            number = int(words[at + 1]) if at + 1 < len(words) and words[at + 1].isdigit() else -1
            joint.channels, joint.first = [w.lower() for w in words[at + 2 : at + 2 + number]], count
            if not 0 <= number <= 6 or len(joint.channels) != number or not all(
                    c[:1] in _AXES and c[1:] in ("position", "rotation") for c in joint.channels):
                raise _bad("channels that are no positions or rotations about x, y and z")
            count, at = count + number, at + 2 + number
        else:
            raise _bad(f"{words[at][:20]!r} where a joint should stand")
    if not joints or open_joints:
        raise _bad("a hierarchy that does not end" if joints else "no joints")
    return joints


def _numbers(words: list[str], count: int) -> np.ndarray:
    try:
        found = np.array([float(w) for w in words])
    except ValueError:
        raise _bad("words where numbers should stand") from None
    if len(found) != count or not np.isfinite(found).all() or np.abs(found).max(initial=0) > 1e9:
        raise _bad("numbers that are missing or out of range")
    return found


def _frames(tail: bytes, channels: int) -> tuple[np.ndarray, float]:
    """([T, channels], seconds between frames)."""
    words = tail.decode("latin-1").replace(":", " ").split()
    try:
        count, begin = int(words[words.index("Frames") + 1]), words.index("Time") + 2
        pause = float(words[begin - 1])
    except (ValueError, IndexError):
        raise _bad("no frames with their time") from None
    if count < 1 or not 0 < pause <= 60 or not math.isfinite(pause) or channels < 1:
        raise _bad(f"{count} frames of {channels} numbers, {pause} seconds apart")
    within("BVH file", count * channels, NUMBERS, "numbers")
    return _numbers(words[begin:], count * channels).reshape(count, channels), pause


def _rest(joints: list[_Joint], index: int) -> np.ndarray:
    place = np.zeros(3)
    while index >= 0:
        place, index = place + joints[index].offset, joints[index].parent
    return place


def _moved(joints: list[_Joint], frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """([T, J, 3, 3] turns, [T, J, 3] places) in the file's space; rotations are applied in the order of their channels."""
    count = len(frames)
    turns, places = np.tile(np.eye(3), (count, len(joints), 1, 1)), np.zeros((count, len(joints), 3))
    for k, joint in enumerate(joints):
        local, step = np.tile(np.eye(3), (count, 1, 1)), np.tile(joint.offset, (count, 1))
        for number, channel in enumerate(joint.channels):
            values, axis = frames[:, joint.first + number], _AXES[channel[0]]
            if channel.endswith("position"):
                step[:, axis] = values
            else:
                local = local @ _about(axis, np.radians(values))
        above = joint.parent
        turns[:, k] = local if above < 0 else turns[:, above] @ local
        places[:, k] = step if above < 0 else places[:, above] + np.einsum("tij,tj->ti", turns[:, above], step)
    return turns, places


def _about(axis: int, angles: np.ndarray) -> np.ndarray:
    """[T, 3, 3] turns about one axis."""
    out = np.tile(np.eye(3), (len(angles), 1, 1))
    a, b = (axis + 1) % 3, (axis + 2) % 3
    out[:, a, a] = out[:, b, b] = np.cos(angles)
    out[:, b, a], out[:, a, b] = np.sin(angles), -np.sin(angles)
    return out
