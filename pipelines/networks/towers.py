"""The language and vision towers of public latent diffusion models, through transformers.

Each has the two or three methods that the denoisers call: ``text_condition`` (and ``text_tokens``) for prompts,
``image_embedding`` for reference pictures.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from ..core.errors import InputError
from ..core.modules import AnyModule

OPENAI_MEAN, OPENAI_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


class TextEncoder(Protocol):
    """What a text denoiser asks of its encoder."""

    def text_condition(self, texts: list[str], negative: bool = False) -> dict[str, Tensor]:
        """{"context": [N, L, D]}; SDXL's encoders add "pooled" [N, P]."""
        ...


class PictureEncoder(Protocol):
    """What a network that is shown a picture asks of its vision tower."""

    def image_embedding(self, images: Tensor) -> Tensor:
        """[B, H, W, 3] sRGB in [0, 1] -> [B, D]."""
        ...


class Tokenizer(Protocol):
    """A tokenizer called as transformers' are."""

    def __call__(self, text: Any, /, **options: Any) -> Any:
        """Of one text or a list of them; the answer has ``input_ids``."""
        ...


def tokenize(tokenizer: Tokenizer, texts: list[str], length: int) -> Tensor:
    """[N, length] int64; InputError for a text that does not fit, because its end (the view words) would be lost."""
    for text in texts:
        count = len(tokenizer(text, truncation=False).input_ids)
        if count > length:
            raise InputError("prompt", f"at most {length - 2} tokens with the view words", f"{count - 2} tokens",
                             "Shorten the prompt: what does not fit would be ignored, beginning with the view words.")
    return tokenizer(texts, padding="max_length", max_length=length, truncation=True, return_tensors="pt").input_ids


@dataclass(frozen=True)
class TextTower:
    """Stable Diffusion 1.x and 2.x: the final hidden states of one CLIP text encoder.

    model: transformers CLIPTextModel; tokenizer: transformers CLIPTokenizer.
    """

    model: AnyModule
    tokenizer: Tokenizer

    def text_tokens(self, texts: list[str]) -> Tensor:
        """[N, L, D] context."""
        ids = tokenize(self.tokenizer, texts, self.model.config.max_position_embeddings)
        return self.model(ids.to(self.model.device)).last_hidden_state.float()

    def text_condition(self, texts: list[str], negative: bool = False) -> dict[str, Tensor]:
        """{"context": [N, L, D]}."""
        return {"context": self.text_tokens(texts)}


@dataclass(frozen=True)
class TwoTextTowers:
    """SDXL (Podell et al. 2023): the last but one hidden states of two encoders side by side, and a pooled vector.

    first: CLIPTextModel; second: CLIPTextModelWithProjection; each with its tokenizer.
    empty_is_zero: an empty negative prompt is zeros instead of an encoded empty string (SDXL base was trained so).
    """

    first: TextTower
    second: TextTower
    empty_is_zero: bool = True

    def text_condition(self, texts: list[str], negative: bool = False) -> dict[str, Tensor]:
        """{"context": [N, L, D1 + D2], "pooled": [N, P]}."""
        parts, pooled = [], None
        for tower in (self.first, self.second):
            ids = tokenize(tower.tokenizer, texts, tower.model.config.max_position_embeddings)
            out = tower.model(ids.to(tower.model.device), output_hidden_states=True)
            parts.append(out.hidden_states[-2].float())
            pooled = out[0].float()  # of the second tower: its projected end token
        condition = {"context": torch.cat(parts, -1), "pooled": pooled}
        if negative and self.empty_is_zero:
            keep = torch.tensor([float(bool(text.strip())) for text in texts], device=pooled.device)
            condition = {k: v * keep.reshape(-1, *[1] * (v.ndim - 1)) for k, v in condition.items()}
        return condition

    def text_tokens(self, texts: list[str]) -> Tensor:
        """[N, L, D1 + D2] context."""
        return self.text_condition(texts)["context"]


@dataclass(frozen=True)
class VisionTower:
    """Zero-1-to-3's picture encoder: the projected, *not* normalized CLIP image embedding (M-C.5).

    model: transformers CLIPVisionModelWithProjection.
    """

    model: AnyModule
    mean: tuple[float, ...] = OPENAI_MEAN
    std: tuple[float, ...] = OPENAI_STD

    @torch.no_grad()
    def image_embedding(self, images: Tensor) -> Tensor:
        """[B, H, W, 3] sRGB in [0, 1] -> [B, D].  Resized as in training: bicubic, corners aligned, no antialias."""
        side = self.model.config.image_size
        x = images.permute(0, 3, 1, 2) * 2 - 1
        x = torch.nn.functional.interpolate(x, (side, side), mode="bicubic", align_corners=True)
        mean, std = (x.new_tensor(v).reshape(1, 3, 1, 1) for v in (self.mean, self.std))
        x = ((x + 1) / 2 - mean) / std
        return self.model(x.to(self.model.dtype)).image_embeds.float()
