"""StdGEN's canonicalizer (He et al. 2025, Sec. 3.1): any pose -> A-pose, with a reference UNet (S-A).

Both UNets are Stable Diffusion 2.1's.  The reference UNet reads the given picture, clean, at the main UNet's time;
the main UNet's self-attentions also attend to what it saw.  The CLIP embedding of the picture is the main UNet's only
context token.  The published files also hold a class and a camera embedding that nothing uses (S-A.2).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from ...core.modules import AnyModule
from ..attention import self_attentions
from ..towers import PictureEncoder
from .attention import LastNorm, SingleKey, look, share_reference
from .codec import Codec
from .copying import PictureCopy
from .unet_config import diffusers_options

SIZE = (1024, 640)  # of the pictures, height and width
CANONICAL_CONFIG = {
    "sample_size": 96, "in_channels": 4, "out_channels": 4, "layers_per_block": 2, "block_out_channels": (320, 640, 1280, 1280),
    "attention_head_dim": (5, 10, 20, 20), "cross_attention_dim": 1024, "use_linear_projection": True,
    "class_embed_type": "projection",
    "down_block_types": ("CrossAttnDownBlockMV2D",) * 3 + ("DownBlock2D",), "mid_block_type": "UNetMidBlockMV2DCrossAttn",
    "up_block_types": ("UpBlock2D",) + ("CrossAttnUpBlockMV2D",) * 3,
}


def build_main(config: dict) -> AnyModule:
    """The main UNet of a (published or small) configuration, untrained; its reads want :func:`share_reference`."""
    from diffusers import UNet2DConditionModel

    unet = cast(AnyModule, UNet2DConditionModel(**diffusers_options(config)))
    for name in self_attentions(unet):
        unet.get_submodule(name[:-1] + "2").processor = SingleKey()
    return unet


def build_reference(config: dict) -> AnyModule:
    """The reference UNet, untrained, without anything behind its last self-attention's norm."""
    from diffusers import UNet2DConditionModel

    unet = cast(AnyModule, UNet2DConditionModel(**diffusers_options(config)))
    path = self_attentions(unet)[-1].split(".")  # up_blocks.i.attentions.j.transformer_blocks.k.attn1
    up, transformer = unet.up_blocks[int(path[1])], unet.up_blocks[int(path[1])].attentions[int(path[3])]
    blocks = transformer.transformer_blocks
    blocks[int(path[5])] = LastNorm(blocks[int(path[5])].norm1)
    transformer.proj_out = torch.nn.Identity()
    up.upsamplers = None
    for later in range(int(path[1]) + 1, len(unet.up_blocks)):
        unet.up_blocks[later] = torch.nn.Identity()
    unet.conv_norm_out, unet.conv_out = None, torch.nn.Identity()
    return unet


class ReferencePair(torch.nn.Module):
    """Main and reference UNet, connected; what is trained together."""

    def __init__(self, unet: AnyModule, reference: AnyModule, copy: PictureCopy | None = None):
        super().__init__()
        self.unet, self.reference, self.copy = unet, reference, copy
        share_reference(unet, reference)

    def forward(self, noisy: Tensor, t, token: Tensor, seen: Tensor, text: Tensor) -> Tensor:
        """The main UNet's answer [B, C, h, w].

        noisy, seen: [B, C, h, w] noisy and clean reference latents; t: time; token: [B, 1, D]; text: [B, L, D].
        """
        return run_pair(self.unet, self.reference, noisy, t, token, seen, text, self.copy)


def run_pair(unet: AnyModule, reference: AnyModule, noisy: Tensor, t, token: Tensor, seen: Tensor, text: Tensor,
             copy: PictureCopy | None = None) -> Tensor:
    """The answer of connected UNets, see :class:`ReferencePair`; copy: of a small one that takes pixels from the picture."""
    tokens = look(reference, seen, t, text)
    answer = unet(noisy, t, token).sample
    return answer if copy is None else copy(answer, noisy, t, seen, tokens)


@dataclass(frozen=True)
class Seen:
    """What the network knows of one picture: reference latents [1, C, h, w] and context token [1, 1, D]."""

    latents: Tensor
    token: Tensor


@dataclass(frozen=True)
class Canonicalizer:
    """The whole network, frozen.  ``unet`` and ``reference`` share ``tokens``.

    codec: pictures <-> latents; vision: ``image_embedding``; texts: [2, L, D], of the empty and of the quality prompt.
    schedule: settings of the DDIM sampler; size: (height, width) of its pictures, pixels.
    copy: takes pixels from the picture, or None.  mirror: latents -> those of the mirrored picture, where the answer is to be
    the mean of both ways round: a figure's A-pose does not depend on which.
    """

    unet: AnyModule
    reference: AnyModule
    codec: Codec
    vision: PictureEncoder
    texts: Tensor
    schedule: dict
    size: tuple[int, int] = SIZE
    guidance: float = 5.0
    steps: int = 40
    copy: PictureCopy | None = None
    mirror: Callable[[Tensor], Tensor] | None = None

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """(channels, height, width)."""
        return (self.codec.channels, self.size[0] // self.codec.shrink, self.size[1] // self.codec.shrink)

    @torch.no_grad()
    def see(self, picture: Tensor) -> Seen:
        """picture: [H, W, 3] sRGB on white, of ``size``."""
        return Seen(self.codec.encode(picture[None]), self.vision.image_embedding(picture[None])[:, None])

    def decode(self, latents: Tensor) -> Tensor:
        """Latents [B, C, h, w] -> pictures [B, H, W, 3] sRGB in [0, 1]."""
        return self.codec.decode(latents)

    @torch.no_grad()
    def predict(self, noisy: Tensor, t: int, seen: Seen, guidance: float) -> Tensor:
        """u + s (c - u) of the main UNet's answers for noisy latents [1, C, h, w], float32 (Ho and Salimans 2022).

        Both halves see the reference picture; they differ in the context token (zeros) and in the reference's prompt.
        """
        if self.mirror is None:
            return self._guided(noisy, t, seen.latents, seen.token, guidance)
        ways = [torch.cat([x, self.mirror(x)]) for x in (noisy, seen.latents)]
        answer, mirrored = self._guided(ways[0], t, ways[1], seen.token, guidance).chunk(2)
        return (answer + self.mirror(mirrored)) / 2

    def _guided(self, noisy: Tensor, t: int, given: Tensor, token: Tensor, guidance: float) -> Tensor:
        """noisy, given: [B, C, h, w]; token: [1, 1, D]."""
        both, count = guidance != 1.0, len(given)
        token = torch.cat([torch.zeros_like(token), token]) if both else token
        text = self.texts if both else self.texts[1:]
        kind, halves = next(self.unet.parameters()).dtype, len(token)
        noisy, given = (x.to(kind).repeat(halves, 1, 1, 1) for x in (noisy, given))
        token, text = (x.to(kind).repeat_interleave(count, 0) for x in (token, text))
        answer = run_pair(self.unet, self.reference, noisy, t, token, given, text, self.copy).float()
        if not both:
            return answer
        without, conditional = answer.chunk(2)
        return without + guidance * (conditional - without)
