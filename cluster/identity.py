"""What a machine runs: the pack's code, its commit, the network files of a graph.  All workers must agree."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from pathlib import Path

from .results import described

CODE = ("nodes", "host", "pipelines", "launcher", "cluster")
LARGE = 2**20  # bytes; smaller files are hashed each time


def code(root: Path) -> str:
    """SHA-256 over the pack's sources and the list of its embedded networks' checksums."""
    files = [p for room in CODE for p in (root / room).rglob("*.py")] + [root / "__init__.py"]
    files += (root / "pipelines" / "embedded").glob("*.json")
    digest = hashlib.sha256()
    for path in sorted(files, key=lambda p: p.relative_to(root).as_posix()):
        digest.update(path.relative_to(root).as_posix().encode() + b"\0")
        digest.update(path.read_bytes().replace(b"\r\n", b"\n") + b"\0")
    return digest.hexdigest()


def commit(root: Path) -> str:
    """The commit that is checked out, "" where it can't be told; for people, ``code`` decides."""
    try:
        done = subprocess.run(["git", "-C", str(root), "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True,
                              timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip()


def weights(models: Path, names: list[str], cache: Path) -> dict[str, str]:
    """"folder/file" -> SHA-256 of every file below ``models`` that a graph may mean with one of ``names``.

    cache: a JSON file; large files are read again only where size or time of change differ.
    """
    found = {}
    for name in names:
        parts = [part for part in name.replace("\\", "/").split("/") if part not in ("", ".")]
        if not parts or ".." in parts:
            continue
        for folder in sorted(models.iterdir()) if models.is_dir() else []:
            path = folder.joinpath(*parts)
            if path.is_file():
                found["/".join([folder.name, *parts])] = _hash(path, cache)
    return found


def _hash(path: Path, cache: Path) -> str:
    stat = path.stat()
    mark = f"{path.resolve()} {stat.st_size} {stat.st_mtime_ns}"
    try:
        known = dict(json.loads(cache.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        known = {}
    if stat.st_size < LARGE or mark not in known:
        known[mark] = described(path)["sha256"]
        if stat.st_size >= LARGE:
            cache.parent.mkdir(parents=True, exist_ok=True)
            partial = cache.with_suffix(f".{os.getpid()}.part")
            partial.write_text(json.dumps(known), encoding="utf-8")
            os.replace(partial, cache)
    return known[mark]


def difference(mine: dict, other: dict) -> str:
    """Why a worker can't take part, in words; "" where code and weights are the same."""
    if mine["code"] != other["code"]:
        return (f"it runs other code ({other['commit'] or 'unknown commit'}, here {mine['commit'] or 'unknown commit'}): "
                "bring both to the same commit, or run launch.py worker-setup there again")
    for name in sorted({*mine["weights"], *other["weights"]}):
        if mine["weights"].get(name) != other["weights"].get(name):
            missing = "lacks" if name not in other["weights"] else "has another"
            return f"it {missing} {name}: give all machines the same models folder"
    return ""
