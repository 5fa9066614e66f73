"""Devices that work beside the host: what the host asks them for, it has to wait for.

A step on a GPU is quick only while the host runs ahead and never asks for a number.  So code that would ask (how many
pixels are covered, is every gradient finite) asks :func:`far` first: on the CPU it looks at once, as there is nothing to
wait for; far away it goes without, or puts the question off (``core/doubts.py``).

``pretending`` makes every device far, so that the way a GPU goes runs, is tested and is counted on a CPU
(``benchmarks/bench_host_cost.py``).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor

_pretended: ContextVar[bool] = ContextVar("lift123_far", default=False)


def far(device: torch.device | str) -> bool:
    """Whether the host has to wait for whatever it asks ``device``."""
    return _pretended.get() or torch.device(device).type != "cpu"


@contextmanager
def pretending() -> Iterator[None]:
    """Inside, every device is far."""
    token = _pretended.set(True)
    try:
        yield
    finally:
        _pretended.reset(token)


def send(tensor: Tensor, like: Tensor | torch.device | str) -> Tensor:
    """A small tensor of the host on another device (and of the type of ``like``), without waiting for that device.

    The driver copies pageable memory aside before the call returns, so the original may change afterwards.
    """
    device = like.device if isinstance(like, Tensor) else torch.device(like)
    kind = like.dtype if isinstance(like, Tensor) else tensor.dtype
    return tensor.to(device, kind, non_blocking=far(device))  # towards the host only a copy that waits is complete


def select(mask: Tensor, count: int) -> Tensor:
    """[count] int64 ascending places where a flat ``mask`` is true, for a count that is known: nobody has to wait.

    The count must be the true one.
    """
    if not far(mask.device):
        return mask.nonzero()[:, 0]
    slots = torch.where(mask, mask.cumsum(0) - 1, count)
    places = torch.empty(count + 1, dtype=torch.int64, device=mask.device)
    return places.scatter_(0, slots, torch.arange(len(mask), device=mask.device))[:count]


def ask(*numbers: Tensor) -> list[int]:
    """The values of whole or boolean scalars, for the price of one wait."""
    return torch.stack([number.long() for number in numbers]).tolist()
