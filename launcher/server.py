"""Starting and stopping a ComfyUI, and talking HTTP to it."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from collections.abc import Sequence
from pathlib import Path

from . import guard
from .settings import LaunchError, Paths
from .terminal import say
from .websocket import WebSocket

TEMP = "temp-"  # how temp folders of servers begin; the launcher's process id follows
PARTIAL = "what it has so far"  # how a stage's line about its partial result is known
_NO_PROXY = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # the server is on this machine


def free_port(preferred: int = 0) -> int:
    """``preferred`` if it is free on 127.0.0.1, else any free port."""
    for port in (preferred, 0):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
                return probe.getsockname()[1]
            except OSError:
                continue
    raise LaunchError("no free port on 127.0.0.1")


def tell(text: str) -> None:
    """Prints a line, where there still is something to print to."""
    with contextlib.suppress(OSError):
        say(text)


def sweep(base: Path) -> None:
    """Removes temp folders of launchers that are gone, and so are their guards (the machine went down)."""
    for folder in base.glob(f"{TEMP}*-*") if os.name != "nt" else ():
        number = folder.name.removeprefix(TEMP).split("-")[0]
        if number.isdigit() and not guard.alive(int(number)):
            shutil.rmtree(folder, ignore_errors=True)


class HttpError(Exception):
    """A refused request: ``status`` and the parsed (or raw) ``body``."""

    def __init__(self, status: int, body):
        super().__init__(f"HTTP {status}: {body}")
        self.status, self.body = status, body


class Client:
    """ComfyUI's HTTP interface at ``http://127.0.0.1:port``."""

    def __init__(self, port: int):
        self.port = port
        self.url = f"http://127.0.0.1:{port}"

    def raw(self, path: str, data: bytes | None = None, headers: dict | None = None, timeout: float = 30.0) -> bytes:
        """GET, or POST when ``data`` is given.  Raises HttpError for an error status, OSError without a server."""
        request = urllib.request.Request(self.url + path, data=data, headers=headers or {})
        try:
            with _NO_PROXY.open(request, timeout=timeout) as answer:
                return answer.read()
        except urllib.error.HTTPError as error:
            body = error.read()
            try:
                body = json.loads(body)
            except ValueError:
                body = body.decode("utf-8", "replace")
            raise HttpError(error.code, body) from None

    def get(self, path: str, timeout: float = 30.0):
        """Parsed JSON of a GET."""
        return json.loads(self.raw(path, timeout=timeout))

    def post(self, path: str, value) -> dict:
        """Parsed JSON of a JSON POST; {} for an empty body."""
        body = self.raw(path, json.dumps(value).encode(), {"Content-Type": "application/json"})
        return json.loads(body) if body else {}

    def queue(self, prompt: dict, workflow: dict | None = None, client_id: str = "") -> str:
        """Queues an API-format prompt, returns its id; its events go to the websocket of ``client_id``.

        Raises HttpError when ComfyUI rejects it, in part or whole.
        """
        extra = {"extra_pnginfo": {"workflow": workflow}} if workflow else {}
        answer = self.post("/prompt", {"prompt": prompt, "client_id": client_id, "extra_data": extra})
        if answer.get("node_errors"):  # status 200 with errors: some outputs were dropped, others are queued already
            self.drop(answer["prompt_id"])
            raise HttpError(200, answer)
        return answer["prompt_id"]

    def drop(self, prompt_id: str) -> None:
        """Takes one prompt out of the queue, or stops it at its next step if it runs; others are left alone."""
        self.post("/queue", {"delete": [prompt_id]})
        self.post("/interrupt", {"prompt_id": prompt_id})

    def history(self, prompt_id: str) -> dict:
        """Outputs and status of a finished prompt, or an empty dict."""
        return self.get(f"/history/{prompt_id}").get(prompt_id, {})

    def interrupt(self) -> None:
        """Stops the running prompt at its next step."""
        self.post("/interrupt", {})

    def upload(self, file: Path, subfolder: str = "") -> str:
        """Uploads a picture to the input folder; returns the name that LoadImage takes."""
        boundary = uuid.uuid4().hex
        parts = []
        for name, value in (("overwrite", "true"), ("subfolder", subfolder)):
            parts.append(f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode())
        safe = file.name.replace('"', "_").encode("ascii", "replace").decode().replace("?", "_")
        parts.append(
            f'--{boundary}\r\nContent-Disposition: form-data; name="image"; filename="{safe}"\r\n'
            f"Content-Type: application/octet-stream\r\n\r\n".encode() + file.read_bytes() + b"\r\n"
        )
        body = b"".join(parts) + f"--{boundary}--\r\n".encode()
        header = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
        answer = json.loads(self.raw("/upload/image", body, header, timeout=120))
        return "/".join(part for part in (answer.get("subfolder"), answer["name"]) if part)

    def websocket(self) -> tuple:
        """(connected WebSocket, client id that its prompts must be queued with).

        The id is new each time: ComfyUI forgets an id when its old connection closes, even if a new one took it over.
        """
        client_id = uuid.uuid4().hex
        return WebSocket("127.0.0.1", self.port, f"/ws?clientId={client_id}"), client_id


class ComfyServer:
    """A ComfyUI process with its own base directory; a context manager that always stops it.

    Raises LaunchError with the end of the log when it does not come up.
    """

    def __init__(self, paths: Paths, base: Path, port: int = 0, gpu: bool = False, log: Path | None = None,
                 arguments: Sequence[str] = (), env: dict | None = None, start_timeout: float = 600.0):
        self.paths, self.base, self.gpu = paths, Path(base), gpu
        self.log = Path(log) if log else self.base / "server.log"
        self.arguments, self.env = list(arguments), dict(env or {})
        self.start_timeout = start_timeout
        self.client = Client(free_port(port))
        self.process: subprocess.Popen | None = None
        self._temp: str | None = None
        self._guard: subprocess.Popen | None = None

    def command(self) -> list:
        """The command line."""
        command = [str(self.paths.python), "-u", str(self.paths.comfyui / "main.py"), "--listen", "127.0.0.1",
                   "--port", str(self.client.port), "--base-directory", str(self.base), "--disable-auto-launch",
                   "--temp-directory", str(self._temp), "--database-url", "sqlite:///:memory:"]
        return command + ([] if self.gpu else ["--cpu"]) + self.arguments

    def __enter__(self) -> "ComfyServer":
        for folder in ("custom_nodes", "input", "output", "models", "user"):
            (self.base / folder).mkdir(parents=True, exist_ok=True)
        # A temp folder of its own: ComfyUI empties it at start and stop, and two servers may share a base directory.
        sweep(self.base)
        self._temp = tempfile.mkdtemp(prefix=f"{TEMP}{os.getpid()}-", dir=self.base)
        self.log.parent.mkdir(parents=True, exist_ok=True)
        env = {**os.environ, "PYTHONUNBUFFERED": "1", "PYTHONIOENCODING": "utf-8", **self.env}
        env.pop("PYTHONPATH", None)  # the repository root must not shadow ComfyUI's own modules
        windows = os.name == "nt"  # either way Ctrl-C is ours to handle
        try:
            with open(self.log, "wb") as log:
                self.process = subprocess.Popen(self.command(), cwd=self.paths.comfyui, env=env, stdin=subprocess.DEVNULL,
                                                stdout=log, stderr=subprocess.STDOUT,
                                                creationflags=0x200 if windows else 0, start_new_session=not windows)
            self._guard = self._start_guard(windows)
            self._wait_until_up()
        except BaseException:
            self.stop()
            raise
        return self

    def _wait_until_up(self) -> None:
        end = time.monotonic() + self.start_timeout
        while time.monotonic() < end:
            if not self.alive():
                raise LaunchError(f"ComfyUI ended while starting (code {self.exit_code()}):\n{self.log_tail()}")
            try:
                self.client.get("/prompt", timeout=5)
                return
            except (OSError, HttpError, ValueError):
                time.sleep(0.2)
        raise LaunchError(f"ComfyUI did not answer within {self.start_timeout:.0f} s:\n{self.log_tail()}")

    def exit_code(self) -> int | None:
        """Of the process, once it has ended."""
        return None if self.process is None else self.process.poll()

    @property
    def pid(self) -> int:
        """Of the process, which must have been started."""
        assert self.process is not None
        return self.process.pid

    def alive(self) -> bool:
        """Whether the process runs."""
        return self.process is not None and self.process.poll() is None

    def log_text(self) -> str:
        """Everything it printed."""
        return self.log.read_text(encoding="utf-8", errors="replace") if self.log.exists() else ""

    def log_tail(self, lines: int = 25) -> str:
        """The last lines it printed."""
        return "\n".join("  " + line for line in self.log_text().splitlines()[-lines:])

    def _start_guard(self, windows: bool) -> subprocess.Popen:
        """A process that outlives this one and ends the server then (``guard``)."""
        command = [sys.executable, "-I", guard.__file__, str(self.pid), str(self.client.port), str(self._temp)]
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                creationflags=0x200 if windows else 0, start_new_session=not windows)

    def stop(self) -> None:
        """Interrupts what runs, ends the process (politely, then not), removes its temp folder; safe to call twice."""
        try:
            self._interrupt()
        finally:  # a second Ctrl-C cuts the wait for the partial result short, but not the rest
            if self.process is not None and self.alive():
                self.process.terminate()
                try:
                    self.process.wait(guard.FORCE_AFTER)
                except subprocess.TimeoutExpired:
                    if os.name != "nt":
                        os.killpg(self.process.pid, signal.SIGKILL)
                    self.process.kill()
                    self.process.wait()
            if self._temp:
                shutil.rmtree(self._temp, ignore_errors=True)
            if self._guard is not None:
                self._guard.communicate(guard.DONE)
                self._guard = None

    def _interrupt(self) -> None:
        """What runs in the server ends now, and its partial result is named."""
        begin = len(self.log_text()) if self.alive() else 0
        word = "Interrupting what runs; its partial result is kept ..."
        if not guard.interrupt(self.client.port, self.alive, tell=lambda: tell(word)):
            return
        for line in self.log_text()[begin:].splitlines():
            if PARTIAL in line.lower():
                tell(f"{line.strip()} (output is {self.base / 'output'})")

    def __exit__(self, *_) -> None:
        self.stop()
