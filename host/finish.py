"""'Finish with what you have': a request from the browser that ends the running stage early.

ComfyUI runs one node at a time, so a request without a node id means "the stage that runs now".
"""

from __future__ import annotations

import logging
import threading
from contextlib import contextmanager

log = logging.getLogger(__name__)
ROUTE = "/lift123/finish"
_running: dict[str, threading.Event] = {}
_lock = threading.Lock()


@contextmanager
def listening(key: str):
    """An event that is set when somebody asks the stage called ``key`` to finish."""
    event = threading.Event()
    with _lock:
        _running[key] = event
    try:
        yield event
    finally:
        with _lock:
            _running.pop(key, None)


def request(key: str | None = None) -> list[str]:
    """Ask one stage (or, with None, all running ones) to finish; returns the ids that were asked."""
    with _lock:
        asked = [k for k in _running if key in (None, k)]
        for k in asked:
            _running[k].set()
    return asked


def register_route(routes) -> None:
    """POST /lift123/finish, with {"node_id": "12"} or nothing -> {"finishing": [ids]}; 400 for anything else."""
    from aiohttp import web

    @routes.post(ROUTE)
    async def finish(http):
        try:
            body = await http.json() if http.can_read_body else {}
        except (ValueError, RecursionError):  # no JSON, no text, or nested without end
            body = None
        if not isinstance(body, dict):
            said = 'expected a JSON object such as {"node_id": "12"}, or nothing'
            return web.json_response({"error": said}, status=400)
        node_id = body.get("node_id")
        return web.json_response({"finishing": request(None if node_id is None else str(node_id))})
