"""The end of a character that moves: a skinned GLB with animations and a VRM 1.0 file."""

from __future__ import annotations

from dataclasses import replace
from io import BytesIO
from typing import Any

from comfy_api.latest import Types, io

from ..host import kept_graph, types
from ..host.base import CATEGORY, Node, node_key
from ..host.convert import to_image
from ..host.outputs import check_before_work, claim
from ..host.runner import say
from ..host.runs import forget_failure
from .export import save_png
from .layers_out import character_record
from .rig import static

FILES = ["glb + vrm", "glb", "vrm"]
COLORS = ["textures", "vertex colors"]
AVATAR = {"only the author": "onlyAuthor", "people with a license": "onlySeparatelyLicensedPerson", "everyone": "everyone"}
COMMERCIAL = {"no": "personalNonProfit", "by persons": "personalProfit", "by companies": "corporation"}
CHANGES = {"no": "prohibited", "yes": "allowModification", "yes, and pass on": "allowModificationRedistribution"}


class ExportRigged(Node):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="Lift123_ExportRigged", display_name="Export Rigged Character", category=f"{CATEGORY}/output",
            description="Writes a skinned GLB with animations (Blender, game engines) and a VRM 1.0 file (VRM viewers, VTuber "
                        "tools): body, clothing and hair as meshes on one skeleton, in meters, on the floor, facing +Z. Without "
                        "a skeleton a static GLB comes out and the report says why.",
            search_aliases=["save vrm", "save glb", "rig", "skinned", "animation", "blender", "unity", "mixamo"],
            is_output_node=True, not_idempotent=True,
            inputs=[
                types.Rigged.Input("rigged", tooltip="From Bind Layers."),
                io.String.Input("filename_prefix", default="lift123/rigged",
                                tooltip="Where in ComfyUI's output folder; a number is added."),
                io.Combo.Input("files", options=FILES, default="glb + vrm", tooltip="What is written."),
                io.Float.Input("height", default=1.6, min=0.3, max=3.0, step=0.01, tooltip="Of the whole figure, meters."),
                io.Boolean.Input("unlit", default=True,
                                 tooltip="Colors are shown as painted, as for drawn characters; off: lit by the scene."),
                io.String.Input("name", default="character", tooltip="VRM: what the character is called."),
                io.String.Input("author", default="unknown", tooltip="VRM: who made it; several names with commas between."),
                io.Combo.Input("avatar", options=list(AVATAR), default="only the author", advanced=True,
                               tooltip="VRM license: who may perform as this character."),
                io.Combo.Input("commercial", options=list(COMMERCIAL), default="no", advanced=True,
                               tooltip="VRM license: whether it may be used commercially."),
                io.Combo.Input("changes", options=list(CHANGES), default="no", advanced=True,
                               tooltip="VRM license: whether the file may be changed."),
                io.Boolean.Input("redistribution", default=False, advanced=True,
                                 tooltip="VRM license: whether the file may be passed on."),
                io.Boolean.Input("credit", default=True, advanced=True, tooltip="VRM license: whether the author must be named."),
                io.Combo.Input("colors", options=COLORS, default="textures", optional=True,
                               tooltip="textures: as Texture Layers made them; layers without one have vertex colors. vertex "
                                       "colors: for programs that show them; smaller files."),
                *(types.Motion.Input(f"motion_{k}", optional=True, tooltip="An animation for the GLB. A VRM file has none.")
                  for k in (1, 2, 3)),
            ],
            outputs=[io.File3DGLB.Output("glb", display_name="glb",
                                         tooltip="The written GLB, for Preview 3D; the VRM file, which is a GLB, too, where only "
                                                 "that was written."),
                     io.Image.Output("sheet", display_name="sheet", tooltip="The skeleton, and the first motion or a walk."),
                     io.String.Output("report", display_name="report", tooltip="What was written, and what to look at.")],
            hidden=[io.Hidden.unique_id, io.Hidden.prompt, io.Hidden.extra_pnginfo],
        )

    @classmethod
    def validate_inputs(cls, filename_prefix):
        """Stops the queue before anything runs if the result could not be written in the end."""
        return True if filename_prefix is None else check_before_work(filename_prefix)

    @classmethod
    def run(cls, rigged, filename_prefix, files, height, unlit, name, author, avatar, commercial, changes, redistribution,
            credit, colors="textures", motion_1=None, motion_2=None, motion_3=None):
        from ..pipelines.io.manifest import describe_file, plain, repeatable, write_manifest
        from ..pipelines.io.vrm import VrmMeta
        from ..pipelines.stages.characters import export
        from ..pipelines.stages.characters.rig_files import rig_sheet, write_files
        from ..pipelines.stages.characters.texture_layers import untextured

        if colors == "vertex colors":
            rigged = replace(rigged, layers=untextured(rigged.layers))
        words: dict[str, Any] = {"avatar": AVATAR[avatar], "commercial": COMMERCIAL[commercial], "modification": CHANGES[changes]}
        meta = VrmMeta(name, tuple(a.strip() for a in author.split(",")), **words, redistribution=redistribution, credit=credit)
        slot, key = claim(filename_prefix, ("json", "manifest")), node_key(cls)
        motions = [m for m in (motion_1, motion_2, motion_3) if m is not None]
        frame = export.ExportFrame(height=height)
        checks = export.export_checks(rigged.layers, frame)
        record = character_record(static(rigged), checks, cls.hidden.prompt if cls.hidden is not None else None,
                                  filename_prefix, key)
        kinds = tuple(files.split(" + ")) if rigged.rig is not None else ("glb",)
        say(f"writing {' and '.join(kinds)}", key)
        written = write_files({kind: slot.path(kind) for kind in kinds}, rigged, frame, motions, meta,
                              plain(repeatable(record)) | kept_graph.texts(cls.hidden), unlit)
        shown = to_image(rig_sheet(rigged, motions)) if rigged.rig is not None else to_image(
            export.character_sheet(rigged.layers))
        save_png(shown, slot.path("png", "sheet"), cls.hidden)
        for kind in kinds:
            record["results"][kind] = describe_file(slot.path(kind))
        write_manifest(slot.path("json", "manifest"), kept_graph.in_manifest(record, cls.hidden))
        forget_failure(filename_prefix)
        lines = [f"LOOK no skeleton, a static GLB was written: {rigged.refused}"] if rigged.rig is None else [
            f"{', '.join(kinds)}: {len(rigged.rig.names)} bones, {len(motions)} animations in the GLB", *rigged.notes]
        lines += [f"{'ok ' if c.ok else 'LOOK'} {c.name}: {c.found}" for c in checks]
        given = {"contact_sheet": slot.result("png", "sheet"), "manifest": slot.result("json", "manifest")}
        given |= {kind: slot.result(kind) for kind in kinds}
        first = "glb" if "glb" in kinds else "vrm"
        return io.NodeOutput(Types.File3D(BytesIO(written[first]), "glb"), shown, "\n".join(lines), ui={
            "3d": [given["glb"]] if "glb" in given else [], "images": [given["contact_sheet"]], "lift123_files": [given]})
