"""Small files beside results that outlive a server: written whole, and told whose they are."""

from __future__ import annotations

import json
import os
import platform
import uuid
from functools import lru_cache
from pathlib import Path


@lru_cache(maxsize=1)
def who() -> dict:
    """This process, told from others of the same number by the time of its start."""
    import psutil  # ComfyUI needs it, too

    return {"host": platform.node(), "pid": os.getpid(), "since": round(psutil.Process().create_time(), 1)}


def alive(owner: dict) -> bool:
    """Whether a process that ``who`` named still runs on this machine."""
    import psutil

    if owner.get("host") != platform.node():
        return False
    try:
        process = psutil.Process(int(owner["pid"]))
        return abs(process.create_time() - owner["since"]) < 2 and process.status() != psutil.STATUS_ZOMBIE
    except (psutil.Error, KeyError, TypeError, ValueError):
        return False


def write(path: Path, data: dict, exclusive: bool = False) -> None:
    """Whole or not at all, and on the disk when it returns; exclusive: FileExistsError where one stands."""
    fresh = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        with open(fresh, "x", encoding="utf-8") as file:
            json.dump(data, file)
            file.flush()
            os.fsync(file.fileno())
        if exclusive:
            link(fresh, path)
        else:
            os.replace(fresh, path)
    finally:
        fresh.unlink(missing_ok=True)


def link(fresh: Path, path: Path) -> None:
    """Gives a file a name that nobody has; FileExistsError."""
    try:
        os.link(fresh, path)
    except FileExistsError:
        raise
    except OSError as problem:  # a file system without links
        if path.exists():
            raise FileExistsError(path) from problem
        os.replace(fresh, path)
