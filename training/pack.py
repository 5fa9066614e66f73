"""Imports the pack from its folder as ``lift123``, whatever the folder is called."""

import importlib.util
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def load_pack():
    """The pack as the package ``lift123`` (the repository root stays off sys.path)."""
    if "lift123" not in sys.modules:
        location = ROOT / "__init__.py"
        spec = importlib.util.spec_from_file_location("lift123", location, submodule_search_locations=[str(ROOT)])
        module = importlib.util.module_from_spec(spec)
        sys.modules["lift123"] = module
        spec.loader.exec_module(module)
    return sys.modules["lift123"]


load_pack()
