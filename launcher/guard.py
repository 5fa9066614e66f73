"""Ends a ComfyUI in an orderly way: first what runs in it is interrupted, so that the partial result is kept.

    python launcher/guard.py PID PORT FOLDER      (started by ``server.ComfyServer``; alone, without the package)

As a script it waits for its standard input to end, which happens whenever the launcher does, SIGKILL included.  Then it
interrupts, ends the server, and removes its temp folder.  The word "done" before the end tells that the launcher has
seen to all that itself.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import sys
import time
import urllib.request
from collections.abc import Callable

PATIENCE = 30.0  # seconds for a stage to save what it has
FORCE_AFTER = 10.0  # seconds between asking a server to end and ending it
DONE = b"done"
_NO_PROXY = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # the server is on this machine


def ask(port: int, path: str, value=None, timeout: float = 5.0):
    """Parsed JSON of a GET, or of a POST of ``value``; None where there is no answer."""
    data = None if value is None else json.dumps(value).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", data, {"Content-Type": "application/json"})
    try:
        with _NO_PROXY.open(request, timeout=timeout) as answer:
            return json.loads(answer.read() or b"{}")
    except (OSError, ValueError):
        return None


def interrupt(port: int, alive: Callable[[], bool], patience: float = PATIENCE,
              tell: Callable[[], None] = lambda: None) -> bool:
    """Empties the queue, interrupts what runs, waits for its end; whether anything ran.

    tell: called before the wait, if there is one.
    """
    if not alive() or not (ask(port, "/queue") or {}).get("queue_running"):
        return False
    tell()
    ask(port, "/lift123/batch/stop", {})  # or a batch goes on with its next element
    ask(port, "/queue", {"clear": True})
    ask(port, "/interrupt", {})
    end = time.monotonic() + patience
    while alive() and time.monotonic() < end:
        queue = ask(port, "/queue")
        if queue is not None and not queue.get("queue_running"):
            break
        time.sleep(0.1)
    return True


def alive(pid: int) -> bool:
    """Whether a process is there and runs; POSIX only (on Windows ``os.kill`` would end it)."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # somebody else's
        return True
    return _stat(pid)[:1] != ["Z"]  # ended, but nobody has asked how


def end(pid: int) -> None:
    """Ends a process that need not be a child of this one, with what it has started; politely, then not."""
    if os.name == "nt":
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGTERM)
        return
    for number, seconds in ((signal.SIGTERM, FORCE_AFTER), (signal.SIGKILL, 1.0)):
        with contextlib.suppress(OSError):
            os.killpg(pid, number)
        last = time.monotonic() + seconds
        while alive(pid) and time.monotonic() < last:
            time.sleep(0.05)


def birth(pid: int) -> str:
    """What tells a process from a later one of the same number, where the system says it (Linux); else ""."""
    return "".join(_stat(pid)[19:20])


def _stat(pid: int) -> list[str]:
    """State, parent, ... start (the twentieth) of a process as Linux tells them; [] elsewhere and for none."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            return file.read().rpartition(")")[2].split()
    except OSError:
        return []


def main(pid: int, port: int, folder: str) -> None:
    """Waits for the launcher's end."""
    born = birth(pid)

    def lives() -> bool:
        return birth(pid) == born if born or os.name == "nt" else alive(pid)

    if sys.stdin.buffer.read() == DONE:
        return
    if lives():
        interrupt(port, lives)
    if lives():
        end(pid)
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
