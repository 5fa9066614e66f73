"""What the browser tests need: Node.js with playwright-core, a Chromium, and a newer page than ComfyUI's."""

import os
import shutil
from pathlib import Path

from . import settings
from .environment import pip, run_logged
from .settings import LaunchError, Paths
from .terminal import say

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
_PLACES = (
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "C:/Program Files/Google/Chrome/Application/chrome.exe",
    "C:/Program Files (x86)/Microsoft/Edge/Application/msedge.exe",
)


def find_chromium(paths: Paths) -> str:
    """The browser's executable: ``$LIFT123_CHROMIUM``, the PATH, usual places, our own folder; empty if none."""
    given = os.environ.get("LIFT123_CHROMIUM")
    if given:
        return given
    for name in _NAMES:
        found = shutil.which(name)
        if found:
            return found
    ours = sorted(str(p) for name in ("chrome", "chrome.exe", "Chromium")
                  for p in (paths.home / "browsers").glob(f"chromium-*/**/{name}") if p.is_file())
    return next((p for p in list(_PLACES) + ours if Path(p).exists()), "")


def ensure(paths: Paths) -> str:
    """Installs what is missing and returns an empty string, or the reason why the browser tests must be skipped.

    With ``LIFT123_REQUIRE_BROWSER=1`` (CI) the reason is raised as LaunchError instead.
    """
    try:
        _ensure(paths)
        return ""
    except LaunchError as error:
        if os.environ.get("LIFT123_REQUIRE_BROWSER") == "1":
            raise
        say(f"The browser tests will be skipped: {error}")
        return str(error).splitlines()[0]


def _ensure_package(paths: Paths, name: str, version: str) -> None:
    """Installs an npm package of that very version below ``paths.node``, unless it is there."""
    package = paths.node / "node_modules" / name / "package.json"
    if not package.exists() or f'"version": "{version}"' not in package.read_text(encoding="utf-8"):
        paths.node.mkdir(parents=True, exist_ok=True)
        run_logged([shutil.which("npm"), "install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix",
                    paths.node, f"{name}@{version}"], name, paths)


def newer_page(paths: Paths) -> Path:
    """Where ``settings.NEWER_PAGE`` lies, a folder as for ComfyUI's ``--front-end-root``, whether it is there or not."""
    return paths.home / f"page-{settings.NEWER_PAGE}" / "comfyui_frontend_package" / "static"


def _ensure_page(paths: Paths) -> None:
    """Installs it beside the environment, which keeps the page that ComfyUI pins."""
    folder = newer_page(paths)
    if not (folder / "index.html").exists():
        pip(paths, "A newer page", "--no-deps", "--target", str(folder.parent.parent),
            f"comfyui-frontend-package=={settings.NEWER_PAGE}")


def _ensure(paths: Paths) -> None:
    if not shutil.which("node") or not shutil.which("npm"):
        raise LaunchError("Node.js with npm is not installed")
    _ensure_package(paths, "playwright-core", settings.PLAYWRIGHT)
    for name, version in settings.VRM_TOOLS.items():
        _ensure_package(paths, name, version)
    _ensure_package(paths, "pyright", settings.PYRIGHT)  # its test needs Node.js, too
    _ensure_page(paths)
    if find_chromium(paths):
        return
    if shutil.which("apt-get") and hasattr(os, "geteuid") and os.geteuid() == 0:
        env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        run_logged(["apt-get", "-q", "update"], "Package lists", paths, env)
        run_logged(["apt-get", "-q", "install", "-y", "--no-install-recommends", "chromium"], "Chromium", paths, env)
    else:
        env = {**os.environ, "PLAYWRIGHT_BROWSERS_PATH": str(paths.home / "browsers")}
        cli = paths.node / "node_modules" / "playwright-core" / "cli.js"
        run_logged([shutil.which("node"), cli, "install", "chromium"], "Chromium", paths, env)
    if not find_chromium(paths):
        raise LaunchError("no Chromium found; install one or set LIFT123_CHROMIUM to its path")
