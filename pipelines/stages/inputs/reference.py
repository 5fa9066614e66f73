"""From a person's picture to the reference view: checks, mask, framing, depth and normal maps."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import get_args

import torch
from torch import Tensor

from ...core.cameras import HOME, Cameras
from ...core.choices import DepthConvention
from ...core.errors import InputError
from ...core.views import Views
from .edges import parts_of, straight_colors
from .marks import SURELY, border_share, corner_share
from .picture import crop_resize, read_image, read_map, read_mask
from .plain import cut_from_plain

MIN_SIDE, MAX_SIDE = 16, 8192  # pixels
MIN_AREA = 0.001  # of the picture; less is a speck, not an object
BORDER_SHARE = 0.02  # share of mask pixels' bounding side that touches the picture's edge before it counts as cut
SAME_PICTURE = 0.01  # mean color difference up to which two pictures are one: what resizing and rounding leave
NORMAL_SLACK = 0.1  # how far filters may carry a normal map beyond [0, 1]
NEAREST = 0.1  # depth of the nearest pixel of a relative map; any number above 0, which Views keeps for "nothing here"


@dataclass(frozen=True)
class ReferenceView:
    """The picture to lift, framed, with its camera.

    views:    one square view; rgb straight, alpha, optional depth (larger = farther, any unit) and
              world-space normals.
    prompt:   what it shows, for the text prior and the CLIP boundary; may be empty without them.
    negative: what it should not show.
    """

    views: Views
    prompt: str = ""
    negative: str = ""

    def __post_init__(self):
        if len(self.views.cameras) != 1 or self.views.cameras.height != self.views.cameras.width:
            raise ValueError("a reference view is one square picture")

    @property
    def camera(self) -> Cameras:
        return self.views.cameras

    @property
    def size(self) -> int:
        """Side in pixels."""
        return self.views.cameras.height

    @property
    def blank(self) -> bool:
        """Whether it is words and a camera only, without a picture (``words.py``)."""
        return not bool(self.views.alpha.any())

    def unlike(self, other: "ReferenceView") -> str:
        """How another reference view shows something else, in words; empty where both are the same picture and camera.

        Its size in pixels, prompt, depth and normals may differ.
        """
        size = min(self.size, other.size)
        mine, theirs = self.camera, other.camera
        if not torch.allclose(mine.c2w, theirs.c2w, atol=1e-3) or not torch.allclose(mine.fovy, theirs.fovy, atol=1e-3):
            return "a picture taken by another camera"
        apart = float((self.on_background(size) - other.on_background(size)).abs().mean())
        return "another picture" if apart > SAME_PICTURE else ""

    def with_prompt(self, prompt: str, negative: str = "") -> "ReferenceView":
        return replace(self, prompt=prompt, negative=negative)

    def with_depth(self, depth: Tensor) -> "ReferenceView":
        """With an estimated depth [S, S] of the view's size: larger = farther, any affine map."""
        if tuple(depth.shape) != (self.size, self.size):
            raise ValueError(f"depth must be {self.size} x {self.size}, got {tuple(depth.shape)}")
        inside = (self.views.alpha > 0).float()
        low = depth[inside[0] > 0].min() if bool(inside.any()) else 0.0
        return replace(self, views=replace(self.views, depth=(depth - low + 0.1)[None] * inside, depth_is_metric=False))

    def resized(self, size: int) -> Views:
        """The view at another size: area-averaged when shrinking, bilinear when growing.

        Depth and normals are averaged over object pixels only.
        """
        views = self.views
        if size == self.size:
            return views
        alpha = _scale(views.alpha[..., None], size)[..., 0].clamp(0, 1)
        weight = alpha.clamp_min(1e-6)[..., None]

        def inside(maps: Tensor) -> Tensor:
            return _scale(maps * views.alpha[..., None], size) / weight * (alpha > 0)[..., None]

        rgb = inside(views.rgb).clamp(0, 1)
        depth = None if views.depth is None else inside(views.depth[..., None])[..., 0]
        normal = None if views.normal is None else torch.nn.functional.normalize(inside(views.normal), dim=-1)
        return Views(views.cameras.resized(size, size), rgb, alpha, depth, normal, views.depth_is_metric)

    def on_background(self, size: int | None = None, background: Tensor | float = 1.0) -> Tensor:
        """[S, S, 3] composited picture, white by default."""
        return self.resized(size or self.size).on_background(background)[0]


def prepare_reference(
    image: Tensor,
    mask: Tensor | None = None,
    depth: Tensor | None = None,
    normal: Tensor | None = None,
    *,
    prompt: str = "",
    negative: str = "",
    size: int = 256,
    border: float = 0.2,
    recenter: bool = True,
    radius: float = HOME.radius,
    fovy: float = HOME.fovy,
    elevation: float = 0.0,
    azimuth: float = 0.0,
    depth_convention: DepthConvention = "distance",
) -> tuple[ReferenceView, list[str]]:
    """The reference view and a report of what was done and noticed.

    image:  [H, W, C] or [1, H, W, C], C = 1, 3 or 4; float in [0, 1], uint8 or uint16.
    mask:   [H, W] or [1, H, W], 1 = object; default the picture's alpha, else a plain background is
            found and removed.
    depth:  [H, W] or [H, W, C], of the picture's size; "distance" (larger = farther) or "inverse".
    normal: [H, W, 3] in [0, 1], camera space: x right, y up, z towards the viewer.
    size:   side of the result in pixels.
    border: share of the side left free; the object's longer side becomes int(size * (1 - border)).
    recenter: crop to the object and center it (Consistent123); otherwise pad to a square only.
    radius, fovy, elevation, azimuth: of the reference camera; scene units and radians.
    Raises InputError for anything that cannot be lifted.
    """
    _check_settings(size, border, radius, fovy, elevation, depth_convention)
    report: list[str] = []
    rgb, alpha = read_image(image, MIN_SIDE, MAX_SIDE)
    height, width = rgb.shape[:2]
    if mask is not None:
        alpha = read_mask(mask, height, width)
    elif alpha is None or border_share(alpha) > SURELY or corner_share(1 - alpha):  # opaque, if not to the last bit or corner
        alpha, report = cut_from_plain(rgb)
    rgb, remarks = straight_colors(rgb, alpha)
    report += remarks
    box = _object_box(alpha, report)
    depth = None if depth is None else _read_depth(depth, height, width, depth_convention)
    normal = None if normal is None else _read_normal(normal, height, width)
    window = _framing(box, height, width, size, border) if recenter else _padding(height, width)
    camera = Cameras.orbit(azimuth, elevation, radius, fovy, size, size)
    views = _frame(rgb, alpha, depth, normal, window, size, camera)
    report.append(_describe(box, height, width, window, size))
    return ReferenceView(views, prompt.strip(), negative.strip()), report


def _check_settings(size, border, radius, fovy, elevation, depth_convention) -> None:
    ranges = (
        ("reference size", size, 32, 2048, "pixels"),
        ("border", border, 0.0, 0.8, "of the side"),
        ("camera radius", radius, 1.2, 20.0, "scene units"),
        ("camera field of view", math.degrees(fovy), 2.0, 100.0, "degrees"),
        ("camera elevation", math.degrees(elevation), -89.0, 89.0, "degrees"),
    )
    for name, value, low, high, unit in ranges:
        if not low <= value <= high:  # also catches NaN
            raise InputError(name, f"{low:g} to {high:g} {unit}", f"{value:g}", "Choose a value in that range.")
    if depth_convention not in get_args(DepthConvention):
        raise InputError("depth convention", '"distance" or "inverse"', repr(depth_convention), "Choose one of them.")


def _object_box(alpha: Tensor, report: list[str]) -> tuple[int, int, int, int]:
    """(top, left, bottom, right) of alpha > 1/2, with warnings about the edge of the picture."""
    inside = alpha > 0.5
    if not bool(inside.any()) or float(inside.float().mean()) < MIN_AREA:
        if 0.02 < float(alpha.max()) <= 0.5:
            got = f"coverage that never exceeds {float(alpha.max()):.0%}: a see-through object"
            remedy = "Give a mask that marks the object, or make the picture's alpha solid."
            raise InputError("mask", "an object that is more solid than not", got, remedy)
        got = f"{100 * float(inside.float().mean()):.3g} % object pixels"
        raise InputError("mask", "an object", got, "Check that the mask is not empty or inverted.")
    if bool(inside.all()):
        raise InputError(
            "mask", "an object on a background", "a mask that covers the whole picture",
            "Use a picture with transparency, or give a mask.",
        )
    if len(parts := parts_of(inside)) > 1:
        report.append(f"warning: {len(parts)} separate parts, of {', '.join(map(str, parts[:4]))} pixels: they are lifted as one "
                      "object. Crop to one, or mask the others out, if they are several")
    rows, columns = inside.any(1).nonzero()[:, 0], inside.any(0).nonzero()[:, 0]
    edges = {"top": inside[0], "bottom": inside[-1], "left": inside[:, 0], "right": inside[:, -1]}
    longest = max(int(rows[-1] - rows[0]), int(columns[-1] - columns[0])) + 1
    cut = [name for name, edge in edges.items() if int(edge.sum()) > BORDER_SHARE * longest]
    if cut:
        report.append(f"warning: the object is cut at the picture's {' and '.join(cut)}; that side will end flat")
    return int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1


def _framing(box, height: int, width: int, size: int, border: float) -> tuple[float, float, float]:
    """(center y, center x, side) in input pixels of the square window that becomes the view."""
    top, left, bottom, right = box
    longest = max(bottom - top, right - left)
    target = int(size * (1 - border))
    return (top + bottom) / 2, (left + right) / 2, longest * size / target


def _padding(height: int, width: int) -> tuple[float, float, float]:
    return height / 2, width / 2, float(max(height, width))


def _frame(rgb, alpha, depth, normal, window, size: int, camera: Cameras) -> Views:
    """Crops all maps with premultiplied colors, so that background never bleeds into the object."""
    weight = alpha[..., None]
    soft = crop_resize(weight, window, size).clamp(0, 1)
    safe = soft.clamp_min(1e-6)
    covered = (soft > 1e-3).float()

    def inside(maps: Tensor) -> Tensor:
        return crop_resize(maps * weight, window, size) / safe * covered

    world = None
    if normal is not None:
        local = torch.nn.functional.normalize(inside(normal), dim=-1)
        world = torch.einsum("ij,hwj->hwi", camera.c2w[0, :3, :3], local)[None]
    return Views(
        camera,
        inside(rgb).clamp(0, 1)[None],
        (soft * covered)[None, ..., 0],
        None if depth is None else inside(depth[..., None])[None, ..., 0],
        world,
    )


def _read_depth(depth: Tensor, height: int, width: int, convention: DepthConvention) -> Tensor:
    values = read_map(depth, "depth map", height, width).mean(-1)
    low, high = values.min(), values.max()
    values = (values - low) / (high - low).clamp_min(1e-6)
    values = 1 - values if convention == "inverse" else values
    return values + NEAREST


def _read_normal(normal: Tensor, height: int, width: int) -> Tensor:
    """[H, W, 3] in [-1, 1] of a picture; InputError for one that is clearly coded otherwise."""
    values = read_map(normal, "normal map", height, width)
    low, high = float(values.min()), float(values.max())
    if values.shape[-1] < 3 or low < -NORMAL_SLACK or high > 1 + NORMAL_SLACK:
        raise InputError("normal map", "three channels in [0, 1], coded (n + 1) / 2",
                         f"{values.shape[-1]} channels from {low:.3g} to {high:.3g}", "Code normals as (n + 1) / 2.")
    return values[..., :3] * 2 - 1


def depth_of_inverse(pictures: Tensor) -> Tensor:
    """[B, H, W] depths (larger = farther, known up to an affine map) of pictures [B, H, W, C] in [0, 1], near = bright."""
    return 1 + NEAREST - pictures[..., :3].mean(-1)


def _describe(box, height: int, width: int, window, size: int) -> str:
    top, left, bottom, right = box
    share = size / window[2]
    return (
        f"object {right - left} x {bottom - top} px in a {width} x {height} px picture; "
        f"scaled by {share:.3g} into {size} x {size} px"
    )


def _scale(images: Tensor, size: int) -> Tensor:
    planes = images.movedim(-1, 1)
    if size < images.shape[1]:
        planes = torch.nn.functional.interpolate(planes, (size, size), mode="area")
    else:
        planes = torch.nn.functional.interpolate(planes, (size, size), mode="bilinear", align_corners=False)
    return planes.movedim(1, -1)
