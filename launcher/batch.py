"""Many pictures through one workflow, one server; finished ones are remembered and skipped."""

import hashlib
import json
import os
import time
from pathlib import Path

from . import graph, jobs
from .settings import Paths
from .terminal import ProgressLine, complain, say

MOST_ENDED = 2  # times that one picture may end the server


class Ledger:
    """``batch.json``: key of (picture bytes, prompt) -> the files that it gave.

    ``batch_started.json`` beside it: key -> servers that ended while they worked on it, the running one included.
    """

    def __init__(self, path: Path):
        self.path, self.started_path = path, path.with_name(f"{path.stem}_started.json")
        self.entries, self.started = _read(path), _read(self.started_path)

    def done(self, key: str) -> bool:
        """Whether this work was done and its files are still there."""
        files = self.entries.get(key)
        return bool(files) and all(Path(file).exists() for file in files)

    def add(self, key: str, files: list) -> None:
        """Records finished work at once."""
        self.entries[key] = [str(file) for file in files]
        _write(self.path, self.entries)

    def ended(self, key: str) -> int:
        """How many servers have ended in this work."""
        return int(self.started.get(key, 0))

    def begin(self, key: str) -> None:
        """Counted before the work: whatever ends the server may end the launcher, too."""
        self.started[key] = self.ended(key) + 1
        _write(self.started_path, self.started)

    def end(self, key: str, before: int = 0) -> None:
        """The server has outlived it; before: the count to go back to."""
        self.started[key] = before
        self.started = {k: count for k, count in self.started.items() if count}
        _write(self.started_path, self.started)


def _read(path: Path) -> dict:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return {}


def _write(path: Path, entries: dict) -> None:
    partial = path.with_suffix(".part")
    with open(partial, "w", encoding="utf-8") as file:
        file.write(json.dumps(entries, indent=1, sort_keys=True) + "\n")
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)


def key_of(picture: Path, prompt: dict, caption: str) -> str:
    """Identifies the work: the same picture under another name is the same work."""
    digest = hashlib.sha256(picture.read_bytes())
    digest.update(json.dumps([prompt, caption], sort_keys=True).encode())
    return digest.hexdigest()


class Batch:
    """Pictures of one command, in their order; those in which a server ended come last.

    make_server: a context manager that starts one; describe: shows the files of a finished picture.
    """

    def __init__(self, paths: Paths, pictures: list, prompt: dict, caption: str, make_server, describe,
                 retry: bool = False):
        self.paths, self.prompt, self.caption = paths, prompt, caption
        self.make_server, self.describe = make_server, describe
        self.ledger = Ledger(paths.home / "batch.json")
        self.keys = {picture: key_of(picture, prompt, caption) for picture in pictures}
        waiting = [p for p in pictures if not self.ledger.done(self.keys[p])]
        if retry:
            for picture in waiting:
                self.ledger.end(self.keys[picture])
        self.todo = sorted(waiting, key=lambda p: self.ledger.ended(self.keys[p]))
        self.total, self.finished, self.failed = len(pictures), len(pictures) - len(waiting), 0

    def run(self) -> int:
        """Runs what is not done yet, in a new server where one has ended; returns how many pictures failed."""
        say(f"{self.total} pictures, {self.finished} already done")
        before = self.finished
        while self._left():
            with self.make_server() as server:
                while self.todo and server.alive():
                    self._one(server, self.todo.pop(0))
        if before < self.total:
            say(f"{self.finished - before} done, {self.failed} failed")
        return self.failed

    def _left(self) -> list:
        """What is still to do.  Pictures that have ended too many servers are left out, with a sentence."""
        for picture in [p for p in self.todo if self.ledger.ended(self.keys[p]) >= MOST_ENDED]:
            self.todo.remove(picture)
            self.failed += 1
            complain(f"{picture.name}: set aside, {MOST_ENDED} servers ended while they worked on it; "
                     "--retry tries it again")
        return self.todo

    def _one(self, server, picture: Path) -> None:
        key, before = self.keys[picture], self.ledger.ended(self.keys[picture])
        say(f"model {self.finished + self.failed + 1} of {self.total}: {picture.name}")
        self.ledger.begin(key)
        try:
            job = graph.with_picture(self.prompt, server.client.upload(picture, "lift123"), self.caption)
            job = graph.with_prefix(job, f"lift123/{graph.folder_name(picture.stem)}")
            clock = time.time()
            entry = jobs.run(server.client, job, ProgressLine(), alive=server.alive)
            jobs.wait_until_settled(self.paths.output, clock)
            files = jobs.saved_files(entry, self.paths.output)
        except KeyboardInterrupt:
            self.ledger.end(key, before)
            raise
        except (jobs.PromptFailed, OSError) as error:
            if _outlived(server):
                self.ledger.end(key)
                self.failed += 1
                complain(f"{picture.name}: {error}")
            else:
                self.todo.append(picture)
                complain(f"{picture.name}: ComfyUI ended while it worked on this one; the others go on")
            return
        self.ledger.end(key)
        self.ledger.add(key, files)
        self.finished += 1
        self.describe(files)


def _outlived(server, seconds: float = 3.0) -> bool:
    """Whether the server still runs; one whose connection has just broken gets a moment to end."""
    end = time.monotonic() + seconds
    while server.alive() and time.monotonic() < end:
        try:
            server.client.get("/prompt", timeout=5)
            return True
        except (OSError, ValueError):
            time.sleep(0.1)
    return server.alive()


def run_batch(paths: Paths, pictures: list, prompt: dict, caption: str, make_server, describe,
              retry: bool = False) -> int:
    """Runs what is not done yet; returns how many pictures failed.  A failure does not stop the others."""
    return Batch(paths, pictures, prompt, caption, make_server, describe, retry).run()
