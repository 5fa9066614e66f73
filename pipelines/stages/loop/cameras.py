"""Where novel views are taken from (M-A.4)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from ...core.cameras import Cameras

FAR_OFF = 1.25  # times as far, or as wide
HIGHEST = math.radians(89.0)  # straight above, a camera has no azimuth


@dataclass(frozen=True)
class NovelViews:
    """Ranges of novel cameras around the reference camera.  Consistent123's numbers.

    radius:    scene units.
    elevation: degrees (paper: polar 45 .. 105).
    azimuth:   degrees relative to the reference's.
    fovy:      degrees.
    progressive: the ranges grow from the reference camera to full, r = min(1, start + rate *
               progress); start >= 1 turns it off (Consistent123's code: .2 + 2 * progress).
    stratified: azimuths of one batch are spread evenly around a random one.
    hemisphere: chance that a view comes from above instead of from the ranges of azimuth and elevation
               (Magic123's code: one half; its directions are normalize(U(-1,1), U(0,1), U(-1,1))).
    """

    radius: tuple[float, float] = (3.0, 3.5)
    elevation: tuple[float, float] = (-15.0, 45.0)
    azimuth: tuple[float, float] = (-180.0, 180.0)
    fovy: float = 20.0
    progressive_start: float = 1.0
    progressive_rate: float = 0.0
    stratified: bool = True
    hemisphere: float = 0.0

    def sample(self, count: int, size: int, progress: float, reference: Cameras, generator: torch.Generator) -> Cameras:
        """``count`` cameras at ``progress``; uniform in each range.

        Draws 3 * count numbers, and 4 * count more with a ``hemisphere``.
        """
        draws = torch.rand(3, count, generator=generator)
        if self.stratified:
            draws[0] = (draws[0, :1] + torch.arange(count) / count) % 1.0
        reach = min(1.0, self.progressive_start + self.progressive_rate * progress)
        home = (float(reference.azimuth[0]), float(reference.elevation[0]), float(reference.radius[0]))
        azimuth = _between(self.azimuth, draws[0], reach, 0.0, math.pi / 180) + home[0]
        elevation = _between(self.elevation, draws[1], reach, math.degrees(home[1]), math.pi / 180)
        radius = _between(self.radius, draws[2], reach, home[2], 1.0)
        if self.hemisphere > 0:
            azimuth, elevation = self._from_above(azimuth, elevation, home[0], generator)
        return Cameras.orbit(azimuth, elevation, radius, math.radians(self.fovy), size, size)

    def unlike(self, reference: Cameras) -> str:
        """A sentence if the reference camera stands or sees unlike any of these views; empty if it fits.

        Priors are told the difference in distance, and public ones never saw large ones.
        """
        distance, fovy = float(reference.radius[0]), math.degrees(float(reference.fovy[0]))
        low, high = self.radius
        if low / FAR_OFF <= distance <= high * FAR_OFF and self.fovy / FAR_OFF <= fovy <= self.fovy * FAR_OFF:
            return ""
        return (
            f"The picture's camera (radius {distance:g}, fovy {fovy:g}) is unlike the new views' (radius {low:g} to "
            f"{high:g}, fovy {self.fovy:g}): set Reference View's radius and fovy to the preset's."
        )

    def _from_above(self, azimuth: torch.Tensor, elevation: torch.Tensor, home: float, generator: torch.Generator):
        """Azimuths and elevations [B], some replaced by directions of the upper half of a box (M-A.4)."""
        draws = torch.rand(4, len(azimuth), generator=generator)
        x, y, z = 2 * draws[0] - 1, draws[1], 2 * draws[2] - 1
        above = torch.atan2(y, torch.hypot(x, z)).clamp(max=HIGHEST)
        chosen = draws[3] < self.hemisphere
        return torch.where(chosen, torch.atan2(x, z) + home, azimuth), torch.where(chosen, above, elevation)


def _between(span: tuple[float, float], draw: torch.Tensor, reach: float, home: float, unit: float) -> torch.Tensor:
    low, high = (home + (v - home) * reach for v in span)
    return (low + (high - low) * draw) * unit
