"""pyright (basic) over the rooms that pyproject.toml lists, seen as the package ``lift123`` that they are at run time."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.sources import ROOT, python_files, relative
from lift123.launcher import settings

if sys.version_info >= (3, 11):
    import tomllib
else:
    tomllib = pytest.importorskip("tomli")
TOLD = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["pyright"]
UNCHECKED = {"tests", "benchmarks"}


def checked_files() -> set[str]:
    """Every source file of the checked rooms that is not left out by name."""
    left_out = tuple(f"{path}/" for path in TOLD["exclude"])
    return {relative(p) for p in python_files(*TOLD["include"]) if not f"{relative(p)}/".startswith(left_out)}


def pyright(folder: Path) -> dict:
    """Its answer in ``folder``, where the repository is called lift123; skips where there is none (the full run must)."""
    paths = settings.default_paths()
    program, node = paths.node / "node_modules" / "pyright" / "index.js", shutil.which("node")
    if not (node and program.is_file()):
        reason = "no Node.js with pyright (run launch.py test)"
        pytest.fail(reason) if os.environ.get("LIFT123_REQUIRE_BROWSER") == "1" else pytest.skip(reason)
    (folder / "lift123").symlink_to(ROOT, target_is_directory=True)
    moved = {key: [f"lift123/{path}" for path in TOLD[key]] for key in ("include", "exclude")}
    found = ["lift123/training", "lift123/benchmarks", str(paths.comfyui)]  # whose scripts import each other by name
    config = {**TOLD, **moved, "stubPath": f"lift123/{TOLD['stubPath']}", "extraPaths": found}
    (folder / "pyrightconfig.json").write_text(json.dumps(config), encoding="utf-8")
    done = subprocess.run([node, str(program), "--pythonpath", str(paths.python), "--outputjson"], cwd=folder,
                          capture_output=True, text=True, timeout=900, check=False)
    return json.loads(done.stdout)


def test_every_room_is_checked():
    rooms = {relative(path).split("/")[0] for path in python_files()}
    assert rooms - UNCHECKED == set(TOLD["include"])
    assert not set(TOLD["exclude"]) - {"pipelines/ops/kernels"}, "files are made clean, not left out"


def test_pyright_finds_nothing(tmp_path):
    answer = pyright(tmp_path)
    found = [f"{m['file']}:{m['range']['start']['line'] + 1}: {m['message']}" for m in answer["generalDiagnostics"]]
    assert not found, "\n".join(found)
    assert answer["summary"]["filesAnalyzed"] == len(checked_files())
