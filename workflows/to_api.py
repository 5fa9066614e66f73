"""UI-format workflows (what the browser saves) -> API format (what ``POST /prompt`` takes).

Covers what the shipped workflows use: widgets in schema order, links, notes, bypassed and muted nodes.
Standard library only.  ``python3 workflows/to_api.py http://127.0.0.1:8188`` rewrites ``api/*.json`` with
the node definitions of a running ComfyUI.
"""

from __future__ import annotations

import json
import sys
import urllib.request
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
WIDGETS = ("INT", "FLOAT", "STRING", "BOOLEAN", "COMBO")
UI_ONLY = ("Note", "MarkdownNote", "Reroute", "PrimitiveNode")
MUTED, BYPASSED = 2, 4


def ui_to_api(workflow: dict, object_info: dict) -> dict:
    """The API-format prompt of a UI-format workflow.

    object_info: the server's ``/object_info``.  ValueError names a node type the server does not know.
    """
    nodes = {node["id"]: node for node in workflow["nodes"]}
    links = {link[0]: (link[1], link[2]) for link in workflow["links"]}
    prompt = {}
    for node in sorted(nodes.values(), key=lambda n: n["id"]):
        if node["type"] in UI_ONLY or node.get("mode", 0) in (MUTED, BYPASSED):
            continue
        if node["type"] not in object_info:
            raise ValueError(f"the server has no node {node['type']!r} (node {node['id']})")
        inputs = widget_values(node, object_info[node["type"]])
        for slot in node.get("inputs", []):
            source = links.get(slot.get("link"))
            if source is not None and nodes[source[0]].get("mode", 0) not in (MUTED, BYPASSED):
                inputs[slot["name"]] = [str(source[0]), source[1]]
        meta = {"title": title(node, object_info)}
        prompt[str(node["id"])] = {"class_type": node["type"], "inputs": inputs, "_meta": meta}
    return prompt


def widget_values(node: dict, info: dict) -> dict:
    """``widgets_values`` by input name; consumes the companion value that follows a seed or an upload."""
    values = iter(node.get("widgets_values") or [])
    named = {}
    for name, (kind, options) in schema_inputs(info):
        if not is_widget(kind, options):
            continue
        try:
            named[name] = next(values)
        except StopIteration:  # older file: the server fills in defaults it knows
            if "default" in options:
                named[name] = options["default"]
            continue
        if options.get("control_after_generate") or options.get("image_upload"):
            next(values, None)
    return named


def schema_inputs(info: dict):
    """(name, (type, options)) in the order of the node's widgets."""
    for section in ("required", "optional"):
        for name in info["input_order"].get(section, []):
            spec = info["input"][section][name]
            yield name, (spec[0], spec[1] if len(spec) > 1 else {})


def is_widget(kind, options: dict) -> bool:
    """Whether the browser shows a widget for this input (lists are V1 combos; "A,B" is a multi-type socket)."""
    if options.get("forceInput"):
        return False
    return isinstance(kind, list) or options.get("widgetType", kind) in WIDGETS


def title(node: dict, object_info: dict) -> str:
    return node.get("title") or object_info[node["type"]].get("display_name") or node["type"]


def write_twins(object_info: dict, folder: Path = FOLDER) -> list[Path]:
    """Writes ``api/<name>.json`` for every workflow in ``folder``; returns the files."""
    (folder / "api").mkdir(exist_ok=True)
    written = []
    for source in sorted(folder.glob("*.json")):
        prompt = ui_to_api(json.loads(source.read_text(encoding="utf-8")), object_info)
        target = folder / "api" / source.name
        target.write_text(json.dumps(prompt, indent=2) + "\n", encoding="utf-8")
        written.append(target)
    return written


if __name__ == "__main__":
    server = sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8188"
    with urllib.request.urlopen(server + "/object_info") as answer:
        write_twins(json.load(answer))
