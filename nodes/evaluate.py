"""Every metric of the papers about one object, as a table."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from comfy_api.latest import io, ui

from ..host import types
from ..host.base import CATEGORY, Node, device_with_room, node_key
from ..host.convert import to_image, told_mesh
from ..host.memory import require_pictures
from ..host.runner import Monitor, finish
from ..pipelines.core.errors import InputError
from ..pipelines.metrics.protocol import VIEW_SETS
from ..pipelines.metrics.registration import REGISTRATIONS

SMALLEST = 11  # pixels per side: the window of structural similarity


class Evaluate(Node):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="Lift123_Evaluate", display_name="Evaluate", category=f"{CATEGORY}/output",
            description="The papers' metrics for a scene or a mesh: reference view, novel views, true mesh, Janus problem, "
                        "soundness. What cannot be measured is listed with the reason.",
            search_aliases=["metrics", "compare", "plot", "psnr", "ssim", "lpips", "clip score", "chamfer", "iou", "f-score",
                            "janus"],
            is_output_node=True, not_idempotent=True,
            inputs=[
                io.MultiType.Input("source", types=[types.Scene, *types.MESHES],
                                   tooltip="A scene from any stage; or a mesh in scene units, for example from Bake and "
                                           "Export, whose texels are then counted."),
                io.Int.Input("size", default=256, min=64, max=1024, step=8, tooltip="Side of all compared pictures, pixels."),
                io.Boolean.Input("intersections", default=True, advanced=True,
                                 tooltip="Count pairs of faces that pass through each other; seconds for large meshes."),
                io.Int.Input("seed", default=0, min=0, max=0xFFFFFFFF, control_after_generate=True,
                             tooltip="Of the points drawn on the surfaces; keep it for all methods that are compared."),
                io.Combo.Input("views", options=list(VIEW_SETS), default="turntable-16",
                               tooltip="Novel views for CLIP similarity and contextual distance: turntable-100 as Magic123's "
                                       "code, papers-18 as Consistent123's protocol."),
                io.Combo.Input("lpips", options=["alex", "vgg", "off"], default="alex",
                               tooltip="LPIPS backbone: alex as Magic123 and Consistent123, vgg as SyncDreamer and HiFi-123. "
                                       "Left out by name where its weights are not on this machine."),
                types.Reference.Input("reference", optional=True,
                                      tooltip="The picture it was made from; a scene brings its own."),
                io.MultiType.Input("truth", types=types.MESHES, optional=True,
                                   tooltip="The true mesh in the same frame, for example Toy Object's."),
                types.Clip.Input("clip", optional=True, tooltip="For CLIP similarity; the table names it."),
                io.Combo.Input("registration", options=list(REGISTRATIONS), default="off", optional=True, advanced=True,
                               tooltip="Lays each render's mask over the true one before PSNR, SSIM and LPIPS: horizontal (a "
                                       "shift, as StdGEN compares), similarity (shift and scale) or affine. Off: where "
                                       "things stand counts."),
            ],
            outputs=[
                io.String.Output("table", display_name="table", tooltip="Markdown, with what was left out below it."),
                io.Image.Output("picture", display_name="picture", tooltip="The table as a picture."),
                io.String.Output("metrics", display_name="metrics",
                                 tooltip="JSON; connect it to Bake and Export to keep it in the manifest and the GLB."),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def run(cls, source, size, intersections, seed, views, lpips, reference=None, truth=None, clip=None,
            registration: Any = "off"):
        from ..pipelines.stages.results.evaluate import EvaluateSettings, evaluate, subject_of_mesh, subject_of_scene

        device, key, told_of, told_of_truth = device_with_room(), node_key(cls), [], []
        require_pictures(max(VIEW_SETS[views][0], 18), size, None)
        true = None if truth is None else told_mesh(truth, "truth", told_of_truth)
        if hasattr(source, "meta") and hasattr(source, "tensors"):
            subject, reference = subject_of_scene(source, device), reference or source.reference
        else:
            subject = subject_of_mesh(told_mesh(source, "source", told_of))
        told_of += told_of_truth
        with finish.listening(key or "Evaluate") as asked:
            monitor = Monitor(key, asked)
            result = told(lambda: evaluate(
                subject, reference, true, networks(clip, lpips, device),
                EvaluateSettings(size, views, intersections, seed, registration), monitor), monitor)
        return shown(cls, result, "Evaluate", told_of)


class CompareSets(Node):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="Lift123_CompareSets", display_name="Compare Picture Sets", category=f"{CATEGORY}/output",
            description="Scores a batch of pictures against a batch of true ones: pair by pair (PSNR, SSIM, LPIPS, CLIP) and "
                        "as two sets (Frechet distance of CLIP embeddings).",
            search_aliases=["fid", "psnr", "ssim", "lpips", "clip score", "frechet"],
            is_output_node=True, not_idempotent=True,
            inputs=[
                io.Image.Input("pictures", tooltip="What is judged, a batch of 2 or more."),
                io.Image.Input("truth", tooltip="As many pictures of the same size, in the same order."),
                io.Combo.Input("lpips", options=["alex", "vgg", "off"], default="alex",
                               tooltip="LPIPS backbone; left out by name where its weights are not on this machine."),
                types.Clip.Input("clip", optional=True, tooltip="For the CLIP rows; the table names it."),
                io.Boolean.Input("around", default=False, optional=True, advanced=True,
                                 tooltip="The pictures go around the object in even steps, the first from the front: adds "
                                         "rows by the angle from there."),
            ],
            outputs=[
                io.String.Output("table", display_name="table", tooltip="Markdown, with what was left out below it."),
                io.Image.Output("picture", display_name="picture", tooltip="The table as a picture."),
                io.String.Output("metrics", display_name="metrics", tooltip="The same as JSON."),
            ],
        )

    @classmethod
    def run(cls, pictures, truth, lpips, clip=None, around=False):
        from ..pipelines.stages.results.evaluate import compare_sets

        if min(*pictures.shape[1:3], *truth.shape[1:3]) < SMALLEST:
            raise InputError("pictures", f"at least {SMALLEST} pixels per side", f"{pictures.shape[2]} x {pictures.shape[1]}",
                             "Use larger ones: structural similarity looks at windows of that size.")
        scorers = networks(clip, lpips, device_with_room())
        return shown(cls, compare_sets(truth[..., :3], pictures[..., :3], scorers, around), "Compare Picture Sets")


def shown(cls, result, title: str, remarks: Sequence[str] = ()) -> io.NodeOutput:
    """A table as text, picture and JSON; the node shows ``remarks`` below it."""
    picture, text = to_image(result.to_picture(title)), result.to_text()
    return io.NodeOutput(text, picture, json.dumps(plain_json(result.to_json()), sort_keys=True),
                         ui={**ui.PreviewImage(picture, cls=cls).as_dict(), "text": ("\n".join([text, *remarks]),)})


def told(work, monitor: Monitor):
    """``work()``; an interruption by the user is passed on as ComfyUI's own."""
    from ..pipelines.core.errors import StopStage

    try:
        return work()
    except StopStage:
        if monitor.interrupted is not None:
            raise monitor.interrupted from None
        raise


def plain_json(value: dict) -> dict:
    """JSON types only, NaN and infinity as null."""
    from ..pipelines.io.manifest import plain

    return plain(value)


def networks(clip, lpips: str, device):
    """The scorers that are there, and a sentence for each that is not."""
    from ..pipelines.metrics import perceptual
    from ..pipelines.stages.results.evaluate import Networks

    folders = weight_folders()

    def local(load):
        try:
            return load()
        except InputError as problem:
            return str(problem)

    scorer = None if clip is None else clip.load(device)
    return Networks(
        Networks().clip if scorer is None else lambda pictures: scorer.image_embedding(pictures.to(device)),
        "" if clip is None else f"CLIP '{clip.name}'",
        "switched off" if lpips == "off" else local(lambda: perceptual.load_lpips(lpips, folders, device)), lpips,
        local(lambda: perceptual.load_contextual(folders, device)))


def weight_folders() -> list[Path]:
    """Where torchvision's files may lie besides torch's own cache."""
    from ..host.checkpoints import roots
    from ..pipelines.catalog.registry import METRICS

    return roots(METRICS)
