"""Set-up: a virtual environment with ComfyUI's and the pack's packages.  A step whose key is unchanged is skipped."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections import deque

from . import settings, source, torch_build
from .settings import LaunchError, Paths
from .terminal import ProgressLine, say


class Stamp:
    """``stamp.json``: step name -> key of what was installed.  A broken or missing file means nothing is done yet."""

    def __init__(self, path):
        self.path = path
        try:
            self.done = dict(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            self.done = {}

    def has(self, step: str, key: str) -> bool:
        """Whether ``step`` was done with this ``key``."""
        return self.done.get(step) == key

    def set(self, step: str, key: str) -> None:
        """Records a finished step at once, so that an interrupted set-up goes on where it stopped."""
        self.done[step] = key
        self.path.parent.mkdir(parents=True, exist_ok=True)
        partial = self.path.with_suffix(".part")
        partial.write_text(json.dumps(self.done, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        os.replace(partial, self.path)


def run_logged(command: list, title: str, paths: Paths, env=None, cwd=None) -> None:
    """Runs ``command``, its last line shown as progress and everything kept in ``.lift123/setup.log``.

    Raises LaunchError with the last lines of output when it fails.
    """
    line, tail, begin = ProgressLine(interval=20), deque(maxlen=25), time.monotonic()
    line.show(f"{title} ...", force=True)
    paths.home.mkdir(parents=True, exist_ok=True)
    with open(paths.home / "setup.log", "a", encoding="utf-8") as log:
        log.write(f"\n$ {' '.join(map(str, command))}\n")
        try:
            process = subprocess.Popen(
                [str(part) for part in command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT, text=True, errors="replace", env=env, cwd=cwd,
            )
        except OSError as error:
            raise LaunchError(f"{title}: cannot start {command[0]}: {error}") from error
        assert process.stdout is not None  # it is a pipe
        try:
            for text in process.stdout:
                log.write(text)
                tail.append(text.rstrip())
                line.show(f"{title} ({time.monotonic() - begin:.0f} s) {text.strip()[:90]}")
            process.wait()
        except BaseException:
            process.kill()
            raise
        finally:
            line.close()
    if process.returncode:
        raise LaunchError(f"{title} failed (the whole log is {paths.home / 'setup.log'}):\n  " + "\n  ".join(tail))


def pip(paths: Paths, title: str, *arguments: str) -> None:
    """Installs into the environment; LaunchError."""
    run_logged(
        [paths.python, "-m", "pip", "--disable-pip-version-check", "--no-input", "install", "--progress-bar=off",
         *arguments], title, paths,
    )


def _works(paths: Paths) -> bool:
    """Whether the virtual environment is there and has pip (an interrupted set-up may leave half of one)."""
    if not paths.python.exists():
        return False
    check = subprocess.run([str(paths.python), "-c", "import pip"], capture_output=True)
    return check.returncode == 0


def _make_venv(paths: Paths) -> None:
    if _works(paths):
        return
    shutil.rmtree(paths.venv, ignore_errors=True)
    say(f"Making a virtual environment in {paths.venv}")
    try:
        run_logged([sys.executable, "-m", "venv", paths.venv], "Virtual environment", paths)
    except LaunchError as error:
        raise LaunchError(f"{error}\nOn Debian and Ubuntu: apt install python3-venv") from error


def file_key(*files) -> str:
    """What tells one content of files from another."""
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


def ensure(paths: Paths, tests: bool = False) -> None:
    """Makes everything that is missing.  Seconds, and no network, when nothing is.

    ``tests`` adds the packages of requirements-test.txt.  Raises LaunchError naming the step that failed.
    """
    settings.check_python()
    stamp = Stamp(paths.stamp)
    pack, test = paths.root / "requirements.txt", paths.root / "requirements-test.txt"
    word = torch_build.choice()
    if not _works(paths):
        stamp.done.clear()
        _make_venv(paths)
    build = torch_build.wanted(word, stamp.done.get("torch"))
    if not stamp.has("torch", torch_build.keys()[build]):
        stamp.set("torch", torch_build.install(paths, build, pip, run_logged))
    torch_key = torch_build.keys()["plain"]  # the other packages are the same for every build
    source.ensure(paths, run_logged)
    comfy_requirements = paths.comfyui / "requirements.txt"
    steps = [("comfyui", comfy_requirements, "ComfyUI's packages"), ("pack", pack, "Lift123's packages")]
    if tests:
        steps.append(("test", test, "test tools"))
    for step, file, title in steps:
        key = f"{torch_key} {file_key(file)}"
        if not stamp.has(step, key):
            pip(paths, title, "-r", str(file))
            stamp.set(step, key)


def link_pack(paths: Paths, custom_nodes, name: str = "lift123") -> None:
    """Makes ``custom_nodes/name`` this repository: a symbolic link, a junction on Windows, else a copy."""
    target = custom_nodes / name
    if not link_folder(paths.root, target):
        copy_pack(paths, target)


def link_folder(source, target) -> bool:
    """Makes ``target`` the folder (or file) ``source``: a symbolic link, a junction on Windows; whether that worked."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.exists() and target.resolve() == source.resolve():
        return True
    if target.is_symlink() or target.is_file():
        target.unlink()
    elif target.exists():
        shutil.rmtree(target)
    try:
        target.symlink_to(source, target_is_directory=source.is_dir())
        return True
    except OSError:
        pass
    if os.name != "nt":
        return False
    return subprocess.run(["cmd", "/c", "mklink", "/J", str(target), str(source)], capture_output=True).returncode == 0


def copy_pack(paths: Paths, target) -> None:
    """Copies the pack to ``target``, leaving out what the launcher made, git's data and caches."""
    skip = shutil.ignore_patterns(".lift123", ".git", "__pycache__", ".pytest_cache", ".ruff_cache", "node_modules")
    shutil.copytree(paths.root, target, ignore=skip)


def uses_gpu(paths: Paths, choice: str = "auto") -> bool:
    """Whether ComfyUI should look for an accelerator.  ``choice`` is auto, cpu or gpu.

    auto: an Apple silicon Mac, or an NVIDIA/AMD device that the installed torch can use.
    """
    if choice != "auto":
        return choice == "gpu"
    if sys.platform == "darwin":
        return os.uname().machine == "arm64"
    if not (shutil.which("nvidia-smi") or os.path.exists("/dev/kfd")):
        return False
    probe = subprocess.run(
        [str(paths.python), "-c", "import sys, torch; sys.exit(not torch.cuda.is_available())"], capture_output=True
    )
    return probe.returncode == 0
