"""Random numbers that depend on seed, stage and step only: resumed runs need no generator's state."""

from __future__ import annotations

from typing import overload

import torch


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
