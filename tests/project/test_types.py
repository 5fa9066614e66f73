"""pyright (basic) over the rooms that pyproject.toml lists."""

import os
import shutil
import subprocess

import pytest
from helpers.sources import ROOT
from lift123.launcher import settings


def test_pyright_finds_nothing():
    paths = settings.default_paths()
    program, node = paths.node / "node_modules" / "pyright" / "index.js", shutil.which("node")
    if not (node and program.is_file()):
        reason = "no Node.js with pyright (run launch.py test)"
        pytest.fail(reason) if os.environ.get("LIFT123_REQUIRE_BROWSER") == "1" else pytest.skip(reason)
    done = subprocess.run([node, str(program), "--pythonpath", str(paths.python)], cwd=ROOT, capture_output=True, text=True,
                          timeout=600, check=False)
    assert done.returncode == 0 and "0 errors" in done.stdout, done.stdout + done.stderr
