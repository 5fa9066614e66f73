"""The one loop and the one backward, shared by the NeRF and the mesh stage.

A step shows the object from the reference camera (pixel losses), from novel cameras (priors), or
both.  Priors are differentiated with respect to the rendered *pictures* only; their gradients are
summed there and the render is back-propagated once, with all pixel losses and regularizers.
"""

from __future__ import annotations

import dataclasses
import logging
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from ...core import schedules
from ...core.cameras import Cameras
from ...core.errors import NotFinite, OutOfRoom, StopStage
from ...core.schedules import Constant
from ...core.step import OnStep, Step
from ...core.views import NEUTRAL, RenderBuffers, Views
from ...losses import image as losses
from ...render.shading import ALBEDO, Shading, random_light
from ..inputs.reference import ReferenceView
from .cameras import NovelViews
from .scene import Scene

log = logging.getLogger(__name__)
OnCheckpoint = Callable[[Scene], None]


@dataclass(frozen=True)
class ShadingMix:
    """How novel views are lit; shares of steps (spec B.4; both papers, from the released codes).

    lambertian, textureless: shares; the rest is plain albedo.
    normal_until: progress until which the normal is shown instead (Magic123's warm-up).
    ambient:      range of the ambient share.
    """

    lambertian: float = 0.8
    textureless: float = 0.2
    normal_until: float = 0.0
    ambient: tuple[float, float] = (0.1, 1.0)

    def draw(self, cameras: Cameras, progress: float, generator: torch.Generator) -> Shading:
        """One step's shading; always draws the same amount of random numbers."""
        share, ambient = torch.rand(2, generator=generator).tolist()
        light = random_light(cameras, generator)
        ambient = self.ambient[0] + (self.ambient[1] - self.ambient[0]) * ambient
        if progress < self.normal_until:
            return Shading("normal")
        if share < self.lambertian:
            return Shading("lambertian", ambient, light)
        if share < self.lambertian + self.textureless:
            return Shading("textureless", ambient, light)
        return ALBEDO


PLAIN = ShadingMix(0.0, 0.0)


@dataclass(frozen=True)
class StepConfig:
    """What a step shows and how it is judged; defaults are Consistent123's (spec B.4-B.6).

    iterations:      of this stage.
    size, reference_size: pixels of novel and reference renders.
    mode:            "alternate" (a reference step every ``reference_every`` steps, the others novel)
                     or "both" in every step (threestudio's way).
    reference_first: so many reference steps come first (Magic123: 100).
    novel_batch:     novel views per novel step.
    reference_noise: deviation of a shift of all ray origins and another of all directions (NeRF only;
                     spec A.4).
    reference_background: "noise" (per pixel; forces opacity), "random" (one color) or "white".
    novel_background: "random", "white" or "gray" (what depth-text networks like behind an object).
    rgb, mask, depth, normal: weights of the reference losses, schedules over progress.
    rgb_inside:      color loss inside the mask only (Magic123).
    rgb_edge:        what of the mask's edge counts then: "keep", "soft" or "erode" (``losses.image``).
    reference_every_2d: instead of ``reference_every`` when no prior knows the picture (Magic123: 2);
                     0 = the same.
    prior:           weight of everything the priors say, a schedule over progress.
    preview_every, checkpoint_every: steps; 0 = never.
    """

    iterations: int = 5000
    size: int = 128
    reference_size: int = 192
    mode: str = "alternate"
    reference_every: int = 4
    reference_every_2d: int = 0
    reference_first: int = 0
    novel_batch: int = 1
    novel: NovelViews = NovelViews()
    shading: ShadingMix = ShadingMix()
    reference_noise: float = 0.0
    reference_background: str = "noise"
    novel_background: str = "random"
    rgb: object = Constant(1000.0)
    mask: object = Constant(500.0)
    depth: object = Constant(0.0)
    normal: object = Constant(0.0)
    rgb_inside: bool = False
    rgb_edge: str = "keep"
    prior: object = Constant(1.0)
    lr_factor: object = Constant(1.0)
    clip_norm: float = 0.0
    preview_every: int = 20
    checkpoint_every: int = 0

    def __post_init__(self):
        allowed = {
            "mode": ("alternate", "both"),
            "reference_background": ("noise", "random", "white"),
            "novel_background": ("random", "white", "gray"),
            "rgb_edge": losses.EDGES,
        }
        for name, values in allowed.items():
            if getattr(self, name) not in values:
                raise ValueError(f"{name} must be one of {values}, got {getattr(self, name)!r}")
        for name in ("iterations", "size", "reference_size", "reference_every", "novel_batch"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")

    def shows(self, step: int, has_prior: bool, knows_reference: bool = True) -> tuple[bool, bool]:
        """(reference view, novel views) in 0-based ``step``; does any prior know the reference picture?"""
        if not has_prior or step < self.reference_first:
            return True, False
        if self.mode == "both":
            return True, True
        every = self.reference_every if knows_reference else self.reference_every_2d or self.reference_every
        is_reference = step % every == 0
        return is_reference, not is_reference

    def novel_at(self, progress: float) -> tuple[int, int]:
        """(number, pixels per side) of the novel views at ``progress``; constant unless a stage lets them grow."""
        return self.novel_batch, self.size


class Trainee(Protocol):
    """What is optimized."""

    name: str  # of the stage, for people

    def prepare(self, step: int, progress: float, generator: torch.Generator) -> None:
        """Before a step's renders."""
        ...

    def render(
        self, cameras: Cameras, shading: Shading, generator: torch.Generator | None, noise: float = 0.0
    ) -> RenderBuffers:
        """Differentiable; without a generator sampling is not jittered.  noise: of the rays, scene units."""
        ...

    def regularizers(self, buffers: list[RenderBuffers], progress: float) -> dict:
        """Weighted terms of this step by name, given all its renders."""
        ...

    def update(self, factor: float, clip_norm: float) -> None:
        """The optimizer step; ``factor`` scales all learning rates."""
        ...

    def forget_gradients(self) -> None:
        """Drops what was accumulated by an attempt that failed."""
        ...

    def snapshot(self, step: int) -> Scene:
        """Everything, after ``step`` finished steps."""
        ...


@dataclass
class Loop:
    """One stage's run: what is trained, on what, and who listens.

    clock: 0-based step -> the dynamic prior's clock, or None before the switch.
    check: finished steps -> (note, stop); called after every step.
    """

    trainee: Trainee
    reference: ReferenceView
    prior: object | None
    config: StepConfig
    seed: int
    device: torch.device
    on_step: OnStep
    on_checkpoint: OnCheckpoint | None = None
    clock: Callable[[int], float | None] = lambda step: None
    check: Callable[[int], tuple[str, bool]] = lambda finished: ("", False)
    target: Views = field(init=False)
    views_at_once: int = field(init=False)  # novel views in one graph; halved when memory runs out

    def __post_init__(self):
        self.views_at_once = max(self.config.novel_at(progress)[0] for progress in (0.0, 1.0))
        self.target = self.reference.resized(self.config.reference_size).to(self.device)

    def run(self, start: int, stop: int) -> Scene:
        """Steps ``start`` .. ``stop`` - 1; ends early when told, and never loses the state."""
        finished = start
        try:
            for step in range(start, stop):
                terms = self._step(step)
                finished = step + 1
                note, halt = self.check(finished)
                self._report(finished, terms, note)
                if halt:
                    break
                every = self.config.checkpoint_every
                if self.on_checkpoint and every and finished % every == 0:
                    self.on_checkpoint(self.trainee.snapshot(finished))
        except StopStage:
            log.info("%s stopped on request after %d steps", self.trainee.name, finished)
        except BaseException:
            if self.on_checkpoint:
                self.on_checkpoint(self.trainee.snapshot(finished))
            raise
        return self.trainee.snapshot(finished)

    def _step(self, step: int) -> dict:
        """The step's losses by name.  Out of memory: the same step again, with fewer views at once."""
        while True:
            try:
                return self._attempt(step)
            except NotFinite as problem:
                raise problem.at(self.trainee.name, step + 1) from None
            except Exception as problem:
                if not is_out_of_memory(problem):
                    raise
            self._make_room(step)  # outside the handler, whose traceback holds the tensors

    def _attempt(self, step: int) -> dict:
        progress = step / self.config.iterations
        generator = step_generator(self.seed, self.trainee.name, step)
        self.trainee.prepare(step, progress, generator)
        terms, rendered = {}, []
        knows = getattr(self.prior, "knows_reference", True)
        shows_reference, shows_novel = self.config.shows(step, self.prior is not None, knows)
        if shows_reference:
            terms.update(self._reference_terms(progress, generator, rendered))
        if shows_novel:
            terms.update(self._prior_terms(step, progress, generator, rendered))
        terms.update(self.trainee.regularizers(rendered, progress))
        values = torch.stack([v.detach() for v in terms.values()]).tolist() if terms else []  # one host sync
        numbers = dict(zip(terms, values, strict=True))
        refuse_losses(numbers)
        total = sum(terms.values())
        if isinstance(total, Tensor) and total.requires_grad:
            total.backward()
            self.trainee.update(self.config.lr_factor(progress), self.config.clip_norm)
        return numbers

    def _make_room(self, step: int) -> None:
        if self.views_at_once == 1:
            config = self.config
            raise OutOfRoom(
                self.trainee.name, step + 1, f"render size {config.size} and reference size {config.reference_size}",
                "Lower the render size, the reference size or the grid, or close other programs. What was learnt is kept.",
            )
        self.views_at_once = (self.views_at_once + 1) // 2
        self.trainee.forget_gradients()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        log.warning("out of memory: going on with %d novel views at once", self.views_at_once)

    def _reference_terms(self, progress: float, generator, rendered: list) -> dict:
        config, target = self.config, self.target
        background = _background(config.reference_background, target.rgb.shape, generator).to(self.device)
        buffers = self.trainee.render(target.cameras, ALBEDO, generator, config.reference_noise)
        rendered.append(buffers)
        mask = (target.alpha > 0.5).float()
        terms = {
            "rgb": config.rgb(progress)
            * losses.rgb_mse(
                buffers.composite(background),
                target.on_background(background),
                losses.color_region(target.alpha, config.rgb_edge) if config.rgb_inside else None,
            ),
            "mask": config.mask(progress) * losses.mask_mse(buffers.alpha, target.alpha),
        }
        if target.depth is not None and config.depth(progress) > 0:
            terms["depth"] = config.depth(progress) * losses.pearson_depth(buffers.depth, target.depth, mask)
        if target.normal is not None and buffers.normal is not None and config.normal(progress) > 0:
            terms["normal"] = config.normal(progress) * losses.normal_cosine(buffers.normal, target.normal, mask)
        return terms

    def _prior_terms(self, step: int, progress: float, generator, rendered: list) -> dict:
        """The priors' term.  Beyond ``views_at_once`` views, earlier ones are back-propagated at once."""
        config = self.config
        cameras = config.novel.sample(*config.novel_at(progress), progress, self.reference.camera, generator)
        if hasattr(self.prior, "choose"):
            cameras = self.prior.choose(step, cameras)
        backdrop = getattr(self.prior, "backdrop", "")  # of priors that want plain colors on their own background
        shading = ALBEDO if backdrop else config.shading.draw(cameras, progress, generator)
        kind = backdrop or config.novel_background
        background = _background(kind, (len(cameras), 1, 1, 3), generator).to(self.device)
        cameras = cameras.to(self.device)
        prior = self.prior.at(self.clock(step)) if hasattr(self.prior, "at") else self.prior
        weight, name, spent = config.prior(progress), getattr(prior, "name", "prior"), 0.0
        parts = [slice(i, i + self.views_at_once) for i in range(0, len(cameras), self.views_at_once)]
        for part in parts:
            some = cameras[part]
            buffers = self.trainee.render(some, shading.for_images(part), generator)
            if weight == 0:
                rendered.append(buffers)
                return {}
            behind = background[part] if len(background) > 1 else background
            share = weight * len(some) / len(cameras)
            term = share * pull(prior, buffers.composite(behind), some, progress, generator)
            if part is not parts[-1]:
                term.backward()
                spent = spent + term.detach()
        rendered.append(buffers)
        return {name: term + spent}

    def _report(self, finished: int, numbers: dict, note: str) -> None:
        every = self.config.preview_every
        show = bool(every) and (finished % every == 0 or finished == 1)
        picture = self.preview(finished) if show else None
        self.on_step(Step(self.trainee.name, finished, self.config.iterations, numbers, picture, note))

    @torch.no_grad()
    def preview(self, finished: int) -> Tensor:
        """[S, S, 3] on white from a slowly circling camera, on the CPU."""
        home = self.reference.camera
        azimuth = home.azimuth + 0.35 * finished / max(self.config.preview_every, 1)
        size = self.config.size
        cameras = Cameras.orbit(azimuth, 0.25, home.radius, home.fovy, size, size).to(self.device)
        return self.trainee.render(cameras, ALBEDO, None).composite(1.0)[0].clamp(0, 1).cpu()


def pull(prior, images: Tensor, cameras: Cameras, progress: float, generator: torch.Generator) -> Tensor:
    """Scalar whose value is the prior's mean loss and whose gradient at ``images`` is the prior's.

    The prior sees a leaf: its graph ends at the pictures, and the render's graph is used once, later.
    """
    with torch.enable_grad():
        leaf = images.detach().requires_grad_()
        loss = prior.loss(leaf, cameras, progress, generator).mean()
        (grad,) = torch.autograd.grad(loss, leaf)
    if not bool(grad.isfinite().all()):
        raise NotFinite(
            f"{getattr(prior, 'name', 'prior')} prior", "a gradient with nan or infinity at the rendered pictures",
            "Load its autoencoder in float32 or bfloat16 (half precision overflows in some), or lower its weight.",
        )
    product = images * grad
    return (product - product.detach()).sum() + loss.detach()


def refuse_losses(numbers: dict) -> None:
    """NotFinite that names the losses which are not finite."""
    bad = [name for name, value in numbers.items() if not math.isfinite(value)]
    if bad:
        remedy = "Lower the learning rates or that loss's weight; the scene before this iteration is kept."
        raise NotFinite("loss", f"nan or infinity in {', '.join(bad)}", remedy)


def is_out_of_memory(problem: BaseException) -> bool:
    """Whether torch ran out of memory, on a GPU or on the CPU."""
    return isinstance(problem, (torch.OutOfMemoryError, MemoryError)) or "can't allocate memory" in str(problem)


def step_generator(seed: int, name: str, step: int) -> torch.Generator:
    """A CPU generator that depends on seed, stage and step only: resumed runs need no generator state."""
    mixed = (seed * 0x9E3779B97F4A7C15 + sum(ord(c) * 131**i for i, c in enumerate(name)) + step) % 2**64
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):  # splitmix64, Steele et al. 2014
        mixed = ((mixed ^ (mixed >> shift)) * factor) % 2**64
    return torch.Generator().manual_seed((mixed ^ (mixed >> 31)) % 2**63)


def _background(kind: str, shape, generator: torch.Generator) -> Tensor:
    """A background for pictures of ``shape`` [B, H, W, 3]: white, gray, one color each, or noise."""
    if kind == "white":
        return torch.ones(1)
    if kind == "gray":
        return torch.tensor(NEUTRAL).expand(1, 1, 1, 3)
    return torch.rand(tuple(shape) if kind == "noise" else (shape[0], 1, 1, 3), generator=generator)


def describe(value):
    """A configuration as JSON, for a scene's meta."""
    if type(value).__name__ in schedules.FORMS:
        return schedules.to_json(value)
    if dataclasses.is_dataclass(value):
        return {f.name: describe(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, (list, tuple)):
        return [describe(v) for v in value]
    return value


def on_device(generator: torch.Generator | None, device: torch.device) -> torch.Generator | None:
    """A generator on ``device`` that follows from a CPU generator (itself on the CPU)."""
    if generator is None or torch.device(device).type == "cpu":
        return generator
    seed = int(torch.randint(2**62, (1,), generator=generator))
    return torch.Generator(device).manual_seed(seed)
