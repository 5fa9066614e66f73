"""RGNV, reference-guided novel view enhancement (HiFi-123, Yu et al. 2024, section 3.2), training-free.

Reference and coarse views are inverted to a middle noise level of a depth-conditioned network; then the views are
denoised while their self-attention looks at the reference's keys and values.  What depends on the reference alone is
computed once (:class:`ReferenceGuide`).  Also the source of RGSD's targets (``priors/rgsd.py``).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, get_args

import torch
from torch import Tensor

from ..core.cameras import Cameras
from ..core.choices import Space
from ..core.errors import InputError, StopStage
from ..networks.attention import Bank, Seen, check_layers, late_layers, shared_attention
from ..networks.depth_text import PHRASE, VIEW_WORDS, depth_channel, latent_size, scale_map, sees_depth
from .depth_noise import DepthNoise, Evaluations
from .inversion import Descent, RungGrid, invert, sample

Start = Literal["inversion", "noise"]
STARTS = get_args(Start)
Record = Literal["stored", "resampled"]
RECORDS = get_args(Record)
SPACES = get_args(Space)
SIDE, BACK = math.radians(45.0), math.radians(135.0)
BANK = "bank/"  # parts of a journal: <rung>/<layer>/<field of Seen>


@dataclass(frozen=True)
class RgnvSettings:
    """How views are enhanced; defaults are the paper's (H-A.8, H-G), the ablation's switches included.

    steps, rungs:  the schedule is cut into ``steps``; inversion climbs the first ``rungs`` of them (50 and 30; RGSD 20
                   and 12).  More rungs: texture closer to the reference, shape further from the coarse view.
    guidance:      classifier-free guidance of the views (released code 9, RGSD 7.5); 0 = without words.  The reference
                   has none.
    inject:        attention to the reference.
    layers:        self-attentions that look at it, names or their beginnings; () = the last quarter, as released.
    depth:         show the depth maps; off, the network sees none (all -1), which spoils inversion (Fig. 7 b).
    start:         "inversion", or "noise": the coarse view plus random noise instead (SDEdit; Fig. 7 a).
    corrections:   fixed-point corrections of each inversion step (see ``inversion.invert``).
    record:        the reference's attention on its "stored" inversion states, or on its "resampled" ones, which is
                   what a batch shared with the reference computes.
    lock:          keep the background of the inverted view while denoising (needs masks).
    object_only:   views see the reference's object only, not its background (needs the reference's mask).
    space:         what a result is: the decoded "latents" (paper), or "pictures" (ours): the given view plus what its
                   decoded latents changed by, so that the autoencoder's own loss, large in a small one, stays out
                   (``enhance_views`` lets the change fade out towards the outline, too).
    batch:         views at once.
    seed:          of the noise of start "noise".
    """

    steps: int = 50
    rungs: int = 30
    guidance: float = 9.0
    inject: bool = True
    layers: tuple[str, ...] = ()
    depth: bool = True
    start: Start = "inversion"
    corrections: int = 0
    record: Record = "stored"
    lock: bool = False
    object_only: bool = False
    space: Space = "latents"
    batch: int = 4
    seed: int = 0

    def __post_init__(self):
        for name, allowed in (("start", STARTS), ("record", RECORDS), ("space", SPACES)):
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} must be one of {allowed}, got {getattr(self, name)!r}")
        if not 1 <= self.rungs <= self.steps:
            raise ValueError(f"rungs must be in 1 .. steps ({self.steps}), got {self.rungs}")
        if self.corrections < 0 or self.batch < 1:
            raise ValueError("corrections must be at least 0 and batch at least 1")


class ReferenceGuide:
    """A depth-text network that has seen the reference: enhances views, and says what they should look like.

    network: a denoiser with ``runtime`` and ``encoder`` (``DepthTextDenoiser``, or a text network for comparison).
    picture: [H, W, 3] of the network's size, with its background; depth: [1, 1, h, w] (``depth_text.depth_channel``);
    mask: [H, W] coverage, needed by ``object_only``.
    """

    def __init__(self, network, picture: Tensor, depth: Tensor | None = None, mask: Tensor | None = None,
                 settings: RgnvSettings = RgnvSettings(), prompt: str = "", negative: str = ""):
        if not hasattr(network, "runtime") or not hasattr(network, "encoder"):
            raise InputError("network", "a depth-text network of this pack", type(network).__name__,
                             "Use Load Depth-Text Network: attention cannot be shared in this one.")
        self.network, self.runtime, self.settings = network, network.runtime, settings
        self.image_size, self.latent_size = network.image_size, latent_size(network.runtime)
        check_pictures("reference", picture[None], self.image_size)
        if settings.depth and sees_depth(self.runtime) and depth is None:
            raise InputError("reference", "a depth map", "none", "Add one with Depth Picture, or switch depth off.")
        if settings.object_only and mask is None:
            raise InputError("reference", "a mask, for object_only", "none", "Give the reference a mask.")
        self.picture, self.depth, self.mask = picture, depth, mask
        self.grid = RungGrid.of(network.alphas_cumprod, settings.steps, settings.rungs)
        self.net = DepthNoise(network, self.grid, settings)
        self.layers = check_layers(self.runtime.unet, settings.layers) if settings.layers else late_layers(self.runtime.unet)
        self.prompt, self.negative = prompt.strip(), negative.strip()
        self._bank: Bank | None = None
        self._views: Tensor | None = None

    @property
    def spent(self) -> Evaluations:
        """UNet evaluations so far."""
        return self.net.spent

    def encode(self, images: Tensor) -> Tensor:
        """[B, S, S, 3] sRGB -> latents [B, C, h, w]; differentiable."""
        return self.runtime.encode(images).float()

    def decode(self, latents: Tensor) -> Tensor:
        """Latents [B, C, h, w] -> [B, S, S, 3] sRGB."""
        return self.runtime.decode(latents)

    @property
    def bank(self) -> Bank:
        """What the reference's self-attention saw at every rung; 2 l evaluations, once."""
        if self._bank is None:
            self._bank = self._record()
        return self._bank

    def prepare(self) -> None:
        """Does now what depends on the reference alone."""
        _ = self.bank if self.settings.inject else None

    @torch.no_grad()
    def _record(self) -> Bank:
        mask = None
        if self.settings.object_only and self.mask is not None:
            mask = scale_map(self.mask[None], self.latent_size)[0, 0]
        bank = Bank(mask)
        self._remember(bank)
        self.net.chapter("reference", lambda: self._see(bank))
        return bank

    def _see(self, bank: Bank) -> Tensor:
        """Inverts the reference and records its attention; its noisiest state."""
        settings, grid, noise = self.settings, self.grid, self.net.one(self.depth)
        states = invert(noise, self.encode(self.picture[None]), grid, settings.corrections)
        with shared_attention(self.runtime.unet, self.layers) as control:

            def recorded(state: Tensor, rung: int, level: int) -> Tensor:
                self.net.also = lambda: _pack_bank(bank, rung)
                with control.recording(bank, rung):
                    return noise(state, rung, level)

            try:
                if settings.record == "resampled":
                    sample(recorded, states[-1], grid)
                else:
                    for rung in range(grid.rungs, 0, -1):
                        recorded(states[rung], rung, rung)
            finally:
                self.net.also = dict
        return states[-1]

    def _remember(self, bank: Bank) -> None:
        """Fills the bank with what the journal knows of it."""
        known = {} if self.net.journal is None else self.net.journal.part(BANK)
        for name, value in known.items():
            rung, layer, part = name.split("/")
            value = value.to(self.picture.device)
            seen = bank.entries.get((int(rung), layer), Seen(value, value))
            bank.entries[int(rung), layer] = replace(seen, **{part: value})

    def evaluations(self, views: int) -> int:
        """Calls of the network that :meth:`enhance` of so many views makes, the reference's included."""
        settings, batches = self.settings, -(-views // self.settings.batch)
        up = self.grid.rungs * (1 + settings.corrections)
        climb = up if settings.start == "inversion" else 0
        return (up + self.grid.rungs if settings.inject else 0) + batches * (climb + self.grid.rungs)

    def contexts(self, cameras: Cameras | None, count: int) -> Tensor:
        """[count, L, D] of the prompt: plain, or as front, side or back view by each camera's azimuth."""
        if cameras is None:
            return self.net.words([self.prompt]).expand(count, -1, -1)
        if self._views is None:
            phrase = getattr(self.network, "phrase", PHRASE)
            texts = [phrase.format(word=word, prompt=self.prompt) for word in VIEW_WORDS] if self.prompt else [""] * 3
            self._views = self.net.words(texts)
        turn = cameras.azimuth.abs()
        return self._views[(turn > SIDE).long() + (turn > BACK).long()]

    @torch.no_grad()
    def climb(self, latents: Tensor, depth: Tensor | None) -> Tensor:
        """[l + 1, B, C, h, w] inverted states of latents, with the empty prompt; l evaluations each."""
        if self.settings.start == "inversion":
            return invert(self.net.one(depth), latents, self.grid, self.settings.corrections)
        generator = torch.Generator().manual_seed(self.settings.seed)
        noise = torch.randn(latents.shape, generator=generator).to(latents)
        levels = self.grid.alphas.to(latents)[:, None, None, None, None]
        return levels.sqrt() * latents + (1 - levels).sqrt() * noise

    @torch.no_grad()
    def descend(self, states: Tensor, depth: Tensor | None, contexts: Tensor, stop: int = 0,
                mask: Tensor | None = None) -> Descent:
        """Denoises from ``states[-1]``, looking at the reference; 2 (l - stop) evaluations each.

        states: as :meth:`climb` gives them; contexts: [B, L, D]; mask: [B, 1, h, w] of what may change, or None.
        """
        negative = self.net.words([self.negative]) if self.negative else self.net.empty
        noise = self.net.guided(depth, contexts, negative, self.settings.guidance)
        keep: Callable[[Tensor, int], Tensor] | None = None
        if mask is not None:
            def held(state: Tensor, rung: int) -> Tensor:
                return mask * state + (1 - mask) * states[rung]

            keep = held
        if not self.settings.inject:
            return sample(noise, states[-1], self.grid, stop, keep)
        bank = self.bank
        with shared_attention(self.runtime.unet, self.layers) as control:

            def looking(state: Tensor, rung: int, level: int) -> Tensor:
                with control.injecting(bank, rung):
                    return noise(state, rung, level)

            return sample(looking, states[-1], self.grid, stop, keep)

    def perceive(self, depth: Tensor, alpha: Tensor) -> tuple[Tensor, Tensor]:
        """Rendered distances and coverages [B, H, W] -> (depth channel, soft mask), both [B, 1, h, w]."""
        return depth_channel(depth, alpha, self.latent_size, True), scale_map(alpha, self.latent_size)

    @torch.no_grad()
    def targets(self, latents: Tensor, depth: Tensor | None, cameras: Cameras, stop: int = 0) -> tuple[Tensor, Tensor]:
        """What the reference suggests for views with ``latents``: (state at rung ``stop``, clean latents).

        The clean latents [l - stop, B, C, h, w] are those seen from rungs l .. stop + 1, in this order.
        """
        latents = latents.detach().float()
        way = self.descend(self.climb(latents, depth), depth, self.contexts(cameras, len(latents)), stop)
        return way.last, way.clean

    @torch.no_grad()
    def enhance(self, pictures: Tensor, depth: Tensor | None = None, masks: Tensor | None = None,
                cameras: Cameras | None = None) -> Tensor:
        """[B, S, S, 3] coarse views with the reference's texture; as they were from where StopStage ended it.

        pictures: of the network's size, on a background; depth: [B, 1, h, w]; masks: [B, S, S] coverage, needed by
        ``lock``; cameras: choose the view's words.
        """
        check_pictures("views", pictures, self.image_size)
        settings = self.settings
        if settings.depth and sees_depth(self.runtime) and depth is None:
            raise InputError("views", "a depth map for each", "none", "Estimate them, or switch depth off.")
        if settings.lock and masks is None:
            raise InputError("views", "masks, to keep the background", "none", "Give masks, or switch lock off.")
        contexts, done = self.contexts(cameras, len(pictures)), []
        try:
            self.prepare()
            for start in range(0, len(pictures), settings.batch):
                part = slice(start, start + settings.batch)
                given = (pictures[part], None if depth is None else depth[part], contexts[part],
                         masks[part] if settings.lock and masks is not None else None)
                done.append(self.net.chapter(f"views/{start}", lambda given=given: self._enhance(*given)).to(pictures.device))
        except StopStage:
            done.append(pictures[settings.batch * len(done) :])
            journal = self.net.journal
            if journal is not None:
                journal.autosave(journal.now, now=True)
        return torch.cat(done)

    def _enhance(self, pictures: Tensor, depth: Tensor | None, contexts: Tensor, masks: Tensor | None) -> Tensor:
        """:meth:`enhance` of one batch, with the masks of what is locked."""
        given = self.encode(pictures)
        states = self.climb(given, depth)
        mask = None if masks is None else scale_map(masks, self.latent_size).to(states)
        made = self.decode(self.descend(states, depth, contexts, mask=mask).last)
        return made if self.settings.space == "latents" else (pictures + made - self.decode(given)).clamp(0, 1)


def _pack_bank(bank: Bank, rung: int) -> dict[str, Tensor]:
    """What the reference's attention was at one rung, as parts of a journal."""
    return {f"{BANK}{rung}/{layer}/{name}": value for (at, layer), seen in bank.entries.items() if at == rung
            for name, value in vars(seen).items() if value is not None}


def check_pictures(name: str, pictures: Tensor, size: int) -> None:
    """InputError unless ``pictures`` are [B, size, size, 3]."""
    if pictures.ndim != 4 or tuple(pictures.shape[1:]) != (size, size, 3):
        raise InputError(name, f"pictures of {size} x {size} pixels with 3 channels",
                         " x ".join(str(v) for v in pictures.shape[1:]), "Resize them to the network's size first.")
