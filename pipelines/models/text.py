"""The 2D prior's network: a text-to-image latent diffusion model with view-dependent prompts."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..core.cameras import Cameras
from .latent import LatentDenoiser, ddim_sample

VIEWS = ("front", "side", "back")


@dataclass(frozen=True)
class TextDenoiser(LatentDenoiser):
    """A ``Denoiser`` for a prompt; the view words follow the camera's azimuth (spec C.3).

    encoder: anything with ``text_tokens(list[str]) -> [N, L, D]``.
    prompt_context: [3, L, D] for front, side and back; negative_context: [1, L, D].
    """

    encoder: object
    guidance: float = 7.5
    prompt_context: Tensor | None = None
    negative_context: Tensor | None = None

    @torch.no_grad()
    def with_prompt(self, prompt: str, negative: str = "") -> "TextDenoiser":
        """A copy conditioned on ``prompt``, completed by ", front view" and so on."""
        tokens = self.encoder.text_tokens([f"{prompt}, {view} view" for view in VIEWS])
        return replace(self, prompt_context=tokens, negative_context=self.encoder.text_tokens([negative]))

    def predict_noise(self, noisy: Tensor, t: Tensor, cameras: Cameras) -> Tensor:
        if self.prompt_context is None:
            raise ValueError("the text prior has no prompt yet: call with_prompt first")
        weights = view_weights(cameras.azimuth).to(noisy)
        context = torch.einsum("bv,vld->bld", weights, self.prompt_context)
        negative = self.negative_context.expand(len(noisy), -1, -1)
        return self.runtime.guided_noise(noisy, t, {"context": context}, {"context": negative}, self.guidance)

    def sample(self, cameras: Cameras, steps: int, generator: torch.Generator) -> Tensor:
        """Pictures [B, S, S, 3] by DDIM."""
        side = self.runtime.unet.config.sample_size
        shape = (len(cameras), self.runtime.unet.config.in_channels, side, side)
        device = self.prompt_context.device
        latents = ddim_sample(
            lambda x, t: self.predict_noise(x, t, cameras), shape, self.alphas_cumprod, steps, generator, device
        )
        return self.runtime.decode(latents)


def view_weights(azimuth: Tensor) -> Tensor:
    """[B] radians in (-pi, pi] -> [B, 3] linear weights of the front, side and back prompts."""
    x = azimuth.abs() / (math.pi / 2)
    front, back = (1 - x).clamp_min(0), (x - 1).clamp_min(0)
    return torch.stack([front, 1 - front - back, back], -1)
