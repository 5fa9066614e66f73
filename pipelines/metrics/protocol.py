"""The fixed cameras of Consistent123's evaluation (spec D.7)."""

from __future__ import annotations

import math

import torch

from ..core.cameras import Cameras

ELEVATIONS = (0, 0, -30, -15, -10, -5, -5, 0, 0, 0, 0, 5, 5, 10, 15, 30, 0, 0)  # degrees
AZIMUTH_STEP = 20  # degrees


def eighteen_views(size: int = 256, radius: float = 3.2, fovy: float = math.radians(20)) -> Cameras:
    """Azimuths 0, 20, ..., 340 degrees with the paper's elevations; scene units, radians, pixels.

    View 0 is the reference view (front, horizon): leave it out of novel-view scores.
    """
    azimuth = torch.arange(len(ELEVATIONS)) * math.radians(AZIMUTH_STEP)
    elevation = torch.tensor(ELEVATIONS, dtype=torch.float32) * (math.pi / 180)
    return Cameras.orbit(azimuth, elevation, radius, fovy, size, size)
