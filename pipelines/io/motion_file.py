"""Motions of others: VRMA (VRM animation 1.0), animations of glTF and VRM files, and BVH become a ``Motion``.

A file's bones turn from its own rest pose, whose axes and arms stand as its writer had them.  What counts is how each bone's
direction in space changes; the rest pose's arms are brought to the T-pose from which a ``Motion`` counts (ours).
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import torch

from ..core.errors import InputError
from ..core.rig import Motion, between
from .glb_reader import read_file
from .humanoid import bone_above, bone_below, upright
from .motion_clip import Clip

OUT, DOWN = {"left": (1.0, 0.0, 0.0), "right": (-1.0, 0.0, 0.0)}, (0.0, -1.0, 0.0)
LEANS = 20.0  # degrees that a leg of the rest pose may stand off from straight down and count as it is
LOOP = 0.02  # of radians and of the hips' height: a first and last frame so much alike make a loop


def read_motion(source: str | os.PathLike, clip: int = 0) -> tuple[Motion, tuple[str, ...]]:
    """(the motion of a .vrma, .glb, .vrm or .bvh file, remarks).  clip: which of a glTF file's animations.

    InputError for what is none of these, is damaged, too large, or has no bones that are known.
    """
    from .motion_bvh import read_bvh
    from .motion_gltf import read_animation

    path = Path(source)
    data = read_file(path, "motion file")
    if data[:4] == b"glTF":
        found, notes = read_animation(data, clip, path.stem)
    elif data.lstrip()[:9].upper() == b"HIERARCHY":
        found, notes = read_bvh(data, path.stem)
    else:
        raise InputError("motion file", "a .vrma, .glb, .vrm or .bvh file", f"{path.name}, which is none",
                         "Convert it in Blender.")
    with np.errstate(over="ignore", invalid="ignore"):
        motion = to_motion(found)
    if not all(bool(torch.isfinite(value).all()) for value in (*motion.turns.values(), motion.shift)):
        raise InputError("motion file", "bones within the range of numbers", "a skeleton beyond it", "Export the motion again.")
    return motion, notes


def to_motion(clip: Clip) -> Motion:
    """The clip as turns from the T-pose; InputError without hips."""
    if "hips" not in clip.bones:
        raise InputError("motion file", "a skeleton whose bones are known", "no hips among its joints",
                         "Name the joints as VRM or Mixamo does.")
    at = dict(zip(clip.bones, clip.places, strict=True))
    stand = upright(at)
    moved = stand @ clip.turns @ np.swapaxes(clip.rest, -1, -2) @ stand.T  # [T, B, 3, 3] of space, from the rest pose
    places = {name: stand @ place for name, place in at.items()}
    world = {name: moved[:, k] @ _from_t_pose(name, places) for k, name in enumerate(clip.bones)}
    turns = {}
    for name in clip.bones:
        above = bone_above(name, clip.bones)
        local = world[name] if above is None else np.swapaxes(world[above], -1, -2) @ world[name]
        if np.abs(local - np.eye(3)).max() > 1e-6:
            turns[name] = torch.from_numpy(np.ascontiguousarray(local))
    shift = torch.from_numpy(_shift(clip, stand, places))
    times = torch.from_numpy(clip.times - clip.times[0])
    ends = [turn[0].T @ turn[-1] for turn in turns.values()]
    same = all(float((end - torch.eye(3).double()).abs().max()) < LOOP for end in ends)
    return Motion(clip.name, times, turns, shift, len(times) > 1 and same and float((shift[0] - shift[-1]).abs().max()) < LOOP)


def _from_t_pose(name: str, places: dict[str, np.ndarray]) -> np.ndarray:
    """[3, 3] how a bone of the T-pose turns into the file's rest pose: its own direction alone tells."""
    side, limb = next(((s, name[len(s):]) for s in OUT if name.startswith(s)), ("", ""))
    onward = bone_below(name, places)
    if limb in ("UpperArm", "LowerArm"):
        wanted, least = OUT[side], 0.0
    elif limb in ("UpperLeg", "LowerLeg"):
        wanted, least = DOWN, LEANS
    elif limb in ("Hand", "Foot"):
        above = bone_above(name, places)
        return np.eye(3) if above is None or limb == "Foot" else _from_t_pose(above, places)
    else:
        return np.eye(3)
    if onward is None or not np.any(places[onward] - places[name]):
        return np.eye(3)
    along = torch.from_numpy(places[onward] - places[name])
    angle = np.degrees(np.arccos(np.clip(float(along @ torch.tensor(wanted).double() / along.norm()), -1, 1)))
    return np.eye(3) if angle <= least else between(torch.tensor(wanted), along).numpy()


def _shift(clip: Clip, stand: np.ndarray, places: dict[str, np.ndarray]) -> np.ndarray:
    """[T, 3] of the hips from where they stand at rest, as a share of their height."""
    path, floor = clip.hips @ stand.T, min(place[1] for place in places.values())
    height = max(places["hips"][1] - floor, 1e-9)
    if clip.lowest is None:
        return (path - places["hips"]) / height
    ground = float((clip.lowest @ stand.T)[:, 1].min())  # what is captured need not stand over the rest pose
    return (path - np.array([path[0, 0], ground + height, path[0, 2]])) / height
