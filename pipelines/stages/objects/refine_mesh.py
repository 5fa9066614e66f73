"""From NeRF to mesh: refinement of shape and color at higher resolution, on DMTet (M-E) or FlexiCubes."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import Literal, cast, get_args

import torch
from torch import Tensor

from ...core.cameras import Cameras
from ...core.errors import InputError
from ...core.extra import ExtraLoss
from ...core.far import far
from ...core.mesh import Mesh
from ...core.prior import Prior
from ...core.schedules import Constant, Schedule
from ...core.settings import describe
from ...core.step import KeepState, OnStep, ignore_step, keep_no_state
from ...core.views import RenderBuffers
from ...fields.first_surface import Init
from ...fields.fixed_surface import FixedSurface
from ...fields.flexi_sdf import FlexiSdf
from ...fields.hash_nerf import HashNerf
from ...fields.tet_sdf import TetSdf
from ...losses.image import blur_smoothness
from ...losses.mesh import normal_consistency, uniform_laplacian
from ...ops.accelerators import choose_rasterizer
from ...ops.mesh_edges import edge_slots, mesh_edges
from ...priors.combine import dynamic_clock
from ...render.shading import Shading
from ...render.surface import render_surface
from ...render.volume import VolumeSettings
from ...stages.loop.step_config import StepConfig
from ..inputs.reference import ReferenceView
from ..loop.cameras import NovelViews
from ..loop.optimize import Loop, OnCheckpoint
from ..loop.optimizer import RateScaler, live_levels, optimizer_of, pack_optimizer, unpack_optimizer
from ..loop.scene import Scene, pack_reference, to_cpu
from .cover import cover, seen_points
from .fit_nerf import colored, load_field, load_grid, nerf_threshold
from .surfaces import Surface, load_surface, pack_surface, settings_for

log = logging.getLogger(__name__)
Optimize = Literal["both", "texture", "geometry"]
OPTIMIZE = get_args(Optimize)
Grid = Literal["dmtet", "flexicubes"]
GRIDS = {"dmtet": TetSdf, "flexicubes": FlexiSdf}


@dataclass(frozen=True)
class MeshConfig(StepConfig):
    """DMTet refinement; defaults are Consistent123's (M-B.6, M-E) but for ``init``, rates Magic123's code's (M-B.7).

    size, reference_size: 1024 in the paper.
    tets:       A15 cells per side (n); 64 for the paper's "256" grid.
    surface:    what carries the shape of a NeRF scene, "dmtet" (the papers) or "flexicubes" (Shen et al. 2023; 2 n cubes per
                side, about as many points); a mesh scene stays what it is.
    optimize:   "both", "texture" (surface fixed) or "geometry" (color fixed).
    init:       how density becomes distance: "log" (ours) or the codes' "clamp" (see ``TetSdf``).
    threshold:  density of the initial surface; None = min(mean of the occupancy grid, 10).
    rasterizer: who draws the mesh: "built-in", "fastest" that is available, or "nvdiffrast" (``ops.accelerators``).
    cover_reference: parts of the picture too thin for the grid are put into the initial surface (not
                in the papers; see ``cover``).
    lr_sdf, lr_deform, lr_grid, lr_mlp: learning rates.
    mesh_normal, mesh_laplacian: weights of the mesh regularizers.
    cube_deviation: weight of FlexiCubes' L_dev, in scene units; nothing for DMTet.
    normal_blur: weight of the rendered normals against their own blur, which is a constant (Magic123's paper has its field
                stage's losses in this one, too; no code has).
    level_start, level_rate: share of live hash levels, start + rate * progress.
    supersample: samples per pixel side of every render.
    """

    iterations: int = 5000
    size: int = 1024
    reference_size: int = 1024
    novel: NovelViews = NovelViews()
    tets: int = 64
    optimize: Optimize = "both"
    init: Init = "log"
    threshold: float | None = None
    cover_reference: bool = False
    rasterizer: str = "built-in"
    lr_sdf: float = 1e-3
    lr_deform: float = 1e-3
    lr_grid: float = 1e-2
    lr_mlp: float = 1e-3
    mesh_normal: Schedule = Constant(100.0)
    mesh_laplacian: Schedule = Constant(100.0)
    normal_blur: Schedule = Constant(0.0)
    level_start: float = 1.0
    level_rate: float = 0.0
    supersample: int = 1
    surface: Grid = "dmtet"
    cube_deviation: Schedule = Constant(0.5)

    def __post_init__(self):
        super().__post_init__()
        if self.surface not in GRIDS:
            raise ValueError(f"surface must be one of {tuple(GRIDS)}, got {self.surface!r}")
        if self.optimize not in OPTIMIZE:
            raise ValueError(f"optimize must be one of {OPTIMIZE}, got {self.optimize!r}")


def refine_mesh(
    prior: Prior | None,
    scene: Scene,
    config: MeshConfig,
    *,
    reference: ReferenceView | None = None,
    until: int | None = None,
    seed: int | None = None,
    device: torch.device | str = "cpu",
    on_step: OnStep = ignore_step,
    on_checkpoint: OnCheckpoint | None = None,
    autosave: KeepState = keep_no_state,
    extras: tuple[ExtraLoss, ...] = (),
) -> Scene:
    """The refined surface as a Scene of kind "mesh".

    prior: told the surface before the first step; a DynamicPrior's ramp continues where the NeRF stage left it; None =
           the reference view alone.
    scene: "nerf" starts the stage; "mesh" that is unfinished resumes, finished starts over from its
           surface.
    until: stop after this many iterations of the stage.
    Raises InputError when no surface exists.  Interruption, autosave: as ``fit_nerf``.
    """
    device = torch.device(device)
    config = settings_for(config, scene)
    reference = reference or scene.reference
    seed = scene.seed if seed is None else seed
    resumes = scene.kind == "mesh" and not scene.finished
    trainee = _MeshTrainee(scene, config, reference, seed, device, resumes)
    if prior is not None:
        prior.on_surface(trainee.outline, config.optimize == "texture")
    trainee.remember(prior, scene if resumes else None)
    start = scene.step if resumes else 0
    stop = config.iterations if until is None else min(until, config.iterations)
    nerf_total, switch = trainee.history["nerf_total"], trainee.history["switch_step"]
    # Without a switch in the history the dynamic phase began with the first iteration.
    switch = 0 if switch is None else switch

    def clock(step: int) -> float | None:
        kind = None if prior is None else prior.clock
        return dynamic_clock(nerf_total + step, min(switch, nerf_total), nerf_total, config.iterations, kind)

    loop = Loop(trainee, reference, prior, config, seed, device, on_step, on_checkpoint, clock,
                autosave=autosave, extras=extras)
    return loop.run(start, stop)


class _MeshTrainee:
    """A surface with a hash-grid color field."""

    name = "Mesh"
    mesh: Mesh | None  # as both halves of a step draw it
    deviation: Tensor | None  # FlexiCubes' own term
    joints: list[tuple[Tensor, Tensor]]  # (of the surface's graph, the leaf in its place)

    def __init__(self, scene: Scene, config: MeshConfig, reference, seed: int, device, resumes: bool):
        self.config, self.reference, self.seed = config, reference, seed
        keys = ("nerf_total", "switch_step", "boundary", "field", "imported")
        self.history = {"nerf_total": scene.total, **{k: scene.meta.get(k) for k in keys if k in scene.meta}}
        self.history.setdefault("switch_step", None)
        self.surface = load_surface(scene, device) if scene.kind == "mesh" else _start(scene, config, reference, device)
        self.color = cast(HashNerf, self.surface.color)  # both ways make a surface with a color field
        self.color.use_engine(config.engine)
        self.surface.requires_grad_(False)
        if isinstance(self.surface, FlexiSdf):
            self.surface.train(config.optimize != "texture")
        groups = _groups(self.surface, self.color, config)
        for group in groups:
            for parameter in group["params"]:
                parameter.requires_grad_(True)
        self.optimizer = optimizer_of(config.optimizer, groups, device)
        if resumes:
            unpack_optimizer(self.optimizer, scene.part("optim"))
        self.rates = RateScaler(self.optimizer)
        self._cut()
        self.geometry = config.optimize != "texture"
        self.prior: Prior | None = None
        self.rasterizer = choose_rasterizer(config.rasterizer, device)

    def remember(self, prior: Prior | None, scene: Scene | None) -> None:
        """Keeps what the prior has to remember in snapshots; ``scene`` is one of them, to go on from."""
        self.prior = prior
        if self.prior is not None and scene is not None:
            self.prior.recall(scene.part("prior"), scene.meta.get("prior"))

    def prepare(self, step: int, progress: float, generator: torch.Generator) -> None:
        config, levels = self.config, self.color.config.grid.levels
        self.color.live_levels = live_levels(levels, config.level_start, config.level_rate, progress)
        if self.geometry:
            self._extract()
        else:
            self._current()  # before two threads ask for it

    def render(self, cameras: Cameras, shading: Shading, generator, noise: float = 0.0) -> RenderBuffers:
        lit = shading if shading.needs_normal else None
        if lit is None or lit.light is None or len(cameras) == 1:
            return self._draw(cameras, lit)
        parts = [self._draw(cameras[i], lit.for_image(i)) for i in range(len(cameras))]
        return _stack(parts)

    def regularizers(self, view: RenderBuffers, progress: float) -> dict:
        blur = self.config.normal_blur(progress) if self.geometry else 0.0
        return {"normal_blur": blur * _smoothness(view)} if blur else {}

    def shape_terms(self, progress: float) -> dict:
        if not self.geometry:
            return {}
        normal, laplacian = self.config.mesh_normal(progress), self.config.mesh_laplacian(progress)
        mesh, out = self._current(), {}
        if self.deviation is not None:
            out["cube_deviation"] = self.config.cube_deviation(progress) * self.deviation
        if not normal and not laplacian:
            return out
        edges = edge_slots(mesh.faces) if far(mesh.faces.device) else mesh_edges(mesh.faces, len(mesh.vertices))
        if normal:
            out["mesh_normal"] = normal * normal_consistency(mesh, edges)
        if laplacian:
            out["mesh_laplacian"] = laplacian * uniform_laplacian(mesh, edges)
        return out

    def leaves(self) -> list[Tensor]:
        return self.rates.parameters() + [leaf for _, leaf in self.joints]

    def update(self, factor: float, clip_norm: float) -> None:
        bent = [(made, leaf.grad) for made, leaf in self.joints if leaf.grad is not None]
        if bent:
            torch.autograd.backward([made for made, _ in bent], [grad for _, grad in bent])
        self.rates.step(factor, clip_norm)
        if self.geometry:
            self._cut()

    def zero_grad(self) -> None:
        self.rates.forget()

    def snapshot(self, step: int) -> Scene:
        reference, reference_meta = pack_reference(self.reference)
        tensors, surface_meta = pack_surface(self.surface)
        tensors = {**to_cpu(tensors), **pack_optimizer(self.optimizer), **reference}
        meta = {
            **self.history,
            "step": step,
            "total": self.config.iterations,
            "seed": self.seed,
            **surface_meta,
            "live_levels": self.color.live_levels,
            "reference": reference_meta,
            "config": describe(self.config),
        }
        if self.prior is not None and step < self.config.iterations:
            kept, remembered = self.prior.memory()
            if remembered is not None:
                meta["prior"] = remembered
                tensors.update({f"prior/{name}": value for name, value in kept.items()})
        return Scene("mesh", tensors, meta)

    @torch.no_grad()
    def outline(self, cameras: Cameras) -> RenderBuffers:
        """Coverage and depth only, for priors that have to know the shape."""
        return render_surface(self._current(), cameras, torch.zeros_like, want_normal=False, grad=False,
                              rasterizer=self.rasterizer)

    def sketch(self) -> Mesh | None:
        try:
            mesh = self._current()
        except InputError:  # the surface has vanished; the next render says so
            return None
        return colored(mesh.detach(), self.color.albedo)

    def _current(self) -> Mesh:
        if self.mesh is None:
            self.mesh = self.surface.extract().detach()
        return self.mesh

    def _extract(self) -> None:
        """This step's surface, cut from the parameters: both halves of a step draw it, and share no graph."""
        self._cut()
        made = self.surface.extract()
        corners = self._joint(made.vertices)
        if isinstance(self.surface, FlexiSdf) and self.surface.deviation is not None:
            self.deviation = self._joint(self.surface.deviation)
        self.mesh = replace(made, vertices=corners)

    def _joint(self, made: Tensor) -> Tensor:
        """A leaf in place of ``made``, to which ``update`` hands on its gradient."""
        leaf = made.detach().requires_grad_()
        self.joints.append((made, leaf))
        return leaf

    def _cut(self) -> None:
        self.mesh, self.deviation, self.joints = None, None, []

    def _draw(self, cameras: Cameras, shading) -> RenderBuffers:
        return render_surface(
            self._current(),
            cameras,
            self.color.albedo,
            shading,
            supersample=self.config.supersample,
            want_normal=any(weight(x) > 0 for weight in (self.config.normal, self.config.normal_blur) for x in (0.0, 0.5, 1.0)),
            rasterizer=self.rasterizer,
        )


def _smoothness(view: RenderBuffers) -> torch.Tensor:
    assert view.normal is not None, "rendered where the term has a weight"
    return blur_smoothness((view.normal + view.alpha.detach()[..., None]) / 2)


def _stack(parts: list[RenderBuffers]) -> RenderBuffers:
    normals = [p.normal for p in parts if p.normal is not None]
    rgb, alpha, depth = (torch.cat([getattr(p, name) for p in parts]) for name in ("rgb", "alpha", "depth"))
    return RenderBuffers(rgb, alpha, depth, torch.cat(normals) if normals else None)


def _start(scene: Scene, config: MeshConfig, reference: ReferenceView, device) -> TetSdf | FlexiSdf:
    """The surface of a NeRF scene; averaged weights are used when there are any (M-E.3)."""
    color = load_field(scene, device, averaged=True)
    threshold = config.threshold or nerf_threshold(scene)
    points = None
    if config.cover_reference and not reference.blank:
        target = reference.resized(config.reference_size).to(device)
        points = seen_points(color, load_grid(scene, device), VolumeSettings(**scene.entry("volume")), target)
    with torch.no_grad():
        surface = GRIDS[config.surface].from_density(
            color.density, config.tets, threshold, color, device, init=config.init, points=points
        )
    if points is not None:
        log.info("%d pixels of the picture were too thin for the initial surface", cover(surface, points, target))
    return surface


def _groups(surface: Surface, color: HashNerf, config: MeshConfig) -> list[dict]:
    groups: list[dict] = []
    if config.optimize != "texture":
        assert not isinstance(surface, FixedSurface), "the settings of a fixed surface train its texture only"
        groups += [
            {"params": [surface.sdf], "lr": config.lr_sdf},
            {"params": [surface.deform], "lr": config.lr_deform},
        ]
        if isinstance(surface, FlexiSdf):
            groups += [{"params": [surface.weights], "lr": config.lr_deform}]
    if config.optimize != "geometry":
        groups += color.parameter_groups(config.lr_grid, config.lr_mlp)
    return groups
