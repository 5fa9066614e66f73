"""A mesh made fit for other programs: fewer faces, one part, no holes, or built anew as one closed surface."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, get_args

import torch
from torch import Tensor

from ...core.errors import InputError
from ...core.mesh import Mesh
from ...io.assemble import weld_vertices
from ...io.clean import drop_small_parts
from ...io.decimate import decimate
from ...io.unwrap import unwrap
from ...ops.closest import closest_point
from ...ops.holes import boundary_loops, fill_holes
from ...ops.mesh_edges import compact, connected_parts, mesh_edges
from ...ops.texture import sample_texture
from ..objects.import_mesh import tet_surface
from .bake import bake

Parts = Literal["all", "no crumbs", "largest"]
Holes = Literal["leave", "fill", "rebuild"]
PARTS, HOLES = get_args(Parts), get_args(Holes)
CHUNK = 1 << 16
ROOM = 0.85  # half the longest side while a surface is built anew, scene units


@dataclass(frozen=True)
class CleanConfig:
    """faces: budget, None keeps all.  parts: which connected parts stay ("no crumbs": see ``io.clean``).

    holes:   "leave", "fill" (each with a fan of faces), or "rebuild": a new closed surface on a grid.
    grid:    cells per side of that grid; parts thinner than a cell are lost.
    texture: side of a new texture in pixels; 0 keeps the colors at the vertices.
    """

    faces: int | None = 20_000
    parts: Parts = "all"
    holes: Holes = "fill"
    grid: int = 48
    texture: int = 0

    def __post_init__(self):
        if self.parts not in PARTS or self.holes not in HOLES:
            raise ValueError(f"parts must be one of {PARTS} and holes one of {HOLES}, got {self.parts!r}, {self.holes!r}")


@dataclass(frozen=True)
class Condition:
    """What stands between a mesh and a closed surface.

    faces, vertices: counted with equal positions as one vertex.  parts: connected ones.  holes: closed walks along edges of
    one face; edges: of one face.  crowded: edges of three or more faces.  twisted: edges whose two faces are wound against
    each other.
    """

    faces: int
    vertices: int
    parts: int
    holes: int
    edges: int
    crowded: int
    twisted: int

    @property
    def watertight(self) -> bool:
        """Whether every edge has two faces, wound the same way round."""
        return self.faces > 0 and not (self.edges or self.crowded or self.twisted)

    def __str__(self) -> str:
        words = [f"{self.faces} faces", f"{self.parts} part{'s' * (self.parts != 1)}"]
        if self.watertight:
            return ", ".join([*words, "watertight"])
        words.append(f"{self.holes} hole{'s' * (self.holes != 1)} ({self.edges} open edges)" if self.edges else "no holes")
        words += [f"{self.crowded} edges of three or more faces"] * bool(self.crowded)
        words += [f"{self.twisted} edges between faces wound against each other"] * bool(self.twisted)
        return ", ".join(words)


def condition(mesh: Mesh) -> Condition:
    """Counts of :class:`Condition`; texture seams, whose vertices stand doubled, are no holes."""
    shape = _joined(mesh)
    edges = mesh_edges(shape.faces, len(shape.vertices))
    labels = connected_parts(edges.ends, len(shape.vertices))
    return Condition(
        len(shape.faces), len(shape.vertices), len(labels[shape.faces[:, 0]].unique()), len(boundary_loops(shape.faces)),
        int((edges.count == 1).sum()), int((edges.count > 2).sum()), _twisted(shape.faces, len(shape.vertices)))


@torch.no_grad()
def clean_mesh(mesh: Mesh, config: CleanConfig = CleanConfig()) -> tuple[Mesh, list[str]]:
    """(the cleaned mesh, sentences for people: before, after, what was done).

    A mesh that needs nothing comes back untouched, with its texture.  Otherwise colors are taken from the nearest point of
    the old surface, at vertices or into a new texture.  Raises InputError for a mesh without faces or, where it is to be
    built anew, without an inside.
    """
    source = mesh.detach().to("cpu")
    if not len(source.faces):
        raise InputError("mesh", "at least one face", "an empty mesh", "Check where it comes from.")
    before = condition(source)
    shape, done = _joined(source), []
    if config.parts != "all":
        shape = _chosen_parts(shape, config.parts)
    if config.holes == "rebuild":
        shape = _rebuilt(shape, config.grid)
        done.append(f"built anew on a grid of {config.grid} cells a side: what is thinner than a cell is gone")
    elif config.holes == "fill" and before.edges:
        shape = Mesh(*fill_holes(shape.vertices, shape.faces))
    if config.faces is not None:
        shape = decimate(shape, config.faces)
        if len(shape.faces) > config.faces:
            done.append(f"the budget of {config.faces} faces was not reached: open edges and touching parts stay as they are")
    changed = len(shape.faces) != len(source.faces) or config.holes == "rebuild"
    if not changed and not config.texture:
        return source, [f"before: {before}", "nothing to do"]
    colors = _colors(source)
    if config.texture:
        shape = unwrap(shape, None, config.texture)
        if colors is not None:
            shape = bake(shape, colors, config.texture)
    elif colors is not None:
        shape = replace(shape, vertex_colors=colors(shape.vertices))
    after = condition(shape)
    if not after.watertight and config.holes != "leave":
        done.append("still open: choose holes = rebuild for a closed surface")
    return shape, [f"before: {before}", f"after: {after}", *done]


def _joined(mesh: Mesh) -> Mesh:
    """The bare shape: equal positions are one vertex; faces without three different corners, and repeated ones, are gone."""
    shape = weld_vertices(Mesh(mesh.vertices.detach().cpu().float(), mesh.faces.cpu()))
    a, b, c = shape.faces.unbind(1)
    faces = shape.faces[(a != b) & (b != c) & (c != a)]
    keys = faces.sort(dim=1).values
    _, inverse = torch.unique(keys, dim=0, return_inverse=True)
    first = torch.full((int(inverse.max()) + 1 if len(inverse) else 0,), len(faces), dtype=torch.int64)
    first.scatter_reduce_(0, inverse, torch.arange(len(faces)), "amin")
    vertices, faces, _ = compact(shape.vertices, faces[first.sort().values])
    return Mesh(vertices, faces)


def _twisted(faces: Tensor, count: int) -> int:
    """Edges of two faces that run along them in the same direction."""
    following = faces.roll(-1, dims=1)
    along = (faces < following).reshape(-1).long() * 2 - 1
    keys = (torch.minimum(faces, following) * count + torch.maximum(faces, following)).reshape(-1)
    unique, inverse, uses = torch.unique(keys, return_inverse=True, return_counts=True)
    balance = torch.zeros(len(unique), dtype=torch.int64).index_add(0, inverse, along)
    return int(((uses == 2) & (balance != 0)).sum())


def _chosen_parts(shape: Mesh, parts: Parts) -> Mesh:
    if parts == "no crumbs":
        return drop_small_parts(shape)
    labels = connected_parts(mesh_edges(shape.faces, len(shape.vertices)).ends, len(shape.vertices))[shape.faces[:, 0]]
    area = torch.bincount(labels, weights=shape.face_normals().norm(dim=-1).double())
    vertices, faces, _ = compact(shape.vertices, shape.faces[labels == area.argmax()])
    return Mesh(vertices, faces)


def _rebuilt(shape: Mesh, grid: int) -> Mesh:
    low, high = shape.vertices.amin(0), shape.vertices.amax(0)
    middle, size = (low + high) / 2, float((high - low).max().clamp_min(1e-12)) / 2
    inside = replace(shape, vertices=(shape.vertices - middle) * (ROOM / size))
    made = tet_surface(inside, grid).extract().detach()
    return Mesh(made.vertices * (size / ROOM) + middle, made.faces)


def _colors(mesh: Mesh):
    """[N, 3] points -> [N, 3] sRGB of the nearest point of ``mesh``, or None for a mesh without colors."""
    uvs, face_uvs, texture, shades = mesh.uvs, mesh.face_uvs, mesh.texture, mesh.vertex_colors
    if uvs is not None and face_uvs is not None and texture is not None:
        corners, picture = uvs[face_uvs].float(), texture.float()
    elif shades is not None:
        corners, picture = shades[mesh.faces].float(), None
    else:
        return None

    def look(points: Tensor) -> Tensor:
        found = []
        for part in points.split(CHUNK):
            near = closest_point(part, mesh.vertices, mesh.faces)
            value = (corners[near.face] * near.barycentric[..., None]).sum(1)
            found.append(value if picture is None else sample_texture(picture, value % 1.0))
        return torch.cat(found)

    return look
