"""The small canonicaliser (none ships yet) and multi-view network of the pack: the published classes in 64 x 40 pixels.

What differs from the published ones is configuration: squares of 2 x 2 pixels for latents (toy characters and normal maps
are nothing that the pack's autoencoder knows), prompts of one learnt token, no CLIP (zeros), no pose heads, no guidance,
and one step: trained mostly at pure noise, they are regressions, and further steps add more grain than detail (cards).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from ...core.errors import InputError
from ..embedded import FOLDER, load_module
from .canonical import Canonicaliser, ReferencePair, build_main, build_reference
from .codec import PixelCodec
from .conditions import DOMAINS
from .multiview import VIEWS, MultiView, build_multiview
from .schedule import ZERO_SNR
from .vision import NoVision

SMALL_SIZE = (64, 40)  # pixels, height and width; the window is the published one, 24 columns narrower than high
SHRINK = 2
STEPS, TRAINED_STEPS = 1, 4
TIMES = (999, 749, 499, 249)  # of TRAINED_STEPS trailing steps of 1000
CONTEXT = 32  # width of prompts, texts and image tokens
WORDS = 1  # tokens of a prompt
CHANNELS = 3 * SHRINK**2
SCHEDULE = {**ZERO_SNR, "set_alpha_to_one": True}  # pixels show the noise that an autoencoder would swallow
_SHAPES = {
    "sample_size": 32, "out_channels": CHANNELS, "layers_per_block": 1, "norm_num_groups": 8, "attention_head_dim": 4,
    "cross_attention_dim": CONTEXT, "use_linear_projection": True, "class_embed_type": "projection",
    "down_block_types": ("DownBlock2D",) + ("CrossAttnDownBlockMV2D",) * 2, "mid_block_type": "UNetMidBlockMV2DCrossAttn",
    "up_block_types": ("CrossAttnUpBlockMV2D",) * 2 + ("UpBlock2D",),
}  # fmt: skip
SMALL_MULTIVIEW = {
    **_SHAPES, "in_channels": 2 * CHANNELS, "block_out_channels": (40, 80, 128), "num_views": VIEWS,
    "projection_class_embeddings_input_dim": 2 * CONTEXT,
}  # fmt: skip
SMALL_CANONICAL = {**_SHAPES, "in_channels": CHANNELS, "block_out_channels": (32, 64, 88), "num_views": 1}
MULTIVIEW_FILE, CANONICAL_FILE = "stdgen_multiview.safetensors", "stdgen_canonical.safetensors"


class SmallMultiView(torch.nn.Module):
    """The UNet with its prompts [2, 6, 1, CONTEXT], untrained; what is trained and saved together."""

    def __init__(self):
        super().__init__()
        self.unet = build_multiview(SMALL_MULTIVIEW)
        self.prompts = torch.nn.Parameter(torch.randn(len(DOMAINS), VIEWS, WORDS, CONTEXT))


def build_small_pair() -> ReferencePair:
    """Main and reference UNet of the small canonicaliser, untrained."""
    return ReferencePair(build_main(SMALL_CANONICAL), build_reference(SMALL_CANONICAL))


@dataclass(frozen=True)
class EmbeddedMultiView:
    """The multi-view network that ships with the pack; folder: where its file lies."""

    folder: Path = FOLDER

    def load(self, device="cpu") -> MultiView:
        """Frozen, float32; InputError when the file is not there."""
        nets = load_module(SmallMultiView(), Path(self.folder) / MULTIVIEW_FILE, device)
        return MultiView(nets.unet, PixelCodec(SHRINK), NoVision(CONTEXT), nets.prompts.detach(), SCHEDULE, SMALL_SIZE,
                         guidance=1.0, steps=STEPS, eta=0.0, soft=True)


@dataclass(frozen=True)
class EmbeddedCanonical:
    """The small canonicaliser, once trained; folder: where its file lies."""

    folder: Path = FOLDER

    def load(self, device="cpu") -> Canonicaliser:
        """Frozen, float32; InputError when the file is not there, as in the pack itself: it is not good enough yet."""
        if not (Path(self.folder) / CANONICAL_FILE).is_file():
            raise InputError("canonicaliser", f"the file {CANONICAL_FILE}", "none: no small canonicaliser ships yet",
                             "Wire an A-pose picture straight into Character Multi-View, or use Load Canonicaliser.")
        pair = load_module(build_small_pair(), Path(self.folder) / CANONICAL_FILE, device)
        texts = torch.zeros(2, WORDS, CONTEXT, device=device)
        return Canonicaliser(pair.unet, pair.reference, PixelCodec(SHRINK), NoVision(CONTEXT), texts, SCHEDULE, SMALL_SIZE,
                             guidance=1.0, steps=STEPS)
