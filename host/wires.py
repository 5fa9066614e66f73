"""What a queued graph would refuse after hours, found before anything runs: crossed wires between priors and stages.

A node's ``validate_inputs`` is not shown what comes by wire.  But the graph is at hand in that moment: ComfyUI hands the body
of ``POST /prompt`` to :func:`on_prompt` and then checks it in the same task, naming the node it is at.  Without a server,
or where the graph holds nodes of other packs, nothing is known and nothing is refused; the nodes check again when they run.
"""

from __future__ import annotations

import math
from contextvars import ContextVar

from comfy_execution.utils import get_executing_context

from ..pipelines.core.errors import InputError
from ..pipelines.io.runs import is_link, upstream

_queued: ContextVar[dict | None] = ContextVar("lift123_queued", default=None)
OURS = "Lift123_"
PRIORS = {"Lift123_ViewPrior": "view", "Lift123_TextPrior": "text", "Lift123_RgsdPrior": "depth_text"}
MIXED = {  # nodes that hand on a prior made of others: the inputs these come by
    "Lift123_CombinePriors": ("prior_a", "prior_b", "prior_c", "prior_d"), "Lift123_TradeOffPrior": ("prior_3d", "prior_2d"),
    "Lift123_DynamicPrior": ("prior_3d", "prior_2d"), "Lift123_DynamicStage2": ("prior_3d", "prior_2d"),
}
DYNAMIC = ("Lift123_DynamicPrior", "Lift123_DynamicStage2")
SCENES = {"Lift123_NerfStage1": "nerf", "Lift123_DynamicStage2": "nerf", "Lift123_DMTetRefine": "mesh",
          "Lift123_MeshToScene": "mesh"}
REMEDIES = {"prior_3d": ("view", "Connect View Prior here and Text Prior to prior_2d."),
            "prior_2d": ("text", "Connect Text Prior here and View Prior to prior_3d.")}


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


def crossed() -> bool | str:
    """For ``validate_inputs``: True, or the sentence that says which wire of the node at hand is wrong."""
    graph, context = _queued.get(), get_executing_context()
    if graph is None or context is None or context.node_id not in graph:
        return True
    try:
        refuse_crossed(graph, context.node_id)
        return True
    except InputError as problem:
        return str(problem)


def refuse_crossed(graph: dict, key: str) -> None:
    """InputError where a wire of node ``key`` cannot be right: the other kind of prior, a scene of the other kind, no words."""
    node = graph[key]
    inputs, kind = node.get("inputs", {}), node.get("class_type")
    for name, (wanted, remedy) in REMEDIES.items():
        found = prior_kinds(graph, inputs.get(name))
        if found is not None and wanted not in found:
            raise InputError(name, f"a prior that contains a {wanted.capitalize()} Prior", "one without", remedy)
    if kind == "Lift123_CombinePriors":
        for name in MIXED[kind]:
            if "dynamic" in (prior_kinds(graph, inputs.get(name)) or ()):
                raise InputError(name, "View, Text or Combined Priors", "a Dynamic Prior inside Combine Priors",
                                 "Its clock belongs to the stage: combine its two inputs instead.")
    if kind in ("Lift123_NerfStage1", "Lift123_DynamicStage2"):
        if SCENES.get(_maker(graph, inputs.get("scene")) or "", "nerf") != "nerf":
            raise InputError("scene", "a NeRF scene", "a mesh scene", "Use DMTet Refine for meshes.")
    if kind in SCENES:
        _refuse_wordless(graph, key)


def prior_kinds(graph: dict, wire, depth: int = 50) -> set[str] | None:
    """Kinds of networks behind a prior's wire ("dynamic" for one with a clock); None where that cannot be told."""
    kind = _maker(graph, wire)
    if kind in PRIORS:
        return {PRIORS[kind]}
    if kind not in MIXED or not depth:
        return None
    inputs = graph[str(wire[0])].get("inputs", {})
    parts = [prior_kinds(graph, inputs[name], depth - 1) for name in MIXED[kind] if name in inputs]
    if not parts or any(part is None for part in parts):
        return None
    return set().union(*(part for part in parts if part), {"dynamic"} if kind in DYNAMIC else ())


def _maker(graph: dict, wire) -> str | None:
    """The class of the node at the other end of a wire."""
    return graph[str(wire[0])].get("class_type") if is_link(wire, graph) else None


def _refuse_wordless(graph: dict, key: str) -> None:
    """InputError for a Text Prior without a prompt, at a stage all of whose pictures have none either."""
    nodes = [graph[k] for k in upstream(graph, key)]
    pictures = [n for n in nodes if n.get("class_type") == "Lift123_ReferenceView"]
    elsewhere = any(n.get("class_type") == "Lift123_LoadScene" for n in nodes)  # a scene brings words of its own
    if not pictures or elsewhere or any(_words(n) for n in pictures):
        return
    if any(n.get("class_type") == "Lift123_TextPrior" and not _words(n) for n in nodes):
        raise InputError("prompt", "a description of the object", "nothing",
                         "Write it in Reference View or in Text Prior, for example 'a red teapot'.")


def _words(node: dict) -> bool:
    """Whether a node's prompt says something, or comes by wire, where it may."""
    prompt = node.get("inputs", {}).get("prompt", "")
    return not isinstance(prompt, str) or bool(prompt.strip())
