"""Characters of others: VRM and skinned GLB files as layers with their skeleton."""

from __future__ import annotations

from dataclasses import replace

from comfy_api.latest import io

from ..host import types
from ..host.base import Node, node_key
from ..host.convert import told_ui
from ..host.runner import say
from ..host.story import Chapter
from ..pipelines.core.errors import InputError
from ..pipelines.core.story import Story
from .files import scene_path
from .layers import MENU, layers_output


def file_ok(file: str | None):
    """For ``validate_inputs``: the queue stops where there is no such file."""
    try:
        return True if file is None else bool(scene_path(file))
    except InputError as problem:
        return str(problem)


def file_state(file: str) -> str:
    """For ``fingerprint_inputs``: another text when the file has changed."""
    try:
        state = scene_path(file).stat()
        return f"{state.st_mtime_ns} {state.st_size}"
    except (InputError, OSError):
        return "absent"


class LoadCharacterFile(Node):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="Lift123_LoadCharacterFile", display_name="Load Character File", category=MENU,
            description="Reads a VRM 0.x, VRM 1.0 or skinned GLB file as body, clothing and hair with its own skeleton and "
                        "weights. Layers are told apart by the names of nodes and materials, or by the bones that hold them.",
            search_aliases=["vrm", "import", "avatar", "vroid", "mixamo", "glb", "rigged"],
            inputs=[
                io.String.Input("file", default="character.vrm [input]",
                                tooltip="A .vrm or .glb file, relative to ComfyUI's output folder; with ' [input]' behind it, "
                                        "to the input folder."),
                io.Combo.Input("pose", options=["bind pose", "a-pose"], default="bind pose",
                               tooltip="bind pose: as the weights were given, mostly a T-pose. a-pose: arms 45 degrees down by "
                                       "the file's own weights, as StdGEN's networks and Fit Skeleton want them."),
            ],
            outputs=[layers_output("Body, clothing and hair, to refine, replace, paint or export."),
                     types.Rigged.Output("rigged", display_name="rigged layers",
                                         tooltip="The same with the file's skeleton and weights, to pose, animate or export."),
                     io.String.Output("report", display_name="report",
                                      tooltip="What became which layer, and what was left out.")],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def validate_inputs(cls, file):
        """The queue stops here when there is no such file."""
        return file_ok(file)

    @classmethod
    def fingerprint_inputs(cls, file, pose):
        """Read again when the file has changed."""
        return f"{file_state(file)} {pose}"

    @classmethod
    def run(cls, file, pose):
        from ..pipelines.io.character_file import read_character_file
        from ..pipelines.io.mesh_notes import Notes
        from ..pipelines.stages.characters.refined_layers import RefinedLayers
        from ..pipelines.stages.characters.rig import in_a_pose

        say("reading the character", node_key(cls))
        chapter, notes = Chapter(Story(), "Load Character File", {"pose": pose}), Notes()
        found = read_character_file(scene_path(file), notes)
        rigged = in_a_pose(found.rigged) if pose == "a-pose" else found.rigged
        lines = [*found.parts, *([] if rigged.rig else [f"LOOK {rigged.refused}"]), *notes.lines]
        layers = chapter.sign(RefinedLayers(rigged.layers.framed()))
        return io.NodeOutput(layers, replace(rigged, story=layers.story), "\n".join(lines), ui=told_ui(lines))
