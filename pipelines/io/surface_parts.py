"""What readers of mesh files give to ``assemble``: one soup of faces, each with its material."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from torch import Tensor

Wrap = Literal["repeat", "clamp", "mirror"]


@dataclass(frozen=True)
class Look:
    """A material, as far as a mesh here can carry it.

    color:   linear factor of everything it covers.
    picture: [H, W, 3] sRGB in [0, 1], or None.
    wraps:   what lies beyond the picture's borders, along u and v.
    """

    color: tuple[float, ...] = (1.0, 1.0, 1.0)
    picture: Tensor | None = None
    wraps: tuple[Wrap, Wrap] = ("repeat", "repeat")


@dataclass
class Soup:
    """Triangles of a whole file.

    vertices: [V, 3] float32.  faces: [F, 3] int64.
    looks:    materials; look: [F] int64 into them.
    uvs:      [T, 2] float32 (glTF convention); face_uvs: [F, 3] int64 into them, -1 where a face has none.
    colors:   [V, 3] linear colors of vertices, or None; multiplied by the look's factor and picture.
    """

    vertices: Tensor
    faces: Tensor
    look: Tensor
    looks: list[Look] = field(default_factory=lambda: [Look()])
    uvs: Tensor | None = None
    face_uvs: Tensor | None = None
    colors: Tensor | None = None
