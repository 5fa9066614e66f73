"""The plug of every distillation method: from a noisy latent and a network to the direction in which a latent moves.

A new method derives from :class:`Distillation`, writes ``direction`` in a file of its own, and is named once in
``registry.py``.  Everything that methods share (time, noise, w(t), weight, reduction, space) stays in ``priors/sds.py``.
Test of all methods: ``tests/distill/test_distillation.py``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Literal, get_args

import torch
from torch import Tensor

from ..core.cameras import Cameras
from ..core.errors import InputError
from .voices import Voices

Times = Literal["uniform", "annealed", "root", "dreamtime"]
TIMES = get_args(Times)
Numbers = Literal["prior", "paper"]


@dataclass(frozen=True)
class How:
    """What travels on a Distillation wire.

    method:   a name of ``registry.METHODS``.
    options:  (name, value) pairs of the method's own numbers, its fields; others keep its defaults.
    times:    how a time is chosen within the prior's range (``times.py``).
    perp_neg: view words that push each other away (``perp_neg.py``).
    numbers:  guidance, time range and w(t) are the "prior"'s or those of the method's "paper".
    """

    method: str = "sds"
    options: tuple[tuple[str, float], ...] = ()
    times: Times | Literal[""] = ""
    perp_neg: bool = False
    numbers: Numbers = "prior"


@dataclass(frozen=True)
class Paper:
    """What a method's paper sets.  guidance: None = it has none; t_range: fractions; weighting: as in ``SdsSettings``."""

    source: str
    guidance: float | None
    t_range: tuple[float, float]
    weighting: Literal["sigma2", "uniform", "snr"]
    times: Times = "uniform"


@dataclass(frozen=True)
class Draw:
    """One step's latents under one draw of time and noise.

    latents:  z [B, C, h, w] of the pictures, no gradient; noise: the same shape.
    t:        integer times [B].
    progress: of the stage; generator: for further draws, on the CPU.
    source:   latents of the same views of the scene as it was before an edit, with the network that is told its words.
    """

    voices: Voices
    latents: Tensor
    t: Tensor
    noise: Tensor
    cameras: Cameras
    progress: float
    generator: torch.Generator
    source: Callable[[], tuple[Tensor, Voices]] | None = None

    def abar(self, t: Tensor | None = None) -> Tensor:
        """[B, 1, 1, 1] cumulative schedule at ``t`` (default the draw's)."""
        return self.voices.denoiser.alphas_cumprod.to(self.latents)[self.t if t is None else t][:, None, None, None]

    def noisy(self, noise: Tensor | None = None, latents: Tensor | None = None) -> Tensor:
        """x_t = sqrt(abar) z + sqrt(1 - abar) eps."""
        abar = self.abar()
        z, eps = self.latents if latents is None else latents, self.noise if noise is None else noise
        return abar.sqrt() * z + (1 - abar).sqrt() * eps


class Distillation(ABC):
    """A method; subclasses are frozen or plain dataclasses whose fields are its numbers.

    paper:    where it is from and its numbers there.
    sourced:  whether it compares with the scene as it was (edits).
    """

    paper: Paper
    sourced: bool = False

    @abstractmethod
    def direction(self, draw: Draw) -> Tensor:
        """[B, C, h, w]: the gradient of the latents before w(t) and weight, no gradient through it.

        For score distillation it is eps_hat - eps, so that the latents move against it.
        """

    def learn(self, draw: Draw) -> None:
        """Called after :meth:`direction`, for methods that learn from what was shown."""
        return None

    def forget(self) -> None:
        """A stage begins anew: nothing that was learned is left."""
        return None

    def memory(self) -> tuple[dict[str, Tensor], dict | None]:
        """As ``core.prior.Prior.memory``."""
        return {}, None

    def recall(self, tensors: dict[str, Tensor], meta: dict | None) -> bool:
        """As ``core.prior.Prior.recall``."""
        return False


def numbers_of(method: type[Distillation]) -> dict[str, float]:
    """A method's own numbers with their defaults."""
    return {f.name: f.default for f in fields(method) if f.init}  # type: ignore[arg-type]


def with_options(name: str, method: type[Distillation], options: tuple[tuple[str, float], ...]) -> Distillation:
    """The method with some of its numbers replaced; InputError for unknown ones."""
    known = numbers_of(method)
    wrong = [key for key, _ in options if key not in known]
    if wrong:
        raise InputError("options", f"numbers of {name}: {', '.join(known) or 'it has none'}", ", ".join(wrong),
                         "Write pairs like 'steps: 10' with those names, or leave it empty.")
    return method(**{key: type(known[key])(value) for key, value in options})
