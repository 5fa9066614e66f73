"""A tiny S-LRM with filled weights, shared by tests."""

from __future__ import annotations

import torch
from lift123.pipelines.networks.stdgen.slrm import Slrm
from lift123.pipelines.networks.stdgen.slrm_config import EncoderConfig, SlrmConfig
from lift123.pipelines.ops.flexicubes import CubeGrid

TINY = SlrmConfig(
    encoder=EncoderConfig(image_size=24, patch=4, base_grid=4, width=16, layers=2, heads=2, hidden=24),
    width=24, layers=2, heads=3, plane_tokens=4, plane_channels=5, decoder_width=12, lora_rank=3,
    grid=CubeGrid((7, 8, 9), (-0.7, -0.7, -1.05), (0.7, 0.7, 1.05)),
)


def filled(config: SlrmConfig, seed: int = 0, scale: float = 0.3) -> Slrm:
    """A network whose every weight is random, LoRA's second halves included."""
    generator = torch.Generator().manual_seed(seed)
    network = Slrm(config).eval()
    with torch.no_grad():
        for name, value in network.named_parameters():
            base = 1.0 if "norm" in name and name.endswith("weight") else 0.0
            value.copy_(base + scale * torch.randn(value.shape, generator=generator))
    return network
