"""Reads STL, binary or text: triangles without anything else."""

from __future__ import annotations

import io
import struct
import warnings

import numpy as np
import torch

from ..core.errors import InputError
from ..core.mesh import Mesh
from .assemble import check_soup, weld_vertices
from .limits import FACES, TEXT_BYTES, within
from .mesh_notes import Notes
from .surface_parts import Soup

_HEAD, _ROW = 84, 50  # bytes before the triangles, and of each
SOLIDS = 100_000  # things that a text may hold


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
    """[3 F, 3] corners: every other word begins a line that is a comment, so that one reader takes the whole text."""
    within("STL file", len(data), TEXT_BYTES, "bytes of text")
    body = _unnamed(data.lower().replace(b"\r", b"\n"))
    corners = body.count(b"vertex")
    within("STL file", corners // 3, FACES, "faces")
    if not corners or corners % 3:
        raise _bad(f"text with {corners:,} corners")
    lines = body.replace(b"\n", b" ").replace(b"#", b"?").replace(b"vertex", b"\n")
    for word in (b"end", b"facet", b"outer", b"loop", b"normal"):
        lines = lines.replace(word, b"\n#")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a text without any numbers, which is told below
            table = np.loadtxt(io.BytesIO(lines), dtype=np.float64, comments="#", ndmin=2)
    except ValueError as error:
        raise _bad(f"a corner that is no number ({str(error)[:80]})") from None
    if table.shape != (corners, 3):
        raise _bad("corners that are not three numbers each")
    return table


def _unnamed(text: bytes) -> bytes:
    """The text without the names of its things, which may be any words: what follows "solid" on its line."""
    within("STL file", text.count(b"solid"), 2 * SOLIDS, 'words "solid"')
    first, *others = text.split(b"solid")
    kept = [first]
    for part in others:
        before = kept[-1][-64:].rpartition(b"\n")[2].strip()
        if before not in (b"", b"end"):  # inside of a line of another kind
            kept.append(b"solid" + part)
            continue
        name, line_end, rest = part.partition(b"\n")
        facet = name.find(b"facet") if b"vertex" not in rest and b"vertex" in name else -1  # all in one line
        kept.append(name[facet:] + line_end + rest if facet >= 0 else rest)
    return b"".join(kept)
