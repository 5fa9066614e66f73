"""The Janus problem in numbers: how many sides of an object show its front?

There is no accepted measure; papers count by eye.  This one needs no network: it looks for the front's own markings
in the views all around.  Reported with it is the profile, so that a person can see why.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

VIEWS = 24  # azimuths, evenly spaced, the first at the front
SIDE = 48  # pixels at which views are compared
ALIKE = 0.5  # resemblance from which a view counts as showing the front
FLAT = 0.02  # markings weaker than this (standard deviation, sRGB) are none
FAR = 60.0  # degrees from the front from which a resemblance is suspicious: nearer, the front itself is in sight


@dataclass(frozen=True)
class MultiFace:
    """faces: 1 for the front, and 1 for every group of views 60 degrees or more away that shows it again.

    score:   highest resemblance to the front from 60 degrees or more away, in [0, 1]; 0 = the front is unique.
    profile: [V] resemblance of every view to the front, in [-1, 1]; None where the object has no distinct front.
    """

    faces: int
    score: float
    profile: Tensor | None


def multi_face(pictures: Tensor, alpha: Tensor) -> MultiFace:
    """From views [V, H, W, 3] (sRGB, any background) with coverage [V, H, W], evenly spaced over a full turn.

    What all views have in common (color, light from above, bands) is taken off first, and only what lies inside both
    outlines is compared.  So a ball, a vase or a striped can has no front and counts 1; a face repeated on
    four sides counts 4.  An object that truly has four like sides (a crate) counts 4, too: compare with its truth.
    """
    if pictures.ndim != 4 or alpha.shape != pictures.shape[:3] or len(pictures) < 8:
        raise ValueError(f"need at least 8 views [V, H, W, 3] with coverage, got {tuple(pictures.shape)}")
    color, cover = _small(pictures, alpha)
    shared = (color * cover).sum(0) / cover.sum(0).clamp(min=1e-6)
    marks = (color - shared) * cover
    profile = torch.stack([_resemblance(marks[0], marks[k], cover[0] * cover[k]) for k in range(len(marks))])
    deviation = ((marks[0] ** 2).sum() / cover[0].sum().clamp(min=1e-6) / 3).sqrt()
    if float(deviation) < FLAT:
        return MultiFace(1, 0.0, None)
    angle = torch.arange(len(profile)) * 360.0 / len(profile)
    far = torch.minimum(angle, 360 - angle) >= FAR
    others = _runs((profile > ALIKE) & far)
    return MultiFace(1 + others, float(profile[far].max().clamp(0, 1)), profile)


def _runs(marked: Tensor) -> int:
    """Groups of neighbors that are marked, around a circle whose first place is not."""
    return int((marked & ~marked.roll(1)).sum())


def _small(pictures: Tensor, alpha: Tensor) -> tuple[Tensor, Tensor]:
    """Colors [V, S, S, 3] and coverage [V, S, S, 1], shrunk by averaging over the object only."""
    planes = torch.cat([pictures * alpha[..., None], alpha[..., None]], -1).float().movedim(-1, 1)
    planes = torch.nn.functional.interpolate(planes, (SIDE, SIDE), mode="area").movedim(1, -1)
    cover = planes[..., 3:]
    return planes[..., :3] / cover.clamp(min=1e-6), (cover > 0.95).float()


def _resemblance(a: Tensor, b: Tensor, weight: Tensor) -> Tensor:
    """2 cov / (var + var) per Wang et al. 2004 without the mean term: 1 = same markings, 0 = unrelated or none."""
    total = weight.sum().clamp(min=1e-6)
    a, b = ((t - (t * weight).sum((0, 1)) / total) * weight for t in (a, b))
    return 2 * (a * b).sum() / ((a * a).sum() + (b * b).sum()).clamp(min=1e-9)
