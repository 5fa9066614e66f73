"""The state of a long computation on disk while it works, so that a hard end of the process loses seconds of it.

The computation is deterministic between two steps, so whoever finds a state goes on from it and ends bit for bit where
there would have been no pause.  A state is copied by the computation's own thread and written by another, sealed, through
a temporary file; the last two stay, so that a damaged one costs one more interval.
"""

from __future__ import annotations

import json
import logging
import os
import re
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from torch import Tensor

from ..core.errors import InputError
from ..core.step import State
from . import plain_json, sealed

log = logging.getLogger(__name__)
EVERY, LONGEST = 20.0, 30.0  # seconds of work between two states: as a rule, and where writing them is slow
SHARE = 0.005  # of the time that saving should take; where it takes more, it is done less often, up to LONGEST seconds
LOUD = 0.01  # of the time, above which people are told
KEPT = 2  # states
DAYS = 30  # after which a state is removed: nobody has queued its graph again
FILE = sealed.Kind("autosave", "lift123-autosave", 1, ("key", "state", "seconds"), "a stage at work",
                   "Delete the file: the stage then begins anew.")
Found = TypeVar("Found", bound=State)


class Autosave:
    """Keeps the states of one computation in ``folder`` as ``<stem>_<number>.safetensors``; call it after every step.

    key:     of what went into the computation; a file of another key is none of its states.
    every:   seconds of work between two states; 0 = one after every call, written when the call returns.
    about:   more for the metadata of the files.
    remarks: sentences for people, appended to: where it went on, damaged files, states that could not be written.
    problem: why the last state could not be written, or None.
    seconds: of work that earlier attempts had done when their state was saved.
    spent:   seconds that saving took from the computation's thread; copied, written: seconds of a processor for copying in
             that thread and for writing in another.
    """

    def __init__(self, folder: Path, stem: str, key: str, every: float = EVERY, clock: Callable[[], float] = time.monotonic,
                 about: dict[str, str] | None = None):
        self.folder, self.stem, self.key, self.every, self.clock = folder, stem, key, every, clock
        self.about = about or {}
        self.remarks: list[str] = []
        self.problem: OSError | None = None
        self.seconds = self.spent = self.copied = self.written = 0.0
        self.count = 0
        self.began = self.last = self.before = clock()
        self._wait = every
        self._writer: threading.Thread | None = None

    def find(self, unpack: Callable[[dict[str, Tensor], dict], Found]) -> Found | None:
        """The newest undamaged state, or None; damaged ones are told in ``remarks`` and removed.

        unpack: makes a state of what its ``pack`` gave.
        """
        for path in reversed(self.files()):
            try:
                tensors, meta = sealed.read(path, FILE)
                if meta["key"] != self.key:
                    raise sealed.damaged(path, FILE, "it belongs to another run")
                state = unpack(tensors, plain_json.parse(meta["state"]))
                self.seconds = float(meta["seconds"])
            except (InputError, KeyError, ValueError, TypeError, OSError) as problem:
                log.warning("autosave passed over: %s", problem)
                self.remarks.append(f"autosave {path.name} is damaged")
                self._remove(path)
                continue
            self.remarks.append(f"continued from step {state.step}")
            return state
        if self.remarks:
            self.remarks.append("begun anew")
        return None

    def __call__(self, make: Callable[[], State], now: bool = False) -> None:
        """After a step: writes ``make()`` when it is time, or at once.  Never raises for what a disk does."""
        began = self.clock()
        step, self.before = began - self.before, began  # a state is due if after another such step it would be late
        due = began - self.last + step >= self._wait
        if not now and self.every and (not due or self._busy()):
            return
        self._join()
        busy = time.thread_time()
        tensors, meta = make().pack()
        entries = {**self.about, "key": self.key, "state": json.dumps(meta),
                   "seconds": f"{self.seconds + began - self.began:.3f}"}
        self._writer = threading.Thread(target=self._write, args=(tensors, entries), name="lift123 autosave")
        self._writer.start()
        if now or not self.every:
            self._join()
        self.count += 1
        self.last = self.before = self.clock()
        self.spent += self.last - began
        self.copied += time.thread_time() - busy
        self._pace()

    def files(self) -> list[Path]:
        """The states that are there, oldest first."""
        name = re.compile(rf"{re.escape(self.stem)}_\d{{6}}\.safetensors")  # a person's copy of one is no state
        try:
            return sorted(path for path in self.folder.iterdir() if name.fullmatch(path.name))
        except OSError:  # no folder yet, or one that may not be looked into
            return []

    def close(self) -> Path | None:
        """Waits for the last state to be written; the newest file."""
        self._join()
        return (self.files() or [None])[-1]

    def clear(self) -> None:
        """Removes all states: the computation has come to its end."""
        self._join()
        for path in [*self.files(), *self.folder.glob(f".{self.stem}_*.part")]:
            self._remove(path)

    def _write(self, tensors: dict[str, Tensor], entries: dict[str, str]) -> None:
        began, self.problem = time.thread_time(), None
        try:
            make_folder(self.folder)
            there = self.files()
            number = int(there[-1].stem.rpartition("_")[2]) + 1 if there else 1
            sealed.write(self.folder / f"{self.stem}_{number:06}.safetensors", FILE, tensors, entries)
            sync_folder(self.folder)
            for path in self.files()[:-KEPT]:
                path.unlink(missing_ok=True)
        except OSError as problem:
            self.problem = problem
            self._tell_once(f"autosave not written ({problem.strerror or problem}); the stage goes on without")
        self.written += time.thread_time() - began

    def forget_old(self) -> None:
        """Removes states, of any computation, that nobody has asked for in DAYS, and what a kill left half-written."""
        try:
            limit = time.time() - DAYS * 86400
            for path in [*self.folder.glob("*_[0-9]*.safetensors"), *self.folder.glob(".*.part")]:
                if path.stat().st_mtime < (limit if path.suffix == ".safetensors" else time.time() - 3600):
                    self._remove(path)
        except OSError as problem:
            log.warning("old autosaves could not be looked for: %s", problem)

    def _remove(self, path: Path) -> None:
        try:
            path.unlink(missing_ok=True)
        except OSError as problem:
            log.warning("the autosave %s could not be removed: %s", path.name, problem)

    def _pace(self) -> None:
        """Longer pauses, up to LONGEST, where saving takes more than its share."""
        cost = (self.spent + self.written) / self.count
        self._wait = self.every and min(max(self.every, cost / SHARE), max(self.every, LONGEST))
        if self.every and self.count >= 3 and cost > LOUD * self._wait:
            self._tell_once(f"saving takes {cost:.1f} s every {self._wait:.0f} s")

    def _tell_once(self, text: str) -> None:
        if text.split(" ")[:3] not in [told.split(" ")[:3] for told in self.remarks]:
            log.warning("%s: %s", self.stem, text)
            self.remarks.append(text)

    def _busy(self) -> bool:
        return self._writer is not None and self._writer.is_alive()

    def _join(self) -> None:
        if self._writer is not None:
            self._writer.join()
            self._writer = None


def make_folder(folder: Path) -> None:
    """A folder, and those above it, that outlives a loss of power."""
    absent = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for path in absent:
        sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Makes a rename in ``folder`` outlive a loss of power, where the system has a way to say so."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
