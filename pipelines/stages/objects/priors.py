"""Denoisers become priors of one reference view: what every paper does before it distils."""

from __future__ import annotations

from typing import Protocol, TypeVar

from ...core.errors import InputError
from ...core.protocols import GuidedDenoiser, PictureConditioned, PromptConditioned
from ...distill.voices import Voices
from ...priors.sds import SdsSettings, Source
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
    source: Source | None = None,
) -> ViewPrior:
    """The 3D prior, conditioned on the reference picture (on white) and its camera.

    source: pictures of the scene as it was, for edits.
    """
    device = denoiser.alphas_cumprod.device
    conditioned = denoiser.with_reference(reference.on_background().to(device), reference.camera.to(device))
    before = None if source is None else (source, Voices(conditioned))
    return ViewPrior(conditioned, settings, reference.camera, angle_scaling, source=before)


def text_prior(
    denoiser: PromptConditioned, reference: ReferenceView, settings: SdsSettings = SdsSettings(),
    source: Source | None = None, source_prompt: str = "",
) -> TextPrior:
    """The 2D prior, conditioned on the reference view's prompt; InputError without one.

    source, source_prompt: pictures of the scene as it was, for edits, and what they show.
    """
    if not reference.prompt:
        raise InputError(
            "prompt", "a short description of the object", "an empty text",
            "The text prior needs words: write a prompt in the reference view, or leave the 2D prior out.",
        )
    conditioned = denoiser.with_prompt(reference.prompt, reference.negative)
    voices = Voices(conditioned, denoiser.with_prompt, reference.prompt, settings.how.perp_neg)
    before = None if source is None else (source, voices.of(source_prompt or reference.prompt))
    return TextPrior(conditioned, settings, voices=voices, source=before)


def guided(denoiser: Denoises, guidance: float | None) -> Denoises:
    """The denoiser with another guidance scale; None keeps its own."""
    return denoiser if guidance is None else denoiser.with_guidance(guidance)
