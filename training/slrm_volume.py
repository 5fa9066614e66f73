"""Volume rendering of S-LRM's NeRF variant, whole or under a set of classes, for its training (S-C.14)."""

from __future__ import annotations

from dataclasses import dataclass

import pack  # noqa: F401  (makes ``lift123`` importable)
import torch
from lift123.pipelines.networks.stdgen.slrm import Slrm
from lift123.pipelines.networks.stdgen.slrm_decoder import sample_planes
from lift123.pipelines.ops.semantic_field import kept_semantics, kept_weights, opacity
from torch import Tensor

BOX = 1.0  # half the side of the cube that rays are followed through


@dataclass(frozen=True)
class SeenRays:
    """Per ray: rgb [R, 3] on white, alpha [R], semantics [R, 4]."""

    rgb: Tensor
    alpha: Tensor
    semantics: Tensor


def render_rays(
    network: Slrm,
    planes: Tensor,
    origins: Tensor,
    directions: Tensor,
    keep=(0, 1, 2, 3),
    samples: int = 64,
    importance: int = 64,
    generator: torch.Generator | None = None,
) -> SeenRays:
    """What rays [R, 3] of S-LRM's world see of the first triplane when only classes ``keep`` exist; differentiable.

    directions: any length.   samples: even stretches through the box, jittered when a ``generator`` is given;
    importance: further ones where the first pass saw something (0 = none).
    Each stretch is taken at its middle (S-C.14).
    """
    near, far = box_span(origins, directions)
    share = torch.linspace(0, 1, samples + 1, device=origins.device).expand(len(origins), -1)
    if generator is not None:
        share = (share + torch.rand(share.shape, generator=generator).to(share) / samples).clamp(max=1)
    ends = near[:, None] + share * (far - near)[:, None]
    if importance:
        with torch.no_grad():
            weights = _pass(network, planes, origins, directions, ends, keep)[0]
            ends = torch.cat([ends, resampled(ends, weights, importance, generator)], -1).sort(-1).values
    weights, rgb, probability = _pass(network, planes, origins, directions, ends, keep)
    alpha = weights.sum(-1)
    color = (weights[..., None] * rgb).sum(1) + (1 - alpha)[:, None]
    return SeenRays(color, alpha, kept_semantics(weights, probability, keep))


def box_span(origins: Tensor, directions: Tensor) -> tuple[Tensor, Tensor]:
    """[R] ray parameters at which rays enter and leave the box; equal where they miss it."""
    inverse = 1 / torch.where(directions.abs() < 1e-9, torch.full_like(directions, 1e-9), directions)
    one, two = (-BOX - origins) * inverse, (BOX - origins) * inverse
    near, far = torch.minimum(one, two).amax(-1), torch.maximum(one, two).amin(-1)
    return near, torch.maximum(near, far)


def resampled(ends: Tensor, weights: Tensor, count: int, generator: torch.Generator | None = None) -> Tensor:
    """[R, count] ray parameters distributed as the weights [R, S] of the stretches between ``ends`` [R, S + 1]."""
    shares = weights + 1e-5
    summed = torch.cat([torch.zeros_like(shares[:, :1]), (shares / shares.sum(-1, keepdim=True)).cumsum(-1)], -1)
    if generator is None:
        draw = ((torch.arange(count, device=ends.device) + 0.5) / count).expand(len(ends), -1)
    else:
        draw = torch.rand(len(ends), count, generator=generator).to(ends)
    slot = (torch.searchsorted(summed, draw.contiguous(), right=True) - 1).clamp(0, weights.shape[1] - 1)
    low, high = summed.gather(1, slot), summed.gather(1, slot + 1)
    start, end = ends.gather(1, slot), ends.gather(1, slot + 1)
    return start + (draw - low) / (high - low).clamp_min(1e-9) * (end - start)


def _pass(network: Slrm, planes: Tensor, origins: Tensor, directions: Tensor, ends: Tensor, keep):
    """(weights [R, S], rgb [R, S, 3], probability [R, S, 4]) of the stretches between ``ends`` [R, S + 1]."""
    middle = (ends[:, 1:] + ends[:, :-1]) / 2
    points = origins[:, None] + middle[..., None] * directions[:, None]
    features = sample_planes(planes[:1], points.reshape(1, -1, 3))[0].reshape(*middle.shape, -1)
    density, rgb = network.decoder.density_and_colors(features)
    probability = network.decoder.semantics(features)
    lengths = (ends[:, 1:] - ends[:, :-1]) * directions.norm(dim=-1, keepdim=True)
    return kept_weights(opacity(density, lengths), probability, keep), rgb, probability
