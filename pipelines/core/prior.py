"""The plug of every prior: a frozen network seen as a loss on rendered pictures.

A new prior derives from :class:`Prior`, writes ``loss``, and overrides of the rest what it needs; stages use these
members and no others.  ``tests/priors/test_prior_contract.py`` runs over all priors and says what has to hold.

When a stage calls what: ``on_surface`` once before the first step (mesh stage only), then ``recall`` if it resumes.  In
every step with novel views: ``at`` with the clock, and of the prior that it returns ``choose``, ``backdrop``, ``loss``
and ``name``.  ``memory`` whenever the stage is left unfinished or writes a checkpoint.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor

from .cameras import Cameras
from .choices import Clock
from .views import RenderBuffers

Outline = Callable[[Cameras], RenderBuffers]


class Prior(ABC):
    """A loss on pictures; everything but :meth:`loss` has a default that wants nothing.

    name:            of its term among a step's losses, and in messages.
    knows_reference: whether it was told the reference picture.  Where no prior was, alternating stages show the picture
                     itself more often (``StepConfig.reference_every_2d``).
    backdrop:        what stages put behind novel views, which they then show unlit: a ``StepConfig.novel_background``;
                     "" = whatever the stage is set to, lit as the stage is set to.
    clock:           None: the same loss at every time.  "local" or "global": the prior changes over the stages, which ask
                     :meth:`at` for it by that clock (``priors.combine.dynamic_clock``).
    """

    name: str = "prior"
    knows_reference: bool = True
    backdrop: str = ""
    clock: Clock | None = None

    @abstractmethod
    def loss(self, images: Tensor, cameras: Cameras, progress: float, generator: torch.Generator) -> Tensor:
        """[B] weighted losses of novel views, finite; differentiable in ``images``, and never calls ``backward``.

        images:    [B, H, W, 3] sRGB in [0, 1], composited, on the device of the stage.  The prior resizes them.
        cameras:   [B], those that :meth:`choose` returned (or a part of them, when memory is short).
        progress:  in [0, 1] of the stage, for schedules.
        generator: on the CPU; the only source of randomness, so that the same state gives the same losses.
        """

    def at(self, x: float | None) -> Prior:
        """The prior of one moment, without a clock.  x: its clock in [0, 1]; None = before the switch."""
        return self

    def choose(self, step: int, cameras: Cameras) -> Cameras:
        """The cameras of 0-based ``step``, given as many random ones; the same again for the same step.

        A prior that has no views of its own returns the very object that it was given.
        """
        return cameras

    def on_surface(self, outline: Outline, frozen: bool) -> None:
        """Tells what the surface looks like, before the first step of a mesh stage.

        outline: cameras [B] -> coverage and depth [B, H, W] of the surface as it is when called, without gradient.
        frozen:  whether the stage leaves the shape alone.
        Raises InputError when the prior cannot work on such a surface.
        """
        return None

    def evaluations(self) -> dict[str, float]:
        """Mean evaluations of a network per judged picture so far, by name; {} where nothing is counted."""
        return {}

    def memory(self) -> tuple[dict[str, Tensor], dict | None]:
        """(tensors on the CPU, JSON) with which :meth:`recall` lets an equal prior go on; JSON None = nothing is kept."""
        return {}, None

    def recall(self, tensors: dict[str, Tensor], meta: dict | None) -> bool:
        """Goes on from :meth:`memory`, bit for bit, after :meth:`on_surface`.

        False, and nothing is recalled, where there is nothing to recall: absent, or kept under other settings.
        """
        return False
