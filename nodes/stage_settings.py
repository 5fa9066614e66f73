"""What the stages' nodes change about a preset: single numbers, and how long they work."""

from __future__ import annotations

from dataclasses import replace

from comfy_api.latest import io

from ..pipelines.core.schedules import Constant

QUALITY = {"draft": 0.4, "normal": 1.0, "fine": 2.0}  # of the preset's iterations


def quality_setting() -> io.Combo.Input:
    """How many of the preset's iterations a stage makes."""
    return io.Combo.Input("quality", options=list(QUALITY), default="normal", optional=True,
                          tooltip="How long the stage works: draft: 0.4 times the preset's iterations, fine: twice as many. "
                                  "Numbers that were set by hand stay. Stages 1, 2 and 3 of a graph should say the same.")


def size_settings() -> list:
    """Sizes of pictures and weights of the reference's losses, of every stage that renders."""
    return [
        io.Int.Input("render_size", default=0, min=0, max=1024, step=8, advanced=True,
                     tooltip="Side of new views, pixels; 0 = the preset's. Cost grows with its square."),
        io.Int.Input("reference_size", default=0, min=0, max=1024, step=8, advanced=True,
                     tooltip="Side of the picture as it is fitted, pixels; 0 = the preset's."),
        io.Int.Input("novel_batch", default=0, min=0, max=16, advanced=True,
                     tooltip="New views per iteration; 0 = the preset's."),
        io.Int.Input("preview_every", default=0, min=0, max=10000, advanced=True,
                     tooltip="Iterations between live pictures; 0 = the preset's."),
        io.Float.Input("rgb_weight", default=-1.0, min=-1.0, max=1e6, step=1.0, advanced=True,
                       tooltip="Weight of the picture's colors; -1 = the preset's."),
        io.Float.Input("mask_weight", default=-1.0, min=-1.0, max=1e6, step=1.0, advanced=True,
                       tooltip="Weight of the picture's silhouette; -1 = the preset's."),
        io.Float.Input("depth_weight", default=-1.0, min=-1.0, max=1e6, step=0.1, advanced=True,
                       tooltip="Weight of the reference's depth, if it has one; -1 = the preset's."),
        io.Float.Input("normal_weight", default=-1.0, min=-1.0, max=1e6, step=0.1, advanced=True,
                       tooltip="Weight of the reference's normals, if it has some; -1 = the preset's."),
    ]


def mesh_settings() -> list:
    """The grid and the smoothness of a surface."""
    return [
        io.Int.Input("grid", default=0, min=0, max=128, advanced=True,
                     tooltip="Cells per side of the tetrahedral grid; 0 = the preset's. More cells, finer shape."),
        io.Float.Input("smooth_normals", default=-1.0, min=-1.0, max=1e6, step=0.1, advanced=True,
                       tooltip="Weight that keeps neighboring faces parallel; -1 = the preset's."),
        io.Float.Input("smooth_surface", default=-1.0, min=-1.0, max=1e6, step=0.1, advanced=True,
                       tooltip="Weight that keeps vertices near their neighbors' center; -1 = the preset's."),
    ]


COUNTS = {"iterations": "iterations", "render_size": "size", "reference_size": "reference_size", "grid": "tets",
           "novel_batch": "novel_batch", "preview_every": "preview_every", "mesh_iterations": "mesh_iterations"}
WEIGHTS = {"rgb_weight": "rgb", "mask_weight": "mask", "depth_weight": "depth", "normal_weight": "normal",
            "smooth_normals": "mesh_normal", "smooth_surface": "mesh_laplacian"}


def worked(config, quality: str):
    """``config`` with the iterations of a quality; "normal" is the preset itself."""
    factor, names = QUALITY[quality], [name for name in ("iterations", "mesh_iterations") if hasattr(config, name)]
    return replace(config, **{name: max(1, round(factor * getattr(config, name))) for name in names}) if factor != 1 else config


def overridden(config, quality: str = "normal", **values):
    """``config`` with what was set on the node: a quality, counts above 0 and weights from 0 up.

    A size or number of new views that was set counts from the first iteration on.
    """
    counts = {COUNTS[k]: v for k, v in values.items() if k in COUNTS and v > 0}
    for name, early in (("size", "early_size"), ("novel_batch", "early_batch")):
        if name in counts and getattr(config, early, 0):
            counts[early] = 0
    weights = {WEIGHTS[k]: Constant(v) for k, v in values.items() if k in WEIGHTS and v >= 0}
    return replace(worked(config, quality), **counts, **weights)
