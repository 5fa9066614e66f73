"""An item's graph in ComfyUI's API format, and the key over everything that its result depends on."""

from __future__ import annotations

import copy
import hashlib
import json
import math

from ..launcher import graph
from ..launcher.settings import LaunchError

WEIGHTS = (".safetensors", ".ckpt", ".pt", ".pth", ".bin", ".gguf", ".sft", ".onnx")
IMAGE, MASK = 0, 1  # Batch List's first two outputs, and Load Image's
LATE = ("Lift123_Results",)  # gathers many runs: not part of one


def places(prompt: dict, name: str) -> list[tuple[str, str]]:
    """(node id, input) of every literal input that ``name`` means: "input" or "node.input" (title, class or id)."""
    owner, _, field = name.rpartition(".")
    return [(key, field) for key, node in prompt.items()
            if field in node["inputs"] and not isinstance(node["inputs"][field], list)
            and (not owner or owner in (key, node["class_type"], node["class_type"].removeprefix("Lift123_"),
                                        node.get("_meta", {}).get("title")))]


def cast(prompt: dict, name: str, value):
    """``value`` as the type that the graph has there; LaunchError where it can't be, or where there is no such input."""
    found = places(prompt, name)
    if not found:
        raise LaunchError(f"no node of this workflow has a free input {name!r}")
    present = prompt[found[0][0]]["inputs"][found[0][1]]
    text = str(value).strip()
    try:
        if isinstance(present, bool):
            return {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}[text.lower()]
        if isinstance(present, int):
            return int(text)
        if isinstance(present, float):
            number = float(text)
            if not math.isfinite(number):
                raise ValueError
            return number
    except (ValueError, KeyError):
        kind = type(present).__name__
        raise LaunchError(f"{name}: expected {kind} as in the workflow ({present}), got {text[:40]!r}") from None
    return str(value)


def prompt_of(prompt: dict, item, picture: str, caption: str) -> dict:
    """The graph of an item.  picture: the name that Load Image takes, "" for none; caption: where the item has none."""
    words = caption if item.prompt is None else item.prompt
    made = copy.deepcopy(prompt)
    if item.wires:
        made = with_list(made, item.wires, picture)
    elif picture:
        made = graph.with_picture(made, picture, words)
    elif item.prompt is not None:
        made = graph.set_inputs(made, graph.REFERENCE, prompt=words)
    if item.seed is not None:
        made = graph.with_seed(made, item.seed)
    for name, value in item.inputs:
        for key, field in places(made, name):
            made[key]["inputs"][field] = value
    return made


def with_list(prompt: dict, wires: dict, picture: str) -> dict:
    """The graph without its Batch Lists: their wires become this element's values, pictures a Load Image.

    wires: list node's id -> values of its outputs, by number.  What gathers many runs is left out.
    """
    late = behind(prompt, {key for key, node in prompt.items() if node["class_type"] in LATE})
    made = {key: node for key, node in prompt.items() if key not in late and key not in wires}
    loaders: dict[str, str] = {}
    for node in made.values():
        for name, value in list(node["inputs"].items()):
            if not (isinstance(value, list) and len(value) == 2 and str(value[0]) in wires):
                continue
            key, slot = str(value[0]), int(value[1])
            if slot in (IMAGE, MASK):
                node["inputs"][name] = [loaders.setdefault(key, f"lift123-picture-{key}"), slot]
            else:
                node["inputs"][name] = wires[key][slot]
    for loader in loaders.values():
        made[loader] = {"class_type": "LoadImage", "inputs": {"image": picture}, "_meta": {"title": "Load Image"}}
    return made


def behind(prompt: dict, begin: set[str]) -> set[str]:
    """``begin`` and all nodes that read them, directly or not."""
    found, size = set(begin), -1
    while size != len(found):
        size = len(found)
        found |= {key for key, node in prompt.items() for v in node["inputs"].values()
                  if isinstance(v, list) and len(v) == 2 and str(v[0]) in found}
    return found


def key_of(prompt: dict, weights: dict) -> str:
    """SHA-256 over graph, settings, seeds, picture (its name is its content's) and weights; titles do not count."""
    bare = {key: [node["class_type"], node["inputs"]] for key, node in prompt.items()}
    return hashlib.sha256(json.dumps([bare, weights], sort_keys=True).encode()).hexdigest()


def weight_names(prompt: dict) -> list[str]:
    """Names of network files that the graph asks for."""
    values = [v for node in prompt.values() for v in node["inputs"].values() if isinstance(v, str)]
    return sorted({v for v in values if v.lower().endswith(WEIGHTS)})
