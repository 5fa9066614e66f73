"""Characters in layers, looked at and handed on: colors, previews, one GLB with named nodes."""

from __future__ import annotations

from dataclasses import replace
from io import BytesIO
from typing import Any

import torch
from comfy_api.latest import Types, io, ui

from ..host import kept_graph, types
from ..host.base import CATEGORY, Node, comfy_device, device_with_room, node_key
from ..host.convert import to_comfy_mesh, to_image
from ..host.memory import require_texture
from ..host.outputs import check_before_work, claim
from ..host.runner import run_stage, say
from ..host.runs import forget_failure
from ..host.story import Chapter, comfyui_version
from ..pipelines.core.errors import InputError
from .export import save_png, saved
from .layers import _LAYERS_TIP, MENU, layers_output

MODES = ["together", "apart", "cross-section from the front", "cross-section from the side"]


class ProjectColors(Node):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="Lift123_ProjectColors", display_name="Project Colors", category=MENU,
            description="Paints each layer with the views of the level that shows it outermost. Places no view sees take their "
                        "neighbors' colors (StdGEN).",
            search_aliases=["texture projection", "texture", "vertex colors", "paint", "stdgen"],
            inputs=[
                types.Layers.Input("layers", tooltip=_LAYERS_TIP),
                types.CharacterViews.Input("views", tooltip="Six views of the levels that show the layers."),
                io.Int.Input("subdivide", default=1, min=0, max=3,
                             tooltip="Times every face is cut in four first: vertices carry the colors. Released code: 1."),
                io.Combo.Input("paint", options=["all layers", "layers without colors"], default="all layers",
                               tooltip="layers without colors: after Replace Layers, what was kept stays as it is painted, and "
                                       "only what was refined anew is painted."),
            ],
            outputs=[layers_output("The layers with vertex colors."),
                     io.String.Output("report", display_name="report", tooltip="How much of each layer some view shows.")],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def run(cls, layers, views, subdivide, paint):
        from ..pipelines.stages.characters.project_colors import ColorConfig, project_colors

        if len(given := layers.layers):
            views.require_figure()
        device, config = device_with_room(), ColorConfig(subdivide=subdivide)
        chapter = Chapter(layers.story, "Project colors", config, paint=paint)
        only = None if paint == "all layers" else tuple(n for n in given if given[n].vertex_colors is None)
        done = run_stage("Project colors", lambda hooks: project_colors(
            given.to(device), views.to(device), config, on_step=hooks["on_step"], only=only, whole=layers.whole),
            node_key(cls))
        lines = [f"{name}: {share:.0%} of the vertices seen" for name, share in done.seen.items()]
        return io.NodeOutput(chapter.sign(replace(layers, layers=done.layers.to("cpu"))), "\n".join([*lines, *done.notes]))


class TextureLayers(Node):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="Lift123_TextureLayers", display_name="Texture Layers", category=MENU,
            description="Unwraps every layer and bakes a texture: the colors that the layer has, over them the six views, and "
                        "over its front the A-pose picture at its full size. For exports with and without bones.",
            search_aliases=["uv", "unwrap", "bake", "texture", "stdgen", "rig"],
            inputs=[
                types.Layers.Input("layers",
                                   tooltip="Layers with colors, from Project Colors: places that no view sees keep them."),
                types.CharacterViews.Input("views", optional=True,
                                           tooltip="Six views of the levels that show the layers. Without them only the layers' "
                                                   "own colors are baked."),
                io.Image.Input("picture", optional=True,
                               tooltip="The A-pose from the front, from Canonicalize, which keeps a picture's own pixels where "
                                       "the figure stood in A-pose already. A picture of another pose is left out and said so."),
                io.Int.Input("texture_size", default=1024, min=64, max=4096, step=64, tooltip="Side of each texture, pixels."),
                io.Int.Input("face_budget", default=20000, min=0, max=200000, step=100,
                             tooltip="Triangles kept per layer; 0 = all. Fewer are unwrapped sooner."),
            ],
            outputs=[layers_output("The layers with texture coordinates and textures, and the same colors at their vertices."),
                     io.Image.Output("textures", display_name="textures", tooltip="The textures side by side, inside out."),
                     io.String.Output("report", display_name="report",
                                      tooltip="How much of each texture views and picture painted; whether the picture fits.")],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def run(cls, layers, texture_size, face_budget, views=None, picture=None):
        from ..pipelines.stages.characters.front_picture import read_front
        from ..pipelines.stages.characters.texture_layers import TextureConfig, texture_layers

        require_texture(texture_size)
        config = TextureConfig(size=texture_size, faces=face_budget)
        chapter = Chapter(layers.story, "Texture Layers", config)
        front, said = (None, "") if picture is None else read_front(picture, layers.layers)
        done = run_stage("Texture layers", lambda hooks: texture_layers(
            layers.layers, views, front, config, on_step=hooks["on_step"], whole=layers.whole), node_key(cls))
        shown = to_image(torch.cat([m.texture for m in done.layers.layers.values() if m.texture is not None], 1))
        lines = [f"{name}: {share:.0%} from views and picture" for name, share in done.seen.items()]
        return io.NodeOutput(chapter.sign(replace(layers, layers=done.layers)), shown,
                             "\n".join([*([said] if said else []), *lines, *done.notes]), ui=ui.PreviewImage(shown, cls=cls))


class PreviewLayers(Node):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="Lift123_PreviewLayers", display_name="Preview Layers", category=MENU,
            description="Pictures and one mesh of a character in layers: together, side by side, or cut open to see that each "
                        "layer is hollow and complete.",
            search_aliases=["exploded view", "cross-section", "stdgen"],
            is_output_node=True, not_idempotent=True,
            inputs=[types.Layers.Input("layers", tooltip=_LAYERS_TIP),
                    io.Combo.Input("mode", options=MODES, default="apart", tooltip="What is shown."),
                    io.Int.Input("size", default=384, min=64, max=1024, step=8, tooltip="Height of the pictures, pixels."),
                    io.Float.Input("at", default=0.0, min=-1.0, max=1.0, step=0.01, advanced=True,
                                   tooltip="Cross-sections: where the cut is; 0 = through the middle, 1 = the front or right.")],
            outputs=[io.Image.Output("images", display_name="images",
                                     tooltip="From the front, front right, right, back, left and front left, on white."),
                     io.Mesh.Output("mesh", display_name="mesh", tooltip="What the pictures show, as one mesh.")],
        )

    @classmethod
    def run(cls, layers, mode, size, at):
        from ..pipelines.stages.characters import export as stage

        if not len(layers.layers):
            raise InputError("layers", "at least one layer", "none", "Check the node that made them.")
        found = layers.layers.to(comfy_device())
        if mode == "apart":
            found = stage.exploded(found)
        elif mode != "together":
            found = stage.section_layers(found, axis=2 if "front" in mode else 0, at=at)
        images = to_image(torch.stack([stage.character_picture(found, size, view) for view in range(6)]))
        return io.NodeOutput(images, to_comfy_mesh(found.joined()), ui=ui.PreviewImage(images, cls=cls))


class ExportCharacter(Node):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="Lift123_ExportCharacter", display_name="Export Character", category=f"{CATEGORY}/output",
            description="Writes one GLB with the named nodes body, clothing and hair under one root, in meters, on the floor, "
                        "with a list of what Blender, VRM tools and riggers need, each point measured.",
            search_aliases=["save glb", "save mesh", "vrm", "rigging", "unirig", "stdgen", "game character"],
            is_output_node=True, not_idempotent=True,
            inputs=[
                types.Layers.Input("layers", tooltip=_LAYERS_TIP),
                io.String.Input("filename_prefix", default="lift123/character",
                                tooltip="Where in ComfyUI's output folder; a number is added."),
                io.Float.Input("height", default=1.6, min=0.3, max=3.0, step=0.01, tooltip="Of the whole figure, meters."),
                io.Combo.Input("facing", options=["+z", "-z"], default="+z",
                               tooltip="+z: glTF and VRM 1.0; -z: VRM 0.x."),
                io.Combo.Input("colors", options=["vertex colors", "textures"], default="vertex colors",
                               tooltip="textures: layers keep those of Texture Layers; others are decimated, unwrapped "
                                       "and baked, which takes longer."),
                io.Int.Input("texture_size", default=1024, min=64, max=4096, step=64,
                             tooltip="Side of each texture that is baked here, pixels."),
                io.Int.Input("face_budget", default=20000, min=100, max=200000, step=100,
                             tooltip="Triangles kept per layer where textures are baked."),
                io.Combo.Input("decimation", options=["fast", "fine"], default="fast", optional=True, advanced=True,
                               tooltip="fine: our own decimation alone, 20 to 70 times slower on large meshes, drops no crumb; "
                                       "fast: the library fast-simplification where it is installed."),
            ],
            outputs=[io.File3DGLB.Output("glb", display_name="glb", tooltip="The written file, for Preview 3D."),
                     io.Image.Output("sheet", display_name="sheet", tooltip="Together, apart and cut open, side by side."),
                     io.String.Output("report", display_name="report", tooltip="The checked list.")],
            hidden=[io.Hidden.unique_id, io.Hidden.prompt, io.Hidden.extra_pnginfo],
        )

    @classmethod
    def validate_inputs(cls, filename_prefix):
        """Stops the queue before anything runs if the result could not be written in the end."""
        return True if filename_prefix is None else check_before_work(filename_prefix)

    @classmethod
    def run(cls, layers, filename_prefix, height, facing, colors, texture_size, face_budget, decimation: Any = "fast"):
        from ..pipelines.io.manifest import describe_file, plain, repeatable, write_manifest
        from ..pipelines.stages.characters import export as stage
        from ..pipelines.stages.characters.project_colors import bake_layers
        from ..pipelines.stages.characters.texture_layers import untextured

        if colors == "textures":
            require_texture(texture_size)
        slot, key, found = claim(filename_prefix, ("json", "manifest")), node_key(cls), layers.layers
        frame = stage.ExportFrame(height=height, facing=facing)
        say("checking the layers", key)
        checks = stage.export_checks(found, frame)
        told = [stage["said"] for stage in layers.story.stages if "said" in stage]
        lines = [*told, *(f"{'ok ' if c.ok else 'LOOK'} {c.name}: {c.found}" for c in checks)]
        made = character_record(layers, checks, cls.hidden.prompt if cls.hidden is not None else None, filename_prefix, key)
        shown = to_image(stage.character_sheet(found))
        if colors == "textures":
            say("baking the textures", key)
            found = bake_layers(found, texture_size, face_budget, decimation=decimation)
        else:
            found = untextured(found)
        glb = stage.write_character(slot.path("glb"), found, frame, plain(repeatable(made)) | kept_graph.texts(cls.hidden))
        save_png(shown, slot.path("png", "sheet"), cls.hidden)
        made["results"]["glb"] = describe_file(slot.path("glb"))
        write_manifest(slot.path("json", "manifest"), kept_graph.in_manifest(made, cls.hidden))
        forget_failure(filename_prefix)
        faces = sum(len(found[name].faces) for name in found)
        say("\n".join([saved(slot, len(glb), faces), *lines]), key)
        return io.NodeOutput(Types.File3D(BytesIO(glb), "glb"), shown, "\n".join(lines), ui=character_results(slot))


def character_record(layers, checks: list, graph, prefix: str, node: str | None) -> dict:
    """The manifest of a character: what made it and what was measured."""
    from ..host.runs import batch_record
    from ..pipelines.io.manifest import run_manifest
    from .export import used_weights

    story = layers.story

    results = {"layers": {name: {"vertices": len(layers.layers[name].vertices), "faces": len(layers.layers[name].faces)}
                          for name in layers.layers},
               "checks": [{"name": c.name, "ok": c.ok, "found": c.found} for c in checks], "notes": list(layers.notes)}
    seed = next((entry["seed"] for entry in story.stages if entry.get("seed") is not None), 0)
    return run_manifest("lift123", {"kind": "character", "stages": list(story.stages)}, seed, story.seconds,
                        used_weights(graph), story.inputs, results, graph, batch_record(prefix, graph, node), comfyui_version())


def character_results(slot) -> dict:
    """What the browser and scripts see."""
    files = {"glb": slot.result("glb"), "contact_sheet": slot.result("png", "sheet"),
             "manifest": slot.result("json", "manifest")}
    return {"3d": [files["glb"]], "images": [files["contact_sheet"]], "lift123_files": [files]}
