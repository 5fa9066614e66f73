"""The 3D prior's network: Zero-1-to-3 (Liu et al. 2023), a denoiser conditioned on the reference and the pose.

Layout: UNet with 8 input channels (noisy latent | unscaled reference latent); cross-attention to one
token, ``cc_projection``(CLIP image embedding | pose 4-vector).  The embedded network adds, by
configuration, a grid of reference-latent tokens and a pose label on the time embedding; a public
checkpoint has neither and loads in the same classes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import get_args

import torch
from torch import Tensor

from ..core.cameras import Cameras
from ..core.choices import Pose
from .latent import LatentDenoiser, ddim_sample
from .towers import PictureEncoder

Linear = torch.nn.Linear  # these modules are trained, so host-patched operations must not be used
POSES = get_args(Pose)


class ViewConditioner(torch.nn.Module):
    """Turns (reference, pose) into context tokens and labels.

    clip_dim: width of the CLIP image embedding; context_dim: width of the tokens.
    grid:     side of the latent grid given as extra tokens (2 x 2 patches each), 0 for none.
    labels:   whether the pose also enters the time embedding.
    """

    def __init__(self, clip_dim: int, context_dim: int, latent_channels: int = 4, grid: int = 0, labels: bool = False):
        super().__init__()
        self.cc_projection = Linear(clip_dim + 4, context_dim)
        self.grid, self.labels = grid, labels
        if grid:
            self.patch_projection = Linear(4 * latent_channels, context_dim)
            self.patch_position = torch.nn.Parameter(torch.zeros((grid // 2) ** 2, context_dim))

    def context(self, clip_embedding: Tensor, raw_latents: Tensor, pose: Tensor) -> Tensor:
        """[B, clip_dim], [B, C, h, w], [B, 4] -> [B, L, context_dim]."""
        token = self.cc_projection(torch.cat([clip_embedding, pose], -1))[:, None]
        if not self.grid:
            return token
        patches = torch.nn.functional.unfold(raw_latents, 2, stride=2).transpose(1, 2)
        return torch.cat([token, self.patch_projection(patches) + self.patch_position], 1)


def pose_vector(cameras: Cameras, reference: Cameras, convention: Pose = "zero123") -> Tensor:
    """[B, 4]: polar difference (radians, up = negative), sin and cos of the azimuth difference, and a fourth entry.

    convention "zero123": the radius difference, scene units; "stable" (Stable Zero123): the reference's polar angle,
    radians from straight up.  Right-handed cameras, so the azimuth enters with its own sign (M-A.4, M-C.5).
    """
    if convention not in POSES:
        raise ValueError(f"pose convention must be one of {POSES}, got {convention!r}")
    azimuth = cameras.azimuth - reference.azimuth
    polar = reference.elevation - cameras.elevation
    last = cameras.radius - reference.radius
    if convention == "stable":
        last = (math.pi / 2 - reference.elevation).expand_as(last)
    return torch.stack([polar, torch.sin(azimuth), torch.cos(azimuth), last], -1)


def pose_labels(pose: Tensor) -> Tensor:
    """[B, 8] pose features for the time embedding: the 4-vector and its second and fourth harmonics."""
    polar, s, c, radius = pose.unbind(-1)
    s2, c2 = 2 * s * c, c * c - s * s
    return torch.stack([polar, s, c, radius, s2, c2, 2 * s2 * c2, c2 * c2 - s2 * s2], -1)


@dataclass(frozen=True)
class ViewDenoiser(LatentDenoiser):
    """A ``Denoiser`` for novel views of one reference picture.

    Build with the networks, then call :meth:`with_reference`; guidance is the standard CFG scale, pose one of POSES.
    """

    conditioner: ViewConditioner
    clip: PictureEncoder
    guidance: float = 3.0
    reference_camera: Cameras | None = None
    reference_latent: Tensor | None = None  # [1, C, h, w] unscaled
    reference_embedding: Tensor | None = None  # [1, D]
    pose: Pose = "zero123"

    @torch.no_grad()
    def with_reference(self, picture: Tensor, camera: Cameras) -> "ViewDenoiser":
        """A copy conditioned on ``picture`` [H, W, 3] (sRGB on white, any size) seen from ``camera``."""
        small = resize(picture[None], self.image_size)
        return replace(
            self,
            reference_camera=camera,
            reference_latent=self.runtime.raw_latents(small),
            reference_embedding=self.clip.image_embedding(small),
        )

    def _reference(self) -> tuple[Cameras, Tensor, Tensor]:
        """Camera, latent and embedding; ValueError before there is a reference."""
        if self.reference_camera is None or self.reference_latent is None or self.reference_embedding is None:
            raise ValueError("the view prior has no reference picture yet: call with_reference first")
        return self.reference_camera, self.reference_latent, self.reference_embedding

    def predict_noise(self, noisy: Tensor, t: Tensor, cameras: Cameras) -> Tensor:
        return self.runtime.guided_noise(noisy, t, *self.conditions(noisy, cameras), self.guidance)

    def conditions(self, noisy: Tensor, cameras: Cameras) -> tuple[dict, dict]:
        """The reference and the pose, and zeros of both."""
        camera, raw, embedding = self._reference()
        count = len(noisy)
        pose = pose_vector(cameras, camera, self.pose).to(noisy)
        latent = raw.expand(count, -1, -1, -1)
        with torch.no_grad():
            context = self.conditioner.context(embedding.expand(count, -1), latent, pose)
        conditional = {"extra": latent, "context": context}
        if self.conditioner.labels:
            conditional["labels"] = pose_labels(pose)
        return conditional, {name: torch.zeros_like(value) for name, value in conditional.items()}

    def sample(self, cameras: Cameras, steps: int, generator: torch.Generator) -> Tensor:
        """Novel views [B, S, S, 3] by DDIM."""
        raw = self._reference()[1]
        shape = (len(cameras), *raw.shape[1:])
        latents = ddim_sample(
            lambda x, t: self.predict_noise(x, t, cameras),
            shape, self.alphas_cumprod, steps, generator, raw.device,
        )
        return self.runtime.decode(latents)


def resize(images: Tensor, size: int) -> Tensor:
    """[B, H, W, C] -> [B, size, size, C], antialiased bilinear when shrinking."""
    if images.shape[1] == size and images.shape[2] == size:
        return images
    x = torch.nn.functional.interpolate(
        images.permute(0, 3, 1, 2), (size, size), mode="bilinear", align_corners=False, antialias=True
    )
    return x.permute(0, 2, 3, 1)
