"""What nodes look like, asked of their classes: the pack's and those of ComfyUI's that the shipped graphs use."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

OURS = "Lift123_"
# Nodes of ComfyUI that are not in its nodes.py -> the module that has them.
EXTRAS = {
    "Preview3D": "comfy_extras.nodes_load_3d",
    "MaskToImage": "comfy_extras.nodes_mask",
    **dict.fromkeys(("LoadBackgroundRemovalModel", "RemoveBackground"), "comfy_extras.nodes_bg_removal"),
    **dict.fromkeys(("LoadMoGeModel", "MoGeInference", "MoGeRender"), "comfy_extras.nodes_moge"),
}


class SyncError(Exception):
    """Something that has to be decided by hand; the text says what."""


def prepare(comfyui: Path) -> None:
    """Makes ComfyUI's modules importable from its checkout, on the CPU.  SyncError where there is none."""
    if not (comfyui / "comfy_api").is_dir():
        raise SyncError(f"no ComfyUI in {comfyui}: run 'python3 launch.py test' once")
    if str(comfyui) not in sys.path:
        sys.path.append(str(comfyui))
    from comfy.cli_args import args

    args.cpu = True


def pack_nodes() -> dict:
    """Node id -> class of every node of the pack, in menu order."""
    from ..nodes import all_nodes

    return {node.GET_SCHEMA().node_id: node for node in all_nodes()}


def object_info(core: set[str]) -> dict:
    """The server's ``/object_info`` of the pack's nodes and of the ``core`` nodes of ComfyUI.

    SyncError for a core node that is neither in ComfyUI's nodes.py nor in EXTRAS.
    """
    ours = {name: node.GET_NODE_INFO_V1() for name, node in pack_nodes().items()}
    return ours | {name: core_info(name) for name in sorted(core)}


def core_info(name: str) -> dict:
    """What the server says of one of ComfyUI's own nodes: inputs, their order, outputs, display name."""
    nodes = importlib.import_module("nodes")  # ComfyUI's; as a statement it would read as this pack's
    if name in EXTRAS:
        found = getattr(importlib.import_module(EXTRAS[name]), name)
        return found.GET_NODE_INFO_V1()
    if name not in nodes.NODE_CLASS_MAPPINGS:
        raise SyncError(f"a graph uses {name}, which ComfyUI's nodes.py does not have: add its module to "
                        "sync/definitions.py, EXTRAS")
    found = nodes.NODE_CLASS_MAPPINGS[name]
    inputs = found.INPUT_TYPES()
    return {"input": inputs, "input_order": {part: list(entries) for part, entries in inputs.items()},
            "output": list(found.RETURN_TYPES), "output_name": list(getattr(found, "RETURN_NAMES", found.RETURN_TYPES)),
            "display_name": nodes.NODE_DISPLAY_NAME_MAPPINGS.get(name, name)}


def schema_inputs(info: dict):
    """(name, (type, options)) in the order of the node's widgets."""
    for section in ("required", "optional"):
        for name in info["input_order"].get(section, []):
            spec = info["input"][section][name]
            yield name, (spec[0], spec[1] if len(spec) > 1 else {})
