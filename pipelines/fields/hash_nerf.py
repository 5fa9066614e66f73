"""The radiance field of Magic123 and Consistent123: hash grid, small MLP, density blob (M-B.1).

Density is exp(logit + blob) with the exponent's gradient truncated at 15 (Mueller et al. 2022); the blob
b * exp(-|x|^2 / 2 s^2) starts every scene as a ball.  Color has no view dependence.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import get_args

import torch
from torch import Tensor

from ..core.choices import NormalMethod
from ..core.far import send
from ..ops.hashgrid import HashGridConfig, encode, encode_with_jacobian, new_table
from .encodings import ENCODINGS, Encoding, encoded, new_planes, width

Linear = torch.nn.Linear
NORMAL_METHODS = get_args(NormalMethod)
TETRAHEDRON = ((1.0, -1.0, -1.0), (-1.0, -1.0, 1.0), (-1.0, 1.0, -1.0), (1.0, 1.0, 1.0))
MAX_EXPONENT = 15.0
TINY = 1e-12  # gradients shorter than this have no direction: their normal is zero


@dataclass(frozen=True)
class HashNerfConfig:
    """Shape of the field; defaults are the papers' (M-B.1).

    grid:           hash grid; its unit cube is the scene's [-1, 1]^3.
    hidden, layers: width and number of hidden layers of the MLP.
    blob_density:   b, added to the density logit at the center (10 in both papers).
    blob_sigma:     s, scene units.
    normal_epsilon: step of the finite differences, scene units.
    encoding:       "hash" (the papers), or "frequency" or "triplane" in place of the hash grid (``encodings.py``).
    """

    grid: HashGridConfig = field(default_factory=HashGridConfig)
    hidden: int = 64
    layers: int = 2
    blob_density: float = 10.0
    blob_sigma: float = 0.2
    normal_epsilon: float = 1e-2
    encoding: Encoding = "hash"

    def __post_init__(self):
        if self.hidden < 1 or self.layers < 1 or self.blob_sigma <= 0 or self.normal_epsilon <= 0:
            raise ValueError(f"need hidden, layers >= 1 and positive blob_sigma and normal_epsilon, got {self}")
        if self.encoding not in ENCODINGS:
            raise ValueError(f"encoding must be one of {ENCODINGS}, got {self.encoding!r}")

    def to_json(self) -> dict:
        """What :meth:`from_json` reads; the papers' encoding is not named, as in scenes of before there was a choice."""
        told = asdict(self)
        return told if self.encoding != "hash" else {k: v for k, v in told.items() if k != "encoding"}

    @staticmethod
    def from_json(data: dict) -> "HashNerfConfig":
        """Inverse of :meth:`to_json`."""
        return HashNerfConfig(**{**data, "grid": HashGridConfig(**data["grid"])})


class HashNerf(torch.nn.Module):
    """A ``RadianceField`` (density, albedo) over [-1, 1]^3 with normals.

    generator: draws the initial weights, on its own device; the field is created there.
    live_levels (attribute): None or the number of hash levels in use, for coarse-to-fine schedules.
    accumulate_in_place (attribute, default True): backward passes add the table's gradient straight to
        ``table.grad``; set False to differentiate the table with ``torch.autograd.grad``.
    state_dict: ``table``, ``layers.<i>.weight``, ``layers.<i>.bias``: plain tensors.
    """

    def __init__(self, config: HashNerfConfig, generator: torch.Generator):
        super().__init__()
        self.config = config
        self.live_levels: int | None = None
        self.accumulate_in_place = True
        plain = config.encoding == "hash"
        self.table = torch.nn.Parameter(new_table(config.grid, generator) if plain else new_planes(config.encoding, generator))
        widths = [config.grid.width if plain else width(config.encoding)] + [config.hidden] * config.layers + [4]
        self.layers = torch.nn.ModuleList(_linear(a, b, generator) for a, b in zip(widths, widths[1:]))

    def parameter_groups(self, lr_table: float, lr_mlp: float) -> list[dict]:
        """For an optimizer; the papers use 1e-2 and 1e-3.  ``fused=True`` makes torch's Adam 10 times faster here."""
        return [{"params": [self.table], "lr": lr_table}, {"params": list(self.layers.parameters()), "lr": lr_mlp}]

    def _linears(self) -> list[torch.nn.Linear]:
        return [layer for layer in self.layers if isinstance(layer, torch.nn.Linear)]

    def density(self, x: Tensor) -> Tensor:
        """[N, 3] -> [N] density per scene unit, > 0.  Points outside the cube are clamped to it."""
        return truncated_exp(self.log_density(x))

    def log_density(self, x: Tensor) -> Tensor:
        """[N, 3] -> [N] density logit plus blob; differentiable to x too."""
        return self._logits(x)[:, 0] + self.blob(x)

    def albedo(self, x: Tensor) -> Tensor:
        """[N, 3] -> [N, 3] sRGB in [0, 1]."""
        return torch.sigmoid(self._logits(x)[:, 1:])

    def density_and_albedo(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """([N], [N, 3]) for the price of one of them."""
        logits = self._logits(x)
        return truncated_exp(logits[:, 0] + self.blob(x)), torch.sigmoid(logits[:, 1:])

    def blob(self, x: Tensor) -> Tensor:
        """[N] the fixed bump added to the density logit."""
        return self.config.blob_density * torch.exp(x.square().sum(-1) * (-0.5 / self.config.blob_sigma**2))

    def normal(self, x: Tensor, method: NormalMethod = "central", noise: Tensor | None = None) -> Tensor:
        """[N, 3] unit vectors along -grad density, world space; zero where the density is flat.

        method: "central" (the papers': 6 density queries at +-normal_epsilon), "tetrahedral" (4 queries of the log
        density at the same step, nearly the same smoothing), "analytic" (exact, about 2 queries, no smoothing).
        Differentiable to the parameters, not to x.  noise: [N, 3] offsets added to x (M-B.6, 3D normal term).
        """
        if method not in NORMAL_METHODS:
            raise ValueError(f"normal method must be one of {NORMAL_METHODS}, got {method!r}")
        if method == "analytic" and self.config.encoding != "hash":
            method = "tetrahedral"  # only the hash grid's Jacobian is carried forward
        x = x.detach() if noise is None else (x + noise).detach()
        slope = {"central": self._central, "tetrahedral": self._tetrahedral, "analytic": self._analytic}[method](x)
        return unit(-slope)

    def _logits(self, x: Tensor) -> Tensor:
        """[N, 4] density logit without blob, then albedo logits."""
        if self.config.encoding == "hash":
            h = encode(x * 0.5 + 0.5, self.table, self.config.grid, self.live_levels, self.accumulate_in_place)
        else:
            h = encoded(self.config.encoding, x, self.table)
        for layer in self.layers[:-1]:
            h = torch.relu_(layer(h))
        return self.layers[-1](h)

    def _central(self, x: Tensor) -> Tensor:
        eps = self.config.normal_epsilon
        steps = torch.eye(3, device=x.device).mul(eps)
        around = torch.cat([x + s for s in steps] + [x - s for s in steps])
        ahead, behind = self.density(around).view(2, 3, len(x))
        return ((ahead - behind) / (2 * eps)).T

    def _tetrahedral(self, x: Tensor) -> Tensor:
        eps = self.config.normal_epsilon
        corners = send(torch.tensor(TETRAHEDRON), x.device)
        values = self.log_density(torch.cat([x + c * eps for c in corners])).view(4, len(x))
        return values.T @ corners / (4 * eps)

    def _analytic(self, x: Tensor) -> Tensor:
        """Gradient of the log density, carried forward through the MLP beside the values."""
        grid, points = self.config.grid, x * 0.5 + 0.5
        both = encode_with_jacobian(points, self.table, grid, self.live_levels, self.accumulate_in_place)
        h, slopes = both[0], both[1:]
        for layer in self._linears()[:-1]:
            h = torch.relu(layer(h))
            slopes = (slopes @ layer.weight.T) * (h > 0)
        network = (slopes @ self._linears()[-1].weight[0]).T * 0.5  # d points / d x
        return network - self.blob(x)[:, None] * x / self.config.blob_sigma**2


def truncated_exp(x: Tensor) -> Tensor:
    """exp whose gradient treats inputs above 15 as 15: opaque places stay trainable without overflow."""
    return _TruncatedExp.apply(x)


def unit(v: Tensor) -> Tensor:
    """[N, 3] unit vectors; vectors that are tiny or not finite become zero, with zero gradient."""
    length2 = v.detach().square().sum(-1, keepdim=True)
    good = (length2 > TINY**2) & torch.isfinite(length2)
    v = torch.where(good, v, torch.zeros_like(v))
    return v / torch.where(good, v.square().sum(-1, keepdim=True), torch.ones_like(length2)).sqrt()


class _TruncatedExp(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return torch.exp(x)

    @staticmethod
    def backward(ctx, grad):
        return grad * torch.exp(ctx.saved_tensors[0].clamp(max=MAX_EXPONENT))


def _linear(inputs: int, outputs: int, generator: torch.Generator) -> torch.nn.Linear:
    """torch's default layer with its default distribution, drawn from the given generator."""
    layer = torch.nn.utils.skip_init(Linear, inputs, outputs, device=generator.device)
    assert isinstance(layer, torch.nn.Linear)
    bound = 1 / math.sqrt(inputs)
    with torch.no_grad():
        for parameter in (layer.weight, layer.bias):
            draw = torch.rand(parameter.shape, generator=generator, device=generator.device)
            parameter.copy_(draw.mul_(2 * bound).sub_(bound))
    return layer
