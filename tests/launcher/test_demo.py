"""``launch.py`` as a person starts it: its own server comes up, the result is named, nothing is left running."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from lift123.launcher import settings, source

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture
def launch(tmp_path):
    """Starts ``launch.py demo`` on a prompt; returns the running process."""
    if not source.version_of(settings.default_paths().comfyui):
        pytest.skip("no ComfyUI here: run 'python3 launch.py test'")

    def start(prompt: dict, *arguments: str):
        file = tmp_path / "prompt.json"
        file.write_text(json.dumps(prompt))
        command = [sys.executable, str(ROOT / "launch.py"), "demo", "--workflow", str(file), "--device", "cpu", *arguments]
        # A test run in the background ignores Ctrl-C and would pass that on; a person's terminal does not.
        listen = None if os.name == "nt" else (lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
        return subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=tmp_path, preexec_fn=listen
        )

    return start


def picture_prompt(size: int = 16) -> dict:
    """LoadImage -> scale -> save, core nodes only."""
    return {
        "1": {"class_type": "LoadImage", "inputs": {"image": "none.png"}},
        "2": {"class_type": "ImageScale", "inputs": {"image": ["1", 0], "upscale_method": "area", "width": size,
                                                     "height": size, "crop": "disabled"}},
        "3": {"class_type": "SaveImage", "inputs": {"images": ["2", 0], "filename_prefix": "test/demo"}},
    }


def test_demo_uploads_a_picture_and_names_the_result(launch, tmp_path):
    from PIL import Image

    Image.new("RGB", (40, 30), (200, 30, 30)).save(tmp_path / "my picture.png")
    process = launch(picture_prompt(), str(tmp_path / "my picture.png"))
    text = process.communicate(timeout=600)[0]
    assert process.returncode == 0, text
    assert "PyTorch" not in text, "set-up must not be repeated"
    file = Path(re.search(r"picture\s+(\S.*\.png)", text.split("Results:")[1]).group(1))
    assert Image.open(file).size == (16, 16) and Image.open(file).getpixel((8, 8)) == (200, 30, 30)


def test_demo_fails_with_one_message(launch, tmp_path):
    from PIL import Image

    Image.new("RGB", (8, 8)).save(tmp_path / "p.png")
    process = launch(picture_prompt(size=-5), str(tmp_path / "p.png"))
    text = process.communicate(timeout=600)[0]
    assert process.returncode == 1
    assert "launch.py: ImageScale: Value -5 smaller than min" in text and "Traceback" not in text


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_stopping_the_demo_stops_its_server(launch):
    import psutil

    process = launch(picture_prompt())
    for line in process.stdout:
        if "Starting ComfyUI" in line:
            break
    children, end = [], time.monotonic() + 60
    while not children and time.monotonic() < end:
        time.sleep(0.2)
        children = [c for c in psutil.Process(process.pid).children(recursive=True) if "main.py" in " ".join(c.cmdline())]
    assert children
    process.send_signal(signal.SIGINT)
    text = process.communicate(timeout=120)[0]
    assert process.returncode == 130 and "stopped" in text and "Traceback" not in text
    assert not [c for c in children if c.is_running() and c.status() != psutil.STATUS_ZOMBIE]
