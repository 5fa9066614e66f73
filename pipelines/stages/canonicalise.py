"""Canonicalise: a character in any pose -> the same character in A-pose, from the front, on white (StdGEN, Sec. 3.1)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..core.errors import InputError, StopStage
from ..core.step import OnStep, Step, ignore_step
from ..models.stdgen.schedule import sample
from .character_picture import CharacterPicture, place_on_canvas

NAME = "Canonicalise"
PREVIEW_SIDE = 256  # pixels, at most, of a preview's height


@dataclass(frozen=True)
class CanonicalSettings:
    """steps, guidance: None = the network's own (published: 40 and 5.0).

    seed: of the starting noise; clip_wide: see ``place_on_canvas``; preview_every: steps between previews, 0 = none.
    """

    steps: int | None = None
    guidance: float | None = None
    seed: int = 42
    clip_wide: bool = False
    preview_every: int = 5

    def __post_init__(self):
        if self.steps is not None and self.steps < 1:
            raise InputError("steps", "at least 1", str(self.steps), "Published: 40.")


@dataclass(frozen=True)
class CanonicalResult:
    """picture: [H, W, 3] sRGB in [0, 1], the A-pose on white; shown: [H, W, 3], what the network was shown.

    finished: False when it was stopped early; the picture is then the network's guess so far.
    """

    picture: Tensor
    shown: Tensor
    finished: bool = True


def canonicalise(network, picture: CharacterPicture, settings: CanonicalSettings = CanonicalSettings(), *,
                 on_step: OnStep = ignore_step, device: torch.device | str = "cpu") -> CanonicalResult:
    """The A-pose of a figure; network: ``models.stdgen.canonical.Canonicaliser`` on ``device``.

    The result can be edited like any picture before multi-view diffusion.  on_step may raise StopStage.
    """
    shown = place_on_canvas(picture, network.size, settings.clip_wide)
    seen = network.see(shown.to(device))
    generator = torch.Generator().manual_seed(settings.seed)
    start = torch.randn(1, *network.latent_shape, generator=generator).to(device)
    steps = settings.steps or network.steps
    guidance = network.guidance if settings.guidance is None else settings.guidance
    watcher = Watcher(NAME, steps, network, settings.preview_every, on_step)
    try:
        latents = sample(lambda x, t: network.predict(x, t, seen, guidance), start, network.schedule, steps, 0.0, generator,
                         watcher)
    except StopStage:
        latents = watcher.clean
    return CanonicalResult(network.decode(latents)[0].cpu(), shown, watcher.done == steps)


class Watcher:
    """Turns a sampler's progress into steps with previews; ``clean`` is the last guess of the clean latents.

    network: has ``decode`` and ``codec.shrink``; rows: which of the latents a preview shows, side by side; before: steps
    finished earlier in the same stage; note: said with the first step.
    """

    def __init__(self, name: str, total: int, network, preview_every: int, on_step: OnStep, rows: slice = slice(0, 1),
                 before: int = 0, note: str = ""):
        self.name, self.total, self.network, self.every, self.on_step = name, total, network, preview_every, on_step
        self.rows, self.before, self.note, self.done, self.clean = rows, before, note, 0, None

    def __call__(self, done: int, clean: Tensor) -> None:
        self.done, self.clean = done, clean
        shown = self.preview() if self.every and done % self.every == 0 else None
        self.on_step(Step(self.name, self.before + done, self.total, preview=shown, note=self.note if done == 1 else ""))

    def preview(self) -> Tensor:
        """[h, w, 3] on the CPU: the guess, decoded from fewer latents where the pictures are large."""
        latents = self.clean[self.rows]
        rows = latents.shape[2]
        shrink = max(1, -(-rows * self.network.codec.shrink // PREVIEW_SIDE))
        small = torch.nn.functional.avg_pool2d(latents, shrink) if shrink > 1 else latents
        return torch.cat(list(self.network.decode(small).cpu()), 1)
