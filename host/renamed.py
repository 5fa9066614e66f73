"""What nodes, inputs and choices were called once: graphs that were saved then still load and run.

One table, three kinds of names.  Old names are accepted and never offered.

- In the browser ``web/js/renamed.js`` opens old graphs with today's names; widgets load by position, so renamed inputs
  need nothing there.  Where that script is absent, ComfyUI offers to replace a node (``io.NodeReplace``).
- A prompt (API format) is rewritten by :func:`current` before ComfyUI looks at it.  ComfyUI would replace nodes in
  prompts, too, but it knows neither renamed inputs nor renamed choices, and fails where an optional input is not
  connected or a node has no ``_meta``.

Standard library only; ComfyUI is imported by :func:`register`.
"""

from __future__ import annotations

from dataclasses import dataclass

COMPANION = "control_after_generate"  # the value that follows a seed in ``widgets_values``


@dataclass(frozen=True)
class Renamed:
    """A node of an old name as it was last saved under it.

    sockets: inputs without a widget; widgets: the others, in the order of ``widgets_values``, companions included;
    outputs: how many.
    """

    old: str
    new: str
    sockets: tuple[str, ...]
    widgets: tuple[str, ...]
    outputs: int


NODES = {node.old: node for node in (
    Renamed("Lift123_Canonicalise", "Lift123_Canonicalize", ("image", "canonical", "mask"),
            ("mask_marks", "complete", "steps", "guidance", "seed", COMPANION), 3),
    Renamed("Lift123_LoadCanonicaliser", "Lift123_LoadCanonicalizer", (), ("checkpoint", "hub_name"), 1),
)}
# node -> {old input: new input}
INPUTS = {"Lift123_DownloadWeights": {"accept_licence": "accept_license"}}
# (node, input) -> {old choice: new choice}
CHOICES = {
    # this node's quickstart was the refinement at its full length: 80 steps unless the node said otherwise
    ("Lift123_RefineLayers", "preset"): {"quickstart": "stdgen toy", "paper": "stdgen paper"},
    ("Lift123_ProjectColors", "paint"): {"layers without colours": "layers without colors"},
    ("Lift123_ExportCharacter", "colors"): {"vertex colours": "vertex colors"},
    ("Lift123_RgnvEnhance", "background"): {"grey": "gray"},
    ("Lift123_InvertReconstruct", "background"): {"grey": "gray"},
    ("Lift123_RgsdPrior", "background"): {"grey": "gray"},
}


def node_name(name: str) -> str:
    """Today's name of a node, of this pack or another."""
    return NODES[name].new if name in NODES else name


def current(prompt: dict) -> dict:
    """A prompt in API format with today's names; one that has no old names is returned as it is.

    Entries that are no nodes stay: to complain about them is ComfyUI's business.
    """
    done = {key: _current_node(node) for key, node in prompt.items()}
    return done if done != prompt else prompt


def _current_node(node):
    if not isinstance(node, dict):
        return node
    kind, given = node.get("class_type"), node.get("inputs")
    if not isinstance(kind, str) or not isinstance(given, dict):
        return node
    kind = node_name(kind)
    names, inputs = INPUTS.get(kind, {}), {}
    for name, value in given.items():
        name = names[name] if name in names else name
        choices = CHOICES.get((kind, name), {})
        inputs[name] = choices.get(value, value) if isinstance(value, str) else value
    return {**node, "class_type": kind, "inputs": inputs}


def on_prompt(request: dict) -> dict:
    """ComfyUI's hook for the body of ``POST /prompt``, called before anything is checked."""
    if isinstance(request.get("prompt"), dict):
        return {**request, "prompt": current(request["prompt"])}
    return request


def replacements() -> list:
    """``io.NodeReplace`` of every renamed node.  The browser keeps only wires and values that are in the mappings."""
    from comfy_api.latest import io

    return [io.NodeReplace(
        new_node_id=node.new, old_node_id=node.old, old_widget_ids=list(node.widgets),
        input_mapping=[{"new_id": n, "old_id": n} for n in (*node.sockets, *node.widgets) if n != COMPANION],
        output_mapping=[{"new_idx": n, "old_idx": n} for n in range(node.outputs)]) for node in NODES.values()]


async def register() -> None:
    """Tells the running server; called once, when the extension is loaded."""
    from comfy_api.latest import ComfyAPI
    from server import PromptServer

    for replacement in replacements():
        await ComfyAPI().node_replacement.register(replacement)
    PromptServer.instance.add_on_prompt_handler(on_prompt)
