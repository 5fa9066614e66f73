"""StdGEN's and Era3D's multi-view network (Li et al. 2024; He et al. 2025): one picture -> six views, color and normals.

Stable Diffusion 2.1's UNet with joint and row-wise attention; S-B.  Every batch holds the normals of all views first,
then their colors; with guidance each half is the unconditional pictures, then the conditional ones.  View and domain
are told by fixed prompts, the peel level by the class vector.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from ...core.errors import InputError
from ...core.modules import AnyModule
from ...core.ortho import VIEW_NAMES
from ..towers import PictureEncoder
from .attention import add_row_attention
from .codec import Codec
from .conditions import DOMAINS, add_pose_heads, class_vector, unclip_noise
from .copying import RowCopy
from .unet_config import diffusers_options

SIZE, STOCK_SIZE = (1024, 576), (512, 512)  # of the pictures, height and width
VIEWS = len(VIEW_NAMES)
REMEDY = "Choose the folder StdGEN-multiview-1024, or Era3D's 6-view folder with the node for stock Era3D."
MULTIVIEW_CONFIG = {
    "sample_size": 64, "in_channels": 8, "out_channels": 4, "layers_per_block": 2, "block_out_channels": (320, 640, 1280, 1280),
    "attention_head_dim": (5, 10, 20, 20), "cross_attention_dim": 1024, "use_linear_projection": True,
    "class_embed_type": "projection", "projection_class_embeddings_input_dim": 2048, "num_views": VIEWS,
    "regress_elevation": True, "regress_focal_length": True, "num_regress_blocks": 3,
    "projection_camera_embeddings_input_dim": 4,
    "down_block_types": ("CrossAttnDownBlockMV2D",) * 3 + ("DownBlock2D",), "mid_block_type": "UNetMidBlockMV2DCrossAttn",
    "up_block_types": ("UpBlock2D",) + ("CrossAttnUpBlockMV2D",) * 3,
}


def build_multiview(config: dict) -> AnyModule:
    """The UNet of a (published or small) configuration, untrained; ``view_grid`` wants the latents' size before a pass.

    ``pose_heads`` is None where the configuration has no regressors (Era3D's -ortho release).
    """
    from diffusers import UNet2DConditionModel

    heads = bool(config.get("regress_elevation")), bool(config.get("regress_focal_length"))
    if heads[0] != heads[1] or config.get("num_views", VIEWS) != VIEWS:
        raise InputError("checkpoint", f"{VIEWS} views, and both pose heads or none",
                         f"{config.get('num_views')} views, heads {heads}", REMEDY)
    unet = cast(AnyModule, UNet2DConditionModel(
        **diffusers_options(config), class_embed_type="projection",
        projection_class_embeddings_input_dim=config["projection_class_embeddings_input_dim"]))
    unet.view_grid, unet.pose_heads = add_row_attention(unet, VIEWS), None
    if heads[0]:
        unet.pose_heads = add_pose_heads(unet, VIEWS, config.get("num_regress_blocks", 3),
                                         config.get("projection_camera_embeddings_input_dim", 4))
    return unet


def run_unet(unet: AnyModule, x: Tensor, t, context: Tensor, labels: Tensor, copy: RowCopy | None = None) -> Tensor:
    """The network's answer [2 B V, C, h, w] to latents with their condition latents; sizes are passed on to the rows.

    copy: of a small network that takes pixels from the front as well.
    """
    unet.view_grid.set(*x.shape[2:])
    answer = unet(x, t, context, class_labels=labels).sample
    return answer if copy is None else copy(answer, x, t)


@dataclass(frozen=True)
class Shown:
    """What the network is shown: condition latents [1, C, h, w] and the picture's embedding [1, E]."""

    latents: Tensor
    embedding: Tensor


@dataclass(frozen=True)
class MultiView:
    """The whole network, frozen.

    codec: pictures <-> latents; vision: ``image_embedding``; prompts: [2, 6, L, D], of the two domains and six views.
    schedule: settings of the DDIM sampler; size: (height, width) of its pictures, pixels.
    stock: Era3D's own weights, which know no peel levels; normalizer: (mean, std) of embeddings [1, E], or None.
    soft: its pictures have blurred outlines; copy: takes pixels from the front, or None.
    """

    unet: AnyModule
    codec: Codec
    vision: PictureEncoder
    prompts: Tensor
    schedule: dict
    size: tuple[int, int] = SIZE
    stock: bool = False
    normalizer: tuple[Tensor, Tensor] | None = None
    guidance: float = 3.0
    steps: int = 40
    eta: float = 1.0
    soft: bool = False
    copy: RowCopy | None = None

    @property
    def latent_shape(self) -> tuple[int, int, int, int]:
        """(pictures, channels, height, width): normals of all views, then colors."""
        return (2 * VIEWS, self.codec.channels, self.size[0] // self.codec.shrink, self.size[1] // self.codec.shrink)

    @torch.no_grad()
    def show(self, picture: Tensor, generator: torch.Generator | None = None) -> Shown:
        """picture: [H, W, 3] sRGB on white, of ``size``; generator: draws un-CLIP's noise, None = none."""
        embedding = self.vision.image_embedding(picture[None])
        if generator is not None and self.normalizer is not None:
            embedding = unclip_noise(embedding, *self.normalizer, generator)
        return Shown(self.codec.encode(picture[None]), embedding)

    def decode(self, latents: Tensor) -> Tensor:
        """Latents [B, C, h, w] -> pictures [B, H, W, 3] sRGB in [0, 1]."""
        return self.codec.decode(latents)

    @torch.no_grad()
    def predict(self, noisy: Tensor, t: int, shown: Shown, level: int, guidance: float) -> Tensor:
        """u + s (c - u) for noisy latents [12, C, h, w] (normals, colors), float32.

        The unconditional half has zeros for condition latents and class vector, level code included.
        """
        kind = next(self.unet.parameters()).dtype
        label = class_vector(shown.embedding, None if self.stock else level)
        latents = shown.latents
        if guidance != 1.0:
            label, latents = torch.cat([torch.zeros_like(label), label]), torch.cat([torch.zeros_like(latents), latents])
        x, context, labels = assemble(noisy[None], latents, self.prompts, label)
        answer = run_unet(self.unet, x.to(kind), t, context.to(kind), labels.to(kind), self.copy).float()
        parts = answer.unflatten(0, (len(DOMAINS), -1, VIEWS))
        guided = parts[:, 0] if guidance == 1.0 else parts[:, 0] + guidance * (parts[:, 1] - parts[:, 0])
        return guided.flatten(0, 1)


def assemble(noisy: Tensor, latents: Tensor, prompts: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The network's input, context and class labels for B conditions.

    noisy: [B or 1, 12, C, h, w], normals of the six views and then colors; latents: [B, C, h, w]; prompts: [2, 6, L, D];
    labels: [B, 2 E].  Returns [12 B, 2 C, h, w], [12 B, L, D] and [12 B, 2 E] in the network's order (domain, condition,
    view).
    """
    count = len(latents)
    states = noisy.expand(count, *noisy.shape[1:]).unflatten(1, (len(DOMAINS), VIEWS)).transpose(0, 1)
    shown = latents[None, :, None].expand(len(DOMAINS), -1, VIEWS, -1, -1, -1)
    context = prompts[:, None].expand(-1, count, -1, -1, -1)
    told = labels[None, :, None].expand(len(DOMAINS), -1, VIEWS, -1)
    return torch.cat([states, shown], 3).flatten(0, 2), context.flatten(0, 2), told.flatten(0, 2)
