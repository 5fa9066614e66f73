"""How likely colors are: mixtures of Gaussians of CIELAB colors, fitted without randomness."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

FLOOR = 2.0  # smallest standard deviation of a part, CIELAB units: what noise and compression leave
ROUNDS = 6  # of expectation and maximization


def to_lab(rgb: Tensor) -> Tensor:
    """[..., 3] CIELAB (D65) of sRGB in [0, 1]: lightness 0 to 100."""
    linear = torch.where(rgb > 0.04045, ((rgb + 0.055) / 1.055) ** 2.4, rgb / 12.92)
    matrix = rgb.new_tensor([[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750],
                             [0.0193339, 0.1191920, 0.9503041]])
    ratio = linear @ matrix.T / rgb.new_tensor([0.95047, 1.0, 1.08883])
    root = torch.where(ratio > (6 / 29) ** 3, ratio.clamp_min(1e-9) ** (1 / 3), ratio / (3 * (6 / 29) ** 2) + 4 / 29)
    x, y, z = root.unbind(-1)
    return torch.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], -1)


@dataclass(frozen=True)
class ColorModel:
    """A mixture of K Gaussians.  share: [K]; mean: [K, 3]; factor: [K, 3, 3], lower Cholesky factors of covariances."""

    share: Tensor
    mean: Tensor
    factor: Tensor

    def cost(self, colors: Tensor) -> Tensor:
        """-log density [...] of colors [..., 3], nats."""
        return -torch.logsumexp(self._parts(colors.reshape(-1, 3)), -1).reshape(colors.shape[:-1])

    def _parts(self, colors: Tensor) -> Tensor:
        away = colors[None] - self.mean[:, None]
        white = torch.linalg.solve_triangular(self.factor, away.mT, upper=False)
        log_det = self.factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        constant = self.share.clamp_min(1e-9).log() - log_det - 1.5 * math.log(2 * math.pi)
        return (constant[:, None] - white.square().sum(1) / 2).T


def fit_colors(colors: Tensor, weight: Tensor, parts: int = 5) -> ColorModel:
    """The mixture of colors [N, 3] weighted by [N] >= 0, by expectation and maximization from a binary split.

    The split cuts the part of the largest spread along its longest axis (Orchard and Bouman 1991).
    """
    labels = torch.zeros(len(colors), dtype=torch.long)
    for new in range(1, parts):
        spreads = [_spread(colors[labels == k], weight[labels == k]) for k in range(new)]
        widest = max(range(new), key=lambda k: spreads[k][0])
        _, center, axis = spreads[widest]
        labels[(labels == widest) & ((colors - center) @ axis > 0)] = new
    mine = torch.nn.functional.one_hot(labels, parts).float() * weight[:, None]
    model = _maximize(colors, mine)
    for _ in range(ROUNDS):
        model = _maximize(colors, model._parts(colors).softmax(-1) * weight[:, None])
    return model


def _spread(colors: Tensor, weight: Tensor) -> tuple[float, Tensor, Tensor]:
    """(spread along the longest axis times mass, mean, that axis)."""
    mass = weight.sum()
    if len(colors) < 2 or float(mass) <= 0:
        return 0.0, torch.zeros(3), torch.zeros(3)
    center = (colors * weight[:, None]).sum(0) / mass
    away = (colors - center) * weight[:, None].sqrt()
    values, axes = torch.linalg.eigh(away.T @ away)
    return float(values[-1]), center, axes[:, -1]


def _maximize(colors: Tensor, mine: Tensor) -> ColorModel:
    mass = mine.sum(0)
    mean = (mine.T @ colors) / mass.clamp_min(1e-6)[:, None]
    away = colors[None] - mean[:, None]
    spread = torch.einsum("nk,kni,knj->kij", mine, away, away) / mass.clamp_min(1e-6)[:, None, None]
    return ColorModel(mass / mass.sum(), mean, torch.linalg.cholesky(spread + FLOOR**2 * torch.eye(3)))
