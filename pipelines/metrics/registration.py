"""Laying a render over the picture it is compared with, by their masks: what differs then is the look, not the place.

StdGEN compares after a horizontal registration of masks (S-D.3b is the refinement's own); the other two are ours.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

Registration = Literal["off", "horizontal", "similarity", "affine"]
REGISTRATIONS = get_args(Registration)
SMALLEST = 1e-6  # of a mask's mass and of its spread in pixels^2: less is no shape


def registered(pictures: Tensor, masks: Tensor, targets: Tensor, how: Registration) -> Tensor:
    """Pictures [B, H, W, C] on white, moved so that their masks [B, H, W] in [0, 1] lie on ``targets`` [B, H, W].

    horizontal: the whole number of pixels to the side that shares most coverage; what leaves is lost, white follows.
    similarity: centroids meet and mean square distances from them are equal: a shift and one scale, no rotation.
    affine:     the mean and the second moments of both masks agree, by the symmetric map (the one nearest to none).
    An empty mask on either side leaves its picture alone.
    """
    if how not in REGISTRATIONS:
        raise ValueError(f"registration must be one of {REGISTRATIONS}, got {how!r}")
    if how == "off":
        return pictures
    moved = []
    for picture, mask, target in zip(pictures, masks.double(), targets.double(), strict=True):
        if min(float(mask.sum()), float(target.sum())) <= SMALLEST:
            moved.append(picture)
        elif how == "horizontal":
            moved.append(_shifted(picture, best_shift(mask, target)))
        else:
            moved.append(_warped(picture, *moment_map(target, mask, how)))
    return torch.stack(moved)


def best_shift(mask: Tensor, target: Tensor) -> int:
    """Pixels to the right that ``mask`` [H, W] has to go for the largest sum of products with ``target``; of equal ones the
    shortest."""
    width = mask.shape[1]
    spectrum = torch.fft.rfft(target, 2 * width) * torch.fft.rfft(mask, 2 * width).conj()
    shared = torch.fft.irfft(spectrum, 2 * width).sum(0)
    shifts = sorted(range(1 - width, width), key=abs)
    values = shared[torch.tensor(shifts)]
    return shifts[int((values > values.max() - 1e-6 * max(float(values.max()), 1.0)).nonzero()[0])]


def moment_map(mask: Tensor, target: Tensor, how: Registration) -> tuple[Tensor, Tensor]:
    """(A [2, 2], b [2]): points x, y of ``mask`` [H, W] go to A p + b, pixels, where their moments are ``target``'s."""
    (mean_a, spread_a), (mean_b, spread_b) = _moments(mask), _moments(target)
    if how == "similarity":
        matrix = torch.eye(2, dtype=mask.dtype) * (spread_b.trace() / spread_a.trace().clamp_min(SMALLEST)).sqrt()
    else:
        root = _root(spread_a)
        inverse = torch.linalg.inv(root)
        matrix = inverse @ _root(root @ spread_b @ root) @ inverse
    return matrix, mean_b - matrix @ mean_a


def _moments(mask: Tensor) -> tuple[Tensor, Tensor]:
    """(mean [2], covariance [2, 2]) of a mask's pixels as x, y; a pixel is a square, not a point."""
    rows, columns = torch.meshgrid(*[torch.arange(n, dtype=mask.dtype) + 0.5 for n in mask.shape], indexing="ij")
    points, weights = torch.stack([columns, rows], -1).reshape(-1, 2), mask.cpu().reshape(-1, 1) / mask.sum().cpu()
    mean = (points * weights).sum(0)
    centered = points - mean
    return mean, (centered * weights).T @ centered + torch.eye(2, dtype=mask.dtype) / 12


def _root(matrix: Tensor) -> Tensor:
    """The symmetric root of a symmetric positive matrix."""
    values, vectors = torch.linalg.eigh(matrix)
    return vectors @ torch.diag(values.clamp_min(SMALLEST).sqrt()) @ vectors.T


def _shifted(picture: Tensor, shift: int) -> Tensor:
    moved, width = torch.ones_like(picture), picture.shape[1]
    moved[:, max(shift, 0) : width + min(shift, 0)] = picture[:, max(-shift, 0) : width - max(shift, 0)]
    return moved


def _warped(picture: Tensor, matrix: Tensor, shift: Tensor) -> Tensor:
    """Pixel p of the result is the picture's at ``matrix`` p + ``shift``, bilinear; white outside."""
    height, width = picture.shape[:2]
    rows, columns = torch.meshgrid(*[torch.arange(n, dtype=matrix.dtype) + 0.5 for n in (height, width)], indexing="ij")
    there = torch.stack([columns, rows], -1) @ matrix.T + shift
    grid = (2 * there / torch.tensor([width, height], dtype=matrix.dtype) - 1).to(picture)[None]
    ink = torch.nn.functional.grid_sample(1 - picture.movedim(-1, 0)[None], grid, align_corners=False)
    return 1 - ink[0].movedim(0, -1)
