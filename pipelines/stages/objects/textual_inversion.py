"""Textual inversion: one new word that means the object in the picture (Gal et al. 2022; M-C.4, Magic123's 2D prior).

Only the word's vectors are trained; ``inversion.Inversion`` keeps them.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from ...core.cameras import HOME
from ...core.errors import InputError, StopStage
from ...core.protocols import PromptConditioned
from ...core.randomness import step_generator
from ...core.step import KeepState, OnStep, Step, ignore_step, keep_no_state
from ...core.views import Views
from ...networks.learned_words import LearnedWord
from ...networks.noise import add_noise
from ..inputs.reference import ReferenceView
from .inversion import MOMENTS, Inversion

log = logging.getLogger(__name__)
NAME = "Textual inversion"
TEMPLATES = (
    "a photo of a {}", "a picture of a {}", "a rendering of a {}", "a close-up photo of a {}", "a good photo of the {}",
    "a photo of one {}", "a bright photo of the {}", "a clean picture of the {}", "a studio photo of a {}",
)
HALF_SCALE = 2.0**10  # of the loss where the network computes in half precision; halved when it overflows


@dataclass(frozen=True)
class InversionConfig:
    """Settings of the training; defaults are Magic123's (M-C.4).

    steps, batch, lr: 3000 to 5000 steps of 16 at 1e-4.
    at_once:     pictures whose gradient is computed together; less needs less memory and changes nothing else.
    vectors:     tokens the word stands for.
    templates:   sentences; {} is the word.
    angle, scale, jitter, gray, blur, flip: augmentation: degrees to both sides, range of zoom, largest change of
                 brightness and contrast, chances of a gray, a blurred and a mirrored copy.
    t_range:     noise levels, fractions of the network's timesteps.
    guidance:    of sampled pictures.
    preview_every: steps between sampled pictures; 0 = never.
    checkpoint_every: steps between checkpoints, where no autosave is made; 0 = never.
    """

    steps: int = 3000
    batch: int = 16
    lr: float = 1e-4
    at_once: int = 4
    vectors: int = 1
    templates: tuple[str, ...] = TEMPLATES
    angle: float = 10.0
    scale: tuple[float, float] = (0.85, 1.15)
    jitter: float = 0.04
    gray: float = 0.1
    blur: float = 0.1
    flip: float = 0.5
    t_range: tuple[float, float] = (0.0, 1.0)
    guidance: float = 7.5
    preview_every: int = 500
    checkpoint_every: int = 250

    def __post_init__(self):
        for name in ("steps", "batch", "at_once", "vectors"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not self.templates or any("{}" not in t for t in self.templates):
            raise ValueError(f"templates must be sentences with {{}} for the word, got {self.templates}")


PAPER = InversionConfig()
# A small network has few words for pictures that it never saw: milder changes and a gentler rate than a large one.
QUICKSTART = InversionConfig(
    steps=200, batch=4, lr=3e-3, templates=("a {}, front view", "{}, front view"), angle=4.0, scale=(0.95, 1.05),
    gray=0.0, t_range=(0.1, 1.0), guidance=3.0, preview_every=50,
)
PRESETS = {"quickstart": QUICKSTART, "paper": PAPER}


class TextInverter(Protocol):
    """What the stage needs of a text network, whoever it belongs to."""

    @property
    def alphas_cumprod(self) -> Tensor:
        """[T] cumulative noise schedule."""
        ...

    @property
    def image_size(self) -> int:
        """Side S of the pictures ``encode`` wants, pixels."""
        ...

    @property
    def half(self) -> bool:
        """Whether gradients may underflow, so that the loss has to be scaled."""
        ...

    def widths(self) -> dict[str, int]:
        """Width of a token by text tower, by ComfyUI's names of towers."""
        ...

    def start(self, text: str) -> dict[str, Tensor]:
        """[N, D] by tower: the vectors of a text's tokens, where the search begins."""
        ...

    def encode(self, images: Tensor) -> Tensor:
        """[B, S, S, 3] sRGB in [0, 1] -> latents."""
        ...

    def condition(self, texts: list[str], word: LearnedWord) -> Any:
        """What ``noise`` needs to know of the texts; differentiable in the word's vectors."""
        ...

    def noise(self, noisy: Tensor, t: Tensor, condition: Any) -> Tensor:
        """eps_hat without guidance; differentiable in the condition."""
        ...

    def conditioned(self, word: LearnedWord) -> PromptConditioned:
        """A text denoiser whose prompts may name the word."""
        ...


def invert(
    reference: ReferenceView,
    inverter: TextInverter,
    name: str,
    config: InversionConfig = QUICKSTART,
    *,
    start: str = "object",
    inversion: Inversion | None = None,
    until: int | None = None,
    seed: int = 0,
    on_step: OnStep = ignore_step,
    on_checkpoint: Callable[[Inversion], object] | None = None,
    autosave: KeepState = keep_no_state,
) -> Inversion:
    """The word ``embedding:<name>`` for the object of ``reference``.

    start:     words whose vectors the search begins with: the kind of object.
    inversion: go on with this one; its seed and settings' schedule do not change the outcome of interruptions.
    Raises InputError before any work for names and files that do not fit.  StopStage from ``on_step`` returns what
    there is; after any other exception ``on_checkpoint`` gets it first.  autosave: told of the ``Inversion`` after every
    step but the last; given back as ``inversion``, it leads to the same end bit for bit.
    """
    seed = seed if inversion is None else inversion.meta.get("seed", seed)
    run = _Run(inverter, name, config, start, inversion, seed)
    pictures = _Pictures(reference.resized(inverter.image_size), config)
    stop = config.steps if until is None else min(until, config.steps)
    try:
        for step in range(run.done, stop):
            value = run.step(step, pictures)
            preview = run.preview(reference, step + 1)
            on_step(Step(NAME, step + 1, config.steps, {"noise": value}, preview))
            often = config.checkpoint_every if autosave is keep_no_state else 0
            if on_checkpoint and often and (step + 1) % often == 0:
                on_checkpoint(run.snapshot())
            if step + 1 < stop:
                autosave(run.snapshot)
    except StopStage:
        log.info("%s stopped on request after %d steps", NAME, run.done)
        if run.done < stop:
            autosave(run.snapshot, now=True)
    except BaseException:
        if on_checkpoint:
            on_checkpoint(run.snapshot())
        raise
    return run.snapshot()


@torch.no_grad()
def samples(
    inverter: TextInverter, word: LearnedWord, sentence: str, count: int, guidance: float, steps: int = 20, seed: int = 0
) -> Tensor:
    """[count, S, S, 3] pictures of ``sentence`` ({} is the word), seen from the front."""
    conditioned = inverter.conditioned(word).with_guidance(guidance).with_prompt(sentence.replace("{}", word.mention))
    camera = HOME.orbit(torch.zeros(count), 0.0, inverter.image_size)
    pictures = conditioned.sample(camera, steps, step_generator(seed, f"{NAME} samples", 0))
    return pictures.detach().float().cpu().clamp(0, 1)


def noise_error(inverter: TextInverter, word: LearnedWord, picture: Tensor, sentences: tuple[str, ...], draws: int = 16,
                seed: int = 0) -> float:
    """Mean squared error of the predicted noise on a picture [S, S, 3]: how well the word describes it."""
    generator = step_generator(seed, f"{NAME} error", 0)
    total = 0.0
    with torch.no_grad():
        latents = inverter.encode(picture[None].to(inverter.alphas_cumprod.device))
        for i in range(draws):
            noise = torch.randn(latents.shape, generator=generator).to(latents)
            t = torch.tensor([int((i + 0.5) / draws * len(inverter.alphas_cumprod))], device=latents.device)
            condition = inverter.condition([sentences[i % len(sentences)].replace("{}", word.mention)], word)
            guess = inverter.noise(add_noise(latents, noise, t, inverter.alphas_cumprod), t, condition)
            total += float((guess - noise).square().mean())
    return total / draws


class _Run:
    """The vectors, their optimizer, and one step."""

    def __init__(self, inverter, name: str, config: InversionConfig, start: str, inversion: Inversion | None, seed: int):
        self.inverter, self.config, self.seed, self.name = inverter, config, seed, name
        device = inverter.alphas_cumprod.device
        vectors = _begin(inverter, name, config, start) if inversion is None else inversion.word.vectors
        widths = inverter.widths()
        if {k: v.shape[1] for k, v in vectors.items()} != widths:
            got = {k: v.shape[1] for k, v in vectors.items()}
            raise InputError("embedding", f"vectors of widths {widths}", f"{got}",
                             "It was learned for another network: choose another name, or switch resume off.")
        LearnedWord(name, vectors)  # refuses names that are no file names
        self.vectors = {k: v.detach().clone().float().to(device).requires_grad_() for k, v in vectors.items()}
        self.optimizer = torch.optim.AdamW(list(self.vectors.values()), lr=config.lr, weight_decay=1e-2)
        self.done = 0 if inversion is None else inversion.step
        self.losses = [] if inversion is None else list(inversion.meta.get("losses", []))
        self.begin = HALF_SCALE if inverter.half else 1.0
        known = {} if inversion is None else inversion.meta
        self.scale, self.updates = known.get("scale", self.begin), known.get("updates", self.done)
        if inversion is not None and inversion.moments:
            for key, parameter in self.vectors.items():
                state = {m: inversion.moments[key][m].to(device).clone() for m in MOMENTS}
                self.optimizer.state[parameter] = {"step": torch.tensor(float(self.updates)), **state}

    @property
    def word(self) -> LearnedWord:
        return LearnedWord(self.name, self.vectors)

    def step(self, step: int, pictures: "_Pictures") -> float:
        """One batch; returns its loss."""
        config, inverter = self.config, self.inverter
        generator = step_generator(self.seed, NAME, step)
        with torch.no_grad():
            latents = inverter.encode(pictures.draw(generator).to(inverter.alphas_cumprod.device))
        noise = torch.randn(latents.shape, generator=generator).to(latents)
        low, high = (int(share * len(inverter.alphas_cumprod)) for share in config.t_range)
        t = torch.randint(low, max(high, low + 1), (len(latents),), generator=generator).to(latents.device)
        chosen = torch.randint(len(config.templates), (len(latents),), generator=generator).tolist()
        texts = [config.templates[i].replace("{}", self.word.mention) for i in chosen]
        noisy = add_noise(latents, noise, t, inverter.alphas_cumprod)
        self.optimizer.zero_grad(set_to_none=True)
        total = 0.0
        for part in (slice(i, i + config.at_once) for i in range(0, config.batch, config.at_once)):
            condition = inverter.condition(texts[part], self.word)
            error = (inverter.noise(noisy[part], t[part], condition) - noise[part]).square()
            loss = error.sum() / noise.numel()
            (loss * self.scale).backward()
            total += float(loss.detach())
        self._update()
        self.done = step + 1
        if self.done % 10 == 0 or self.done == 1:
            self.losses.append([self.done, round(total, 6)])
        return total

    def _update(self) -> None:
        """AdamW on the vectors; a step whose gradient is not finite is left out and scaled down from then on."""
        grads = [_gradient(v) for v in self.vectors.values()]
        if not all(bool(torch.isfinite(g).all()) for g in grads):
            if self.scale <= 1.0:
                raise RuntimeError(f"{NAME}: the gradient is not finite at step {self.done + 1}")
            self.scale /= 2
            return
        for g in grads:
            g.div_(self.scale)
        self.optimizer.step()
        self.updates += 1

    def preview(self, reference: ReferenceView, finished: int) -> Tensor | None:
        """[S, S, 3] a sampled picture, when it is time for one."""
        every = self.config.preview_every
        if not every or finished % every:
            return None
        return samples(self.inverter, self.snapshot().word, self.config.templates[0], 1, self.config.guidance, 12, self.seed)[0]

    def snapshot(self) -> Inversion:
        """Everything, on the CPU."""
        vectors = {k: v.detach().cpu().clone() for k, v in self.vectors.items()}
        moments = {k: {m: self.optimizer.state[v][m].detach().cpu().clone() for m in MOMENTS}
                   for k, v in self.vectors.items() if v in self.optimizer.state}
        settings = {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self.config).items()}
        meta = {"step": self.done, "total": self.config.steps, "seed": self.seed, "losses": self.losses,
                "settings": settings}
        if self.scale != self.begin or self.updates != self.done:  # some gradients were not finite
            meta |= {"scale": self.scale, "updates": self.updates}
        return Inversion(LearnedWord(self.name, vectors), moments, meta)


def _gradient(vectors: Tensor) -> Tensor:
    assert vectors.grad is not None, "every sentence names the word"
    return vectors.grad


def _begin(inverter: TextInverter, name: str, config: InversionConfig, start: str) -> dict[str, Tensor]:
    """[K, D] by tower: the tokens of ``start``; where they are too few, their mean fills up."""
    found = inverter.start(start.strip() or "object")
    count = config.vectors
    if any(len(v) > count for v in found.values()):
        return {k: v.mean(0, keepdim=True).expand(count, -1).clone() for k, v in found.items()}
    return {k: torch.cat([v, v.mean(0, keepdim=True).expand(count - len(v), -1)]) for k, v in found.items()}


class _Pictures:
    """Changed copies of the reference picture on white (M-C.4)."""

    def __init__(self, view: Views, config: InversionConfig):
        self.config = config
        weight = view.alpha[..., None]
        self.layers = torch.cat([view.rgb * weight, weight], -1).permute(0, 3, 1, 2)  # premultiplied, background 0

    @torch.no_grad()
    def draw(self, generator: torch.Generator) -> Tensor:
        """[batch, S, S, 3]."""
        config, count = self.config, self.config.batch
        draws = torch.rand(8, count, generator=generator)
        angle = (draws[0] * 2 - 1) * math.radians(config.angle)
        zoom = config.scale[0] + (config.scale[1] - config.scale[0]) * draws[1]
        mirror = 1 - 2 * (draws[2] < config.flip).float()
        turned = torch.stack([torch.stack([angle.cos() * mirror, -angle.sin(), 0 * angle], -1),
                              torch.stack([angle.sin() * mirror, angle.cos(), 0 * angle], -1)], 1)
        grid = torch.nn.functional.affine_grid(turned / zoom[:, None, None], [count, *self.layers.shape[1:]], False)
        planes = torch.nn.functional.grid_sample(self.layers.expand(count, -1, -1, -1), grid, align_corners=False)
        planes = planes[:, :3] + 1 - planes[:, 3:]
        bright, contrast = (1 + (draws[i] * 2 - 1)[:, None, None, None] * config.jitter for i in (3, 4))
        planes = (planes * bright - 0.5) * contrast + 0.5
        luma = (planes * planes.new_tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)).sum(1, keepdim=True)
        planes = torch.where((draws[5] < config.gray)[:, None, None, None], luma.expand_as(planes), planes)
        soft = torch.nn.functional.avg_pool2d(torch.nn.functional.pad(planes, (1, 1, 1, 1), mode="replicate"), 3, 1)
        planes = torch.where((draws[6] < config.blur)[:, None, None, None], soft, planes)
        return planes.clamp(0, 1).permute(0, 2, 3, 1)
