"""The radiance-field stage of Magic123 and Consistent123 (M-B)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, get_args

import torch
from torch import Tensor

from ...core.cameras import Cameras, Rays
from ...core.errors import InputError
from ...core.extra import ExtraLoss
from ...core.far import send
from ...core.mesh import Mesh
from ...core.prior import Prior
from ...core.randomness import normal, on_device, step_generator
from ...core.schedules import Constant, Linear, Schedule
from ...core.settings import describe
from ...core.step import KeepState, OnStep, ignore_step, keep_no_state
from ...core.views import RenderBuffers
from ...fields.hash_nerf import HashNerf, HashNerfConfig
from ...fields.tet_sdf import TetSdf
from ...losses import image as losses
from ...ops.occupancy import DENSITY_THRESHOLD, OccupancyGrid
from ...priors.combine import dynamic_clock
from ...render.depth_normals import depth_normals
from ...render.shading import ALBEDO, Shading
from ...render.volume import VolumeSettings, render_volume
from ...stages.loop.step_config import StepConfig
from ..inputs.reference import ReferenceView
from ..loop.cameras import NovelViews
from ..loop.optimize import Loop, OnCheckpoint
from ..loop.optimizer import RateScaler, live_levels, optimizer_of, pack_optimizer, unpack_optimizer
from ..loop.scene import Scene, load_strict, pack_reference, to_cpu
from .boundary import Boundary, BoundaryState

SKETCH = 16  # A15 cells per side of the surface that is shown while a stage runs
CHUNK = 1 << 17  # color queries at once

Averages = Literal["marched", "visible"]
AVERAGES = get_args(Averages)
BlurNormals = Literal["density", "depth"]
BLUR_NORMALS = get_args(BlurNormals)


@dataclass(frozen=True)
class NerfConfig(StepConfig):
    """The radiance-field stage; defaults are Consistent123's released numbers (M-B.1 to M-B.6), rates Magic123's (M-B.7).

    mesh_iterations: planned length of the mesh stage, for the dynamic prior's clock.
    field, volume:   shape of the field and density of samples.
    grid_resolution, grid_every: of the occupancy grid; steps between refreshes.
    lr_grid, lr_mlp: learning rates.
    early_size, early_batch: pixels and number of novel views until progress ``early_until`` (HiFi-123); 0 = as later.
    normal_tv, normal_blur, normal_3d, orientation, entropy, opacity: weights of the regularizers,
                     schedules over progress (M-B.6).
    opaque:          weight of the binary entropy of coverage, a schedule (threestudio).
    averages:        what orientation, entropy and 3D normals average over: all samples that were "marched", also those
                     behind opaque ones (released; M-B.6), or the "visible" ones that were queried (ours).
    blur_stop_gradient: the blurred normals are a constant (Magic123's paper; its code: they are not).
    blur_normals:    the normals of that term: of the "density" (the codes), or of the rendered "depth" by finite
                     differences (Magic123's paper).
    level_start, level_rate: share of live hash levels, start + rate * progress.
    level_until:     progress from which all levels are live.
    ema_decay, ema_every: averaged weights, updated every so many steps; 0 = none.
    """

    depth: Schedule = Linear(0.0, 10.0)
    reference_noise: float = 2e-3
    novel: NovelViews = NovelViews(progressive_start=0.2, progressive_rate=2.0, stratified=False)
    mesh_iterations: int = 5000
    early_size: int = 0
    early_batch: int = 0
    early_until: float = 0.0
    field: HashNerfConfig = HashNerfConfig()
    volume: VolumeSettings = VolumeSettings()
    grid_resolution: int = 128
    grid_every: int = 16
    lr_grid: float = 1e-2
    lr_mlp: float = 1e-3
    normal_tv: Schedule = Constant(10.0)
    normal_blur: Schedule = Constant(10.0)
    blur_stop_gradient: bool = True
    blur_normals: BlurNormals = "density"
    normal_3d: Schedule = Constant(20.0)
    orientation: Schedule = Constant(1.0)
    entropy: Schedule = Linear(0.0, 1.0, 0.0, 0.5)
    opacity: Schedule = Constant(0.0)
    opaque: Schedule = Constant(0.0)
    averages: Averages = "marched"
    level_start: float = 0.25
    level_rate: float = 2.0
    level_until: float = 1.0
    ema_decay: float = 0.95
    ema_every: int = 100

    def __post_init__(self):
        super().__post_init__()
        for name, allowed in (("averages", AVERAGES), ("blur_normals", BLUR_NORMALS)):
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} must be one of {allowed}, got {getattr(self, name)!r}")
        if self.early_size < 0 or self.early_batch < 0:
            raise ValueError(f"early_size and early_batch must be at least 0, got {self.early_size}, {self.early_batch}")

    def novel_at(self, progress: float) -> tuple[int, int]:
        """(number, pixels per side) of the novel views at ``progress``: the early ones first."""
        count, size = super().novel_at(progress)
        return (self.early_batch or count, self.early_size or size) if progress < self.early_until else (count, size)


# Settings that scenes were made with before these could be chosen: what their meta lacks is read as this.
FORMER = NerfConfig(rgb_over="mask", mask_against="alpha", averages="visible")


def fit_nerf(
    reference: ReferenceView,
    prior: Prior | None,
    config: NerfConfig,
    *,
    scene: Scene | None = None,
    until: int | None = None,
    boundary: Boundary | None = None,
    stop_at_boundary: bool = False,
    seed: int = 0,
    device: torch.device | str = "cpu",
    on_step: OnStep = ignore_step,
    on_checkpoint: OnCheckpoint | None = None,
    autosave: KeepState = keep_no_state,
    extras: tuple[ExtraLoss, ...] = (),
) -> Scene:
    """A radiance field of the reference view as a Scene of kind "nerf".

    prior:    a Prior (alone in every step), a DynamicPrior (its 3D part until the boundary, then the
              ramp; without any boundary the ramp starts at once) or None (reference view only).
    scene:    continue this one; its seed is kept, so the result does not depend on interruptions.
    until:    stop after this many iterations; the schedules still span ``config.iterations``.
    boundary: judged while no switch has happened; ``stop_at_boundary`` returns when it fires.
    on_step:  may raise StopStage: the scene so far is returned.  After any other exception
              ``on_checkpoint`` gets the scene so far, then the exception goes on.
    autosave: told of the scene after every step; given back as ``scene``, it leads to the same end bit for bit.
    """
    device = torch.device(device)
    seed = seed if scene is None else scene.seed
    trainee = _NerfTrainee(scene, config, reference, seed, device)
    trainee.remember(prior, scene)
    start = 0 if scene is None else scene.step
    stop = config.iterations if until is None else min(until, config.iterations)
    kind = None if prior is None else prior.clock
    if kind is not None and boundary is None and trainee.switch_step is None:
        trainee.switch_step = start

    def clock(step: int) -> float | None:
        return dynamic_clock(step, trainee.switch_step, config.iterations, config.mesh_iterations, kind)

    def check(finished: int) -> tuple[str, bool]:
        return trainee.judge(boundary, finished, stop_at_boundary)

    loop = Loop(trainee, reference, prior, config, seed, device, on_step, on_checkpoint, clock, check, autosave, extras,
                trainee.scores)
    return loop.run(start, stop)


class _NerfTrainee:
    """A HashNerf with its occupancy grid."""

    name = "NeRF"

    def __init__(self, scene: Scene | None, config: NerfConfig, reference: ReferenceView, seed: int, device):
        if scene is not None and scene.kind != "nerf":
            raise InputError("scene", "a radiance field", "a mesh", "Connect the NeRF stage's scene.")
        self.config, self.reference, self.seed, self.device = config, reference, seed, device
        self.switch_step = None if scene is None else scene.switch_step
        self.boundary = None if scene is None or not scene.boundary else BoundaryState.from_json(scene.boundary)
        self.field = new_field(config.field, seed, device)
        self.grid = OccupancyGrid(config.grid_resolution, device)
        self.average: dict | None = None
        self.prior: Prior | None = None
        if scene is not None:
            load_strict(self.field, scene.part("field"), "scene")
            self.grid = load_grid(scene, device)
            self.average = {k: v.to(device) for k, v in scene.part("ema").items()} or None
        self.field.use_engine(config.engine)
        groups = self.field.parameter_groups(config.lr_grid, config.lr_mlp)
        self.optimizer = optimizer_of(config.optimizer, groups, device)
        if scene is not None:
            unpack_optimizer(self.optimizer, scene.part("optim"))
        self.rates = RateScaler(self.optimizer)
        self.updates = 0 if scene is None else scene.meta.get("updates", scene.step)

    def remember(self, prior: Prior | None, scene: Scene | None) -> None:
        """Keeps what the prior has learned in snapshots; ``scene`` is one of them, to go on from."""
        self.prior = prior
        if prior is not None and scene is not None:
            prior.recall(scene.part("prior"), scene.meta.get("prior"))

    def prepare(self, step: int, progress: float, generator: torch.Generator) -> None:
        config = self.config
        self.field.live_levels = live_levels(
            config.field.grid.levels, config.level_start, config.level_rate, progress, config.level_until
        )
        if step % config.grid_every == 0:
            self.grid.update(self.field.density, on_device(generator, self.device))

    def render(self, cameras: Cameras, shading: Shading, generator, noise: float = 0.0) -> RenderBuffers:
        rays = _shifted(cameras, noise, generator) if noise > 0 and generator is not None else None
        wanted = torch.is_grad_enabled() and self._wants_normals()
        return render_volume(
            self.field,
            cameras,
            self.grid,
            self.config.volume,
            shading,
            want_normal=wanted,
            generator=on_device(generator, self.device),
            rays=rays,
        )

    def shape_terms(self, progress: float) -> dict:
        return {}

    def leaves(self) -> list[Tensor]:
        return self.rates.parameters()

    def update(self, factor: float, clip_norm: float) -> None:
        self.rates.step(factor, clip_norm)
        self.updates += 1
        config = self.config
        if config.ema_every and self.updates % config.ema_every == 0:
            now = {k: v.detach() for k, v in self.field.state_dict().items()}
            if self.average is None:
                self.average = {k: v.clone() for k, v in now.items()}
            for name, value in now.items():
                self.average[name].lerp_(value, 1 - config.ema_decay)

    def judge(self, boundary: Boundary | None, finished: int, stop: bool) -> tuple[str, bool]:
        """The CLIP boundary after ``finished`` steps: (note, whether the stage ends)."""
        total = self.config.iterations
        if boundary is None or self.switch_step is not None:
            return "", False
        self.boundary = self.boundary or BoundaryState(boundary.config)
        if not self.boundary.due(finished, total):
            return "", False
        with torch.no_grad():
            pictures = self.render(boundary.config.cameras().to(self.device), ALBEDO, None).composite(1.0)
        if not self.boundary.observe(finished, boundary.score(pictures.clamp(0, 1)), total):
            return "", False
        self.switch_step = finished
        return self.boundary.explanation(), stop

    def scores(self, finished: int) -> dict:
        """What the boundary has measured after ``finished`` steps."""
        step, score, _ = self.boundary.history[-1] if self.boundary and self.boundary.history else (0, 0.0, None)
        return {"CLIP score": score} if step == finished else {}

    def sketch(self) -> Mesh | None:
        field, threshold = self.field, threshold_of(self.grid.density)
        try:
            surface = TetSdf.from_density(field.density, SKETCH, threshold, field, self.device, fill_cavities=False)
            return colored(surface.extract(), field.albedo)
        except InputError:  # nothing is dense enough yet
            return None

    def zero_grad(self) -> None:
        self.rates.forget()

    def snapshot(self, step: int) -> Scene:
        reference, reference_meta = pack_reference(self.reference)
        tensors = {f"field/{k}": v for k, v in self.field.state_dict().items()}
        tensors.update({f"grid/{k}": v for k, v in self.grid.state().items()})
        tensors.update({f"ema/{k}": v for k, v in (self.average or {}).items()})
        tensors = {**to_cpu(tensors), **pack_optimizer(self.optimizer), **reference}
        meta = {
            "step": step,
            "total": self.config.iterations,
            "nerf_total": self.config.iterations,
            "switch_step": self.switch_step,
            "boundary": self.boundary.to_json() if self.boundary else None,
            "seed": self.seed,
            "field": self.config.field.to_json(),
            "live_levels": self.field.live_levels,
            "volume": describe(self.config.volume),
            "reference": reference_meta,
            "config": describe(self.config),
        }
        if self.updates != step:  # steps in which nothing had a gradient
            meta["updates"] = self.updates
        kept, remembered = ({}, None) if self.prior is None else self.prior.memory()
        if remembered and step < self.config.iterations:  # most priors remember nothing
            meta["prior"] = remembered
            tensors.update({f"prior/{name}": value for name, value in kept.items()})
        return Scene("nerf", tensors, meta)

    def _wants_normals(self) -> bool:
        config = self.config
        weights = (config.normal, config.normal_tv, config.normal_blur, config.orientation)
        return any(w(x) > 0 for w in weights for x in (0.0, 0.5, 1.0))

    def regularizers(self, view: RenderBuffers, progress: float) -> dict:
        config, extras, out = self.config, view.extras, {}
        assert extras is not None, "a volume's render carries its samples"
        weights, marched = extras["weights"], extras["marched"]
        count = len(marched) if config.averages == "marched" else None
        if view.normal is not None:
            colored = (view.normal + view.alpha.detach()[..., None]) / 2
            if config.normal_tv(progress) > 0:
                out["normal_tv"] = config.normal_tv(progress) * losses.total_variation(colored)
            if config.normal_blur(progress) > 0:
                if config.blur_normals == "depth":
                    colored = (depth_normals(view.depth, view.alpha, extras["rays"]) + view.alpha.detach()[..., None]) / 2
                blur = losses.blur_smoothness(colored, stop_gradient=config.blur_stop_gradient)
                out["normal_blur"] = config.normal_blur(progress) * blur
            if config.orientation(progress) > 0:
                facing = losses.orientation(weights, extras["normals"], extras["directions"], count)
                out["orientation"] = config.orientation(progress) * facing
        if config.normal_3d(progress) > 0:
            looked_at = extras["samples"] if count is None else marched
            out["normal_3d"] = config.normal_3d(progress) * self._normal_change(looked_at.positions)
        if config.entropy(progress) > 0:
            out["entropy"] = config.entropy(progress) * losses.binary_entropy(weights, count=count)
        if config.opacity(progress) > 0:
            out["opacity"] = config.opacity(progress) * losses.opacity(view.alpha)
        if config.opaque(progress) > 0:
            out["opaque"] = config.opaque(progress) * losses.binary_entropy(view.alpha)
        return out

    def _normal_change(self, positions: Tensor) -> Tensor:
        """Mean |n(x) - n(x + 1e-2 N)| over the samples (M-B.6)."""
        if not len(positions):
            return positions.sum()
        generator = step_generator(self.seed, "normal change", self.updates)
        shift = 1e-2 * normal(positions.shape, generator, positions)
        method = self.config.volume.normal_method
        here, there = self.field.normal(positions, method), self.field.normal(positions, method, shift)
        return (here - there).abs().mean()


def new_field(config: HashNerfConfig, seed: int, device: torch.device | str) -> HashNerf:
    """An untrained field; the same numbers on every device."""
    return HashNerf(config, step_generator(seed, "field", 0)).to(device)


def load_field(scene: Scene, device: torch.device | str = "cpu", averaged: bool = False) -> HashNerf:
    """The color and density field of a scene of either kind; ``averaged`` prefers the EMA weights."""
    field = HashNerf(HashNerfConfig.from_json(scene.entry("field")), torch.Generator().manual_seed(0))
    average = scene.part("ema") if averaged else {}
    load_strict(field, average or scene.part("field"), "scene")
    field.live_levels = scene.meta.get("live_levels")
    return field.to(device)


def load_grid(scene: Scene, device: torch.device | str = "cpu") -> OccupancyGrid:
    """The occupancy grid of a NeRF scene."""
    state = scene.part("grid")
    grid = OccupancyGrid(len(scene.tensor("grid/density")), device)
    grid.load_state({k: v.to(device) for k, v in state.items()})
    return grid


def nerf_threshold(scene: Scene) -> float:
    """The density at which a NeRF scene's surface lies: min(mean of the occupancy grid, 10) (M-B.2)."""
    return threshold_of(scene.tensor("grid/density"))


def threshold_of(density: Tensor) -> float:
    """The same of an occupancy grid's densities."""
    return max(min(float(density.mean()), DENSITY_THRESHOLD), 1e-6)


def colored(mesh: Mesh, albedo: Callable[[Tensor], Tensor]) -> Mesh:
    """The mesh with vertex colors; albedo: [N, 3] points -> [N, 3] sRGB in [0, 1]."""
    return replace(mesh, vertex_colors=torch.cat([albedo(part) for part in mesh.vertices.split(CHUNK)]))


def _shifted(cameras: Cameras, noise: float, generator: torch.Generator) -> Rays:
    """The cameras' rays with one random shift of all origins and one of all directions (M-A.4)."""
    rays = cameras.rays()
    shift = send(noise * torch.randn(2, 3, generator=generator), rays.origins)
    return Rays(rays.origins + shift[0], rays.directions + shift[1])
