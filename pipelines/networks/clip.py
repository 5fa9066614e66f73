"""CLIP (Radford et al. 2021) through open_clip: scores for the boundary, embeddings for the priors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..core.modules import AnyModule
from .view import resize


@dataclass(frozen=True)
class ClipScorer:
    """A frozen CLIP model.

    model:     open_clip.CLIP.
    tokenizer: list[str] -> [N, L] int64.
    mean, std: per-channel normalization of sRGB in [0, 1].
    """

    model: AnyModule
    tokenizer: Callable[[list[str]], Tensor]
    image_size: int
    mean: tuple[float, ...] = (0.5, 0.5, 0.5)
    std: tuple[float, ...] = (0.5, 0.5, 0.5)

    @torch.no_grad()
    def image_embedding(self, images: Tensor) -> Tensor:
        """[B, H, W, 3] sRGB in [0, 1] (any size) -> [B, D] of unit length."""
        return self.embedding(images)

    def embedding(self, images: Tensor) -> Tensor:
        """:meth:`image_embedding`, differentiable."""
        x = resize(images, self.image_size)
        x = (x - x.new_tensor(self.mean)) / x.new_tensor(self.std)
        return torch.nn.functional.normalize(self.model.encode_image(x.permute(0, 3, 1, 2)).float(), dim=-1)

    @torch.no_grad()
    def text_embedding(self, texts: list[str]) -> Tensor:
        """[N, D] of unit length."""
        tokens = self.tokenizer(texts).to(self._device)
        return torch.nn.functional.normalize(self.model.encode_text(tokens).float(), dim=-1)

    def text_tokens(self, texts: list[str]) -> Tensor:
        """[N, L, D'] the text tower's normalized hidden states, the context of the 2D prior."""
        return text_hidden_states(self.model, self.tokenizer(texts).to(self._device))

    def text_condition(self, texts: list[str], negative: bool = False) -> dict[str, Tensor]:
        """{"context": text_tokens}: what a text denoiser asks of its encoder."""
        return {"context": self.text_tokens(texts)}

    def similarity(self, images: Tensor, text: str) -> float:
        """Mean cosine between pictures [B, H, W, 3] and a text: the score S of the CLIP boundary."""
        return float((self.image_embedding(images) @ self.text_embedding([text]).T).mean())

    @property
    def _device(self):
        return next(self.model.parameters()).device


def text_hidden_states(model: AnyModule, tokens: Tensor) -> Tensor:
    """[N, L] -> [N, L, D'] final hidden states of an open_clip text tower, before pooling."""
    x = model.token_embedding(tokens) + model.positional_embedding[: tokens.shape[1]]
    return model.ln_final(model.transformer(x, attn_mask=model.attn_mask[: tokens.shape[1], : tokens.shape[1]]))
