"""Loads the pack the way ComfyUI does: by file location, without the repository root on sys.path."""

import os
import random
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
    from helpers.stub_models import install

    base = tmp_path_factory.mktemp("comfy")
    install(base)
    with start(base, env={"LIFT123_VIEW_SECONDS": "0.3"}) as running:  # a surface within the shortest stages
        yield running


@pytest.fixture(autouse=True)
def _same_random_numbers():
    """Networks with random weights are the same ones in every run, whichever tests came before in this worker."""
    random.seed(0)
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed(0)
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)


@pytest.fixture(autouse=True)
def _nothing_runs_on(request):
    """A prompt that a test leaves running takes half of every other test's time, and nobody notices."""
    yield
    if "comfy" in request.fixturenames:
        from helpers.batches import wait_until

        client = request.getfixturevalue("comfy").client
        assert wait_until(lambda: not any(client.get("/queue").values()), 20), "this test left a prompt in the queue"


def pytest_collection_modifyitems(config, items):
    """Tests that use the ComfyUI fixture are marked ``server``; alone they run last, beside other workers first.

    They take longest, and whoever has one has those that share its server (:func:`pytest_xdist_make_scheduler`).
    """
    for item in items:
        if "comfy" in getattr(item, "fixturenames", ()):
            assert "/server/" in f"/{item.nodeid}", f"{item.nodeid} uses the server: tests/server is its place"
            item.add_marker(pytest.mark.server)
    several = hasattr(config, "workerinput")
    items.sort(key=lambda item: (item.get_closest_marker("server") is not None) != several)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Of several workers one takes all graphs of ``tests/server`` and one what else is there: each starts one server.

    All other files go whole to whoever is free.  Files are told apart by their names: groups marked in the tests do not
    reach the scheduler with every pytest.
    """
    from xdist.scheduler import LoadScopeScheduling

    class FewServers(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition("::")[0]
            if "/server/" not in f"/{file}":
                return file
            return "graphs in a server" if "/test_workflows" in file else "page and batches in a server"

    return FewServers(config, log)


def pytest_report_header():
    """Where the launcher's things are."""
    return f"lift123: home {os.environ.get('LIFT123_HOME', ROOT / '.lift123')}"
