"""What pulls a layer of a character into shape (StdGEN, arXiv 2411.05738, Eq. 12-13; numbers of S-D.4 to S-D.7)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

GATE = 0.05  # scene units: inner vertices further away do not collide (in the code, not in the paper)


def picture_loss(rendered: Tensor, target: Tensor, whole_mask: bool = False, count: Tensor | None = None) -> Tensor:
    """Scalar >= 0: normals and coverage of Eq. 12 as the released code has them (S-D.4).

    rendered, target: [B, H, W, 4] normal colors on black, and coverage.  The mean of the squared difference of all four
    channels where the render covers more than half a pixel, plus that of the coverage over the target's background.
    whole_mask: the second mean runs over all pixels, as in the paper's equation.
    count: [B, H, W] bool pixels that may count at all, or None for all.
    """
    allowed = torch.ones_like(rendered[..., 3], dtype=torch.bool) if count is None else count
    inside = (rendered[..., 3].detach() > 0.5) & allowed
    outside = allowed if whole_mask else (target[..., 3] <= 0) & allowed
    difference = (rendered - target).square()
    return _mean(difference.mean(-1), inside) + _mean(difference[..., 3], outside)


def color_loss(rendered: Tensor, target: Tensor) -> Tensor:
    """Scalar: mean squared difference of the three colors where ``rendered`` [B, H, W, 4] covers over half a pixel."""
    inside = rendered[..., 3].detach() > 0.5
    return _mean((rendered[..., :3] - target[..., :3]).square().mean(-1), inside)


def mask_terms(rendered: Tensor, target: Tensor, mask: Tensor, free: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """(inside, outside) losses of a layer whose visible part is known (S-D.7; weights 1 and 10 in the paper).

    rendered: [B, H, W, 4] with every other layer painted black.  target: as for :func:`picture_loss`.
    mask: [B, H, W] bool, where the layer is the nearest.  Inside all channels follow the target; where it is ``free`` (None:
    everywhere outside of ``mask``) nothing of the layer may show.  A mask without pixels gives 0.
    """
    difference = (rendered - target).square().mean(-1)
    return _mean(difference, mask), _mean(rendered[..., :3].square().mean(-1), ~mask if free is None else free)


def expansion(points: Tensor, normals: Tensor, parity: bool = False, count: int | None = None) -> Tensor:
    """Scalar: half the mean of |stopgrad(v + n) - v|^2, whose gradient pushes every vertex outwards (S-D.4).

    normals: [V, 3] unit.  parity: the released code's slip, where the normals are those turned for shading, (-x, y, -z)
    in its frame and ours alike (both differ by half a turn about y): it pulls inwards horizontally.
    count: vertices that the mean runs over, V or more: others (the fixed ones, in the code) weigh nothing; None = V.
    """
    if not len(points):
        return points.sum() * 0.0
    flip = normals.new_tensor([-1.0, 1.0, -1.0]) if parity else 1.0
    goal = (points + normals * flip).detach()
    return 0.5 * (goal - points).square().sum() / (3 * (count or len(points)))


@dataclass(frozen=True)
class InnerLayer:
    """The fixed geometry inside the layer at work.  points [N, 3]; normals [N, 3] unit, outward."""

    points: Tensor
    normals: Tensor

    @cached_property
    def _tree(self):
        from scipy.spatial import KDTree

        return KDTree(self.points.detach().cpu().double().numpy())

    def nearest(self, points: Tensor, count: int = 1) -> tuple[Tensor, Tensor]:
        """(distance, index), [V] each or [V, count], of the nearest vertices."""
        distance, index = self._tree.query(points.detach().cpu().double().numpy(), k=count)
        distance = torch.from_numpy(np.asarray(distance)).to(points)
        return distance, torch.from_numpy(np.asarray(index, dtype=np.int64)).to(points.device)


def collision(points: Tensor, inner: InnerLayer, gate: float = GATE, nearest: Tensor | None = None) -> Tensor:
    """Scalar, Eq. 13: mean of max((v_j - v_i) . n_j, 0)^3 over outer vertices v_i closer than ``gate`` to their v_j.

    v_j is the nearest inner vertex and n_j its outward normal, so a vertex outside the inner layer costs nothing.
    nearest: [V] known indices of v_j (they change slowly); found when None.  0 where no vertex is near.
    """
    if not len(points) or not len(inner.points):
        return points.sum() * 0.0
    index = inner.nearest(points)[1] if nearest is None else nearest
    gap = inner.points[index].to(points) - points
    near = gap.detach().norm(dim=-1) < gate
    depth = (gap * inner.normals[index].to(points)).sum(-1).clamp(min=0)
    return _mean(depth**3, near)


def smoothness(points: Tensor, ends: Tensor) -> Tensor:
    """Scalar, scene units squared: mean over vertices of |v - mean of its edge neighbors|^2 / 2 (uniform Laplacian).

    ends: [E, 2] int64 edges.
    """
    a, b = ends.unbind(-1)
    total = torch.zeros_like(points).index_add(0, a, points[b]).index_add(0, b, points[a])
    count = torch.bincount(ends.reshape(-1), minlength=len(points))
    difference = points - total / count.clamp(min=1)[:, None]
    return _mean(difference.square().sum(-1) / 2, count > 0)


def _mean(values: Tensor, where: Tensor) -> Tensor:
    """Mean over ``where``; 0, with a gradient of 0, where it is empty."""
    weights = where.to(values.dtype)
    return (values * weights).sum() / weights.sum().clamp(min=1)
