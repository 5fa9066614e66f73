"""Loads the pack the way ComfyUI does: by file location, without the repository root on sys.path."""

import importlib.util
import os
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT.parent / "shared" / "data"  # real inputs that are not part of the repository
sys.path[:] = [p for p in sys.path if Path(p or ".").resolve() != ROOT]  # ComfyUI's nodes.py must not be shadowed

sys.path += sorted({str(p.parent) for p in Path(__file__).resolve().parent.rglob("test_*.py")})


def load_pack(name: str = "lift123"):
    """The pack as a package called ``name``, imported from its folder."""
    if name not in sys.modules:
        file = ROOT / "__init__.py"
        spec = importlib.util.spec_from_file_location(name, file, submodule_search_locations=[str(ROOT)])
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    return sys.modules[name]


load_pack()


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """Folder with ``objects/`` and ``characters/``; skips where it is absent."""
    if not DATA.is_dir():
        pytest.skip(f"real inputs are not here ({DATA})")
    return DATA


@pytest.fixture(scope="session")
def comfy(tmp_path_factory):
    """A running ComfyUI (CPU) with the pack in a folder with hyphens: a ``comfy_server.Comfy``, for the session."""
    from helpers.comfy_server import start

    with start(tmp_path_factory.mktemp("comfy")) as running:
        yield running


def pytest_collection_modifyitems(items):
    """Tests that use the ComfyUI fixture are marked ``server`` and run last, one after the other."""
    for item in items:
        if "comfy" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.server)
    items.sort(key=lambda item: item.get_closest_marker("server") is not None)


def pytest_report_header():
    """Where the launcher's things are."""
    return f"lift123: home {os.environ.get('LIFT123_HOME', ROOT / '.lift123')}"
