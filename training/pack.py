"""Imports the pack from its folder as ``lift123``, the way ComfyUI does, whatever the folder is called.

What tests, benchmarks and training scripts begin with; importing this module loads the pack.
"""

import importlib.util
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def load_pack():
    """The pack as the package ``lift123``; the repository root leaves sys.path, for it would hide ComfyUI's nodes.py."""
    sys.path[:] = [p for p in sys.path if Path(p or ".").resolve() != ROOT]
    if "lift123" not in sys.modules:
        location = ROOT / "__init__.py"
        spec = importlib.util.spec_from_file_location("lift123", location, submodule_search_locations=[str(ROOT)])
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules["lift123"] = module
        spec.loader.exec_module(module)
    return sys.modules["lift123"]


load_pack()
