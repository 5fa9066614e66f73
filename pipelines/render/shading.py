"""How albedo becomes color; one definition for the volume and the surface renderer.

Consistent123 and Magic123 show their priors mostly diffuse pictures and sometimes pictures without
albedo, so that geometry cannot hide behind texture (M-B.4).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, get_args

import torch
from torch import Tensor

from ..core.cameras import Cameras
from ..core.far import send

Mode = Literal["albedo", "lambertian", "textureless", "normal"]
MODES = get_args(Mode)


@dataclass(frozen=True)
class Shading:
    """One shading for all images of a batch.

    mode:    "albedo" (no light), "lambertian" (albedo times light), "textureless" (light only) or
             "normal" (the normal coded as a color).
    ambient: share of light that needs no normal, in [0, 1].
    light:   [B, 3] unit directions towards the light, world space, one per image; None for modes
             that need none.
    """

    mode: Mode = "albedo"
    ambient: float = 1.0
    light: Tensor | None = None

    def __post_init__(self):
        if self.mode not in MODES:
            raise ValueError(f"shading mode must be one of {MODES}, got {self.mode!r}")
        if self.mode in ("lambertian", "textureless") and self.light is None:
            raise ValueError(f"shading mode {self.mode!r} needs a light direction per image")

    @property
    def needs_normal(self) -> bool:
        """Whether calling it reads the normal."""
        return self.mode != "albedo"

    def for_image(self, index: int) -> "Shading":
        """The shading of one image of the batch."""
        return self if self.light is None else replace(self, light=self.light[index : index + 1])

    def for_images(self, part: slice) -> "Shading":
        """The shading of some images of the batch."""
        return self if self.light is None else replace(self, light=self.light[part])

    def apply(self, albedo: Tensor, normal: Tensor | None, image: Tensor | None) -> Tensor:
        """Colors [N, 3] of points with albedo [N, 3] and unit world normals [N, 3].

        image: [N] int64, which image of the batch a point belongs to.
        lambertian = albedo * (a + (1 - a) max(0, n.l)); textureless leaves the albedo out.
        """
        if self.mode == "albedo":
            return albedo
        assert normal is not None  # the caller's part: needs_normal
        if self.mode == "normal":
            return (normal + 1) / 2
        assert self.light is not None  # checked in __post_init__
        cosine = (normal * send(self.light, normal)[image]).sum(-1, keepdim=True).clamp_min(0)
        shade = self.ambient + (1 - self.ambient) * cosine
        return shade.expand_as(albedo) if self.mode == "textureless" else albedo * shade

    def __call__(self, albedo: Tensor, normal: Tensor | None) -> Tensor:
        """:meth:`apply` for points of a single image (the surface renderer's plug)."""
        if self.light is not None and len(self.light) != 1:
            raise ValueError(f"one light per call, got {len(self.light)}: shade each image with for_image")
        image = torch.zeros(len(albedo), dtype=torch.int64, device=albedo.device)
        return self.apply(albedo, normal, image)


ALBEDO = Shading()


def headlight(cameras: Cameras) -> Tensor:
    """[B, 3] unit light directions from the origin towards each camera."""
    return torch.nn.functional.normalize(cameras.positions, dim=-1)


def random_light(cameras: Cameras, generator: torch.Generator) -> Tensor:
    """[B, 3] unit light directions: normalize(camera position + N(0, I)) (M-B.4)."""
    noise = torch.randn(len(cameras), 3, generator=generator).to(cameras.c2w)
    return torch.nn.functional.normalize(cameras.positions + noise, dim=-1)


@dataclass(frozen=True)
class ShadingMix:
    """How novel views are lit; shares of steps (M-B.4; both papers, from the released codes).

    lambertian, textureless: shares; the rest is plain albedo.
    normal_until: progress until which the normal is shown instead (Magic123's warm-up).
    ambient:      range of the ambient share.
    """

    lambertian: float = 0.8
    textureless: float = 0.2
    normal_until: float = 0.0
    ambient: tuple[float, float] = (0.1, 1.0)

    def draw(self, cameras: Cameras, progress: float, generator: torch.Generator) -> Shading:
        """One step's shading; always draws the same amount of random numbers."""
        share, ambient = torch.rand(2, generator=generator).tolist()
        light = random_light(cameras, generator)
        ambient = self.ambient[0] + (self.ambient[1] - self.ambient[0]) * ambient
        if progress < self.normal_until:
            return Shading("normal")
        if share < self.lambertian:
            return Shading("lambertian", ambient, light)
        if share < self.lambertian + self.textureless:
            return Shading("textureless", ambient, light)
        return ALBEDO


PLAIN = ShadingMix(0.0, 0.0)
