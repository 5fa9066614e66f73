"""Loads the pack the way ComfyUI does: by file location, without the repository root on sys.path."""

import importlib.util
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:] = [p for p in sys.path if Path(p or ".").resolve() != ROOT]  # ComfyUI's nodes.py must not be shadowed


def load_pack(name: str = "lift123"):
    """The pack as a package called ``name``, imported from its folder."""
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, ROOT / "__init__.py", submodule_search_locations=[str(ROOT)])
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    return sys.modules[name]


load_pack()
