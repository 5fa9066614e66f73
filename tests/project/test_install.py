"""Installing the pack into an existing ComfyUI changes no package that is already there, and needs no compiler."""

import importlib.metadata
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from lift123.launcher import settings, source

ROOT = Path(__file__).resolve().parent.parent.parent
OFFLINE = ("Failed to establish", "NameResolutionError", "ConnectionError", "Temporary failure", "Could not fetch",
           "No matching distribution found", "Network is unreachable", "ProxyError", "timed out")


def canonical(name: str) -> str:
    """PEP 503."""
    return re.sub(r"[-_.]+", "-", name).lower()


def requirement_names(lines) -> list:
    """Names of unconditional requirements (those without an extra)."""
    found = []
    for line in lines:
        line = line.split("#")[0].strip()
        match = re.match(r"[A-Za-z0-9][A-Za-z0-9._-]*", line)
        if match and "extra ==" not in line:
            found.append(canonical(match.group()))
    return found


def installed() -> dict:
    """Canonical name -> distribution of the running environment."""
    return {canonical(d.name): d for d in importlib.metadata.distributions() if d.name}


def closure(names, distributions) -> set:
    """Everything that ``names`` bring in, as far as it is installed here."""
    found, waiting = set(), list(names)
    while waiting:
        name = waiting.pop()
        if name in distributions and name not in found:
            found.add(name)
            waiting += requirement_names(distributions[name].requires or [])
    return found


@pytest.fixture(scope="module")
def existing_comfyui(tmp_path_factory):
    """An environment that looks to pip like one with ComfyUI's packages and nothing of ours: (python, name -> version).

    Only the packages' metadata is copied: pip resolves against that, and a real second ComfyUI would take minutes.
    """
    comfyui = settings.default_paths().comfyui
    if not source.version_of(comfyui):
        pytest.skip(f"no ComfyUI in {comfyui}: run 'python3 launch.py test'")
    distributions = installed()
    roots = requirement_names((comfyui / "requirements.txt").read_text(encoding="utf-8").splitlines())
    names = closure([*roots, "torch", "torchvision", "torchaudio"], distributions)
    assert {"torch", "numpy", "transformers", "pillow"} <= names and len(names) > 40
    folder = tmp_path_factory.mktemp("existing") / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    python = folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    code = "import sysconfig; print(sysconfig.get_paths()['purelib'])"
    site = Path(subprocess.run([str(python), "-c", code], capture_output=True, text=True, check=True).stdout.strip())
    for name in names:
        metadata = Path(distributions[name]._path)
        (site / metadata.name).mkdir()
        shutil.copyfile(metadata / "METADATA", site / metadata.name / "METADATA")
        (site / metadata.name / "INSTALLER").write_text("pip\n")
        (site / metadata.name / "RECORD").write_text("")
    return python, {name: distributions[name].version for name in names}


def would_install(python, *arguments) -> dict:
    """Canonical name -> version of what pip would install into an environment; skips without a network."""
    command = [sys.executable, "-m", "pip", "--python", str(python), "--disable-pip-version-check", "--no-input",
               "install", "--dry-run", "--quiet", "--retries", "1", "--report", "-", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    if done.returncode and any(mark in done.stderr for mark in OFFLINE):
        pytest.skip("the package registry cannot be reached")
    assert done.returncode == 0, done.stderr
    plan = json.loads(done.stdout[done.stdout.index("{"):])["install"]
    return {canonical(item["metadata"]["name"]): item["metadata"]["version"] for item in plan}


def test_installing_changes_nothing_and_builds_nothing(existing_comfyui):
    python, before = existing_comfyui
    plan = would_install(python, "--only-binary", ":all:", "-r", ROOT / "requirements.txt")
    changed = {name: (before[name], version) for name, version in plan.items() if name in before}
    assert not changed, f"would change what ComfyUI installed: {changed}"
    wanted = set(requirement_names((ROOT / "requirements.txt").read_text().splitlines()))
    assert wanted & set(plan), "the check is empty: nothing of ours would have been installed"


def test_the_check_sees_a_change(existing_comfyui):
    """The same check on a requirement that does replace a package."""
    python, before = existing_comfyui
    assert "idna" in before
    plan = would_install(python, "--no-deps", "idna==3.7")
    assert plan == {"idna": "3.7"} and before["idna"] != "3.7"


def test_set_up_installed_everything(tmp_path):
    """In the launcher's own environment nothing is left to install; this needs no network."""
    assert would_install(sys.executable, "--no-index", "-r", ROOT / "requirements.txt") == {}


def test_requirements_name_no_torch_no_pins_no_addresses():
    lines = [line.split("#")[0].strip() for line in (ROOT / "requirements.txt").read_text().splitlines()]
    lines = [line for line in lines if line]
    names = set(requirement_names(lines))
    already = {"torch", "torchvision", "torchaudio", "numpy", "scipy", "pillow", "transformers", "safetensors"}
    assert names and not names & already, "ComfyUI brings these"
    assert not [line for line in lines if re.search(r"==|<|~=|://|^-", line)]


def test_the_registry_metadata_says_the_same():
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    dependencies = re.search(r"^dependencies = \[(.*?)\]", text, re.MULTILINE | re.DOTALL).group(1)
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    assert sorted(requirement_names(re.findall(r'"([^"]+)"', dependencies))) == sorted(requirement_names(lines))
    assert 'requires-comfyui = ">=0.30.0"' in text
    assert "Apache License" in (ROOT / "LICENSE").read_text()
