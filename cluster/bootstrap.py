"""How a process of Ray finds the pack on its machine.  Standard library only, and nothing of the pack at import.

Ray's processes are started by Ray, from the environment that Ray is installed in, which is the launcher's: the pack's
folder is written there (``node.json``) by ``launch.py worker-setup`` and ``batch``.
"""

import importlib
import importlib.util
import json
import os
import sys
from pathlib import Path

NODE = "node.json"  # in the launcher's home: where the pack is


def load_pack(root: Path):
    """The pack in ``root`` as the package ``lift123``, whatever its folder is called."""
    if "lift123" not in sys.modules:
        location = root / "__init__.py"
        spec = importlib.util.spec_from_file_location("lift123", location, submodule_search_locations=[str(root)])
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules["lift123"] = module
        spec.loader.exec_module(module)
    return sys.modules["lift123"]


def places(wanted_root: str, wanted_home: str) -> tuple:
    """(root of the pack, launcher's home) on this machine.

    In this order: LIFT123_ROOT, the driver's own folders where they exist here, ``node.json`` beside the running
    environment, a working directory that Ray brought along.  RuntimeError where there is none.
    """
    home = os.environ.get("LIFT123_HOME")
    beside = Path(sys.prefix).parent
    noted = _noted(beside / NODE)
    roots = [os.environ.get("LIFT123_ROOT"), wanted_root, noted, os.getcwd()]
    for text in roots:
        if text and (Path(text) / "launch.py").is_file() and (Path(text) / "cluster").is_dir():
            root = Path(text)
            homes = [home, wanted_home if text == wanted_root else None, str(beside), str(root / ".lift123")]
            for folder in homes:
                if folder and (Path(folder) / "stamp.json").is_file():
                    return root, Path(folder)
            return root, root / ".lift123"
    raise RuntimeError("Lift123 is not on this machine: run 'python3 launch.py worker-setup' there")


def _noted(file: Path) -> str:
    try:
        return str(json.loads(file.read_text(encoding="utf-8"))["root"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


class Lift123Worker:
    """What Ray runs: it answers with bytes (JSON, or pieces of files), so that nothing of a result is unpickled.

    The driver sends this module by value (``pools.RayPool``), because a process of Ray can't import the pack yet.
    settings: JSON, see ``worker.make``.
    """

    def __init__(self, settings: str):
        told = json.loads(settings)
        root, home = places(told["root"], told["home"])
        os.environ["LIFT123_HOME"] = str(home)
        sys.path[:] = [p for p in sys.path if Path(p or ".").resolve() != root]
        load_pack(root)
        self._inner = importlib.import_module("lift123.cluster.worker").make(told, root, home)

    def prepare(self) -> bytes:
        return self._inner.prepare()

    def run(self, header: bytes, picture: bytes) -> bytes:
        return self._inner.run(header, picture)

    def piece(self, key: str, name: str, offset: int, size: int) -> bytes:
        return self._inner.piece(key, name, offset, size)

    def forget(self, key: str) -> bytes:
        return self._inner.forget(key)

    def close(self) -> bytes:
        return self._inner.close()
