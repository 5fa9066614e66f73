"""Reading people's pictures: ranges, sizes, masks, plain backgrounds, cropping."""

from __future__ import annotations

import torch
from torch import Tensor

from ...core.errors import InputError

PLAIN_TOLERANCE = 0.08  # color distance below which a pixel belongs to the background
PLAIN_SHARE = 0.7  # of the frame's pixels that must agree on the background color


def read_image(image: Tensor, smallest: int, largest: int) -> tuple[Tensor, Tensor | None]:
    """(rgb [H, W, 3], alpha [H, W] or None) in [0, 1] from [H, W, C] or [1, H, W, C], C = 1, 3, 4."""
    image = _one(image, "picture", 3)
    height, width, channels = image.shape
    if channels not in (1, 3, 4):
        raise InputError("picture", "1, 3 or 4 channels", f"{channels} channels", "Convert it to RGB or RGBA.")
    if min(height, width) < smallest or max(height, width) > largest:
        remedy = "Use a larger picture." if min(height, width) < smallest else "Scale it down first."
        raise InputError("picture", f"{smallest} to {largest} pixels per side", f"{width} x {height}", remedy)
    values = _unit_range(image, "picture")
    rgb = values[..., :1].expand(-1, -1, 3) if channels == 1 else values[..., :3]
    return rgb.contiguous(), values[..., 3] if channels == 4 else None


def read_mask(mask: Tensor, height: int, width: int) -> Tensor:
    """[H, W] in [0, 1] of exactly the picture's size."""
    mask = mask[..., 0] if mask.ndim == 4 and mask.shape[-1] == 1 else mask
    mask = _one(mask, "mask", 2)
    _same_size(mask, "mask", height, width)
    return _unit_range(mask, "mask")


def read_map(values: Tensor, name: str, height: int, width: int) -> Tensor:
    """[H, W, C] float of the picture's size; NaN and infinity are refused, the range is free."""
    values = values[..., None] if values.ndim == 2 else values
    values = _one(values, name, 3)
    _same_size(values, name, height, width)
    if not values.is_floating_point():
        values = values.float() / (255 if values.dtype == torch.uint8 else 65535)
    if not bool(torch.isfinite(values).all()):
        raise InputError(name, "finite numbers", "NaN or infinity", "Check the node that made it.")
    return values.float().cpu().clone()


def _one(image: Tensor, name: str, ndim: int) -> Tensor:
    if image.ndim == ndim + 1:
        if len(image) != 1:
            raise InputError(name, "one picture", f"a batch of {len(image)}", "Pick one with Image From Batch.")
        image = image[0]
    if image.ndim != ndim:
        expected = "[H, W, C]" if ndim == 3 else "[H, W]"
        raise InputError(name, f"a tensor {expected}", f"shape {list(image.shape)}", "Connect one picture.")
    return image


def _same_size(values: Tensor, name: str, height: int, width: int) -> None:
    if tuple(values.shape[:2]) != (height, width):
        got = f"{values.shape[1]} x {values.shape[0]}"
        remedy = f"Scale the {name} to the picture's size."
        raise InputError(name, f"the picture's size, {width} x {height}", got, remedy)


def _unit_range(values: Tensor, name: str) -> Tensor:
    if not values.is_floating_point():
        top = {torch.uint8: 255.0, torch.bool: 1.0}.get(values.dtype, 65535.0)
        values = values.float() / top
    values = values.float().cpu().clone()
    if not bool(torch.isfinite(values).all()):
        raise InputError(name, "finite numbers", "NaN or infinity", "Check the node that made it.")
    low, high = float(values.min()), float(values.max())
    if low < -0.01 or high > 1.01:
        remedy = "Divide 16-bit pictures by 65535 and 8-bit ones by 255."
        raise InputError(name, "values in [0, 1]", f"values from {low:.4g} to {high:.4g}", remedy)
    return values.clamp(0, 1)


def find_plain_background(rgb: Tensor) -> Tensor:
    """[H, W] soft mask of what differs from a plain background, for pictures without transparency.

    Background-colored pixels inside the object are kept: only those connected with the rim go.
    """
    color, _ = plain_color(rgb)
    distance = (rgb - color).abs().amax(-1)
    return soft_mask(distance, connected_to_rim(distance < PLAIN_TOLERANCE), PLAIN_TOLERANCE)


def plain_color(rgb: Tensor) -> tuple[Tensor, float]:
    """(color [3] of the background of [H, W, 3], noise: what nine of ten pixels of the rim keep to).

    The color is the median of the picture's rim; it counts as plain when most of the rim agrees, else InputError.
    """
    rim = torch.cat([rgb[0], rgb[-1], rgb[:, 0], rgb[:, -1]])
    color = rim.median(0).values
    away = (rim - color).abs().amax(-1)
    agree = float((away < PLAIN_TOLERANCE).float().mean())
    if agree < PLAIN_SHARE:
        raise InputError(
            "picture", "transparency, a mask, or a plain background",
            f"an opaque picture whose rim is only {100 * agree:.0f} % one color",
            "Cut the object out first, with Cut Out ('Photo to 3D (CPU, cut out by color)') or core's Remove "
            "Background ('Photo to 3D, background remover (CPU, BiRefNet)'), or connect a mask.",
        )
    return color, float(torch.quantile(away[away < PLAIN_TOLERANCE], 0.9))


def soft_mask(distance: Tensor, empty: Tensor, tolerance: float) -> Tensor:
    """Coverage [H, W] of all but ``empty`` (bool), soft beside it by the color distance from the background."""
    near = torch.nn.functional.max_pool2d(empty.float()[None, None], 3, 1, 1)[0, 0] > 0
    soft = (distance / (2 * tolerance)).clamp(0, 1)
    return torch.where(empty, torch.zeros_like(soft), torch.where(near, soft.clamp_min(0.5), torch.ones_like(soft)))


def connected_to_rim(free: Tensor) -> Tensor:
    """Pixels of ``free`` [H, W] connected (4 neighbors) with the picture's rim."""
    from scipy import ndimage

    found = ndimage.label(free.numpy())
    assert isinstance(found, tuple)  # labels and their number: no output array was given
    labels = torch.from_numpy(found[0])
    rim = torch.cat([labels[0], labels[-1], labels[:, 0], labels[:, -1]]).unique()
    return free & torch.isin(labels, rim[rim > 0])


def crop_resize(maps: Tensor, window: tuple[float, float, float], size: int) -> Tensor:
    """[H, W, C] -> [size, size, C]: the square window (center y, center x, side), zero outside.

    Shrinking averages over area (several bilinear samples per output pixel), so thin parts survive.
    """
    center_y, center_x, side = window
    height, width = maps.shape[:2]
    samples = max(1, min(16, round(side / size)))
    fine = size * samples
    offsets = ((torch.arange(fine, dtype=torch.float64) + 0.5) / fine - 0.5) * side
    y = (offsets + center_y) / height * 2 - 1
    x = (offsets + center_x) / width * 2 - 1
    out = []
    for rows in y.split(64 * samples):  # row bands keep the supersampled grid small
        grid = torch.stack(torch.meshgrid(rows, x, indexing="ij")[::-1], -1).float()[None]
        band = torch.nn.functional.grid_sample(
            maps.movedim(-1, 0)[None], grid, mode="bilinear", padding_mode="zeros", align_corners=False
        )
        out.append(torch.nn.functional.avg_pool2d(band, samples)[0] if samples > 1 else band[0])
    return torch.cat(out, 1).movedim(0, -1)
