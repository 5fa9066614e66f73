"""Motions to look at a character with: a walk in place, a wave, a turn, and poses written by hand (all ours).

Turns count from the T-pose; in it an arm points to its side, a leg down, and the character faces +Z.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable

import torch
from torch import Tensor

from ..core.errors import InputError
from ..core.rig import BONES, Motion, rotation

RATE = 24  # frames per second
LEG = 0.46  # of the hips' height: thigh and shin each
Turns = dict[str, Tensor]
_X, _Y, _Z = torch.eye(3, dtype=torch.float64)


def _turn(axis: Tensor, degrees) -> Tensor:
    """[T, 3, 3] about an axis by [T] degrees."""
    return rotation(torch.as_tensor(degrees, dtype=torch.float64).reshape(-1, 1) * (math.pi / 180) * axis)


def _hanging(count: int, degrees: float = 68.0, elbow: float = 12.0) -> Turns:
    """Both arms lowered from the T-pose, elbows a little bent to the front."""
    full = torch.full((count,), 1.0, dtype=torch.float64)
    return {"leftUpperArm": _turn(_Z, -degrees * full), "rightUpperArm": _turn(_Z, degrees * full),
            "leftLowerArm": _turn(_Y, -elbow * full), "rightLowerArm": _turn(_Y, elbow * full)}


def walk(seconds: float = 1.0) -> Motion:
    """Two steps in place, with no foot below the floor."""
    count = round(RATE * seconds) + 1
    phase = torch.linspace(0, 2 * math.pi, count, dtype=torch.float64)
    turns, reach = _hanging(count, 72.0, 18.0), []
    for side, at in (("left", phase), ("right", phase + math.pi)):
        hip = -24 * at.sin() - 3
        knee = 6 + 46 * at.cos().clamp(min=0) ** 1.3
        turns[f"{side}UpperLeg"], turns[f"{side}LowerLeg"] = _turn(_X, hip), _turn(_X, knee)
        turns[f"{side}Foot"] = _turn(_X, -0.75 * (hip + knee) + 2)
        arm = 22 * at.sin()  # against the leg
        turns[f"{side}UpperArm"] = _turn(_X, arm) @ turns[f"{side}UpperArm"]
        radians = math.pi / 180
        reach.append(LEG * ((hip * radians).cos() + ((hip + knee) * radians).cos()))
    turns["hips"], turns["spine"] = _turn(_Y, -5 * phase.sin()), _turn(_Y, 7 * phase.sin()) @ _turn(_X, 3 + 0 * phase)
    turns["head"] = _turn(_Y, -2 * phase.sin())
    shift = torch.zeros(count, 3, dtype=torch.float64)
    shift[:, 1] = torch.maximum(*reach) - 2 * LEG
    return Motion("walk", torch.arange(count, dtype=torch.float64) / RATE, turns, shift)


def wave(seconds: float = 2.0) -> Motion:
    """The right arm is raised, waves three times and is lowered again."""
    count = round(RATE * seconds) + 1
    t = torch.linspace(0, 1, count, dtype=torch.float64)
    up = torch.minimum(t / 0.2, (1 - t) / 0.2).clamp(0, 1)
    up = up * up * (3 - 2 * up)
    turns = _hanging(count)
    turns["rightShoulder"] = _turn(_Z, -12 * up)
    turns["rightUpperArm"] = _turn(_Z, 68 * (1 - up) - 28 * up)
    turns["rightLowerArm"] = _turn(_Z, -up * (52 + 24 * (6 * math.pi * t).sin())) @ _turn(_Y, 12 * (1 - up))
    turns["head"] = _turn(_Z, 6 * up) @ _turn(_Y, -8 * up)
    turns["spine"] = _turn(_Z, 3 * up)
    return Motion("wave", t * seconds, turns, torch.zeros(count, 3, dtype=torch.float64))


def turn(seconds: float = 3.0) -> Motion:
    """Once around, arms lowered."""
    count = round(RATE * seconds) + 1
    t = torch.linspace(0, 1, count, dtype=torch.float64)
    turns = _hanging(count, 50.0, 8.0) | {"hips": _turn(_Y, 360 * t)}
    return Motion("turn", t * seconds, turns, torch.zeros(count, 3, dtype=torch.float64))


MOTIONS: dict[str, Callable[[], Motion]] = {"walk": walk, "wave": wave, "turn": turn}


def pose_from_text(text: str) -> Motion:
    """One frame from JSON: bone -> [x, y, z] degrees from the T-pose, turned about x, then y, then z of the parent.

    InputError for anything else and for bones that VRM's humanoid does not have here.
    """
    try:
        given = json.loads(text or "{}")
        turns = {}
        for name, (x, y, z) in given.items():
            if name not in BONES:
                raise InputError("pose", f"bones of {', '.join(BONES)}", repr(name), "Use VRM's names.")
            if not all(math.isfinite(float(v)) for v in (x, y, z)):
                raise ValueError("not a number")
            turns[name] = _turn(_Z, float(z)) @ _turn(_Y, float(y)) @ _turn(_X, float(x))
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError("pose", 'JSON such as {"leftUpperArm": [0, 0, -60]}, degrees about x, y, z', repr(text[:60]),
                         "Mend the text.") from error
    return Motion("pose", torch.zeros(1, dtype=torch.float64), turns, torch.zeros(1, 3, dtype=torch.float64), False)
