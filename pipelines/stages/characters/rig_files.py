"""The files of a character that moves, and the sheet that shows it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ...core.rig import Motion, RiggedLayers
from ...io.rig_glb import write_rigged
from ...io.vrm import VrmMeta, write_vrm
from ...rigging.motions import walk
from .export import ExportFrame, write_character
from .rig import in_meters, motion_pictures, rig_picture

SHOWN = 6  # pictures of a motion on a sheet


def write_files(
    paths: Mapping[str, str | os.PathLike | None],
    rigged: RiggedLayers,
    frame: ExportFrame,
    motions: Sequence[Motion] = (),
    meta: VrmMeta = VrmMeta(),
    extras: dict | None = None,
    unlit: bool = True,
) -> dict[str, bytes]:
    """kind ("glb", "vrm") -> bytes of what was written to its path; a static GLB where the skeleton was refused."""
    if rigged.rig is None:
        return {"glb": write_character(paths.get("glb"), rigged.layers, frame, extras)}
    moved, out = in_meters(rigged, frame), {}
    if "glb" in paths:
        out["glb"] = write_rigged(paths["glb"], moved, motions, "a-pose", extras, unlit)
    if "vrm" in paths:
        out["vrm"] = write_vrm(paths["vrm"], moved, meta, extras, unlit)
    return out


def rig_sheet(rigged: RiggedLayers, motions: Sequence[Motion] = (), size: int = 256) -> Tensor:
    """[H, W, 3] sRGB on white: bones over the figure, below them the first motion (or a walk)."""
    assert rigged.rig is not None  # callers show a static sheet instead
    bones = rig_picture(rigged.layers, rigged.rig, size)
    moving = torch.cat(list(motion_pictures(rigged, motions[0] if motions else walk(), size, 1, SHOWN)), 1)
    width = max(bones.shape[1], moving.shape[1])
    rows = [torch.nn.functional.pad(row, (0, 0, 0, width - row.shape[1]), value=1.0) for row in (bones, moving)]
    return torch.cat(rows)
