"""Random numbers that depend on seed, stage and step only: resumed runs need no generator's state.

Repeatability: on the CPU every number comes from the generator that is handed in, so the same seed gives the same bytes.  On
another device few numbers (cameras, lights, times) still come from that CPU generator, and are therefore the same
everywhere; many (noise of latents, backgrounds and normals) come from a generator of the device whose seed is drawn from the
CPU's.  So the same seed gives the same numbers on the same kind of device, and others on another kind.
"""

from __future__ import annotations

from typing import overload

import torch
from torch import Tensor

from .far import far


def step_generator(seed: int, name: str, step: int) -> torch.Generator:
    """A CPU generator that depends on seed, stage and step only: resumed runs need no generator state."""
    mixed = (seed * 0x9E3779B97F4A7C15 + sum(ord(c) * 131**i for i, c in enumerate(name)) + step) % 2**64
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):  # splitmix64, Steele et al. 2014
        mixed = ((mixed ^ (mixed >> shift)) * factor) % 2**64
    return torch.Generator().manual_seed((mixed ^ (mixed >> 31)) % 2**63)


@overload
def on_device(generator: torch.Generator, device: torch.device) -> torch.Generator:
    """A generator for a generator."""


@overload
def on_device(generator: None, device: torch.device) -> None:
    """None for None."""


def on_device(generator: torch.Generator | None, device: torch.device) -> torch.Generator | None:
    """A generator on ``device`` that follows from a CPU generator (itself on the CPU)."""
    if generator is None or torch.device(device).type == "cpu":
        return generator
    seed = int(torch.randint(2**62, (1,), generator=generator))
    return torch.Generator(device).manual_seed(seed)


def normal(shape, generator: torch.Generator, like: Tensor) -> Tensor:
    """Normal noise of ``shape`` on the device and of the type of ``like``, drawn where it is needed."""
    if not far(like.device):
        return torch.randn(shape, generator=generator).to(like)
    return torch.randn(shape, generator=on_device(generator, like.device), device=like.device).to(like.dtype)


def uniform(shape, generator: torch.Generator, device: torch.device | str) -> Tensor:
    """Numbers of ``shape`` in [0, 1) on ``device``, drawn there."""
    if not far(device):
        return torch.rand(shape, generator=generator)
    return torch.rand(shape, generator=on_device(generator, torch.device(device)), device=device)
