"""The shipped graphs: new inputs in UI files (what the browser saves), and API twins (what ``POST /prompt`` takes).

Covers what these graphs use: widgets in schema order, links, notes, bypassed and muted nodes, subgraphs
(``subgraphs.py``).  Values that are there are never touched.  ``info`` is the server's ``/object_info`` or
``definitions.object_info``, which says the same.
"""

from __future__ import annotations

import copy

from ..host import renamed
from . import subgraphs
from .definitions import OURS, SyncError, schema_inputs

WIDGETS = ("INT", "FLOAT", "STRING", "BOOLEAN", "COMBO")
UI_ONLY = ("Note", "MarkdownNote", "Reroute", "PrimitiveNode")
MUTED, BYPASSED = 2, 4
OPTIONAL = 7  # litegraph's shape of a socket that may stay empty


def core_nodes(workflow: dict) -> set[str]:
    """ComfyUI's own nodes in a UI-format workflow that are part of its prompt."""
    return {n["type"] for n in subgraphs.all_nodes(workflow) if in_prompt(n) and not n["type"].startswith(OURS)}


def in_prompt(node: dict) -> bool:
    """Whether the browser sends this node to the server."""
    return node["type"] not in UI_ONLY and node.get("mode", 0) not in (MUTED, BYPASSED)


# --------------------------------------------------------------------------------------------- twins


def ui_to_api(workflow: dict, info: dict) -> dict:
    """The API-format prompt of a UI-format workflow; old names become today's.

    ValueError names a node type that ``info`` does not know.
    """
    workflow = subgraphs.unfolded(workflow)
    nodes = {node["id"]: node for node in workflow["nodes"]}
    links = {link[0]: (link[1], link[2]) for link in workflow["links"]}
    prompt = {}
    for node in sorted(nodes.values(), key=lambda n: [int(part) for part in str(n["id"]).split(":")]):
        if not in_prompt(node):
            continue
        kind = renamed.node_name(node["type"])
        if kind not in info:
            raise ValueError(f"the server has no node {node['type']!r} (node {node['id']})")
        inputs = widget_values(node, info[kind])
        for slot in node.get("inputs", []):
            source = _source(slot.get("link"), nodes, links)
            if "value" in slot:
                inputs[slot["name"]] = slot["value"]
            if source is not None:
                inputs[slot["name"]] = [str(source[0]), source[1]]
        title = node.get("title") or info[kind].get("display_name") or kind
        prompt[str(node["id"])] = {"class_type": kind, "inputs": inputs, "_meta": {"title": title}}
    return renamed.current(prompt)


def _source(link: int | None, nodes: dict, links: dict) -> tuple[int, int] | None:
    """(node, slot) that a link brings its value from, None without one.

    A bypassed node passes on what comes in by its input of the output's type, the one at the output's place first.
    """
    source = links.get(link)
    while source is not None:
        node = nodes[source[0]]
        if node.get("mode", 0) != BYPASSED:
            return None if node.get("mode", 0) == MUTED else source
        inputs, kind = node.get("inputs", []), node["outputs"][source[1]]["type"]
        opposite = inputs[source[1] : source[1] + 1]
        passing = next((slot for slot in (*opposite, *inputs) if slot["type"] == kind), None)
        source = None if passing is None else links.get(passing.get("link"))
    return None


def widget_values(node: dict, info: dict) -> dict:
    """``widgets_values`` by input name; consumes the companion value that follows a seed or an upload."""
    values = iter(node.get("widgets_values") or [])
    named, known = {}, {name: spec for name, spec in schema_inputs(info) if is_widget(*spec)}
    for name in widget_order(node, list(known)):
        options = known[name][1]
        try:
            named[name] = next(values)
        except StopIteration:  # older file: the server fills in defaults it knows
            if "default" in options:
                named[name] = options["default"]
            continue
        if has_companion(options):
            next(values, None)
    return named


def widget_order(node: dict, known: list[str]) -> list[str]:
    """The order in which a node's values were saved: that of its inputs, where they are all there; else today's."""
    saved = [slot["name"] for slot in node.get("inputs", []) if "widget" in slot]
    return saved if set(saved) == set(known) else known


def is_widget(kind, options: dict) -> bool:
    """Whether the browser shows a widget for this input (lists are V1 combos; "A,B" is a multi-type socket)."""
    if options.get("forceInput"):
        return False
    return isinstance(kind, list) or options.get("widgetType", kind) in WIDGETS


def has_companion(options: dict) -> bool:
    """Whether a second value follows in ``widgets_values``: what becomes of a seed, the button of an upload."""
    return bool(options.get("control_after_generate") or options.get("image_upload"))


# ------------------------------------------------------------------------------------------ UI graphs


def filled_in(workflow: dict, info: dict) -> dict:
    """A copy in which every node of the pack has today's inputs and outputs, new ones with their defaults.

    SyncError where an input or output has gone, or values cannot be told apart: that is edited by hand.
    """
    workflow = copy.deepcopy(workflow)
    for graph in (workflow, *subgraphs.definitions(workflow).values()):
        for node in graph["nodes"]:
            if node["type"].startswith(OURS):
                if node["type"] not in info:
                    raise SyncError(f"node {node['id']}: there is no {node['type']} (any more)")
                _fill_inputs(node, info[node["type"]], graph["links"])
                _fill_outputs(node, info[node["type"]], graph["links"])
    return workflow


def _fill_inputs(node: dict, info: dict, links: list) -> None:
    known = dict(schema_inputs(info))
    widgets = [name for name, spec in known.items() if is_widget(*spec)]
    have = {entry["name"]: entry for entry in node["inputs"]}
    gone = [name for name in have if name not in known]
    if gone:
        raise SyncError(f"node {node['id']} ({node['type']}): input {gone[0]} has gone; edit the graph")
    order = [*(name for name in known if name not in widgets), *widgets]  # as the browser saves them
    saved = [name for name in have if name in widgets]
    if set(known) == set(have) and saved == widgets:
        return
    if widgets:
        node["widgets_values"] = _values(node, known, widgets, saved)
    optional = info["input_order"].get("optional", [])
    new = [have.get(name) or _new_input(name, known[name][0], name in widgets, name in optional) for name in order]
    _move_links(links, node["id"], 3, [entry["name"] for entry in node["inputs"]], order)
    node["inputs"] = new


def _values(node: dict, known: dict, widgets: list, saved: list) -> list:
    """``widgets_values`` in today's order, with a default in the place of every widget that was not ``saved``."""
    given, values = list(node.get("widgets_values") or []), {}
    for name in saved:
        size = 1 + has_companion(known[name][1])
        values[name], given = given[:size], given[size:]
    if given:
        raise SyncError(f"node {node['id']} ({node['type']}): more values than inputs; edit the graph")
    for name in widgets:
        options = known[name][1]
        values.setdefault(name, [options.get("default"), "fixed"][: 1 + has_companion(options)])
    return [value for name in widgets for value in values[name]]


def _new_input(name: str, kind, widget: bool, optional: bool) -> dict:
    entry = {"name": name, "type": "COMBO" if isinstance(kind, list) else kind}
    entry |= {"widget": {"name": name}} if widget else {}
    return entry | {"link": None} | ({"shape": OPTIONAL} if optional else {})


def _fill_outputs(node: dict, info: dict, links: list) -> None:
    names, kinds = list(info["output_name"]), list(info["output"])
    have = [entry["name"] for entry in node["outputs"]]
    if have == names:
        return
    if len(have) == len(names):  # other words for the same outputs
        for entry, name in zip(node["outputs"], names, strict=True):
            entry["name"] = name
        return
    if [name for name in names if name in have] != have:
        raise SyncError(f"node {node['id']} ({node['type']}): outputs {have} are not among {names}; edit the graph")
    entries = dict(zip(have, node["outputs"], strict=True))
    _move_links(links, node["id"], 1, have, names)
    node["outputs"] = [entries.get(n) or {"name": n, "type": t, "links": []} for n, t in zip(names, kinds, strict=True)]


def _move_links(links: list, node: int, end: int, before: list, after: list) -> None:
    """Slots of the links at a node, after its inputs (end 3) or outputs (end 1) have moved; links hold (node, slot)."""
    names = {1: ("origin_id", "origin_slot"), 3: ("target_id", "target_slot")}[end]
    for link in links:
        owner, slot = names if isinstance(link, dict) else (end, end + 1)  # a subgraph's links are objects
        if link[owner] == node:
            link[slot] = after.index(before[link[slot]])
