"""The smoothest two-part split of a picture: a minimal cut through its pixels, as a convex problem."""

from __future__ import annotations

import torch
from torch import Tensor

STEPS = ((0, 1), (1, 0), (1, 1), (1, -1))  # to the four neighbors that no other pixel counts
PRIMAL, DUAL = 0.35, 0.35 / 2  # step sizes; their product times 16, the largest squared gain of the differences, stays below 1


def neighbor_weights(colors: Tensor, gamma: float) -> list[Tensor]:
    """Cost of a border between each pixel of [H, W, C] and its neighbor, one [H - |dy|, W - |dx|] for each of STEPS.

    gamma over the distance, times exp(-d^2 / (2 <d^2>)) of the color difference d (Rother et al. 2004, Eq. 11): borders
    are cheap where colors change.
    """
    squares = [_difference(colors, step).square().sum(-1) for step in STEPS]
    mean = torch.cat([s.flatten() for s in squares]).mean().clamp_min(1e-8)
    return [gamma * (-s / (2 * mean)).exp() / (dy * dy + dx * dx) ** 0.5 for s, (dy, dx) in zip(squares, STEPS, strict=True)]


def minimal_cut(unary: Tensor, weights: list[Tensor], start: Tensor, rounds: int) -> Tensor:
    """u [H, W] in [0, 1] that minimizes sum(u * unary) + sum over neighbors of weight * |u - u'|.

    Almost all of u is 0 or 1, and u > 1/2 is a minimal cut (Chan, Esedoglu, Nikolova 2006).  unary: [H, W], what it costs
    to mark a pixel; start: a guess; rounds: of the primal-dual method of Chambolle and Pock (2011, Algorithm 1).
    """
    u, ahead = start.clone(), start.clone()
    flows = [torch.zeros_like(w) for w in weights]
    for _ in range(rounds):
        pull = unary.clone()
        for flow, weight, step in zip(flows, weights, STEPS, strict=True):
            flow.add_(_difference(ahead, step), alpha=DUAL)
            torch.minimum(torch.maximum(flow, -weight, out=flow), weight, out=flow)
            _spread(pull, flow, step)
        before, u = u, (u - PRIMAL * pull).clamp_(0, 1)
        ahead = 2 * u - before
    return u


def _ends(height: int, width: int, step: tuple[int, int]) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Where the first and the second pixels of all pairs at ``step`` lie."""
    dy, dx = step
    first = slice(0, height - dy), slice(max(0, -dx), width - max(0, dx))
    second = slice(dy, height), slice(max(0, dx), width - max(0, -dx))
    return first, second


def _difference(values: Tensor, step: tuple[int, int]) -> Tensor:
    first, second = _ends(values.shape[0], values.shape[1], step)
    return values[second] - values[first]


def _spread(pull: Tensor, flow: Tensor, step: tuple[int, int]) -> None:
    """Adds the adjoint of the differences of ``flow`` to ``pull``."""
    first, second = _ends(pull.shape[0], pull.shape[1], step)
    pull[second] += flow
    pull[first] -= flow
