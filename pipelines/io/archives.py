"""Pickled checkpoints are ZIP archives: how much one unpacks to is known before anything is unpacked."""

from __future__ import annotations

import os
import struct
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

import torch
from torch import Tensor

from ..core.errors import InputError
from .limits import ARCHIVE_ENTRIES, ARCHIVE_GROWTH, ARCHIVE_SLACK, PICKLE_BYTES, within

_REMEDY = "It was not loaded: such a file can fill the memory. Get the .safetensors version, or another copy."


def check_archive(path: str | os.PathLike, name: str = "checkpoint") -> None:
    """InputError for an archive that would unpack to far more than its file holds; files of other kinds pass.

    torch stores weights uncompressed, so an honest archive's content is no larger than the file.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            if file.read(4) != b"PK\x03\x04":  # what torch takes for an archive, too
                return
            count = _entries(file)
        within(name, count, ARCHIVE_ENTRIES, f"entries in {path.name}", _REMEDY)
        with zipfile.ZipFile(path) as archive:
            entries, size = archive.infolist(), path.stat().st_size
    except InputError:
        raise
    except (OSError, zipfile.BadZipFile, ValueError, NotImplementedError, struct.error):
        return  # no archive that this library can read: the loader says what is wrong with it
    most = ARCHIVE_GROWTH * size + ARCHIVE_SLACK
    within(name, sum(entry.file_size for entry in entries), most, f"bytes unpacked from {path.name} ({size:,} bytes)", _REMEDY)
    for entry in entries:
        if entry.filename.endswith(".pkl"):
            within(name, entry.file_size, PICKLE_BYTES, f"bytes of {entry.filename} in {path.name}", _REMEDY)


def _entries(file: BinaryIO) -> int:
    """How many entries an archive can have, 0 where it does not say: Python's reader makes an object of each."""
    file.seek(0, os.SEEK_END)
    file.seek(max(file.tell() - 65_557, 0))
    tail = file.read()
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or at + 16 > len(tail):
        return 0
    directory = struct.unpack_from("<I", tail, at + 12)[0]  # bytes of the list of entries, 46 or more for each
    return 0 if directory == 0xFFFFFFFF else directory // 46


def check_expansion(tensors: Iterable[tuple[str, Tensor]], source: str, name: str = "checkpoint") -> None:
    """InputError for a tensor that has more elements than the file has numbers for (a stride of 0)."""
    for key, tensor in tensors:
        if tensor.device.type == "meta" or tensor.layout is not torch.strided:
            raise InputError(name, "weights with their numbers", f"{source}, whose {key[:80]} has none", _REMEDY)
        held = tensor.untyped_storage().nbytes()
        if tensor.numel() * tensor.element_size() > held:
            got = f"{source}, whose {key[:80]} claims {tensor.numel():,} elements and holds {held:,} bytes"
            raise InputError(name, "weights with their numbers", got, _REMEDY)
