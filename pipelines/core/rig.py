"""Skeletons, skins and motions: what makes a character in layers move.

Bones are named as in VRM 1.0 (https://github.com/vrm-c/vrm-specification, ``humanoid``); chains of springs come after
them under names of their own.  The character's left is +X, it faces +Z.  The bind pose is the A-pose of its layers; turns
are about the world's axes, in the frame of a bone's parent.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from .layers import LayeredMesh
from .mesh import Mesh
from .story import Story

_ARM = ("Shoulder", "UpperArm", "LowerArm", "Hand")
_LEG = ("UpperLeg", "LowerLeg", "Foot", "Toes")
PARENTS: dict[str, str | None] = {"hips": None, "spine": "hips", "chest": "spine", "neck": "chest", "head": "neck"}
for _side in ("left", "right"):
    PARENTS |= {f"{_side}{b}": f"{_side}{a}" if a else "chest" for a, b in zip(("", *_ARM), _ARM)}
    PARENTS |= {f"{_side}{b}": f"{_side}{a}" if a else "hips" for a, b in zip(("", *_LEG), _LEG)}
BONES = tuple(PARENTS)
OPTIONAL = ("chest", "neck", *(f"{s}{b}" for s in ("left", "right") for b in ("Shoulder", "Toes")))
REQUIRED = tuple(name for name in BONES if name not in OPTIONAL)  # VRM's fifteen
MOST = 4  # bones that hold one vertex


@dataclass(frozen=True)
class Rig:
    """A skeleton in the frame of a character's layers, in its A-pose.

    names:   bone names, parents before children; bones that are not VRM's are springs.
    parents: [J] index of each bone's parent, -1 for the root.
    joints:  [J, 3] float64 points about which bones turn, scene units.
    tips:    [J, 3] float64 where bones end: for binding and for pictures.
    guessed: names of bones that were placed by proportion only.
    chains:  springs, each the names of its bones from the root on.
    notes:   sentences for people.
    """

    names: tuple[str, ...]
    parents: tuple[int, ...]
    joints: Tensor
    tips: Tensor
    guessed: tuple[str, ...] = ()
    chains: tuple[tuple[str, ...], ...] = ()
    notes: tuple[str, ...] = ()

    def __post_init__(self):
        if not len(self.names) == len(self.parents) == len(self.joints) == len(self.tips):
            raise ValueError("names, parents, joints and tips must be as many")
        if any(parent >= index for index, parent in enumerate(self.parents)):
            raise ValueError("parents come before their children")

    def index(self, name: str) -> int:
        """Index of a bone; KeyError, naming the bones that exist, for another word."""
        if name not in self.names:
            raise KeyError(f"no bone {name!r}; there are: {', '.join(self.names)}")
        return self.names.index(name)

    def joint(self, name: str) -> Tensor:
        """[3] where a bone turns."""
        return self.joints[self.index(name)]

    def children(self, index: int) -> list[int]:
        """Indices of the bones that hang on one."""
        return [i for i, parent in enumerate(self.parents) if parent == index]

    def motions(self, turns: dict[str, Tensor], rest: Tensor | None = None, shift: Tensor | None = None) -> Tensor:
        """[J, 3, 4] float64 rigid motions of every bone from the A-pose (forward kinematics).

        turns: bone name -> [3, 3] rotation in the parent's frame, whose axes are the world's in the rest pose; bones
               that are missing keep still, names without a bone are passed over.
        rest:  [J, 3, 4] the pose from which the turns count, as motions from the A-pose (see :meth:`t_pose`); None =
               the A-pose itself.
        shift: [3] scene units by which the root moves.
        """
        rest = still(len(self.names)) if rest is None else rest
        worlds: list[Tensor] = []
        for index, (name, parent) in enumerate(zip(self.names, self.parents)):
            turn = turns[name].to(torch.float64) if name in turns else torch.eye(3, dtype=torch.float64)
            pivot = apply(rest[index], self.joints[index][None])[0]
            local = torch.cat([turn, (pivot - turn @ pivot)[:, None]], 1)
            if parent < 0 and shift is not None:
                local[:, 3] += shift
            worlds.append(local if parent < 0 else compose(worlds[parent], local))
        return torch.stack([compose(world, first) for world, first in zip(worlds, rest)])

    def t_pose(self) -> Tensor:
        """[J, 3, 4] motions from the A-pose into VRM's T-pose: arms straight out to the sides, all else as it is."""
        rest = still(len(self.names))
        for side, sign in (("left", 1.0), ("right", -1.0)):
            chain = [f"{side}{b}" for b in ("UpperArm", "LowerArm", "Hand") if f"{side}{b}" in self.names]
            out = torch.tensor([sign, 0.0, 0.0], dtype=torch.float64)
            end = None
            for name in chain:
                i = self.index(name)
                turn = between(self.tips[i] - self.joints[i], out)
                start = self.joints[i] if end is None else end
                rest[i] = torch.cat([turn, (start - turn @ self.joints[i])[:, None]], 1)
                nexts = [self.joints[c] for c in self.children(i) if self.names[c] in chain]
                end = apply(rest[i], nexts[0][None])[0] if nexts else None
        for i, parent in enumerate(self.parents):  # what hangs on an arm goes with it
            if parent >= 0 and self.names[i] not in BONES:
                rest[i] = rest[parent]
        return rest


@dataclass(frozen=True)
class Refused:
    """Instead of a skeleton: why a figure has none."""

    reason: str

    @property
    def notes(self) -> tuple[str, ...]:
        """The reason, where a skeleton has its remarks."""
        return (self.reason,)


@dataclass(frozen=True)
class Skin:
    """Which bones hold the vertices of a layer.

    joints:  [V, 4] int64 indices of bones.
    weights: [V, 4] float32, not negative; rows sum to 1.
    """

    joints: Tensor
    weights: Tensor

    def __post_init__(self):
        if self.joints.shape != self.weights.shape or self.joints.shape[1:] != (MOST,):
            raise ValueError(f"joints and weights must both be [V, {MOST}]")

    def bend(self, points: Tensor, motions: Tensor) -> Tensor:
        """[V, 3] points moved by [J, 3, 4] motions (linear blend skinning)."""
        mixed = (self.weights.to(torch.float64)[..., None, None] * motions[self.joints]).sum(1)
        moved = (mixed[:, :, :3] @ points.to(torch.float64)[..., None])[..., 0] + mixed[:, :, 3]
        return moved.to(points.dtype)

    def dense(self, bones: int) -> Tensor:
        """[V, bones] the same weights, one column per bone."""
        return torch.zeros(len(self.joints), bones).scatter_add(1, self.joints, self.weights)

    @staticmethod
    def strongest(weights: Tensor) -> "Skin":
        """The four strongest of [V, J] weights, normalized; ValueError where a row holds nothing."""
        value, joints = weights.float().topk(min(MOST, weights.shape[1]), dim=1)
        value = value * (value >= 1e-3 * value[:, :1])  # what cannot be seen would only cost
        total = value.sum(1, keepdim=True)
        if bool((total <= 0).any()):
            raise ValueError("every vertex needs a bone")
        pad = MOST - value.shape[1]
        value, joints = (torch.nn.functional.pad(x, (0, pad)) for x in (value / total, joints))
        return Skin(torch.where(value > 0, joints, 0), value)


@dataclass(frozen=True)
class RiggedLayers:
    """A character that can move.

    layers: in A-pose.  rig: its skeleton, or None where it was refused; then ``refused`` says why.
    skins:  layer name -> skin, as many vertices as the layer has; empty where the skeleton was refused.
    """

    layers: LayeredMesh
    rig: Rig | None
    skins: dict[str, Skin] = field(default_factory=dict)
    refused: str = ""
    notes: tuple[str, ...] = ()
    story: Story = field(default_factory=Story)

    def posed(self, motions: Tensor) -> LayeredMesh:
        """The layers bent by [J, 3, 4] motions."""
        bent = {n: replace(m, vertices=self.skins[n].bend(m.vertices, motions)) for n, m in self.layers.layers.items()}
        return LayeredMesh(bent)


@dataclass(frozen=True)
class Motion:
    """Turns of bones over time, counted from the T-pose as in VRM's animations.

    times:  [T] float64 seconds, rising from 0.
    turns:  bone name -> [T, 3, 3] float64 rotations in the parent's frame (see :meth:`Rig.motions`).
    shift:  [T, 3] float64 of the hips, as a share of their height above the floor.
    loops:  whether the last frame leads back to the first.
    """

    name: str
    times: Tensor
    turns: dict[str, Tensor]
    shift: Tensor
    loops: bool = True

    def __len__(self) -> int:
        return len(self.times)

    @property
    def seconds(self) -> float:
        """How long it takes."""
        return float(self.times[-1]) if len(self.times) else 0.0

    def frame(self, rig: Rig, index: int, rest: Tensor | None = None) -> Tensor:
        """[J, 3, 4] motions of a skeleton from its A-pose in one frame.  rest: its :meth:`Rig.t_pose`, where known."""
        floor = float(rig.joints[:, 1].min())
        height = float(rig.joint("hips")[1]) - floor
        turns = {name: rows[index] for name, rows in self.turns.items()}
        return rig.motions(turns, rig.t_pose() if rest is None else rest, self.shift[index] * height)


def still(count: int) -> Tensor:
    """[count, 3, 4] motions that move nothing."""
    return torch.eye(4, dtype=torch.float64)[:3].repeat(count, 1, 1)


def compose(first: Tensor, second: Tensor) -> Tensor:
    """[..., 3, 4] of applying ``second``, then ``first``."""
    turn = first[..., :3] @ second[..., :3]
    return torch.cat([turn, first[..., :3] @ second[..., 3:] + first[..., 3:]], -1)


def inverse(motion: Tensor) -> Tensor:
    """[..., 3, 4] of undoing rigid motions."""
    turn = motion[..., :3].transpose(-1, -2)
    return torch.cat([turn, -turn @ motion[..., 3:]], -1)


def apply(motion: Tensor, points: Tensor) -> Tensor:
    """[N, 3] points moved by one motion [3, 4]."""
    return points @ motion[:, :3].T + motion[:, 3]


def rotation(vector) -> Tensor:
    """[..., 3, 3] float64 rotations about vectors [..., 3] by their lengths in radians (Rodrigues)."""
    vector = torch.as_tensor(vector, dtype=torch.float64)
    angle = vector.norm(dim=-1, keepdim=True)
    x, y, z = (vector / angle.clamp(min=1e-12)).unbind(-1)
    zero = torch.zeros_like(x)
    rows = [torch.stack(row, -1) for row in ((zero, -z, y), (z, zero, -x), (-y, x, zero))]
    cross, angle = torch.stack(rows, -2), angle[..., None]
    return torch.eye(3, dtype=torch.float64) + angle.sin() * cross + (1 - angle.cos()) * cross @ cross


def between(start: Tensor, end: Tensor) -> Tensor:
    """[3, 3] float64 the smallest rotation that brings one direction [3] to another."""
    a, b = (torch.nn.functional.normalize(v.to(torch.float64), dim=0) for v in (start, end))
    axis, cosine = torch.linalg.cross(a, b), float((a @ b).clamp(-1, 1))
    if float(axis.norm()) < 1e-9:
        if cosine > 0:
            return torch.eye(3, dtype=torch.float64)
        other = torch.eye(3, dtype=torch.float64)[int(a.abs().argmin())]
        axis = torch.linalg.cross(a, other)
    return rotation(torch.nn.functional.normalize(axis, dim=0) * math.acos(cosine))


def quaternions(turns: Tensor) -> Tensor:
    """[N, 4] unit quaternions (x, y, z, w) of rotations [N, 3, 3], w not negative at first, neighbors on one side."""
    m = turns.to(torch.float64)
    trace = m.diagonal(dim1=-2, dim2=-1).sum(-1)
    candidates = torch.stack([1 + 2 * m[:, 0, 0] - trace, 1 + 2 * m[:, 1, 1] - trace, 1 + 2 * m[:, 2, 2] - trace, 1 + trace], -1)
    best = candidates.argmax(-1)
    xy, xz, yz = m[:, 0, 1] + m[:, 1, 0], m[:, 0, 2] + m[:, 2, 0], m[:, 1, 2] + m[:, 2, 1]
    xw, yw, zw = m[:, 2, 1] - m[:, 1, 2], m[:, 0, 2] - m[:, 2, 0], m[:, 1, 0] - m[:, 0, 1]
    c = candidates
    table = torch.stack([torch.stack(row, -1) for row in (
        (c[:, 0], xy, xz, xw), (xy, c[:, 1], yz, yw), (xz, yz, c[:, 2], zw), (xw, yw, zw, c[:, 3]))], 1)
    found = torch.nn.functional.normalize(table[torch.arange(len(m)), best], dim=-1)
    if len(found) and float(found[0, 3]) < 0:
        found[0] = -found[0]
    flips = torch.where((found[1:] * found[:-1]).sum(-1) < 0, -1.0, 1.0).to(found).cumprod(0)
    return torch.cat([found[:1], found[1:] * flips[:, None]])


def matrices(rotations: Tensor) -> Tensor:
    """[..., 3, 3] float64 of unit quaternions [..., 4] (x, y, z, w)."""
    x, y, z, w = torch.nn.functional.normalize(rotations.to(torch.float64), dim=-1).unbind(-1)
    rows = ((1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)),
            (2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)),
            (2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)))
    return torch.stack([torch.stack(row, -1) for row in rows], -2)


def bones_of(mesh: Mesh, joints: Tensor) -> Skin:
    """A skin of ``mesh`` in which every vertex is held by one bone [V]."""
    index = torch.nn.functional.pad(joints[:, None], (0, MOST - 1))
    weights = torch.zeros(len(mesh.vertices), MOST)
    weights[:, 0] = 1
    return Skin(index, weights)
