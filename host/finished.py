"""What a stage gave, on disk until its prompt has ended well: a hard end in a later stage then costs that stage only.

Beside the states of stages at work (``pipelines.io.autosave``), under the same key, sealed.  A file belongs to the process
that wrote it, so that two servers on one folder do not take each other's away; one whose process is gone belongs to whoever
finds it.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from torch import Tensor

from ..pipelines.core.errors import InputError
from ..pipelines.io import autosave, sealed
from . import journal

log = logging.getLogger(__name__)
MOST_FILES, MOST_BYTES = 32, 8 << 30  # of all stages together; the oldest go
SPARE = 1 << 30  # bytes that stay free on the disk
MARK = "_done_"
Found = TypeVar("Found")
FILE = sealed.Kind("finished stage", "lift123-finished", 1, ("key", "result", "owner"), "a stage that has ended",
                   "Delete the file: the stage is then run again.")


@dataclass(frozen=True)
class Packet:
    """What a stage gave, where that is no type with a ``pack`` of its own: tensors by name, and JSON."""

    tensors: dict[str, Tensor]
    told: dict = field(default_factory=dict)

    def pack(self) -> tuple[dict[str, Tensor], dict]:
        """Inverse of :meth:`unpack`."""
        return self.tensors, self.told

    @staticmethod
    def unpack(tensors: dict[str, Tensor], told: dict) -> Packet:
        """What :meth:`pack` gave."""
        return Packet(tensors, told)


class Finished:
    """The result of one stage in ``folder`` as ``<stem>_done_<process>.safetensors``.

    key:     of what went into the stage; a file of another key is none of its results.
    remarks: sentences for people, appended to: damaged files.
    """

    def __init__(self, folder: Path, stem: str, key: str, remarks: list[str]):
        self.folder, self.stem, self.key, self.remarks = folder, stem, key, remarks
        who = hashlib.sha256(json.dumps(journal.who(), sort_keys=True).encode()).hexdigest()[:8]
        self.path = folder / f"{stem}{MARK}{who}.safetensors"

    def find(self, unpack: Callable[[dict[str, Tensor], dict], Found]) -> Found | None:
        """The result, or None; damaged files are told in ``remarks`` and removed.  unpack: the inverse of its ``pack``."""
        for path in _newest_first(self.folder, f"{self.stem}{MARK}*.safetensors"):
            try:
                tensors, meta = sealed.read(path, FILE)
                if meta["key"] != self.key:
                    raise sealed.damaged(path, FILE, "it belongs to another run")
                return unpack(tensors, json.loads(meta["result"]))
            except (InputError, KeyError, ValueError, TypeError, OSError) as problem:
                log.warning("finished stage passed over: %s", problem)
                self.remarks.append(f"{path.name} is damaged")
                _remove(path)
        return None

    def write(self, tensors: dict[str, Tensor], told: dict) -> bool:
        """Writes what ``pack`` gave, unless it is there; whether it is on the disk now.  Never raises for what a disk does."""
        if self.path.is_file():
            return True
        need = sum(value.nbytes for value in tensors.values())
        entries = {"key": self.key, "result": json.dumps(told), "owner": json.dumps(journal.who())}
        try:
            autosave.make_folder(self.folder)
            make_room(self.folder, need)
            if need > MOST_BYTES or shutil.disk_usage(self.folder).free < need + SPARE:
                log.warning("%s: the finished stage is not kept, the disk is too full", self.stem)
                return False
            sealed.write(self.path, FILE, tensors, entries)
            autosave.sync_folder(self.folder)
            return True
        except OSError as problem:
            log.warning("%s: the finished stage could not be kept: %s", self.stem, problem)
            return False

    def release(self) -> None:
        """Removes the result, but for files of other processes that live."""
        for path in _newest_first(self.folder, f"{self.stem}{MARK}*.safetensors"):
            if path == self.path or not _of_a_living_one(path):
                _remove(path)


def make_room(folder: Path, need: int) -> None:
    """Removes finished stages that nobody has asked for in a month, and the oldest until one more has its place."""
    limit, room, count = time.time() - autosave.DAYS * 86400, MOST_BYTES - need, MOST_FILES - 1
    for path in _newest_first(folder, f"*{MARK}*.safetensors"):
        room, count = room - path.stat().st_size, count - 1
        if room < 0 or count < 0 or path.stat().st_mtime < limit:
            _remove(path)


def _newest_first(folder: Path, pattern: str) -> list[Path]:
    try:
        return [path for _, path in sorted(((p.stat().st_mtime, p) for p in folder.glob(pattern)), reverse=True)]
    except OSError:  # somebody else has taken one away, or the folder may not be looked into
        return []


def _of_a_living_one(path: Path) -> bool:
    try:
        return journal.alive(json.loads(sealed.header(path, FILE)["owner"]))
    except (InputError, KeyError, ValueError):
        return False


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as problem:
        log.warning("%s could not be removed: %s", path.name, problem)
