"""Files that lie beside a mesh file: materials and pictures that it names."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote

from .gltf_buffers import Beside
from .limits import BYTES


def files_beside(folder: Path) -> Beside:
    """Finds files in ``folder`` and below it, never elsewhere; a path that leads out is looked for by its last part."""
    root = Path(folder).resolve()

    def find(name: str) -> bytes | None:
        names = [name.replace("\\", "/").strip().strip('"')]
        names += [unquote(names[0]), names[0].rsplit("/", 1)[-1], unquote(names[0]).rsplit("/", 1)[-1]]
        for candidate in dict.fromkeys(names):
            try:
                path = (root / candidate).resolve()
                if path.is_relative_to(root) and path.is_file() and path.stat().st_size <= BYTES:
                    return path.read_bytes()
            except (OSError, ValueError):  # a name too long, a zero byte
                continue
        return None

    return find
