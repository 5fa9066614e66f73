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
from . import runs, turns

log = logging.getLogger(__name__)
POLL_SECONDS = 0.25
MOST = 256  # that wait for a later prompt; the oldest are forgotten


@dataclass(frozen=True)
class Pending:
    """action: to be called; node: the id of who asked; made_of: see :func:`description`; turn: of a batch, or None."""

    action: Callable[[], None]
    node: str
    made_of: str
    turn: turns.Turn | None


_waiting: dict[str, list[Pending]] = {}  # by prompts that run
_left: list[Pending] = []  # by prompts that did not end well


def when_well(action: Callable[[], None]) -> bool:
    """Calls ``action``, in a thread, when the prompt that runs now ends well; False outside a server, where none does."""
    context = get_executing_context()
    if context is None:
        return False
    from server import PromptServer

    server = getattr(PromptServer, "instance", None)
    item = turns.queued_item(server, context.prompt_id)
    if server is None or item is None:
        return False
    prompt, graph = context.prompt_id, item[2]
    known = prompt in _waiting
    pending = Pending(action, context.node_id, description(graph, context.node_id), turns.running(prompt))
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
    done = [pending for pending in mine if well and not _failed(pending.turn)]
    _left.extend(pending for pending in mine if pending not in done)
    del _left[:-MOST]
    if well:
        same = [p for p in _left if p not in mine and p.made_of and p.made_of == description(graph, p.node)]
        _left[:] = [pending for pending in _left if pending not in same]
        done += same
    return [pending.action for pending in done]


def _failed(turn: turns.Turn | None) -> bool:
    """Whether a batch goes on although its element has failed: the prompt then ends as if all were well."""
    return turn is not None and turn.element is not None and runs.failure_path(turn.element.prefix).is_file()


async def _follow(server, prompt: str, graph: dict) -> None:
    try:
        while turns.queued_item(server, prompt) is not None:
            await asyncio.sleep(POLL_SECONDS)
        well = turns.status_of(server, prompt).get("status_str") == "success"
        for action in settle(prompt, graph, well):
            await asyncio.to_thread(action)
    except Exception as problem:  # nobody waits for this task
        log.warning("Lift123: what is kept for a prompt that has ended stays: %s", problem)
