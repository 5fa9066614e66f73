"""Safetensors files with a seal: SHA-256 over metadata, names, types, shapes and bytes, so that damage is seen.

Safetensors itself notices a file that was cut, but not a bit that was flipped.  The same content gives the same bytes,
which the library's own writer does not promise (it writes metadata in any order).  Readers of safetensors read these
files as any other; the seal is one more entry of the metadata.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ..core.errors import InputError

log = logging.getLogger(__name__)
SEAL = "sha256"
LONGEST_HEADER = 1 << 26  # bytes; scenes have some thousand
PIECE = 1 << 20  # bytes written at once: a system that is handed 100 MB prepares its pages far more slowly
_ALIGNED = 8
_TYPES = {
    torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.int64: "I64",
    torch.int32: "I32", torch.int16: "I16", torch.int8: "I8", torch.uint8: "U8", torch.bool: "BOOL",
}


@dataclass(frozen=True)
class Kind:
    """One kind of file of the pack.

    name:    for people, as errors begin ("scene file").
    format, version: as the metadata says; another one is refused.
    entries: names of the other metadata, all text.
    source:  what writes such files ("Save Scene").
    remedy:  what a person does about a damaged one.
    unsealed: whether files from before there were seals are read, with a remark.
    """

    name: str
    format: str
    version: int
    entries: tuple[str, ...]
    source: str
    remedy: str
    unsealed: bool = False

    def header(self, entries: dict[str, str]) -> dict[str, str]:
        """All metadata but the seal."""
        return {"format": self.format, "version": str(self.version), **entries}


def digest(tensors: dict[str, Tensor], meta: dict[str, str]) -> str:
    """64 hexadecimal digits: SHA-256 of metadata (without the seal), names, types, shapes and bytes, in order of names."""
    names = sorted(tensors)
    told = [sorted((k, v) for k, v in meta.items() if k != SEAL),
            [[name, _TYPES[tensors[name].dtype], list(tensors[name].shape)] for name in names]]
    found = hashlib.sha256(json.dumps(told, separators=(",", ":")).encode())
    for name in names:
        found.update(_bytes(tensors[name]))
    return found.hexdigest()


def write(path: str | os.PathLike, kind: Kind, tensors: dict[str, Tensor], entries: dict[str, str]) -> Path:
    """Writes a sealed file whole or not at all, on the disk when this returns; OSError where that is impossible.

    tensors: any device and layout, by name; entries: the metadata of ``kind``.  The same content gives the same bytes.
    """
    path = Path(path)
    plain = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    meta = kind.header(entries)
    meta[SEAL] = digest(plain, meta)
    order = sorted(plain, key=lambda name: (-plain[name].element_size(), name))  # so that every tensor is aligned
    header: dict[str, dict] = {"__metadata__": dict(sorted(meta.items()))}
    end = 0
    for name in order:
        begin, end = end, end + plain[name].nbytes
        header[name] = {"dtype": _TYPES[plain[name].dtype], "shape": list(plain[name].shape), "data_offsets": [begin, end]}
    head = json.dumps(header, separators=(",", ":")).encode()
    head += b" " * (-len(head) % _ALIGNED)
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with partial.open("wb") as file:
            file.write(struct.pack("<Q", len(head)) + head)
            for name in order:
                data = _bytes(plain[name])
                for place in range(0, len(data), PIECE):
                    file.write(data[place : place + PIECE])
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except BaseException:
        if partial.is_file():
            partial.unlink(missing_ok=True)
        raise
    return path


def read(path: str | os.PathLike, kind: Kind, remark: Callable[[str], None] = log.warning) -> tuple[dict[str, Tensor], dict]:
    """(tensors, metadata) of a file that :func:`write` wrote; InputError for any other or damaged file.

    remark: told when the file is from before there were seals (``kind.unsealed``), so that nothing vouches for it.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(kind.name, f"an existing file of format {kind.format}", f"no file {path.name}", "Check the path.")
    meta = _metadata(path, kind)
    _check_format(path, kind, meta)
    tensors = _tensors(path, kind)
    if SEAL in meta:
        if meta[SEAL] != digest(tensors, meta):
            raise damaged(path, kind, "its checksum does not fit what is in it")
    elif kind.unsealed and set(meta) == set(kind.header(dict.fromkeys(kind.entries, ""))):
        remark(f"{path.name} was saved before files had checksums: damage to it cannot be seen.")
    else:
        raise damaged(path, kind, "it has no checksum")
    return tensors, meta


def check_finite(tensors: dict[str, Tensor]) -> None:
    """ValueError for tensors that hold NaN or infinity."""
    for name, value in tensors.items():
        if value.is_floating_point() and not bool(value.isfinite().all()):
            raise ValueError(f"{name} holds NaN or infinity")


def header(path: Path, kind: Kind) -> dict[str, str]:
    """The metadata of a file, without a look at what is in it; InputError for any other file."""
    meta = _metadata(path, kind)
    _check_format(path, kind, meta)
    return meta


def damaged(path: Path, kind: Kind, why: object) -> InputError:
    """The error for a file that is not what was written."""
    return InputError(kind.name, f"a complete file of format {kind.format}",
                      f"{path.name}, which is damaged or cut short ({why})", kind.remedy)


def _check_format(path: Path, kind: Kind, meta: dict) -> None:
    if meta.get("format") != kind.format:
        raise InputError(kind.name, f"a file of {kind.source} (format {kind.format})",
                         f"{path.name}, another format", f"Choose a file that {kind.source} wrote.")
    if meta.get("version") != str(kind.version):
        raise InputError(kind.name, f"format {kind.format}, version {kind.version}",
                         f"{path.name}, version {meta.get('version')}", f"Update the pack, or else: {kind.remedy}")
    absent = [name for name in kind.entries if name not in meta]
    if absent:
        raise damaged(path, kind, f"it has no entry {absent[0]!r}")


def _metadata(path: Path, kind: Kind) -> dict:
    """The header's metadata, read by hand so that all damage has one message."""
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            if length > LONGEST_HEADER:
                raise ValueError("the header is implausibly long")
            header = json.loads(file.read(length))
        meta = header.get("__metadata__", {})
        if not all(isinstance(value, str) for value in meta.values()):
            raise ValueError("the metadata is no text")
        return meta
    except (struct.error, ValueError, AttributeError, OSError, RecursionError) as problem:
        raise damaged(path, kind, problem) from problem


def _tensors(path: Path, kind: Kind) -> dict[str, Tensor]:
    from safetensors.torch import load_file

    try:
        tensors = load_file(str(path))
    except Exception as problem:  # the library raises its own types for every kind of damage
        raise damaged(path, kind, problem) from problem
    unknown = [value.dtype for value in tensors.values() if value.dtype not in _TYPES]
    if unknown:
        raise damaged(path, kind, f"numbers of type {unknown[0]}")
    return tensors


def _bytes(tensor: Tensor) -> memoryview:
    """The bytes of a contiguous tensor on the CPU, without a copy."""
    return memoryview(tensor.detach().reshape(-1).view(torch.uint8).numpy())  # pyright: ignore[reportArgumentType]
