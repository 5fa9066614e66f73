"""What every tensor that comes by wire has to be: numbers of its own, one after the other."""

from __future__ import annotations

import torch

from ..pipelines.core.errors import InputError

DARKEST, BRIGHTEST = -0.5, 1.5  # of pictures, masks and colors: filters overshoot by less, other ranges reach farther


def check_plain(name: str, value: torch.Tensor, expected: str) -> None:
    """InputError for a tensor that has no numbers of its own, or keeps them in another way than one after the other."""
    kind = "nested" if value.is_nested else "meta" if value.is_meta else "quantized" if value.is_quantized else \
        "" if value.layout is torch.strided else "sparse"
    if kind:
        raise InputError(name, expected, f"a {kind} tensor", "Check the node that made it: a plain tensor is needed.")
