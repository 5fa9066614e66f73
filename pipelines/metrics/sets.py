"""Scores of a set of pictures against another set."""

from __future__ import annotations

import torch
from torch import Tensor


def frechet_gaussians(mean_a: Tensor, cov_a: Tensor, mean_b: Tensor, cov_b: Tensor) -> float:
    """Squared Frechet distance of two Gaussians, |m_a - m_b|^2 + tr(A + B - 2 (A B)^(1/2)) (Dowson and Landau 1982).

    means [D]; covariances [D, D], symmetric.  The root's trace is that of (A^(1/2) B A^(1/2))^(1/2), which stays
    symmetric, so singular covariances (fewer pictures than dimensions) need no added diagonal.  Eigenvalues that are
    rounding (below D * eps of the largest) count as 0: their roots would not be small.
    """
    a, b = cov_a.double(), cov_b.double()
    values, vectors = torch.linalg.eigh(a)
    root = vectors * _without_rounding(values).sqrt() @ vectors.T
    middle = root @ b @ root
    cross = _without_rounding(torch.linalg.eigvalsh((middle + middle.T) / 2)).sqrt().sum()
    shift = (mean_a.double() - mean_b.double()).square().sum()
    return float(shift + torch.trace(a) + torch.trace(b) - 2 * cross)


def _without_rounding(values: Tensor) -> Tensor:
    """Eigenvalues [D] of a positive semidefinite matrix, those that rounding made of 0 set to 0."""
    floor = len(values) * torch.finfo(values.dtype).eps * values.max().clamp(min=0)
    return torch.where(values > floor, values, torch.zeros_like(values))


def frechet_distance(a: Tensor, b: Tensor) -> float:
    """Frechet distance of features [N, D] and [M, D] (Heusel et al. 2017), with covariances over N - 1 as they use.

    It is "FID" only on the 2048 pool features of the Inception-v3 weights that the paper's authors used; on other
    features it must be named after them.  It is biased upwards for few pictures: compare sets of equal size.
    """
    for name, features in (("a", a), ("b", b)):
        if features.ndim != 2 or len(features) < 2:
            raise ValueError(f"{name} must be [N >= 2, D] features, got {tuple(features.shape)}")
    spread = [torch.atleast_2d(torch.cov(features.double().T)) for features in (a, b)]
    return frechet_gaussians(a.double().mean(0), spread[0], b.double().mean(0), spread[1])


def clip_similarity(reference: Tensor, views: Tensor) -> Tensor:
    """[V] cosines of embeddings: one reference [D] (or [1, D]) and views [V, D]; of any length.

    Papers report the mean over their novel views and disagree on which (see ``protocol.VIEW_SETS``) and on the network.
    """
    unit = torch.nn.functional.normalize
    return unit(views.float(), dim=-1) @ unit(reference.float().reshape(-1), dim=0)


def set_table(reference: Tensor, results: Tensor) -> dict:
    """Mean cosine to each other's partner and Frechet distance of two embedded sets [N, D], picture by picture."""
    if reference.shape != results.shape:
        raise ValueError(f"sets must be of one shape, got {tuple(reference.shape)} and {tuple(results.shape)}")
    cosine = torch.nn.functional.cosine_similarity(reference.double(), results.double(), dim=-1)
    error = float(cosine.std() / len(cosine) ** 0.5) if len(cosine) > 1 else None
    distance = frechet_distance(reference, results) if len(reference) > 1 else None
    return {"count": len(cosine), "similarity": float(cosine.mean()), "similarity_error": error, "frechet": distance}
