"""The fixed cameras of the papers' evaluations.  Papers disagree, so every view set has a name to report with it."""

from __future__ import annotations

import math

import torch

from ..core.cameras import HOME, Cameras

ELEVATIONS = (0, 0, -30, -15, -10, -5, -5, 0, 0, 0, 0, 5, 5, 10, 15, 30, 0, 0)  # degrees
AZIMUTH_STEP = 20  # degrees


def eighteen_views(size: int = 256, radius: float = HOME.radius, fovy: float = HOME.fovy) -> Cameras:
    """Azimuths 0, 20, ..., 340 degrees with the paper's elevations; scene units, radians, pixels.

    View 0 is the reference view (front, horizon): leave it out of novel-view scores.
    """
    azimuth = torch.arange(len(ELEVATIONS)) * math.radians(AZIMUTH_STEP)
    elevation = torch.tensor(ELEVATIONS, dtype=torch.float32) * (math.pi / 180)
    return Cameras.orbit(azimuth, elevation, radius, fovy, size, size)


VIEW_SETS = {  # name: (pictures on a turntable at elevation 0, who)
    "turntable-100": (100, "Magic123's released evaluation"),
    "turntable-16": (16, "SyncDreamer's and HiFi-123's count; HiFi-123 does not print its own"),
    "turntable-8": (8, "Consistent123's boundary judgment; quick"),
    "papers-18": (18, "Consistent123's multi-view protocol, with its elevations"),
}


def view_set(name: str, size: int = 256) -> Cameras:
    """The cameras of a named set, the first one at the front."""
    if name not in VIEW_SETS:
        raise ValueError(f"view set must be one of {tuple(VIEW_SETS)}, got {name!r}")
    if name == "papers-18":
        return eighteen_views(size)
    return HOME.turntable(VIEW_SETS[name][0], 0.0, size)
