"""What a queued graph would refuse after hours, found before anything runs; the rules are ``graph_rules``.

A node's ``validate_inputs`` is not shown what comes by wire.  But the graph is at hand in that moment: ComfyUI hands the body
of ``POST /prompt`` to :func:`on_prompt` and then checks it in the same task, naming the node it is at.  Without a server,
or where the graph holds nodes of other packs, nothing is known and nothing is refused; the nodes check again when they run.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextvars import ContextVar

from comfy_execution.utils import get_executing_context

from ..pipelines.core.errors import InputError
from .convert import parse_angles
from .graph_rules import OURS, refuse

_queued: ContextVar[dict | None] = ContextVar("lift123_queued", default=None)


def on_prompt(request: dict) -> dict:
    """ComfyUI's hook for the body of ``POST /prompt``: remembers the graph and takes NaN out of its numbers.

    ComfyUI's own range check lets NaN through (no comparison with it is true); words it refuses.
    """
    graph = request.get("prompt")
    if not isinstance(graph, dict) or not all(isinstance(node, dict) for node in graph.values()):
        return request
    graph = {key: _spoken(node) if str(node.get("class_type", "")).startswith(OURS) else node for key, node in graph.items()}
    _queued.set(graph)
    return {**request, "prompt": graph}


def _spoken(node: dict) -> dict:
    inputs = node.get("inputs")
    if not isinstance(inputs, dict):
        return node
    return {**node, "inputs": {k: "not a number" if isinstance(v, float) and math.isnan(v) else v for k, v in inputs.items()}}


def told(check: Callable, *values) -> bool | str:
    """For ``validate_inputs``: True, or the sentence of the InputError that ``check(*values)`` raises."""
    try:
        check(*values)
        return True
    except InputError as problem:
        return str(problem)


def readable(**angles: str | None) -> bool | str:
    """For ``validate_inputs``: :func:`crossed`, or the sentence about the first text that is no row of angles.

    None stands for a text that comes by wire and is not known yet.
    """
    for name, text in angles.items():
        found = True if text is None else told(parse_angles, text, name)
        if found is not True:
            return found
    return crossed()


def crossed() -> bool | str:
    """For ``validate_inputs``: True, or the sentence that says which wire of the node at hand is wrong."""
    graph, context = _queued.get(), get_executing_context()
    if graph is None or context is None or context.node_id not in graph:
        return True
    return told(refuse, graph, context.node_id)
