"""Which joints of somebody else's skeleton are which of VRM's bones, and how it is turned to stand up and face +Z (ours)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import permutations, product

import numpy as np

from ..core.rig import BONES, PARENTS
from .character_rules import bone_by_name
from .gltf_entry import Entry, damaged

_TURNS = [np.eye(3)[list(order)] * np.array(signs)[:, None] for order in permutations(range(3))
          for signs in product((1, -1), repeat=3)]
_PROPER = [turn for turn in _TURNS if np.linalg.det(turn) > 0]


def human_nodes(root: Entry, nodes: Sequence[Entry], joints: Sequence[int]) -> dict[str, int]:
    """Bone -> node of a glTF file: by VRM 1.0, its animations, VRM 0.x, or by the names of ``joints``.

    InputError for a bone whose node is not there.
    """
    one, zero = root.extension("VRMC_vrm", "VRMC_vrm_animation"), root.extension("VRM")
    if one is not None:
        bones = one.inner("humanoid").inner("humanBones")
        rows = [(name, bones.inner(name).whole("node")) for name in BONES if name in bones]
    elif zero is not None:
        given = [Entry(row, "human bone") for row in zero.inner("humanoid").listed("humanBones")]
        rows = [(row.word("bone"), row.whole("node")) for row in given if row.data.get("bone") in BONES]
    else:
        return named_joints({j: str(nodes[j].data.get("name", "")) for j in joints if j < len(nodes)})
    if any(node >= len(nodes) for _, node in rows):
        raise damaged("a human bone names a node that is not there")
    return dict(rows)


def named_joints(names: Mapping[int, str]) -> dict[str, int]:
    """Bone -> joint by the joints' names; of two with one meaning the first."""
    found: dict[str, int] = {}
    for joint, name in names.items():
        bone = bone_by_name(name)
        if bone is not None:
            found.setdefault(bone, joint)
    return found


def upright(at: Mapping[str, np.ndarray]) -> np.ndarray:
    """[3, 3] of the turns by right angles the one that stands bones (name -> [3]) up, their left at +X, facing +Z.

    No turn where hips, head or legs are not known.
    """
    if not {"hips", "head", "leftUpperLeg", "rightUpperLeg"} <= set(at):
        return np.eye(3)
    both = at["head"] - at["hips"], at["leftUpperLeg"] - at["rightUpperLeg"]
    up, left = (v / max(float(np.linalg.norm(v)), 1e-12) for v in both)
    return max(_PROPER, key=lambda turn: float((turn @ up)[1] + (turn @ left)[0]))


def bone_above(name: str, there) -> str | None:
    """The nearest bone above one that is ``there``, None for the root."""
    above = PARENTS[name]
    while above is not None and above not in there:
        above = PARENTS[above]
    return above


def bone_below(name: str, there) -> str | None:
    """The bone that a bone leads to, as far as it is ``there``: the trunk upwards, limbs outwards."""
    trunk = ("hips", "spine", "chest", "neck", "head")
    onward = trunk[trunk.index(name) + 1 :] if name in trunk else [
        b for b in BONES[BONES.index(name) + 1 :] if b[:4] == name[:4] and (b.endswith(("Leg", "Foot", "Toes")) == name.endswith(
            ("Leg", "Foot", "Toes")))]
    return next((b for b in onward if b in there), None)
