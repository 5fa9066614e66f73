"""What a multi-layer refinement gives, finished or not: layers, what is done, and the file that keeps it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor

from ...core.layers import LAYER_NAMES, LayeredMesh
from ...core.mesh import Mesh
from ...core.story import Story
from ...io import plain_json, sealed

FORMAT, VERSION = "lift123-layers", 1
_SETS = ("layers", "inner", "coarse")
_FIELDS = ("vertices", "faces", "vertex_colors", "uvs", "face_uvs", "texture")
FILE = sealed.Kind("layers file", FORMAT, VERSION, ("state",), "Save Layers or of an interrupted refinement",
                   "Use an earlier copy or queue Refine Layers again.", unsealed=True)


@dataclass(frozen=True)
class RefinedLayers:
    """What a refinement gives, also when it was stopped on the way.

    layers:   every layer, refined as far as ``finished`` says.
    inner:    the finished layers as the next ones saw them (before small faces merge and before the last dilation).
    finished: names of the layers that are done, or were kept.
    notes:    sentences for people: handedness, registration, masks, what was dropped or kept.
    reach:    {"hair in body": {"deepest", "share"}, ...}: how far outer layers reach into inner ones, scene units.
    was_mirrored: whether the given layers were mirrored first.
    coarse:   the layers as they were given, before mirroring: outer layers are carried along from these, also after a pause.
              Empty where nothing has begun.
    whole:    the figure is one piece, the layer "body", and the complete character's views show it.
    story:    how they were made.
    """

    layers: LayeredMesh
    inner: LayeredMesh = field(default_factory=lambda: LayeredMesh({}))
    finished: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    reach: dict = field(default_factory=dict)
    was_mirrored: bool = False
    coarse: LayeredMesh = field(default_factory=lambda: LayeredMesh({}))
    story: Story = field(default_factory=Story)
    whole: bool = False

    @property
    def complete(self) -> bool:
        """Whether every layer is done."""
        return all(name in self.finished for name in self.layers)

    @property
    def start(self) -> LayeredMesh:
        """The layers that a refinement begins with, or that it began with."""
        return self.coarse if len(self.coarse) else self.layers

    def to(self, device) -> "RefinedLayers":
        """The same on another device."""
        return replace(self, **{group: getattr(self, group).to(device) for group in _SETS})

    def save(self, path: str | os.PathLike) -> Path:
        """See :func:`save_layers`."""
        return save_layers(path, self)

    def pack(self) -> tuple[dict[str, Tensor], dict]:
        """(tensors on the CPU, JSON); inverse of :meth:`unpack`."""
        tensors = {}
        for group in _SETS:
            for name, mesh in getattr(self, group).detach().to("cpu").layers.items():
                given = {f: getattr(mesh, f) for f in _FIELDS if getattr(mesh, f) is not None}
                tensors |= {f"{group}/{name}/{f}": v.clone().contiguous() for f, v in given.items()}  # sets may share some
        state = {name: getattr(self, name) for name in ("finished", "notes", "reach", "was_mirrored")}
        return tensors, state | {"story": self.story.to_json()} | ({"whole": True} if self.whole else {})

    @staticmethod
    def unpack(tensors: dict[str, Tensor], state: dict) -> "RefinedLayers":
        """What :meth:`pack` gave; KeyError, TypeError or ValueError for anything else."""
        _check_state(state)
        groups = {group: LayeredMesh(_meshes(tensors, group)) for group in _SETS}
        return RefinedLayers(**groups, finished=tuple(state["finished"]), notes=tuple(state["notes"]), reach=state["reach"],
                             was_mirrored=bool(state["was_mirrored"]), story=Story.from_json(state.get("story")),
                             whole=bool(state.get("whole", False)))


def _check_state(state: dict) -> None:
    """ValueError for the JSON of something that is no refinement."""
    def list_of_texts(value) -> bool:
        return isinstance(value, list | tuple) and all(isinstance(text, str) for text in value)

    if not isinstance(state, dict):
        raise ValueError(f"its state is a {type(state).__name__}, no object")
    if not list_of_texts(state["finished"]) or set(state["finished"]) - set(LAYER_NAMES):
        raise ValueError("its finished layers are no list of names of layers")
    if not list_of_texts(state["notes"]):
        raise ValueError("its notes are no list of texts")
    reach = state["reach"]
    if not isinstance(reach, dict) or not all(isinstance(pair, dict) and all(
            isinstance(pair.get(name), float | int) for name in ("deepest", "share")) for pair in reach.values()):
        raise ValueError("its reach is no table of depths and shares")
    if not isinstance(state["was_mirrored"], bool):
        raise ValueError("its was_mirrored is neither true nor false")


def save_layers(path: str | os.PathLike, refined: RefinedLayers) -> Path:
    """Writes layers (finished or not), sealed, whole or not at all; the same layers give the same bytes."""
    tensors, state = refined.pack()
    return sealed.write(path, FILE, tensors, {"state": json.dumps(state, sort_keys=True)})


def load_layers(path: str | os.PathLike, remark: Callable[[str], None] = sealed.log.warning) -> RefinedLayers:
    """What :func:`save_layers` wrote; InputError for anything else.

    remark: told of a file that was saved before there were checksums.
    """
    tensors, meta = sealed.read(path, FILE, remark)
    try:
        sealed.check_finite(tensors)
        return RefinedLayers.unpack(tensors, plain_json.parse(meta["state"], finite=True))
    except (KeyError, TypeError, ValueError) as error:
        raise sealed.damaged(Path(path), FILE, error) from error


def _meshes(tensors: dict[str, Tensor], group: str) -> dict[str, Mesh]:
    names = [name for name in LAYER_NAMES if f"{group}/{name}/vertices" in tensors]
    meshes = {}
    for name in names:
        given = {f: tensors[key] for f in _FIELDS if (key := f"{group}/{name}/{f}") in tensors}
        for part, value in given.items():
            wanted = torch.int64 if part in ("faces", "face_uvs") else torch.float32
            if value.dtype != wanted:
                raise ValueError(f"{group}/{name}/{part} holds {str(value.dtype)[6:]} where {str(wanted)[6:]} is needed")
        meshes[name] = Mesh(**given)
    return meshes
