"""Parts of one implicit field, told apart by a semantic distribution (StdGEN, He et al. 2025, Eq. 2-3 and 6-10).

One solid holds everything: its signed distance f is negative inside, and p gives each point a probability for each of K
classes.  Keeping a set P of classes yields another field of the same kind: for surfaces ``equivalent_sdf``, for volume
rendering ``kept_weights``.  ``extraction_sdf`` adds what the released code does for the two thin layers.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

HAIR, FACE, BODY, CLOTHING = range(
    4
)  # the released networks' classes; which of 1 and 2 is which is not known (S-C.8)
CLASSES = 4
# What the five extraction codes of the released script keep (S-C.10); not the peel levels of the views.
CODES = {"full": 0, "no hair": 1, "body": 2, "clothing": 3, "hair": 4}
KEPT = ((HAIR, FACE, BODY, CLOTHING), (FACE, BODY, CLOTHING), (FACE, BODY), (CLOTHING,), (HAIR,))
DILATED = (3, 4)  # codes of the thin layers


def equivalent_sdf(sdf: Tensor, probability: Tensor, keep: Iterable[int]) -> Tensor:
    """[V] max(f, largest p outside P - largest p in P) (Eq. 10; Eq. 3 where P is one class); differentiable.

    probability: [V, K].  Negative exactly inside the solid where a kept class is likeliest.
    sdf: [V] any unit, but where surfaces are interpolated between grid points, f and the differences of p should have
    like slopes (f in units of the width over which p changes); else layers shift by up to half a cell at their seams.
    """
    kept, others = _split(probability, keep)
    if not others.shape[-1]:
        return sdf
    return torch.maximum(sdf, others.amax(-1) - kept.amax(-1))


def extraction_sdf(
    sdf: Tensor, probability: Tensor, code: int, shape: tuple[int, int, int], dilate: bool = True
) -> Tensor:
    """[V] the field of an extraction code 0-4 on grid points numbered x slowest, z fastest.

    shape:  points along the three axes.
    dilate: for clothing and hair f itself at every point whose likeliest class is kept, and at its six neighbors.  The
            layer grows by up to a cell into what it lies on, so layers overlap there by about a cell.
    """
    keep = KEPT[code]
    field = equivalent_sdf(sdf, probability, keep)
    if not dilate or code not in DILATED:
        return field
    likeliest = (probability.argmax(-1) == keep[0]).reshape(shape)
    return torch.where(dilated(likeliest).reshape(-1), sdf, field)


def dilated(region: Tensor) -> Tensor:
    """[nx, ny, nz] bool: the region and all points with one of its points next to them along an axis."""
    grown = region.clone()
    for axis in range(3):
        size = region.shape[axis]
        grown.narrow(axis, 1, size - 1).logical_or_(region.narrow(axis, 0, size - 1))
        grown.narrow(axis, 0, size - 1).logical_or_(region.narrow(axis, 1, size - 1))
    return grown


def kept_weights(alpha: Tensor, probability: Tensor, keep: Iterable[int]) -> Tensor:
    """[R, S] weights T a q of the samples along rays when only classes P are seen (Eq. 2, 6 and 8); differentiable.

    alpha: [R, S] opacity of the whole field per sample, front to back.  probability: [R, S, K].
    q = sum of p over P scales each sample's opacity, so a class of probability 0 is clear.  Their sum over S is the
    coverage; with values [R, S, C] the picture is ``(weights[..., None] * values).sum(1)``.
    """
    seen = alpha * _split(probability, keep)[0].sum(-1)
    clear = torch.cumprod(1 - seen, dim=-1)
    arriving = torch.cat([torch.ones_like(clear[:, :1]), clear[:, :-1]], -1)
    return arriving * seen


def kept_semantics(weights: Tensor, probability: Tensor, keep: Iterable[int], renormalize: bool = True) -> Tensor:
    """[R, K] the semantic picture under P (Eq. 7): sum of weights times p.

    renormalize: the released code's way: other classes are set to 0 and the rest made to sum to 1 before; the paper's
    equation takes p as it is.
    """
    if renormalize:
        mask = torch.zeros(probability.shape[-1], dtype=probability.dtype, device=probability.device)
        mask[list(keep)] = 1
        probability = probability * mask
        probability = probability / (probability.sum(-1, keepdim=True) + 1e-6)
    return (weights[..., None] * probability).sum(1)


def opacity(density: Tensor, lengths: Tensor) -> Tensor:
    """1 - exp(-density * length): what a stretch of constant density absorbs."""
    return 1 - torch.exp(-density * lengths)


def _split(probability: Tensor, keep: Iterable[int]) -> tuple[Tensor, Tensor]:
    keep = sorted(set(keep))
    count = probability.shape[-1]
    if not keep or keep[0] < 0 or keep[-1] >= count:
        raise ValueError(f"keep must name some of the {count} classes, got {keep}")
    others = [k for k in range(count) if k not in keep]
    return probability[..., keep], probability[..., others]
