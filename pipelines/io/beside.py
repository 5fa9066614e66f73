"""Files that lie beside a mesh file: materials and pictures that it names."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from urllib.parse import unquote

from .gltf_buffers import Beside
from .limits import BYTES

MOST = 10_000  # files of a folder that are compared with a name in other letters


def files_beside(folder: Path) -> Beside:
    """Finds files in ``folder`` and below it, never elsewhere; a path that leads out is looked for by its last part."""
    root = Path(folder).resolve()

    def find(name: str) -> bytes | None:
        names = [name.replace("\\", "/").strip().strip('"')]
        names += [unquote(names[0]), names[0].rsplit("/", 1)[-1], unquote(names[0]).rsplit("/", 1)[-1]]
        for spelled in (Path, lambda candidate: _in_other_letters(root, candidate)):
            for candidate in dict.fromkeys(names):
                try:
                    path = (root / spelled(candidate)).resolve()
                    if path.is_relative_to(root) and path.is_file() and path.stat().st_size <= BYTES:
                        return path.read_bytes()
                except (OSError, ValueError):  # a name too long, a zero byte
                    continue
        return None

    return find


def _in_other_letters(root: Path, name: str) -> Path:
    """The path below ``root`` that is ``name`` but for large and small letters, which Windows does not tell apart."""
    at, parts = root, Path(name).parts
    if Path(name).is_absolute() or ".." in parts:
        return Path(name)
    for part in parts:
        alike = (child for child in islice(at.iterdir(), MOST) if child.name.lower() == part.lower())
        at = at / part if (at / part).exists() else next(alike, at / part)
    return at
