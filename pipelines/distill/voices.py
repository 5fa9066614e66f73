"""One frozen network under the conditions that methods ask about; counts what it was asked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from ..core.cameras import Cameras
from ..core.errors import InputError
from ..core.protocols import Denoiser
from .perp_neg import perp_neg

Told = Callable[[str, str], Denoiser]


class Voices:
    """A conditioned denoiser, without its condition, and against words.

    told:     (prompt, negative) -> the same network told other words; None for networks without words.
    prompt:   what ``denoiser`` was told.
    asked:    evaluations so far, one per picture and condition; an answer under guidance is two.
    """

    def __init__(self, denoiser: Denoiser, told: Told | None = None, prompt: str = "", perp_neg: bool = False):
        self.denoiser, self.told, self.prompt, self.perp_neg = denoiser, told, prompt, perp_neg
        self.asked = 0
        self._others: dict[Any, Denoiser] = {}

    @property
    def guidance(self) -> float:
        """The network's scale; 1 where it has none."""
        return float(getattr(self.denoiser, "guidance", 1.0))

    def guided(self, noisy: Tensor, t: Tensor, cameras: Cameras, scale: float | None = None) -> Tensor:
        """eps_u + s (eps_c - eps_u), by the network's own scale or another."""
        if scale is None and self.perp_neg:
            return perp_neg(self, noisy, t, cameras)
        network = self.denoiser if scale is None else self._scaled(scale)
        return self._ask(network, noisy, t, cameras, 2 if getattr(network, "guidance", 1.0) not in (0.0, 1.0) else 1)

    def conditioned(self, noisy: Tensor, t: Tensor, cameras: Cameras) -> Tensor:
        """eps_c."""
        return self._ask(self._scaled(1.0), noisy, t, cameras, 1)

    def unconditioned(self, noisy: Tensor, t: Tensor, cameras: Cameras) -> Tensor:
        """eps_u: of no words (or the prior's negative ones), of no picture."""
        return self._ask(self._scaled(0.0), noisy, t, cameras, 1)

    def against(self, words: str, noisy: Tensor, t: Tensor, cameras: Cameras) -> Tensor:
        """eps of ``words`` instead; of networks without words eps_u, which is all that they know against a picture."""
        if self.told is None:
            return self.unconditioned(noisy, t, cameras)
        if words not in self._others:
            self._others[words] = _scale(self.told(self.prompt, words), 0.0)
        return self._ask(self._others[words], noisy, t, cameras, 1)

    def of(self, prompt: str) -> "Voices":
        """The same network told another prompt, with the same guidance; itself where it has no words."""
        if self.told is None:
            return self
        return Voices(_scale(self.told(prompt, ""), self.guidance), self.told, prompt, self.perp_neg)

    def _scaled(self, scale: float) -> Denoiser:
        if scale not in self._others:
            self._others[scale] = _scale(self.denoiser, scale)
        return self._others[scale]

    def _ask(self, network: Denoiser, noisy: Tensor, t: Tensor, cameras: Cameras, conditions: int) -> Tensor:
        self.asked += conditions * len(noisy)
        return network.predict_noise(noisy, t, cameras).float()


def _scale(denoiser: Denoiser, scale: float) -> Denoiser:
    """The denoiser with guidance ``scale``; InputError where it has none to set."""
    setter = getattr(denoiser, "with_guidance", None)
    if setter is None:
        raise InputError("distillation", "a network with guidance", type(denoiser).__name__,
                         "This method compares answers with and without the condition: use sds or sjc here.")
    return setter(scale)
