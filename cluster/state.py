"""What a driver knows of items and workers while a run goes on."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path

from . import results
from .items import Item


@dataclass(frozen=True)
class Finished:
    """What came of an item.  status: "done", "already done", "failed" or "set aside".

    files: paths of a done one; error: why not, otherwise; seconds: of work in the worker; worker: its machine.
    """

    name: str
    shown: str
    status: str
    key: str
    files: list[Path] = field(default_factory=list)
    error: str = ""
    seconds: float = 0.0
    worker: str = ""


@dataclass
class Job:
    """An item that is being worked on."""

    item: Item
    key: str
    header: bytes
    picture: bytes
    place: int
    facts: dict = field(default_factory=dict)
    incoming: results.Incoming | None = None


@dataclass
class Hand:
    """A worker as the driver sees it.  state: "starts", "idle", "works" or "gone"."""

    state: str = "starts"
    host: str = ""
    job: Job | None = None
    since: float = 0.0
    fetching: dict[str, Job] = field(default_factory=dict)
    asking: str = ""  # key of the result that a piece is asked of
    deaths: int = 0
    refused: int = 0


@dataclass
class Counts:
    """Of a run.  began: monotonic seconds; worked: items finished by workers since then."""

    total: int = 0
    done: int = 0
    failed: int = 0
    worked: int = 0
    skipped: int = 0
    began: float = field(default_factory=time.monotonic)
    memory: float = 0.0  # GB, the largest that a worker's server has told
    spent: float = 0.0  # seconds in prepare and in handling events, without waiting

    def left(self, running: int) -> int:
        return self.total - self.done - self.failed - running

    def rate(self) -> float:
        """Items a second since the start."""
        return self.worked / max(time.monotonic() - self.began, 1e-6)
