"""Beginnings without a picture: words alone, a first shape, a scene that is to be edited."""

from __future__ import annotations

import math

from comfy_api.latest import io

from ..host import types
from ..host.base import CATEGORY, Node, comfy_device
from ..host.convert import any_mesh
from ..host.wires import crossed
from ..pipelines.core.cameras import HOME
from ..pipelines.core.errors import InputError
from .stages import PRESETS, presets, with_options


class WordsOnly(Node):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="Lift123_WordsOnly", display_name="Words Only", category=f"{CATEGORY}/reference",
            description="A reference without a picture: text-to-3D (DreamFusion, Magic3D). Only a Text Prior teaches.",
            search_aliases=["text to 3d", "dreamfusion", "magic3d", "prompt"],
            inputs=[
                io.String.Input("prompt", default="", multiline=True, placeholder="a red teapot", tooltip="What to make."),
                io.String.Input("negative", default="", tooltip="What it should not be.", advanced=True),
                io.Float.Input("radius", default=HOME.radius, min=1.5, max=10.0, step=0.05, advanced=True,
                               tooltip="Distance of the cameras, scene units; the preset's views decide, this is for previews."),
                io.Float.Input("fovy", default=HOME.degrees, min=5.0, max=90.0, step=0.5, advanced=True,
                               tooltip="Vertical field of view, degrees."),
            ],
            outputs=[types.Reference.Output("reference", display_name="reference",
                                            tooltip="For NeRF Stage 1 with a Text Prior, and for Initial Shape.")],
        )

    @classmethod
    def run(cls, prompt, negative, radius, fovy):
        from ..pipelines.stages.inputs.words import words_only

        return io.NodeOutput(words_only(prompt, negative, radius, math.radians(fovy)))


class InitialShape(Node):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="Lift123_InitialShape", display_name="Initial Shape", category=f"{CATEGORY}/stages",
            description="A radiance field to begin with: a ball, a person, or any mesh.",
            search_aliases=["init", "sphere", "blob", "human", "latent-nerf"],
            inputs=[
                types.Reference.Input("reference", tooltip="The one that NeRF Stage 1 is given, too."),
                io.Combo.Input("shape", options=["ball", "figure", "mesh"], default="ball",
                               tooltip="ball; figure: a standing person who faces the front; mesh: the one at the input."),
                io.Float.Input("size", default=0.8, min=0.1, max=1.8, step=0.05,
                               tooltip="Diameter or height, scene units; of a mesh its longest side."),
                io.Combo.Input("preset", options=PRESETS, default="quickstart", tooltip="NeRF Stage 1's preset."),
                io.Int.Input("seed", default=0, min=0, max=0xFFFFFFFF, control_after_generate=True,
                             tooltip="Of the scene: NeRF Stage 1 goes on with it."),
                io.MultiType.Input("mesh", types=types.MESHES, optional=True, tooltip="Closed; +Y up, front +Z."),
                types.Options.Input("options", optional=True, tooltip="NeRF Stage 1's options, if it has any."),
            ],
            outputs=[types.Scene.Output("scene", display_name="scene", tooltip="For NeRF Stage 1's scene input.")],
        )

    @classmethod
    def validate_inputs(cls, reference):
        """What the graph alone tells to be wrong stops the queue before anything runs."""
        return crossed()

    @classmethod
    def run(cls, reference, shape, size, preset, seed, mesh=None, options=None):
        from ..pipelines.stages.objects import initial_shape

        given = None if mesh is None else any_mesh(mesh, "mesh")
        if shape == "mesh" and given is None:
            raise InputError("mesh", "a mesh, for shape = mesh", "nothing", "Connect one, or choose ball or figure.")
        if shape == "mesh":
            inside = initial_shape.mesh_inside(fitted(given, size))
        else:
            inside = {"ball": initial_shape.ball, "figure": initial_shape.figure}[shape](size)
        config = with_options(presets()[preset].nerf, options)
        return io.NodeOutput(initial_shape.initial_scene(reference, config, inside, seed=seed, device=comfy_device()))


class EditScene(Node):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="Lift123_EditScene", display_name="Edit Scene", category=f"{CATEGORY}/stages",
            description="Begins anew from a finished NeRF scene, told other words: for edits with DDS or SDS.",
            search_aliases=["edit", "dds", "instruct", "change"],
            inputs=[
                types.Scene.Input("scene", tooltip="A NeRF scene. Connect it to Distillation's source, too, for dds."),
                io.String.Input("prompt", default="", multiline=True, placeholder="a blue teapot", tooltip="What it becomes."),
                io.String.Input("negative", default="", tooltip="What it should not be.", advanced=True),
            ],
            outputs=[
                types.Reference.Output("reference", display_name="reference", tooltip="For NeRF Stage 1, with a Text Prior."),
                types.Scene.Output("scene", display_name="scene", tooltip="For NeRF Stage 1's scene input."),
            ],
        )

    @classmethod
    def run(cls, scene, prompt, negative):
        from ..pipelines.stages.inputs.words import words_only
        from ..pipelines.stages.objects.initial_shape import restarted

        camera = scene.reference.camera
        reference = words_only(prompt, negative, float(camera.radius[0]), float(camera.fovy[0]), float(camera.elevation[0]))
        return io.NodeOutput(reference, restarted(scene, reference))


def fitted(mesh, size: float):
    """The mesh centered, its longest side ``size``."""
    from dataclasses import replace

    low, high = mesh.vertices.amin(0), mesh.vertices.amax(0)
    scale = size / float((high - low).max().clamp_min(1e-9))
    return replace(mesh, vertices=(mesh.vertices - (low + high) / 2) * scale)
