"""A disk that loses its power: what was not synced may be there, or not, or as zeros or cut short.

:class:`Recorder` writes down what a program does to one folder: files made, renamed and removed, and when a file or the folder
is synced.  :func:`outcomes` then says what a disk may show after a loss of power at a time: of all changes to names
since the folder was last synced any subset, in their order; of a file whose last bytes were never synced anything.
"""

import io
import itertools
import os
from dataclasses import dataclass, field
from pathlib import Path

MOST = 6  # changes to names of which all subsets are looked at


@dataclass
class Disk:
    """names: as the folder was last synced, name -> file; changes: since then; synced, written: bytes of files."""

    names: dict[str, int] = field(default_factory=dict)
    changes: list[tuple] = field(default_factory=list)
    synced: dict[int, bytes] = field(default_factory=dict)
    written: dict[int, bytes] = field(default_factory=dict)

    def copy(self) -> "Disk":
        """Another one that goes its own way."""
        return Disk(dict(self.names), list(self.changes), dict(self.synced), dict(self.written))


class Recorder:
    """The disk's state after every change, in ``course``; use it with a monkeypatch, for one folder.

    lying: syncs are said to have happened and have not.
    """

    def __init__(self, folder: Path, monkeypatch, lying: bool = False):
        self.folder, self.lying, self.disk, self.course = folder, lying, Disk(), []
        self.fsync, self.replace, self.unlink, self.open = os.fsync, os.replace, os.unlink, io.open
        monkeypatch.setattr(os, "fsync", self._fsync)
        monkeypatch.setattr(os, "replace", self._replace)
        monkeypatch.setattr(os, "unlink", self._unlink)
        monkeypatch.setattr(io, "open", self._open)

    def _changed(self, *change) -> None:
        if change:
            self.disk.changes.append(change)
        self.course.append(self.disk.copy())

    def _open(self, path, mode="r", *args, **more):
        made = "w" in mode and Path(path).parent == self.folder and not Path(path).exists()
        file = self.open(path, mode, *args, **more)
        if made:
            number = os.fstat(file.fileno()).st_ino
            self.disk.synced.pop(number, None)  # the system gives numbers of files that are gone to new ones
            self._changed("make", Path(path).name, number)
        return file

    def _fsync(self, handle: int) -> None:
        self.fsync(handle)
        if self.lying:
            return
        number = os.fstat(handle).st_ino
        if number == os.stat(self.folder).st_ino:
            self.disk.names, self.disk.changes = played(self.disk.names, self.disk.changes), []
        else:
            self.disk.synced[number] = self.disk.written[number] = Path(f"/proc/self/fd/{handle}").read_bytes()
        self._changed()

    def _replace(self, old, new) -> None:
        number = os.stat(old).st_ino
        self.disk.written[number] = Path(old).read_bytes()
        self.replace(old, new)
        self._changed("rename", Path(old).name, Path(new).name)

    def _unlink(self, path, *args, **more) -> None:
        self.unlink(path, *args, **more)
        self._changed("remove", Path(path).name)


def played(names: dict[str, int], changes) -> dict[str, int]:
    """The folder's names after some changes."""
    names = dict(names)
    for what, name, *more in changes:
        if what == "make":
            names[name] = more[0]
        elif what == "rename" and name in names:
            names[more[0]] = names.pop(name)
        elif what == "remove":
            names.pop(name, None)
    return names


def outcomes(disk: Disk):
    """Every folder, as name -> bytes, that may be found after a loss of power now."""
    changes = disk.changes[-MOST:]
    first = played(disk.names, disk.changes[:-MOST])
    for chosen in itertools.product([False, True], repeat=len(changes)):
        names = played(first, [change for change, there in zip(changes, chosen, strict=True) if there])
        for damage in (lambda data: bytes(len(data)), lambda data: data[: len(data) // 2], lambda data: b"", lambda data: data):
            yield {name: disk.synced.get(number, damage(disk.written.get(number, b""))) for name, number in names.items()}
