"""A character for other programs: one GLB with named layers, a checked list, exploded views and cross-sections."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from ...core.errors import InputError
from ...core.layers import LayeredMesh
from ...core.mesh import Mesh
from ...core.ortho import six_views
from ...core.pulse import beat
from ...io.glb import write_glb_nodes
from ...metrics.geometry import mesh_facts, sample_surface
from ...metrics.layers import penetration
from ...render.surface import render_surface

ROOT = "character"
MOST_VERTICES = 200_000  # of all layers: above it riggers and browsers get slow
TALLEST, SHORTEST = 3.0, 0.3  # meters
ARMS = (20.0, 70.0)  # degrees below the horizontal that count as an A-pose
Facing = Literal["+z", "-z"]


@dataclass(frozen=True)
class ExportFrame:
    """How the scene's frame (+Y up, facing +Z, longest side 2) becomes that of other programs.

    height: meters from the lowest to the highest point; VRM, Unity and riggers expect people of a person's size.
    floor:  the feet stand on y = 0.
    facing: "+z" (glTF, VRM 1.0, Blender's importer) or "-z" (VRM 0.x).
    """

    height: float = 1.6
    floor: bool = True
    facing: Facing = "+z"

    def __post_init__(self):
        if self.facing not in get_args(Facing):
            raise InputError("facing", "+z or -z", repr(self.facing), "VRM 1.0 and glTF face +z, VRM 0.x faces -z.")
        if not SHORTEST <= self.height <= TALLEST:
            raise InputError(
                "height", f"{SHORTEST} to {TALLEST} meters", f"{self.height}", "People are about 1.6 m tall."
            )


def framed(layers: LayeredMesh, frame: ExportFrame = ExportFrame()) -> LayeredMesh:
    """``layers`` in meters, all moved alike, centered left to right on the lowest layer's middle."""
    points = torch.cat([layers[n].vertices for n in layers])
    low, high = points.amin(0), points.amax(0)
    scale = frame.height / float((high[1] - low[1]).clamp(min=1e-6))
    middle = (low + high) / 2
    base = torch.stack([middle[0], low[1] if frame.floor else middle[1], middle[2]])
    turn = points.new_tensor([1.0, 1.0, 1.0] if frame.facing == "+z" else [-1.0, 1.0, -1.0])
    return layers.map(lambda m: replace(m, vertices=(m.vertices - base) * scale * turn))


def write_character(
    path: str | os.PathLike | None, layers: LayeredMesh, frame: ExportFrame = ExportFrame(), extras: dict | None = None
) -> bytes:
    """One GLB: a root node "character" with children "body", "clothing", "hair" (those that exist); returns its bytes."""
    if not len(layers):
        raise InputError("layers", "at least one layer with faces", "none", "Check the stage that made the layers.")
    found = framed(layers, frame)
    return write_glb_nodes(path, {name: found[name] for name in found}, ROOT, extras)


@dataclass(frozen=True)
class Check:
    """One line of the list.  name: what; ok: whether it holds; found: the measure, in words."""

    name: str
    ok: bool
    found: str


def export_checks(layers: LayeredMesh, frame: ExportFrame = ExportFrame(), tolerance: float = 0.005) -> list[Check]:
    """What Blender, VRM tools and riggers such as UniRig need of a character, each measured on the layers as written.

    tolerance: scene units that an outer layer's vertices may lie inside an inner one.
    """
    if not len(layers):
        raise InputError("layers", "at least one layer with faces", "none", "Check the node that made the layers.")
    found = framed(layers, frame)
    facts = {n: mesh_facts(found[n]) for n in found}
    points = torch.cat([found[n].vertices for n in found])
    extent = points.amax(0) - points.amin(0)
    total = sum(f["vertices"] for f in facts.values())
    checks = [
        Check("single root", True, f'one node "{ROOT}" with {", ".join(found)}'),
        Check("meters", SHORTEST <= float(extent[1]) <= TALLEST, f"{float(extent[1]):.2f} m tall"),
        Check(
            "on the floor",
            abs(float(points[:, 1].min())) < 1e-4 or not frame.floor,
            f"lowest y {float(points[:, 1].min()):.4f}",
        ),
        Check("facing", True, f"{frame.facing} (VRM {'1.0, glTF' if frame.facing == '+z' else '0.x'}), +y up"),
        _posed(layers),
        Check("vertex count", total <= MOST_VERTICES, f"{total:,} in all, at most {MOST_VERTICES:,}"),
    ]
    for name, fact in facts.items():
        area = fact["degenerate_faces"]
        checks += [
            Check(f"{name} watertight", fact["watertight"], "closed" if fact["watertight"] else "has holes"),
            Check(
                f"{name} winding",
                fact["consistent_winding"] and fact["volume"] > 0,
                f"outward, {fact['volume']:.4g} m3",
            ),
            Check(f"{name} faces", area == 0, f"{area} without area of {fact['faces']:,}"),
            Check(f"{name} parts", True, f"{fact['components']} connected"),
        ]
    return checks + _hollow(layers, tolerance)


def _hollow(layers: LayeredMesh, tolerance: float) -> list[Check]:
    """Outer layers leave room for the inner ones: a layer that were filled would hold their vertices."""
    checks, names = [], layers.names
    for i, outer in enumerate(names):
        for inner in names[:i]:
            there = penetration(layers[outer], layers[inner], tolerance)
            back = penetration(layers[inner], layers[outer], tolerance)
            checks.append(
                Check(
                    f"{outer} outside the {inner}", there["share"] == 0, f"{there['share']:.2%} of its vertices inside"
                )
            )
            checks.append(Check(f"{outer} hollow around the {inner}", back["share"] < 0.01,
                                f"{back['share']:.2%} of the {inner}'s vertices inside the {outer}"))
    return checks


def _posed(layers: LayeredMesh) -> Check:
    """Whether the arms hang as in an A-pose: the angle of the outermost points below the shoulders' height."""
    angle = arm_angle(layers["body"] if "body" in layers else layers.merged())
    if angle is None:
        return Check("A-pose", False, "no arms stand out of the outline")
    return Check(
        "A-pose", ARMS[0] <= angle <= ARMS[1], f"arms {angle:.0f} degrees below the horizontal (A-pose: about 45)"
    )


def arm_angle(body: Mesh) -> float | None:
    """Degrees below the horizontal at which the arms leave the trunk, or None where nothing stands out.

    The neck is the narrowest height above the hands; on each side a line is fitted through the outer half of what reaches
    furthest out between the neck and the lower third.
    """
    points = sample_surface(body, 6000, torch.Generator().manual_seed(0))
    height = float(points[:, 1].max() - points[:, 1].min())
    level = (points[:, 1] - points[:, 1].min()) / max(height, 1e-9)
    out = points[:, 0] - (points[:, 0].max() + points[:, 0].min()) / 2
    neck = _neck(level, out.abs())
    arms = (level > 0.3) & (level < neck)
    reach = float(out[arms].abs().max()) if bool(arms.any()) else 0.0
    angles = []
    for sign in (-1, 1):
        arm = arms & (sign * out > 0.5 * reach)
        if int(arm.sum()) < 10 or reach < 0.12 * height:
            return None
        line = points[arm][:, :2] - points[arm][:, :2].mean(0)
        x, y = (float(v) for v in torch.linalg.svd(line, full_matrices=False)[2][0])
        angles.append(math.degrees(math.atan2(-y * math.copysign(1, x * sign), abs(x))))
    return sum(angles) / 2


def _neck(level: Tensor, out: Tensor) -> float:
    """Height, as a share, of the narrowest of 40 slices between the hands' (the widest below 0.7) and 0.88."""
    slices = (level * 40).long().clamp(max=39)
    width = torch.zeros(40).scatter_reduce(0, slices, out, "amax")
    hands = 12 + int(width[12:28].argmax())
    return (hands + int(width[hands:35].argmin())) / 40


def exploded(layers: LayeredMesh, gap: float = 0.15) -> LayeredMesh:
    """Layers side by side, inside out from left to right, none overlapping; ``gap`` in scene units."""
    moved, at = {}, 0.0
    for name in layers:
        low, high = (float(v) for v in torch.aminmax(layers[name].vertices[:, 0]))
        moved[name] = layers[name].transformed(1.0, torch.tensor([at - low, 0.0, 0.0]).to(layers[name].vertices))
        at += high - low + gap
    width = at - gap
    return LayeredMesh(
        {n: m.transformed(1.0, torch.tensor([-width / 2, 0.0, 0.0]).to(m.vertices)) for n, m in moved.items()}
    )


def cross_section(mesh: Mesh, axis: int = 2, at: float = 0.0, keep_above: bool = False) -> Mesh:
    """The part of ``mesh`` on one side of a plane, open where it was cut, so that one sees inside.

    axis: 0, 1, 2 = x, y, z of the plane's normal; at: scene units.  keep_above: the side of larger coordinates instead.
    Vertex colors are kept; UVs and texture are not.
    """
    if axis not in (0, 1, 2):
        raise ValueError(f"axis must be 0, 1 or 2, got {axis}")
    sign = 1.0 if keep_above else -1.0
    values = mesh.vertices if mesh.vertex_colors is None else torch.cat([mesh.vertices, mesh.vertex_colors], 1)
    corners = values.detach()[mesh.faces]
    side = sign * (corners[..., axis] - at)
    inside = side >= 0
    count = inside.sum(1)
    pieces = [corners[count == 3]]
    for number in (1, 2):
        which = count == number
        if bool(which.any()):
            pieces += _cut(corners[which], side[which], inside[which], number)
    flat = torch.cat(pieces).reshape(-1, values.shape[1])
    faces = torch.arange(len(flat), device=flat.device).reshape(-1, 3)
    beat()
    unique, index = _unique_rows(flat)
    faces = index[faces]
    faces = faces[(faces[:, 0] != faces[:, 1]) & (faces[:, 1] != faces[:, 2]) & (faces[:, 2] != faces[:, 0])]
    return Mesh(unique[:, :3].contiguous(), faces, None if mesh.vertex_colors is None else unique[:, 3:].contiguous())


def _unique_rows(rows: Tensor) -> tuple[Tensor, Tensor]:
    """``torch.unique(rows, dim=0, return_inverse=True)`` of finite [N, C] rows, in a fraction of its time."""
    values = rows.cpu().numpy()
    order = np.lexsort(values.T[::-1])
    new = np.ones(len(values), dtype=bool)
    new[1:] = (values[order][1:] != values[order][:-1]).any(1)
    inverse = np.empty(len(values), dtype=np.int64)
    inverse[order] = np.cumsum(new) - 1
    return torch.from_numpy(values[order][new]).to(rows), torch.from_numpy(inverse).to(rows.device)


def _cut(corners: Tensor, side: Tensor, inside: Tensor, number: int) -> list[Tensor]:
    """Triangles left of triangles with one or two corners inside."""
    alone = (inside if number == 1 else ~inside).long().argmax(1)
    order = (alone[:, None] + torch.arange(3, device=corners.device)) % 3
    c = corners.gather(1, order[..., None].expand(-1, -1, corners.shape[-1]))
    s = side.gather(1, order)
    a, b, d = c.unbind(1)
    ab = a + (b - a) * (s[:, 0] / (s[:, 0] - s[:, 1]))[:, None]
    ad = a + (d - a) * (s[:, 0] / (s[:, 0] - s[:, 2]))[:, None]
    if number == 1:
        return [torch.stack([a, ab, ad], 1)]
    return [torch.stack([ab, b, d], 1), torch.stack([ab, d, ad], 1)]


def section_layers(layers: LayeredMesh, axis: int = 2, at: float = 0.0, keep_above: bool = False) -> LayeredMesh:
    """:func:`cross_section` of every layer: the layers that reach the plane, cut open."""
    return layers.map(lambda mesh: cross_section(mesh, axis, at, keep_above))


@torch.no_grad()
def character_picture(layers: LayeredMesh, size: int = 256, view: int = 0, supersample: int = 2) -> Tensor:
    """[size, W, 3] sRGB on white: one of the six views (index of ``core.ortho.VIEW_NAMES``), wide enough for all layers."""
    mesh = layers.joined().detach()
    reach = float(mesh.vertices[:, [0, 2]].abs().max())
    width = max(size, math.ceil(size * reach / 1.1))
    camera = six_views(size, width)[view].to(mesh.vertices.device)
    light = torch.nn.functional.normalize(mesh.vertices.new_tensor([0.3, 0.5, 1.0]), dim=0)
    shade = lambda albedo, normal: albedo * (0.55 + 0.45 * (normal @ light).abs())[:, None]  # noqa: E731
    return (
        render_surface(mesh, camera, shading=shade, supersample=supersample, grad=False).composite(1.0)[0].clamp(0, 1)
    )


def character_sheet(layers: LayeredMesh, size: int = 384) -> Tensor:
    """[size, W, 3] sRGB on white: together from the front and the back, layers apart, and cut open from the side."""
    cut = section_layers(layers, axis=0)
    pictures = [
        character_picture(layers, size),
        character_picture(layers, size, 3),
        character_picture(exploded(layers), size),
    ]
    return torch.cat([*pictures, character_picture(cut, size, 2)], dim=1)
