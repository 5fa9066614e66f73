"""Queueing a prompt and following it to its end over the websocket."""

import json
import struct
import time
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlencode

from .server import Client, HttpError
from .terminal import ProgressLine, bar
from .websocket import WebSocketClosed

_TEXT_EVENT = 3  # server.py BinaryEventTypes.TEXT: node id length, node id, text


class PromptFailed(Exception):
    """A prompt was rejected, failed or was interrupted; the text says where and why."""

    def __init__(self, message: str, node_id: str = "", interrupted: bool = False, detail: str = ""):
        super().__init__(message)
        self.node_id, self.interrupted, self.detail = node_id, interrupted, detail


@dataclass
class Job:
    """State of one queued prompt, as the events tell it."""

    prompt_id: str
    titles: dict
    node: str = ""
    value: float = 0.0
    maximum: float = 0.0
    text: str = ""
    finished: set = field(default_factory=set)
    ended: bool = False
    error: PromptFailed | None = None

    def line(self) -> str:
        """One line: which node of how many, its steps, and the text that the node itself sends (time left, losses)."""
        total = len(self.titles)
        head = f"{min(len(self.finished) + 1, total)}/{total} {self.titles.get(self.node, self.node or 'waiting')}"
        steps = f" {bar(self.value / self.maximum)}" if self.maximum > 1 else ""
        if steps and f"/{self.maximum:g}" not in self.text:  # the stages' own text counts their iterations
            steps += f" {self.value:g}/{self.maximum:g}"
        return head + steps + (f"  {self.text}" if self.text else "")


def titles_of(prompt: dict) -> dict:
    """Node id -> the title to show."""
    return {key: node.get("_meta", {}).get("title") or node["class_type"] for key, node in prompt.items()}


def apply_event(job: Job, message) -> bool:
    """Updates ``job`` from one websocket message; True when something worth showing changed."""
    if isinstance(message, (bytes, bytearray)):
        return _apply_binary(job, bytes(message))
    event = json.loads(message)
    data = event.get("data") or {}
    if data.get("prompt_id") != job.prompt_id:
        return False
    kind = event.get("type")
    if kind == "executing":
        job.node, job.value, job.maximum, job.text = data.get("display_node") or data.get("node") or "", 0, 0, ""
        return bool(job.node)
    if kind == "progress_state":
        return _apply_states(job, data.get("nodes", {}))
    if kind == "execution_cached":
        job.finished.update(data.get("nodes", []))
    elif kind == "execution_success":
        job.ended = True
    elif kind == "execution_interrupted":
        job.ended, job.error = True, PromptFailed("interrupted", str(data.get("node_id", "")), interrupted=True)
    elif kind == "execution_error":
        job.ended, job.error = True, failure(data, job.titles)
    return False


def _apply_binary(job: Job, message: bytes) -> bool:
    if len(message) < 8 or struct.unpack_from(">I", message)[0] != _TEXT_EVENT:
        return False
    size = struct.unpack_from(">I", message, 4)[0]
    job.text = " ".join(message[8 + size :].decode("utf-8", "replace").split())
    return True


def _apply_states(job: Job, nodes: dict) -> bool:
    for key, state in nodes.items():
        if state.get("state") == "finished":
            job.finished.add(state.get("display_node_id") or key)
        elif state.get("state") == "running":
            job.value, job.maximum = state.get("value", 0), state.get("max", 0)
    return True


def failure(data: dict, titles: dict) -> PromptFailed:
    """An execution_error event as an exception with one clear line."""
    node = str(data.get("node_id", ""))
    text = str(data.get("exception_message", "")).strip() or data.get("exception_type", "unknown error")
    trace = "".join(data.get("traceback") or [])
    return PromptFailed(f"{titles.get(node, data.get('node_type', node))}: {text}", node, detail=trace)


def rejection(error: HttpError, titles: dict) -> PromptFailed:
    """ComfyUI's answer to a prompt that it does not take, as one line per node."""
    body = error.body if isinstance(error.body, dict) else {}
    lines = []
    for node, entry in (body.get("node_errors") or {}).items():
        for item in entry.get("errors", []):
            lines.append(f"{titles.get(node, node)}: {item.get('message', '')} {item.get('details', '')}".strip())
    head = body.get("error", {})
    head = head.get("message", "") if isinstance(head, dict) else str(head)
    return PromptFailed("; ".join(lines) or head or str(error), detail=json.dumps(error.body, default=str))


def run(client: Client, prompt: dict, line: ProgressLine | None = None, workflow: dict | None = None, alive=None,
        on_event=None, timeout: float | None = None) -> dict:
    """Queues ``prompt`` and waits; returns its history entry (``outputs``, ``status``).

    ``alive`` tells whether the server still runs; ``on_event(job, message)`` sees every message.
    Raises PromptFailed when it is rejected, fails, is interrupted or takes longer than ``timeout`` seconds.
    """
    titles, begin = titles_of(prompt), time.monotonic()
    socket, client_id = client.websocket()
    try:
        socket.receive(timeout=60)  # ComfyUI's greeting: from now on it knows where to send events
        try:
            job = Job(client.queue(prompt, workflow, client_id), titles)
        except HttpError as error:
            raise rejection(error, titles) from None
        while not job.ended:
            if timeout and time.monotonic() - begin > timeout:
                client.interrupt()
                raise PromptFailed(f"not finished after {timeout:.0f} s ({job.line()})")
            _next_event(client, socket, job, line, alive, on_event)
        if job.error:
            raise job.error
        return _wait_for_history(client, job.prompt_id)
    finally:
        socket.close()
        if line:
            line.close()


def _next_event(client, socket, job, line, alive, on_event) -> None:
    try:
        message = socket.receive(timeout=2.0)
    except TimeoutError:
        if alive and not alive():
            raise PromptFailed("ComfyUI ended unexpectedly") from None
        if client.history(job.prompt_id):  # the last event can be lost when a client reconnects
            job.ended = True
        return
    except WebSocketClosed:
        raise PromptFailed("ComfyUI closed the connection") from None
    changed = apply_event(job, message)
    if on_event:
        on_event(job, message)
    if changed and line:
        line.show(job.line())


def wait_until_settled(output: Path, since: float, seconds: float = 3.0) -> None:
    """Waits until the server has removed what it kept of finished stages in case that a later one failed.

    It looks at its queue four times a second (``host/endings.py``); a server that is ended before that leaves the files, and
    the next run of the same graph would take its stages from them.  output: ComfyUI's output folder; since: ``time.time()``
    at the prompt's beginning.  After ``seconds`` at most: files of others may be as new.
    """
    end = time.monotonic() + seconds
    while time.monotonic() < end and any(_newer(file, since) for file in output.glob("lift123/unfinished/*_done_*.safetensors")):
        time.sleep(0.1)


def _newer(file: Path, since: float) -> bool:
    try:
        return file.stat().st_mtime >= since
    except OSError:  # removed just now
        return False


def _wait_for_history(client: Client, prompt_id: str, seconds: float = 10.0) -> dict:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        entry = client.history(prompt_id)
        if entry:
            status = entry.get("status", {})
            for name, data in status.get("messages", []):
                if name == "execution_error":
                    raise failure(data, {})
                if name == "execution_interrupted":
                    raise PromptFailed("interrupted", interrupted=True)
            return entry
        time.sleep(0.1)
    raise PromptFailed("finished, but its history is missing")


def saved_files(entry: dict, output: Path) -> list:
    """Every file of type "output" that the nodes of a history entry name, as paths, without repeats, in order."""
    found = []

    def visit(value):
        if isinstance(value, dict):
            if isinstance(value.get("filename"), str) and value.get("type") == "output":
                path = output / value.get("subfolder", "") / value["filename"]
                if path not in found:
                    found.append(path)
            else:
                for inner in value.values():
                    visit(inner)
        elif isinstance(value, (list, tuple)):
            for inner in value:
                visit(inner)

    visit(entry.get("outputs", {}))
    return found


def keep_previews(client, entry: dict, folder: Path, name: str) -> list:
    """Fetches the pictures that a graph of previews only has shown, before its server ends; their paths, in order."""
    shown = [p for node in entry.get("outputs", {}).values() for p in node.get("images", []) if p.get("type") == "temp"]
    kept = []
    for number, picture in enumerate(shown, start=1):
        path = folder / f"{name}_{number:02d}{Path(picture['filename']).suffix}"
        folder.mkdir(parents=True, exist_ok=True)
        path.write_bytes(client.raw(f"/view?{urlencode(picture)}"))
        kept.append(path)
    return kept
