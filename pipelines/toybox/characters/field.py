"""A posed character as a function of space: signed distance, layer, color at any point.

Layers are nested solids: the body as it is; the clothing minus a neighborhood of the body; the hair minus
neighborhoods of both.  So they are disjoint by construction, hollow where something fills them, and complete where
something covers them.  Notation: N points; distances negative inside, scene units.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ...core.layers import LAYER_NAMES
from ...core.pulse import beat
from .parts import CHUNK, PackedParts, smooth_max, smooth_min

GAP = 0.006  # scene units between a layer and what it covers
EDGE = 0.03  # smooth maximum of a shell's two sides: where they come closer than half of this, the shell ends
SEMANTICS = ("hair", "face", "body", "clothing")  # classes of S-LRM in its order (S-C.8; face is the head's skin)
AMBIENT = 0.80  # of the light that is baked into colors; the rest comes from above and in front
LIGHT = (0.0, 0.8, 0.6)


@dataclass(frozen=True)
class PackedSolid:
    """The smooth union of ``parts`` minus that of ``carve`` (None: nothing)."""

    parts: PackedParts
    carve: PackedParts | None

    def distance(self, points: Tensor, want_owner: bool) -> tuple[Tensor, Tensor | None]:
        """Signed distance [N] and, when wanted, the index of the part that each point belongs to [N]."""
        distance, owner = _union(self.parts, points, want_owner)
        if self.carve is not None:
            distance = smooth_max(distance, -_union(self.carve, points, False)[0], 0.012)
        return distance, owner

    def to(self, device) -> PackedSolid:
        """The same solid on another device."""
        return PackedSolid(self.parts.to(device), None if self.carve is None else self.carve.to(device))


def _union(parts: PackedParts, points: Tensor, want_owner: bool) -> tuple[Tensor, Tensor | None]:
    blends = parts.shape[:, 9].tolist()
    distance, *others = parts.distances(points)
    nearest = distance
    owner = torch.zeros(len(points), dtype=torch.int64, device=points.device) if want_owner else None
    for p, value in enumerate(others, 1):
        if owner is not None:
            owner = torch.where(value < nearest, p, owner)
            nearest = torch.minimum(value, nearest)
        distance = smooth_min(distance, value, blends[p])
    return distance, owner


@dataclass(frozen=True)
class CharacterField:
    """Signed distances, layers and colors of one posed character.

    solids: layer name -> its solids (absent layers are missing).
    """

    solids: dict[str, tuple[PackedSolid, ...]]

    @property
    def names(self) -> tuple[str, ...]:
        """Layers that exist, inside out."""
        return tuple(name for name in LAYER_NAMES if name in self.solids)

    def outer(self, name: str, points: Tensor) -> Tensor:
        """[N] distance to a layer with its inside filled: what it would be if nothing were under it."""
        return _in_chunks(lambda p: self._outer(name, p, False)[0], points)

    def sdf(self, name: str, points: Tensor) -> Tensor:
        """[N] distance to a layer's own surface (a shell, where it covers something).

        points: [N, 3] scene units.  ValueError for a layer the character does not have.
        """
        if name not in self.solids:
            raise ValueError(f"this character has no layer {name!r}; it has: {', '.join(self.names)}")
        return _in_chunks(lambda p: self._layers(p, name)[name], points)

    def layers(self, points: Tensor) -> dict[str, Tensor]:
        """Every layer's :meth:`sdf`, sharing the work."""
        chunks = [self._layers(p) for p in points.split(CHUNK)]
        return {name: torch.cat([c[name] for c in chunks]) for name in self.names}

    def complete(self, points: Tensor) -> Tensor:
        """[N] distance to all layers together, without the gaps between them: one solid."""
        outer = [self.outer(name, points) for name in self.names]
        return torch.stack(outer).amin(0)

    def semantics(self, points: Tensor) -> Tensor:
        """[N] int64 class (index into :data:`SEMANTICS`) of the layer a point is in, or nearest to."""
        values = self.layers(points)
        stacked = torch.stack([values[name] for name in self.names])
        nearest = stacked.argmin(0)
        table = torch.tensor([{"body": 2, "clothing": 3, "hair": 0}[n] for n in self.names], device=points.device)
        classes = table[nearest]
        faces = self.is_face(points) & (classes == 2)
        return torch.where(faces, 1, classes)

    def is_face(self, points: Tensor) -> Tensor:
        """[N] bool: the body part nearest to a point is one of the head's."""
        heads = self.solids["body"][0].parts.heads.to(points.device)
        return _in_chunks(lambda p: heads[self._outer("body", p, True)[2]], points)

    def color(self, name: str, points: Tensor, normals: Tensor | None = None) -> Tensor:
        """[N, 3] sRGB of a layer at (or near) its surface, with the baked light where normals [N, 3] are given."""
        out = _in_chunks(lambda p: self._color(name, p), points)
        return out if normals is None else out * light(normals)[:, None]

    def normal(self, name: str, points: Tensor, step: float = 1e-3) -> Tensor:
        """[N, 3] unit gradient of a layer's distance, by differences over a small tetrahedron."""
        corners = points.new_tensor([[1, -1, -1], [-1, -1, 1], [-1, 1, -1], [1, 1, 1]])
        values = [self.sdf(name, points + step * corner)[:, None] * corner for corner in corners]
        return torch.nn.functional.normalize(torch.stack(values).sum(0), dim=-1)

    def to(self, device) -> CharacterField:
        """The same field on another device."""
        return CharacterField({n: tuple(s.to(device) for s in solids) for n, solids in self.solids.items()})

    def _outer(self, name: str, points: Tensor, want_owner: bool) -> tuple[Tensor, Tensor, Tensor | None]:
        """(distance, index of the solid, index of the part in its solid)."""
        first, *others = self.solids[name]
        distance, owner = first.distance(points, want_owner)
        which = torch.zeros(len(points), dtype=torch.int64, device=points.device)
        for i, solid in enumerate(others, 1):
            value, part = solid.distance(points, want_owner)
            closer = value < distance
            distance = torch.minimum(value, distance)
            if owner is not None and part is not None:
                which, owner = torch.where(closer, i, which), torch.where(closer, part, owner)
        return distance, which, owner

    def _layers(self, points: Tensor, last: str | None = None) -> dict[str, Tensor]:
        out, below = {}, []
        for name in self.names:
            own = outer = self._outer(name, points, False)[0]
            for inner in below:
                own = smooth_max(own, GAP - inner, EDGE)
            below.append(outer)
            out[name] = own
            if name == last:
                break
        return out

    def _color(self, name: str, points: Tensor) -> Tensor:
        _, which, owner = self._outer(name, points, True)
        out = torch.zeros_like(points)
        for i, solid in enumerate(self.solids[name]):
            for p, paint in enumerate(solid.parts.paints):
                rows = torch.nonzero((which == i) & (owner == p)).reshape(-1)
                if len(rows):
                    rest = solid.parts.rest[p].to(points)
                    out[rows] = paint(points[rows] @ rest[:, :3].T + rest[:, 3])
        return out.clamp(0, 1)


def light(normals: Tensor) -> Tensor:
    """[N] brightness under one soft light fixed in the world (half-Lambert), at most 1."""
    direction = torch.nn.functional.normalize(normals.new_tensor(LIGHT), dim=0)
    return AMBIENT + (1 - AMBIENT) * (0.5 + 0.5 * normals @ direction)


def _in_chunks(function, points: Tensor) -> Tensor:
    if len(points) <= CHUNK:
        return function(points)
    found = []
    for chunk in points.split(CHUNK):
        beat()
        found.append(function(chunk))
    return torch.cat(found)
