"""What a multi-layer refinement gives, finished or not: layers, what is done, and the file that keeps it."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field, replace
from pathlib import Path

from torch import Tensor

from ...core.errors import InputError
from ...core.layers import LAYER_NAMES, LayeredMesh
from ...core.mesh import Mesh

FORMAT, VERSION = "lift123-layers", 1
_SETS = ("layers", "inner", "coarse")
_FIELDS = ("vertices", "faces", "vertex_colors", "uvs", "face_uvs", "texture")
_REMEDY = "Give a file that Save Layers wrote, or one that an interrupted refinement left."


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
    """

    layers: LayeredMesh
    inner: LayeredMesh = field(default_factory=lambda: LayeredMesh({}))
    finished: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    reach: dict = field(default_factory=dict)
    was_mirrored: bool = False
    coarse: LayeredMesh = field(default_factory=lambda: LayeredMesh({}))

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


def save_layers(path: str | os.PathLike, refined: RefinedLayers) -> Path:
    """Writes layers (finished or not) through a temporary file, so an interrupted save leaves no damaged one."""
    from safetensors.torch import save_file

    path, tensors = Path(path), {}
    for group in _SETS:
        for name, mesh in getattr(refined, group).detach().to("cpu").layers.items():
            given = {f: getattr(mesh, f) for f in _FIELDS if getattr(mesh, f) is not None}
            tensors |= {
                f"{group}/{name}/{f}": value.clone().contiguous() for f, value in given.items()
            }  # sets may share some
    state = {
        "finished": refined.finished,
        "notes": refined.notes,
        "reach": refined.reach,
        "was_mirrored": refined.was_mirrored,
    }
    partial = path.with_name(path.name + ".partial")
    save_file(tensors, str(partial), metadata={"format": FORMAT, "version": str(VERSION), "state": json.dumps(state)})
    os.replace(partial, path)
    return path


def load_layers(path: str | os.PathLike) -> RefinedLayers:
    """What :func:`save_layers` wrote; InputError for anything else."""
    from safetensors import SafetensorError, safe_open

    path = Path(path)
    try:
        with safe_open(str(path), framework="pt") as file:
            meta = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118  (not a dict)
    except (OSError, SafetensorError) as error:
        raise InputError("layers file", "a readable .safetensors file", f"{path.name}: {error}", _REMEDY) from error
    if meta.get("format") != FORMAT or meta.get("version") != str(VERSION):
        raise InputError("layers file", f"format {FORMAT}, version {VERSION}",
                         f"{meta.get('format', 'no format')} {meta.get('version', '')}".strip(), _REMEDY)
    try:
        state = json.loads(meta["state"])
        groups = {group: LayeredMesh(_meshes(tensors, group)) for group in _SETS}
        return RefinedLayers(**groups, finished=tuple(state["finished"]), notes=tuple(state["notes"]), reach=state["reach"],
                             was_mirrored=bool(state["was_mirrored"]))
    except (KeyError, TypeError, ValueError) as error:
        raise InputError("layers file", "complete layers", f"{path.name}: {error}", _REMEDY) from error


def _meshes(tensors: dict[str, Tensor], group: str) -> dict[str, Mesh]:
    names = [name for name in LAYER_NAMES if f"{group}/{name}/vertices" in tensors]
    return {name: Mesh(**{f: tensors[key] for f in _FIELDS if (key := f"{group}/{name}/{f}") in tensors}) for name in names}
