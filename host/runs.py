"""A list of runs inside one graph: which element is running, is it done, and what if it fails.

ComfyUI runs every node behind a list once per element, and one exception ends the whole prompt.  So behind Batch List
a node that fails hands on "blocked" for that element instead (``ExecutionBlocker`` without a message, which ComfyUI
skips in silence), and leaves a record of the failure where the result would have been.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from comfy_api.latest import io
from comfy_execution.graph import ExecutionBlocker
from comfy_execution.utils import get_executing_context

from ..pipelines.io import plain_json, runs
from . import attempts, endings
from .runner import say

log = logging.getLogger(__name__)
LIST = "Lift123_BatchList"


@dataclass(frozen=True)
class Element:
    """One run: name for files and tables, prefix of its results, value as people see it, identity for the key."""

    name: str
    prefix: str
    value: object
    identity: object


_elements: dict[str, list[Element]] = {}  # by list node, as last handed out; a cached list node stays as it was
_by_prefix: dict[str, tuple[str, Element]] = {}


def hand_out(list_node: str, elements: list[Element]) -> None:
    """Remembers what a list node has given, so that nodes behind it can say which element they work on."""
    _elements[list_node] = elements
    _by_prefix.update({element.prefix: (list_node, element) for element in elements})


def batch_record(prefix: str, graph: dict | None, node: str | None) -> dict | None:
    """For the manifest of a result written under ``prefix`` by ``node``: element and key; None outside a batch."""
    if prefix not in _by_prefix or not graph or node is None or node not in graph:
        return None
    list_node, element = _by_prefix[prefix]
    if list_node not in runs.upstream(graph, node):
        return None
    return {"item": element.name, "value": element.value, "key": key_of(graph, node, list_node, element)}


def key_of(graph: dict, node: str, list_node: str | None, element: Element) -> str:
    """What makes this run this run: the element's content and all settings on the way to ``node``."""
    return runs.run_key(graph, node, {list_node: element.identity})


def forget_failure(prefix: str) -> None:
    """Removes the record of an earlier failure, and that of its beginning, once the run has come to its end."""
    if prefix in _by_prefix:
        failure_path(prefix).unlink(missing_ok=True)
        attempts.end(prefix)


def set_aside(element: Element, key: str) -> bool:
    """Whether this very run is left out because servers ended in it."""
    try:
        return plain_json.parse(failure_path(element.prefix).read_text(encoding="utf-8")).get("set_aside") == key
    except (OSError, ValueError, AttributeError):
        return False


def failure_path(prefix: str) -> Path:
    """Where a failed run leaves its record."""
    import folder_paths

    return Path(folder_paths.get_output_directory()) / f"{prefix}{runs.FAILED}"


def absorb(schema: io.Schema, problem: Exception) -> io.NodeOutput | None:
    """What a node gives instead of raising ``problem``: blocked outputs for this element; None outside a batch."""
    context = get_executing_context()
    graph = running_graph(context.prompt_id) if context is not None else None
    if context is None or graph is None:
        return None
    before = runs.upstream(graph, context.node_id) - {context.node_id}
    lists = [key for key in before if graph[key]["class_type"] == LIST and _elements.get(key)]
    if not lists:
        return None
    elements = _elements[max(lists, key=lambda key: len(_elements[key]))]
    element = elements[min(context.list_index or 0, len(elements) - 1)]
    record_failure(element, schema.display_name, problem, context.node_id)
    endings.spoil()
    return blocked(schema)


def blocked(schema: io.Schema) -> io.NodeOutput:
    """Outputs that ComfyUI skips in silence."""
    return io.NodeOutput(*(ExecutionBlocker(None) for _ in schema.outputs))


def record_failure(element: Element, where: str, problem: Exception, node_key: str | None, aside: str = "") -> None:
    """Log, the node's text, a message in the browser, and a file for Results.  Never raises.

    aside: the key of a run that is not to be tried again.
    """
    from ..pipelines.io.manifest import write_manifest

    text = f"{where}: {problem}"
    log.error("Lift123: run %s failed, the others go on. %s", element.name, text, exc_info=problem)
    say(f"{element.name} failed, the others go on. {text}", node_key)
    try:
        path = failure_path(element.prefix)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_manifest(path, {"manifest": 1, "method": "lift123", "error": text,
                              "batch": {"item": element.name, "value": element.value}, "set_aside": aside})
        attempts.end(element.prefix)
        tell_browser("lift123.failed", f"{element.name} failed, the others go on. {text}")
    except Exception as trouble:  # the other runs matter more
        log.warning("the failure of %s could not be recorded: %s", element.name, trouble)


def tell_browser(event: str, text: str) -> None:
    """A message to the browser that the running prompt came from (a no-op without a server)."""
    from server import PromptServer

    if getattr(PromptServer, "instance", None) is not None:
        PromptServer.instance.send_sync(event, {"text": text}, PromptServer.instance.client_id)


def running_graph(prompt_id: str) -> dict | None:
    """The graph (API format) that the server is working on under that id; None without a server."""
    from server import PromptServer

    queue = getattr(getattr(PromptServer, "instance", None), "prompt_queue", None)
    if queue is None:
        return None
    running, _ = queue.get_current_queue_volatile()
    return next((item[2] for item in running if item[1] == prompt_id), None)
