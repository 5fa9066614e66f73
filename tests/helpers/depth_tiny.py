"""A tiny random depth-text network with the topology of Stable Diffusion 2: 16 self-attentions, 5 input channels."""

from __future__ import annotations

import hashlib

import torch

from helpers.public_tiny import seeded

WIDTH, SIDE, SHRINK = 12, 16, 2  # of the words; of the latents; pictures are SIDE * SHRINK pixels
TOPOLOGY = {
    "sample_size": SIDE // 2, "out_channels": 4, "layers_per_block": 2, "norm_num_groups": 4,
    "block_out_channels": (8, 8, 16, 16), "attention_head_dim": (1, 1, 2, 2), "use_linear_projection": True,
    "down_block_types": ("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
    "up_block_types": ("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
}


class Words:
    """Contexts that depend on the text, and only on it."""

    def text_condition(self, texts, negative=False):
        seeds = [int.from_bytes(hashlib.sha256(t.encode()).digest()[:4], "big") for t in texts]
        return {"context": torch.stack([torch.randn(3, WIDTH, generator=torch.Generator().manual_seed(s)) for s in seeds])}


def unet(channels: int = 5, seed: int = 1):
    from diffusers import UNet2DConditionModel

    build = UNet2DConditionModel(in_channels=channels, cross_attention_dim=WIDTH, **TOPOLOGY)
    return seeded(lambda: build, seed).requires_grad_(False)


def vae():
    from diffusers import AutoencoderKL

    return seeded(lambda: AutoencoderKL(
        in_channels=3, out_channels=3, latent_channels=4, sample_size=16, block_out_channels=(8, 8), layers_per_block=1,
        norm_num_groups=4, down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2), 2
    ).requires_grad_(False)


def network(channels: int = 5, prediction: str = "epsilon"):
    """A DepthTextDenoiser (5 channels) or TextDenoiser (4)."""
    from lift123.pipelines.networks.depth_text import DepthTextDenoiser
    from lift123.pipelines.networks.latent import LatentRuntime
    from lift123.pipelines.networks.noise import scaled_linear_alphas
    from lift123.pipelines.networks.text import TextDenoiser

    runtime = LatentRuntime(unet(channels), vae(), scaled_linear_alphas(), prediction, SIDE * SHRINK)
    return (DepthTextDenoiser if channels == 5 else TextDenoiser)(runtime, Words())


def scene(seed: int = 0, count: int = 1):
    """(pictures [B, S, S, 3], depth channels [B, 1, SIDE, SIDE], masks [B, S, S]) of smooth random blobs."""
    g, size = torch.Generator().manual_seed(seed), SIDE * SHRINK
    smooth = torch.nn.functional.interpolate(torch.rand(count, 3, 4, 4, generator=g), (size, size), mode="bicubic").clamp(0, 1)
    depth = torch.nn.functional.interpolate(torch.rand(count, 1, 4, 4, generator=g), (SIDE, SIDE), mode="bilinear") * 2 - 1
    y, x = torch.meshgrid(*[torch.linspace(-1, 1, size)] * 2, indexing="ij")
    mask = ((x**2 + y**2) < 0.6).float().expand(count, -1, -1)
    return smooth.movedim(1, -1), depth, mask
