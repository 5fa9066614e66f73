"""The 3D prior: a view-conditioned denoiser (Zero-1-to-3) under score distillation."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..core.cameras import Cameras
from ..core.far import send
from ..core.protocols import Denoiser
from ..distill.voices import Voices
from .sds import SdsPrior, SdsSettings, Source


class ViewPrior(SdsPrior):
    """SDS of a denoiser already conditioned on the reference picture.

    reference:     one camera, the reference picture's.
    angle_scaling: weigh each view by its angle to the reference over 180 degrees, as both released
                   codes do (M-C.5; neither paper says so): near views are held by pixels anyway.
    """

    knows_reference = True

    def __init__(
        self,
        denoiser: Denoiser,
        settings: SdsSettings,
        reference: Cameras,
        angle_scaling: bool = True,
        name: str = "view",
        source: tuple[Source, Voices] | None = None,
    ):
        super().__init__(denoiser, settings, name, source=source)
        self.reference, self.angle_scaling = reference, angle_scaling

    def image_weights(self, cameras: Cameras) -> Tensor | float:
        return angle_to(self.reference, cameras) / math.pi if self.angle_scaling else 1.0


def angle_to(reference: Cameras, cameras: Cameras) -> Tensor:
    """[B] angles in radians, 0 .. pi, between the directions of ``cameras`` and of one camera."""
    here = torch.nn.functional.normalize(cameras.positions, dim=-1)
    there = torch.nn.functional.normalize(send(reference.positions[:1], here), dim=-1)
    return torch.acos((here * there).sum(-1).clamp(-1, 1))
