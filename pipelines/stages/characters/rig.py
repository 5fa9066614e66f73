"""A character that moves: its skeleton found and shown, its layers bound, motions looked at, files written."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from ...core.errors import InputError
from ...core.layers import LayeredMesh
from ...core.mesh import Mesh, merge
from ...core.ortho import six_views
from ...core.pulse import beat
from ...core.rig import Motion, Rig, RiggedLayers, apply, rotation
from ...render.surface import render_surface
from ...rigging.dress import bind_layers, require_one_character
from ...rigging.fit import fit_rig
from ...rigging.motions import walk
from .export import ExportFrame

BONE_COLOR, GUESSED_COLOR = (0.95, 0.75, 0.1), (0.9, 0.2, 0.15)
FADED = 0.55  # how far the body fades towards white under its bones
FRAMES = 16  # pictures of a motion on a contact sheet
ARMS_DOWN = 45.0  # degrees, in an A-pose
TEARS = 3.0  # times an edge's length in A-pose: what is longer is torn


def find_rig(layers: LayeredMesh, symmetric: bool = True) -> Rig:
    """The skeleton of a character in A-pose that faces +Z.

    Raises InputError for no body, several figures, layers that do not belong together, and for what is no A-pose.
    """
    if "body" not in layers:
        raise InputError("layers", "a body layer, in which the skeleton is found", f"only {', '.join(layers) or 'nothing'}",
                         "Join Layers adds one.")
    require_one_character(layers)
    return fit_rig(layers["body"], symmetric).rig


def bound(layers: LayeredMesh, rig: Rig, springs: bool = True) -> RiggedLayers:
    """See ``rigging.dress.bind_layers``; with a remark where a pose tears a layer."""
    made = bind_layers(layers, rig, springs)
    return replace(made, notes=(*made.notes, *tears(made)))


def in_meters(rigged: RiggedLayers, frame: ExportFrame = ExportFrame()) -> RiggedLayers:
    """Layers and skeleton together in meters, on the floor, facing +Z: as files want them."""
    points = torch.cat([rigged.layers[n].vertices for n in rigged.layers])
    low, high = points.amin(0), points.amax(0)
    scale = frame.height / float((high[1] - low[1]).clamp(min=1e-6))
    middle = (low + high) / 2
    base = torch.stack([middle[0], low[1] if frame.floor else middle[1], middle[2]])
    layers = rigged.layers.map(lambda mesh: replace(mesh, vertices=(mesh.vertices - base) * scale))
    if rigged.rig is None:
        return replace(rigged, layers=layers)
    joints, tips = ((p - base.double()) * scale for p in (rigged.rig.joints, rigged.rig.tips))
    return replace(rigged, layers=layers, rig=replace(rigged.rig, joints=joints, tips=tips))


def in_a_pose(rigged: RiggedLayers, degrees: float = ARMS_DOWN) -> RiggedLayers:
    """A character whose arms hang ``degrees`` below the horizontal, bent by its own weights; skeleton and layers anew.

    For files in T-pose: the networks and Fit Skeleton want an A-pose.  InputError without a skeleton.
    """
    if rigged.rig is None:
        raise InputError("pose", "a character with a skeleton", f"none: {rigged.refused}", "Choose bind pose.")
    rig, angle = rigged.rig, math.radians(degrees)
    turns = {"leftUpperArm": rotation((0.0, 0.0, -angle)), "rightUpperArm": rotation((0.0, 0.0, angle))}
    motions = rig.motions(turns, rig.t_pose())
    joints, tips = (torch.stack([apply(m, p[None])[0] for m, p in zip(motions, points)]) for points in (rig.joints, rig.tips))
    return replace(rigged, layers=rigged.posed(motions), rig=replace(rig, joints=joints, tips=tips))


def tears(rigged: RiggedLayers) -> tuple[str, ...]:
    """A sentence for every layer of which some faces tear in the walk's widest step."""
    assert rigged.rig is not None
    step = walk()
    motions = step.frame(rigged.rig, len(step) // 4)
    posed, said = rigged.posed(motions), []
    for name in rigged.layers:
        share = float((stretched(rigged.layers[name], posed[name]) > TEARS).float().mean())
        if share > 0.001:
            said.append(f"{name}: {share:.1%} of its edges stretch more than {TEARS:g} times in a walk; it will show tears.")
    return tuple(said)


def stretched(still: Mesh, moved: Mesh) -> Tensor:
    """[E] how much longer edges became; edges shorter than a tenth of the mean one count as 1."""
    ends = torch.cat([still.faces[:, [0, 1]], still.faces[:, [1, 2]], still.faces[:, [2, 0]]])
    before, after = ((m.vertices[ends[:, 0]] - m.vertices[ends[:, 1]]).norm(dim=-1) for m in (still, moved))
    real = before > 0.1 * before.mean()
    return torch.where(real, after / before.clamp(min=1e-12), 1.0)


@torch.no_grad()
def rig_picture(layers: LayeredMesh, rig: Rig, size: int = 384) -> Tensor:
    """[size, W, 3] sRGB on white: front and side, the layers faded, bones over them; guessed bones in red."""
    layers = LayeredMesh({n: m for n, m in layers.layers.items() if n != "hair"} or layers.layers)
    low, high = (f(torch.cat([layers[n].vertices for n in layers]), 0) for f in (torch.amin, torch.amax))
    scale, middle = 2.0 / float((high - low).max().clamp(min=1e-9)), (low + high) / 2
    body = layers.joined().transformed(scale, -scale * middle)
    bones = _bones(rig).transformed(scale, -scale * middle)
    pictures = []
    for view in (0, 4):
        camera = six_views(size)[view]
        figure = render_surface(body, camera, shading=_shade, supersample=2, grad=False).composite(1.0)[0]
        lines = render_surface(bones, camera, supersample=2, grad=False)
        cover = lines.alpha[0][..., None]
        faded = FADED + (1 - FADED) * figure
        pictures.append((lines.rgb[0] + (1 - cover) * faded).clamp(0, 1))
    return torch.cat(pictures, 1)


def _shade(albedo: Tensor, normal: Tensor) -> Tensor:
    light = torch.nn.functional.normalize(normal.new_tensor([0.3, 0.5, 1.0]), dim=0)
    return albedo * (0.55 + 0.45 * (normal @ light).abs())[:, None]


def _bones(rig: Rig) -> Mesh:
    """Every bone as a long octahedron from its joint to its tip."""
    size = float(rig.tips[:, 1].max() - rig.joints[:, 1].min())
    pieces = []
    for name, start, end in zip(rig.names, rig.joints.float(), rig.tips.float()):
        along = end - start
        length = float(along.norm())
        if length < 1e-6:
            continue
        y = along / length
        other = torch.eye(3)[int(y.abs().argmin())]
        x = torch.nn.functional.normalize(torch.linalg.cross(y, other), dim=0)
        z = torch.linalg.cross(x, y)
        wide, waist = min(0.012 * size, 0.2 * length), start + along * 0.2
        ring = [waist + wide * v for v in (x, z, -x, -z)]
        faces = [f for k in range(4) for f in ([0, 2 + (k + 1) % 4, 2 + k], [1, 2 + k, 2 + (k + 1) % 4])]
        color = torch.tensor(GUESSED_COLOR if name in rig.guessed else BONE_COLOR)
        pieces.append(Mesh(torch.stack([start, end, *ring]), torch.tensor(faces), color.expand(6, 3).clone()))
    return merge(pieces)


@torch.no_grad()
def motion_pictures(
    rigged: RiggedLayers, motion: Motion, size: int = 256, view: int = 0, frames: int = FRAMES, supersample: int = 2
) -> Tensor:
    """[N, size, W, 3] sRGB on white: at most ``frames`` pictures of a motion, evenly spaced, from one of the six views.

    view: index of ``core.ortho.VIEW_NAMES``.  The framing stays the same throughout.
    InputError for a character whose skeleton was refused.
    """
    if rigged.rig is None:
        raise InputError("rigged layers", "a skeleton", f"none: {rigged.refused}", "Mend what was said.")
    rest, count = rigged.rig.t_pose(), len(motion)
    last = count - 1 if motion.loops and count > 1 else count  # a loop's last frame is its first
    chosen = [round(k * last / min(frames, last)) for k in range(min(frames, last))]
    camera = six_views(size, round(size * 1.1))[view]
    pictures = []
    for number, index in enumerate(chosen):
        beat("drawing the motion", number, len(chosen))
        posed = rigged.posed(motion.frame(rigged.rig, index, rest)).transformed(0.92)
        drawn = render_surface(posed.joined(), camera, shading=_shade, supersample=supersample, grad=False)
        pictures.append(drawn.composite(1.0)[0].clamp(0, 1))
    return torch.stack(pictures)
