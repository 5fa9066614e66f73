"""Reads STL, binary or text: triangles without anything else."""

from __future__ import annotations

import re
import struct

import numpy as np
import torch

from ..core.errors import InputError
from ..core.mesh import Mesh
from .assemble import check_soup, weld_vertices
from .limits import FACES, within
from .mesh_notes import Notes
from .surface_parts import Soup

_HEAD, _ROW = 84, 50  # bytes before the triangles, and of each
_NUMBER = rb"([^\s]+)"
_VERTEX = re.compile(rb"\bvertex\s+" + _NUMBER + rb"\s+" + _NUMBER + rb"\s+" + _NUMBER, re.IGNORECASE)


def read_stl(data: bytes, notes: Notes | None = None) -> Mesh:
    """STL bytes -> Mesh in the file's units; equal corners are one vertex.

    Raises InputError for anything that is no STL with triangles, and for files beyond ``io.limits``.
    """
    notes = notes or Notes()
    corners = _binary(data, notes) if _is_binary(data) else _text(data)
    with np.errstate(over="ignore", invalid="ignore"):
        vertices = torch.from_numpy(corners.astype(np.float32))
    faces = torch.arange(len(vertices)).reshape(-1, 3)
    check_soup(Soup(vertices, faces, torch.zeros(len(faces), dtype=torch.int64)), "STL file")
    return weld_vertices(Mesh(vertices, faces))


def _bad(got: str) -> InputError:
    return InputError("STL file", "an STL with triangles", got, "Export the model again.")


def is_binary_stl(data: bytes) -> bool:
    """Whether a file is as long as the header of a binary STL says."""
    return len(data) >= _HEAD and len(data) == _HEAD + _ROW * struct.unpack_from("<I", data, 80)[0]


def _is_binary(data: bytes) -> bool:
    """Some binary files begin with "solid", too: what their length says counts first."""
    if is_binary_stl(data):
        return True
    return not (data.lstrip()[:5].lower() == b"solid" and (b"facet" in data[:4096].lower() or b"endsolid" in data.lower()))


def _binary(data: bytes, notes: Notes) -> np.ndarray:
    if len(data) < _HEAD:
        raise _bad(f"{len(data)} bytes, which is neither text nor a whole header")
    count = within("STL file", struct.unpack_from("<I", data, 80)[0], FACES, "faces")
    if _HEAD + _ROW * count > len(data):
        raise _bad(f"a truncated file ({len(data)} of {_HEAD + _ROW * count} bytes) or something else")
    rows = np.frombuffer(data, np.dtype([("normal", "<3f4"), ("corners", "<9f4"), ("extra", "<u2")]), count, _HEAD)
    if rows["extra"].any():
        notes.say("colors of an STL were dropped: programs store them in different ways")
    return rows["corners"].reshape(-1, 3)


def _text(data: bytes) -> np.ndarray:
    within("STL file", data.lower().count(b"endfacet"), FACES, "faces")
    rows = _VERTEX.findall(data)
    if not rows or len(rows) % 3:
        raise _bad(f"text with {len(rows)} corners")
    try:
        return np.array([[float(x) for x in row] for row in rows])
    except ValueError as error:
        raise _bad(f"a corner that is no number ({str(error)[:80]})") from None
