"""Which build of PyTorch is installed: one without CUDA where no GPU is seen, which spares 4 GB that nothing here can use.

Where PyTorch keeps its builds is uv's knowledge (``uv pip install --torch-backend``), not ours.
"""

import os
import shutil
import sys

from . import settings
from .settings import LaunchError, Paths
from .terminal import say

BUILDS = ("auto", "cpu", "cuda", "keep")
MEANING = "auto: without CUDA where no GPU is seen and nothing is installed yet; cpu, cuda: that build; keep: what is there"
TITLE = "PyTorch (once, up to several GB)"
PATIENT = {"UV_HTTP_TIMEOUT": "30", "UV_HTTP_RETRIES": "1"}  # an unreachable place is told within a minute


def choice() -> str:
    """``--torch`` or $LIFT123_TORCH_BUILD; LaunchError for an unknown word."""
    word = os.environ.get("LIFT123_TORCH_BUILD", "auto")
    if word not in BUILDS:
        raise LaunchError(f"LIFT123_TORCH_BUILD is one of {', '.join(BUILDS)}, not '{word}'")
    return word


def sees_gpu() -> bool:
    """Whether this machine shows an NVIDIA or AMD device, before torch is there to ask."""
    return bool(shutil.which("nvidia-smi")) or any(map(os.path.exists, ("/dev/kfd", "/dev/nvidia0", "/proc/driver/nvidia")))


def keys() -> dict:
    """Stamp of each build that differs from what pip takes by itself."""
    plain = " ".join([settings.TORCH, settings.TORCHVISION, settings.TORCHAUDIO, settings.TORCH_INDEX])
    return {"plain": plain, "cpu": f"{plain} cpu", "cuda": f"{plain} cuda"}


def wanted(word: str, installed: str | None) -> str:
    """"plain" (what pip takes by itself), "cpu" or "cuda": what ``keys`` has.

    installed: the stamp of what is there, or None.  An index of the person's own goes before all of this.
    """
    there = {key: build for build, key in keys().items()}.get(installed or "")
    if word in ("auto", "keep") and there:
        return there
    if settings.TORCH_INDEX or word == "keep":
        return "plain"
    if word == "auto":
        word = "cuda" if sees_gpu() else "cpu"
    ordinary = "cuda" if sys.platform.startswith("linux") else "cpu"  # what the wheels of the common index are
    return "plain" if sys.platform == "darwin" or word == ordinary else word


def install(paths: Paths, build: str, pip, run_logged) -> str:
    """Installs the build; the stamp of what is there then.  Falls back to pip's own, and says so; LaunchError if that fails."""
    index = ["--index-url", settings.TORCH_INDEX] if settings.TORCH_INDEX else []
    if build != "plain" and not _by_uv(paths, build, pip, run_logged):
        build = "plain"
    pip(paths, TITLE, *index, f"torch=={settings.TORCH}", f"torchvision=={settings.TORCHVISION}")
    # No torchaudio is released for this torch; ComfyUI only imports it, so its stated torch version does not matter.
    pip(paths, "torchaudio", *index, "--no-deps", f"torchaudio=={settings.TORCHAUDIO}")
    return keys()[build]


def _by_uv(paths: Paths, build: str, pip, run_logged) -> bool:
    """The packages themselves from PyTorch's own place; what they need comes with pip afterwards."""
    backend = "cpu" if build == "cpu" else "auto"
    say(f"Looking for PyTorch's {build} build (--torch keep takes the ordinary one)")
    try:
        uv = shutil.which("uv")
        if uv is None:
            pip(paths, "uv, which knows PyTorch's builds", "uv")
        command = [uv] if uv else [paths.python, "-m", "uv"]
        packages = [f"torch=={settings.TORCH}", f"torchvision=={settings.TORCHVISION}", f"torchaudio=={settings.TORCHAUDIO}"]
        run_logged([*command, "pip", "install", "--python", paths.python, "--torch-backend", backend, "--no-deps",
                    "--reinstall", *packages], f"PyTorch, {build} build", paths, env={**PATIENT, **os.environ})
        return True
    except LaunchError as error:
        reason = str(error).strip().splitlines()[-1].strip()
        say(f"PyTorch's {build} build is out of reach ({reason}): taking the ordinary one. LIFT123_TORCH_INDEX names "
            "another place.")
        return False
