"""Loads the pack the way ComfyUI does: by file location, without the repository root on sys.path."""

import os
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
sys.path += [str(HERE.parent / name) for name in ("benchmarks", "training")]
from pack import ROOT

pytest_plugins = ["helpers.graphs", "helpers.stdgen_wires"]  # fixtures that several folders use
DATA = ROOT.parent / "shared" / "data"  # real inputs that are not part of the repository


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


def pytest_collection_modifyitems(config, items):
    """Tests that use the ComfyUI fixture are marked ``server`` and run one after the other.

    Alone they run last.  Of several workers (``-n 2 --dist loadgroup``) one takes all of them and starts with them, since
    they share a server and take longest; the others take modules as they are.
    """
    shared = config.getoption("dist", "no") == "loadgroup"
    for item in items:
        server = "comfy" in getattr(item, "fixturenames", ())
        if server:
            item.add_marker(pytest.mark.server)
        if shared:
            item.add_marker(pytest.mark.xdist_group("server" if server else item.nodeid.partition("::")[0]))
    items.sort(key=lambda item: (item.get_closest_marker("server") is not None) != shared)


def pytest_report_header():
    """Where the launcher's things are."""
    return f"lift123: home {os.environ.get('LIFT123_HOME', ROOT / '.lift123')}"
