"""Objects on a plain background: dark ones on dark, and soft shadows, which belong to the background."""

from __future__ import annotations

import torch
from torch import Tensor

from ...core.errors import InputError
from .picture import PLAIN_TOLERANCE, connected_to_rim, plain_color, soft_mask

DARK, FINEST = 0.25, 0.015  # brightest channel of a dark background; tolerance on a dark one without any noise
DARKEST, TINT = 0.3, 0.05  # of the background's color that a shadow keeps; difference from its shade that a shadow has
CALM = 0.08  # change between a pixel's neighbors that no soft shadow has
SOME = 0.02  # of the object and its shadow, from which a shadow is worth a word
LEFT, CLEAR = 0.15, 0.6  # what has to remain of both; share of its edge with the shadow that has to be a hard one


def cut_from_plain(rgb: Tensor) -> tuple[Tensor, list[str]]:
    """(coverage [H, W], remarks) of what differs from a plain background of [H, W, 3]: ``find_plain_background``, but

    on dark backgrounds the tolerance follows the noise of the picture's rim, and a soft shadow is left out where a hard
    edge parts it from the object; where none does, it is only named.
    """
    color, noise = plain_color(rgb)
    tolerance, remarks = PLAIN_TOLERANCE, ["no mask and no transparency: the plain background was removed"]
    if float(color.max()) < DARK:
        tolerance = min(PLAIN_TOLERANCE, FINEST + 2 * noise)
        remarks.append(f"a dark background: what differs by more than {tolerance:.1%} of white counts as object")
    distance = (rgb - color).abs().amax(-1)
    empty = connected_to_rim(distance < tolerance)
    if bool(empty.all()):
        raise InputError("picture", "an object that differs from the plain background", "one color all over",
                         "Brighten the picture, or give a mask.")
    shadow = _shadow(rgb, color, empty)
    share = float(shadow.sum()) / float((~empty).sum())
    if share > SOME:
        parted = _is_parted(rgb, empty, shadow)
        remarks.append(f"a soft gray rim, {share:.0%} of what differs from the background, was taken for a shadow and left out"
                       if parted else "warning: the object ends in a soft gray rim, perhaps a shadow; it was kept. If it is "
                                      "one, use Cut Out or give a mask")
        empty = empty | shadow if parted else empty
    return soft_mask(distance, empty, tolerance), remarks


def _shadow(rgb: Tensor, color: Tensor, empty: Tensor) -> Tensor:
    """[H, W] bool: shades of the background's color that run into it without a hard edge."""
    shade = (rgb @ color) / color.square().sum().clamp_min(1e-6)
    alike = ((rgb - shade[..., None] * color).abs().amax(-1) < TINT) & (shade > DARKEST) & (shade < 1.02)
    soft = alike & (_change(rgb) < CALM)
    grown = connected_to_rim(empty | soft) & ~empty
    near = torch.nn.functional.max_pool2d((grown | empty).float()[None, None], 7, 1, 3)[0, 0] > 0
    return (grown | (near & alike & bool(grown.any()))) & ~empty


def _change(rgb: Tensor) -> Tensor:
    """[H, W]: the largest difference within 3 x 3 pixels, after averaging over as many against noise."""
    planes = torch.nn.functional.avg_pool2d(rgb.movedim(-1, 0)[None], 3, 1, 1, count_include_pad=False)
    span = torch.nn.functional.max_pool2d(planes, 3, 1, 1) + torch.nn.functional.max_pool2d(-planes, 3, 1, 1)
    return span[0].amax(0)


def _is_parted(rgb: Tensor, empty: Tensor, shadow: Tensor) -> bool:
    """Whether enough remains without the shadow, with a hard edge between both."""
    rest = ~empty & ~shadow
    if float(rest.sum()) < LEFT * float((~empty).sum()):
        return False
    edge = rest & (torch.nn.functional.max_pool2d(shadow.float()[None, None], 3, 1, 1)[0, 0] > 0)
    return bool(edge.any()) and float((_change(rgb) > CALM)[edge].float().mean()) > CLEAR
