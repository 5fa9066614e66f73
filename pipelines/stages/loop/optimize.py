"""The one loop and the one backward, shared by the NeRF and the mesh stage.

A step shows the object from the reference camera (pixel losses), from novel cameras (priors), or
both.  Priors are differentiated with respect to the rendered *pictures* only; their gradients are
summed there and the render is back-propagated once, with its regularizers.

The reference camera's half of a step and the novel cameras' share nothing but what is trained, which neither changes: each
draws from a generator of its own and has a backward pass of its own, so that two cores can do them side by side
(``core.threads.aside``).  Their gradients are added in one order, whoever was first.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

import torch
from torch import Tensor

from ...core.cameras import Cameras
from ...core.doubts import Mail, collected, doubt
from ...core.errors import InputError, NotFinite, OutOfRoom, StopStage
from ...core.extra import ExtraLoss
from ...core.far import far, send
from ...core.mesh import Mesh
from ...core.prior import Prior
from ...core.randomness import step_generator, uniform
from ...core.step import KeepState, OnStep, Step, keep_no_state
from ...core.threads import aside
from ...core.views import NEUTRAL, RenderBuffers, Views
from ...losses import image as losses
from ...losses.depth import depth_loss
from ...render.shading import ALBEDO, Shading
from ..inputs.reference import ReferenceView
from .halves import Half, sums
from .scene import Scene
from .step_config import StepConfig

log = logging.getLogger(__name__)
OnCheckpoint = Callable[[Scene], None]

# The camera of previews; both are choices for display and touch nothing else.
PREVIEW_TURN = 0.35  # radians from one preview to the next: once around in 18
PREVIEW_ELEVATION = 0.25  # radians: a little from above, so that the top is seen, too


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

    def regularizers(self, view: RenderBuffers, progress: float) -> dict:
        """Weighted terms of one render by name."""
        ...

    def shape_terms(self, progress: float) -> dict:
        """Weighted terms by name of what is trained itself, whatever is shown of it."""
        ...

    def leaves(self) -> list[Tensor]:
        """All that this step's renders and terms depend on, for gradients; the same until ``update``."""
        ...

    def update(self, factor: float, clip_norm: float) -> None:
        """The optimizer step; ``factor`` scales all learning rates."""
        ...

    def zero_grad(self) -> None:
        """Drops what was accumulated by an attempt that failed."""
        ...

    def snapshot(self, step: int) -> Scene:
        """Everything, after ``step`` finished steps."""
        ...

    def sketch(self) -> Mesh | None:
        """The current surface, coarse, with vertex colors, for people to look at; None where there is none.

        Called without gradients; changes nothing.
        """
        ...


@dataclass
class Loop:
    """One stage's run: what is trained, on what, and who listens.

    clock: 0-based step -> the dynamic prior's clock, or None before the switch.
    check: finished steps -> (note, stop); called after every step.
    scores: finished steps -> what ``check`` has just measured, by name.
    autosave: told of the state after every step but the last.
    extras: further losses of every step.
    """

    trainee: Trainee
    reference: ReferenceView
    prior: Prior | None
    config: StepConfig
    seed: int
    device: torch.device
    on_step: OnStep
    on_checkpoint: OnCheckpoint | None = None
    clock: Callable[[int], float | None] = lambda step: None
    check: Callable[[int], tuple[str, bool]] = lambda finished: ("", False)
    autosave: KeepState = keep_no_state
    extras: tuple[ExtraLoss, ...] = ()
    scores: Callable[[int], dict] = lambda finished: {}
    target: Views = field(init=False)
    mail: Mail | None = field(init=False)  # losses on their way, on devices for which nobody should wait
    views_at_once: int = field(init=False)  # novel views in one graph; halved when memory runs out

    def __post_init__(self):
        self.views_at_once = max(self.config.novel_at(progress)[0] for progress in (0.0, 1.0))
        self.target = self.reference.resized(self.config.reference_size).to(self.device)
        self.mail = Mail() if far(self.device) else None

    def run(self, start: int, stop: int) -> Scene:
        """Steps ``start`` .. ``stop`` - 1; ends early when told, and never loses the state."""
        if stop > start and self.reference.blank and self.prior is None and not self.extras:
            raise InputError("prior", "a Text Prior, because there is no picture", "none", "Connect one, or use Reference View.")
        finished, ended = start, False
        try:
            for step in range(start, stop):
                terms = self._step(step)
                finished = step + 1
                note, halt = self.check(finished)
                ended = halt or finished == stop
                self._report(finished, self._arrived(ended) or terms, note)
                if halt:
                    break
                if not ended:  # whoever found the state of an end would go on beyond it
                    self.autosave(partial(self.trainee.snapshot, finished))
                every = self.config.checkpoint_every
                if self.on_checkpoint and every and finished % every == 0:
                    self.on_checkpoint(self.trainee.snapshot(finished))
        except StopStage:
            log.info("%s stopped on request after %d steps", self.trainee.name, finished)
            if not ended:
                self.autosave(partial(self.trainee.snapshot, finished), now=True)
        except BaseException:
            if self.on_checkpoint:
                self.on_checkpoint(self.trainee.snapshot(finished))
            raise
        return self.trainee.snapshot(finished)

    def _step(self, step: int) -> dict:
        """The step's losses by name.  Out of memory: the same step again, with fewer views at once."""
        while True:
            try:
                if self.mail is None:
                    return self._attempt(step)
                with collected() as doubts:
                    losses = self._attempt(step)
                self.mail.send(step, losses, doubts)
                return {}
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
        knows = self.prior is None or self.prior.knows_reference
        shows_reference, shows_novel = self.config.shows(step, self.prior is not None, knows)
        if self.reference.blank:
            shows_reference, shows_novel = False, self.prior is not None
        known = Half(self.trainee.leaves())
        novel = Half(known.leaves)
        with aside(partial(self._known_half, known, step, progress, shows_reference), self.device) as done:
            self._novel_half(novel, step, progress, generator, shows_novel)
            done()
        terms = {**known.terms, **novel.terms, **sums(novel.regular, known.regular)}
        numbers = {} if self.mail is not None else _numbers(terms)
        refuse_losses(numbers)
        if novel.learns or known.learns:
            novel.lend()
            known.lend()
            fine = torch.stack([value.reshape(()) for value in terms.values()]).sum().isfinite()
            doubt(fine, lambda: NotFinite("loss", "nan or infinity in their sum", "Lower the weights."))
            self.trainee.update(self.config.lr_factor(progress), self.config.clip_norm)
        return terms if self.mail is not None else numbers

    def _known_half(self, half: Half, step: int, progress: float, shows: bool) -> None:
        """What needs no prior: the reference camera's picture, where this step shows it, and the shape's own terms."""
        with half.apart():
            regular = self.trainee.shape_terms(progress)
            terms = {}
            if shows:
                generator = step_generator(self.seed, f"{self.trainee.name} reference", step)
                terms, seen = self._reference_terms(progress, generator)
                regular = sums(self.trainee.regularizers(seen, progress), regular)
            half.learn(terms, regular)

    def _novel_half(self, half: Half, step: int, progress: float, generator: torch.Generator, shows: bool) -> None:
        """Novel cameras' pictures under the priors, and the extra losses."""
        terms, regular = {}, {}
        if shows:
            terms, seen = self._prior_terms(half, step, progress, generator)
            regular = self.trainee.regularizers(seen, progress)
        for number, extra in enumerate(self.extras):
            terms.update(self._extra_terms(extra, progress, generator, number))
        half.learn(terms, regular)

    def _arrived(self, all_of_them: bool) -> dict:
        """The newest losses that a far device has sent; {} where there are none.  Raises what they show to be wrong."""
        newest = {}
        for step, newest, problem in () if self.mail is None else self.mail.open(all_of_them):
            try:
                if isinstance(problem, NotFinite) and problem.name == "loss":
                    refuse_losses(newest)  # names them
                if problem is not None:
                    raise problem
            except NotFinite as known:
                raise known.at(self.trainee.name, step + 1) from None
        return newest

    def _make_room(self, step: int) -> None:
        if self.views_at_once == 1:
            config = self.config
            raise OutOfRoom(
                self.trainee.name, step + 1, f"render size {config.size} and reference size {config.reference_size}",
                "Lower the render size, the reference size or the grid, or close other programs. What was learned is kept.",
            )
        self.views_at_once = (self.views_at_once + 1) // 2
        self.trainee.zero_grad()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        log.warning("out of memory: going on with %d novel views at once", self.views_at_once)

    def _reference_terms(self, progress: float, generator: torch.Generator) -> tuple[dict, RenderBuffers]:
        config, target = self.config, self.target
        background = _background(config.reference_background, target.rgb.shape, generator, self.device)
        buffers = self.trainee.render(target.cameras, ALBEDO, generator, config.reference_noise)
        mask = (target.alpha > 0.5).float()
        terms = {
            "rgb": config.rgb(progress)
            * losses.rgb_mse(
                buffers.composite(background),
                target.on_background(background),
                losses.color_region(target.alpha, config.rgb_edge) if config.rgb_inside else None,
                config.rgb_over,
            ),
            "mask": config.mask(progress) * losses.mask_mse(buffers.alpha, target.alpha, config.mask_against),
        }
        if target.depth is not None and config.depth(progress) > 0:
            terms["depth"] = config.depth(progress) * depth_loss(config.depth_form, buffers.depth, target.depth, mask)
        if target.normal is not None and buffers.normal is not None and config.normal(progress) > 0:
            terms["normal"] = config.normal(progress) * losses.normal_cosine(buffers.normal, target.normal, mask)
        return terms, buffers

    def _prior_terms(
        self, half: Half, step: int, progress: float, generator: torch.Generator
    ) -> tuple[dict, RenderBuffers]:
        """The priors' term and the last pictures.  Beyond ``views_at_once`` views, ``half`` learns from earlier ones at once."""
        config = self.config
        assert self.prior is not None  # no novel views without one
        cameras = config.novel.sample(*config.novel_at(progress), progress, self.reference.camera, generator)
        prior = self.prior.at(self.clock(step))
        cameras = prior.choose(step, cameras)
        backdrop = prior.backdrop  # of priors that want plain colors on their own background
        shading = ALBEDO if backdrop else config.shading.draw(cameras, progress, generator)
        kind = backdrop or config.novel_background
        background = _background(kind, (len(cameras), 1, 1, 3), generator, self.device)
        cameras = cameras.to(self.device)
        weight, spent = config.prior(progress), 0.0
        parts = [slice(i, i + self.views_at_once) for i in range(0, len(cameras), self.views_at_once)]
        for part in parts:
            some = cameras[part]
            buffers = self.trainee.render(some, shading.for_images(part), generator)
            if weight == 0:
                return {}, buffers
            behind = background[part] if len(background) > 1 else background
            share = weight * len(some) / len(cameras)
            term = share * pull(prior, buffers.composite(behind), some, progress, generator)
            if part is not parts[-1]:
                half.follow(term)
                spent = spent + term.detach()
        return {prior.name: term + spent}, buffers

    def _extra_terms(self, extra: ExtraLoss, progress: float, generator, number: int) -> dict:
        weight = extra.weight(progress)
        if weight == 0:
            return {}
        cameras = extra.views(self.reference.camera, self.config.size, generator).to(self.device)
        seen = self.trainee.render(cameras, ALBEDO, generator)
        return {f"{extra.label} {number}": weight * extra.loss(seen, cameras, generator)}

    def _report(self, finished: int, numbers: dict, note: str) -> None:
        every = self.config.preview_every
        show = bool(every) and (finished % every == 0 or finished == 1)
        picture = self.preview(finished) if show else None
        surface = self.surface if every else None
        self.on_step(Step(self.trainee.name, finished, self.config.iterations, numbers, picture, note, self.scores(finished),
                          surface))

    @torch.no_grad()
    def surface(self) -> Mesh | None:
        """The trainee's sketch on the CPU."""
        mesh = self.trainee.sketch()
        return None if mesh is None else mesh.detach().to("cpu")

    @torch.no_grad()
    def preview(self, finished: int) -> Tensor:
        """[S, S, 3] on white from a slowly circling camera, on the CPU."""
        home = self.reference.camera
        azimuth = home.azimuth + PREVIEW_TURN * finished / max(self.config.preview_every, 1)
        size = self.config.size
        cameras = Cameras.orbit(azimuth, PREVIEW_ELEVATION, home.radius, home.fovy, size, size).to(self.device)
        return self.trainee.render(cameras, ALBEDO, None).composite(1.0)[0].clamp(0, 1).cpu()


def pull(prior: Prior, images: Tensor, cameras: Cameras, progress: float, generator: torch.Generator) -> Tensor:
    """Scalar whose value is the prior's mean loss and whose gradient at ``images`` is the prior's.

    The prior sees a leaf: its graph ends at the pictures, and the render's graph is used once, later.
    """
    with torch.enable_grad():
        leaf = images.detach().requires_grad_()
        loss = prior.loss(leaf, cameras, progress, generator).mean()
        (grad,) = torch.autograd.grad(loss, leaf)
    doubt(grad.isfinite().all(), lambda: NotFinite(
        f"{prior.name} prior", "a gradient with nan or infinity at the rendered pictures",
        "Load its autoencoder in float32 or bfloat16 (half precision overflows in some), or lower its weight.",
    ))
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


def _numbers(terms: dict) -> dict:
    """The losses' values, for one wait."""
    values = torch.stack([v.detach() for v in terms.values()]).tolist() if terms else []
    return dict(zip(terms, values, strict=True))


def _background(kind: str, shape, generator: torch.Generator, device: torch.device) -> Tensor:
    """A background for pictures of ``shape`` [B, H, W, 3] on ``device``: white, gray, one color each, or noise."""
    if kind == "white":
        return torch.ones(1, device=device)
    if kind == "gray":
        return send(torch.tensor(NEUTRAL), device).expand(1, 1, 1, 3)
    if kind == "noise":
        return uniform(tuple(shape), generator, device)
    return send(torch.rand((shape[0], 1, 1, 3), generator=generator), device)
