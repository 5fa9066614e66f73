"""Denoisers become priors of one reference view: what every paper does before it distils."""

from __future__ import annotations

from typing import Protocol, TypeVar

from ...core.errors import InputError
from ...core.protocols import GuidedDenoiser, PictureConditioned, PromptConditioned
from ...priors.sds import SdsSettings
from ...priors.text import TextPrior
from ...priors.view import ViewPrior
from ..inputs.reference import ReferenceView

Denoises = TypeVar("Denoises", bound=GuidedDenoiser)


class PriorNetworks(Protocol):
    """The networks that priors of one run are made of, as ``loaders.embedded`` has them; None leaves a prior out."""

    @property
    def view(self) -> PictureConditioned | None: ...

    @property
    def text(self) -> PromptConditioned | None: ...


def view_prior(
    denoiser: PictureConditioned,
    reference: ReferenceView,
    settings: SdsSettings = SdsSettings(),
    angle_scaling: bool = True,
) -> ViewPrior:
    """The 3D prior, conditioned on the reference picture (on white) and its camera."""
    device = denoiser.alphas_cumprod.device
    conditioned = denoiser.with_reference(reference.on_background().to(device), reference.camera.to(device))
    return ViewPrior(conditioned, settings, reference.camera, angle_scaling)


def text_prior(
    denoiser: PromptConditioned, reference: ReferenceView, settings: SdsSettings = SdsSettings()
) -> TextPrior:
    """The 2D prior, conditioned on the reference view's prompt; InputError without one."""
    if not reference.prompt:
        raise InputError(
            "prompt", "a short description of the object", "an empty text",
            "The text prior needs words: write a prompt in the reference view, or leave the 2D prior out.",
        )
    return TextPrior(denoiser.with_prompt(reference.prompt, reference.negative), settings)


def guided(denoiser: Denoises, guidance: float | None) -> Denoises:
    """The denoiser with another guidance scale; None keeps its own."""
    return denoiser if guidance is None else denoiser.with_guidance(guidance)
