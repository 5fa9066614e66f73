"""Canonicalize: a character in any pose -> the same character in A-pose, from the front, on white (StdGEN, Sec. 3.1)."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ...core.errors import InputError, StopStage
from ...core.step import KeepState, OnStep, Step, ignore_step, keep_no_state
from .picture import CharacterPicture, place_on_canvas
from .unfinished import Resume, Unfinished, begin_anew, go_on, left_over, run_key

NAME = "Canonicalize"
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


def canonicalize(network, picture: CharacterPicture, settings: CanonicalSettings = CanonicalSettings(), *,
                 on_step: OnStep = ignore_step, autosave: KeepState = keep_no_state, resume: Resume = begin_anew,
                 device: torch.device | str = "cpu") -> CanonicalResult:
    """The A-pose of a figure; network: ``networks.stdgen.canonical.Canonicalizer`` on ``device``.

    The result can be edited like any picture before multi-view diffusion.  on_step may raise StopStage.
    autosave: told of an ``Unfinished`` after every step, and when the stage is stopped or fails; resume: gives it back to the
    same run later, which then ends bit for bit where it would have ended without a pause.
    """
    shown = place_on_canvas(picture, network.size, settings.clip_wide)
    seen = network.see(shown.to(device))
    generator = torch.Generator().manual_seed(settings.seed)
    start = torch.randn(1, *network.latent_shape, generator=generator).to(device)
    steps = settings.steps or network.steps
    guidance = network.guidance if settings.guidance is None else settings.guidance
    key = run_key(NAME, shown, {"steps": steps, "guidance": guidance, "seed": settings.seed})
    left = left_over(resume, key, start.shape, steps)
    watcher = Watcher(NAME, steps, network, settings.preview_every, on_step, left, generator, autosave=autosave)
    with kept(watcher):
        try:
            latents = go_on(lambda x, t: network.predict(x, t, seen, guidance), start, network.schedule, steps, 0.0, generator,
                            watcher, left)
        except StopStage:
            latents = watcher.stopped()
        return CanonicalResult(network.decode(latents)[0].cpu(), shown, watcher.left.done == steps)


@contextmanager
def kept(watcher: "Watcher"):
    """Keeps what a sampler has computed before an error ends the stage."""
    try:
        yield
    except BaseException:
        watcher.hand_over()
        raise


class Watcher:
    """Turns a sampler's progress into steps with previews, and keeps what a later attempt would need.

    clean: the last guess of the clean latents; left: the run as the last step left it.
    network: has ``decode`` and ``codec.shrink``; generator: of the sampler's noise; rows: which of the latents a preview
    shows, side by side; note: said with the first step; autosave: told of ``left`` after every step.
    """

    def __init__(self, name: str, total: int, network, preview_every: int, on_step: OnStep, left: Unfinished,
                 generator: torch.Generator, rows: slice = slice(0, 1), note: str = "", autosave: KeepState = keep_no_state):
        self.name, self.total, self.network, self.every, self.on_step = name, total, network, preview_every, on_step
        self.left, self.generator, self.rows, self.note, self.autosave = left, generator, rows, note, autosave
        self.clean: Tensor | None = None

    def __call__(self, done: int, clean: Tensor, latents: Tensor) -> None:
        self.clean = clean
        self.left = replace(self.left, latents=latents, done=done, generator=self.generator.get_state())
        shown = self.preview() if self.every and done % self.every == 0 else None
        note, self.note = self.note, ""
        self.on_step(Step(self.name, self.left.step, self.total, preview=shown, note=note))
        self.autosave(self.now)

    def now(self) -> Unfinished:
        """The run as the last step left it."""
        return self.left

    def hand_over(self) -> None:
        """Keeps what there is, if there is anything."""
        if self.left.worth_keeping:
            self.autosave(self.now, now=True)

    def stopped(self) -> Tensor:
        """Hands over, and returns the clean latents guessed so far."""
        self.hand_over()
        return self._guess()

    def _guess(self) -> Tensor:
        assert self.clean is not None, "only a step shows or stops anything"
        return self.clean

    def preview(self) -> Tensor:
        """[h, w, 3] on the CPU: the guess, decoded from fewer latents where the pictures are large."""
        latents = self._guess()[self.rows]
        rows = latents.shape[2]
        shrink = max(1, -(-rows * self.network.codec.shrink // PREVIEW_SIDE))
        small = torch.nn.functional.avg_pool2d(latents, shrink) if shrink > 1 else latents
        return torch.cat(list(self.network.decode(small).cpu()), 1)
