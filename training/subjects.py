"""Characters to train StdGEN's networks on: the toybox, and files of people's own.

A ``Subject`` is one character in A-pose, in layers, with everything that the banks ask of it.  ``subjects_of`` makes the
list: "toybox", or a folder of files whose endings have an entry in ``READERS`` (a new kind of file is one entry there).

A GLB has nodes named body, clothing and hair (as Export Character writes them; also skin, face, clothes), stands in A-pose
and faces +Z.  Without a skeleton its only pose is its own; NAME.pose1.glb, NAME.pose2.glb ... beside NAME.glb are the same
character in other poses.  VRM files (0.x and 1.0) and skinned GLB files are told apart by materials and bones
(``io.character_file``); their arms are brought into A-pose by their own weights, and can be raised and lowered.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import pack  # noqa: F401  (makes ``lift123`` importable)
import torch
from lift123.pipelines.core.errors import InputError
from lift123.pipelines.core.layers import LAYER_NAMES, LayeredMesh
from lift123.pipelines.core.mesh import Mesh, merge
from lift123.pipelines.core.rig import RiggedLayers
from lift123.pipelines.io.character_file import read_character_file
from lift123.pipelines.io.glb_reader import read_file, read_glb_parts
from lift123.pipelines.io.gltf_entry import split_chunks
from lift123.pipelines.io.mesh_notes import Notes
from lift123.pipelines.metrics.layers import winding_numbers
from lift123.pipelines.ops.closest import closest_point
from lift123.pipelines.ops.remesh import Surface, subdivide
from lift123.pipelines.ops.texture import sample_texture
from lift123.pipelines.stages.characters.rig import ARMS_DOWN, in_a_pose
from lift123.pipelines.toybox.characters import ToyCharacter, input_picture, make_character, mesh_layers
from lift123.pipelines.toybox.characters.field import CharacterField
from lift123.pipelines.toybox.characters.render import posed_picture
from lift123.pipelines.toybox.characters.skeleton import SIDES
from torch import Tensor

ABSENT = 9.0  # distance to a layer that a character does not have
PARTS = {"body": ("body", "skin"), "face": ("face",), "clothing": ("clothing", "clothes"), "hair": ("hair",)}
FINEST, MOST_VERTICES = 0.02, 200_000  # scene units between textured vertices, which carry the texture's colors
GRAY = 0.7


class Subject:
    """One character.  key: what tells it from others, an int or a text.  caption: in words.  poses: known besides the A-pose."""

    key: int | str
    caption: str
    poses: int = 0

    def layers(self, cells: int) -> LayeredMesh:
        """In A-pose, centered, longest side 2, vertex colors.  cells: of the grid, where it is meshed first."""
        raise NotImplementedError

    def is_face(self, points: Tensor) -> Tensor:
        """[N] bool: the body nearest to points [N, 3] is the head's skin."""
        raise NotImplementedError

    def distances(self, points: Tensor) -> Tensor:
        """[N, 4] signed distances to the whole, body, clothing, hair; ABSENT where there is no such layer."""
        raise NotImplementedError

    def picture(self, pose: int, size: int, wide: float, cells: int) -> Tensor:
        """[size, size * wide, 4] straight RGBA as a person would picture it, in a pose; in A-pose where it has none."""
        raise NotImplementedError

    def with_arms(self, degrees: float) -> Subject | None:
        """The same in A-pose with both arms raised by so much; None without a skeleton."""
        return None


@dataclass(frozen=True)
class Toy(Subject):
    """A character of the toybox.  arms: degrees that its arms are raised."""

    character: ToyCharacter
    arms: float = 0.0
    poses = 1_000_000

    @property
    def key(self) -> int | str:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Its seed."""
        return self.character.seed if not self.arms else f"{self.character.seed}, arms {self.arms:.3f}"

    @property
    def caption(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        """In words."""
        return self.character.caption

    @cached_property
    def field(self) -> CharacterField:
        """As a function of space."""
        turn = {f"arm_{side}": np.array([0, 0, sign * math.radians(self.arms)]) for side, sign in SIDES.items()}
        return self.character.field(turn if self.arms else {})

    def layers(self, cells: int) -> LayeredMesh:
        return mesh_layers(self.field, cells)

    def is_face(self, points: Tensor) -> Tensor:
        return self.field.is_face(points)

    def distances(self, points: Tensor) -> Tensor:
        own = self.field.layers(points)
        rows = [own[name] if name in own else torch.full_like(points[:, 0], ABSENT) for name in LAYER_NAMES]
        return torch.stack([self.field.complete(points), *rows], -1)

    def picture(self, pose: int, size: int, wide: float, cells: int) -> Tensor:
        posed = self.character.posed(self.character.pose(pose), cells)
        return input_picture(self.character, pose, size, wide, posed)

    def with_arms(self, degrees: float) -> Subject:
        return replace(self, arms=degrees)


@dataclass(frozen=True)
class Made(Subject):
    """A character from a file.  given: its layers, framed; face: the part of its body that is the face, or None."""

    key: int | str  # pyright: ignore[reportIncompatibleVariableOverride]
    caption: str  # pyright: ignore[reportIncompatibleVariableOverride]
    given: LayeredMesh
    face: Mesh | None = None
    others: tuple[LayeredMesh, ...] = ()  # in its other poses, framed
    rigged: RiggedLayers | None = None  # the layers with their skeleton as the file has them, where there is one
    rigged_face: Mesh | None = None  # the face in their frame

    @property
    def poses(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Files of other poses."""
        return len(self.others)

    def layers(self, cells: int) -> LayeredMesh:
        return self.given

    def is_face(self, points: Tensor) -> Tensor:
        if self.face is None:
            return torch.zeros(len(points), dtype=torch.bool)
        body = self.given["body"]
        near = [closest_point(points, m.vertices, m.faces).distance for m in (self.face, body)]
        return near[0] <= near[1] + 1e-5

    def distances(self, points: Tensor) -> Tensor:
        rows = [_signed(points, self.given[n]) if n in self.given else torch.full_like(points[:, 0], ABSENT) for n in LAYER_NAMES]
        return torch.stack([torch.stack(rows).amin(0), *rows], -1)

    def picture(self, pose: int, size: int, wide: float, cells: int) -> Tensor:
        shown = self.others[pose % len(self.others)] if self.others else self.given
        return posed_picture(shown, int(hashlib.sha256(str(self.key).encode()).hexdigest()[:8], 16), pose, size, wide)

    def with_arms(self, degrees: float) -> Subject | None:
        if self.rigged is None:
            return None
        return _standing(f"{self.key}, arms {degrees:.3f}", self.caption, self.rigged, self.rigged_face, ARMS_DOWN - degrees)


def _standing(key: str, caption: str, rigged: RiggedLayers, face: Mesh | None, degrees: float) -> Made:
    """With arms so far below the horizontal; the face, which arms do not move, goes along into the new frame."""
    layers = in_a_pose(rigged, degrees).layers.map(_painted)
    scale, offset = _frame(layers)
    moved = None if face is None else face.transformed(scale, offset)
    return Made(key, caption, layers.transformed(scale, offset), moved, (), rigged, face)


def _signed(points: Tensor, mesh: Mesh) -> Tensor:
    """Distances, negative where the mesh winds around a point: right for shells and folds, too."""
    distance = closest_point(points, mesh.vertices, mesh.faces).distance
    return torch.where(winding_numbers(points, mesh) > 0.5, -distance, distance)


def as_subject(character: int | ToyCharacter | Subject) -> Subject:
    """A toy of a seed, a toy, or what is one already."""
    if isinstance(character, int):
        return Toy(make_character(character))
    return Toy(character) if isinstance(character, ToyCharacter) else character


# ---------------------------------------------------------------------------------------------- files


def read_glb_subject(path: Path) -> Subject:
    """A layered GLB, with the files of its other poses; InputError for one without a body."""
    if _has_skin(path):
        return read_rigged_subject(path)
    notes = Notes()
    given, face = _layers_of(path, notes)
    others = sorted(path.parent.glob(f"{path.stem}.pose*.glb"))
    posed = tuple(_layers_of(other, notes)[0] for other in others)
    key = f"{path.name} {hashlib.sha256(path.read_bytes()).hexdigest()[:12]}"
    return Made(key, path.stem.replace("_", " "), given, face, posed)


def read_rigged_subject(path: Path) -> Subject:
    """A VRM or skinned GLB in A-pose; one whose bones are not known stays in its bind pose."""
    found = read_character_file(path)
    rigged, key = found.rigged, f"{path.name} {hashlib.sha256(path.read_bytes()).hexdigest()[:12]}"
    words = path.stem.replace("_", " ")
    if rigged.rig is None:
        return Made(key, words, rigged.layers.map(_painted), found.face)
    return _standing(key, words, rigged, found.face, ARMS_DOWN)


def _has_skin(path: Path) -> bool:
    return bool(split_chunks(read_file(path, "GLB file"))[0].get("skins"))


# How a file of each ending becomes a subject.
READERS: dict[str, Callable[[Path], Subject]] = {".glb": read_glb_subject, ".vrm": read_rigged_subject}


def _layers_of(path: Path, notes: Notes) -> tuple[LayeredMesh, Mesh | None]:
    """(layers with vertex colors, framed; the face in the same frame)."""
    parts = {name: _painted(mesh) for name, mesh in read_glb_parts(path, PARTS, notes).items()}
    if "body" not in parts and "face" not in parts:
        raise InputError(path.name, "a GLB with nodes named body, clothing and hair", "no node named body",
                         "Name the nodes in a modeler, or write the file with Export Character.")
    face = parts.pop("face", None)
    body = [m for m in (parts.get("body"), face) if m is not None]
    layers = LayeredMesh({**parts, "body": merge(body)})
    scale, offset = _frame(layers)
    return layers.transformed(scale, offset), None if face is None else face.transformed(scale, offset)


def _frame(layers: LayeredMesh) -> tuple[float, Tensor]:
    """(scale, offset) that center the layers and make their longest side 2."""
    points = layers.merged().vertices
    low, high = points.amin(0), points.amax(0)
    scale = 2.0 / float((high - low).max().clamp_min(1e-12))
    return scale, -scale * (low + high) / 2


def _painted(mesh: Mesh) -> Mesh:
    """The mesh with vertex colors in the place of a texture, cut finer where it needs them; gray without any color."""
    if mesh.texture is None:
        colors = torch.full_like(mesh.vertices, GRAY) if mesh.vertex_colors is None else mesh.vertex_colors
        return Mesh(mesh.vertices, mesh.faces, colors)
    assert mesh.uvs is not None and mesh.face_uvs is not None, "a texture comes with both"
    surface = Surface(mesh.vertices, mesh.faces, mesh.vertices[:, 0], mesh.vertices[:, :0])
    extent = float((mesh.vertices.amax(0) - mesh.vertices.amin(0)).max())
    for _ in range(3):
        edges = surface.points[surface.faces[:, 0]] - surface.points[surface.faces[:, 1]]
        if float(edges.norm(dim=-1).mean()) < FINEST * extent / 2 or 4 * len(surface.points) > MOST_VERTICES:
            break
        surface = subdivide(surface)
    found = closest_point(surface.points, mesh.vertices, mesh.faces)
    uv = (mesh.uvs[mesh.face_uvs[found.face]] * found.barycentric[..., None]).sum(1)
    return Mesh(surface.points, surface.faces, sample_texture(mesh.texture, uv % 1.0))


def subjects_of(source: str, count: int | None = None, say: Callable[[str], None] = print) -> list[Subject]:
    """The characters of "toybox" or of a folder; count: at most so many (of the toybox: so many).

    Files that cannot be read are named and left out; InputError where nothing is left.
    """
    if source == "toybox":
        from lift123.pipelines.toybox.objects import train_seed

        return [Toy(make_character(train_seed(i))) for i in range(count or 1260)]
    folder = Path(source).expanduser()
    if not folder.is_dir():
        raise InputError("characters", "'toybox' or a folder of layered characters", source, "Check the path.")
    kinds = ", ".join(sorted(READERS))
    files = sorted(p for p in folder.iterdir() if p.suffix.lower() in READERS and ".pose" not in p.name)
    found: list[Subject] = []
    for file in files if count is None else files[:count]:
        try:
            found.append(READERS[file.suffix.lower()](file))
        except InputError as problem:
            say(f"left out: {file.name}: {problem}")
    if not found:
        raise InputError("characters", f"files of these kinds: {kinds}, with nodes body, clothing and hair",
                         f"none that can be used in {folder.name}", "Export them with Export Character, one file each.")
    return found


def arm_variants(subjects: Sequence[Subject], each: int, most: float = 20.0) -> list[Subject]:
    """``each`` copies of every subject that has a skeleton, arms evenly between -most and +most degrees, never 0."""
    angles = [most * (2 * (k + 0.5) / each - 1) or most / 2 for k in range(each)]
    return [s for subject in subjects for angle in angles if (s := subject.with_arms(angle)) is not None]
