"""Runs on a cluster: a tiny graph, a driver in a process of its own, the processes behind it."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from lift123.launcher import settings

from helpers.batches import probe_graph

ROOT = Path(__file__).resolve().parents[2]


def tiny_graph() -> dict:
    """Picture -> reference -> an imported mesh in its colors -> asset: well below a second in a warm ComfyUI."""
    graph = probe_graph("x", foreign=False)
    for name in ("list", "results"):
        del graph[name]
    graph["picture"] = {"class_type": "LoadImage", "inputs": {"image": "none.png"}}
    graph["reference"]["inputs"] |= {"image": ["picture", 0], "mask": ["picture", 1], "prompt": "a thing", "negative": "",
                                     "border": 0.2, "recenter": True, "elevation": 0.0, "radius": 3.2, "fovy": 20.0,
                                     "mask_marks": "auto", "depth_convention": "inverse-depth"}
    graph["export"]["inputs"] |= {"filename_prefix": "lift123/tiny", "picture_texels": True}
    return graph


def begin(source: Path, graph: Path, output: Path, **more) -> subprocess.Popen:
    """``cluster/drive.py`` on a source, in a process group of its own."""
    paths = settings.default_paths()
    told = {"source": str(source), "workflow": str(graph), "output": str(output), "arguments": ["--disable-api-nodes"],
            "memory": 0, **more}
    env = {**os.environ, "LIFT123_HOME": str(paths.home), "PYTHONUNBUFFERED": "1"}
    return subprocess.Popen([sys.executable, str(ROOT / "cluster" / "drive.py"), json.dumps(told)], env=env,
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True)


def events(run: Path) -> list:
    """The journal, as far as it is written."""
    from lift123.cluster import journal

    return journal.read(run / journal.FILE)


def finished(run: Path) -> int:
    """Items that are through."""
    return sum(event["e"] in ("done", "failed", "aside") for event in events(run))


def wait_for(condition, seconds: float = 240.0, every: float = 0.1) -> bool:
    """Whether it came true in time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(every)
    return False


def children(process: subprocess.Popen, words: str) -> list:
    """Living descendants of a process whose command line has these words (psutil processes)."""
    import psutil

    found = []
    for child in psutil.Process(process.pid).children(recursive=True):
        try:
            if words in " ".join(child.cmdline()) or words in child.name():
                found.append(child)
        except psutil.Error:
            continue
    return found


def servers(process: subprocess.Popen) -> list:
    """The ComfyUIs of a run."""
    return children(process, "main.py")


def actors(process: subprocess.Popen) -> list:
    """The actors of a run."""
    return children(process, "ray::Lift123Worker")


def kill(process) -> None:
    """SIGKILL; a process that has just ended is fine."""
    try:
        os.kill(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
