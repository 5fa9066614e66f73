"""RGSD, reference-guided state distillation (HiFi-123, Yu et al. 2024, section 3.3), as a latent regression.

The paper pulls the noised render x_tau towards x~_tau, the state at the same level of a trajectory that a guide made
from the render by inverting and denoising it under the reference's attention.  Both states share their noise, so

    | x_tau - stopgrad(x~_tau) |^2  =  abar_tau | x_0 - stopgrad(x0_hat) |^2,

where x0_hat is the clean latent that the guide saw on its last step before tau (H-B.3; exact).  One descent gives
x0_hat for every tau, and with frozen geometry a target stays good for some visits of its view.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from ..core.cameras import Cameras
from ..core.choices import Space
from ..core.errors import InputError, NotFinite
from ..core.prior import Outline, Prior
from ..core.schedules import Constant, Schedule
from ..core.views import RenderBuffers
from .rgsd_memory import Memory, Target
from .sds import resize

Tau = Literal["draw", "mean"]
TAUS = get_args(Tau)
Aim = Literal["states", "image"]
AIMS = get_args(Aim)
Reduction = Literal["half sum", "sum", "mean"]
REDUCTIONS = get_args(Reduction)
SPACES = get_args(Space)
OVERLAP = 0.2  # of the reference's object that the surface must cover


@dataclass(frozen=True)
class RgsdSettings:
    """How a guide is distilled; what the paper leaves open is marked.

    weight:    schedule over progress, multiplies the loss (open; 0.025 beside a color weight of 1000, H-B.8).
    reduction: over the latent: "half sum" as threestudio's latent losses (open), "sum" as Algorithm 1 has it, "mean".
    tau:       "draw" one level for each visit (paper) or regress to the "mean" over all of them, which has the same
               expected gradient and no variance.
    fixed:     azimuths of the fixed views, degrees from the reference's, at its elevation (the paper has two and does
               not say which; with +-120 no direction is more than 60 degrees from one of three views); () = none.
    slots, reuse: so many random views are kept in turn, and each serves ``reuse`` visits with one target (ours;
               reuse 1 = a new view and target at every visit, as the paper).
    masked:    weigh the error by the object's coverage.
    space:     "latents" (paper), or "pictures" (ours): the render itself goes to where it was plus what the guide
               changes, D(x0_hat) - D(x_0) for the autoencoder's decoder D.  For small autoencoders, whose own errors
               cancel in the difference and whose encoder's gradient paints noise that only the encoder understands.
    aim:       "states" of the guide's trajectory (RGSD), or the finished "image": every render is pulled towards its
               enhanced picture, which is the paper's "image loss" (Sec. 3.3, Fig. 4 (c)): smooth and inconsistent.
    """

    weight: Schedule = Constant(0.025)
    reduction: Reduction = "half sum"
    tau: Tau = "draw"
    fixed: tuple[float, ...] = (120.0, -120.0)
    slots: int = 4
    reuse: int = 4
    masked: bool = True
    space: Space = "latents"
    aim: Aim = "states"

    def __post_init__(self):
        for name, allowed in (("tau", TAUS), ("reduction", REDUCTIONS), ("space", SPACES), ("aim", AIMS)):
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} must be one of {allowed}, got {getattr(self, name)!r}")
        if self.slots < 1 or self.reuse < 1:
            raise ValueError("slots and reuse must be at least 1")


class RgsdPrior(Prior):
    """A guide (``methods.rgnv.ReferenceGuide``, or anything with its methods) seen as a loss.

    reference: one camera, the reference's; alpha: [1, H, W] its coverage, to check that surface and reference overlap.
    backdrop:  what stages put behind novel views, which they show unlit: a ``StepConfig.novel_background``.

    It needs a stage that calls :meth:`on_surface`, and chooses the views of every step with novel ones: every other
    one shows a fixed view, whose target (tau = 0) is made at its first visit, i.e. from the coarse texture.
    :meth:`memory` and :meth:`recall` keep views and targets while the stage is interrupted.
    """

    knows_reference = True

    def __init__(self, guide, reference: Cameras, settings: RgsdSettings = RgsdSettings(), alpha: Tensor | None = None,
                 name: str = "rgsd", backdrop: str = "gray"):
        self.guide, self.reference, self.settings, self.alpha, self.name = guide, reference, settings, alpha, name
        self.backdrop = backdrop
        self.outline: Outline | None = None
        self._now = Memory([None] * settings.slots)

    @property
    def tally(self) -> dict:
        """Visits and costs of "fixed" and "random" views (``rgsd_memory.Tally``)."""
        return self._now.tally

    def memory(self) -> tuple[dict[str, Tensor], dict]:
        """(tensors, JSON) with which :meth:`recall` makes an equal prior go on."""
        tensors, meta = self._now.pack()
        return tensors, {**meta, "made_by": self._fingerprint()}

    def recall(self, tensors: dict[str, Tensor], meta: dict | None) -> bool:
        """Goes on from :meth:`memory`; False, and nothing is recalled, if it is absent or of other settings."""
        if not meta or meta.get("made_by") != self._fingerprint():
            return False
        try:
            self._now = Memory.unpack(tensors, meta)
        except KeyError:
            return False
        return True

    def _fingerprint(self) -> str:
        guide = self.guide
        return repr((self.settings, guide.settings, guide.grid.times.tolist(), getattr(guide, "prompt", "")))

    def on_surface(self, outline: Outline, frozen: bool) -> None:
        """Tells how the surface is drawn (coverage and depth are used).  InputError when it cannot be guided."""
        if not frozen:
            raise InputError("optimize", "texture, with RGSD", "a stage that changes the shape",
                             "RGSD keeps its targets while the shape stays; set optimize to texture.")
        self.outline, self._now = outline, Memory([None] * self.settings.slots)
        if self.alpha is None:
            return
        size = self.alpha.shape[-1]
        there = outline(self.reference.resized(size, size)).alpha.cpu() > 0.5
        wanted = self.alpha.cpu() > 0.5
        seen = float((there & wanted).sum() / wanted.sum().clamp_min(1))
        if seen < OVERLAP:
            raise InputError("reference", "a picture of the object from its camera",
                             f"only {seen:.0%} of the picture's object lies on the mesh",
                             "Check the mesh's up axis, turn and scale, and the reference's camera.")

    def choose(self, step: int, cameras: Cameras) -> Cameras:
        """The views of ``step``, given as many random ones; the same again for the same step."""
        settings, count = self.settings, len(cameras)
        if step != self._now.step:
            self._now.visit, self._now.step = self._now.visit + 1, step
        turn = self._now.visit // 2 if settings.fixed else self._now.visit
        if settings.fixed and self._now.visit % 2 == 0:
            angles = [settings.fixed[(turn * count + i) % len(settings.fixed)] for i in range(count)]
            return self._fixed_cameras(angles, cameras)
        return Cameras.cat([self._random(turn * count + i, cameras[i]) for i in range(count)])

    def _fixed_cameras(self, degrees: list[float], like: Cameras) -> Cameras:
        home = self.reference.to("cpu")
        azimuth = home.azimuth + torch.tensor(degrees) * (math.pi / 180)
        found = Cameras.orbit(azimuth, home.elevation, home.radius, home.fovy, like.height, like.width)
        self._now.fixed.update(_key(found[i]) for i in range(len(found)))
        return found

    def _random(self, visit: int, fresh: Cameras) -> Cameras:
        """A view for the ``visit``-th time a random one is shown: every slot is filled once, then shown again in turn."""
        slots, reuse = self.settings.slots, self.settings.reuse
        place = visit % (slots * reuse)
        slot = place % slots
        old = self._now.slots[slot]
        if place >= slots and old is not None:
            return old
        if old is not None:
            self._now.targets.pop(_key(old), None)
            self._now.kept.discard(_key(old))
        self._now.slots[slot] = fresh
        if reuse > 1:
            self._now.kept.add(_key(fresh))
        return fresh

    def loss(self, images: Tensor, cameras: Cameras, progress: float, generator: torch.Generator) -> Tensor:
        """[B] losses of pictures [B, H, W, 3]; the generator lives on the CPU and gives one number."""
        guide, settings = self.guide, self.settings
        shown = resize(images, guide.image_size)
        shown = guide.encode(shown).float() if settings.space == "latents" and settings.aim == "states" else shown
        tau = int(torch.randint(1, guide.grid.rungs, (1,), generator=generator)) if guide.grid.rungs > 1 else 0
        keys = [_key(cameras[i]) for i in range(len(cameras))]
        targets = self._gather(shown.detach(), cameras, keys, tau)
        pulls = [self._pull(target, key in self._now.fixed, tau) for target, key in zip(targets, keys, strict=True)]
        goal = torch.stack([g.to(shown) for g, _ in pulls])
        factor = shown.new_tensor([w for _, w in pulls])
        error = (shown - goal).square()
        if settings.masked:
            error = error * torch.stack([t.mask.to(shown) for t in targets])
        flat = error.flatten(1)
        size = flat.mean(1) if settings.reduction == "mean" else flat.sum(1)
        return settings.weight(progress) * (0.5 if settings.reduction == "half sum" else 1.0) * factor * size

    def _pull(self, target: Target, fixed: bool, tau: int) -> tuple[Tensor, float]:
        """(latent or picture to go to, its factor abar) for one view."""
        if fixed or self.settings.aim == "image":
            return target.clean[0], 1.0
        alphas = self.guide.grid.alphas
        if self.settings.tau == "draw":
            return target.clean[tau - target.first], float(alphas[tau])
        levels = alphas[target.first : target.first + len(target.clean)].to(target.clean)
        return torch.einsum("t,t...->...", levels / levels.sum(), target.clean), float(levels.mean())

    def _gather(self, shown: Tensor, cameras: Cameras, keys: list[bytes], tau: int) -> list[Target]:
        """Targets of all views, made where there is none yet."""
        self.guide.prepare()  # what the reference costs is not any view's
        found: dict[int, Target] = {i: self._now.targets[k] for i, k in enumerate(keys) if k in self._now.targets}
        for fixed in (True, False):
            tally = self.tally["fixed" if fixed else "random"]
            mine = [i for i, k in enumerate(keys) if (k in self._now.fixed) == fixed]
            tally.visits += len(mine)
            missing = [i for i in mine if i not in found]
            if missing:
                before = (self.guide.spent.pictures, self.guide.spent.calls)
                made = self._make(shown[missing], cameras[missing], fixed, tau, [keys[i] for i in missing])
                found.update(zip(missing, made, strict=True))
                tally.evaluations += self.guide.spent.pictures - before[0]
                tally.calls += self.guide.spent.calls - before[1]
        return [found[i] for i in range(len(keys))]

    def _make(self, shown: Tensor, cameras: Cameras, fixed: bool, tau: int, keys: list[bytes]) -> list[Target]:
        if self.outline is None:
            raise InputError("prior", "a stage that refines the texture of a mesh, for RGSD", "another stage",
                             "Wire RGSD Prior into DMTet Refine.")
        guide, every = self.guide, self.settings.tau == "mean" or self.settings.reuse > 1
        drawn = self.outline(cameras.resized(guide.image_size, guide.image_size))
        depth, mask = guide.perceive(expected_depth(drawn), drawn.alpha)
        image = self.settings.aim == "image"
        stop = 0 if fixed or image else min(1, tau) if every else tau
        pictures = image or self.settings.space == "pictures"
        with torch.no_grad():
            latents = guide.encode(shown).float() if pictures else shown
        state, clean = guide.targets(latents, depth, cameras, stop)
        if not bool(clean.isfinite().all() and state.isfinite().all()):
            raise NotFinite(f"{self.name} prior", "nan or infinity in the guide's latents",
                            "Load its network in float32 or bfloat16, or lower its guidance.")
        low_first = state[None] if fixed or image else clean.flip(0) if every else clean[-1:]
        first = 0 if fixed else stop
        if image:
            with torch.no_grad():
                low_first, mask = guide.decode(state)[None], drawn.alpha[..., None]
        elif pictures:
            low_first, mask = self._changed(shown, latents, low_first), drawn.alpha[..., None]
        made = [Target(low_first[:, i].clone(), first, mask[i]) for i in range(len(latents))]
        for key, target in zip(keys, made, strict=True):
            if fixed or key in self._now.kept:
                self._now.targets[key] = target
        return made


    @torch.no_grad()
    def _changed(self, shown: Tensor, latents: Tensor, goals: Tensor) -> Tensor:
        """[n, B, S, S, 3] pictures [B, S, S, 3] with what leads from their latents to each of ``goals`` [n, B, C, h, w]."""
        before = self.guide.decode(latents)
        return torch.stack([(shown + self.guide.decode(goal) - before).clamp(0, 1) for goal in goals])


def expected_depth(buffers: RenderBuffers) -> Tensor:
    """[B, H, W] distance of what is seen, 0 where there is nothing."""
    return buffers.depth / buffers.alpha.clamp_min(1e-6) * (buffers.alpha > 1e-3)


def _key(camera: Cameras) -> bytes:
    """Names one view, on any device and at any size."""
    return camera.c2w.detach().cpu().numpy().tobytes() + camera.fovy.detach().cpu().numpy().tobytes()
