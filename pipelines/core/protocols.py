"""The plugs of the system beside ``core.prior``.  Each has a contract test that runs over all its implementations.

Denoisers, from the least to the most: :class:`Denoiser` is all that score distillation asks for, and all that the exact
one of a known scene has (``verification/oracle.py``).  :class:`GuidedDenoiser` is a network.  It has to be conditioned before it
is asked: :class:`PictureConditioned` by a picture and its camera (for the 3D prior), :class:`PromptConditioned` by a
prompt (for the 2D prior), :class:`DepthConditioned` by a prompt and depth (for the guide of RGNV and RGSD).  Conditioning
makes copies: one loaded network serves several priors.
"""

from __future__ import annotations

from typing import Protocol, TypeVar

import torch
from torch import Tensor

from .cameras import Cameras
from .mesh import Mesh

Same = TypeVar("Same")


class Denoiser(Protocol):
    """A frozen diffusion network with classifier-free guidance inside.

    alphas_cumprod: [T] cumulative noise schedule (1 = clean), falling.
    image_size:     side S of the pictures ``encode`` wants, pixels.
    """

    @property
    def alphas_cumprod(self) -> Tensor: ...

    @property
    def image_size(self) -> int: ...

    def encode(self, images: Tensor) -> Tensor:
        """[B, S, S, 3] sRGB in [0, 1] -> latents [B, C, h, w] in diffusion units; differentiable."""
        ...

    def decode(self, latents: Tensor) -> Tensor:
        """Latents [B, C, h, w] in diffusion units -> [B, S, S, 3] sRGB in [0, 1]; no gradient."""
        ...

    def predict_noise(self, noisy: Tensor, t: Tensor, cameras: Cameras) -> Tensor:
        """Guided eps_hat [B, C, h, w] for noisy latents at integer times t [B] in 0 .. T - 1; no gradient.

        cameras: [B], of the views that the latents show.
        """
        ...


class GuidedDenoiser(Denoiser, Protocol):
    """A network, which can also draw; its guidance can be set."""

    def with_guidance(self: Same, guidance: float) -> Same:
        """A copy with another scale s of classifier-free guidance, eps_u + s (eps_c - eps_u).

        1 = the conditioned answer alone, and half the work.  (Ho and Salimans 2022.)
        """
        ...

    def sample(self, cameras: Cameras, steps: int, generator: torch.Generator) -> Tensor:
        """[B, S, S, 3] sRGB in [0, 1] drawn by DDIM in ``steps`` steps, seen from ``cameras`` [B].

        generator: on the CPU; gives the first noise, nothing else.
        """
        ...


class PictureConditioned(GuidedDenoiser, Protocol):
    """Novel views of one object, of which it is shown a picture.  ValueError from ``predict_noise`` before that."""

    def with_reference(self: Same, picture: Tensor, camera: Cameras) -> Same:
        """A copy conditioned on ``picture`` [H, W, 3] (sRGB in [0, 1], on white, any size) seen from one ``camera``."""
        ...


class PromptConditioned(GuidedDenoiser, Protocol):
    """Pictures of what is described.  ValueError from ``predict_noise`` before there is a prompt."""

    def with_prompt(self: Same, prompt: str, negative: str = "") -> Same:
        """A copy conditioned on ``prompt``, completed by words for the view that follow the cameras' azimuth.

        negative: what guidance leads away from.  Raises InputError for texts that do not fit.
        """
        ...


class DepthConditioned(PromptConditioned, Protocol):
    """A text network that is shown depth as well; without any it assumes that nothing is known."""

    def with_depth(self: Same, depth: Tensor) -> Same:
        """A copy shown ``depth`` [1 or B, 1, h, w]: inverse depth in [-1, 1], 1 nearest, -1 where there is no object."""
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
