"""S-LRM's own world and the cameras it is told about.

S-LRM's world is right-handed with z up; a character faces +x and the front view's right is +y (S-V).  Nothing
outside the S-LRM modules uses it: points go through the two functions below.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ...core.ortho import STAND_IN_FOVY, OrthoCameras, six_views

_TO_SLRM, _TO_SCENE = (2, 0, 1), (1, 2, 0)


def scene_to_slrm(points: Tensor) -> Tensor:
    """[..., 3] points or directions of the scene (y up, facing +z) in S-LRM's world; a rotation, no mirror."""
    return points[..., _TO_SLRM]


def slrm_to_scene(points: Tensor) -> Tensor:
    """[..., 3] the inverse of :func:`scene_to_slrm`."""
    return points[..., _TO_SCENE]


def camera_rows(cameras: OrthoCameras) -> Tensor:
    """[B, 16] what the encoder is told about each camera: rows 0-2 of camera-to-world, then fx, fy, cx, cy.

    The orthographic cameras are announced as the pinholes of 30 degrees that show the same window; focal lengths and
    centers are in units of the picture's sides (S-C.3).
    """
    c2w = scene_to_slrm(cameras.pinhole(STAND_IN_FOVY).c2w[:, :3].transpose(1, 2)).transpose(1, 2)
    focal = 0.5 / math.tan(STAND_IN_FOVY / 2)
    inner = torch.tensor([focal, focal, 0.5, 0.5]).to(c2w).expand(len(c2w), 4)
    return torch.cat([c2w.reshape(-1, 12), inner], -1)


def six_camera_rows() -> Tensor:
    """[6, 16] the cameras of a character's six views."""
    return camera_rows(six_views(1))
