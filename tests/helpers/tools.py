"""Node.js packages that tests read results with."""

import os
import shutil

import pytest
from lift123.launcher import settings


def tools(*names):
    """Paths of the launcher whose ``node`` has the packages; skips without them, unless browser tests are required."""
    paths = settings.default_paths()
    missing = [n for n in names if not (paths.node / "node_modules" / n).is_dir()]
    if missing or not shutil.which("node") or os.environ.get("LIFT123_NO_BROWSER"):
        assert os.environ.get("LIFT123_REQUIRE_BROWSER") != "1", f"missing: {missing}"
        pytest.skip(f"no {', '.join(missing) or 'Node.js'} (run launch.py test)")
    return paths
