"""The A-pose picture over the front of a character's layers: where it lies, and where it tells of them (ours).

The picture's outline is laid over the layers' own by scale and shift; where the two differ too much it shows another pose.
Where its colors, seen from afar, are not those that the layers have, it shows something that the layers do not (another
layer's border, a network's invention), and nothing is taken.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ...core.errors import InputError
from ...core.layers import LayeredMesh
from ...core.ortho import OrthoCameras, six_views
from ...render.normal_maps import orthographic_raster, render_attributes
from ..inputs.picture import read_image
from .picture import LARGEST, SMALLEST, CharacterPicture, figure_box, read_character

ROWS = 256  # at which outlines are compared
LEAST_OVERLAP = 0.85  # of the outlines: a picture below it shows another pose
SLACK = 0.03  # of overlap, by which the views' own window may be worse: outlines of layers err more than the chain's frame
STEPS = (4.0, 2.0, 1.0, 0.5, 0.25)  # rows of the search for scale and shift
ALIKE = (0.2, 0.35)  # mean difference of three channels, seen from afar: all is taken, nothing is
AFAR = 0.08  # of the picture's height: how far colors are averaged before they are compared; a face counts as one


@dataclass(frozen=True)
class FrontPicture:
    """rgb: [H, W, 3] straight sRGB.  share: [H, W] in [0, 1], where it counts.  camera: one, whose window it fills."""

    rgb: Tensor
    share: Tensor
    camera: OrthoCameras


def read_front(image: Tensor, layers: LayeredMesh) -> tuple[FrontPicture | None, str]:
    """:func:`front_picture` of [1, H, W, 3 or 4]; a picture that shows no figure is left out, too.

    InputError for what is no picture.
    """
    read_image(image, SMALLEST, LARGEST)
    try:
        return front_picture(read_character(image, complete=True), layers)
    except InputError as problem:
        return None, f"LOOK the picture is not laid on: {problem}"


@torch.no_grad()
def front_picture(picture: CharacterPicture, layers: LayeredMesh) -> tuple[FrontPicture | None, str]:
    """(the picture over the layers' front, or None for another pose; a sentence for people).

    InputError for no layers.
    """
    if not len(layers):
        raise InputError("layers", "at least one layer with faces", "none", "Check the stage that made the layers.")
    mesh = layers.merged().detach()
    camera = six_views(ROWS)[0]
    solid = orthographic_raster(mesh.vertices, mesh.faces, camera)[0].covered[0]
    window, overlap = _registered(picture.alpha, solid, float(camera.half_height))
    said = f"{overlap:.0%} of its outline and the layers' are shared"
    if overlap < LEAST_OVERLAP:
        return None, f"LOOK the picture is not laid on, for it is not this A-pose from the front: only {said}."
    half, x, y = window
    c2w = camera.c2w.clone()
    c2w[:, :3, 3] += c2w.new_tensor([x, y, 0.0])  # the front camera's axes are the scene's
    height, width = picture.alpha.shape
    found = OrthoCameras(c2w, c2w.new_tensor([half]), height, width)
    share = picture.alpha if mesh.vertex_colors is None else picture.alpha * _alike(picture, mesh, found)
    return FrontPicture(picture.rgb, share, found), f"The picture is laid on with {height} rows: {said}."


def _registered(alpha: Tensor, solid: Tensor, half: float) -> tuple[tuple[float, float, float], float]:
    """((half height, x, y) of the picture's window in scene units, overlap): the shared share is the greatest nearby.

    solid: [R, R] the layers' outline in a window of ``half`` around the origin.
    """
    height, rows = alpha.shape[0], len(solid)
    ours, theirs = figure_box(solid.float()), figure_box((alpha > 0.5).float())
    unit = 2 * half / rows  # scene units per row
    scale = (ours[1] - ours[0]) / (theirs[1] - theirs[0])  # rows of the outline per row of the picture
    middle = [((b[0] + b[1]) / 2, (b[2] + b[3]) / 2) for b in (ours, theirs)]
    start = (scale * height / 2 * unit,
             (middle[0][1] - rows / 2 - (middle[1][1] - alpha.shape[1] / 2) * scale) * unit,
             -(middle[0][0] - rows / 2 - (middle[1][0] - height / 2) * scale) * unit)
    line = (torch.arange(rows, dtype=torch.float32) + 0.5 - rows / 2) * unit
    y, x = torch.meshgrid(-line, line, indexing="ij")
    given, aspect = alpha[None, None].float(), alpha.shape[1] / height

    def overlap(window: tuple[float, ...]) -> float:
        size, across, up = window
        grid = torch.stack([(x - across) / (size * aspect), (up - y) / size], -1)[None]
        shown = torch.nn.functional.grid_sample(given, grid, align_corners=False)[0, 0] > 0.5
        return float((shown & solid).sum()) / max(int((shown | solid).sum()), 1)

    own = (half, 0.0, 0.0)  # the views' window, which a picture from Canonicalize has
    as_it_is, best, most = overlap(own), start, overlap(start)
    for step in STEPS:
        for _ in range(6):
            near = [tuple(v + s * step * unit * (k == i) for i, v in enumerate(best)) for k in range(3) for s in (-1, 1)]
            values = [overlap(window) for window in near]
            if max(values) <= most:
                break
            most, best = max(values), near[values.index(max(values))]
    return (own, as_it_is) if as_it_is >= most - SLACK else ((best[0], best[1], best[2]), most)


def _alike(picture: CharacterPicture, mesh, camera: OrthoCameras) -> Tensor:
    """[H, W] in [0, 1]: 1 where the picture has the layers' colors, both seen from afar."""
    small = camera.resized(ROWS, max(1, round(ROWS * camera.width / camera.height)))
    drawn = render_attributes(mesh.vertices, mesh.faces, mesh.vertex_colors, small)[0]
    ours, cover = drawn[..., :3], drawn[..., 3:].clamp(0, 1)
    theirs = torch.cat([picture.rgb * picture.alpha[..., None], picture.alpha[..., None]], -1).movedim(-1, 0)[None]
    theirs = torch.nn.functional.interpolate(theirs, tuple(cover.shape[:2]), mode="area")[0].movedim(0, -1)
    both = (cover * theirs[..., 3:]).movedim(-1, 0)[None]
    radius = max(1, round(AFAR * ROWS / 2))

    def mean(values: Tensor) -> Tensor:
        return torch.nn.functional.avg_pool2d(values, 2 * radius + 1, 1, radius)

    def afar(values: Tensor) -> Tensor:
        return mean(values.movedim(-1, 0)[None] * both) / mean(both).clamp(min=1e-4)

    straight = theirs[..., :3] / theirs[..., 3:].clamp(min=1e-3)
    difference = (afar(ours / cover.clamp(min=1e-3)) - afar(straight)).abs().mean(1, keepdim=True)
    share = ((ALIKE[1] - difference) / (ALIKE[1] - ALIKE[0])).clamp(0, 1)
    return torch.nn.functional.interpolate(share, (camera.height, camera.width), mode="bilinear", align_corners=False)[0, 0]
