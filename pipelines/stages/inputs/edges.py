"""Soft edges of cut-outs: colors that other programs have multiplied, objects in several parts."""

from __future__ import annotations

import torch
from torch import Tensor

PARTLY = (0.05, 0.95)  # coverage between which a pixel is part of a soft edge
FEW = 16  # pixels of a soft edge that say nothing
DARKER, BETTER = 0.03, 0.5  # mean color error of a multiplied edge; share of it that must remain after the division
SECOND = 0.2  # of the largest part's area, from which another part counts


def nearest_solid(rgb: Tensor, alpha: Tensor, solid: float = PARTLY[1]) -> Tensor | None:
    """[H, W, 3] the color of the nearest pixel that is covered by more than ``solid``; None where there is none."""
    from scipy import ndimage

    inside = (alpha > solid).numpy()
    if not inside.any():
        return None
    where = ndimage.distance_transform_edt(~inside, return_distances=False, return_indices=True)
    assert where is not None
    return rgb[torch.from_numpy(where[0]).long(), torch.from_numpy(where[1]).long()]


def straight_colors(rgb: Tensor, alpha: Tensor) -> tuple[Tensor, list[str]]:
    """(rgb [H, W, 3], remarks): divided by alpha [H, W] where a soft edge is multiplied by it, which leaves dark rims.

    Told by two signs: no color of the edge is brighter than its coverage, and dividing brings the edge at least twice as
    near to the solid pixels beside it, or four times as near on average, where a pattern hides it from pixel to pixel.
    """
    edge = (alpha > PARTLY[0]) & (alpha < PARTLY[1])
    if int(edge.sum()) < FEW or float((rgb.amax(-1) <= alpha + 0.01)[edge].float().mean()) < 0.99:
        return rgb, []
    beside = nearest_solid(rgb, alpha)
    if beside is None:
        return rgb, []
    divided = torch.where(alpha[..., None] > 0, rgb / alpha[..., None].clamp_min(1 / 255), rgb).clamp(0, 1)
    before, after = (float((colors - beside).abs().mean(-1)[edge].mean()) for colors in (rgb, divided))
    if before < DARKER or after > BETTER * before:
        darker, still = (float((beside - colors)[edge].mean()) for colors in (rgb, divided))
        if darker < DARKER or abs(still) > BETTER / 2 * darker:
            return rgb, []
    return divided, ["the colors of the soft edge were multiplied by its alpha (premultiplied); they were divided again"]


def parts_of(inside: Tensor, share: float = SECOND) -> list[int]:
    """Areas, in pixels and largest first, of the parts of [H, W] bool that have ``share`` of the largest."""
    from scipy import ndimage

    found = ndimage.label(inside.numpy())
    assert isinstance(found, tuple)  # labels and their number: no output array was given
    areas = sorted(torch.bincount(torch.from_numpy(found[0]).flatten().long())[1:].tolist(), reverse=True)
    return [area for area in areas if area >= share * areas[0]]
