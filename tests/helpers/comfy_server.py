"""Harness for tests in the real ComfyUI: a server of its own, prompts over HTTP, events over the websocket.

Used through the session fixture ``comfy`` (conftest.py)::

    def test_something(comfy):
        entry = comfy.run({"1": {"class_type": "Lift123_ToyObject", "inputs": {...}}, ...})
        files = comfy.files(entry)
"""

import contextlib
import json
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from lift123.launcher import environment, jobs, settings, source
from lift123.launcher.jobs import PromptFailed
from lift123.launcher.server import ComfyServer, HttpError

__all__ = ["Comfy", "HttpError", "PromptFailed", "start"]

FOLDER = "lift123-under-test"  # hyphens: no valid module name, as users' folders are


@dataclass
class Comfy:
    """A running ComfyUI.  ``client`` is ``lift123.launcher.server.Client``; ``base`` its base directory."""

    server: ComfyServer
    base: Path
    folder: str = FOLDER
    _info: dict = field(default_factory=dict)

    @property
    def client(self):
        """HTTP and websocket access."""
        return self.server.client

    @property
    def url(self) -> str:
        """Address without a trailing slash."""
        return self.server.client.url

    @property
    def output(self) -> Path:
        """The output folder."""
        return self.base / "output"

    @property
    def info(self) -> dict:
        """/object_info, asked once."""
        if not self._info:
            self._info.update(self.client.get("/object_info"))
        return self._info

    def run(self, prompt: dict, timeout: float = 300.0, on_event=None) -> dict:
        """Queues an API-format prompt, waits, returns its history entry; raises PromptFailed."""
        return jobs.run(self.client, prompt, alive=self.server.alive, timeout=timeout, on_event=on_event)

    def events(self, prompt: dict, timeout: float = 300.0) -> tuple:
        """(history entry, every websocket message: dict for JSON, bytes for binary)."""
        seen = []

        def keep(_, message):
            seen.append(json.loads(message) if isinstance(message, str) else message)

        return self.run(prompt, timeout, keep), seen

    def files(self, entry: dict) -> list:
        """Paths of the output files that a history entry names."""
        return jobs.saved_files(entry, self.output)

    def upload(self, file: Path) -> str:
        """Uploads a picture; returns its name for LoadImage."""
        return self.client.upload(Path(file))


@contextlib.contextmanager
def start(base: Path, folder: str = FOLDER, arguments=(), env=None):
    """Starts ComfyUI on a free port with ``--cpu`` and the pack linked into ``base/custom_nodes/folder``."""
    paths = settings.default_paths()
    if not source.version_of(paths.comfyui):
        pytest.skip(f"no ComfyUI in {paths.comfyui}: run 'python3 launch.py test'")
    if Path(sys.executable).resolve() != paths.python.resolve() and not paths.python.exists():
        pytest.skip(f"no environment in {paths.venv}: run 'python3 launch.py test'")
    environment.link_pack(paths, base / "custom_nodes", folder)
    env = {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1"), "HF_HUB_OFFLINE": "1", **(env or {})}
    with ComfyServer(paths, base, arguments=arguments, env=env) as server:
        yield Comfy(server, base, folder)
