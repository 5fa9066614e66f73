"""Runs that have begun and not ended: how a picture that ends the server is told from one that waits.

While a batch works on an element, ``<prefix>_started.json`` stands where its result will be.  It goes when the run
ends, whether well or with an error.  One that is found without a living owner is a run in which the server ended.  The
file is created exclusively, so that two servers on one output folder never work on the same element.
"""

from __future__ import annotations

import atexit
import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from ..pipelines.io import plain_json
from . import journal

STARTED = "_started.json"
MOST = 2  # times that one element may end the server


@dataclass(frozen=True)
class Attempt:
    """What a started file says.

    key: what made the run this run; another one begins to count anew.  ended: servers that ended in it before.
    owner: the process that works on it (``journal.who``); prompt: its prompt's id.
    """

    key: str
    ended: int
    owner: dict
    prompt: str


_mine: dict[Path, Attempt] = {}


def path_of(prefix: str) -> Path:
    """Where the run under ``prefix`` says that it has begun."""
    import folder_paths

    return Path(folder_paths.get_output_directory()) / f"{prefix}{STARTED}"


def ended(prefix: str, key: str) -> int:
    """How many servers have ended while they worked on this run; 0 for a run that a living one works on."""
    return _ended(_read(path_of(prefix)), key)


def busy(prefix: str) -> bool:
    """Whether another living server works on this run."""
    return _of_another(_read(path_of(prefix)))


def begin(prefix: str, key: str, prompt: str) -> bool:
    """Notes that the run begins; False where another server has been quicker.  OSError where it cannot be written."""
    path = path_of(prefix)
    path.parent.mkdir(parents=True, exist_ok=True)
    found = _read(path)
    if _of_another(found):
        return False
    attempt = Attempt(key, _ended(found, key), journal.who(), prompt)
    if found is None:
        try:
            journal.write(path, vars(attempt), exclusive=True)
        except FileExistsError:
            return False
    else:  # of a dead server, or of a prompt of ours that has ended
        with _claimed(path, found) as ours:
            if not ours:
                return False
            journal.write(path, vars(attempt))
    _mine[path] = attempt
    return True


def end(prefix: str, prompt: str | None = None) -> bool:
    """The run has come to an end, well or with an error; whether it was one of ours, and still open."""
    return _close(path_of(prefix), prompt, 0)


def withdraw(prefix: str, prompt: str | None = None) -> None:
    """The run was stopped by a person: as if this attempt had not been."""
    path = path_of(prefix)
    _close(path, prompt, _mine[path].ended if path in _mine else 0)


def clear(prefix: str) -> None:
    """Removes what a dead server has left for a run that is known to be done."""
    path = path_of(prefix)
    found = _read(path)
    if found is None or _of_another(found):
        return
    with _claimed(path, found) as ours:
        if ours:
            path.unlink(missing_ok=True)


def _ended(found: Attempt | None, key: str) -> int:
    if found is None or found.key != key:
        return 0
    return found.ended + (not journal.alive(found.owner))


def _of_another(found: Attempt | None) -> bool:
    return found is not None and found.owner != journal.who() and journal.alive(found.owner)


@contextmanager
def _claimed(path: Path, found: Attempt) -> Iterator[bool]:
    """Whether the started file is still ``found``, and nobody else may take its place until this is left.

    What was read may have been replaced since.  So the right to replace one text is a file of its own, named after that
    text, and the text is read again by the one who has it.
    """
    text = json.dumps(vars(found), sort_keys=True)
    claim = path.with_name(f".{path.name}.{hashlib.sha256(text.encode()).hexdigest()[:24]}")
    try:
        journal.write(claim, journal.who(), exclusive=True)
    except FileExistsError:
        if not _claimant_lives(claim):  # it ended within these lines: the next attempt finds the way free
            claim.unlink(missing_ok=True)
        yield False
        return
    try:
        yield _read(path) == found
    finally:
        claim.unlink(missing_ok=True)


def _claimant_lives(claim: Path) -> bool:
    try:
        return journal.alive(plain_json.parse(claim.read_text(encoding="utf-8")))
    except FileNotFoundError:  # done with it just now
        return True
    except (OSError, ValueError):
        return False


def _close(path: Path, prompt: str | None, before: int) -> bool:
    mine = _mine.get(path)
    if mine is None or prompt not in (None, mine.prompt):
        return False
    del _mine[path]
    if before:
        journal.write(path, vars(replace(mine, ended=before - 1, owner={})))
    else:
        path.unlink(missing_ok=True)
    return True


@atexit.register
def _withdraw_all() -> None:
    """A server that is ended in an orderly way was not ended by a picture."""
    for path, attempt in list(_mine.items()):
        try:
            _close(path, None, attempt.ended)
        except OSError:
            pass


def _read(path: Path) -> Attempt | None:
    try:
        data = plain_json.parse(path.read_text(encoding="utf-8"))
        return Attempt(str(data["key"]), int(data["ended"]), dict(data["owner"]), str(data["prompt"]))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError):  # damaged: a server ended while it was written
        return Attempt("", 0, {}, "")
