"""The plug of losses by wires: what else a render has to look like, beside the picture and the priors.

A stage asks a loss for the cameras that it wants to see, renders them without shading, and adds its value.  New ones
derive from :class:`ExtraLoss`; ``tests/losses/test_extra_losses.py`` tests all that exist.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from .cameras import Cameras
from .schedules import Constant, Schedule
from .views import RenderBuffers


@dataclass(frozen=True)
class ExtraLoss(ABC):
    """A weighted term of every step.

    weight: schedule over progress; where it is 0 nothing is rendered.
    label:  of its term among a step's losses.
    """

    weight: Schedule = Constant(1.0)
    label: str = "extra"

    @abstractmethod
    def views(self, home: Cameras, size: int, generator: torch.Generator) -> Cameras:
        """The cameras of this step, on the CPU.

        home: the reference's camera, for distance and field of view; size: pixels of novel views; generator: on the CPU.
        """

    @abstractmethod
    def loss(self, seen: RenderBuffers, cameras: Cameras, generator: torch.Generator) -> Tensor:
        """A scalar, differentiable in the render; ``cameras`` are those that :meth:`views` gave."""


def anywhere(home: Cameras, size: int, generator: torch.Generator, lowest: float = -0.3, highest: float = 0.6) -> Cameras:
    """One camera at the home's distance, anywhere around and between two elevations (radians)."""
    draws = torch.rand(2, generator=generator)
    azimuth = home.azimuth.cpu() + (2 * draws[:1] - 1) * torch.pi
    elevation = lowest + (highest - lowest) * draws[1:]
    return Cameras.orbit(azimuth, elevation, home.radius.cpu(), home.fovy.cpu(), size, size)
