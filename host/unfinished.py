"""Samplers that were interrupted or failed: one file per run, found again when the same graph is queued again."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path

from ..pipelines.core.errors import InputError
from .outputs import Slot, check_writable

log = logging.getLogger(__name__)
FOLDER = "lift123/unfinished"  # below ComfyUI's output folder, beside the partial scenes: its temp folder is emptied at a start
AGAIN = "queueing the same graph again"


class Shelf:
    """Where one run of a stage keeps what it has not finished.

    stage: its name, also the file's; network: the ``specs.Network`` that draws, another one makes another run.
    """

    def __init__(self, stage: str, network):
        self.stage, self.network, self.key = stage, network.identity(), ""

    def find(self, key: str):
        """What an earlier attempt at the run ``key`` has left (``stages.unfinished.Unfinished``), or None."""
        from ..pipelines.stages.characters.unfinished import Unfinished

        self.key = key
        path = self._slot().path("safetensors")
        if not path.is_file():
            return None
        try:
            return Unfinished.load(path)
        except InputError as problem:  # a damaged file must not stand in the way of the run that replaces it
            log.warning("%s begins anew: %s", self.stage, problem)
            return None

    def slot(self) -> Slot:
        """The run's file, in a folder that can be written; InputError where it cannot."""
        slot = self._slot()
        slot.folder.mkdir(parents=True, exist_ok=True)
        check_writable(slot.folder, FOLDER)
        return slot

    def clear(self) -> None:
        """Removes the file of a run that has come to its end."""
        if self.key:
            self._slot().path("safetensors").unlink(missing_ok=True)

    def _slot(self) -> Slot:
        import folder_paths

        name = hashlib.sha256(f"{self.key} {self.network}".encode()).hexdigest()[:16]
        return Slot(Path(folder_paths.get_output_directory()) / FOLDER, FOLDER, f"{self.stage.lower().replace(' ', '_')}_{name}")
