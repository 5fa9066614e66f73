"""Normals of a depth picture by finite differences, as Magic123's paper makes them (Sec. 3.1, normal smoothness)."""

from __future__ import annotations

import torch
from torch import Tensor

from ..core.cameras import Rays


def depth_normals(depth: Tensor, alpha: Tensor, rays: Rays) -> Tensor:
    """[B, H, W, 3] unit world normals towards the camera; differentiable to depth and alpha.

    depth: [B, H, W] ray parameters times coverage, as a volume's render has them.  alpha: [B, H, W] coverage.
    rays:  [B, H, W, 3], those of the render.
    Central differences of the points that pixels see; 0 at the border and where the pixel or one of its four neighbors is
    covered by half or less.
    """
    distance = depth / alpha.clamp_min(1e-6)
    points = rays.origins + rays.directions * distance[..., None]
    across = points[:, 1:-1, 2:] - points[:, 1:-1, :-2]
    down = points[:, 2:, 1:-1] - points[:, :-2, 1:-1]
    inside = alpha.detach() > 0.5
    known = inside[:, 1:-1, 1:-1] & inside[:, 1:-1, 2:] & inside[:, 1:-1, :-2] & inside[:, 2:, 1:-1] & inside[:, :-2, 1:-1]
    normal = torch.linalg.cross(down, across)
    normal = torch.where(known[..., None], normal, torch.zeros_like(normal))
    return torch.nn.functional.pad(torch.nn.functional.normalize(normal, dim=-1, eps=1e-12), (0, 0, 1, 1, 1, 1))
