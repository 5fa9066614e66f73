"""One ComfyUI of its own, kept warm: networks load once, items come one after the other.

It listens on the loopback interface only, on a free port, with input, output and temp folders of its own; models are
the machine's, shared and only read.  Whatever happens is told as JSON; a worker never raises.
"""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import shutil
import time
import uuid
from pathlib import Path

from ..launcher import environment, graph, guard, jobs
from ..launcher.server import ComfyServer, HttpError
from ..launcher.settings import LaunchError, Paths
from . import identity, results

PATIENCE = 180.0  # seconds without an answer after which a ComfyUI counts as hung
PROBE = 15.0  # seconds between questions to a ComfyUI that sends nothing
STARTS = 3  # attempts to start a ComfyUI


def make(settings: dict, root: Path, home: Path):
    """The worker that the driver asks for.

    settings: gpu (bool), arguments (list, for ComfyUI), weights (names), timeout (seconds an item, 0: none), and
    "stand_in": "file.py" for another class of the same methods (tests, measurements).
    """
    if settings.get("stand_in"):
        spec = importlib.util.spec_from_file_location("lift123_stand_in", settings["stand_in"])
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module.Worker(settings)
    return Worker(settings, Paths(root, home))


def told(**facts) -> bytes:
    """An answer."""
    return json.dumps(facts).encode()


class Worker:
    """See the module.  Methods may be called from two threads: ``run`` from one, the others from another."""

    def __init__(self, settings: dict, paths: Paths):
        self.settings, self.paths = settings, paths
        self.server: ComfyServer | None = None
        self.kept: dict[str, dict[str, Path]] = {}  # key -> files that wait to be fetched
        self.closed = False
        self._asked = self._answered = time.monotonic()
        self._commit = identity.commit(paths.root)
        self._base = self._own_base()

    def prepare(self) -> bytes:
        """Starts ComfyUI; what this machine runs, or "error"."""
        try:
            mine = {"code": identity.code(self.paths.root), "commit": self._commit,
                    "weights": identity.weights(self.paths.base / "models", self.settings["weights"],
                                                self.paths.home / "cluster" / "hashes.json")}
            began = time.monotonic()
            server = self._running()
            return told(**mine, host=platform.node(), pid=os.getpid(), server=server.pid, port=server.client.port,
                        seconds=round(time.monotonic() - began, 2))
        except (LaunchError, OSError, ValueError, RuntimeError) as problem:
            return told(error=f"{platform.node()}: {problem}")

    def run(self, header: bytes, picture: bytes) -> bytes:
        """One item: {"status": "done" | "failed" | "lost" | "stopped", ...}.

        header: JSON with key, name, prompt, picture (file name or ""), run (the shared folder or ""), mark (a file
        in it that tells whether this machine sees the same folder), batch (for manifests).
        """
        job, began = json.loads(header), time.monotonic()
        try:
            answer = self._work(job, picture)
        except (jobs.PromptFailed, LaunchError, HttpError, OSError, ValueError) as problem:
            answer = self._trouble(problem)
        return told(**answer, seconds=round(time.monotonic() - began, 3), host=platform.node(),
                    server=self.server.pid if self.server and self.server.process else 0)

    def piece(self, key: str, name: str, offset: int, size: int) -> bytes:
        """Part of a file that ``run`` has announced; b"" where it is gone."""
        try:
            with open(self.kept[key][name], "rb") as file:
                file.seek(offset)
                return file.read(size)
        except (OSError, KeyError):
            return b""

    def forget(self, key: str) -> bytes:
        """The driver has the item's files."""
        self.kept.pop(key, None)
        shutil.rmtree(self._folder(key), ignore_errors=True)
        return told()

    def close(self) -> bytes:
        """Interrupts what runs, ends ComfyUI, removes this worker's folders."""
        self.closed = True
        if self.server is not None:
            self.server.stop()
        shutil.rmtree(self._base, ignore_errors=True)
        return told()

    def _work(self, job: dict, picture: bytes) -> dict:
        server, key = self._running(), job["key"]
        if job["picture"]:
            place = self._base / "input" / job["picture"]
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(picture)
        self._asked = self._answered = time.monotonic()
        try:
            prompt = graph.with_prefix(job["prompt"], f"cluster/{key[:results.LETTERS]}")
            entry = jobs.run(server.client, prompt, alive=self._alive, timeout=self.settings.get("timeout") or None)
            named = jobs.saved_files(entry, self._base / "output")
            if not named:  # graphs of pictures save nothing by themselves
                named = jobs.keep_previews(server.client, entry, self._folder(key), "preview")
        finally:
            if job["picture"]:
                (self._base / "input" / job["picture"]).unlink(missing_ok=True)
        return self._hand_over(job, sorted({*named, *(p for p in self._folder(key).rglob("*") if p.is_file())}))

    def _hand_over(self, job: dict, files: list[Path]) -> dict:
        key, memory = job["key"], self._memory()
        missing = [file.name for file in files if not file.is_file()]
        if not files or missing:
            return {"status": "failed", "error": f"the graph has finished but saved no files ({', '.join(missing)})"}
        facts = {"worker": platform.node(), "commit": self._commit}
        run = Path(job["run"]) if job["run"] else None
        if run is not None and job["mark"] and (run / job["mark"]).is_file():
            fresh = results.publish(run, job["name"], key, facts, lambda to: results.copied(files, to, job["batch"]))
            self.forget(key)
            return {"status": "done", "published": True, "fresh": fresh, "memory": memory}
        staging = self._folder(key) / f"out-{uuid.uuid4().hex[:6]}"
        staging.mkdir(parents=True)
        described = results.copied(files, staging, job["batch"])
        self.kept[key] = {name: staging / name for name in described}
        return {"status": "done", "published": False, "files": described, "facts": facts, "memory": memory}

    def _trouble(self, problem: Exception) -> dict:
        """Whether the item failed, or its server."""
        if self.closed:
            return {"status": "stopped", "error": "stopped"}
        server = self.server
        if server is None:
            return {"status": "lost", "counts": False, "error": f"ComfyUI did not start: {problem}"}
        end = time.monotonic() + 3.0  # one whose connection has just broken gets a moment to end
        while server.alive() and time.monotonic() < end:
            try:
                server.client.get("/prompt", timeout=5)
                return {"status": "failed", "error": self._plain(problem)}
            except (OSError, ValueError, HttpError):
                time.sleep(0.1)
        code = server.exit_code()
        server.stop()
        return {"status": "lost", "counts": True, "error": f"ComfyUI ended (code {code}) while it worked on this item"}

    def _plain(self, problem: Exception) -> str:
        """Without this machine's folders: records are shared."""
        text = str(problem) or type(problem).__name__
        for folder in (self._base / "input", self._base / "output", self._base, self.paths.home, self.paths.root):
            text = text.replace(f"{folder}{os.sep}", "")
        return text

    def _alive(self) -> bool:
        """Whether the server runs and answers; asked only while it sends nothing.  A hung one is ended."""
        server, now = self.server, time.monotonic()
        if server is None or self.closed or not server.alive():
            return False
        if now - self._asked > 2 * PROBE:  # it has sent events in between
            self._answered = now
        if now - self._asked < PROBE:
            return True
        self._asked = now
        try:
            server.client.get("/prompt", timeout=5)
            self._answered = now
        except (OSError, ValueError, HttpError):
            if now - self._answered > PATIENCE and server.process is not None:
                server.process.kill()
                return False
        return True

    def _running(self) -> ComfyServer:
        """The server, started where there is none or the last one has ended."""
        if self.server is not None and self.server.alive():
            return self.server
        if self.closed:
            raise LaunchError("this worker is closed")
        for attempt in range(STARTS):
            if self.server is not None:
                self.server.stop()
            self.server = self._new_server()
            try:
                self.server.__enter__()
                return self.server
            except LaunchError:
                self.server = None  # it has stopped itself
                if attempt == STARTS - 1:
                    raise
        raise LaunchError("ComfyUI did not start")

    def _new_server(self) -> ComfyServer:
        # A port by process number: two workers that start together do not look at the same free one.
        port = 20000 + (os.getpid() * 7) % 40000
        return ComfyServer(self.paths, self._base, port=port, gpu=bool(self.settings["gpu"]),
                           arguments=self.settings.get("arguments") or (), log=self._base / "server.log",
                           env={"HF_HUB_OFFLINE": "1"})

    def _own_base(self) -> Path:
        """A base directory for this worker alone; what dead ones left on this machine is removed."""
        place, host = self.paths.home / "cluster", "".join(c for c in platform.node() if c.isalnum()) or "node"
        for old in place.glob(f"worker-{host}-*-*"):
            number = old.name.split("-")[-2]
            if os.name != "nt" and number.isdigit() and not guard.alive(int(number)):
                shutil.rmtree(old, ignore_errors=True)
        base = place / f"worker-{host}-{os.getpid()}-{uuid.uuid4().hex[:6]}"
        base.mkdir(parents=True)
        (self.paths.base / "models").mkdir(parents=True, exist_ok=True)
        environment.link_folder(self.paths.base / "models", base / "models")
        (base / "custom_nodes").mkdir()
        environment.link_pack(self.paths, base / "custom_nodes")
        others = self.paths.base / "custom_nodes"
        for entry in sorted(others.iterdir()) if others.is_dir() else []:
            if entry.name != "lift123" and entry.name[0] not in "._":
                environment.link_folder(entry, base / "custom_nodes" / entry.name)
        return base

    def _folder(self, key: str) -> Path:
        return self._base / "output" / "cluster" / key[: results.LETTERS]

    def _memory(self) -> float:
        """Peak resident memory of the server in GB, 0 where the system does not say."""
        try:
            text = Path(f"/proc/{self.server.pid}/status").read_text() if self.server else ""
            return next(int(line.split()[1]) / 1e6 for line in text.splitlines() if line.startswith("VmHWM:"))
        except (OSError, ValueError, StopIteration):
            return 0.0
