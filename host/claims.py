"""Names in the output folder that are taken before their files are there: two servers never write the same one.

While a node works, ``<stem>.claim`` stands for the files to come.  It is created exclusively, counts for ComfyUI's
numbering as a file of that number, and is removed when the node ends, well or with an error.  One that is left was its
server's end.
"""

from __future__ import annotations

import contextlib
import os
import re
import uuid
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path

from ..pipelines.io import plain_json
from . import journal

CLAIM = ".claim"
OWN = re.compile(r"[a-z]*(\.[a-z0-9]+)+")  # "sheet.png", ".glb", ".glb.partial"


@dataclass(frozen=True)
class Claim:
    """A taken name.

    path: the claim's file; seal: how the name of the file ends that is written last; made_folder: its folder was empty.
    """

    path: Path
    seal: str | None
    made_folder: bool

    @property
    def stem(self) -> str:
        return self.path.name.removesuffix(CLAIM)

    def sweep(self) -> None:
        """Removes files under this name, unless the last of them is there or it needs none."""
        if self.seal is not None and not self.path.with_name(self.stem + self.seal).exists():
            for file in self.path.parent.glob(f"{glob_name(self.stem)}*"):
                if OWN.fullmatch(file.name[len(self.stem) :]):  # not of a run that is called "<stem>something"
                    file.unlink(missing_ok=True)


_held: ContextVar[list[Claim] | None] = ContextVar("lift123_claims", default=None)


@contextlib.contextmanager
def held():
    """Names that are taken inside are free again at the end: by then their files are there, or will never be."""
    taken: list[Claim] = []
    token = _held.set(taken)
    try:
        yield
    finally:
        _held.reset(token)
        for claim in taken:
            release(claim)


def take(folder: Path, stem: str, seal: str | None = None) -> bool:
    """Takes a name; False where somebody has it.  OSError where nobody can.

    Outside of ``held`` it is only looked whether the name is free.
    """
    claim = Claim(folder / f"{stem}{CLAIM}", seal, not any(folder.iterdir()))
    try:
        journal.write(claim.path, journal.who(), exclusive=True)
    except FileExistsError:
        return False
    taken = _held.get()
    free = [p.name for p in folder.iterdir() if p.name.startswith(stem)] == [claim.path.name]  # its owner was quick
    if taken is not None and free:
        taken.append(claim)
    else:
        release(Claim(claim.path, None, False))
    return free


def release(claim: Claim) -> None:
    """Frees a name; what is unfinished under it goes, and its folder if it was and is empty.  Never raises."""
    with contextlib.suppress(OSError):
        claim.sweep()
        claim.path.unlink(missing_ok=True)
        if claim.made_folder:
            claim.path.parent.rmdir()  # refuses a folder with anything in it


def clear(prefix: Path, seal: str | None) -> None:
    """Removes claims of dead servers on ``<prefix>_<number>_``; with ``seal``, unsealed files under those names, too.

    prefix: path without number; seal: how the name of the file ends that is written last.
    """
    for path in prefix.parent.glob(f"{glob_name(prefix.name)}_[0-9]*_{CLAIM}") if prefix.parent.is_dir() else ():
        owner = _owner(path)
        if owner is None or journal.alive(owner):
            continue
        old = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
        with contextlib.suppress(FileNotFoundError):  # another server is clearing, too
            os.rename(path, old)
            Claim(path, seal, False).sweep()
            old.unlink(missing_ok=True)


def glob_name(name: str) -> str:
    """A name with what means something in a pattern made harmless."""
    return "".join(f"[{c}]" if c in "*?[" else c for c in name)


def _owner(path: Path) -> dict | None:
    """Who has taken a name; {} for a damaged file (its server ended while it wrote), None for one that is gone."""
    try:
        return dict(plain_json.parse(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError):
        return {}
