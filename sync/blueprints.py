"""``subgraphs/*.json``: a method of a shipped graph as one node, which ComfyUI lists among its blueprints.

A blueprint is a graph of one node and its subgraph.  What stands between the picture and the export of a graph goes in;
wires that crossed that border become its inputs and outputs, and the settings of :data:`SHOWN` its widgets.
"""

from __future__ import annotations

import copy
import uuid
from dataclasses import dataclass

from .definitions import OURS
from .subgraphs import ENTRY, EXIT, definitions

HOST = 1  # id of the only node of a blueprint
SPACE = uuid.UUID("5f0c3c6e-1d53-4a54-9d0a-61f7b9a3c123")
OUTSIDE = ("MarkdownNote", "LoadImage", "Preview3D", "PreviewImage", *(f"{OURS}{name}" for name in (
    "ReferenceView", "BakeExport", "SaveScene", "ExportCharacter", "SaveLayers", "PreviewLayers", "Evaluate", "FitSkeleton",
    "BindLayers", "Motion", "PreviewMotion", "ExportRigged")))
SHOWN = {  # name of the widget -> whose it is; nodes whose input is wired already keep their wire
    "follow": ("Consistent123Settings", "Magic123Settings"),
    "preset": ("NerfStage1", "DMTetRefine", "RefineLayers"), "quality": ("NerfStage1", "DMTetRefine"),
    "lambda_2d_3d": ("TradeOffPrior",), "prompt": ("TextPrior", "ClipBoundary", "RgsdPrior"),
    "seed": ("NerfStage1", "RefineLayers"),
}


@dataclass(frozen=True)
class Blueprint:
    """graph: a shipped graph, whose subgraph is taken where it has one.  words: what a person may search for."""

    graph: str
    text: str
    words: tuple[str, ...]


BLUEPRINTS = {
    "Picture to 3D": Blueprint(
        "consistent123_quickstart", "A reference view becomes a textured object, on any computer: embedded networks, about two "
        "minutes on two CPU cores. Bake and Export takes the scene.", ("image to 3d", "picture to mesh", "cpu")),
    "Character to layers": Blueprint(
        "stdgen_quickstart", "A figure becomes body, clothing and hair, on any computer: embedded networks, half a minute on two "
        "CPU cores. Export Character takes the layers.", ("image to 3d", "picture to mesh", "character", "cpu")),
    "Consistent123": Blueprint(
        "consistent123", "3D prior first, then from 3D to 2D (Consistent123, public checkpoints): takes a reference view, "
        "gives a scene.", ("image to 3d", "zero123", "dynamic prior")),
    "Magic123": Blueprint(
        "magic123", "2D and 3D prior at once (Magic123, public checkpoints): takes a reference view, gives a scene.",
        ("image to 3d", "zero123", "trade-off")),
    "HiFi-123": Blueprint(
        "hifi123", "A coarse object whose surface RGSD paints (HiFi-123, public checkpoints): takes a reference view, gives a "
        "scene.", ("image to 3d", "texture", "rgsd")),
    "StdGEN": Blueprint(
        "stdgen", "A figure becomes body, clothing and hair (StdGEN, public checkpoints): takes a picture and its mask, gives "
        "layers.", ("image to 3d", "character", "layers")),
}


def blueprint(name: str, entry: Blueprint, workflow: dict) -> dict:
    """The blueprint's file from the graph that it is made of."""
    inside = list(definitions(workflow).values())
    if inside:
        made = copy.deepcopy(inside[0])
        host = copy.deepcopy(next(node for node in workflow["nodes"] if node["type"] == made["id"]))
        host = host | {"id": HOST, "inputs": [slot | {"link": None} for slot in host["inputs"]],
                       "outputs": [slot | {"links": []} for slot in host["outputs"]]}
    else:
        made, host = folded(name, workflow)
    made = made | {"id": _id(name), "name": name, "description": entry.text, "category": "3d/Lift123"}
    host = host | {"type": made["id"], "title": name, "pos": [0, 0], "order": 0}
    return {"revision": 0, "last_node_id": HOST, "last_link_id": 0, "nodes": [host], "links": [], "version": 0.4,
            "definitions": {"subgraphs": [made]},
            "extra": {"BlueprintDescription": entry.text, "BlueprintSearchAliases": list(entry.words)}}


def folded(name: str, workflow: dict) -> tuple[dict, dict]:
    """(a subgraph of everything between picture and export, the node that stands for it) of a flat graph."""
    nodes = {n["id"]: copy.deepcopy(n) for n in workflow["nodes"] if n["type"] not in OUTSIDE}
    border = _Border(name, nodes, [list(link) for link in workflow["links"]])
    border.cut()
    border.show()
    left, top = (min(n["pos"][axis] for n in nodes.values()) for axis in (0, 1))
    right = max(n["pos"][0] + n["size"][0] for n in nodes.values())
    made = {"version": 1, "state": {"lastGroupId": 0, "lastNodeId": max(nodes), "lastLinkId": border.last, "lastRerouteId": 0},
            "revision": 0, "config": {},
            "inputNode": {"id": ENTRY, "bounding": [left - 260, top, 140, 40 + 20 * len(border.ins)]},
            "outputNode": {"id": EXIT, "bounding": [right + 80, top, 140, 40 + 20 * len(border.outs)]},
            "inputs": border.ins, "outputs": border.outs, "widgets": [], "nodes": list(nodes.values()), "groups": [],
            "links": border.links, "extra": {}}
    host = {"id": HOST, "size": [340, 120 + 30 * len(border.slots)], "flags": {}, "mode": 0, "inputs": border.slots,
            "outputs": [{"name": slot["name"], "type": slot["type"], "links": []} for slot in border.outs],
            "properties": {"cnr_id": "lift123", "previewExposures": []}, "widgets_values": border.values}
    return made, host


class _Border:
    """Wires of a graph, cut around ``nodes``: links inside, entries and exits of the subgraph, its node's slots and values."""

    def __init__(self, name: str, nodes: dict, links: list):
        self.name, self.nodes, self.given = name, nodes, links
        self.last = max((link[0] for link in links), default=0)
        self.links, self.ins, self.outs, self.slots, self.values = [], [], [], [], []

    def cut(self) -> None:
        entries, exits = {}, {}
        for number, source, out, target, into, kind in self.given:
            if target in self.nodes and source in self.nodes:
                self._link(number, source, out, target, into, kind)
            elif target in self.nodes:
                if (source, out) not in entries:
                    entries[source, out] = self._entry(self._slot(target, into)["name"], kind)
                self._link(self._next(), ENTRY, entries[source, out], target, into, kind)
            elif source in self.nodes and (source, out) not in exits:
                title = self.nodes[source]["outputs"][out]["name"]
                exits[source, out] = len(self.outs)
                self.outs.append({"id": _id(self.name, "out", title), "name": title, "type": kind, "linkIds": [self.last + 1],
                                  "pos": [0, 0]})
                self._link(self._next(), source, out, EXIT, exits[source, out], kind)
        for node in self.nodes.values():
            for out, slot in enumerate(node["outputs"]):
                slot["links"] = [k["id"] for k in self.links if (k["origin_id"], k["origin_slot"]) == (node["id"], out)]

    def show(self) -> None:
        """The settings of SHOWN become widgets of the subgraph's node; of several inner ones the first has the value."""
        for shown, owners in SHOWN.items():
            places = [(node, place) for node in self.nodes.values() if node["type"].removeprefix(OURS) in owners
                      for place, slot in enumerate(node["inputs"]) if slot["name"] == shown and slot["link"] is None]
            if not places:
                continue
            first, slot = places[0][0], places[0][0]["inputs"][places[0][1]]
            entry = self._entry(shown, slot["type"])
            self.slots[-1]["widget"] = {"name": shown}
            self.values.append(_value(first, shown))
            for node, place in places:
                self._link(self._next(), ENTRY, entry, node["id"], place, slot["type"])

    def _entry(self, title: str, kind: str) -> int:
        self.ins.append({"id": _id(self.name, "in", title), "name": title, "type": kind, "linkIds": [], "pos": [0, 0]})
        self.slots.append({"name": title, "type": kind, "link": None})
        return len(self.ins) - 1

    def _link(self, number: int, source: int, out: int, target: int, into: int, kind: str) -> None:
        self.links.append({"id": number, "origin_id": source, "origin_slot": out, "target_id": target, "target_slot": into,
                           "type": kind})
        if source == ENTRY:
            self.ins[out]["linkIds"].append(number)
        if target != EXIT:
            self._slot(target, into)["link"] = number

    def _slot(self, node: int, place: int) -> dict:
        return self.nodes[node]["inputs"][place]

    def _next(self) -> int:
        self.last += 1
        return self.last


def _value(node: dict, name: str):
    """Of a widget; seeds have a second value behind them."""
    values = iter(node["widgets_values"])
    for slot in node["inputs"]:
        if "widget" in slot:
            value = next(values)
            if slot["name"] == name:
                return value
            if slot["name"] in ("seed", "image"):
                next(values)
    return None


def _id(*words: str) -> str:
    return str(uuid.uuid5(SPACE, ":".join(words)))
