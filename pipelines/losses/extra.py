"""Losses by wires (``core/extra.py``): photos, silhouettes, symmetry, order of depths, CLIP, palette, what must stay."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..core.cameras import Cameras
from ..core.extra import ExtraLoss, anywhere
from ..core.views import RenderBuffers, Views
from .depth import depth_ranking


@dataclass(frozen=True, kw_only=True)
class Photos(ExtraLoss):
    """Further pictures with their cameras, one per step, drawn: color error on white, and the outline's.

    photos: N square views; colors: False = outlines only (silhouettes).
    """

    photos: Views
    colors: bool = True
    label: str = "photos"

    def views(self, home: Cameras, size: int, generator: torch.Generator) -> Cameras:
        """The camera of one photo."""
        which = int(torch.randint(len(self.photos.cameras), (1,), generator=generator))
        return self.photos.cameras[which]

    def loss(self, seen: RenderBuffers, cameras: Cameras, generator: torch.Generator) -> Tensor:
        """Mean squared error of coverage, and of colors on white."""
        which = int((self.photos.cameras.c2w - cameras.c2w.cpu()).flatten(1).abs().amax(1).argmin())
        alpha = self.photos.alpha[which].to(seen.alpha)
        outline = (seen.alpha[0] - alpha).square().mean()
        if not self.colors:
            return outline
        picture = self.photos.on_background(1.0)[which].to(alpha)
        return outline + (seen.composite(1.0)[0] - picture).square().mean()


@dataclass(frozen=True, kw_only=True)
class Symmetry(ExtraLoss):
    """The plane x = 0 (left and right of what faces +Z) is a mirror: a view and its mirrored view, flipped, are equal."""

    label: str = "symmetry"

    def views(self, home: Cameras, size: int, generator: torch.Generator) -> Cameras:
        """A camera anywhere and its mirror image."""
        one = anywhere(home, size, generator)
        return Cameras.orbit(torch.cat([one.azimuth, -one.azimuth]), one.elevation, one.radius, one.fovy, size, size)

    def loss(self, seen: RenderBuffers, cameras: Cameras, generator: torch.Generator) -> Tensor:
        """Mean squared difference of colors on white and of coverage."""
        picture = seen.composite(1.0)
        colors = (picture[0] - picture[1].flip(1)).square().mean()
        return colors + (seen.alpha[0] - seen.alpha[1].flip(1)).square().mean()


@dataclass(frozen=True, kw_only=True)
class DepthOrder(ExtraLoss):
    """What is nearer in a known depth picture is nearer in the render: ``losses.depth.depth_ranking``.

    view: one view with depth, known up to any increasing map.
    """

    view: Views
    label: str = "depth order"

    def views(self, home: Cameras, size: int, generator: torch.Generator) -> Cameras:
        """The picture's camera."""
        return self.view.cameras

    def loss(self, seen: RenderBuffers, cameras: Cameras, generator: torch.Generator) -> Tensor:
        """Mean over pairs of how much the order is violated, scene units."""
        assert self.view.depth is not None, "a view with depth"
        distance = seen.depth / seen.alpha.clamp_min(1e-3)
        return depth_ranking(distance[0], self.view.depth[0].to(distance), self.view.alpha[0].to(distance))


@dataclass(frozen=True, kw_only=True)
class Likeness(ExtraLoss):
    """1 - cosine between CLIP's embedding of a view from anywhere and a known one: of a text, of a picture (DietNeRF, Jain
    et al. 2021), or both.  embed: pictures [B, H, W, 3] -> [B, D], differentiable; wanted: [K, D], unit length."""

    embed: Callable[[Tensor], Tensor]
    wanted: Tensor
    label: str = "clip"

    def views(self, home: Cameras, size: int, generator: torch.Generator) -> Cameras:
        """One camera anywhere."""
        return anywhere(home, size, generator)

    def loss(self, seen: RenderBuffers, cameras: Cameras, generator: torch.Generator) -> Tensor:
        """Mean over what is wanted."""
        return (1 - self.embed(seen.composite(1.0)) @ self.wanted.to(seen.alpha.device).T).mean()


@dataclass(frozen=True, kw_only=True)
class Palette(ExtraLoss):
    """Every color of the object is one of a few: squared distance to the nearest.  colors: [K, 3] sRGB in [0, 1]."""

    colors: Tensor
    label: str = "palette"

    def views(self, home: Cameras, size: int, generator: torch.Generator) -> Cameras:
        """One camera anywhere."""
        return anywhere(home, size, generator)

    def loss(self, seen: RenderBuffers, cameras: Cameras, generator: torch.Generator) -> Tensor:
        """Mean over the object's pixels, weighed by coverage; the shape gets no gradient."""
        alpha = seen.alpha.detach()
        straight = seen.rgb / alpha.clamp_min(0.05)[..., None]
        apart = (straight[..., None, :] - self.colors.to(straight)).square().sum(-1).amin(-1)
        return (apart * alpha).sum() / alpha.sum().clamp_min(1)


@dataclass(frozen=True, kw_only=True)
class Untouched(ExtraLoss):
    """Outside of a box the scene looks as it did: for edits of a region.

    before: (cameras, pixels) -> pictures [B, S, S, 3] on white of the scene as it was.
    low, high: corners of the box, scene units; pixels whose rays meet it are free.
    """

    before: Callable[[Cameras, int], Tensor]
    low: tuple[float, float, float]
    high: tuple[float, float, float]
    label: str = "untouched"

    def views(self, home: Cameras, size: int, generator: torch.Generator) -> Cameras:
        """One camera anywhere."""
        return anywhere(home, size, generator)

    def loss(self, seen: RenderBuffers, cameras: Cameras, generator: torch.Generator) -> Tensor:
        """Mean squared change of the pixels outside."""
        picture = seen.composite(1.0)
        fixed = ~meets(cameras.to(picture.device), self.low, self.high)
        change = (picture - self.before(cameras, cameras.height).to(picture)).square().mean(-1)
        return (change * fixed).sum() / fixed.sum().clamp_min(1)


def meets(cameras: Cameras, low: tuple[float, float, float], high: tuple[float, float, float]) -> Tensor:
    """[B, H, W] bool: pixels whose rays meet the box between two corners."""
    rays = cameras.rays()
    slopes = torch.where(rays.directions.abs() < 1e-9, 1e-9, rays.directions)
    one, two = ((rays.directions.new_tensor(corner) - rays.origins) / slopes for corner in (low, high))
    enter, leave = torch.minimum(one, two).amax(-1), torch.maximum(one, two).amin(-1)
    return (leave >= enter.clamp_min(0)).reshape(len(cameras), cameras.height, cameras.width)
