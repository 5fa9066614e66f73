"""How a time is chosen within a prior's range, over a stage's progress.

uniform   drawn evenly (DreamFusion).
annealed  from the highest to the lowest, in a straight line.
root      from the highest to the lowest by the square root of progress (HiFA, Zhu et al. 2023, Sec. 4.2).
dreamtime weighted and monotone (DreamTime, Huang et al. 2023, Eq. 6 and 7): as much of the stage is spent at a time as
          W(t) says, which is 1 between 500 and 800 and falls to both sides.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

HIGH, LOW, HIGH_WIDTH, LOW_WIDTH = 0.8, 0.5, 0.3, 0.1  # m1, m2, s1, s2 over the schedule's 1000 times


def choose_times(kind: str, low: int, high: int, count: int, progress: float, generator: torch.Generator,
                 steps: int) -> Tensor:
    """[count] integer times in low .. high (inclusive) of a schedule with ``steps`` times; only "uniform" draws."""
    if kind == "uniform":
        return torch.randint(low, high + 1, (count,), generator=generator)
    if kind == "dreamtime":
        return torch.full((count,), dreamtime(low, high, steps, progress))
    spent = progress**0.5 if kind == "root" else progress
    return torch.full((count,), round(high - (high - low) * min(max(spent, 0.0), 1.0)))


def dreamtime(low: int, high: int, steps: int, progress: float) -> int:
    """The time whose share of the weights above it comes closest to ``progress``."""
    above = _above(low, high, steps)
    return low + int((above - progress).abs().argmin())


@lru_cache(maxsize=32)
def _above(low: int, high: int, steps: int) -> Tensor:
    """[high - low + 1]: sum of W over the times from each one up, over the sum of all."""
    t = torch.arange(low, high + 1, dtype=torch.float64) / steps
    upper, lower = (t - HIGH).clamp_min(0), (LOW - t).clamp_min(0)
    weights = torch.exp(-0.5 * (upper / HIGH_WIDTH) ** 2 - 0.5 * (lower / LOW_WIDTH) ** 2)
    return weights.flip(0).cumsum(0).flip(0) / weights.sum()
