"""Names for new files in ComfyUI's output folder: contained, numbered, and checked before work starts."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from ..pipelines.core.errors import InputError


@dataclass(frozen=True)
class Slot:
    """One numbered slot for files that belong together.

    folder: absolute; subfolder: relative to the output folder; stem: "<prefix>_00001_" as core numbers files.
    """

    folder: Path
    subfolder: str
    stem: str

    def path(self, extension: str, suffix: str = "") -> Path:
        return self.folder / f"{self.stem}{suffix}.{extension}"

    def relative(self, extension: str, suffix: str = "") -> str:
        return (Path(self.subfolder) / self.path(extension, suffix).name).as_posix()

    def result(self, extension: str, suffix: str = "") -> dict:
        """The file as ComfyUI's ``ui`` results and ``/view`` name it (plain JSON)."""
        return {"filename": self.path(extension, suffix).name, "subfolder": self.subfolder, "type": "output"}


def claim(prefix: str) -> Slot:
    """The next free slot for ``prefix`` in the output folder; raises InputError if it cannot be written."""
    import folder_paths

    check_prefix(prefix)
    try:
        folder, name, counter, subfolder, _ = folder_paths.get_save_image_path(
            prefix, folder_paths.get_output_directory())
    except OSError as problem:
        raise not_writable(prefix, problem) from problem
    slot = Slot(Path(folder), subfolder.replace(os.sep, "/"), f"{name}_{counter:05}_")
    check_writable(slot.folder, prefix)
    return slot


def check_prefix(prefix: str, name: str = "filename_prefix") -> None:
    """Raises InputError unless the prefix names a place inside the output folder."""
    import folder_paths

    base = os.path.normpath(prefix)
    output = folder_paths.get_output_directory()
    inside = folder_paths.is_within_directory(output, os.path.join(output, os.path.dirname(base)))
    nameless = not prefix.strip() or prefix.endswith(("/", "\\"))
    if nameless or os.path.isabs(prefix) or base.startswith("..") or not inside:
        raise InputError(name, "a name inside ComfyUI's output folder", repr(prefix),
                         "Use letters and '/', for example 'lift123/my_object'.")


def check_writable(folder: Path, prefix: str) -> None:
    """Raises InputError unless a file can be made in ``folder`` or its nearest existing parent."""
    while not folder.exists() and folder.parent != folder:
        folder = folder.parent
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as problem:
        raise not_writable(prefix, problem) from problem


def check_before_work(prefix: str) -> bool | str:
    """For ``validate_inputs``: True, or the sentence that stops the queue before anything runs."""
    import folder_paths

    try:
        check_prefix(prefix)
        check_writable(Path(folder_paths.get_output_directory()) / os.path.dirname(os.path.normpath(prefix)), prefix)
        return True
    except InputError as problem:
        return str(problem)


def not_writable(prefix: str, problem: OSError) -> InputError:
    """The error for an output folder that cannot be written to."""
    return InputError("filename_prefix", "a writable output folder", f"{problem.strerror or problem} for {prefix!r}",
                      "Make the folder writable, free space, or start ComfyUI with --output-directory.")
