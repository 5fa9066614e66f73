"""A batch that goes on by itself: when the run of one element has ended, the same graph is queued again for the next.

The server does it, so that it also works for prompts of scripts and with the browser closed.  The new prompt keeps the
client's id (the browser that began shows it), the place in the queue, and everything else that came with the first.
An interruption ends the batch; what is done stays done, and queueing the graph again goes on.
"""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from dataclasses import dataclass, field

from comfy_execution.utils import get_executing_context

from . import attempts, runs
from .endings import queued_item, status_of

log = logging.getLogger(__name__)
ROUTE = "/lift123/batch"
POLL_SECONDS = 0.1


@dataclass
class Turn:
    """One run of a batch.

    element: what it works on, None for none; tried: prefixes that this batch has taken so far, this one included;
    prefixes: of the whole list; position: "model 12 of 90"; more: whether another run follows; stop: a person wants it
    to end after this one.
    """

    list_node: str
    element: runs.Element | None
    tried: set[str]
    prefixes: list[str]
    position: int
    more: bool
    stop: bool = False

    @property
    def total(self) -> int:
        return len(self.prefixes)


@dataclass
class _Queue:
    """What is known of the server's prompts."""

    running: dict[str, Turn] = field(default_factory=dict)
    tried: dict[str, set[str]] = field(default_factory=dict)  # by prompts that wait for their turn
    stopped: set[str] = field(default_factory=set)  # of those, the ones that are to be the last


_state = _Queue()


def prompt_id() -> str | None:
    """Of the prompt that is executed now; None outside the server."""
    context = get_executing_context()
    return context.prompt_id if context is not None else None


def tried() -> set[str]:
    """Prefixes of the elements that this batch has tried before the prompt that runs now."""
    return set(_state.tried.pop(prompt_id() or "", ()))


def follows() -> bool:
    """Whether the prompt that runs now is one run of a batch and will be followed by another."""
    turn = _state.running.get(prompt_id() or "")
    return turn is not None and turn.more and not turn.stop


def watch(turn: Turn) -> None:
    """Sees to what comes after the prompt that runs now: records, and the next run.  A no-op outside the server."""
    from server import PromptServer

    server, prompt = getattr(PromptServer, "instance", None), prompt_id()
    item = queued_item(server, prompt)
    if server is None or prompt is None or item is None:
        return
    turn.stop = prompt in _state.stopped
    _state.running[prompt] = turn
    asyncio.run_coroutine_threadsafe(_follow(server, prompt, item, turn), server.loop)


def stop(queue) -> list[str]:
    """Batches end after the element that they work on; returns the ids of their prompts.

    queue: the server's; a next run that waits in it is taken out.
    """
    for turn in _state.running.values():
        turn.stop = True
    waiting = _waiting(queue)
    for prompt in waiting:  # it may have left the queue and not yet reached its list
        _state.stopped.add(prompt)
        queue.delete_queue_item(lambda item, prompt=prompt: item[1] == prompt)
    return [*_state.running, *waiting]


def _waiting(queue) -> list[str]:
    """Next runs that are in the queue; those that somebody has taken out are forgotten."""
    running, queued = queue.get_current_queue_volatile()
    there = {item[1] for item in (*running, *queued)}
    for prompt in [prompt for prompt in _state.tried if prompt not in there]:
        _state.tried.pop(prompt, None)
        _state.stopped.discard(prompt)
    return list(_state.tried)


def register_routes(server) -> None:
    """GET /lift123/batch tells what runs; POST /lift123/batch/stop ends batches after their current element."""
    from aiohttp import web

    @server.routes.get(ROUTE)
    async def status(_):
        now = [{"prompt_id": prompt, "item": turn.element.name if turn.element else "", "position": turn.position,
                "total": turn.total, "follows": turn.more and not turn.stop} for prompt, turn in _state.running.items()]
        return web.json_response({"running": now + [
            {"prompt_id": prompt, "item": "", "position": 0, "total": 0, "follows": True}
            for prompt in _waiting(server.prompt_queue)]})

    @server.routes.post(f"{ROUTE}/stop")
    async def end(_):
        return web.json_response({"stopping": stop(server.prompt_queue)})


async def _follow(server, prompt: str, item: tuple, turn: Turn) -> None:
    try:
        while queued_item(server, prompt) is not None:
            await asyncio.sleep(POLL_SECONDS)
        if settle(status_of(server, prompt), prompt, turn):
            _queue_again(server, item, turn)
        elif not turn.more or turn.stop:
            runs.tell_browser("lift123.batch", _summary(turn))
    except Exception as problem:  # nobody waits for this task
        log.error("Lift123: the batch does not go on: %s. Queue the graph again.", problem, exc_info=problem)
        runs.tell_browser("lift123.failed", f"The batch does not go on: {problem}. Queue the graph again.")
    finally:
        _state.running.pop(prompt, None)


def settle(status: dict, prompt: str, turn: Turn) -> bool:
    """Records how the run of ``turn`` has ended; whether the next one is to be queued.

    status: of the prompt, as ComfyUI's history keeps it; {} where it is gone.
    """
    messages = dict(reversed([tuple(m) for m in status.get("messages") or ()]))
    element = turn.element
    if "execution_interrupted" in messages:
        if element is not None:
            attempts.withdraw(element.prefix, prompt)
        log.info("Lift123: the batch was interrupted; queue the graph again to go on")
        return False
    error = messages.get("execution_error")
    open_still = element is not None and attempts.end(element.prefix, prompt)
    if element is not None and open_still and error is not None:  # another pack's; our nodes record their errors themselves
        text = str(error.get("exception_message", "")).strip() or error.get("exception_type", "unknown error")
        runs.record_failure(element, str(error.get("node_type", "")), RuntimeError(text), error.get("node_id"))
    return turn.more and not turn.stop


def _queue_again(server, item: tuple, turn: Turn) -> None:
    number, _, graph, extra, *rest = item
    fresh = str(uuid.uuid4())
    _state.tried[fresh] = turn.tried
    extra = {**extra, "create_time": int(time.time() * 1000)}
    server.prompt_queue.put((number, fresh, graph, extra, *rest))


def _summary(turn: Turn) -> str:
    failed = sum(runs.failure_path(prefix).is_file() for prefix in turn.prefixes)
    if turn.stop:
        return f"The batch was stopped after {turn.position} of {turn.total}, {failed} failed. Queue the graph again to go on."
    return f"The batch has come to its end: {turn.position} of {turn.total} were worked on, {failed} failed."
