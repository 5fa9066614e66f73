"""Puts someone else's mesh where the reference picture says it is: upright, turned, and as large as in the picture."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal, get_args

import torch
from torch import Tensor

from ...core.errors import InputError
from ...core.mesh import Mesh
from ...core.views import RenderBuffers, Views
from ...render.surface import render_surface

Up = Literal["y", "-y", "z", "-z", "x", "-x"]
UPS = get_args(Up)
SEARCH_SIDE = 64  # pixels of the pictures compared while searching
SEARCH_STEP = 15  # degrees
NUDGE_SIDE = 256  # pixels of the pictures compared while nudging
FIT_ROUNDS = 12  # perspective makes the fit a fixed point; each round shrinks the error about tenfold


@dataclass(frozen=True)
class Placement:
    """How a mesh is brought into the scene's frame (+Y up, facing +Z, inside [-1, 1]^3).

    up:     the axis of the mesh's own frame that points up, one of UPS; glTF and ComfyUI use "y".
    turn:   degrees about the up axis, applied after; positive turns the front towards +X.
    search: try all turns in steps of 15 degrees (added to ``turn``) and keep the one most like the picture.
    fit:    scale and move the mesh until its outline fills the same box of the picture as the object's.
    """

    up: Up = "y"
    turn: float = 0.0
    search: bool = False
    fit: bool = True

    def __post_init__(self):
        if self.up not in UPS:
            raise ValueError(f"up must be one of {UPS}, got {self.up!r}")


def place_mesh(mesh: Mesh, target: Views, placement: Placement) -> tuple[Mesh, list[str]]:
    """The mesh in the scene's frame, and what was done.

    target: the reference view (one camera).
    Raises InputError when the placed mesh leaves the scene's cube [-1, 1]^3.
    """
    report = []
    upright = _rotated(mesh, _upright(placement.up, mesh.vertices))

    def turned(degrees: float, size: int) -> Mesh:
        placed = _rotated(upright, _turn(degrees, mesh.vertices))
        return fit_to_view(placed, _shrunk(target, size)) if placement.fit else placed

    turn = placement.turn
    if placement.search:
        small = _shrunk(target, min(SEARCH_SIDE, target.cameras.height))
        angles = [turn + step for step in range(0, 360, SEARCH_STEP)]
        turn = max(angles, key=lambda a: _likeness(turned(a, small.cameras.height), small))
        turn = (turn + 180) % 360 - 180
        report.append(f"turned by {turn:g} degrees, the most similar of {len(angles)} turns")
    placed = turned(turn, target.cameras.height)
    if placement.fit:
        placed = _nudged(placed, _shrunk(target, min(NUDGE_SIDE, target.cameras.height)))
    reach = float(placed.vertices.abs().max())
    if reach > 1:
        raise InputError(
            "mesh", "a mesh inside the cube from -1 to 1", f"one that reaches to {reach:.3g} once it is placed",
            "Turn it so that it faces the camera like the picture, or let it be fitted to the picture.",
        )
    return placed, report


def fit_to_view(mesh: Mesh, target: Views) -> Mesh:
    """``mesh`` scaled and moved: its projection has the box of ``target``'s object, centered alike in depth.

    The longer side of the box decides the scale, as it does for reference pictures; the middle of the mesh's depth
    range along the view direction lies as far from the camera as the scene's origin.
    """
    camera = target.cameras
    low, high = _object_box(target)
    axes = camera.c2w[0, :3, :3].to(mesh.vertices)  # columns: right, up, backward
    local = mesh.vertices @ axes
    local = local - (local.amin(0) + local.amax(0)) / 2
    home = -(camera.positions[0].to(local) @ axes)  # the scene's origin as seen from the camera
    home = torch.stack([home.new_zeros(()), home.new_zeros(()), home[2]])
    focal = 1 / math.tan(float(camera.fovy[0]) / 2)
    scale, shift = local.new_ones(()), local.new_zeros(3)
    scale = scale * 0.5 / local.abs().max().clamp_min(1e-12)
    for _ in range(FIT_ROUNDS):
        seen = local * scale + shift + home
        if float(seen[:, 2].max()) > -camera.near:
            raise InputError("mesh", "a mesh in front of the camera", "one that surrounds it", "Turn it differently.")
        flat = seen[:, :2] * focal / -seen[:, 2:]
        now_low, now_high = flat.amin(0), flat.amax(0)
        scale = scale * (high - low).max() / (now_high - now_low).max().clamp_min(1e-12)
        shift[:2] += ((low + high) - (now_low + now_high)) / 2 * -home[2] / focal
    world = (local * scale + shift + home) @ axes.T + camera.positions[0].to(local)
    return replace(mesh, vertices=world)


def _nudged(mesh: Mesh, target: Views) -> Mesh:
    """The mesh moved and scaled by fractions of a pixel to where the outlines agree best.

    The box of a picture's object is known to half a pixel only; the outline as a whole says more.
    """
    axes = target.cameras.c2w[0, :3, :3].to(mesh.vertices)
    pixel = 2 * math.tan(float(target.cameras.fovy[0]) / 2) * float(target.cameras.radius[0]) / target.cameras.height
    reach = float((mesh.vertices - (mesh.vertices.amin(0) + mesh.vertices.amax(0)) / 2).abs().max())
    zero, shift = mesh.vertices.new_zeros(3), pixel * axes[:, :2].T
    moves = [(1.0, shift[0]), (1.0, -shift[0]), (1.0, shift[1]), (1.0, -shift[1])]
    moves += [(1 + pixel / reach, zero), (1 - pixel / reach, zero)]
    best = coverage(mesh, target).iou
    for share in (0.5, 0.25, 0.125):
        for scale, offset in moves:
            middle = (mesh.vertices.amin(0) + mesh.vertices.amax(0)) / 2
            factor = 1 + (scale - 1) * share
            moved = mesh.transformed(factor, middle * (1 - factor) + offset * share)
            score = coverage(moved, target).iou
            if score > best:
                mesh, best = moved, score
    return mesh


@dataclass(frozen=True)
class Coverage:
    """Shares in [0, 1]: of the picture's object that the mesh covers, of the mesh's outline inside the object,
    and the intersection over union of both outlines."""

    covered: float
    inside: float
    iou: float

    def __str__(self) -> str:
        return (
            f"the mesh covers {100 * self.covered:.1f} % of the picture's object; {100 * self.inside:.1f} % of its "
            f"outline lies inside the object (intersection over union {self.iou:.3f})"
        )


def coverage(mesh: Mesh, target: Views) -> Coverage:
    """How the outlines of a placed mesh and of the picture's object agree."""
    return _coverage(_render(mesh, target), target)


def _coverage(seen: RenderBuffers, target: Views) -> Coverage:
    ours, theirs = seen.alpha, target.alpha.to(seen.alpha)
    both, either = torch.minimum(ours, theirs).sum(), torch.maximum(ours, theirs).sum()
    shares = [both / total.clamp_min(1e-6) for total in (theirs.sum(), ours.sum(), either)]
    return Coverage(*(float(share) for share in shares))


def _likeness(mesh: Mesh, target: Views) -> float:
    """Outline agreement, less the color difference where both are opaque when the mesh has colors."""
    seen = _render(mesh, target)
    score = _coverage(seen, target).iou
    both = (seen.alpha > 0.9) & (target.alpha.to(seen.alpha) > 0.9)
    if (mesh.vertex_colors is not None or mesh.texture is not None) and bool(both.any()):
        score -= float((seen.rgb - target.rgb.to(seen.rgb))[both].abs().mean())
    return score


def _render(mesh: Mesh, target: Views) -> RenderBuffers:
    return render_surface(mesh, target.cameras.to(mesh.vertices.device), want_normal=False, grad=False)


def _object_box(target: Views) -> tuple[Tensor, Tensor]:
    """(x, y) of the object's box, lower left and upper right, in [-1, 1] over the picture."""
    inside = target.alpha[0] > 0.5
    side = len(inside)
    rows, columns = inside.any(1).nonzero()[:, 0], inside.any(0).nonzero()[:, 0]
    left, right = columns[0], columns[-1] + 1
    top, bottom = rows[0], rows[-1] + 1
    box = torch.stack([left, side - bottom, right, side - top]).float() / side * 2 - 1
    return box[:2], box[2:]


def _shrunk(target: Views, size: int) -> Views:
    """The target at ``size`` pixels (a divisor-free area average); the same object when it has that size."""
    if size == target.cameras.height:
        return target
    planes = torch.cat([target.rgb * target.alpha[..., None], target.alpha[..., None]], -1).permute(0, 3, 1, 2)
    small = torch.nn.functional.interpolate(planes, (size, size), mode="area").permute(0, 2, 3, 1)
    alpha = small[..., 3]
    return Views(target.cameras.resized(size, size), small[..., :3] / alpha[..., None].clamp_min(1e-6), alpha)


def _rotated(mesh: Mesh, rotation: Tensor) -> Mesh:
    return replace(mesh, vertices=mesh.vertices @ rotation.T)


def _upright(up: str, like: Tensor) -> Tensor:
    """[3, 3] rotation that takes the named axis to +Y."""
    rows = {
        "y": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
        "-y": ((1, 0, 0), (0, -1, 0), (0, 0, -1)),
        "z": ((1, 0, 0), (0, 0, 1), (0, -1, 0)),
        "-z": ((1, 0, 0), (0, 0, -1), (0, 1, 0)),
        "x": ((0, -1, 0), (1, 0, 0), (0, 0, 1)),
        "-x": ((0, 1, 0), (-1, 0, 0), (0, 0, 1)),
    }
    return torch.tensor(rows[up]).to(like)


def _turn(degrees: float, like: Tensor) -> Tensor:
    """[3, 3] rotation about +Y; positive takes +Z towards +X."""
    s, c = math.sin(math.radians(degrees)), math.cos(math.radians(degrees))
    return torch.tensor([[c, 0, s], [0, 1, 0], [-s, 0, c]]).to(like)
