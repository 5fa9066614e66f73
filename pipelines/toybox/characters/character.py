"""Toy characters by seed: layers, poses, fields."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

from ...core.layers import LayeredMesh
from ...core.mesh import Mesh
from ..objects import HELD_OUT_OFFSET
from .body import make_body
from .clothing import Solid, make_clothing
from .field import CharacterField, PackedSolid, light
from .hair import make_hair
from .mesher import mesh_field, sharpen
from .parts import pack
from .skeleton import A_POSE, Pose, Skeleton, make_skeleton, random_pose
from .wardrobe import choose

CELLS = 64  # A15 cells across the cube in which characters are meshed: edges of about 0.02 scene units
HALF = 1.1  # scene units, half of that cube: the unit box and a margin
STREAM = 6  # keeps characters' random numbers apart from those of other toys of the same seed


@dataclass(frozen=True)
class ToyCharacter:
    """One character: what it is made of, and how it is named.

    skeleton: joints and proportions.
    solids:   layer name -> solids in the rest pose; layers it does not have (bald, undressed) are missing.
    caption:  an English noun phrase.
    """

    seed: int
    skeleton: Skeleton
    solids: dict[str, tuple[Solid, ...]]
    caption: str
    side: float

    @property
    def layers(self) -> LayeredMesh:
        """The layers in A-pose, centered, longest side 2, vertex colors with a soft light baked in."""
        return self.posed(A_POSE)

    def posed(self, pose: Pose, cells: int = CELLS) -> LayeredMesh:
        """The layers in a pose (see :mod:`.skeleton`), centered, longest side 2, each closed and outward.

        cells: A15 cells per side of the cube that is meshed, a multiple of 4.
        """
        return mesh_layers(self.field(pose), cells)

    def field(self, pose: Pose = A_POSE) -> CharacterField:
        """Signed distances, layers and colors in the frame of :meth:`posed`."""
        bones = self.skeleton.posed(pose)
        scale, offset = self._framing(bones)
        packed = {
            name: tuple(
                PackedSolid(
                    pack(list(s.parts), bones, scale, offset),
                    pack(list(s.carve), bones, scale, offset) if s.carve else None,
                )
                for s in solids
            )
            for name, solids in self.solids.items()
        }
        return CharacterField(packed)

    def pose(self, index: int = 0) -> Pose:
        """The character's own index-th arbitrary pose, by seed."""
        return random_pose(np.random.Generator(np.random.PCG64([self.seed, STREAM, 1, index])))

    def framing(self, pose: Pose = A_POSE) -> tuple[float, np.ndarray]:
        """(scale, offset [3]) from the skeleton's own units into the frame of :meth:`posed`: x * scale + offset."""
        return self._framing(self.skeleton.posed(pose))

    def _framing(self, bones: dict) -> tuple[float, np.ndarray]:
        """Scale and offset that center the posed character and make its longest side 2."""
        points = []
        for solids in self.solids.values():
            for solid in solids:
                for part in solid.parts:
                    bone = bones[part.bone]
                    points.append(part.surface_points() @ bone[:, :3].T + bone[:, 3])
        stacked = np.concatenate(points)
        low, high = stacked.min(0), stacked.max(0)
        scale = 2.0 / float((high - low).max())
        return scale, -scale * (low + high) / 2


def make_character(seed: int) -> ToyCharacter:
    """The character of a seed (>= 0), the same every time."""
    rng = np.random.Generator(np.random.PCG64([seed, STREAM]))
    skeleton = make_skeleton(rng)
    look = choose(rng)
    body = make_body(skeleton, look.body)
    solids: dict[str, tuple[Solid, ...]] = {"body": (Solid(tuple(body.values())),)}
    if look.outfit is not None:
        chest = skeleton.joint("arm_l")[1]
        marks = tuple((kind, x, y + chest, size, tone) for kind, x, y, size, tone in look.outfit.marks)
        solids["clothing"] = tuple(make_clothing(skeleton, body, replace(look.outfit, marks=marks)))
    hair = make_hair(skeleton, look.hair, rng)
    if hair:
        solids["hair"] = tuple(hair)
    return ToyCharacter(seed, skeleton, solids, look.caption, look.hair.side)


def train_character(index: int) -> ToyCharacter:
    """The index-th character to train on (0 <= index < 10 million)."""
    if not 0 <= index < HELD_OUT_OFFSET:
        raise ValueError(f"training index must lie in 0..{HELD_OUT_OFFSET - 1}, got {index}")
    return make_character(index)


def heldout_character(index: int) -> ToyCharacter:
    """The index-th character that is never trained on (index >= 0)."""
    return make_character(HELD_OUT_OFFSET + index)


def character_field(seed: int, pose: Pose = A_POSE) -> CharacterField:
    """Signed distances, layers and colors of a seed's character, without meshing anything."""
    return make_character(seed).field(pose)


def mesh_layers(field: CharacterField, cells: int = CELLS) -> LayeredMesh:
    """All layers of a field as meshes, see :func:`mesh_layer`."""
    return LayeredMesh({name: mesh_layer(field, name, cells) for name in field.names})


def mesh_layer(field: CharacterField, name: str, cells: int = CELLS) -> Mesh:
    """One layer of a field as a closed mesh with vertex colors, finer where colors change."""
    vertices, faces = mesh_field(lambda p: field.sdf(name, p), cells, HALF)
    if not len(faces):
        return Mesh(vertices, faces)
    vertices, faces, colors = sharpen(vertices, faces, lambda p: field.color(name, p))
    plain = Mesh(vertices, faces)
    shade = light(plain.vertex_normals())
    return replace(plain, vertex_colors=(colors * shade[:, None]).clamp(0, 1).to(torch.float32))
