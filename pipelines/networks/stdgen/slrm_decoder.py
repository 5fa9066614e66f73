"""From a triplane to distance, color, semantics: sampling and the small decoders (S-C.7, S-C.8)."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor

from ...core.threads import spread
from ...ops.flexicubes import WEIGHTS, CubeGrid
from ...ops.semantic_field import CLASSES
from .slrm_config import SlrmConfig

Linear = torch.nn.Linear
functional = torch.nn.functional
PLANES = ((0, 1), (0, 2), (2, 1))  # the coordinates that run along a plane's width and height
CHUNK = 1 << 15  # points decoded at once: what a core's cache holds
CUBE_CHUNK = 1 << 13


def sample_planes(planes: Tensor, points: Tensor) -> Tensor:
    """[B, N, 3 C] features of points [B, N, 3] from planes [B, 3, C, S, S]; differentiable in both.

    Each plane spans [-1, 1]; bilinear, fading to zero over half a texel beyond its border.
    """
    parts = [_look_up(planes[:, i], points[..., list(axes)][:, None])[:, :, 0] for i, axes in enumerate(PLANES)]
    return torch.cat(parts, 1).transpose(1, 2)


def _look_up(plane: Tensor, places: Tensor) -> Tensor:
    return functional.grid_sample(plane, places, mode="bilinear", padding_mode="zeros", align_corners=False)


def perceptron(inputs: int, width: int, outputs: int) -> torch.nn.Sequential:
    """Three hidden layers of ReLU; linear layers at positions 0, 2, 4, 6."""
    relu = torch.nn.ReLU()
    return torch.nn.Sequential(Linear(inputs, width), relu, Linear(width, width), relu, Linear(width, width), relu,
                               Linear(width, outputs))


class SlrmDecoder(torch.nn.Module):
    """The decoders of one kind of S-LRM; points are in S-LRM's world, planes [B, 3, C, S, S].

    Which functions exist depends on ``config.kind``: a mesh network has ``sdf``, ``deformation`` and ``cube_weights``, a
    NeRF network ``density_and_colors``; both have ``semantics``, ``colors``.
    """

    def __init__(self, config: SlrmConfig):
        super().__init__()
        features, width = 3 * config.plane_channels, config.decoder_width
        if config.kind == "mesh":
            self.net_sdf = perceptron(features, width, 1)
            self.net_rgb = perceptron(features, width, 3)
            self.net_deformation = perceptron(features, width, 3)
            self.net_weight = perceptron(8 * features, width, WEIGHTS)
        else:
            self.net = perceptron(features, width, 4)
        self.semantic_net = perceptron(features, width, CLASSES)
        self.is_mesh = config.kind == "mesh"

    def sdf(self, features: Tensor) -> Tensor:
        """[...] raw distance, negative inside, in a unit of the network's own."""
        return self.net_sdf(features)[..., 0]

    def colors(self, features: Tensor) -> Tensor:
        """[..., 3] sRGB in [-0.001, 1.001]."""
        raw = self.net_rgb(features) if self.is_mesh else self.net(features)[..., 1:]
        return torch.sigmoid(raw) * 1.002 - 0.001

    def density_and_colors(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """NeRF: [...] density per scene unit and [..., 3] sRGB."""
        raw = self.net(features)
        return functional.softplus(raw[..., 0] - 1), torch.sigmoid(raw[..., 1:]) * 1.002 - 0.001

    def semantics(self, features: Tensor) -> Tensor:
        """[..., 4] probabilities: hair, face or body, body or face, clothing."""
        return torch.softmax(self.semantic_net(features), -1)

    def deformation(self, features: Tensor) -> Tensor:
        """[..., 3] raw displacement."""
        return self.net_deformation(features)

    def cube_weights(self, corner_features: Tensor) -> Tensor:
        """[M, 8 x 3 C], corner after corner -> [M, 21] raw FlexiCubes weights."""
        return self.net_weight(corner_features) * 0.1


def on_points(decode, planes: Tensor, points: Tensor) -> Tensor:
    """``decode(features)`` at points [N, 3] of the first triplane, in pieces that need little memory: [N, ...]."""
    parts = spread(lambda part: decode(sample_planes(planes[:1], part[None]))[0], points.split(CHUNK), points.device)
    return torch.cat(parts) if parts else decode(sample_planes(planes[:1], points[None]))[0]


def on_grid(net: torch.nn.Sequential, planes: Tensor, grid: CubeGrid) -> Tensor:
    """[V, outputs] of a perceptron at all points of a regular grid; equals evaluating it there point by point.

    Its first layer is linear and so is sampling, so the planes go through that layer first and are sampled afterwards;
    on a regular grid each plane is needed for two axes only, and the three meet in one sum.
    """
    axes = [axis.to(planes) for axis in grid.axes(planes.device)]
    first, rest = cast(torch.nn.Linear, net[0]), net[1:]
    blocks = first.weight.reshape(first.out_features, 3, -1)
    tables = []
    for i, (across, down) in enumerate(PLANES):
        projected = torch.einsum("oc,chw->ohw", blocks[:, i], planes[0, i])
        u, v = torch.meshgrid(axes[across], axes[down], indexing="ij")
        tables.append(_look_up(projected[None], torch.stack([u, v], -1)[None])[0].permute(1, 2, 0))
    xy, xz, zy = tables
    rows = max(1, CHUNK // (len(axes[1]) * len(axes[2])))

    def slab(start: int) -> Tensor:
        piece = slice(start, start + rows)
        hidden = xy[piece, :, None] + xz[piece, None, :] + zy.transpose(0, 1)[None] + first.bias
        return rest(hidden).flatten(0, 2)

    return torch.cat(spread(slab, range(0, len(axes[0]), rows), planes.device))
