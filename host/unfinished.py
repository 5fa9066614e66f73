"""Stages that were ended before their end, by a person or by force: found again when the same graph is queued again."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import torch

from ..pipelines.io import autosave
from ..pipelines.io.fingerprint import fingerprint
from ..pipelines.io.manifest import pack_version

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

        self.stage, self.saves = stage, None
        try:
            key = fingerprint(stage, pack_version(), torch.__version__, inputs)
        except TypeError as problem:
            log.warning("%s keeps no autosave: %s", stage, problem)
            return
        self.saves = autosave.Autosave(Path(folder_paths.get_output_directory()) / FOLDER,
                                       f"{stage.lower().replace(' ', '_')}_{key[:16]}", key, EVERY if every is None else every)
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

    def clear(self) -> None:
        """Removes the states of a run that has come to its end."""
        if self.saves is not None:
            self.saves.clear()
