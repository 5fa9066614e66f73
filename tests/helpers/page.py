"""ComfyUI's page in a real browser: one Chromium does one task after the other (``tests/browser/drive.mjs``)."""

import contextlib
import json
import os
import queue
import shutil
import subprocess
import tempfile
import threading
from pathlib import Path

import pytest
from lift123.launcher import browser, settings

ROOT = Path(__file__).resolve().parent.parent.parent
DRIVER = ROOT / "tests" / "browser" / "drive.mjs"
# What ComfyUI's own page complains about in a new installation; what it asks of the internet is ignored, too.
HOST_NOISE = ("/api/userdata", "/user.css", "ComfyApp graph accessed before initialization")


class Driver:
    """A running Chromium.  Called with a server, a folder for pictures and the words of a task, it returns the report."""

    def __init__(self, process: subprocess.Popen, complaints: Path):
        self.process, self.complaints = process, complaints
        self.answers = queue.Queue()
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        for line in self.process.stdout:
            self.answers.put(line)
        self.answers.put("")

    def __call__(self, comfy, folder: Path, **task) -> dict:
        """The task's report, with ``out`` the folder of its screenshots (also kept in ``$LIFT123_SCREENSHOTS``)."""
        task = {"url": comfy.url, "folder": comfy.folder, "out": str(folder), "output": str(comfy.output), **task}
        (folder / "task.json").write_text(json.dumps(task))
        self.process.stdin.write(f"{folder / 'task.json'}\n")
        self.process.stdin.flush()
        assert self.answers.get(timeout=900).strip() == "done", self.complaints.read_text()
        report = json.loads((folder / "report.json").read_text())
        if os.environ.get("LIFT123_SCREENSHOTS"):
            shutil.copytree(folder, Path(os.environ["LIFT123_SCREENSHOTS"]) / folder.name, dirs_exist_ok=True)
        assert "crash" not in report, f"{report['crash']}\n{self.complaints.read_text()}\nscreenshots in {folder}"
        return {**report, "out": folder}


@contextlib.contextmanager
def driver():
    """A :class:`Driver`, ended afterwards.  Skips without Node.js or Chromium, which fails in CI."""
    paths = settings.default_paths()
    chromium, node = browser.find_chromium(paths), shutil.which("node")
    missing = os.environ.get("LIFT123_NO_BROWSER") or (not chromium and "no Chromium") or (not node and "no Node.js") or (
        not (paths.node / "node_modules" / "playwright-core").is_dir() and "no playwright-core (run launch.py test)")
    if missing:
        assert os.environ.get("LIFT123_REQUIRE_BROWSER") != "1", missing
        pytest.skip(missing)
    with tempfile.TemporaryDirectory() as folder:
        complaints = Path(folder) / "complaints.txt"
        with complaints.open("w") as file, subprocess.Popen(
                [node, str(DRIVER), str(paths.node), chromium], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=file,
                text=True) as process:
            yield Driver(process, complaints)
            process.stdin.close()  # it closes its Chromium and ends
            process.wait(60)


def our_errors(report: dict) -> list:
    """Console errors that are not the host's own noise."""
    local = [e for e in report["errors"] if not e["url"].startswith("https://")]
    return [e for e in local if not any(noise in e["text"] + e["url"] for noise in HOST_NOISE)]


def pixels(report: dict, name: str):
    """A screenshot as [H, W, 3] floats in [0, 1]."""
    import numpy as np
    from PIL import Image

    return np.asarray(Image.open(report["out"] / f"{name}.png").convert("RGB"), dtype=np.float32) / 255


def colorful(image) -> float:
    """Fraction of pixels with a visible color; the page's own grays do not count."""
    return float((image.max(-1) - image.min(-1) > 0.12).mean())
