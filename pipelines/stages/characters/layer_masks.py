"""Where a layer is the nearest in the pictures, and pictures that stand a little to the side (StdGEN, S-D.3, S-D.7)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from torch import Tensor

from ...core.character_views import CharacterViews
from ...core.layers import LayeredMesh
from ...ops.rasterize import Raster
from ...render.normal_maps import orthographic_raster

CHANGED, SAME = 0.25, 0.10  # summed difference of three channels above which a pixel changed, below which it did not
SMALLEST, LARGEST = 1000 / 1024**2, 100_000 / 1024**2  # share of the picture that a changed region may take
COVERS = 0.80  # of the changed region that a mask must explain


@dataclass(frozen=True)
class LayerMask:
    """Where a layer shows.

    mask: [6, H, W] bool, the layer is the nearest.  free: [6, H, W] bool, it surely does not show.
    known: [6] bool, views where that is known.  note: for people.
    """

    mask: Tensor
    free: Tensor
    known: Tensor
    note: str


def layer_mask(
    layers: LayeredMesh, name: str, views: CharacterViews, level: int, front_only: bool = True,
    segments: Tensor | None = None,
) -> LayerMask | None:
    """The visible part of a layer, from the pictures with it (``level``) and without it (``level + 1``).

    layers: coarse layers up to this one.  Where they show the layer in front AND the pictures change is the mask; if that
    explains less than 80 % of the changed region, the changed region itself, closed, is taken.
    front_only: as in the released code: the front view only, and all else counts as free of the layer.  Otherwise all
    views, the coarse layer may be off by 4 % of the picture's height, and only pixels that do not change are free.
    segments: [N, H, W] bool masks of a segmenter on the complete character's front picture; those that lie in the changed
    region by more than half and outside it by less than a fifth stand for the layer in the front view.
    None where the views lack a level or nothing changed.
    """
    try:
        change = changed(views, level)
    except ValueError:
        return None
    shown = visible_layer(layers, name, views)
    masks, known, notes = torch.zeros_like(shown), torch.zeros(len(shown), dtype=torch.bool, device=shown.device), []
    for view in range(1 if front_only else len(shown)):
        region = _regions(change[view] > CHANGED, LARGEST if front_only else 1.0)
        if not bool(region.any()):
            continue
        offered, origin = shown[view] & (change[view] > CHANGED), "the coarse layer"
        if not front_only:
            offered = _grown(shown[view], round(0.04 * shown.shape[1])) & region
        if segments is not None and view == 0:
            offered, origin = _fitting(segments.to(region.device), region, change[0]), "the given masks"
        if int((offered & region).sum()) < COVERS * int(region.sum()):
            offered, origin = _closed(region), "the difference of the pictures"
        masks[view], known[view] = offered, True
        notes.append(origin)
    if not notes:
        return None
    free = ~masks if front_only else ~masks & (change < SAME)
    return LayerMask(masks, free, known, f"{name} mask: {notes[0]}, {int(masks[0].sum())} pixels in the front view")


def changed(views: CharacterViews, level: int) -> Tensor:
    """[6, H, W] summed absolute difference of colors or of colored normals (the larger) to the next level.

    The normals are ours: hair of the skin's color changes them.  ValueError where a level is missing.
    """
    a, b = views.index(level), views.index(level + 1)
    normals = views.encoded_normal()
    by_color = (views.color[a] - views.color[b]).abs().sum(-1)
    return torch.maximum(by_color, (normals[a] - normals[b]).abs().sum(-1))


def visible_layer(layers: LayeredMesh, name: str, views: CharacterViews) -> Tensor:
    """[6, H, W] bool: pixels whose nearest surface is that of ``name``."""
    merged = layers.merged().detach()
    first = sum(len(layers[n].faces) for n in layers.names[: layers.names.index(name)])
    raster: Raster = orthographic_raster(merged.vertices, merged.faces, views.cameras)[0]
    return (raster.triangle >= first) & (raster.triangle < first + len(layers[name].faces))


def _regions(mask: Tensor, largest: float) -> Tensor:
    """Connected components of a plausible size (shares of the picture; the released code looks for hair in front only)."""
    from scipy.ndimage import label

    found, count = cast(tuple[np.ndarray, int], label(mask.cpu().numpy()))
    sizes = np.bincount(found.reshape(-1), minlength=count + 1).astype(float)
    sizes[0] = -1
    fine = (sizes >= max(4, math.floor(SMALLEST * mask.numel()))) & (sizes <= math.ceil(largest * mask.numel()))
    return torch.from_numpy(fine[found]).to(mask.device)


def _fitting(segments: Tensor, region: Tensor, change: Tensor) -> Tensor:
    if segments.ndim == 2:
        segments = segments[None]
    if tuple(segments.shape[1:]) != tuple(region.shape):
        scaled = torch.nn.functional.interpolate(segments[:, None].float(), tuple(region.shape), mode="area")
        segments = scaled[:, 0] > 0.5
    segments = segments > 0.5 if segments.is_floating_point() else segments.bool()
    size = segments.sum((1, 2)).clamp(min=1)
    inside = (segments & region).sum((1, 2)) / size
    outside = (segments & (change < SAME)).sum((1, 2)) / size
    chosen = (inside > 0.5) & (outside < 0.2)
    return segments[chosen].any(0) if bool(chosen.any()) else torch.zeros_like(region)


def _closed(mask: Tensor) -> Tensor:
    from scipy.ndimage import binary_closing

    steps = max(1, round(3 * mask.shape[-1] / 1024))
    closed = binary_closing(np.pad(mask.cpu().numpy(), steps), np.ones((3, 3)), iterations=steps)
    return torch.from_numpy(closed[steps:-steps, steps:-steps]).to(mask.device)


def _grown(mask: Tensor, by: int) -> Tensor:
    return torch.nn.functional.max_pool2d(mask[None, None].float(), 2 * by + 1, 1, by)[0, 0] > 0


def best_shift(background: Tensor, reference: Tensor, most: int) -> int:
    """Horizontal shift in pixels, at most ``most``, that makes [H, W] backgrounds coincide best (S-D.3b).

    Counts pixels that are background in both; of equal shifts the smallest.  The shift is cyclic (``torch.roll``).
    """
    a, b = torch.fft.rfft(background.double(), dim=1), torch.fft.rfft(reference.double(), dim=1)
    common = torch.fft.irfft(torch.conj(a) * b, n=background.shape[1], dim=1).sum(0).round()
    width = background.shape[1]
    shifts = sorted(range(-min(most, width // 2), min(most, width // 2) + 1), key=lambda s: (abs(s), s))
    return max(shifts, key=lambda s: float(common[s % width]))
