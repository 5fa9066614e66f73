"""Cutting an object out of an opaque photograph without a network: color models and a minimal cut.

After GrabCut (Rother, Kolmogorov, Blake 2004): the rim is background, everything else is undecided; two color models and
a cut through the picture are fitted in turn.  What it cannot do: tell an object from surroundings of the same colors.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ...core.errors import InputError
from .color_model import ColorModel, fit_colors, to_lab
from .cut import minimal_cut, neighbor_weights
from .edges import nearest_solid, parts_of
from .picture import read_image, read_mask

SMALLEST, LARGEST = 16, 8192  # pixels per side
MIN_SHARE = 0.005  # of the picture that the first guess covers at least
MOST_SHARE, TOUCHING = 0.9, 0.1  # of the picture; of the rim, from which a cut-out is doubted
HELP = ("Give a mask of about where the object is, or remove the background with a network: core's Remove Background "
        "(template 'Photo to 3D, background remover (CPU, BiRefNet)').")
SIDE = 256  # pixels of the longer side at which it is decided
RIM = 0.04  # of the side: surely background
GAMMA = 12.0  # nats that a border between pixels of like color costs
MOST = 8.0  # nats that colors may speak for either side, so that no single pixel outweighs its neighbors
CLEAR = 2.0  # nats by which colors are stranger than those of the rim, to begin with
SAMPLES = 8000  # pixels that a color model is fitted to
SHADES, SHADOW = (0.9, 0.8, 0.7, 0.6), 1.5  # how dark a soft shadow is; nats against one
STEEP = 6.0  # change of lightness from a pixel to the next that no soft shadow has
TURNS, ROUNDS = 5, (60, 250)  # color models and cuts in turn; rounds of each cut and of the last one
SPECK, HOLE = 0.05, 0.02  # of the largest part and of all parts; smaller parts and holes are noise
BAR_STEP, BAR_SPREAD, BAR_MOST = 0.1, 0.06, 0.3  # of letterbox bars: jump at their end, range within, share of the side


def cut_out(image: Tensor, hint: Tensor | None = None, side: int = SIDE) -> tuple[Tensor, Tensor, list[str]]:
    """(rgb [H, W, 3] with the object's own colors at its soft edge, coverage [H, W], remarks) of an opaque photograph.

    image: as ``picture.read_image`` takes it.  hint: [H, W], 1 = about where the object is, generously; outside of it is
    background.  side: longer side at which the object is told from its background; the edge is drawn at full size.
    Raises InputError where nothing stands out.
    """
    rgb, _ = read_image(image, SMALLEST, LARGEST)
    height, width = rgb.shape[:2]
    top, bottom, left, right = content_box(rgb)
    inner = rgb[top:bottom, left:right]
    near = None if hint is None else read_mask(hint, height, width)[top:bottom, left:right]
    scale = min(1.0, side / max(inner.shape[:2]))
    size = max(8, round(inner.shape[0] * scale)), max(8, round(inner.shape[1] * scale))
    small = _resized(inner, size)
    ring = _rim(size) if near is None else _resized(near[..., None], size)[..., 0] < 0.5
    inside = _without_specks(_decide(small, ring) > 0.5)
    _check(inside)
    alpha = torch.zeros(height, width)
    alpha[top:bottom, left:right] = fine_edge(inner, inside.float())
    remarks = ["letterbox bars were left aside"] if inner.shape != rgb.shape else []
    return own_colors(rgb, alpha), alpha, [*remarks, *_doubts(inside, ring)]


def _decide(rgb: Tensor, ring: Tensor) -> Tensor:
    """u [h, w] in [0, 1] of what is not like the ring [h, w] (bool), nor like its shadow."""
    lab, calm = to_lab(rgb), _unrest(to_lab(rgb))
    back = _fitted(lab, ring.float())
    strange = _background_cost(back, rgb, calm)
    u = ((strange > torch.quantile(strange[ring], 0.98) + CLEAR) & ~ring).float()
    _check(u > 0)
    weights = neighbor_weights(lab, GAMMA)
    for turn in range(TURNS):
        front, back = _fitted(lab, u), _fitted(lab, 1 - u)
        unary = (front.cost(lab) - _background_cost(back, rgb, calm)).clamp(-MOST, MOST)
        u = minimal_cut(torch.where(ring, 10 * MOST, unary), weights, u, ROUNDS[turn == TURNS - 1])
    return u


def _fitted(lab: Tensor, weight: Tensor) -> ColorModel:
    """The color model of at most SAMPLES pixels."""
    flat, weight = lab.reshape(-1, 3), weight.flatten()
    taken = slice(None, None, max(1, len(flat) // SAMPLES))
    return fit_colors(flat[taken], weight[taken])


def _background_cost(back: ColorModel, rgb: Tensor, unrest: Tensor) -> Tensor:
    """[h, w] nats: the background's colors, lit or in a soft shadow."""
    lit = back.cost(to_lab(rgb))
    shaded = torch.stack([back.cost(to_lab((rgb / share).clamp(0, 1))) for share in SHADES]).amin(0)
    return torch.minimum(lit, shaded + SHADOW + unrest)


def _unrest(lab: Tensor) -> Tensor:
    """[h, w] nats that speak against a soft shadow: what the lightness changes around a pixel."""
    light = lab[..., 0][None, None]
    span = torch.nn.functional.max_pool2d(light, 3, 1, 1) + torch.nn.functional.max_pool2d(-light, 3, 1, 1)
    return (span[0, 0] / STEEP).square()


def _rim(size: tuple[int, int]) -> Tensor:
    thick = max(1, round(RIM * max(size)))
    ring = torch.ones(size, dtype=torch.bool)
    ring[thick:-thick, thick:-thick] = False
    return ring


def _resized(maps: Tensor, size: tuple[int, int]) -> Tensor:
    planes = maps.movedim(-1, 0)[None]
    planes = torch.nn.functional.interpolate(planes, size, mode="bilinear", align_corners=False, antialias=True)
    return planes[0].movedim(0, -1)


def content_box(rgb: Tensor) -> tuple[int, int, int, int]:
    """(top, bottom, left, right) of [H, W, 3] without letterbox bars: rows or columns of one color that end in a jump."""
    top, bottom = _bar(rgb), _bar(rgb.flip(0))
    left, right = _bar(rgb.movedim(0, 1)), _bar(rgb.movedim(0, 1).flip(0))
    return top, rgb.shape[0] - bottom, left, rgb.shape[1] - right


def _bar(rows: Tensor) -> int:
    """How many of the first rows are a bar."""
    color = rows[0].median(0).values
    away = (rows - color).abs().amax(-1)
    plain = away.amax(1) < BAR_SPREAD
    count = int((~plain).int().argmax()) if not bool(plain.all()) else 0
    if not 0 < count <= BAR_MOST * len(rows):
        return 0
    after = rows[min(count + 1, len(rows) - 1)]
    return count + 1 if float(((after - color).abs().amax(-1) > BAR_STEP).float().mean()) > 0.95 else 0


def _without_specks(inside: Tensor) -> Tensor:
    """[h, w] bool without parts and holes that are small beside the largest part."""
    from scipy import ndimage

    for value in (True, False):
        found = ndimage.label((inside == value).numpy())
        assert isinstance(found, tuple)  # labels and their number: no output array was given
        labels = torch.from_numpy(found[0]).long()
        areas = torch.bincount(labels.flatten())
        areas[0] = 0
        whole = int(areas.max()) if value else int(inside.sum())
        inside = torch.where((labels > 0) & (areas[labels] < (SPECK if value else HOLE) * whole), not value, inside)
    return inside


def fine_edge(rgb: Tensor, inside: Tensor) -> Tensor:
    """[H, W] soft coverage at the picture's size of a decision [h, w]: a guided filter in a band around its edge
    (He, Sun, Tang 2010, Eqs. 14 to 16)."""
    height, width = rgb.shape[:2]
    rough = torch.nn.functional.interpolate(inside[None, None], (height, width), mode="bilinear", align_corners=False)[0, 0]
    step = max(height / inside.shape[0], 1.0)
    radius = max(2, round(1.5 * step))
    guided = _guided(rgb, rough, radius)
    spread = torch.nn.functional.max_pool2d(torch.stack([rough, 1 - rough])[None], 2 * radius + 1, 1, radius)[0]
    band = (spread[0] > 0.5) & (spread[1] > 0.5)
    sharp = ((guided - 0.5) * 1.6 + 0.5).clamp(0, 1)
    return torch.where(band, sharp, (rough > 0.5).float())


def _guided(rgb: Tensor, rough: Tensor, radius: int, smooth: float = 1e-4) -> Tensor:
    def mean(maps: Tensor) -> Tensor:
        planes = torch.nn.functional.avg_pool2d(maps.movedim(-1, 0)[None], 2 * radius + 1, 1, radius, count_include_pad=False)
        return planes[0].movedim(0, -1)

    middle, level = mean(rgb), mean(rough[..., None])
    products = mean((rgb[..., :, None] * rgb[..., None, :]).flatten(-2)).unflatten(-1, (3, 3))
    spread = products - middle[..., :, None] * middle[..., None, :] + smooth * torch.eye(3)
    shared = mean(rgb * rough[..., None]) - middle * level
    slope = torch.linalg.solve(spread, shared[..., None])[..., 0]
    offset = level[..., 0] - (slope * middle).sum(-1)
    return ((mean(slope) * rgb).sum(-1) + mean(offset[..., None])[..., 0]).clamp(0, 1)


def own_colors(rgb: Tensor, alpha: Tensor, solid: float = 0.95) -> Tensor:
    """[H, W, 3] where pixels that are covered in part take the nearest solid pixel's color: the background's has gone."""
    nearest = nearest_solid(rgb, alpha, solid)
    if nearest is None:
        return rgb
    return torch.where(((alpha > 0) & (alpha <= solid))[..., None], nearest, rgb)


def _check(inside: Tensor) -> None:
    """InputError where nothing, or nearly everything, was found."""
    share = float(inside.float().mean())
    if not MIN_SHARE < share < MOST_SHARE:
        raise InputError("picture", "an object that differs in color from the picture's rim",
                         f"{share:.1%} of the pixels that do", HELP)


def _doubts(inside: Tensor, ring: Tensor) -> list[str]:
    """What a person should look at, in words."""
    parts = len(parts_of(inside, 2 * SPECK))
    near = torch.nn.functional.max_pool2d(ring.float()[None, None], 3, 1, 1)[0, 0] > 0
    touching = float((inside & near).sum()) / max(1.0, float((near & ~ring).sum()))
    doubts = [f"warning: the cut-out has {parts} parts; look at it, the background may have the object's colors"] * (parts > 1)
    return doubts + [f"warning: the cut-out reaches {touching:.0%} of the rim; look at it"] * (touching > TOUCHING)
