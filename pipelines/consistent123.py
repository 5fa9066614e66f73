"""Consistent123 (Lin et al. 2023, arXiv 2309.17261): case-aware lifting of one picture.

The picture is lifted in three acts.  A radiance field learns from the reference view and a 3D prior
(Zero-1-to-3) alone; when CLIP no longer sees progress, a dynamic prior blends from the 3D to a 2D prior
(Stable Diffusion); the surface is then refined as a mesh under the same, continuing ramp.
Start reading at :func:`run`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

import torch

from .core.choices import Clock
from .core.schedules import Constant, Form
from .core.step import OnStep, ignore_step
from .networks.clip import ClipScorer
from .presets import small_networks
from .priors.combine import DynamicPrior
from .priors.sds import SdsSettings
from .priors.view import ViewPrior
from .stages.inputs.reference import ReferenceView
from .stages.loop.optimize import OnCheckpoint
from .stages.loop.scene import Scene
from .stages.objects.boundary import ClipBoundary, clip_boundary
from .stages.objects.fit_nerf import NerfConfig, fit_nerf
from .stages.objects.priors import PriorNetworks, guided, text_prior, view_prior
from .stages.objects.refine_mesh import MeshConfig, refine_mesh
from .stages.results.asset import BakeSettings


@dataclass(frozen=True)
class Preset:
    """Everything :func:`run` needs besides the picture and the networks.

    view, text: distillation in the NeRF stage; mesh_view, mesh_text: in the mesh stage.
    view_guidance, text_guidance: classifier-free guidance, standard formula; None = the network's own.
    boundary: None = no 3D-only phase, the ramp begins with the first iteration.
    form, clock, stretch, full_2d: of the dynamic prior.
    """

    name: str
    description: str
    reference_size: int
    nerf: NerfConfig
    mesh: MeshConfig
    view: SdsSettings
    mesh_view: SdsSettings
    text: SdsSettings
    mesh_text: SdsSettings
    boundary: ClipBoundary | None
    bake: BakeSettings
    view_guidance: float | None = None
    text_guidance: float | None = None
    angle_scaling: bool = True
    form: Form = "exponential"
    clock: Clock = "local"
    stretch: float = 1.0
    full_2d: bool = False


_ADAN = {"optimizer": "adan", "lr_grid": 5e-2, "lr_mlp": 5e-3, "clip_norm": 5.0}  # M-B.7
_COARSE = SdsSettings(t_range=(0.2, 0.6), shrink="plain")
_FINE = SdsSettings(t_range=(0.2, 0.5), shrink="plain")
PAPER = Preset(
    name="paper",
    description="Consistent123 as released (arXiv 2309.17261); for a GPU and public checkpoints.",
    reference_size=1024,
    nerf=NerfConfig(**_ADAN),
    mesh=MeshConfig(**_ADAN, lr_sdf=5e-3, lr_deform=5e-3, init="clamp", level_start=0.25, level_rate=2.0),
    view=replace(_COARSE, fixed_t=True),  # the code's constant, where the paper has an expectation (M-C.2)
    mesh_view=replace(_FINE, fixed_t=True),
    text=_COARSE,
    mesh_text=_FINE,
    boundary=ClipBoundary(),
    bake=BakeSettings(),
    view_guidance=10.0,
    text_guidance=10.0,
)

STANDARD = replace(
    PAPER,
    name="standard",
    description="The paper's method in a quarter of its iterations and half its mesh resolution; for a GPU.",
    nerf=replace(PAPER.nerf, iterations=1250, mesh_iterations=1250),
    mesh=replace(PAPER.mesh, iterations=1250, size=512, reference_size=512, tets=48),
    reference_size=512,
)

_OFF = Constant(0.0)
_PRINTED = {  # of both stages
    "optimizer": "adam",
    "lr_grid": 1e-3,
    "lr_mlp": 1e-3,
    "clip_norm": 0.0,
    "depth": Constant(10.0),
    "level_start": 1.0,
    "level_rate": 0.0,
}
PRINTED = replace(
    PAPER,
    name="printed",
    description="Consistent123 by the paper's words where its released code does otherwise (C-H).",
    nerf=replace(
        PAPER.nerf,
        **_PRINTED,
        novel=replace(PAPER.nerf.novel, progressive_start=1.0, progressive_rate=0.0),
        reference_noise=0.0,
        normal_tv=_OFF,
        normal_blur=_OFF,
        normal_3d=_OFF,
        orientation=_OFF,
        entropy=_OFF,
    ),
    mesh=replace(PAPER.mesh, **_PRINTED, lr_sdf=1e-3, lr_deform=1e-3, mesh_normal=_OFF, mesh_laplacian=_OFF),
    view=_COARSE,
    mesh_view=_FINE,
    boundary=ClipBoundary(interval=20, signed=True, floor=0.0, ceiling=1.0),
    angle_scaling=False,
    clock="global",  # t over all T iterations
)

QUICKSTART = Preset(
    name="quickstart",
    description="Small embedded networks on a CPU: a minute and a half on two cores.",
    reference_size=small_networks.REFERENCE_SIZE,
    nerf=small_networks.NERF,
    mesh=small_networks.MESH,
    view=small_networks.VIEW_SDS,
    mesh_view=small_networks.VIEW_SDS,
    text=small_networks.TEXT_SDS,
    mesh_text=small_networks.TEXT_SDS,
    boundary=ClipBoundary(interval=5, threshold=1e-3, size=64),  # a check spans more of a short run, so scores move more
    bake=small_networks.BAKE,
    view_guidance=small_networks.VIEW_GUIDANCE,
    text_guidance=small_networks.TEXT_GUIDANCE,
    angle_scaling=False,
)

PRESETS = {p.name: p for p in (QUICKSTART, STANDARD, PAPER, PRINTED)}


class Networks(PriorNetworks, Protocol):
    """What a run takes: priors, and CLIP for the boundary (None where there is no boundary)."""

    @property
    def clip(self) -> ClipScorer | None: ...


def dynamic_prior(reference: ReferenceView, models: PriorNetworks, preset: Preset, stage: str) -> DynamicPrior:
    """Both priors under the preset's ramp; ``stage`` "nerf" or "mesh" selects the distillation settings."""
    text = preset.text if stage == "nerf" else preset.mesh_text
    assert models.text is not None  # the caller's part: ``view_only`` is for runs without it
    return DynamicPrior(
        view_only(reference, models, preset, stage),
        text_prior(guided(models.text, preset.text_guidance), reference, text),
        preset.form,
        preset.clock,
        preset.stretch,
        preset.full_2d,
    )


def view_only(reference: ReferenceView, models: PriorNetworks, preset: Preset, stage: str) -> ViewPrior:
    """The 3D prior alone; ``stage`` as :func:`dynamic_prior`."""
    settings = preset.view if stage == "nerf" else preset.mesh_view
    assert models.view is not None  # the 3D prior is never left out
    return view_prior(guided(models.view, preset.view_guidance), reference, settings, preset.angle_scaling)


def explore(
    reference: ReferenceView,
    models: Networks,
    preset: Preset = QUICKSTART,
    *,
    seed: int = 0,
    device: torch.device | str = "cpu",
    on_step: OnStep = ignore_step,
    on_checkpoint: OnCheckpoint | None = None,
) -> Scene:
    """The first act alone: the 3D prior until the CLIP boundary fires; :func:`run` goes on from there."""
    preset = aligned(preset)
    assert preset.boundary is not None, "the act ends at it"
    boundary = clip_boundary(models.clip, reference.prompt, preset.boundary)
    prior = view_only(reference, models, preset, "nerf")
    return fit_nerf(reference, prior, preset.nerf, boundary=boundary, stop_at_boundary=True, seed=seed, device=device,
                    on_step=on_step, on_checkpoint=on_checkpoint)


def run(
    reference: ReferenceView,
    models: Networks,
    preset: Preset = QUICKSTART,
    *,
    scene: Scene | None = None,
    seed: int = 0,
    device: torch.device | str = "cpu",
    on_step: OnStep = ignore_step,
    on_checkpoint: OnCheckpoint | None = None,
) -> Scene:
    """The whole method: a Scene of kind "mesh" from one reference view.

    models: without ``text`` (None) the 3D prior is alone to the end, the paper's Consistent123_3D.
    scene:  go on from here, a scene of :func:`explore`; it has its own seed.
    """
    preset = aligned(preset)
    run_args = {"device": device, "on_step": on_step, "on_checkpoint": on_checkpoint}
    prior = view_only if models.text is None else dynamic_prior
    boundary = None
    if preset.boundary is not None and models.text is not None:
        boundary = clip_boundary(models.clip, reference.prompt, preset.boundary)
    coarse = fit_nerf(reference, prior(reference, models, preset, "nerf"), preset.nerf, scene=scene, boundary=boundary,
                      seed=seed, **run_args)
    return refine_mesh(prior(reference, models, preset, "mesh"), coarse, preset.mesh, **run_args)


def aligned(preset: Preset) -> Preset:
    """The preset with the NeRF stage's clock told the length of the mesh stage."""
    return replace(preset, nerf=replace(preset.nerf, mesh_iterations=preset.mesh.iterations))
