"""Text-to-image diffusion in pixels, without an autoencoder: DeepFloyd IF's first stage (H-F.1).

Its UNet answers with six channels, the noise and a learned variance, of which score distillation and DDIM use the
first three; its words are encoded by T5 (Raffel et al. 2020).  ``TextDenoiser`` works on both kinds of runtime.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..core.errors import InputError
from ..core.modules import AnyModule
from .latent import LatentRuntime

LENGTH = 77  # tokens, as IF was trained
KEPT, HIGHEST = 0.95, 1.5  # dynamic thresholding (Saharia et al. 2022), as in the published scheduler's configuration


@dataclass(frozen=True)
class PixelRuntime(LatentRuntime):
    """A frozen UNet that denoises pictures [B, 3, S, S] in [-1, 1]; ``vae`` is None."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """(3, S, S)."""
        return (3, self.image_size, self.image_size)

    def encode(self, images: Tensor) -> Tensor:
        """[B, S, S, 3] sRGB in [0, 1] -> [B, 3, S, S] in [-1, 1]; differentiable."""
        return images.permute(0, 3, 1, 2).float() * 2 - 1

    raw_latents = encode

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        """[B, 3, S, S] -> [B, S, S, 3] sRGB in [0, 1]."""
        return (latents.float() / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1)

    def settle(self, clean: Tensor) -> Tensor:
        """Dynamic thresholding (Saharia et al. 2022): strong guidance would otherwise push pixels out of range."""
        bound = torch.quantile(clean.abs().flatten(1), KEPT, 1).clamp(1.0, HIGHEST)[:, None, None, None]
        return clean.clamp(-bound, bound) / bound


@dataclass(frozen=True)
class PieceTokens:
    """T5's tokenizer from its published ``spiece.model``, by the sentencepiece package that ComfyUI brings.

    file: the path of the model.  Texts are lower-cased, as IF's own preparation does.
    """

    file: str

    def ids(self, texts: list[str], length: int = LENGTH) -> Tensor:
        """[N, length] int64, each text closed by the end token and padded.  InputError for one that does not fit."""
        pieces = self._processor()
        rows = [[*pieces.encode(" ".join(text.lower().split())), pieces.eos_id()] for text in texts]
        longest = max(map(len, rows))
        if longest > length:
            raise InputError("prompt", f"at most {length - 1} tokens with the view words", f"{longest - 1} tokens",
                             "Shorten the prompt: what does not fit would be ignored, beginning with the view words.")
        return torch.tensor([row + [pieces.pad_id()] * (length - len(row)) for row in rows])

    def _processor(self):
        try:
            from sentencepiece import SentencePieceProcessor
        except ImportError:
            raise InputError("checkpoint", "the package sentencepiece, for T5's words", "not installed",
                             "Install what ComfyUI requires; it is among it.") from None
        return SentencePieceProcessor(model_file=self.file)


@dataclass(frozen=True)
class T5Tower:
    """IF's text encoder: the final hidden states of T5, padding hidden from it.

    model: transformers T5EncoderModel.
    """

    model: AnyModule
    tokenizer: PieceTokens

    @torch.no_grad()
    def text_tokens(self, texts: list[str]) -> Tensor:
        """[N, 77, D] context."""
        ids = self.tokenizer.ids(texts).to(self.model.device)
        seen = (ids != self.model.config.pad_token_id).long()
        return self.model(ids, attention_mask=seen).last_hidden_state.float()

    def text_condition(self, texts: list[str], negative: bool = False) -> dict[str, Tensor]:
        """{"context": [N, 77, D]}."""
        return {"context": self.text_tokens(texts)}
