"""The picture of a character: what can be wrong with it, and the canvas of StdGEN's networks (S-A.6, S-B.5, S-B.7)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from torch import Tensor

from ...core.errors import InputError
from ..inputs.picture import find_plain_background, read_image, read_mask

FAINT, SOLID = 0.1, 0.9  # coverage below and above which a mask counts as 0 and 1 (S-A.6)
SMALLEST_SHARE = 0.002  # of the picture that a figure covers at least
TOUCH_SHARE = 0.04  # of the figure's extent along a side of the picture that may lie on that side
SECOND_AREA, SECOND_HEIGHT = 0.2, 0.5  # of the largest figure's, from which another part counts as a second figure
FRAME = 1.2  # canvas over the figure's longest side
STOCK_SHARE = 420 / 512  # of stock Era3D's picture that the figure's longest side fills
SMALLEST, LARGEST = 32, 16384  # pixels per side


@dataclass(frozen=True)
class CharacterPicture:
    """A figure cut out of its background.

    rgb: [H, W, 3] sRGB in [0, 1]; alpha: [H, W] coverage; report: remarks for the person.
    """

    rgb: Tensor
    alpha: Tensor
    report: tuple[str, ...] = ()


def read_character(image: Tensor, mask: Tensor | None = None, complete: bool = False) -> CharacterPicture:
    """The figure of a picture [H, W, 3 or 4] or [1, H, W, 3 or 4], or InputError for what no network can help with.

    mask: [H, W] or [1, H, W] coverage, takes precedence; without it the picture's transparency counts, and without that a plain
    background is removed.  complete: the person says that the figure is whole although it lies on the picture's rim.
    """
    rgb, own = read_image(image, SMALLEST, LARGEST)
    if mask is not None:
        alpha = read_mask(mask, *rgb.shape[:2])
    elif own is not None and bool((own < 1).any()):
        if float(own.max()) < FAINT:
            raise InputError("picture", "a figure", "a fully transparent picture", "Save it with its content visible.")
        alpha = own
    else:
        alpha = find_plain_background(rgb)
    alpha = torch.where(alpha < FAINT, 0.0, torch.where(alpha > SOLID, 1.0, alpha))
    report = check_figure(alpha, complete)
    return CharacterPicture(rgb, alpha, tuple(report))


def check_figure(alpha: Tensor, complete: bool = False) -> list[str]:
    """Remarks on a mask [H, W]; InputError when there is no figure, more than one, or only part of one.

    A mask whose figure lies on all four sides is a tight crop: nothing tells whether it is whole.
    """
    solid = alpha > 0.5
    if float(solid.float().mean()) < SMALLEST_SHARE:
        raise InputError("mask", "one figure", "an empty mask" if not bool(solid.any()) else "hardly a pixel of one",
                         "There is no person in the picture, or its mask is wrong: check the background remover.")
    _check_one(solid)
    touched = touched_sides(solid)
    if len(touched) == 4:
        return ["The figure fills the picture to all four sides; whether it is whole cannot be told."]
    if touched and not complete:
        raise InputError("picture", "a whole figure, from head to feet", f"one cut off at the {' and the '.join(touched)}",
                         "Use a picture of the whole figure; if nothing is cut off, say so (complete), or add a margin.")
    return [f"The figure touches the picture's {' and '.join(touched)}, taken as whole."] if touched else []


def touched_sides(solid: Tensor) -> list[str]:
    """Sides of the picture on which the figure ([H, W] bool) lies, more than by a tip."""
    box = figure_box(solid)
    width, height = box[3] - box[2], box[1] - box[0]
    rims = {"top": (solid[0], width), "bottom": (solid[-1], width), "left": (solid[:, 0], height),
            "right": (solid[:, -1], height)}
    return [name for name, (line, extent) in rims.items() if float(line.float().sum()) > max(1, TOUCH_SHARE * extent)]


def _check_one(solid: Tensor) -> None:
    """InputError when a second part of the mask is as large as a figure."""
    from scipy import ndimage

    labels, count = cast(tuple[np.ndarray, int], ndimage.label(solid.numpy()))
    if count < 2:
        return
    boxes = ndimage.find_objects(labels)
    areas = torch.bincount(torch.from_numpy(labels).flatten().long())[1:]
    order = areas.argsort(descending=True).tolist()
    first, second = order[0], order[1]
    heights = [boxes[i][0].stop - boxes[i][0].start for i in (first, second)]
    if areas[second] > SECOND_AREA * areas[first] and heights[1] > SECOND_HEIGHT * heights[0]:
        raise InputError("picture", "one figure", f"at least two, with {int(areas[first])} and {int(areas[second])} pixels",
                         "Crop the picture to one figure, or mask the others out.")


def figure_box(alpha: Tensor) -> tuple[int, int, int, int]:
    """(top, bottom, left, right) of what is above 0 in [H, W], pixels; bottom and right are past the end."""
    rows, columns = (alpha > 0).any(1).nonzero().flatten(), (alpha > 0).any(0).nonzero().flatten()
    return int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1


def place_on_canvas(picture: CharacterPicture, size: tuple[int, int], clip_wide: bool = False) -> Tensor:
    """[H, W, 3] on white for ``size`` = (H, W): the figure centered, its frame 1.2 times its longest side (S-A.6).

    clip_wide: as the released code, which measures the frame by the figure's longest side alone and so cuts off what
    is wider than the canvas; by default wide poses are made smaller instead.
    """
    top, bottom, left, right = figure_box(picture.alpha)
    height, width, aspect = bottom - top, right - left, size[1] / size[0]
    longest = max(height, width) if clip_wide else max(height, width / aspect)
    return _window(picture, (top + bottom) / 2, (left + right) / 2, FRAME * longest, size)


def place_in_square(picture: CharacterPicture, size: tuple[int, int]) -> Tensor:
    """[H, W, 3] on white for stock Era3D: the figure centered, its longest side 420 of 512 pixels (S-B.7)."""
    top, bottom, left, right = figure_box(picture.alpha)
    longest = max(bottom - top, right - left)
    return _window(picture, (top + bottom) / 2, (left + right) / 2, longest / STOCK_SHARE, size)


def _window(picture: CharacterPicture, y: float, x: float, rows: float, size: tuple[int, int]) -> Tensor:
    """The window of ``rows`` source pixels around (y, x), scaled to ``size`` and composited on white.

    Whole source pixels are cut out and then scaled, bicubic with antialias, colors weighed by coverage.
    """
    count = max(2, round(rows)), max(2, round(rows * size[1] / size[0]))
    top, left = round(y - count[0] / 2), round(x - count[1] / 2)
    rgba = torch.cat([picture.rgb * picture.alpha[..., None], picture.alpha[..., None]], -1)
    height, width = rgba.shape[:2]
    pad = (0, 0, max(0, -left), max(0, left + count[1] - width), max(0, -top), max(0, top + count[0] - height))
    padded = torch.nn.functional.pad(rgba, pad)
    top, left = max(0, top), max(0, left)
    scaled = scale(padded[top : top + count[0], left : left + count[1]], size)
    return (scaled[..., :3] + 1 - scaled[..., 3:]).clamp(0, 1)


def scale(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """[H, W, C] -> [*size, C], bicubic, antialiased; values are clamped to [0, 1]."""
    if tuple(maps.shape[:2]) == tuple(size):
        return maps
    planes = torch.nn.functional.interpolate(maps.movedim(-1, 0)[None], size, mode="bicubic", align_corners=False, antialias=True)
    return planes[0].movedim(0, -1).clamp(0, 1)


def fit_upright(picture: Tensor, size: tuple[int, int]) -> Tensor:
    """[*size, 3] of an A-pose picture [H, W, 3] on white: scaled to the height, padded with white or cut at the sides
    (S-B.5)."""
    height, width = picture.shape[:2]
    scaled = scale(picture, (size[0], max(1, round(width * size[0] / height))))
    spare = size[1] - scaled.shape[1]
    if spare < 0:
        return scaled[:, -spare // 2 : -spare // 2 + size[1]]
    sides = (0, 0, spare // 2, spare - spare // 2, 0, 0)
    return torch.nn.functional.pad(scaled, sides, value=1.0)
