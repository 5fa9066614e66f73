"""A result is one folder, published whole and once: ``<run>/<item>-<first letters of its key>/``.

Files are gathered in a folder beside it whose name begins with a dot, and reach the disk before that folder gets its
name.  A folder that is there already stays: whoever comes second throws its own away.  ``item.json`` inside names the
key and every file with its size and SHA-256; without it, or with files that differ in size, the item is not done.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Callable, Iterable
from pathlib import Path

from ..launcher.settings import LaunchError
from ..pipelines.io.names import safe_part
from ..pipelines.io.runs import DONE, FAILED

RECORD = "item.json"
STAGING = ".staging-"
MARK = ".mark-"  # of files by which workers see that they share the folder
LETTERS = 12  # of the key in a folder's name
PIECE = 4 * 2**20  # bytes that travel at once


def folder_of(run: Path, name: str, key: str) -> Path:
    """Where an item's result stands."""
    return run / f"{name}-{key[:LETTERS]}"


def done(run: Path, name: str, key: str) -> list[Path] | None:
    """The files of a finished item, or None."""
    folder = folder_of(run, name, key)
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        files = {folder / file: int(entry["bytes"]) for file, entry in record["files"].items()}
        whole = record["key"] == key and all(path.stat().st_size == size for path, size in files.items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return sorted(files) if whole else None


def described(path: Path) -> dict:
    """Size and SHA-256 of a file."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return {"bytes": path.stat().st_size, "sha256": digest.hexdigest()}


def publish(run: Path, name: str, key: str, facts: dict, fill: Callable[[Path], dict]) -> bool:
    """Makes the result's folder; False where it was there already.

    fill: writes the files into the folder that it is given and returns file name -> ``described``.  facts: more for
    ``item.json``.  A broken folder of the same name (files deleted by hand) is moved away first.
    """
    final = folder_of(run, name, key)
    if done(run, name, key) is not None:
        return False
    staging = run / f"{STAGING}{key[:LETTERS]}-{uuid.uuid4().hex[:8]}"
    staging.mkdir(parents=True)
    try:
        files = fill(staging)
        record = {"cluster": 1, "key": key, "item": name, "files": files, **facts}
        (staging / RECORD).write_text(json.dumps(record, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        for path in (*staging.iterdir(), staging, run):
            _sync(path)
        if final.exists() and done(run, name, key) is None:
            final.rename(run / f"{STAGING}broken-{uuid.uuid4().hex[:8]}")
        try:
            staging.rename(final)
        except OSError:
            if done(run, name, key) is None:
                raise
            return False
        _sync(run)
        return True
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _sync(path: Path) -> None:
    """Onto the disk; a no-op where a system can't open folders."""
    try:
        number = os.open(path, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(number)
    except OSError:  # some network file systems
        pass
    finally:
        os.close(number)


def copied(sources: Iterable[Path], staging: Path, batch: dict) -> dict:
    """Files into the folder that is about to be published, names kept; a manifest learns which item it belongs to."""
    files = {}
    for source in sources:
        name = unused(source.name, files)
        if source.name.endswith(DONE.lstrip("_")):
            (staging / name).write_bytes(with_batch(source.read_bytes(), batch))
        else:
            shutil.copyfile(source, staging / name)
        files[name] = described(staging / name)
    return files


def unused(name: str, taken) -> str:
    """A plain file name for ``name``; the second of two equal ones gets a number."""
    plain = safe_part(name.replace("\\", "/").rpartition("/")[2]) or "file"
    made, number = plain, 1
    while made in taken or made == RECORD:
        number += 1
        made = f"{number}-{plain}"
    return made


def with_batch(text: bytes, batch: dict) -> bytes:
    """A run manifest with its place in the list (``pipelines.io.runs``); what is no manifest stays as it is."""
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        return text
    if not isinstance(data, dict) or data.get("manifest") != 1:
        return text
    return (json.dumps({**data, "batch": batch}, indent=2, sort_keys=True) + "\n").encode()


class Incoming:
    """A result that comes in pieces from a machine without the shared folder: what is still to ask for.

    files: name -> ``described``, as the worker says.  Names are made plain, sizes and checksums are compared.
    """

    def __init__(self, run: Path, key: str, files: dict, most: int = 2**40):
        self.folder = run / f"{STAGING}{key[:LETTERS]}-in-{uuid.uuid4().hex[:8]}"
        self.folder.mkdir(parents=True)
        self.files: dict[str, dict] = {}
        self.asked: dict[str, str] = {}  # our name -> the worker's
        for name, entry in files.items():
            ours = unused(str(name), self.files)
            self.files[ours] = {"bytes": int(entry["bytes"]), "sha256": str(entry["sha256"])}
            self.asked[ours] = str(name)
        if sum(entry["bytes"] for entry in self.files.values()) > most:
            raise LaunchError("the worker announces more than a terabyte")
        self._left = [name for name in self.files]
        self._offset = 0

    def next(self) -> tuple[str, int, int] | None:
        """(the worker's file name, offset, bytes) of the piece to ask for; None when everything is here."""
        while self._left and self._offset >= self.files[self._left[0]]["bytes"]:
            (self.folder / self._left[0]).touch()
            self._left.pop(0)
            self._offset = 0
        if not self._left:
            return None
        return self.asked[self._left[0]], self._offset, min(PIECE, self.files[self._left[0]]["bytes"] - self._offset)

    def take(self, piece: bytes) -> None:
        """The piece that ``next`` named; LaunchError for one of another size."""
        wanted = self.next()
        if wanted is None or len(piece) != wanted[2]:
            raise LaunchError(f"a piece of {len(piece)} bytes came that was not asked for")
        with open(self.folder / self._left[0], "ab") as file:
            file.write(piece)
        self._offset += len(piece)

    def fill(self, staging: Path) -> dict:
        """For ``publish``; LaunchError where a checksum differs."""
        for name, entry in self.files.items():
            if described(self.folder / name) != entry:
                raise LaunchError(f"{name} arrived damaged")
            (self.folder / name).rename(staging / name)
        return self.files

    def drop(self) -> None:
        """Removes what has come."""
        shutil.rmtree(self.folder, ignore_errors=True)


def sweep(run: Path, mark: str = "") -> None:
    """Removes what drivers and workers that ended have left; only for the driver that has the run, with its ``mark``."""
    for folder in run.glob(f"{STAGING}*"):
        shutil.rmtree(folder, ignore_errors=True)
    for file in run.glob(f"{MARK}*"):
        if file.name != mark:
            file.unlink(missing_ok=True)


def failure_file(run: Path, name: str, key: str) -> Path:
    """Where a failed item says why, for Results."""
    return run / f"{name}-{key[:LETTERS]}{FAILED}"


def record_failure(run: Path, name: str, key: str, error: str, value: str, aside: bool) -> None:
    """Written whole; Results lists it."""
    path = failure_file(run, name, key)
    partial = path.with_suffix(".part")
    record = {"manifest": 1, "method": "lift123", "error": error, "batch": {"item": name, "value": value, "key": key},
              "set_aside": key if aside else ""}
    partial.write_text(json.dumps(record, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    os.replace(partial, path)
