"""DDIM inversion (Song et al. 2021) of clean latents up to a time of each row, as ISM and SDI use it."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Ask = Callable[[Tensor, Tensor], Tensor]


def invert(latents: Tensor, t: Tensor, stride: int, alphas: Tensor, ask: Ask) -> Tensor:
    """The state [B, C, h, w] at times ``t`` [B] >= 0 of the trajectory that ends in ``latents``, in steps of ``stride``.

    ask(x, t [B]) -> eps_hat.  The clean latents count as abar = 1 and are asked about at time 0; so many evaluations
    as the highest time has strides.
    """
    x, now = latents, torch.zeros_like(t)
    a = torch.ones_like(latents[:, :1, :1, :1])
    for _ in range(-(-int(t.max()) // stride)):
        after = torch.minimum(now + stride, t)
        there = alphas.to(latents)[after][:, None, None, None]
        x, a, now = torch.where((after > now)[:, None, None, None], step(x, a, there, ask(x, now)), x), there, after
    return x


def step(x: Tensor, here: Tensor, there: Tensor, eps: Tensor) -> Tensor:
    """The state at ``there`` of a state at ``here`` (abar [B, 1, 1, 1]) whose noise is ``eps``."""
    clean = (x - (1 - here).sqrt() * eps) / here.sqrt()
    return there.sqrt() * clean + (1 - there).sqrt() * eps
