"""The 2D prior's network: a text-to-image diffusion model, of latents or pixels, with view-dependent prompts."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..core.cameras import Cameras
from ..core.far import send
from .latent import LatentDenoiser, ddim_sample
from .towers import TextEncoder

VIEWS = ("front", "side", "back")


@dataclass(frozen=True)
class TextDenoiser(LatentDenoiser):
    """A ``Denoiser`` for a prompt; the view words follow the camera's azimuth (M-C.3).

    encoder: SDXL's encoders add "pooled" [N, P], which its UNet wants together with the picture's size.
    prompt_context: [3, L, D] for front, side and back; negative_context: [1, L, D]; the same for pooled.
    """

    encoder: TextEncoder
    guidance: float = 7.5
    prompt_context: Tensor | None = None
    negative_context: Tensor | None = None
    prompt_pooled: Tensor | None = None
    negative_pooled: Tensor | None = None

    @torch.no_grad()
    def with_prompt(self, prompt: str, negative: str = "") -> "TextDenoiser":
        """A copy conditioned on ``prompt``, completed by ", front view" and so on."""
        words = self.encoder.text_condition([f"{prompt}, {view} view" for view in VIEWS])
        against = self.encoder.text_condition([negative], negative=True)
        return replace(self, prompt_context=words["context"], negative_context=against["context"],
                       prompt_pooled=words.get("pooled"), negative_pooled=against.get("pooled"))

    def predict_noise(self, noisy: Tensor, t: Tensor, cameras: Cameras) -> Tensor:
        return self.runtime.guided_noise(noisy, t, *self.conditions(noisy, cameras), self.guidance)

    def conditions(self, noisy: Tensor, cameras: Cameras) -> tuple[dict, dict]:
        """The prompt's condition by the cameras' azimuths, and the negative one."""
        context, against = self.contexts()
        weights = view_weights(cameras.azimuth).to(noisy)
        conditional = self.condition(context, self.prompt_pooled, weights)
        return conditional, self.condition(against, self.negative_pooled, weights.new_ones(len(noisy), 1))

    def contexts(self) -> tuple[Tensor, Tensor]:
        """Prompt's [3, L, D] and negative [1, L, D]; ValueError before there is a prompt."""
        if self.prompt_context is None or self.negative_context is None:
            raise ValueError("the text prior has no prompt yet: call with_prompt first")
        return self.prompt_context, self.negative_context

    def condition(self, context: Tensor, pooled: Tensor | None, weights: Tensor) -> dict:
        """Contexts (and SDXL's pooled vectors with its size entries) mixed by ``weights`` [B, texts]."""
        condition: dict = {"context": torch.einsum("bv,vld->bld", weights, context)}
        if pooled is not None:
            side = float(self.image_size)
            sizes = send(torch.tensor([side, side, 0.0, 0.0, side, side]), weights)  # original size, crop corner, target size
            condition["added"] = {"text_embeds": weights @ pooled, "time_ids": sizes.expand(len(weights), -1)}
        return condition

    def sample(self, cameras: Cameras, steps: int, generator: torch.Generator) -> Tensor:
        """Pictures [B, S, S, 3] by DDIM."""
        latents = ddim_sample(
            lambda x, t: self.predict_noise(x, t, cameras), (len(cameras), *self.runtime.shape), self.alphas_cumprod, steps,
            generator, self.contexts()[0].device, self.runtime.settle)
        return self.runtime.decode(latents)


def view_weights(azimuth: Tensor) -> Tensor:
    """[B] radians in (-pi, pi] -> [B, 3] linear weights of the front, side and back prompts."""
    x = azimuth.abs() / (math.pi / 2)
    front, back = (1 - x).clamp_min(0), (x - 1).clamp_min(0)
    return torch.stack([front, 1 - front - back, back], -1)
