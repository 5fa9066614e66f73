"""Graphs inside of graphs, unfolded: what the browser sends has only plain nodes, called "HOST:INNER".

A subgraph's definition has link objects, an input node (-10) and an output node (-20).  Its node in the graph around it
has one input per entry of the definition, by name: a wire, or a widget whose value replaces the inner node's.
"""

from __future__ import annotations

from .definitions import SyncError

ENTRY, EXIT = -10, -20


def definitions(workflow: dict) -> dict[str, dict]:
    """The subgraphs of a UI-format workflow by the node type that stands for them."""
    return {entry["id"]: entry for entry in workflow.get("definitions", {}).get("subgraphs", [])}


def all_nodes(workflow: dict) -> list[dict]:
    """The plain nodes of a workflow and of its subgraphs, those that stand for a subgraph left out."""
    inner = definitions(workflow)
    found = [*workflow["nodes"], *(node for entry in inner.values() for node in entry["nodes"])]
    return [node for node in found if node["type"] not in inner]


def unfolded(workflow: dict) -> dict:
    """A workflow of plain nodes only: ``nodes`` with ids "3" and "18:4", ``links`` as lists with ids of the same kind.

    An inner node's input that shows outside as a widget carries ``value``.  SyncError for a subgraph that is bypassed
    or muted: what passes then is decided by hand.
    """
    inner = definitions(workflow)
    if not inner:
        return workflow
    nodes = [_named(node, "") for node in workflow["nodes"]]
    wires = [[str(source), out, str(target), into, kind] for _, source, out, target, into, kind in workflow["links"]]
    while folded := [node for node in nodes if node["type"] in inner]:
        nodes.remove(folded[0])
        inside, wires = _opened(folded[0], inner[folded[0]["type"]], wires)
        nodes += inside
    place = {(wire[2], wire[3]): number for number, wire in enumerate(wires)}
    for node in nodes:
        for number, slot in enumerate(node["inputs"]):
            slot["link"] = place.get((node["id"], number))
    return {"nodes": nodes, "links": [[number, *wire] for number, wire in enumerate(wires)]}


def _named(node: dict, above: str) -> dict:
    return node | {"id": f"{above}{node['id']}", "inputs": [dict(slot) for slot in node.get("inputs", [])]}


def _opened(node: dict, entry: dict, wires: list) -> tuple[list[dict], list]:
    """(the nodes inside of a subgraph's node, all wires with those inside in the place of those that met it)."""
    name, above = node["id"], f"{node['id']}:"
    if node.get("mode", 0) != 0:
        raise SyncError(f"subgraph {name} is bypassed or muted: its twin is not known; edit the graph")
    slots = {slot["name"]: number for number, slot in enumerate(node["inputs"])}
    fed = {wire[3]: wire for wire in wires if wire[2] == name}
    shown = _values(node)
    nodes = {n["id"]: _named(n, above) for n in entry["nodes"]}
    made = [wire for wire in wires if name not in (wire[0], wire[2])]
    for link in entry["links"]:
        source, out, target, into, kind = (link[k] for k in ("origin_id", "origin_slot", "target_id", "target_slot", "type"))
        if source == ENTRY:
            title = entry["inputs"][out]["name"]
            if (wire := fed.get(slots.get(title))) is not None:
                made.append([wire[0], wire[1], f"{above}{target}", into, kind])
            elif title in shown:
                nodes[target]["inputs"][into]["value"] = shown[title]
        elif target == EXIT:
            made += [[f"{above}{source}", out, *wire[2:]] for wire in wires if wire[:2] == [name, into]]
        else:
            made.append([f"{above}{source}", out, f"{above}{target}", into, kind])
    return list(nodes.values()), made


def _values(node: dict) -> dict:
    """What the widgets of a subgraph's node say, by name; a widget that shows further outside has its value there."""
    widgets = [slot for slot in node["inputs"] if "widget" in slot]
    said = {slot["name"]: value for slot, value in zip(widgets, node.get("widgets_values") or [], strict=False)}
    return said | {slot["name"]: slot["value"] for slot in node["inputs"] if "value" in slot}
