"""What a preset stands for, number by number, so that the page can show it in the place of 0 and -1."""

from __future__ import annotations

STAGES = {"Lift123_NerfStage1": "nerf", "Lift123_DMTetRefine": "mesh"}  # node: the preset's part that it works by
FOLLOWED = ("Lift123_Magic123Settings", "Lift123_Consistent123Settings")  # nodes whose first output is a preset's name
LONGER = ("iterations",)  # what a quality multiplies


def numbers() -> dict:
    """Node -> preset -> input -> number; weights that are curves are left out."""
    from ..nodes.stages import presets
    from ..pipelines import stdgen

    found = {node: {name: _of(getattr(preset, part)) for name, preset in presets().items() if getattr(preset, part, None)}
             for node, part in STAGES.items()}
    found["Lift123_RefineLayers"] = {name: {"steps": preset.refine.body.steps} for name, preset in stdgen.PRESETS.items()}
    return found


def followed() -> dict:
    """Node -> what it follows -> the preset that it then names."""
    from ..nodes import sources

    nodes = {node.GET_SCHEMA().node_id: node for node in vars(sources).values() if hasattr(node, "GET_SCHEMA")
             and node.__module__ == sources.__name__}
    return {name: {choice: nodes[name].run(choice).args[0] for choice in sources.SOURCES} for name in FOLLOWED}


def _of(config) -> dict[str, float]:
    from ..nodes.stage_settings import COUNTS, WEIGHTS
    from ..pipelines.core.schedules import Constant

    counts = {name: getattr(config, field) for name, field in COUNTS.items() if hasattr(config, field)}
    weights = {name: getattr(config, field).value for name, field in WEIGHTS.items()
               if isinstance(getattr(config, field, None), Constant)}
    return {name: value for name, value in {**counts, **weights}.items() if name != "mesh_iterations"}


def module() -> str:
    """The tables as a JavaScript module."""
    from ..nodes.stage_settings import QUALITY
    from .files import dump

    longer = {name: QUALITY for name in LONGER}
    return ("// Written by launch.py sync from the presets.\n"
            f"export const NUMBERS = {dump(numbers(), 1).rstrip()};\nexport const LONGER = {dump(longer, 1).rstrip()};\n"
            f"export const FOLLOWED = {dump(followed(), 1).rstrip()};\n")
