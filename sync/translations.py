"""``locales/en``: what the browser calls nodes, inputs, outputs, menu folders and wire types."""

from __future__ import annotations


def node_definitions(nodes: dict) -> dict:
    """``nodeDefs.json``: names and tooltips of ``definitions.pack_nodes()``."""
    return {name: _definition(node.GET_SCHEMA()) for name, node in nodes.items()}


def _definition(schema) -> dict:
    inputs = {i.id: {"name": i.display_name or i.id, "tooltip": i.tooltip} for i in schema.inputs}
    outputs = {str(n): {"name": o.display_name, "tooltip": o.tooltip} for n, o in enumerate(schema.outputs)}
    return {"display_name": schema.display_name, "description": schema.description, "inputs": inputs,
            "outputs": outputs}


def main_words(nodes: dict) -> dict:
    """``main.json``: the folders of the nodes' categories (ComfyUI's own "3d" apart) and the pack's wire types."""
    folders = [folder for node in nodes.values() for folder in node.GET_SCHEMA().category.split("/")[1:]]
    return {"nodeCategories": {folder: folder for folder in dict.fromkeys(folders)},
            "dataTypes": {name: shown_type(name) for name in own_types()}}


def own_types() -> list[str]:
    """Names of the pack's wire types, as ``host/types.py`` lists them."""
    from ..host import types

    return [kind.io_type for kind in vars(types).values() if str(getattr(kind, "io_type", "")).startswith("LIFT123_")]


def shown_type(name: str) -> str:
    """A wire type as people read it: LIFT123_VIEW_NETWORK -> VIEW NETWORK, or what ``types.SHOWN`` says."""
    from ..host import types

    return types.SHOWN.get(name, name.removeprefix("LIFT123_").replace("_", " "))
