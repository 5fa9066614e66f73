"""The small canonicalizer and multi-view network of the pack: the published classes in 64 x 40 pixels.

What differs from the published ones is configuration: squares of 2 x 2 pixels for latents (toy characters and normal maps
are nothing that the pack's autoencoder knows), prompts of one learned token, no CLIP (zeros), no pose heads, no guidance,
and one step: trained mostly at pure noise, they are regressions, and further steps add more grain than detail (cards).
The canonicalizer starts from random numbers where the published one starts from Stable Diffusion, whose features know what
and where they are; so that its attention finds the reference at all, cells carry a code of their place, and training
begins with attention to what is alike (:func:`start_alike`).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from ..core.modules import AnyModule
from ..networks.attention import self_attentions
from ..networks.stdgen.canonical import Canonicalizer, ReferencePair, build_main, build_reference
from ..networks.stdgen.codec import PixelCodec
from ..networks.stdgen.conditions import DOMAINS
from ..networks.stdgen.copying import Copying, PictureCopy, RowCopy
from ..networks.stdgen.multiview import VIEWS, MultiView, build_multiview
from ..networks.stdgen.schedule import ZERO_SNR
from ..networks.stdgen.slrm import Slrm
from ..networks.stdgen.vision import NoVision
from .embedded import FOLDER, load_built
from .embedded_slrm import load_small_slrm

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
}
SMALL_MULTIVIEW = {
    **_SHAPES, "in_channels": 2 * CHANNELS, "block_out_channels": (40, 80, 128), "num_views": VIEWS,
    "projection_class_embeddings_input_dim": 2 * CONTEXT,
}
SMALL_CANONICAL = {
    **_SHAPES, "in_channels": CHANNELS, "block_out_channels": (32, 64, 88), "num_views": 1, "attention_head_dim": (1, 2, 4),
    "up_block_types": ("CrossAttnUpBlockMV2D",) * 3,  # the last one copies what is as fine as the latents
}
COPIES = "copy.sharpness"  # a tensor of networks that copy
ALIKE = 2.0  # gain of the queries that training starts with
MULTIVIEW_FILE, CANONICAL_FILE = "stdgen_multiview.safetensors", "stdgen_canonical.safetensors"


class SmallMultiView(torch.nn.Module):
    """The UNet with its prompts [2, 6, 1, CONTEXT] and its copying, untrained; what is trained and saved together.

    copies: False for files of before it copied.
    """

    def __init__(self, copies: bool = True):
        super().__init__()
        self.copy = RowCopy(CHANNELS, SHRINK, VIEWS, SCHEDULE) if copies else None
        self.unet = build_multiview(answering(SMALL_MULTIVIEW, self.copy))
        self.prompts = torch.nn.Parameter(torch.randn(len(DOMAINS), VIEWS, WORDS, CONTEXT))


def answering(config: dict, copy: Copying | None) -> dict:
    """A UNet's configuration whose last layer also answers what ``copy`` asks for."""
    return config if copy is None else {**config, "out_channels": CHANNELS + copy.extra}


class PlacedConv(torch.nn.Module):
    """A UNet's first convolution, and a learned code of each cell's place that is added to its answer.

    place: [1, C, H, W], begun as sines and cosines of the cell's coordinates with rising frequency (Mildenhall et al. 2020).
    """

    def __init__(self, conv: AnyModule, height: int, width: int):
        super().__init__()
        self.conv, self.place = conv, torch.nn.Parameter(0.5 * place_code(conv.out_channels, height, width)[None])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(x) + self.place


def place_code(channels: int, height: int, width: int) -> torch.Tensor:
    """[channels, height, width] in [-1, 1]: sin and cos of x and of y (-1 to 1 over the height), four channels a frequency.

    Frequencies rise from pi / 2 by 2^(16 / channels) each, up to less than 8 pi.
    """
    y, x = torch.meshgrid(torch.linspace(-1, 1, height), torch.linspace(-1, 1, width) * width / height, indexing="ij")
    octaves = -(-channels // 4)
    waves = [torch.pi / 2 * 2 ** (4 * k / octaves) for k in range(octaves)]
    return torch.stack([f(w * u) for w in waves for u in (x, y) for f in (torch.sin, torch.cos)])[:channels]


def build_small_pair(size: tuple[int, int] = SMALL_SIZE, copies: bool = True) -> ReferencePair:
    """Main and reference UNet of the small canonicalizer, untrained; size: pixels, height and width.

    copies: False for files of before it copied.
    """
    cells = [side // SHRINK for side in size]
    copy = PictureCopy(CHANNELS, SHRINK, SMALL_CANONICAL["block_out_channels"][0], SCHEDULE) if copies else None
    pair = ReferencePair(build_main(answering(SMALL_CANONICAL, copy)), build_reference(SMALL_CANONICAL), copy)
    for unet in (pair.unet, pair.reference):
        unet.conv_in = PlacedConv(unet.conv_in, *cells)
    return pair


@torch.no_grad()
def start_alike(pair: ReferencePair) -> None:
    """Before training: makes each cell attend to the cells like it, those at its own place first.

    Keys are projected as queries are, and the reference UNet begins as a copy of the main one, which hardly looks at the
    noise yet.  From there the network had every garment's color after 600 steps of training; with independent random
    projections a like one, without attention at the finest level, still answered in shades of gray after 800.
    """
    pair.unet.conv_in.conv.weight.mul_(0.1)
    for name in self_attentions(pair.unet):
        layer = pair.unet.get_submodule(name)
        layer.to_q.weight.mul_(ALIKE)
        layer.to_k.weight.copy_(layer.to_q.weight)
    looks = pair.reference.conv_in.conv.weight.clone()
    main = pair.unet.state_dict()
    pair.reference.load_state_dict({name: main[name] for name in pair.reference.state_dict()})
    pair.reference.conv_in.conv.weight.copy_(looks)


def load_small_multiview(device: torch.device | str = "cpu", folder: Path = FOLDER) -> MultiView:
    """The multi-view network that ships with the pack, frozen, float32; InputError when its file is not in ``folder``."""
    nets = load_built(lambda names: SmallMultiView(COPIES in names), Path(folder) / MULTIVIEW_FILE, device)
    return MultiView(nets.unet, PixelCodec(SHRINK), NoVision(CONTEXT), nets.prompts.detach(), SCHEDULE, SMALL_SIZE,
                     guidance=1.0, steps=STEPS, eta=0.0, soft=True, copy=nets.copy)


def load_small_canonical(device: torch.device | str = "cpu", folder: Path = FOLDER,
                         size: tuple[int, int] = SMALL_SIZE) -> Canonicalizer:
    """The canonicalizer that ships with the pack, frozen, float32; InputError when its file is not in ``folder``.

    size: pixels, height and width, that it was trained at.
    """
    pair = load_built(lambda names: build_small_pair(size, COPIES in names), Path(folder) / CANONICAL_FILE, device)
    texts = torch.zeros(2, WORDS, CONTEXT, device=device)
    codec = PixelCodec(SHRINK)
    return Canonicalizer(pair.unet, pair.reference, codec, NoVision(CONTEXT), texts, SCHEDULE, size,
                         guidance=1.0, steps=STEPS, copy=pair.copy, mirror=codec.mirrored)


@dataclass(frozen=True)
class EmbeddedCharacterModels:
    """Everything StdGEN's quickstart needs; all frozen, float32, on one device."""

    canonical: Canonicalizer
    multiview: MultiView
    slrm: Slrm


def load_embedded_characters(device: torch.device | str = "cpu", folder: Path = FOLDER) -> EmbeddedCharacterModels:
    """All three networks; InputError when a file is not there."""
    return EmbeddedCharacterModels(
        load_small_canonical(device, folder), load_small_multiview(device, folder), load_small_slrm(device, folder)
    )
