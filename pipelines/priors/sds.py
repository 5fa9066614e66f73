"""Score distillation (DreamFusion, Poole et al. 2022, Eq. 3) and its relatives, written once for every prior.

A picture is encoded, noised to a random time and denoised by a frozen network; the difference
between predicted and true noise, times w(t), is the gradient of the latent.  What stands in place of that difference
is the distillation method's (``distill/plug.py``); time, w(t), weight and reduction are the same for all.

In pixels (M-C.7; the image-space term of HiFA, Zhu et al. 2023, alone) the network's clean estimate is decoded instead,
and the picture is pulled towards it.  What only the encoder's gradient sees, a grain on unseen sides, stays away; in
return nothing finer than the decoder's pictures is taught.  The encoder's backward pass is left out and a decoder's
forward pass comes in its place, which is the larger of the two (``benchmarks/bench_sds.py``).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, get_args

import torch
from torch import Tensor

from ..core.cameras import Cameras
from ..core.doubts import collects, doubt
from ..core.errors import NotFinite
from ..core.far import send
from ..core.prior import Outline, Prior
from ..core.protocols import Denoiser
from ..core.randomness import normal
from ..core.schedules import Constant, Schedule
from ..distill.plug import Draw, How
from ..distill.registry import method_of, paper_of
from ..distill.times import choose_times
from ..distill.voices import Voices

Reduction = Literal["mean", "sum"]
REDUCTIONS = get_args(Reduction)
LOST = 0.01  # share of a network's output that may be nan without stopping the stage
Weighting = Literal["sigma2", "uniform", "snr"]
WEIGHTINGS = get_args(Weighting)
SdsSpace = Literal["latent", "pixels"]
SPACES = get_args(SdsSpace)
Shrink = Literal["smooth", "plain"]
SHRINKS = get_args(Shrink)
Source = Callable[[Cameras, int], Tensor]
FAINT = 1e-4  # the least share of the picture in a noisy latent, sqrt(abar), that an estimate is divided by


@dataclass(frozen=True)
class SdsSettings:
    """How one network is distilled.

    t_range:   lowest and highest time as fractions of the noise schedule; numbers or schedules over
               progress (both papers: 0.2 .. 0.6 for the NeRF, Consistent123 0.2 .. 0.5 for the mesh).
    fixed_t:   always use the highest time (what Consistent123's code does for Zero-1-to-3).
    weight:    schedule over progress, multiplies the loss.
    reduction: "sum" over latent elements (the released codes) or "mean" (M-C.6).
    weighting: w(t): "sigma2" = 1 - abar (both papers), "uniform" = 1, or "snr" =
               sqrt(1 - abar) / sqrt(abar), which makes the gradient exactly z - z0_hat.
    space:     "latent" (the papers), or "pixels": 0.5 w |x - D(z0_hat)|^2, the mean over the picture's pixels and
               channels, with no gradient through encoder or decoder (M-C.7).  ``reduction`` and ``weighting`` are the
               latent's and play no part there.
    pixel_weight: schedule over progress, multiplies ``weight`` in pixels.
    shrink:    how renders larger than the network's pictures become smaller (M-C.1): "smooth" (ours, antialiased: every
               pixel counts) or "plain" (the released codes: four pixels around each sample; of 1024 to 256 a quarter of
               the pixels gets a gradient, the others none).
    how:       the distillation method, with its numbers and its choice of times.
    """

    t_range: tuple[float | Schedule, float | Schedule] = (0.2, 0.6)
    fixed_t: bool = False
    weight: Schedule = Constant(1.0)
    reduction: Reduction = "sum"
    weighting: Weighting = "sigma2"
    space: SdsSpace = "latent"
    pixel_weight: Schedule = Constant(12.0)
    shrink: Shrink = "smooth"
    how: How = How()

    def __post_init__(self):
        if self.reduction not in REDUCTIONS:
            raise ValueError(f"reduction must be one of {REDUCTIONS}, got {self.reduction!r}")
        if self.weighting not in WEIGHTINGS:
            raise ValueError(f"weighting must be one of {WEIGHTINGS}, got {self.weighting!r}")
        if self.space not in SPACES:
            raise ValueError(f"space must be one of {SPACES}, got {self.space!r}")
        if self.shrink not in SHRINKS:
            raise ValueError(f"shrink must be one of {SHRINKS}, got {self.shrink!r}")

    def times(self, progress: float, steps: int) -> tuple[int, int]:
        """Lowest and highest integer time, both inclusive, at ``progress``."""
        low, high = (float(v(progress) if callable(v) else v) for v in self.t_range)
        top = steps - 1
        first, last = (min(max(round(v * steps), 0), top) for v in (low, high))
        if first > last:
            raise ValueError(f"t_range is empty at progress {progress}: {low} > {high}")
        return (last, last) if self.fixed_t else (first, last)

    def as_papers(self) -> "SdsSettings":
        """With the time range and w(t) of the method's paper, where its numbers are asked for."""
        if self.how.numbers != "paper":
            return self
        paper = paper_of(self.how)
        return replace(self, t_range=paper.t_range, fixed_t=False, weighting=paper.weighting)


class SdsPrior(Prior):
    """A :class:`Denoiser` seen as a loss.

    In latent space the loss's *gradient* is exact score distillation, in the product form <stopgrad(g), z> in
    float32 (the regression form loses digits in half precision); its *value* is |g|^2 / 2, which,
    unlike the product, says how far the network wants to move the picture.
    In pixels value and gradient are those of the squared distance to the decoded estimate.
    knows_reference: whether the denoiser is conditioned on the reference picture.
    voices:  the denoiser under the conditions that methods ask about (default: made of it).
    source:  (cameras, pixels) -> pictures [B, S, S, 3] of the scene as it was, and what the network is told of it.
    """

    knows_reference = False

    def __init__(self, denoiser: Denoiser, settings: SdsSettings = SdsSettings(), name: str = "sds",
                 voices: Voices | None = None, source: tuple[Source, Voices] | None = None):
        self.denoiser, self.settings, self.name = denoiser, settings.as_papers(), name
        self.method = method_of(settings.how)
        self.voices = voices or Voices(denoiser, perp_neg=settings.how.perp_neg)
        self.source, self.judged = source, 0
        self.backdrop = "white" if source else ""  # two pictures that differ by their background differ everywhere

    def image_weights(self, cameras: Cameras) -> Tensor | float:
        """[B] further weights by camera; 1 here."""
        return 1.0

    def loss(self, images: Tensor, cameras: Cameras, progress: float, generator: torch.Generator) -> Tensor:
        """[B] losses of pictures [B, H, W, 3]; the generator lives on the CPU."""
        judged = self._in_pixels if self.settings.space == "pixels" else self._in_latents
        return judged(images, cameras, progress, generator)

    def evaluations(self) -> dict[str, float]:
        """Mean evaluations of the network per picture so far, by the prior's name and method."""
        return {f"{self.name} ({self.settings.how.method})": self.voices.asked / self.judged} if self.judged else {}

    def on_surface(self, outline: Outline, frozen: bool) -> None:
        """A mesh stage begins: what the method has learned is forgotten, unless :meth:`recall` follows."""
        self.method.forget()

    def memory(self) -> tuple[dict[str, Tensor], dict | None]:
        """What the method has learned, if it learns; of another method it is not recalled."""
        tensors, meta = self.method.memory()
        return tensors, None if meta is None else {**meta, "how": repr(self.settings.how)}

    def recall(self, tensors: dict[str, Tensor], meta: dict | None) -> bool:
        """Goes on from :meth:`memory` of the same method."""
        return bool(meta) and meta.get("how") == repr(self.settings.how) and self.method.recall(tensors, meta)

    def _in_latents(self, images: Tensor, cameras: Cameras, progress: float, generator: torch.Generator) -> Tensor:
        settings, denoiser = self.settings, self.denoiser
        latents = denoiser.encode(self._resized(images)).float()
        with torch.no_grad():
            draw, direction = self._taught(latents, cameras, progress, generator)
            weight = self.image_weights(cameras)
            weight = send(weight, latents)[:, None, None, None] if isinstance(weight, Tensor) else weight
            grad = weight * settings.weight(progress) * _weighting(settings.weighting, draw.abar()) * direction
            grad = torch.nan_to_num(grad, nan=0.0, posinf=0.0, neginf=0.0)  # M-C.1
        per_element = latents * grad
        value = 0.5 * grad.square() + per_element - per_element.detach()
        flat = value.flatten(1)
        return flat.sum(1) if settings.reduction == "sum" else flat.mean(1)

    def _in_pixels(self, images: Tensor, cameras: Cameras, progress: float, generator: torch.Generator) -> Tensor:
        settings, denoiser = self.settings, self.denoiser
        with torch.no_grad():
            shown = self._resized(images.detach())
            latents = denoiser.encode(shown).float()
            draw, direction = self._taught(latents, cameras, progress, generator)
            abar = draw.abar()
            clean = latents - ((1 - abar).sqrt() / abar.sqrt().clamp_min(FAINT)) * direction
            target = _without_lost(denoiser.decode(clean).to(images), shown.to(images), self.name, draw.t)
            weight = self.image_weights(cameras) * settings.weight(progress) * settings.pixel_weight(progress)
            weight = send(weight, images) if isinstance(weight, Tensor) else weight
            target = resize(target, images.shape[1], images.shape[2])
        return 0.5 * weight * (images - target).square().flatten(1).mean(1)

    def _resized(self, images: Tensor) -> Tensor:
        return resize(images, self.denoiser.image_size, antialias=self.settings.shrink == "smooth")

    def _taught(self, latents: Tensor, cameras: Cameras, progress: float, generator: torch.Generator) -> tuple[Draw, Tensor]:
        """One draw, and the method's direction in it."""
        latents = latents.detach()
        t = send(self._draw_times(len(latents), progress, generator), latents.device)
        noise = normal(latents.shape, generator, latents)
        draw = Draw(self.voices, latents, t, noise, cameras, progress, generator, self._source(cameras))
        direction = _without_lost(self.method.direction(draw), torch.zeros_like(noise), self.name, t)
        self.judged += len(latents)
        self.method.learn(draw)
        return draw, direction

    def _source(self, cameras: Cameras) -> Callable[[], tuple[Tensor, Voices]] | None:
        """What a method that compares with the scene as it was asks for: its latents seen from ``cameras``."""
        if self.source is None:
            return None
        pictures, voices = self.source
        size = self.denoiser.image_size
        return lambda: (self.denoiser.encode(resize(pictures(cameras, size), size)).float(), voices)

    def _draw_times(self, count: int, progress: float, generator: torch.Generator) -> Tensor:
        steps = len(self.denoiser.alphas_cumprod)
        how = self.settings.how
        kind = how.times or (paper_of(how).times if how.numbers == "paper" else "uniform")
        return choose_times(kind, *self.settings.times(progress, steps), count, progress, generator, steps)


def resize(images: Tensor, height: int, width: int | None = None, antialias: bool = True) -> Tensor:
    """[B, H, W, C] -> [B, height, width, C], bilinear, pixel centers kept (align_corners false); a square without width.

    antialias: whether shrinking averages all pixels that a new one covers, not only the four nearest to its center.
    """
    width = height if width is None else width
    if images.shape[1] == height and images.shape[2] == width:
        return images
    planes = images.movedim(-1, 1)
    smooth = antialias and images.shape[1] > height
    planes = torch.nn.functional.interpolate(
        planes, (height, width), mode="bilinear", align_corners=False, antialias=smooth
    )
    return planes.movedim(1, -1)


def _without_lost(predicted: Tensor, neutral: Tensor, name: str, t: Tensor) -> Tensor:
    """``predicted`` with single lost elements (half precision does that) replaced by no opinion at all, ``neutral``.

    Raises NotFinite when more than :data:`LOST` of the elements are lost: then the network (or its decoder) is broken.
    """
    finite = predicted.isfinite()
    if collects():
        share = finite.float().mean()
        doubt(share >= 1 - LOST, lambda: _too_much_lost(1 - float(share), name, t))
        return torch.where(finite, predicted, neutral)
    lost = 1 - float(finite.float().mean())
    if lost > LOST:
        raise _too_much_lost(lost, name, t)
    return torch.where(finite, predicted, neutral) if lost else predicted


def _too_much_lost(lost: float, name: str, t: Tensor) -> NotFinite:
    return NotFinite(
        f"{name} prior", f"{lost:.0%} of the network's output is nan or infinite at timestep {t.tolist()}",
        "Load that network in float32 or bfloat16 (half precision overflows in some), or lower its guidance.",
    )


def _weighting(name: str, abar: Tensor) -> Tensor | float:
    if name == "sigma2":
        return 1 - abar
    return 1.0 if name == "uniform" else ((1 - abar) / abar).sqrt()
