"""The 2D prior: a text-conditioned denoiser (Stable Diffusion) under score distillation."""

from __future__ import annotations

from ..core.protocols import Denoiser
from ..distill.voices import Voices
from .sds import SdsPrior, SdsSettings, Source


class TextPrior(SdsPrior):
    """SDS of a denoiser already conditioned on a prompt.

    View-dependent wording ("..., back view") is the denoiser's job: it sees the cameras.
    """

    def __init__(self, denoiser: Denoiser, settings: SdsSettings = SdsSettings(), name: str = "text",
                 voices: Voices | None = None, source: tuple[Source, Voices] | None = None):
        super().__init__(denoiser, settings, name, voices, source)
