"""Workers, here or on a cluster, behind one small interface.

A pool has numbered workers.  ``ask`` begins a call, ``wait`` returns what has ended: events with the worker's number,
the call's name and its answer, or ``died`` with a reason.  One ``run`` at a time and worker; nothing else is queued, so
10,000 items do not sit in memory, and the item that a dead worker worked on is known.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor
from concurrent.futures import wait as wait_for
from dataclasses import dataclass
from pathlib import Path

from ..launcher.settings import LaunchError
from . import bootstrap, placement

NODE_GONE = re.compile(r"(?i)node (has |was |is )?(died|dead|terminated|removed|preempted)")
CONTROL = {"concurrency_group": "control"}  # answered while an item runs
HOW = {"prepare": {"max_task_retries": 5}, "run": {"max_task_retries": 0}, "piece": CONTROL, "forget": CONTROL,
       "close": CONTROL}  # only "prepare" may be repeated by Ray: of everything else the driver wants to know
POLITE = 20.0  # seconds for workers to interrupt what they do when a person stops the run


@dataclass
class Event:
    """call: "prepare", "run", "piece" or "forget"; data: its answer; died: why the worker has ended, "" if it lives.

    preempted: its machine has gone, so that what it worked on is not to blame.
    """

    worker: int
    call: str
    data: bytes = b""
    died: str = ""
    preempted: bool = False


class LocalPool:
    """One worker in this process, in a thread of its own."""

    def __init__(self, settings: dict, root: Path, home: Path):
        from .worker import make

        self._make: Callable = lambda: make(settings, root, home)
        self._worker = None
        self._threads = ThreadPoolExecutor(2)
        self._calls: dict[Future, str] = {}
        self.place = "this process"

    def start(self) -> list[int]:
        """Begins workers; their numbers."""
        self._worker = self._make()
        return [0]

    def more(self) -> list[int]:
        """Numbers of workers for which room has come up since."""
        return []

    def renew(self, worker: int) -> None:
        """Another try at a worker that can't be restarted."""

    def ask(self, worker: int, call: str, *arguments) -> None:
        """Begins a call."""
        self._calls[self._threads.submit(getattr(self._worker, call), *arguments)] = call

    def wait(self, seconds: float) -> list[Event]:
        """Calls that have ended, after ``seconds`` at most."""
        ready, _ = wait_for(list(self._calls), seconds, FIRST_COMPLETED)
        return [Event(0, self._calls.pop(future), future.result()) for future in ready]

    def close(self) -> None:
        """Ends the worker."""
        if self._worker is not None:
            self._worker.close()
        self._threads.shutdown(wait=True, cancel_futures=True)


class RayPool:
    """Actors of Ray (``connect``).  Ray restarts them where they die; ``sizes`` says what each takes."""

    def __init__(self, ray, settings: dict, sizes: placement.Sizes, workers: int | None):
        self.ray = ray
        self.sizes, self.wanted = sizes, workers
        self._settings = json.dumps(settings)
        self._actors: dict[int, object] = {}
        self._nodes: dict[int, str] = {}
        self._calls: dict[object, tuple[int, str]] = {}
        self._looked = time.monotonic()
        nodes = [node for node in self.ray.nodes() if node["Alive"]]
        self.place = f"{len(nodes)} machine{'s' * (len(nodes) != 1)} of Ray"
        self._class = self._remote_class()

    def start(self) -> list[int]:
        """As many actors as were asked for, or as there is room for; LaunchError where there is none."""
        count = self.wanted or placement.room(self.ray.nodes(), self.sizes)
        if not count:
            raise LaunchError(f"no machine of the cluster has room for a worker of {self.sizes}; ask for less with "
                              "--gpus-per-worker, --cpus-per-worker, --memory-per-worker")
        return [self._begin() for _ in range(count)]

    def more(self) -> list[int]:
        """New workers where machines have joined since; only without a fixed number."""
        if self.wanted or time.monotonic() - self._looked < 10:
            return []
        self._looked = time.monotonic()
        room = placement.room(self.ray.nodes(), self.sizes)
        return [self._begin() for _ in range(max(0, room - len(self._actors)))]

    def renew(self, worker: int) -> None:
        """A new actor in the place of one that Ray has given up."""
        with contextlib.suppress(Exception):
            self.ray.kill(self._actors[worker])
        self._actors[worker] = self._class.remote(self._settings)

    def ask(self, worker: int, call: str, *arguments) -> None:
        """Begins a call; large arguments go through the object store and leave it with the call."""
        reference = getattr(self._actors[worker], call).options(**HOW[call]).remote(*arguments)
        self._calls[reference] = (worker, call)

    def wait(self, seconds: float) -> list[Event]:
        """Calls that have ended, after ``seconds`` at most."""
        waiting = list(self._calls)
        if not waiting:
            time.sleep(min(seconds, 0.2))
            return []
        ready, _ = self.ray.wait(waiting, num_returns=1, timeout=seconds)
        if ready:
            ready, _ = self.ray.wait(waiting, num_returns=len(waiting), timeout=0)
        return [self._ended(reference) for reference in ready]

    def close(self) -> None:
        """Asks all workers to interrupt what they do, then ends them and the connection."""
        with contextlib.suppress(Exception):  # whatever is left of a cluster that is going away
            asked = [actor.close.options(**HOW["close"]).remote() for actor in self._actors.values()]  # type: ignore[attr-defined]
            if asked:
                self.ray.wait(asked, num_returns=len(asked), timeout=POLITE)
        for actor in self._actors.values():
            with contextlib.suppress(Exception):
                self.ray.kill(actor)
        self.ray.shutdown()

    def _remote_class(self):
        from ray import cloudpickle

        cloudpickle.register_pickle_by_value(bootstrap)
        made = self.ray.remote(max_restarts=-1, max_task_retries=0, max_concurrency=1, concurrency_groups={"control": 2},
                               **self.sizes.options())
        return made(bootstrap.Lift123Worker)

    def _begin(self) -> int:
        number = len(self._actors)
        self._actors[number] = self._class.remote(self._settings)
        return number

    def _ended(self, reference) -> Event:
        worker, call = self._calls.pop(reference)
        try:
            return Event(worker, call, self.ray.get(reference))
        except self.ray.exceptions.RayError as problem:  # the actor, its machine, or the way there
            why = " ".join(str(problem).split()) or type(problem).__name__
            return Event(worker, call, died=why[:300], preempted=bool(NODE_GONE.search(why)))


def connect(address: str, workers: int | None, cpus: float):
    """Ray, connected; LaunchError that says what to do where that fails.

    address: "auto" (the cluster that this machine is part of, else one of its own), "local", or "ray://host:port".
    workers, cpus: of a cluster of this machine's own, and for each of them.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is reported to anybody
    try:
        import ray
    except ImportError:
        raise LaunchError("Ray is not installed: pip install 'lift123[cluster]', or use launch.py batch --cluster") from None
    if ray.is_initialized():
        return ray
    quiet = {"logging_level": "ERROR", "log_to_driver": False, "ignore_reinit_error": True}
    try:
        if address == "auto":
            with contextlib.suppress(ConnectionError):
                ray.init(address="auto", **quiet)
                return ray
        if address in ("auto", "local"):
            ray.init(address="local", include_dashboard=False, _node_ip_address="127.0.0.1", _temp_dir=_sockets(),
                     **placement.of_this_machine(workers, cpus), **quiet)
        else:
            ray.init(address=address, **quiet)
        return ray
    except (ConnectionError, RuntimeError, ValueError, OSError, TimeoutError) as problem:
        raise LaunchError(f"no Ray cluster at {address}: {problem}. Start one with 'ray start --head' (docs/cluster.md), "
                          "or use --workers alone for this machine") from None


def _sockets() -> str | None:
    """A short folder for Ray's sockets (their names have a limit of 107 letters); None: Ray's own choice."""
    return None if len(tempfile.gettempdir()) < 20 else "/tmp/ray" if os.name != "nt" else None
