"""The 2D prior: a text-conditioned denoiser (Stable Diffusion) under score distillation."""

from __future__ import annotations

from ..core.protocols import Denoiser
from .sds import SdsPrior, SdsSettings


class TextPrior(SdsPrior):
    """SDS of a denoiser already conditioned on a prompt.

    View-dependent wording ("..., back view") is the denoiser's job: it sees the cameras.
    """

    def __init__(self, denoiser: Denoiser, settings: SdsSettings = SdsSettings(), name: str = "text"):
        super().__init__(denoiser, settings, name)
