"""Stages that were ended before their end, by a person or by force: found again when the same graph is queued again.

So are stages that had come to their end, while a later one of the same prompt has not (``host.finished``).
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from pathlib import Path

import torch

from ..pipelines.io import autosave
from ..pipelines.io.fingerprint import fingerprint
from ..pipelines.io.manifest import pack_version
from . import endings, finished

log = logging.getLogger(__name__)
FOLDER = "lift123/unfinished"  # below ComfyUI's output folder, beside the partial scenes: its temp folder is emptied at a start
EVERY = autosave.EVERY  # seconds of work between two states


class Shelf:
    """Where one run of a stage keeps its state while it works.

    stage:  its name, also the files'.
    inputs: all that changes the result (``io.fingerprint``: networks by their ``identity``); other inputs make another
            run.  Where one of them cannot be told from another, nothing is kept.
    every:  seconds between two states; None = EVERY.
    """

    def __init__(self, stage: str, *inputs, every: float | None = None):
        import folder_paths

        self.stage, self.saves, self.taken = stage, None, False
        self._writer: threading.Thread | None = None
        try:
            key = fingerprint(stage, pack_version(), torch.__version__, inputs)
        except TypeError as problem:
            log.warning("%s keeps no autosave: %s", stage, problem)
            return
        folder, stem = Path(folder_paths.get_output_directory()) / FOLDER, f"{stage.lower().replace(' ', '_')}_{key[:16]}"
        self.saves = autosave.Autosave(folder, stem, key, EVERY if every is None else every)
        self.result = finished.Finished(folder, stem, key, self.saves.remarks)
        self.saves.forget_old()

    @property
    def remarks(self) -> list[str]:
        """Sentences for the node: where it went on, files that were damaged or could not be written."""
        return [] if self.saves is None else self.saves.remarks

    @property
    def seconds(self) -> float:
        """Of work that earlier attempts have done."""
        return 0.0 if self.saves is None else self.saves.seconds

    @property
    def problem(self) -> OSError | None:
        """Why the last state could not be written, or None."""
        return None if self.saves is None else self.saves.problem

    def find(self, unpack: Callable):
        """The state that an earlier attempt at the same run has left, or None; unpack: of the state's type."""
        return None if self.saves is None else self.saves.find(unpack)

    def keep(self, make: Callable, now: bool = False) -> None:
        """The stage's ``autosave``."""
        if self.saves is not None:
            self.saves(make, now)

    def left(self) -> str | None:
        """The newest state's path relative to ComfyUI's output folder, once it is written; None if there is none."""
        path = None if self.saves is None else self.saves.close()
        return None if path is None else f"{FOLDER}/{path.name}"

    def finished(self, unpack: Callable):
        """What this run gave in an earlier attempt at its prompt, or None; unpack: of the result's type."""
        found = None if self.saves is None else self.result.find(unpack)
        if found is not None:
            self.taken = True
            self.end(found)
        return found

    def end(self, result=None) -> None:
        """The run has come to its end: nothing of it stays, once its prompt has ended well.

        result: until then kept in place of its states, if it has ``pack``; None: of a run that was finished early, whose
        states stay until then.
        """
        if self.saves is None:
            return
        if not endings.when_well(self.clear):
            self.clear()
        elif hasattr(result, "pack"):
            self._writer = threading.Thread(target=self._finish, args=result.pack(), name="lift123 finished stage")
            self._writer.start()

    def clear(self) -> None:
        """Removes what is kept of a run."""
        if self._writer is not None:
            self._writer.join()
            self._writer = None
        if self.saves is not None:
            self.saves.clear()
            self.result.release()

    def _finish(self, tensors: dict[str, torch.Tensor], told: dict) -> None:
        if self.result.write(tensors, told) and self.saves is not None:
            self.saves.clear()
