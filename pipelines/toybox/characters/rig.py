"""What is true of a toy character that moves: its skeleton, its weights, and how its poses turn VRM's bones.

A toy's fifteen bones are VRM's fifteen required ones.  The optional ones stand where its parts say (the neck where that
part begins, toes where the shoe's tip does) and never move by themselves.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ...core.layers import LayeredMesh
from ...core.mesh import Mesh
from ...core.rig import BONES, PARENTS, Rig, RiggedLayers, Skin, rotation
from .character import ToyCharacter
from .clothing import Solid
from .parts import Part, pack, smooth_min
from .skeleton import A_POSE, Pose

_LIMBS = {"arm": "UpperArm", "forearm": "LowerArm", "hand": "Hand", "thigh": "UpperLeg", "shin": "LowerLeg", "foot": "Foot"}
VRM_NAMES = {"pelvis": "hips", "chest": "spine", "head": "head"} | {
    f"{toy}_{side}": f"{word}{bone}" for side, word in (("l", "left"), ("r", "right")) for toy, bone in _LIMBS.items()
}  # toy bone -> VRM's


def true_rig(toy: ToyCharacter) -> Rig:
    """The skeleton in the frame of ``toy.layers``."""
    scale, offset = toy.framing()
    joints, tips = _joints(toy), {}
    body = {part.bone: part for part in toy.solids["body"][0].parts}
    for name in BONES:
        children = [child for child, parent in PARENTS.items() if parent == name]
        tips[name] = joints[children[0]] if len(children) == 1 else joints[name]
    tips |= {"hips": joints["spine"], "chest": joints["neck"], "head": toy.skeleton.head_center + [0, toy.skeleton.head, 0]}
    for side, word in (("l", "left"), ("r", "right")):
        tips[f"{word}Hand"] = 2 * np.asarray(body[f"hand_{side}"].a) - joints[f"{word}Hand"]
        tips[f"{word}Toes"] = joints[f"{word}Toes"] + [0, 0, 0.05]
    starts, ends = (torch.from_numpy(np.stack([points[n] for n in BONES]) * scale + offset) for points in (joints, tips))
    parents = tuple(-1 if PARENTS[n] is None else BONES.index(str(PARENTS[n])) for n in BONES)
    return Rig(BONES, parents, starts, ends)


def _joints(toy: ToyCharacter) -> dict[str, np.ndarray]:
    """VRM name -> [3], the toy's own units."""
    found = {vrm: np.asarray(toy.skeleton.joint(name), dtype=np.float64) for name, vrm in VRM_NAMES.items()}
    shoulder, head = toy.skeleton.joint("arm_l")[1], found["head"]
    found["neck"] = np.array([0.0, min(shoulder + 0.02, head[1] - 0.02), -0.01])
    found["chest"] = (found["spine"] + found["neck"]) / 2
    for side, word in (("l", "left"), ("r", "right")):
        found[f"{word}Shoulder"] = found[f"{word}UpperArm"] * [0.35, 1, 1]
        toe = [p for p in toy.solids["body"][0].parts if p.bone == f"foot_{side}"][-1]  # heel, instep, toe
        found[f"{word}Toes"] = np.asarray(toe.a) - [0, 0, 0.02]
    return found


def true_turns(pose: Pose) -> dict[str, Tensor]:
    """A toy's pose as turns from the A-pose, for ``Rig.motions``."""
    return {VRM_NAMES[name]: rotation(np.asarray(vector)) for name, vector in pose.items()}


def true_skin(toy: ToyCharacter, name: str, mesh: Mesh) -> Skin:
    """How a layer's surface follows the bones: the share of each part in the smooth union of its solid.

    A smooth union's distance moves with its parts' distances; the derivative by each of them is its share, and they sum to
    1.  mesh: of that layer, in the frame of ``toy.layers``.
    """
    bones, (scale, offset) = toy.skeleton.posed(A_POSE), toy.framing()
    points, best = mesh.vertices.float(), None
    weights = torch.zeros(len(points), len(BONES))
    for solid in toy.solids[name]:
        distances = pack(list(solid.parts), bones, scale, offset).distances(points)
        total, shares = _shares(solid, distances, scale)
        own = torch.zeros_like(weights)
        for part, share in zip(solid.parts, shares):
            own[:, BONES.index(VRM_NAMES[part.bone])] += share
        if solid.carve:
            carved = pack(list(solid.carve), bones, scale, offset).distances(points)
            total = torch.maximum(total, -torch.stack(carved).amin(0))
        closer = torch.ones_like(total, dtype=torch.bool) if best is None else total < best
        weights, best = torch.where(closer[:, None], own, weights), total if best is None else torch.minimum(best, total)
    return Skin.strongest(weights)


def _shares(solid: Solid, distances: list[Tensor], scale: float) -> tuple[Tensor, list[Tensor]]:
    """(distance to the smooth union [N], each part's share in it [N])."""
    first, *others = distances
    total, shares = first, [torch.ones_like(first)]
    parts: list[Part] = list(solid.parts)
    for part, value in zip(parts[1:], others):
        width = max(part.blend * scale, 1e-9)
        half = (width - (total - value).abs()).clamp(min=0) / (2 * width)
        share = torch.where(value < total, 1 - half, half)
        shares = [s * (1 - share) for s in shares] + [share]
        total = smooth_min(total, value, part.blend * scale)
    return total, shares


def true_rigged(toy: ToyCharacter, layers: LayeredMesh | None = None) -> RiggedLayers:
    """The character with its true skeleton and weights; layers: ``toy.layers``, where they are at hand."""
    layers = toy.layers if layers is None else layers
    return RiggedLayers(layers, true_rig(toy), {name: true_skin(toy, name, layers[name]) for name in layers})


def posed_in_a_frame(toy: ToyCharacter, pose: Pose, cells: int) -> LayeredMesh:
    """``toy.posed(pose)``, not framed anew: in the frame of ``toy.layers``, where posed skins can be compared with it."""
    scale, offset = toy.framing()
    posed_scale, posed_offset = toy.framing(pose)
    ratio = scale / posed_scale
    shift = torch.from_numpy(offset - posed_offset * ratio).float()
    return toy.posed(pose, cells).transformed(ratio, shift)

