"""Consistent123 (Lin et al. 2023, arXiv 2309.17261): case-aware lifting of one picture.

The picture is lifted in three acts.  A radiance field learns from the reference view and a 3D prior
(Zero-1-to-3) alone; when CLIP no longer sees progress, a dynamic prior blends from the 3D to a 2D prior
(Stable Diffusion); the surface is then refined as a mesh under the same, continuing ramp.
Start reading at :func:`run`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from .core.errors import InputError
from .core.mesh import Mesh
from .core.schedules import Constant, Linear
from .core.step import OnStep, ignore_step
from .fields.hash_nerf import HashNerfConfig
from .ops.hashgrid import HashGridConfig
from .priors.combine import DynamicPrior
from .priors.sds import SdsSettings
from .priors.text import TextPrior
from .priors.view import ViewPrior
from .render.shading import PLAIN
from .render.volume import VolumeSettings
from .stages.inputs.reference import ReferenceView
from .stages.loop.cameras import NovelViews
from .stages.loop.optimize import OnCheckpoint
from .stages.loop.scene import Scene
from .stages.objects.boundary import ClipBoundary, clip_boundary
from .stages.objects.fit_nerf import NerfConfig, fit_nerf
from .stages.objects.refine_mesh import MeshConfig, refine_mesh
from .stages.objects.surfaces import is_fixed
from .stages.results.bake import bake_asset, bake_untouched
from .stages.results.render_views import scene_albedo, scene_mesh


@dataclass(frozen=True)
class BakeSettings:
    """Export: faces kept, texture side in pixels, padding in pixels, samples per texel side."""

    faces: int = 50_000
    size: int = 2048
    padding: int = 8
    supersample: int = 2


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
    form: str = "exponential"
    clock: str = "local"
    stretch: float = 1.0
    full_2d: bool = False


PAPER = Preset(
    name="paper",
    description="Consistent123 as published, numbers from the released code where the paper is silent.",
    reference_size=1024,
    nerf=NerfConfig(),
    mesh=MeshConfig(level_start=0.25, level_rate=2.0),
    view=SdsSettings(t_range=(0.2, 0.6)),
    mesh_view=SdsSettings(t_range=(0.2, 0.5)),
    text=SdsSettings(t_range=(0.2, 0.6)),
    mesh_text=SdsSettings(t_range=(0.2, 0.5)),
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

_QUICK_STEPS = {"mode": "both", "novel_background": "white", "shading": PLAIN, "preview_every": 10}
_QUICK_VIEWS = NovelViews(radius=(3.2, 3.2), elevation=(-30.0, 45.0))  # what the embedded view prior was trained on
_QUICK_SDS = SdsSettings(t_range=(Linear(0.3, 0.02), Linear(0.95, 0.3)), weighting="snr", reduction="mean")

QUICKSTART = Preset(
    name="quickstart",
    description="Small embedded networks on a CPU: a minute and a half on two cores.",
    reference_size=256,
    nerf=NerfConfig(
        **_QUICK_STEPS,
        iterations=250,
        mesh_iterations=150,
        size=64,
        reference_size=64,
        rgb=Constant(5.0),
        mask=Constant(2.0),
        depth=Constant(0.02),
        reference_noise=0.0,
        novel=_QUICK_VIEWS,
        field=HashNerfConfig(
            HashGridConfig(levels=8, log2_table=15, base=8, finest=128), hidden=32, layers=1, blob_density=10.0
        ),
        volume=VolumeSettings(step=0.03, max_samples=128, normal_method="tetrahedral", normal_min_weight=0.01),
        grid_resolution=48,
        grid_every=10,
        lr_grid=2e-2,
        lr_mlp=5e-3,
        normal_tv=Constant(0.0),
        normal_blur=Constant(0.0),
        normal_3d=Constant(0.0),
        orientation=Constant(0.0),
        entropy=Linear(0.0, 0.02),
        level_start=1.0,
        level_rate=0.0,
        ema_every=0,
    ),
    mesh=MeshConfig(
        **_QUICK_STEPS,
        iterations=150,
        size=128,
        reference_size=192,
        rgb=Constant(5.0),
        mask=Constant(2.0),
        tets=40,
        cover_reference=True,
        lr_sdf=2e-2,
        lr_deform=2e-2,
        lr_grid=1e-2,
        lr_mlp=2e-3,
        mesh_normal=Constant(0.1),
        mesh_laplacian=Constant(0.2),
        novel=_QUICK_VIEWS,
    ),
    view=_QUICK_SDS,
    mesh_view=_QUICK_SDS,
    text=_QUICK_SDS,
    mesh_text=_QUICK_SDS,
    boundary=ClipBoundary(interval=5, threshold=1e-3, size=64),  # a check spans more of a short run, so scores move more
    bake=BakeSettings(faces=20000, size=1024),
    view_guidance=1.5,  # the small prior is unimodal enough: more guidance only saturates colors
    text_guidance=3.0,
    angle_scaling=False,
)

PRESETS = {p.name: p for p in (QUICKSTART, STANDARD, PAPER)}


def view_prior(
    denoiser, reference: ReferenceView, settings: SdsSettings = SdsSettings(), angle_scaling: bool = True
) -> ViewPrior:
    """The 3D prior, told the reference picture (on white) and its camera."""
    device = denoiser.alphas_cumprod.device
    told = denoiser.with_reference(reference.on_background().to(device), reference.camera.to(device))
    return ViewPrior(told, settings, reference.camera, angle_scaling)


def text_prior(denoiser, reference: ReferenceView, settings: SdsSettings = SdsSettings()) -> TextPrior:
    """The 2D prior, told the reference view's prompt; InputError without one."""
    if not reference.prompt:
        raise InputError(
            "prompt", "a short description of the object", "an empty text",
            "The text prior needs words: write a prompt in the reference view, or leave the 2D prior out.",
        )
    return TextPrior(denoiser.with_prompt(reference.prompt, reference.negative), settings)


def dynamic_prior(reference: ReferenceView, models, preset: Preset, stage: str) -> DynamicPrior:
    """Both priors under the preset's ramp; ``stage`` "nerf" or "mesh" selects the distillation settings."""
    text = preset.text if stage == "nerf" else preset.mesh_text
    return DynamicPrior(
        view_only(reference, models, preset, stage),
        text_prior(_guided(models.text, preset.text_guidance), reference, text),
        preset.form,
        preset.clock,
        preset.stretch,
        preset.full_2d,
    )


def view_only(reference: ReferenceView, models, preset: Preset, stage: str) -> ViewPrior:
    """The 3D prior alone; ``stage`` as :func:`dynamic_prior`."""
    settings = preset.view if stage == "nerf" else preset.mesh_view
    return view_prior(_guided(models.view, preset.view_guidance), reference, settings, preset.angle_scaling)


def explore(
    reference: ReferenceView,
    models,
    preset: Preset = QUICKSTART,
    *,
    seed: int = 0,
    device: torch.device | str = "cpu",
    on_step: OnStep = ignore_step,
    on_checkpoint: OnCheckpoint | None = None,
) -> Scene:
    """The first act alone: the 3D prior until the CLIP boundary fires; :func:`run` goes on from there."""
    preset = aligned(preset)
    boundary = clip_boundary(models.clip, reference.prompt, preset.boundary)
    prior = view_only(reference, models, preset, "nerf")
    return fit_nerf(reference, prior, preset.nerf, boundary=boundary, stop_at_boundary=True, seed=seed, device=device,
                    on_step=on_step, on_checkpoint=on_checkpoint)


def run(
    reference: ReferenceView,
    models,
    preset: Preset = QUICKSTART,
    *,
    scene: Scene | None = None,
    seed: int = 0,
    device: torch.device | str = "cpu",
    on_step: OnStep = ignore_step,
    on_checkpoint: OnCheckpoint | None = None,
) -> Scene:
    """The whole method: a Scene of kind "mesh" from one reference view.

    models: anything with ``view``, ``text`` and ``clip`` (see ``loaders.embedded``); without ``text`` (None) the 3D
    prior is alone to the end, the paper's Consistent123_3D.
    scene:  go on from here, a scene of :func:`explore`; it has its own seed.
    """
    preset = aligned(preset)
    watch = {"device": device, "on_step": on_step, "on_checkpoint": on_checkpoint}
    prior = view_only if models.text is None else dynamic_prior
    boundary = None
    if preset.boundary is not None and models.text is not None:
        boundary = clip_boundary(models.clip, reference.prompt, preset.boundary)
    coarse = fit_nerf(reference, prior(reference, models, preset, "nerf"), preset.nerf, scene=scene, boundary=boundary,
                      seed=seed, **watch)
    return refine_mesh(prior(reference, models, preset, "mesh"), coarse, preset.mesh, **watch)


def aligned(preset: Preset) -> Preset:
    """The preset with the NeRF stage's clock told the length of the mesh stage."""
    return replace(preset, nerf=replace(preset.nerf, mesh_iterations=preset.mesh.iterations))


def textured_mesh(scene: Scene, settings: BakeSettings = BakeSettings(), device: torch.device | str = "cpu") -> Mesh:
    """The scene's surface, decimated, unwrapped and baked; ready for ``io.glb.write_glb``.

    An imported mesh that is to stay untouched is baked as it is.
    """
    mesh = replace(scene_mesh(scene, device), vertex_colors=None)
    if is_fixed(scene):
        return bake_untouched(mesh, scene_albedo(scene, device), settings.size, settings.padding, settings.supersample)
    return bake_asset(
        mesh, scene_albedo(scene, device), settings.faces, settings.size, settings.padding, settings.supersample
    )


def _guided(denoiser, guidance: float | None):
    return denoiser if guidance is None else denoiser.with_guidance(guidance)
