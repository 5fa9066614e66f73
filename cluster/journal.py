"""A run's journal: one JSON line per event, appended and on the disk before what it announces begins.

    {"e": "begin", "epoch": 2, "total": 24, ...}      a driver takes the run
    {"e": "sent", "k": KEY, "n": "teapot", "w": 0}    an item goes to a worker
    {"e": "done" | "failed" | "lost" | "aside" | "withdrawn", "k": KEY, ...}
    {"e": "retry", "k": KEY}                          a person wants it tried again
    {"e": "end", "why": "..."}

The driver of an epoch is the one that created its file ``.driver-<epoch>``; whoever creates the next one takes over.
"""

from __future__ import annotations

import json
import os
import platform
import time
from collections import Counter
from pathlib import Path

from ..launcher import guard
from ..launcher.settings import LaunchError

FILE = "cluster.jsonl"
SILENT = 60.0  # seconds without a sign of life after which a driver on another machine counts as gone
BEAT = 10.0  # seconds between signs of life


def read(path: Path) -> list[dict]:
    """The events; a line that was cut short by the driver's end is left out."""
    try:
        lines = path.read_bytes().splitlines()
    except FileNotFoundError:
        return []
    events = []
    for line in lines:
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if isinstance(event, dict):
            events.append(event)
    return events


class Journal:
    """Of one run.  lost: key -> workers that ended in it and count; aside: keys that are left out; open: handed out, no end.

    Raises LaunchError where a living driver has the run, unless ``take_over``.
    """

    def __init__(self, folder: Path, total: int, take_over: bool = False):
        self.folder, self.path = folder, folder / FILE
        folder.mkdir(parents=True, exist_ok=True)
        self.epoch = self._claim(take_over)
        self.lost, self.aside, self.open = Counter[str](), set[str](), set[str]()
        for event in read(self.path):
            self._take(event)
        self._beaten = time.monotonic()
        self._waiting: list[str] = []
        torn = self.path.exists() and not self.path.read_bytes().endswith(b"\n") and self.path.stat().st_size
        self._file = open(self.path, "ab")
        if torn:  # the last driver ended in the middle of a line
            self._file.write(b"\n")
        self.add("begin", epoch=self.epoch, total=total, host=platform.node(), pid=os.getpid())
        self.commit()

    def add(self, kind: str, **more) -> None:
        """Notes an event; on the disk after ``commit``."""
        event = {"e": kind, **more}
        self._take(event)
        self._waiting.append(json.dumps({**event, "t": round(time.time(), 3)}))

    def commit(self) -> None:
        """Everything noted is on the disk when this returns."""
        if self._waiting:
            self._file.write("".join(line + "\n" for line in self._waiting).encode())
            self._file.flush()
            os.fsync(self._file.fileno())
            self._waiting.clear()

    def beat(self) -> None:
        """A sign of life, every few seconds; LaunchError once another driver has taken the run over."""
        if time.monotonic() - self._beaten < BEAT:
            return
        self._beaten = time.monotonic()
        if not self.held():
            raise LaunchError("another driver has taken this run over; what it does not have yet is in its hands")
        os.utime(self._driver(self.epoch))

    def held(self) -> bool:
        """Whether the run is still this driver's: no other one has taken it over."""
        return not self._driver(self.epoch + 1).exists()

    def close(self, why: str) -> None:
        """The last line; the run is free for the next driver."""
        self.add("end", why=why)
        self.commit()
        self._file.close()
        self._driver(self.epoch).write_text("{}", encoding="utf-8")

    def _take(self, event: dict) -> None:
        key = event.get("k", "")
        if event.get("e") == "sent":
            self.open.add(key)
        elif event.get("e") in ("done", "failed", "aside"):
            self.open.discard(key)
        if event.get("e") == "lost" and event.get("counts"):
            self.lost[key] += 1
        elif event.get("e") == "aside":
            self.aside.add(key)
        elif event.get("e") in ("retry", "done", "failed"):
            self.lost.pop(key, None)
            self.aside.discard(key)

    def _driver(self, epoch: int) -> Path:
        return self.folder / f".driver-{epoch:06d}"

    def _claim(self, take_over: bool) -> int:
        found = sorted(self.folder.glob(".driver-*"))
        last = int(found[-1].name.rpartition("-")[2]) if found else 0
        if found and not take_over and (who := living(found[-1])):
            raise LaunchError(f"{who} works on this run ({self.folder}); stop it first, or add --take-over")
        me = {"host": platform.node(), "pid": os.getpid(), "born": guard.birth(os.getpid())}
        try:
            with open(self._driver(last + 1), "x", encoding="utf-8") as file:
                file.write(json.dumps(me))
        except FileExistsError:
            raise LaunchError("another driver has just taken this run") from None
        for old in found[:-1]:
            old.unlink(missing_ok=True)
        return last + 1


def living(file: Path) -> str:
    """Who stands behind a driver's file, in words; "" where nobody does any more."""
    try:
        text, age = file.read_text(encoding="utf-8"), time.time() - file.stat().st_mtime
        owner = json.loads(text or "{}")
    except (OSError, ValueError):
        return ""
    if not owner:
        return "" if text or age > BEAT else "a driver that has just begun"
    if owner["host"] != platform.node():
        return f"process {owner['pid']} on {owner['host']}" if age < SILENT else ""
    pid = int(owner["pid"])
    same = pid != os.getpid() and os.name != "nt" and guard.alive(pid) and guard.birth(pid) == owner["born"]
    return f"process {pid}" if same or (os.name == "nt" and age < SILENT) else ""
