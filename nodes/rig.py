"""Characters that move: a skeleton, weights, motions, and pictures of them."""

from __future__ import annotations

from dataclasses import replace

from comfy_api.latest import io, ui

from ..host import types
from ..host.base import Node, node_key
from ..host.convert import to_image
from ..host.memory import require_pictures
from ..host.outputs import check_before_work, claim
from ..host.runner import say
from ..host.story import Chapter
from ..pipelines.core.errors import InputError
from ..pipelines.core.ortho import VIEW_NAMES
from .character_in import file_ok, file_state
from .export import save_animation
from .files import scene_path
from .layers import _LAYERS_TIP, MENU, layers_output

VIEWS = [name.replace("_", " ") for name in VIEW_NAMES]
_RIGGED_TIP = "From Bind Layers."
_MOTION_TIP = "From Motion, Pose or Load Motion."


class FitSkeleton(Node):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="Lift123_FitSkeleton", display_name="Fit Skeleton", category=MENU,
            description="Finds the bones of VRM's humanoid in a body that stands in A-pose: the fifteen that VRM requires, and "
                        "chest, neck, shoulders and toes.",
            search_aliases=["rig", "rigging", "armature", "bones", "vrm", "mixamo"],
            inputs=[
                types.Layers.Input("layers", tooltip=_LAYERS_TIP),
                io.Boolean.Input("symmetric", default=True, tooltip="Left and right bones are each other's mirror image."),
                io.Combo.Input("if_refused", options=["static file", "error"], default="static file",
                               tooltip="What happens where no skeleton can be found (no A-pose, several figures, no body). "
                                       "static file: the graph goes on, Export Rigged Character writes a GLB without bones and "
                                       "says why. error: the graph stops here."),
                io.Int.Input("size", default=384, min=64, max=1024, step=8, tooltip="Height of the picture, pixels."),
            ],
            outputs=[types.Rig.Output("rig", display_name="skeleton", tooltip="For Bind Layers."),
                     io.Image.Output("picture", display_name="picture",
                                     tooltip="The bones over the figure, from the front and the side; guessed ones in red."),
                     io.String.Output("report", display_name="report",
                                      tooltip="Which bones were guessed, or why there are none.")],
        )

    @classmethod
    def run(cls, layers, symmetric, if_refused, size):
        from ..pipelines.core.rig import Refused
        from ..pipelines.stages.characters import export
        from ..pipelines.stages.characters import rig as stage

        try:
            rig = stage.find_rig(layers.layers, symmetric)
        except InputError as problem:
            if if_refused == "error" or not len(layers.layers):
                raise
            picture = to_image(export.character_picture(layers.layers, size))
            return io.NodeOutput(Refused(str(problem)), picture, f"LOOK no skeleton: {problem}",
                                 ui=ui.PreviewImage(picture, cls=cls))
        picture = to_image(stage.rig_picture(layers.layers, rig, size))
        report = "\n".join([f"{len(rig.names)} bones.", *rig.notes])
        return io.NodeOutput(rig, picture, report, ui=ui.PreviewImage(picture, cls=cls))


class BindLayers(Node):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="Lift123_BindLayers", display_name="Bind Layers", category=MENU,
            description="Gives every vertex its bones: the body by heat that flows from the bones through its inside, clothing "
                        "from the nearest skin, hair from the head; at most four bones each.",
            search_aliases=["skin", "weights", "rig", "skinning"],
            inputs=[types.Layers.Input("layers", tooltip="The layers in which the skeleton was found."),
                    types.Rig.Input("rig", tooltip="From Fit Skeleton."),
                    io.Boolean.Input("springs", default=True,
                                     tooltip="Hanging hair gets chains of bones of its own, which swing in VRM viewers.")],
            outputs=[types.Rigged.Output("rigged", display_name="rigged layers", tooltip="The layers with skeleton and weights."),
                     io.String.Output("report", display_name="report", tooltip="Chains of the hair; layers that will tear.")],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def run(cls, layers, rig, springs):
        from ..pipelines.core.rig import Refused, RiggedLayers
        from ..pipelines.stages.characters.rig import bound

        chapter = Chapter(layers.story, "Bind Layers", {"springs": springs})
        if isinstance(rig, Refused):
            made = RiggedLayers(layers.layers, None, refused=rig.reason)
            return io.NodeOutput(chapter.sign(made), f"LOOK no skeleton: {rig.reason}")
        say("binding the layers", node_key(cls))
        made = bound(layers.layers, rig, springs)
        return io.NodeOutput(chapter.sign(made), "\n".join(made.notes))


class MotionNode(Node):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="Lift123_Motion", display_name="Motion", category=MENU,
            description="A motion to look at a character with, and to put into its GLB.",
            search_aliases=["animation", "walk cycle", "clip"],
            inputs=[io.Combo.Input("motion", options=["walk", "wave", "turn"], default="walk",
                                   tooltip="walk: two steps in place; wave: the right arm; turn: once around.")],
            outputs=[types.Motion.Output("motion", display_name="motion", tooltip="For Preview Motion and exports.")],
        )

    @classmethod
    def run(cls, motion):
        from ..pipelines.rigging.motions import MOTIONS

        return io.NodeOutput(MOTIONS[motion]())


class LoadMotion(Node):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="Lift123_LoadMotion", display_name="Load Motion", category=MENU,
            description="A pose or motion from a file: VRM animation (.vrma), BVH (motion capture), or an animation of a .glb or "
                        ".vrm whose bones have VRM's, Mixamo's, Unreal's or Blender's names.",
            search_aliases=["vrma", "bvh", "mocap", "mixamo", "animation", "pose"],
            inputs=[
                io.String.Input("file", default="motion.vrma [input]",
                                tooltip="Relative to ComfyUI's output folder; with ' [input]' behind it, to the input folder."),
                io.Int.Input("clip", default=0, min=0, max=1000, tooltip="Which animation of a .glb or .vrm, counted from 0."),
            ],
            outputs=[types.Motion.Output("motion", display_name="motion",
                                         tooltip="For Preview Motion, Pose Layers (one frame) and exports."),
                     io.String.Output("report", display_name="report", tooltip="Frames, seconds, bones, and what was left out.")],
        )

    @classmethod
    def validate_inputs(cls, file):
        """The queue stops here when there is no such file."""
        return file_ok(file)

    @classmethod
    def fingerprint_inputs(cls, file, clip):
        """Read again when the file has changed."""
        return f"{file_state(file)} {clip}"

    @classmethod
    def run(cls, file, clip):
        from ..pipelines.io.motion_file import read_motion

        motion, notes = read_motion(scene_path(file), clip)
        lines = [f"{motion.name}: {len(motion)} frames in {motion.seconds:.2f} s; {len(motion.turns)} bones turn", *notes]
        return io.NodeOutput(motion, "\n".join(lines))


class Pose(Node):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="Lift123_Pose", display_name="Pose", category=MENU,
            description="One pose by the turns of its bones, counted from the T-pose.",
            search_aliases=["bones", "rotation", "pose"],
            inputs=[io.String.Input("turns", multiline=True,
                                    default='{"leftUpperArm": [0, 0, -60], "rightUpperArm": [0, 0, 60]}',
                                    tooltip="JSON: VRM's bone names with degrees about x, y and z of the bone's parent, applied "
                                            "in this order. The left arm goes down by a negative z, the right one by a "
                                            "positive; legs go forward by a negative x, knees bend by a positive.")],
            outputs=[types.Motion.Output("motion", display_name="motion", tooltip="A motion of one frame.")],
        )

    @classmethod
    def run(cls, turns):
        from ..pipelines.rigging.motions import pose_from_text

        return io.NodeOutput(pose_from_text(turns))


class PoseLayers(Node):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="Lift123_PoseLayers", display_name="Pose Layers", category=MENU,
            description="The layers as they stand in one frame of a motion.",
            search_aliases=["apply pose", "frame", "repose"],
            inputs=[types.Rigged.Input("rigged", tooltip=_RIGGED_TIP), types.Motion.Input("motion", tooltip=_MOTION_TIP),
                    io.Int.Input("frame", default=0, min=0, max=100000, tooltip="Which frame; the last one if there are fewer.")],
            outputs=[layers_output("The bent layers, with their colors.")],
        )

    @classmethod
    def run(cls, rigged, motion, frame):
        from ..pipelines.stages.characters.refined_layers import RefinedLayers

        if rigged.rig is None:
            raise InputError("rigged", "layers with a skeleton", f"none: {rigged.refused}", "Mend what was said.")
        frame = min(frame, len(motion) - 1)
        posed = RefinedLayers(rigged.posed(motion.frame(rigged.rig, frame)).framed())
        return io.NodeOutput(Chapter(rigged.story, "Pose Layers", {"motion": motion.name, "frame": frame}).sign(posed))


class PreviewMotion(Node):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="Lift123_PreviewMotion", display_name="Preview Motion", category=MENU,
            description="A character in motion, as pictures and as an animated file in ComfyUI's output folder.",
            search_aliases=["animate", "walk", "turntable", "webp"],
            is_output_node=True, not_idempotent=True,
            inputs=[
                types.Rigged.Input("rigged", tooltip=_RIGGED_TIP), types.Motion.Input("motion", tooltip=_MOTION_TIP),
                io.Combo.Input("view", options=VIEWS, default="front right", tooltip="From where it is looked at."),
                io.Int.Input("frames", default=12, min=1, max=96, tooltip="Pictures of the motion, evenly spaced."),
                io.Int.Input("size", default=256, min=64, max=1024, step=8, tooltip="Height of the pictures, pixels."),
                io.String.Input("filename_prefix", default="lift123/motion",
                                tooltip="Where in ComfyUI's output folder; a number is added."),
            ],
            outputs=[io.Image.Output("images", display_name="images", tooltip="The motion, picture by picture.")],
            hidden=[io.Hidden.unique_id, io.Hidden.prompt, io.Hidden.extra_pnginfo],
        )

    @classmethod
    def validate_inputs(cls, filename_prefix):
        """Stops the queue before anything runs if the result could not be written in the end."""
        return True if filename_prefix is None else check_before_work(filename_prefix)

    @classmethod
    def run(cls, rigged, motion, view, frames, size, filename_prefix):
        from ..pipelines.stages.characters import export
        from ..pipelines.stages.characters import rig as stage

        require_pictures(frames, size, "frames", "size")
        if rigged.rig is None:
            say(f"no skeleton: {rigged.refused}", node_key(cls))
            still = to_image(export.character_picture(rigged.layers, size))
            return io.NodeOutput(still, ui=ui.PreviewImage(still, cls=cls))
        slot = claim(filename_prefix)
        images = to_image(stage.motion_pictures(rigged, motion, size, VIEWS.index(view), frames))
        pause = round(1000 * motion.seconds / len(images)) if len(images) > 1 else 1000
        suffix = "" if slot.stem.rstrip("_0123456789").endswith(motion.name) else motion.name
        save_animation(images, slot.path("webp", suffix), max(20, pause), cls.hidden)
        file = slot.result("webp", suffix)
        return io.NodeOutput(images, ui={"images": [file], "animated": (True,), "lift123_files": [{"motion": file}]})


def static(rigged):
    """The layers of a character whose skeleton was refused, as ``RefinedLayers`` with its story."""
    from ..pipelines.stages.characters.refined_layers import RefinedLayers

    return replace(RefinedLayers(rigged.layers), story=rigged.story)
