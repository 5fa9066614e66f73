"""The plugs of the system.  Each has a contract test that runs over all its implementations."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from .cameras import Cameras
from .mesh import Mesh


class Denoiser(Protocol):
    """A frozen diffusion network with classifier-free guidance inside.

    alphas_cumprod: [T] cumulative noise schedule (1 = clean).
    image_size:     side of the pictures ``encode`` wants, pixels.
    """

    alphas_cumprod: Tensor
    image_size: int

    def encode(self, images: Tensor) -> Tensor:
        """[B, H, W, 3] sRGB in [0, 1] -> latents [B, C, h, w] in diffusion units; differentiable."""
        ...

    def predict_noise(self, noisy: Tensor, t: Tensor, cameras: Cameras) -> Tensor:
        """Guided eps_hat [B, C, h, w] for noisy latents at integer times t [B]; no gradient."""
        ...


class Prior(Protocol):
    """A frozen network seen as a loss on rendered pictures.  Never calls ``backward``."""

    def loss(self, images: Tensor, cameras: Cameras, progress: float, generator: torch.Generator) -> Tensor:
        """[B] weighted losses of pictures [B, H, W, 3] (sRGB in [0, 1], composited)."""
        ...


class RadianceField(Protocol):
    """Density and color in the cube [-1, 1]^3."""

    def density(self, x: Tensor) -> Tensor:
        """[N, 3] -> [N] density per scene unit, >= 0."""
        ...

    def albedo(self, x: Tensor) -> Tensor:
        """[N, 3] -> [N, 3] sRGB in [0, 1]."""
        ...


class SurfaceField(Protocol):
    """A deformable surface with a color at every point."""

    def extract(self) -> Mesh:
        """The current mesh; differentiable where the field is."""
        ...

    def albedo(self, x: Tensor) -> Tensor:
        """[N, 3] -> [N, 3] sRGB in [0, 1]."""
        ...
