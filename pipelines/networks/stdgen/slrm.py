"""S-LRM: six pictures of a character become one field of distance, color and semantics (StdGEN, Sec. 3.2; S-C)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from ...core.errors import InputError
from .slrm_config import IMAGE_MEAN, IMAGE_STD, SlrmConfig
from .slrm_decoder import SlrmDecoder
from .slrm_encoder import SlrmEncoder
from .slrm_frames import six_camera_rows
from .slrm_transformer import TriplaneTransformer

VIEWS = 6


class Slrm(torch.nn.Module):
    """Encoder, transformer and decoders; the attributes' names are those of the released file."""

    def __init__(self, config: SlrmConfig):
        super().__init__()
        self.config = config
        self.encoder = SlrmEncoder(config.encoder)
        self.transformer = TriplaneTransformer(config)
        self.synthesizer = torch.nn.ModuleDict({"decoder": SlrmDecoder(config)})

    @property
    def decoder(self) -> SlrmDecoder:
        """The decoders."""
        return cast(SlrmDecoder, self.synthesizer["decoder"])

    def forward(self, images: Tensor, cameras: Tensor | None = None) -> Tensor:
        """[B, 6, 3, S, S] prepared pictures and their cameras [B, 6, 16] -> triplanes [B, 3, C, P, P].

        cameras: None for the six standard views.
        """
        if cameras is None:
            cameras = six_camera_rows().to(images).expand(len(images), -1, -1)
        return self.transformer(self.encoder(images, cameras))

    def prepare(self, color: Tensor) -> Tensor:
        """[..., 6, H, W, 3] sRGB in [0, 1] on white -> [..., 6, 3, S, S] as the encoder expects them."""
        size = self.config.encoder.image_size
        x = color.reshape(-1, *color.shape[-3:]).permute(0, 3, 1, 2).float()
        if x.shape[-2:] != (size, size):
            x = torch.nn.functional.interpolate(x, (size, size), mode="bicubic", align_corners=False, antialias=True)
        mean, std = (x.new_tensor(v).reshape(3, 1, 1) for v in (IMAGE_MEAN, IMAGE_STD))
        x = (x.clamp(0, 1) - mean) / std
        return x.reshape(*color.shape[:-3], 3, size, size)

    @torch.no_grad()
    def triplane(self, color: Tensor) -> Tensor:
        """[6, H, W, 3] sRGB in [0, 1] on white, in the standard order -> planes [1, 3, C, P, P], float32.

        InputError for another number of pictures, and for pictures that are not square.
        """
        check_pictures(color)
        weight = self.transformer.pos_embed
        images = self.prepare(color.to(weight.device))[None].to(weight.dtype)
        return self(images).float()


def check_pictures(color: Tensor) -> None:
    """InputError unless ``color`` is [6, H, H, 3] of finite numbers."""
    shape = tuple(color.shape)
    if color.ndim != 4 or shape[0] != VIEWS or shape[-1] != 3:
        raise InputError(
            "views",
            "six color pictures: front, front right, right, back, left, front left",
            f"a tensor of shape {shape}",
            "Give one picture per view, in this order.",
        )
    if shape[1] != shape[2]:
        raise InputError(
            "views",
            "square pictures",
            f"{shape[2]} x {shape[1]} pixels",
            "Pad them with white at the left and right; the figure must stay centered.",
        )
    if not bool(torch.isfinite(color).all()):
        raise InputError("views", "finite colors", "NaN or infinite values", "Make the views again.")


@dataclass(frozen=True)
class SlrmFile:
    """A loaded network and what was noticed about its file, for people."""

    network: Slrm
    report: list[str]
