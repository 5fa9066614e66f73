"""Mesh files of any kind that can be read, by what they are."""

from __future__ import annotations

from pathlib import Path

from ..core.errors import InputError
from ..core.mesh import Mesh
from .beside import files_beside
from .glb_reader import read_file, read_glb
from .gltf_buffers import nothing_beside
from .gltf_entry import is_json
from .mesh_notes import Notes
from .obj_reader import read_obj
from .ply import read_ply
from .stl import is_binary_stl, read_stl
from .text_lines import without_mark

KINDS = ("glb", "gltf", "obj", "ply", "stl")


def read_mesh_file(source: bytes | Path, kind: str = "", notes: Notes | None = None, name: str = "file") -> Mesh:
    """A .glb, .gltf, .obj, .ply or .stl file -> Mesh in the file's units.

    source: its bytes, or its path; only of a path the files beside it are read.
    kind:   its ending; "" for what its first bytes say.
    notes:  hears what was changed or left out.
    Raises InputError for other kinds, damaged files, and files beyond ``io.limits``.
    """
    notes = notes or Notes()
    data = source if isinstance(source, bytes) else read_file(source, name)
    beside = nothing_beside if isinstance(source, bytes) else files_beside(source.parent)
    data = data if is_binary_stl(data) else without_mark(data)
    kind = kind.lower().lstrip(".") or _guessed(data)
    if kind in ("glb", "gltf"):
        return read_glb(data, notes=notes, beside=beside)
    if kind == "obj":
        return read_obj(data, notes, beside)
    if kind == "ply":
        return read_ply(data, notes, beside)
    if kind == "stl":
        return read_stl(data, notes)
    raise InputError(name, f"a file of kind {', '.join(KINDS)}", f"format {kind or 'unknown'!r}", "Convert it to GLB first.")


def _guessed(data: bytes) -> str:
    if data[:4] == b"glTF":
        return "glb"
    if data[:3] == b"ply":
        return "ply"
    if data[:5].lower() == b"solid" or is_binary_stl(data):
        return "stl"
    return "gltf" if is_json(data) else ""
