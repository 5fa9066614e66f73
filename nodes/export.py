"""The end of a run: a textured GLB, pictures of it, and a record of how it was made."""

from __future__ import annotations

import json
import logging
import math
from dataclasses import asdict
from fractions import Fraction
from io import BytesIO
from pathlib import Path
from typing import Any, Literal

import torch
from comfy_api.latest import Types, io

from ..host import kept_graph, types
from ..host.base import CATEGORY, Node, comfy_device, node_key
from ..host.convert import to_comfy_mesh, to_image
from ..host.memory import require_pictures, require_texture
from ..host.outputs import check_before_work, claim, size
from ..host.runner import say
from ..host.runs import batch_record, forget_failure
from ..host.story import comfyui_version
from ..pipelines.core.errors import InputError
from ..pipelines.core.pulse import while_waiting
from ..pipelines.io.glb import save_bytes
from ..pipelines.io.material import Material
from ..pipelines.io.mesh_formats import FORMATS, check_libraries, write_mesh

log = logging.getLogger(__name__)
OTHERS = [kind for kind in FORMATS if kind != "glb"]
NO_MORE, ALL = "nothing else", "all of these"
LOADERS = {  # node: (input that names a network, kind of network or ComfyUI's category of model folders)
    "LoadEmbedded": (("", "view"),),
    "LoadViewPrior": (("checkpoint", "view"),), "LoadTextPrior": (("checkpoint", "text"),),
    "LoadClip": (("checkpoint", "clip"),), "LoadDepth": (("checkpoint", "depth"),),
    "LoadDepthText": (("checkpoint", "depth_text"),),
    "LoadDepthControl": (("checkpoint", "text"), ("controlnet", "depth_control")),
    "LoadCharacterEmbedded": (("", "canonical"), ("", "multiview"), ("", "slrm")),
    "LoadCanonicalizer": (("checkpoint", "canonical"),), "LoadMultiView": (("checkpoint", "multiview"),),
    "LoadSlrm": (("checkpoint", "slrm"),),
    "CheckpointLoaderSimple": (("ckpt_name", "checkpoints"),), "UNETLoader": (("unet_name", "diffusion_models"),),
    "VAELoader": (("vae_name", "vae"),), "CLIPLoader": (("clip_name", "text_encoders"),),
}


class BakeExport(Node):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="Lift123_BakeExport", display_name="Bake and Export", category=f"{CATEGORY}/output",
            description="Unwraps the mesh, bakes its colors into a texture, and writes a GLB, a contact sheet, an "
                        "animated turntable and a manifest into ComfyUI's output folder.",
            search_aliases=["save glb", "save mesh", "texture", "unwrap", "gltf", "turntable", "image to 3d", "picture to mesh"],
            is_output_node=True, not_idempotent=True,
            inputs=[
                types.Scene.Input("scene", tooltip="From any stage. A NeRF scene is meshed first."),
                io.String.Input("filename_prefix", default="lift123/object",
                                tooltip="Where in ComfyUI's output folder; a number is added."),
                io.Int.Input("texture_size", default=1024, min=64, max=4096, step=64,
                             tooltip="Side of the texture, pixels."),
                io.Int.Input("face_budget", default=20000, min=100, max=200000, step=100,
                             tooltip="Triangles kept before unwrapping; more takes longer to unwrap."),
                io.Int.Input("supersample", default=2, min=1, max=4, advanced=True,
                             tooltip="Texture samples per texel along each side."),
                io.Int.Input("frames", default=24, min=4, max=120, tooltip="Pictures in the turntable."),
                io.Int.Input("turntable_size", default=256, min=64, max=1024, step=8,
                             tooltip="Side of the turntable's pictures, pixels."),
                io.Float.Input("elevation", default=10.0, min=-80.0, max=80.0, step=1.0, advanced=True,
                               tooltip="Height of the turntable's camera, degrees above the horizon."),
                io.Boolean.Input("picture_texels", default=False, optional=True,
                                 tooltip="Where the picture's camera sees the surface, the texture takes the picture's own "
                                         "pixels, fading out towards edges and steep sides."),
                io.String.Input("metrics", optional=True, force_input=True,
                                tooltip="From Evaluate: kept in the manifest and inside the GLB."),
                io.Float.Input("roughness", default=1.0, min=0.0, max=1.0, step=0.05, optional=True, advanced=True,
                               tooltip="How matt the surface is: 1 plaster, 0.5 plastic, 0.1 polished."),
                io.Float.Input("metallic", default=0.0, min=0.0, max=1.0, step=0.05, optional=True, advanced=True,
                               tooltip="1 for metal, 0 for everything else."),
                io.Boolean.Input("normal_map", default=False, optional=True,
                                 tooltip="Also bakes a normal map: light then shows the relief that decimating to face_budget "
                                         "took away."),
                io.Combo.Input("also_as", options=[NO_MORE, *OTHERS, ALL], default=NO_MORE, optional=True,
                               tooltip="A second file beside the GLB: obj (with mtl and pictures), ply (colors at vertices), "
                                       "stl or 3mf (shape only, for printing)."),
                io.Combo.Input("video", options=["none", "mp4"], default="none", optional=True,
                               tooltip="The turntable as a video, too, for programs that show no WebP."),
                io.Combo.Input("decimation", options=["fast", "fine"], default="fast", optional=True, advanced=True,
                               tooltip="fine: our own decimation alone, 20 to 70 times slower on large meshes, drops no crumb; "
                                       "fast: the library fast-simplification where it is installed."),
            ],
            outputs=[
                io.File3DGLB.Output("glb", display_name="glb", tooltip="The written file, for Preview 3D."),
                io.Mesh.Output("mesh", display_name="mesh", tooltip="The textured mesh."),
                io.Image.Output("texture", display_name="texture", tooltip="The baked texture."),
                io.Image.Output("turntable", display_name="turntable", tooltip="The object from all around."),
                io.String.Output("report", display_name="report",
                                 tooltip="Size of mesh and texture, and how many texels come from the picture."),
            ],
            hidden=[io.Hidden.unique_id, io.Hidden.prompt, io.Hidden.extra_pnginfo],
        )

    @classmethod
    def validate_inputs(cls, filename_prefix):
        """Stops the queue before anything runs if the result could not be written in the end."""
        return True if filename_prefix is None else check_before_work(filename_prefix)

    @classmethod
    def run(cls, scene, filename_prefix, texture_size, face_budget, supersample, frames, turntable_size, elevation,
            picture_texels=False, metrics=None, roughness=1.0, metallic=0.0, normal_map=False, also_as=NO_MORE, video="none",
            decimation: Any = "fast"):
        from ..pipelines.core.cameras import HOME
        from ..pipelines.io.glb import write_glb
        from ..pipelines.io.manifest import describe_file, plain, repeatable, write_manifest
        from ..pipelines.stages.results.render_views import contact_sheet, turntable_pictures

        if metrics is not None:
            read_metrics(metrics)
        kinds = OTHERS if also_as == ALL else [kind for kind in OTHERS if kind == also_as]
        for kind in kinds:
            check_libraries(kind)
        require_texture(texture_size, supersample)
        require_pictures(frames, turntable_size, "frames", "turntable_size")
        need = 4 * texture_size**2 + 3 * frames * turntable_size**2 + 200 * face_budget
        slot, key = claim(filename_prefix, ("json", "manifest"), need), node_key(cls)
        say("baking the texture", key)
        asset = finished(scene, texture_size, face_budget, supersample, picture_texels, normal_map, decimation)
        mesh, share = asset.mesh, asset.share
        assert mesh.texture is not None, "it has just been baked"
        made = record(scene, mesh, cls.hidden.prompt if cls.hidden is not None else None, metrics, filename_prefix, key)
        if share is not None:
            made["results"]["picture_texels"] = asdict(share)
        look = Material(roughness, metallic, asset.normals)
        extras = plain(repeatable(made)) | kept_graph.texts(cls.hidden)
        glb = write_glb(slot.path("glb"), mesh, extras, name="lift123", material=look)
        made["curves"] = scene.meta.get("curves", {})
        files = results(slot, bool(made["curves"]))
        for kind in kinds:
            write_mesh(slot.path(kind), mesh, kind, look)
            files["lift123_files"][0][kind] = slot.result(kind)
        say("rendering the turntable", key)
        cameras = HOME.turntable(frames, math.radians(elevation), turntable_size)
        pictures = to_image(turntable_pictures(mesh, cameras))
        save_png(contact_sheet(pictures), slot.path("png", "sheet"), cls.hidden)
        say("saving the turntable", key)
        save_animation(pictures, slot.path("webp", "turntable"), hidden=cls.hidden)
        remarks = [str(share or "")]
        if normal_map and asset.normals is None:
            remarks.append("No normal map: nothing was decimated, so it would be flat.")
        if video != "none":
            trouble = save_video(pictures, slot.path("mp4", "turntable"), cls.hidden)
            files["lift123_files"][0] |= {} if trouble else {"video": slot.result("mp4", "turntable")}
            remarks.append(trouble or "")
        made["results"]["glb"] = describe_file(slot.path("glb"))
        save_curves(slot, made["curves"])
        write_manifest(slot.path("json", "manifest"), kept_graph.in_manifest(made, cls.hidden))
        forget_failure(filename_prefix)
        report = " ".join([f"{len(mesh.faces)} faces, texture {texture_size} x {texture_size}.", *filter(None, remarks)])
        say(f"{saved(slot, len(glb), len(mesh.faces))}\n{report}", key)
        return io.NodeOutput(Types.File3D(BytesIO(glb), "glb"), to_comfy_mesh(mesh), to_image(mesh.texture), pictures, report,
                             ui=files)


def finished(scene, texture_size: int, face_budget: int, supersample: int, picture: bool = False, normals: bool = False,
             decimation: Literal["fast", "fine"] = "fast"):
    """The scene's ``Asset``: its mesh, decimated, unwrapped and baked, with what else was asked for."""
    from ..pipelines.stages.results.asset import BakeSettings, finished_asset

    settings = BakeSettings(size=texture_size, faces=face_budget, supersample=supersample, picture=picture, normals=normals,
                            decimation=decimation)
    return finished_asset(scene, settings, device=comfy_device())


def saved(slot, count: int, faces: int) -> str:
    """The last word of an export: where the file of ``count`` bytes is, and how large."""
    return f"output/{slot.relative('glb')}\n{size(count)} | {faces:,} faces"


def save_curves(slot, curves: dict) -> None:
    """The curves of the stages as a table beside the result; nothing where there are none."""
    from ..pipelines.core.curve import rows
    from ..pipelines.io.table_picture import comma_separated

    if curves:
        save_bytes(slot.path("csv", "curves"), comma_separated(*rows(curves)).encode())


def results(slot, curves: bool = False) -> dict:
    """What the browser and scripts see: the GLB, the moving and the flat turntable, and all files by kind."""
    files = {"glb": slot.result("glb"), "turntable": slot.result("webp", "turntable"),
             "contact_sheet": slot.result("png", "sheet"), "manifest": slot.result("json", "manifest")}
    if curves:
        files["curves"] = slot.result("csv", "curves")
    return {"3d": [files["glb"]], "images": [files["turntable"], files["contact_sheet"]], "animated": (True,),
            "lift123_files": [files]}


def save_png(pixels, path, hidden=None) -> None:
    """[H, W, 3] in [0, 1] -> PNG.  hidden: of the node, whose graph is kept inside."""
    stream = BytesIO()
    pil(pixels).save(stream, format="PNG", compress_level=4, pnginfo=kept_graph.png_info(hidden))
    save_bytes(path, stream.getvalue())


def save_animation(pictures, path, milliseconds: int = 80, hidden=None) -> None:
    """[F, H, W, 3] in [0, 1] -> an endlessly looping WebP.  hidden: of the node, whose graph is kept inside."""
    frames, made = [pil(p) for p in pictures], BytesIO()
    while_waiting(lambda: frames[0].save(made, format="WEBP", save_all=True, append_images=frames[1:], duration=milliseconds,
                                         loop=0, quality=85, exif=kept_graph.exif(hidden)), "saving the turntable")
    save_bytes(path, made.getvalue())


def save_video(pictures, path: Path, hidden=None, milliseconds: int = 80) -> str | None:
    """[F, H, W, 3] in [0, 1] -> an MP4 (H.264) by ComfyUI's own encoder, with the graph as ComfyUI's videos carry it.

    What went wrong, as a sentence, or None: a video is never worth a finished run.
    """
    made: Any = BytesIO()  # which ComfyUI takes, though it says str
    try:
        from comfy_api.latest import InputImpl

        clip = InputImpl.VideoFromComponents(Types.VideoComponents(images=pictures, frame_rate=Fraction(1000, milliseconds)))
        graph = kept_graph.kept(hidden)
        while_waiting(lambda: clip.save_to(made, format=Types.VideoContainer.MP4, metadata=graph), "saving the video")
    except Exception as problem:  # encoders of PyAV's builds differ
        log.warning("Lift123: no MP4: %s", problem)
        return f"No MP4: {problem}. The WebP is there."
    save_bytes(path, made.getvalue())
    return None


def pil(pixels):
    """One picture [H, W, 3] (or a batch's first) as an 8-bit RGB PIL image."""
    from PIL import Image

    return Image.fromarray((to_image(pixels)[0] * 255).round().to(torch.uint8).numpy(), "RGB")


def record(scene, mesh, graph, metrics: str | None = None, prefix: str = "", node: str | None = None) -> dict:
    """The manifest, which (but for its timings) also travels inside the GLB: how this file was made."""
    from ..pipelines.io.manifest import describe_picture, run_manifest

    meta, views = scene.meta, scene.reference.views
    results = {"vertices": len(mesh.vertices), "faces": len(mesh.faces),
               "steps": scene.step, "switch_step": scene.switch_step, "boundary": scene.boundary}
    if metrics is not None:
        results["metrics"] = read_metrics(metrics)
    return run_manifest(
        "lift123", {"kind": scene.kind, "stage": meta.get("config", {}), "stages": meta.get("stages", [])}, scene.seed,
        meta.get("seconds"), used_weights(graph), {
            "prompt": scene.reference.prompt, "reference": meta["reference"],
            "picture": describe_picture(torch.cat([views.rgb, views.alpha[..., None]], -1))},
        results, graph, batch_record(prefix, graph, node), comfyui_version())


def read_metrics(text: str) -> dict:
    """What Evaluate wrote; InputError for anything else."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise InputError("metrics", "Evaluate's 'metrics' output", repr(text[:40]), "Connect that output.")
    return value


def used_weights(graph) -> list[tuple[str, Path]]:
    """(name, path) of the weight files that the graph's loaders name; what is not there is left out."""
    from ..host.checkpoints import weight_files

    found = {}
    for node in (graph or {}).values():
        for field, kind in LOADERS.get(str(node.get("class_type", "")).removeprefix("Lift123_"), ()):
            given = node.get("inputs", {})
            name = (str(given.get("hub_name") or "").strip() or given.get(field)) if field else "embedded"
            if isinstance(name, str):
                found.update(weight_files(kind, name))
    return sorted(found.items())
