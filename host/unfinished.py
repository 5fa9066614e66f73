"""Stages that were ended before their end, by a person or by force: found again when the same graph is queued again.

So are stages that had come to their end, while a later one of the same prompt has not (``host.finished``).
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import TypeVar

import torch
from comfy_execution.utils import get_executing_context

from ..pipelines.core.errors import InputError
from ..pipelines.io import autosave, sealed
from ..pipelines.io.fingerprint import fingerprint
from ..pipelines.io.manifest import pack_version
from . import endings, finished

log = logging.getLogger(__name__)
FOLDER = "lift123/unfinished"  # below ComfyUI's output folder, beside the partial scenes: its temp folder is emptied at a start
EVERY = autosave.EVERY  # seconds of work between two states
Found = TypeVar("Found")
NAMED = 4  # inputs that a sentence lists


def parts(inputs: dict) -> dict[str, str]:
    """A fingerprint of each input by name; of settings (dataclasses without an ``identity``) of each field.  TypeError."""
    found = {}
    for name, value in inputs.items():
        if is_dataclass(value) and not callable(getattr(value, "identity", None)):
            found[name] = fingerprint(type(value).__name__)
            found |= {f"{name}.{field.name}": fingerprint(getattr(value, field.name)) for field in fields(value)}
        else:
            found[name] = fingerprint(value)
    return found


class Shelf:
    """Where one run of a stage keeps its state while it works.

    stage:  its name, also the files'.
    inputs: all that changes the result, by name (``io.fingerprint``: networks by their ``identity``); other inputs make
            another run.  Where one of them cannot be told from another, nothing is kept.
    every:  seconds between two states; None = EVERY.
    """

    def __init__(self, stage: str, *, every: float | None = None, **inputs):
        import folder_paths

        self.stage, self.saves, self.taken = stage, None, False
        self._writer: threading.Thread | None = None
        try:
            self.parts = parts({"Lift123's version": pack_version(), "torch's version": torch.__version__, **inputs})
            key = fingerprint(stage, self.parts)
        except TypeError as problem:
            log.warning("%s keeps no autosave: %s", stage, problem)
            return
        folder, stem = Path(folder_paths.get_output_directory()) / FOLDER, f"{stage.lower().replace(' ', '_')}_{key[:16]}"
        context = get_executing_context()
        self.node = "" if context is None else context.node_id
        about = {"parts": json.dumps(self.parts), "node": self.node}
        self.saves = autosave.Autosave(folder, stem, key, EVERY if every is None else every, about=about)
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
        if self.saves is None:
            return None
        found = self.saves.find(unpack)
        if found is None and not self.saves.remarks and (changed := self.changed()):
            self.saves.remarks.append(f"begun anew: {changed} changed since the attempt that was not finished")
        return found

    def changed(self) -> str:
        """Which inputs differ from the unfinished attempt of the same node that is most like this one; "" without one."""
        assert self.saves is not None
        found = []
        for path in self.saves.folder.glob(f"{self.stage.lower().replace(' ', '_')}_*_[0-9]*.safetensors"):
            try:
                meta = sealed.header(path, autosave.FILE)
                if meta.get("node") == self.node and meta["key"] != self.saves.key:
                    before = json.loads(meta["parts"])
                    found.append([name for name in {**self.parts, **before} if self.parts.get(name) != before.get(name)])
            except (InputError, KeyError, ValueError):  # of an older version, or damaged: its own run will say so
                continue
        names = min(found, key=len, default=[])
        return ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")

    def keep(self, make: Callable, now: bool = False) -> None:
        """The stage's ``autosave``."""
        if self.saves is not None:
            self.saves(make, now)

    def left(self) -> str | None:
        """The newest state's path relative to ComfyUI's output folder, once it is written; None if there is none."""
        path = None if self.saves is None else self.saves.close()
        return None if path is None else f"{FOLDER}/{path.name}"

    def finished(self, unpack: Callable[..., Found]) -> Found | None:
        """What this run gave in an earlier attempt at its prompt, or None; unpack: of the result's type."""
        found = None if self.saves is None else self.result.find(unpack)
        if found is not None:
            self.taken = True
            self.end(found)
        return found

    def end(self, result: object = None) -> None:
        """The run has come to its end: nothing of it stays, once its prompt has ended well.

        result: until then kept in place of its states, if it has ``pack``; None: of a run that was finished early, whose
        states stay until then.
        """
        if self.saves is None:
            return
        if not endings.when_well(self.clear):
            self.clear()
        elif (pack := getattr(result, "pack", None)) is not None:
            self._writer = threading.Thread(target=self._finish, args=pack(), name="lift123 finished stage")
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
