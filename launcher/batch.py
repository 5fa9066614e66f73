"""Many pictures through one workflow, one server; finished ones are remembered and skipped."""

import hashlib
import json
import os
from pathlib import Path

from . import graph, jobs
from .settings import Paths
from .terminal import ProgressLine, complain, say


class Ledger:
    """``batch.json``: key of (picture bytes, prompt) -> the files that it gave."""

    def __init__(self, path: Path):
        self.path = path
        try:
            self.entries = dict(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            self.entries = {}

    def done(self, key: str) -> bool:
        """Whether this work was done and its files are still there."""
        files = self.entries.get(key)
        return bool(files) and all(Path(file).exists() for file in files)

    def add(self, key: str, files: list) -> None:
        """Records finished work at once."""
        self.entries[key] = [str(file) for file in files]
        partial = self.path.with_suffix(".part")
        partial.write_text(json.dumps(self.entries, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        os.replace(partial, self.path)


def key_of(picture: Path, prompt: dict, caption: str) -> str:
    """Identifies the work: the same picture under another name is the same work."""
    digest = hashlib.sha256(picture.read_bytes())
    digest.update(json.dumps([prompt, caption], sort_keys=True).encode())
    return digest.hexdigest()


def run_batch(paths: Paths, pictures: list, prompt: dict, caption: str, make_server, describe) -> int:
    """Runs what is not done yet; returns how many pictures failed.  A failure does not stop the others."""
    ledger = Ledger(paths.home / "batch.json")
    todo = [picture for picture in pictures if not ledger.done(key_of(picture, prompt, caption))]
    say(f"{len(pictures)} pictures, {len(pictures) - len(todo)} already done")
    if not todo:
        return 0
    failed = 0
    with make_server() as server:
        for index, picture in enumerate(todo):
            say(f"[{index + 1}/{len(todo)}] {picture.name}")
            try:
                job = graph.with_picture(prompt, server.client.upload(picture, "lift123"), caption)
                job = graph.with_prefix(job, f"lift123/{picture.stem}")
                entry = jobs.run(server.client, job, ProgressLine(), alive=server.alive)
            except jobs.PromptFailed as error:
                if not server.alive():
                    raise
                complain(f"{picture.name}: {error}")
                failed += 1
                continue
            files = jobs.saved_files(entry, paths.output)
            ledger.add(key_of(picture, prompt, caption), files)
            describe(files)
    say(f"{len(todo) - failed} done, {failed} failed")
    return failed
