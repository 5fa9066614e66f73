"""Names for new files in ComfyUI's output folder: contained, numbered, and checked before work starts."""

from __future__ import annotations

import errno
import os
import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from ..pipelines.core.errors import InputError
from ..pipelines.io.names import safe_path
from . import claims

DISK = {errno.ENOSPC: "a full disk", errno.EDQUOT: "a used-up quota", errno.EROFS: "a disk that is read-only",
        errno.EIO: "a failing disk", errno.EFBIG: "a file that is too large for the disk"}
FLOOR = 32 << 20  # bytes that have to be free before anything is begun
STAGE_ROOM = 256 << 20  # bytes that a long stage may write: states while it works, a partial scene

LONGEST_NAME, LONGEST_PATH = 200, 1000  # what file systems take, less what is added; bytes and letters


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


def claim(prefix: str, seal: tuple[str, str] | None = None, need: int = 0) -> Slot:
    """The next free slot for ``prefix`` in the output folder, which nobody else gets (``host.claims``).

    seal: (extension, suffix) of the file that is written last: without it, the others are removed in the end.
    need: bytes that will be written.  InputError where the folder cannot be written or has no room.
    """
    import folder_paths

    check_prefix(prefix)
    prefix = safe_path(os.path.normpath(prefix))
    root = folder_paths.get_output_directory()
    check_space(Path(root), need, prefix)
    try:
        last = seal and f"{seal[1]}.{seal[0]}"
        claims.clear(Path(root) / os.path.normpath(prefix), last)
        while True:
            folder, name, counter, subfolder, _ = folder_paths.get_save_image_path(prefix, root)
            slot = Slot(Path(folder), subfolder.replace(os.sep, "/"), f"{name}_{counter:05}_")
            if claims.take(slot.folder, slot.stem, last):
                return slot
    except OSError as problem:
        raise not_writable(prefix, problem) from problem


def check_prefix(prefix: str, name: str = "filename_prefix") -> None:
    """Raises InputError unless the prefix names a place inside the output folder."""
    import folder_paths

    if "\0" in prefix or any("\ud800" <= letter <= "\udfff" for letter in prefix):
        raise InputError(name, "a name that can be written", ascii(prefix[:60]), "Type it again: some letters are broken.")
    if any(len(os.fsencode(part)) > LONGEST_NAME for part in prefix.replace("\\", "/").split("/")) or len(prefix) > LONGEST_PATH:
        raise InputError(name, f"names of at most {LONGEST_NAME} letters", f"{len(prefix)}", "Shorten it.")
    base = os.path.normpath(prefix.replace("\\", "/"))
    output = folder_paths.get_output_directory()
    inside = folder_paths.is_within_directory(output, os.path.join(output, os.path.dirname(base)))
    nameless = not safe_path(prefix) or prefix.rstrip().endswith(("/", "\\"))
    if nameless or os.path.isabs(prefix) or base.startswith("..") or not inside:
        raise InputError(name, "a name inside ComfyUI's output folder", repr(prefix),
                         "Use letters and '/', for example 'lift123/my_object'.")


def inside(root: str, name: str) -> Path | None:
    """The path of something inside a folder by its relative name; None for a name that leaves it or is none."""
    import folder_paths

    path = Path(root) / name
    try:
        path.exists()
        return path if not os.path.isabs(name) and folder_paths.is_within_directory(root, str(path)) else None
    except (OSError, ValueError):  # too long, or with letters that no file system takes
        return None


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
        root = Path(folder_paths.get_output_directory())
        check_writable(root / os.path.dirname(os.path.normpath(prefix)), prefix)
        check_space(root, 0, prefix)
        return True
    except InputError as problem:
        return str(problem)


def check_space(folder: Path, need: int, prefix: str) -> None:
    """Raises InputError unless the disk has room for ``need`` bytes and a little more."""
    while not folder.exists() and folder.parent != folder:
        folder = folder.parent
    try:
        free = shutil.disk_usage(folder).free
    except OSError:  # a file system that does not tell
        return
    if free < need + FLOOR:
        raise InputError("output folder", f"{size(need + FLOOR)} of free space", f"{size(free)} for {prefix!r}",
                         "Free space, or start ComfyUI with --output-directory.")


def check_stage_room(stage: str) -> None:
    """Raises InputError, before any work, where a long stage could not save what it has when it is interrupted."""
    import folder_paths

    check_space(Path(folder_paths.get_output_directory()), STAGE_ROOM, stage)


def size(count: int) -> str:
    """12345678 -> "12 MB"."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"


def disk_problem(problem: BaseException) -> InputError | None:
    """The sentence for a disk that is full, read-only or gone; None for any other error."""
    told = getattr(problem, "errno", None)
    if told is None:  # safetensors tells of the system's errors in words only
        found = re.search(r"os error (\d+)", str(problem)) if "Safetensor" in type(problem).__name__ else None
        told = int(found[1]) if found else None
    if told not in DISK:
        return None
    return InputError("output folder", "a disk that can be written", f"{DISK[told]} ({os.strerror(told)})",
                      "Free space or mend the folder, then queue the graph again: what is finished is kept.")


def not_writable(prefix: str, problem: OSError) -> InputError:
    """The error for an output folder that cannot be written to."""
    return InputError("filename_prefix", "a writable output folder", f"{problem.strerror or problem} for {prefix!r}",
                      "Make the folder writable, free space, or start ComfyUI with --output-directory.")
