"""Losses on their wire: light descriptions in a row, built by the stage on its device."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..pipelines.core.cameras import Cameras
from ..pipelines.core.errors import InputError
from ..pipelines.core.schedules import Schedule
from ..pipelines.core.views import Views
from .specs import AnyNetwork

if TYPE_CHECKING:  # what stages are made of comes with them
    from ..pipelines.core.extra import ExtraLoss
    from ..pipelines.stages.inputs.reference import ReferenceView
    from ..pipelines.stages.loop.scene import Scene


@dataclass(frozen=True)
class LossSpec:
    """One loss.  kind: a key of :data:`KINDS`; others: what that kind reads.

    pictures, masks: [N, S, S, 3] and [N, S, S]; azimuths, elevations: degrees; box: its center and size, scene units.
    """

    kind: str
    weight: Schedule
    pictures: Tensor | None = None
    masks: Tensor | None = None
    azimuths: tuple[float, ...] = ()
    elevations: tuple[float, ...] = ()
    clip: AnyNetwork | None = None
    words: str = ""
    colors: tuple[tuple[float, float, float], ...] = ()
    scene: Scene | None = None
    box: tuple[float, ...] = ()

    def check(self, reference: ReferenceView) -> None:
        """InputError before any work."""
        if self.clip is not None:
            self.clip.check()
        if self.kind == "depth" and reference.views.depth is None:
            raise InputError("losses", "a reference with depth, for Depth Order Loss", "none",
                             "Put Estimate Depth behind Reference View.")
        if self.kind == "clip" and self.pictures is None and not (self.words.strip() or reference.prompt.strip()):
            raise InputError("losses", "words or a picture, for CLIP Loss", "neither", "Write a prompt or connect an image.")

    def build(self, reference: ReferenceView, device: torch.device) -> ExtraLoss:
        """The loss on ``device``."""
        return KINDS[self.kind](self, reference, device)


@dataclass(frozen=True)
class Losses:
    """Several losses; what travels on the wire."""

    parts: tuple[LossSpec, ...]

    def check(self, reference: ReferenceView) -> None:
        """InputError before any work."""
        for part in self.parts:
            part.check(reference)

    def build(self, reference: ReferenceView, device: torch.device) -> tuple[ExtraLoss, ...]:
        """All of them on ``device``."""
        return tuple(part.build(reference, device) for part in self.parts)


def _photos(spec: LossSpec, reference: ReferenceView, device: torch.device):
    from ..pipelines.losses.extra import Photos

    assert spec.masks is not None
    size, home = spec.masks.shape[1], reference.camera
    azimuth, elevation = (torch.tensor(v) * (math.pi / 180) for v in (spec.azimuths, spec.elevations))
    cameras = Cameras.orbit(azimuth + home.azimuth, elevation, home.radius, home.fovy, size, size)
    rgb = torch.ones(*spec.masks.shape, 3) if spec.pictures is None else spec.pictures
    return Photos(weight=spec.weight, photos=Views(cameras, rgb, spec.masks), colors=spec.pictures is not None,
                  label="photos" if spec.pictures is not None else "silhouettes")


def _symmetry(spec: LossSpec, reference: ReferenceView, device: torch.device):
    from ..pipelines.losses.extra import Symmetry

    return Symmetry(weight=spec.weight)


def _depth(spec: LossSpec, reference: ReferenceView, device: torch.device):
    from ..pipelines.losses.extra import DepthOrder

    return DepthOrder(weight=spec.weight, view=reference.resized(64))


def _likeness(spec: LossSpec, reference: ReferenceView, device: torch.device):
    from ..pipelines.losses.extra import Likeness

    scorer: Any = spec.clip.load(device) if spec.clip is not None else None
    words = spec.words.strip() or ("" if spec.pictures is not None else reference.prompt.strip())
    wanted = [scorer.text_embedding([words])] if words else []
    wanted += [scorer.image_embedding(spec.pictures.to(device))] if spec.pictures is not None else []
    return Likeness(weight=spec.weight, embed=scorer.embedding, wanted=torch.cat(wanted))


def _palette(spec: LossSpec, reference: ReferenceView, device: torch.device):
    from ..pipelines.losses.extra import Palette

    return Palette(weight=spec.weight, colors=torch.tensor(spec.colors))


def _untouched(spec: LossSpec, reference: ReferenceView, device: torch.device):
    from ..pipelines.losses.extra import Untouched
    from .specs import pictures_of

    assert spec.scene is not None
    center, size = torch.tensor(spec.box[:3]), torch.tensor(spec.box[3:])
    low, high = ((center + sign * size / 2).tolist() for sign in (-1, 1))
    return Untouched(weight=spec.weight, before=pictures_of(spec.scene, device), low=tuple(low), high=tuple(high))


KINDS: dict[str, Callable[[LossSpec, Any, torch.device], Any]] = {
    "photos": _photos, "symmetry": _symmetry, "depth": _depth, "clip": _likeness, "palette": _palette, "untouched": _untouched,
}
