"""What is to happen once the prompt that runs now has ended well.

ComfyUI tells no node how its prompt ends, so its queue is watched, as for batches (``host.turns``).  A prompt that ends
with an error or is interrupted is often queued again, and ComfyUI then takes from its memory what the first attempt has
made: what that attempt has left to do is done when a later prompt ends well that contains the same nodes with the same
inputs.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from dataclasses import dataclass

from comfy_execution.utils import get_executing_context

from ..pipelines.io.runs import upstream

log = logging.getLogger(__name__)
POLL_SECONDS = 0.25
MOST = 256  # that wait for a later prompt; the oldest are forgotten


@dataclass(frozen=True)
class Pending:
    """action: to be called; node: the id of who asked; made_of: see :func:`description`."""

    action: Callable[[], None]
    node: str
    made_of: str


_waiting: dict[str, list[Pending]] = {}  # by prompts that run
_left: list[Pending] = []  # by prompts that did not end well
_spoiled: set[str] = set()  # prompts that run


def when_well(action: Callable[[], None]) -> bool:
    """Calls ``action``, in a thread, when the prompt that runs now ends well; False outside a server, where none does."""
    context = get_executing_context()
    if context is None:
        return False
    from server import PromptServer

    server = getattr(PromptServer, "instance", None)
    item = queued_item(server, context.prompt_id)
    if server is None or item is None:
        return False
    prompt, graph = context.prompt_id, item[2]
    known = prompt in _waiting
    pending = Pending(action, context.node_id, description(graph, context.node_id))
    _waiting.setdefault(prompt, []).append(pending)
    if not known:
        asyncio.run_coroutine_threadsafe(_follow(server, prompt, graph), server.loop)
    return True


def description(graph: dict, node: str) -> str:
    """A node of a prompt and all that it is made of, as text: equal texts are equal work.  "" for one made on the way."""
    if node not in graph:
        return ""
    told = {name: [graph[name]["class_type"], graph[name]["inputs"]] for name in upstream(graph, node)}
    return json.dumps(told, sort_keys=True, default=str)


def settle(prompt: str, graph: dict, well: bool) -> list[Callable[[], None]]:
    """What is to be called now that a prompt has ended; otherwise it waits for a later one."""
    mine = _waiting.pop(prompt, [])
    if not well or prompt in _spoiled:
        _spoiled.discard(prompt)
        _left.extend(mine)
        del _left[:-MOST]
        return []
    same = [pending for pending in _left if pending.made_of and pending.made_of == description(graph, pending.node)]
    _left[:] = [pending for pending in _left if pending not in same]
    return [pending.action for pending in (*mine, *same)]


def spoil() -> None:
    """The prompt that runs now will look as if it had ended well, and has not: an element of a batch has failed."""
    context = get_executing_context()
    if context is not None and context.prompt_id in _waiting:
        _spoiled.add(context.prompt_id)


async def _follow(server, prompt: str, graph: dict) -> None:
    try:
        while queued_item(server, prompt) is not None:
            await asyncio.sleep(POLL_SECONDS)
        well = status_of(server, prompt).get("status_str") == "success"
        for action in settle(prompt, graph, well):
            await asyncio.to_thread(action)
    except Exception as problem:  # nobody waits for this task
        log.warning("Lift123: what is kept for a prompt that has ended stays: %s", problem)


def queued_item(server, prompt: str | None) -> tuple | None:
    """What ComfyUI's queue holds for the prompt while it runs; None for one that does not."""
    queue = getattr(server, "prompt_queue", None)
    if queue is None or prompt is None:
        return None
    return next((item for item in queue.get_current_queue_volatile()[0] if item[1] == prompt), None)


def status_of(server, prompt: str) -> dict:
    """The prompt's status in ComfyUI's history, {} where it has been cleared."""
    found = server.prompt_queue.get_history(prompt_id=prompt, map_function=lambda entry: entry["status"])
    return found.get(prompt) or {}
