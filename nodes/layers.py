"""Characters in layers: take apart, put together, replace, refine, save.  The wire carries ``RefinedLayers``."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from comfy_api.latest import io
from comfy_execution.graph import ExecutionBlocker

from ..host import types
from ..host.base import CATEGORY, Node, device_with_room, node_key
from ..host.convert import mesh_to_file, to_comfy_mesh, told_mesh, told_ui
from ..host.outputs import check_before_work, claim
from ..host.runner import run_stage, say
from ..host.story import Chapter
from ..host.unfinished import Shelf
from ..pipelines.core.errors import InputError
from ..pipelines.core.layers import LAYER_NAMES
from ..pipelines.core.story import Story
from .files import scene_path

MENU = f"{CATEGORY}/characters"
PRESETS = ["stdgen quickstart", "stdgen toy", "stdgen paper", "stdgen printed"]
KEEP = ["none", *LAYER_NAMES, "body and clothing", "body and hair", "clothing and hair"]
_LAYERS_TIP = "A character in layers, from S-LRM, Refine Layers, Join Layers or Load Layers."
_FRAME_TIP = "in a frame of its own: +Y up, facing +Z, inside [-1, 1]."


def layers_output(tooltip: str):
    """The output that hands on a character in layers."""
    return types.Layers.Output("layers", display_name="layers", tooltip=tooltip)


class SplitLayers(Node):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="Lift123_SplitLayers", display_name="Split Layers", category=MENU,
            description="Body, clothing and hair as a MESH and a GLB file each. A layer the character does not have sends "
                        "nothing on, and what hangs on it does not run.",
            search_aliases=["separate", "layers to mesh", "stdgen"],
            inputs=[types.Layers.Input("layers", tooltip=_LAYERS_TIP)],
            outputs=[*(io.Mesh.Output(n, display_name=n, tooltip=f"The {n}, {_FRAME_TIP}") for n in LAYER_NAMES),
                     *(io.File3DGLB.Output(f"{n}_glb", display_name=f"{n} glb", tooltip=f"The {n} as a file, for Preview 3D.")
                       for n in LAYER_NAMES)],
        )

    @classmethod
    def run(cls, layers):
        found, none = layers.layers, ExecutionBlocker(None)
        return io.NodeOutput(*(to_comfy_mesh(found[n]) if n in found else none for n in LAYER_NAMES),
                             *(mesh_to_file(found[n], n) if n in found else none for n in LAYER_NAMES))


class JoinLayers(Node):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="Lift123_JoinLayers", display_name="Join Layers", category=MENU,
            description="Meshes made elsewhere as the layers of one character, to refine, paint or export them. They must share "
                        "one frame: +Y up, facing +Z.",
            search_aliases=["combine", "mesh to layers", "stdgen"],
            inputs=[
                io.Boolean.Input("fit", default=True,
                                 tooltip="Center all layers together and scale them so that the longest side is 2, as the six "
                                         "views expect. Off: they are in that frame already."),
                *(io.MultiType.Input(n, types=types.MESHES, optional=True,
                                     tooltip=f"The {n}: a MESH or a .glb, .gltf, .obj, .ply, .stl file. Leave it out if none.")
                  for n in LAYER_NAMES),
                io.MultiType.Input("whole", types=types.MESHES, optional=True,
                                   tooltip="A figure in one piece in the place of the layers: CharacterGen's, Unique3D's or "
                                           "any mesh. Refine Layers and Project Colors then use the complete character's views."),
            ],
            outputs=[layers_output("The layers that were given, inside out.")],
        )

    @classmethod
    def run(cls, fit, body=None, clothing=None, hair=None, whole=None):
        from ..pipelines.core.layers import LayeredMesh
        from ..pipelines.stages.characters.refined_layers import RefinedLayers

        given = dict(zip(LAYER_NAMES, (whole if body is None else body, clothing, hair), strict=True))
        if whole is not None and (body, clothing, hair) != (None, None, None):
            raise InputError("whole", "a figure in one piece, or layers", "both", "Disconnect one of the two.")
        told: list[str] = []
        named = {"body": "body" if whole is None else "whole"}
        meshes = {name: told_mesh(value, named.get(name, name), told) for name, value in given.items() if value is not None}
        if not meshes:
            raise InputError("body, clothing, hair, whole", "at least one mesh", "none", "Connect a MESH or a 3D file.")
        layers = LayeredMesh(meshes)
        joined = RefinedLayers(layers.framed() if fit else layers, whole=whole is not None)
        return io.NodeOutput(Chapter(Story(), "Join Layers", {"fit": fit, "layers": list(layers)}).sign(joined),
                             ui=told_ui(told))


class ReplaceLayers(Node):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="Lift123_ReplaceLayers", display_name="Replace Layers", category=MENU,
            description="Takes some layers of a new character and keeps all others of the old one: new hair or clothing after "
                        "its picture was edited (StdGEN Sec. 4.5). Refine Layers then works on the new layers only.",
            search_aliases=["edit", "swap hair", "change clothes", "stdgen"],
            inputs=[
                types.Layers.Input("old", tooltip="The character that stays, as it was refined."),
                types.Layers.Input("new", tooltip="The character rebuilt from the edited picture, from S-LRM."),
                io.Combo.Input("replace", options=["hair", "clothing", "clothing and hair", "body"], default="hair",
                               tooltip="Layers that come from the new character; one it lacks is taken away."),
            ],
            outputs=[layers_output("Old and new layers together; the kept ones count as finished.")],
        )

    @classmethod
    def run(cls, old, new, replace):
        from ..pipelines.stages.characters.refine_layers import replaced

        done = replaced(old, new, tuple(replace.split(" and ")))
        return io.NodeOutput(Chapter(done.story, "Replace Layers", {"replace": replace}).sign(done))


class RefineLayers(Node):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="Lift123_RefineLayers", display_name="Refine Layers", category=MENU,
            description="Fits each layer's surface to the views' normals and outlines, from inside out: body, clothing, hair. "
                        "Outer layers stay outside of inner ones (StdGEN Sec. 3.3). Layers that are finished, for example by "
                        "Replace Layers or before an interruption, are kept.",
            search_aliases=["multi-layer refinement", "remesh", "stdgen", "character"],
            inputs=[
                types.Layers.Input("layers", tooltip=_LAYERS_TIP),
                types.CharacterViews.Input("views", tooltip="Six views of three levels with normals, from Character Multi-View."),
                io.Combo.Input("preset", options=PRESETS, default="stdgen quickstart",
                               tooltip="stdgen quickstart: small pictures, a CPU, few steps for the embedded network's soft "
                                       "views; stdgen toy: the same with more steps, for sharp views; stdgen paper: 1024 pixels, "
                                       "as the released code does it; stdgen printed: as the paper says it (whole outlines, no "
                                       "expansion, no limit of collisions, distant points stay)."),
                io.Int.Input("steps", default=0, min=0, max=2000,
                             tooltip="Of each layer's first fit, and of the second in proportion; 0 = the preset's own "
                                     "(quickstart: 10; toy: 80; paper: 200). Few steps show quickly whether the graph does what "
                                     "you want."),
                io.Boolean.Input("again", default=False,
                                 tooltip="Start over: layers that are finished are refined again, from the layers that the "
                                         "refinement began with."),
                io.Int.Input("seed", default=0, min=0, max=0xFFFFFFFF, control_after_generate=True,
                             tooltip="Same seed, same machine: same result."),
                io.Mask.Input("hair_segments", optional=True,
                              tooltip="Masks of a segmenter on the front picture; those that fit become the hair's. Without them "
                                      "hair is where the views of the first two levels differ."),
                io.Combo.Input("keep", options=KEEP, default="none", optional=True, advanced=True,
                               tooltip="Layers that are used as they are: they need no views of their own, and the others stay "
                                       "outside of them."),
            ],
            outputs=[layers_output("The refined layers. Paint them with Project Colors."),
                     io.String.Output("report", display_name="report",
                                      tooltip="What was mirrored, shifted, dropped or kept, and how far layers reach into each "
                                              "other.")],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def run(cls, layers, views, preset, steps, again, seed, hair_segments=None, keep="none"):
        from ..pipelines import stdgen
        from ..pipelines.stages.characters import refine_layers as stage
        from ..pipelines.stages.characters.refine_config import with_steps
        from ..pipelines.stages.characters.refined_layers import RefinedLayers
        from ..pipelines.stages.characters.refining import Refining

        resume = layers if layers.finished and not again else None
        if resume is not None and layers.complete:
            return io.NodeOutput(layers, "\n".join([*stage.report(layers), "Every layer is finished already."]))
        if len(layers.layers):
            views.require_figure()
        device, config = device_with_room(), with_steps(stdgen.PRESETS[preset].refine, steps)
        chapter = Chapter(layers.story, "Refine Layers", config, seed=seed)
        kept = () if keep == "none" else tuple(keep.split(" and "))
        shelf = Shelf("Refine Layers", layers=layers, views=views, config=config, anew=resume is None,
                      hair_segments=hair_segments, seed=seed, device=device.type, keep=kept)
        left, start = shelf.find(Refining.unpack), layers.start.to(device)
        work = partial(stage.refine_whole, start.merged()) if layers.whole else partial(
            stage.refine_layers, start, hair_segments=hair_segments, keep=kept)
        done = run_stage("Refine Layers", lambda hooks: chapter.sign(work(
            views=views.to(device), config=config, resume=resume and resume.to(device), seed=seed,
            on_step=hooks["on_step"], on_layer=lambda part: hooks["on_checkpoint"](chapter.sign(part)),
            autosave=hooks["autosave"], left=left and left.to(device))), node_key(cls), loader="Load Layers", shelf=shelf,
            unpack=RefinedLayers.unpack)
        return io.NodeOutput(done.to("cpu"), "\n".join(stage.report(done)))


class SaveLayers(Node):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="Lift123_SaveLayers", display_name="Save Layers", category=MENU,
            description="Writes a character in layers, finished or not, as safetensors into ComfyUI's output folder.",
            search_aliases=["checkpoint", "state"],
            is_output_node=True, not_idempotent=True,
            inputs=[types.Layers.Input("layers", tooltip=_LAYERS_TIP),
                    io.String.Input("filename_prefix", default="lift123/layers",
                                    tooltip="Where in ComfyUI's output folder; a number is added.")],
            outputs=[io.String.Output("file", display_name="file", tooltip="The written file's name, for Load Layers.")],
        )

    @classmethod
    def validate_inputs(cls, filename_prefix):
        return True if filename_prefix is None else check_before_work(filename_prefix)

    @classmethod
    def run(cls, layers, filename_prefix):
        slot = claim(filename_prefix)
        layers.save(slot.path("safetensors"))
        name = slot.relative("safetensors")
        return io.NodeOutput(name, ui={"text": (name,), "lift123_files": [{"scene": slot.result("safetensors")}]})


class LoadLayers(Node):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="Lift123_LoadLayers", display_name="Load Layers", category=MENU,
            description="Reads a character that Save Layers wrote, or what an interrupted refinement left; Refine Layers goes "
                        "on with the layers that are not finished.",
            search_aliases=["checkpoint", "resume", "state"],
            inputs=[io.String.Input("file", default="lift123/layers_00001_.safetensors",
                                    tooltip="Relative to ComfyUI's output folder; add ' [input]' for the input folder.")],
            outputs=[layers_output("The layers, with what is finished.")],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def validate_inputs(cls, file):
        """The queue stops here when there is no such file."""
        try:
            return True if file is None else bool(scene_path(file))
        except InputError as problem:
            return str(problem)

    @classmethod
    def fingerprint_inputs(cls, file):
        """Read again when the file has changed."""
        try:
            state = Path(scene_path(file)).stat()
            return f"{state.st_mtime_ns} {state.st_size}"
        except (InputError, OSError):
            return "absent"

    @classmethod
    def run(cls, file):
        from ..pipelines.stages.characters.refined_layers import load_layers

        return io.NodeOutput(load_layers(scene_path(file), lambda text: say(text, node_key(cls))))
