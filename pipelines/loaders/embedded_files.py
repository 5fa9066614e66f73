"""Files of the networks that ship with the pack, read only as they were published.

``pipelines/embedded/checksums.json`` lists the SHA-256 of each; ``training/checksums.py`` writes it when weights are
final.  Other folders, where networks are being trained, need no such list, but what theirs says is checked as well.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from torch import Tensor

from ..core.errors import InputError
from ..io import plain_json

FOLDER = Path(__file__).resolve().parent.parent / "embedded"
TABLE, SETTINGS = "checksums.json", "settings.json"
_NAME = "embedded weights"
_REMEDY = "Restore it: run 'git checkout -- pipelines/embedded' in the pack's folder, or install the pack again."


def read_state(path: Path) -> dict[str, Tensor]:
    """Tensors by name of an embedded network's file; InputError for one that is not there, or not as published."""
    from safetensors.torch import load

    data = read_checked(path)
    try:
        return load(data)
    except Exception as problem:  # the library raises its own types for every kind of damage
        raise _other(path, f"which is damaged or cut short ({problem})") from problem


def read_settings(folder: Path = FOLDER) -> dict:
    """What is to be known beside the weights: {"words", "scaling_factor"}; InputError as :func:`read_state`."""
    try:
        settings = plain_json.parse(read_checked(folder / SETTINGS))
        return {"words": list(settings["words"]), "scaling_factor": float(settings["scaling_factor"])}
    except (KeyError, TypeError, ValueError) as problem:
        if isinstance(problem, InputError):
            raise
        raise _other(folder / SETTINGS, f"which is damaged or cut short ({problem})") from problem


def read_checked(path: Path) -> bytes:
    """The bytes of a file that its folder's list vouches for (or of any, in a folder without list); else InputError."""
    try:
        data = path.read_bytes()
    except OSError as problem:
        raise InputError(_NAME, f"the file {path.name}", problem.strerror or str(problem), _REMEDY) from problem
    known = read_table(path.parent)
    if known is not None and known.get(path.name) != checksum(path.name, data):
        what = "which is damaged, cut short or another file" if path.name in known else f"which {TABLE} does not list"
        raise _other(path, what)
    return data


def read_table(folder: Path) -> dict[str, str] | None:
    """{file name: SHA-256} of a folder, None where it has no list; the pack's own folder must have one."""
    path = folder / TABLE
    if not path.is_file():
        if folder == FOLDER:
            raise InputError(_NAME, f"the file {TABLE}", "no such file", _REMEDY)
        return None
    try:
        table = plain_json.parse(path.read_bytes())
        if not isinstance(table, dict):
            raise ValueError("no table")
        return table
    except (OSError, ValueError) as problem:
        raise _other(path, f"which is damaged or cut short ({problem})") from problem


def has_file(folder: Path, name: str) -> bool:
    """Whether a file belongs to a folder: by its list, so that one that was lost is missed; else whether it is there."""
    table = read_table(folder)
    return (folder / name).is_file() if table is None else name in table


def make_table(folder: Path = FOLDER) -> dict[str, str]:
    """{file name: SHA-256} of all weights and settings that are there now."""
    files = [*sorted(folder.glob("*.safetensors")), folder / SETTINGS]
    return {path.name: checksum(path.name, path.read_bytes()) for path in files}


def checksum(name: str, data: bytes) -> str:
    """SHA-256; of text with line ends as in the repository, which git may have changed on Windows."""
    return hashlib.sha256(data.replace(b"\r\n", b"\n") if name.endswith(".json") else data).hexdigest()


def _other(path: Path, what: str) -> InputError:
    return InputError(_NAME, f"the file {path.name} as it was published", f"{path.name}, {what}", _REMEDY)
