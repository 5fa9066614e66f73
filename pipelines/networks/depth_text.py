"""Depth-conditioned Stable Diffusion 2: a text network that is also shown a depth map (H-A.1, H-A.2).

Its UNet has one input channel more than a text network's; the depth map of the latents' size is the last one.  It is
inverse depth, larger = nearer, in [-1, 1], and -1 where there is no object.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, get_args

import torch
from torch import Tensor

from .text import TextDenoiser

FARTHEST = 0.6  # nearest over farthest depth that is assumed of depth known up to an affine map only
VIEW_WORDS = ("Front", "Side", "Back")
PHRASE = "{word} view of {prompt}"  # HiFi-123's
Background = Literal["textured", "gray", "white"]  # behind the object; see ``enhance_views.behind``
BACKGROUNDS = get_args(Background)


@dataclass(frozen=True)
class DepthTextDenoiser(TextDenoiser):
    """A ``Denoiser`` for a prompt and a depth map.

    depth:      [1 or B, 1, h, w] as :func:`depth_channel` makes it; None = no depth is known (-1 everywhere).
    background: one of BACKGROUNDS, what HiFi-123 should put behind objects that this network is shown.
    phrase:     how HiFi-123 should tell it a prompt and one of VIEW_WORDS.
    """

    depth: Tensor | None = None
    background: Background = "textured"
    phrase: str = PHRASE

    def with_depth(self, depth: Tensor) -> "DepthTextDenoiser":
        """A copy that is shown ``depth`` [1 or B, 1, h, w] with the next latents."""
        return replace(self, depth=depth)

    def condition(self, context: Tensor, pooled: Tensor | None, weights: Tensor) -> dict:
        """As a text network's, with the depth channel."""
        side = self.latent_size
        depth = weights.new_full((1, 1, side, side), -1.0) if self.depth is None else self.depth.to(weights)
        return {**super().condition(context, pooled, weights), "extra": depth.expand(len(weights), -1, -1, -1)}

    @property
    def latent_size(self) -> int:
        """Side of its latents."""
        return latent_size(self.runtime)

    def sample(self, cameras, steps: int, generator: torch.Generator) -> Tensor:
        """Pictures [B, S, S, 3] by DDIM, at ``image_size`` (the UNet's configured size is another one)."""
        from .latent import ddim_sample

        shape = (len(cameras), self.runtime.unet.config.out_channels, self.latent_size, self.latent_size)
        return self.runtime.decode(ddim_sample(
            lambda x, t: self.predict_noise(x, t, cameras), shape, self.alphas_cumprod, steps, generator,
            self.contexts()[0].device))


def latent_size(runtime) -> int:
    """Side of the latents of a runtime's pictures."""
    return runtime.image_size // 2 ** (len(runtime.vae.config.block_out_channels) - 1)


def sees_depth(runtime) -> bool:
    """Whether the network has an input channel for depth."""
    return runtime.unet.config.in_channels == runtime.unet.config.out_channels + 1


def depth_channel(depth: Tensor, alpha: Tensor, size: int, metric: bool) -> Tensor:
    """[B, 1, size, size] in [-1, 1] of depths [B, H, W] (larger = farther) inside coverages [B, H, W].

    metric: depths are distances; the channel is 2 z_nearest / z - 1.  Otherwise they are known up to an affine map, and
    what is seen is given the same range that a distance would have.  Pixels without an object are -1, in the reference
    and in novel views alike (as the paper; its code masks the novel view only).
    """
    inside = alpha > 0.5
    nearest = depth.masked_fill(~inside, torch.inf).amin((1, 2), keepdim=True)
    if metric:
        near = nearest.clamp_min(1e-6) / depth.clamp_min(1e-6)
    else:
        farthest = depth.masked_fill(~inside, -torch.inf).amax((1, 2), keepdim=True)
        near = 1 - (1 - FARTHEST) * (depth - nearest) / (farthest - nearest).clamp_min(1e-6)
    near = torch.where(inside, near, torch.zeros_like(near)).clamp(0, 1) * 2 - 1
    return scale_map(near, size).clamp(-1, 1)


def scale_map(maps: Tensor, size: int) -> Tensor:
    """[B, H, W] -> [B, 1, size, size]: area means when shrinking, bilinear when growing."""
    planes = maps[:, None].float()
    if maps.shape[1] >= size:
        return torch.nn.functional.interpolate(planes, (size, size), mode="area")
    return torch.nn.functional.interpolate(planes, (size, size), mode="bilinear", align_corners=False)
