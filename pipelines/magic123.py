"""Magic123 (Qian et al. 2023, arXiv 2306.17843): one picture lifted under a 2D and a 3D prior at once.

A radiance field, then a mesh, learn from the reference view while two frozen networks judge every other
side: Stable Diffusion imagines (2D, explores), Zero-1-to-3 remembers the picture (3D, exploits).  One number,
lambda_2D/3D (Eq. 8), moves between them.  Start reading at :func:`run`.

Where the paper and the released code differ, PAPER follows the code, which made the published results; PRINTED
is what the paper says.  Both are restated without an accident of the code: its distillation gradients bypass
the loss scaler of mixed precision and so arrive divided by 65536 (M-C.6).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from .core.errors import InputError
from .core.prior import Prior
from .core.schedules import Constant, Linear
from .core.step import OnStep, ignore_step
from .presets import small_networks
from .priors.combine import SumPrior
from .priors.sds import SdsSettings
from .render.shading import ShadingMix
from .stages.inputs.reference import ReferenceView
from .stages.loop.cameras import NovelViews
from .stages.loop.optimize import OnCheckpoint
from .stages.loop.scene import Scene
from .stages.objects.fit_nerf import NerfConfig, fit_nerf
from .stages.objects.priors import PriorNetworks, text_prior, view_prior
from .stages.objects.refine_mesh import MeshConfig, refine_mesh
from .stages.results.asset import BakeSettings, textured_mesh

__all__ = ["BALANCES", "PAPER", "PRESETS", "PRINTED", "QUICKSTART", "STANDARD", "Balance", "Preset", "run", "textured_mesh",
           "trade_off", "trade_off_prior"]

LOSS_SCALE = 65536  # what the released code's loss scaler starts with
TEXT_LATENT, VIEW_LATENT = 4 * 64 * 64, 4 * 32 * 32  # elements that the code sums over and ``SdsSettings`` averages


@dataclass(frozen=True)
class Balance:
    """Weights of the 2D (text) and the 3D (view) prior at lambda_2D/3D = 1, for mean-reduced distillation.

    source: where the numbers come from, for people.
    """

    text: float
    view: float
    source: str


def _released(text: float, view: float, stage: str) -> Balance:
    """The code's weights of sums over latent elements, without the loss scaler, as weights of means (M-C.6)."""
    source = f"released code, {stage} stage ({text:g} : {view:g}), restated for averages and without its loss scaler"
    return Balance(text * TEXT_LATENT / LOSS_SCALE, view * VIEW_LATENT / LOSS_SCALE, source)


BALANCES = {
    "coarse": _released(1.0, 40.0, "NeRF"),
    "fine": _released(1e-3, 1e-2, "mesh"),
    "printed_coarse": Balance(1.0, 40.0, "the paper's Eq. 8 as printed"),
    "printed_fine": Balance(1e-3, 1e-2, "the paper's mesh stage as printed"),
    "embedded": Balance(0.3, 1.0, "ours, for the embedded networks: chosen on three objects of their training set"),
}


def trade_off(ratio: float, balance: Balance) -> tuple[float, float]:
    """(2D weight, 3D weight) at lambda_2D/3D = ``ratio`` >= 0, Eq. 8: 0 is the 3D prior alone, 1 the balanced point.

    The 2D prior alone, the paper's "infinite" ratio, is a run without a 3D prior.
    """
    if not 0 <= ratio < float("inf"):
        raise InputError(
            "lambda_2D/3D", "a number from 0 up", f"{ratio}",
            "0 leaves the 2D prior out; for the 2D prior alone, disconnect the 3D prior.",
        )
    return balance.text * ratio, balance.view


def trade_off_prior(
    text: Prior | None, view: Prior | None, ratio: float = 1.0, balance: Balance = BALANCES["coarse"]
) -> SumPrior:
    """Both priors under Eq. 8; either may be None.  A prior without weight is never evaluated."""
    weights = zip((text, view), trade_off(ratio, balance), strict=True)
    parts = [(prior, Constant(weight)) for prior, weight in weights if prior is not None and weight > 0]
    if not parts:
        raise InputError(
            "priors", "a 2D or a 3D prior with a weight above 0", "none",
            "Connect a 3D prior, or a 2D prior with lambda_2D/3D above 0.",
        )
    return SumPrior(parts)


@dataclass(frozen=True)
class Preset:
    """Everything :func:`run` needs besides the picture and the networks.

    reference_size, radius, fovy, recenter: how the picture becomes a reference view; pixels, scene units, degrees.
    text, view:           distillation in the NeRF stage; mesh_text, mesh_view: in the mesh stage.
    balance, mesh_balance: names in BALANCES; ratio: lambda_2D/3D.
    text_guidance, view_guidance: classifier-free guidance, standard formula.
    """

    name: str
    description: str
    reference_size: int
    radius: float
    fovy: float
    recenter: bool
    nerf: NerfConfig
    mesh: MeshConfig
    text: SdsSettings
    mesh_text: SdsSettings
    view: SdsSettings
    mesh_view: SdsSettings
    balance: str
    mesh_balance: str
    ratio: float
    text_guidance: float
    view_guidance: float
    angle_scaling: bool
    bake: BakeSettings


# Half of the novel cameras around the horizon, half from above (M-A.4); distance and lens never change.
_VIEWS = NovelViews(radius=(1.8, 1.8), elevation=(-45.0, 45.0), fovy=40.0, hemisphere=0.5, stratified=False)
_REFERENCE_STEPS = {"reference_every": 4, "reference_every_2d": 2, "reference_first": 100}
_REFERENCE_LOSSES = {"rgb": Constant(5.0), "mask": Constant(0.5), "rgb_inside": True, "reference_background": "white"}
_COARSE_TIMES, _FINE_TIMES = (0.2, 0.6), (0.02, 0.5)  # of 1000 timesteps (M-C.2)

PAPER = Preset(
    name="magic123 paper",
    description="Magic123 as released (arXiv 2306.17843); for a GPU and public checkpoints.",
    reference_size=1024,
    radius=1.8,
    fovy=40.0,
    recenter=False,
    nerf=NerfConfig(
        **_REFERENCE_STEPS,
        **_REFERENCE_LOSSES,
        depth=Constant(0.005),  # .01 times half of 1 - rho, the form of both (M-B.6)
        novel=_VIEWS,
        shading=ShadingMix(lambertian=0.8, textureless=0.2, normal_until=0.2),
        reference_noise=1e-3,
        normal_tv=Constant(0.5),
        normal_blur=Constant(0.5),
        blur_stop_gradient=False,
        normal_3d=Constant(0.0),
        orientation=Constant(1e-2),
        entropy=Linear(0.0, 1e-3, 0.0, 0.5),
        level_start=0.5,
        level_rate=0.0,
        level_until=0.6,
    ),
    mesh=MeshConfig(
        **_REFERENCE_STEPS,
        **_REFERENCE_LOSSES,
        rgb_edge="soft",
        novel=_VIEWS,
        init="clamp",
        mesh_normal=Constant(0.1),
        mesh_laplacian=Constant(0.1),
    ),
    text=SdsSettings(_COARSE_TIMES, reduction="mean", shrink="plain"),
    mesh_text=SdsSettings(_FINE_TIMES, reduction="mean", shrink="plain"),
    view=SdsSettings(_COARSE_TIMES, reduction="mean", shrink="plain"),
    mesh_view=SdsSettings(_FINE_TIMES, reduction="mean", shrink="plain"),
    balance="coarse",
    mesh_balance="fine",
    ratio=1.0,
    text_guidance=101.0,  # the code adds 100 (text - uncond) to text, not to uncond (M-C.3)
    view_guidance=5.0,
    angle_scaling=True,
    bake=BakeSettings(),
)

STANDARD = replace(
    PAPER,
    name="magic123 standard",
    description="Magic123 in a quarter of its iterations and at half its mesh resolution; for a GPU.",
    reference_size=512,
    nerf=replace(PAPER.nerf, iterations=1250, reference_first=25),
    mesh=replace(PAPER.mesh, iterations=1250, reference_first=25, size=512, reference_size=512, tets=48),
)

_OFF = Constant(0.0)
_PRINTED = {  # of both stages
    "depth": Constant(0.0005),  # .001 times half of 1 - rho
    "reference_first": 0,
    "novel_background": "white",  # "for all experiments"
    # The paper samples cameras as DreamFusion, which it follows: down to 10 degrees below the horizon, up to the top.
    "novel": replace(_VIEWS, elevation=(-10.0, 89.0), hemisphere=0.0),
    "rgb_edge": "keep",
    "normal_blur": Constant(0.5),  # no weight is printed: the code's
    "lr_grid": 1e-3,
    "lr_mlp": 1e-3,
}
PRINTED = replace(
    PAPER,
    name="magic123 printed",
    description="Magic123 by the paper's words where its released code does otherwise (M-H).",
    nerf=replace(
        PAPER.nerf,
        **_PRINTED,
        shading=ShadingMix(lambertian=0.75, textureless=0.25, normal_until=0.6),
        reference_noise=0.0,
        normal_tv=_OFF,
        blur_stop_gradient=True,
        blur_normals="depth",
        orientation=_OFF,
        entropy=_OFF,
        level_start=1.0,
        level_until=1.0,
    ),
    mesh=replace(
        PAPER.mesh,
        **_PRINTED,
        shading=ShadingMix(lambertian=0.75, textureless=0.25),
        mesh_normal=_OFF,
        mesh_laplacian=_OFF,
    ),
    balance="printed_coarse",
    mesh_balance="printed_fine",
    text_guidance=100.0,
    angle_scaling=False,
)

QUICKSTART = Preset(
    name="magic123 quickstart",
    description="Magic123 with the small embedded networks on a CPU: one or two minutes on two cores.",
    reference_size=small_networks.REFERENCE_SIZE,
    radius=3.2,
    fovy=20.0,
    recenter=True,
    nerf=small_networks.NERF,
    mesh=small_networks.MESH,
    text=small_networks.TEXT_SDS,
    mesh_text=small_networks.TEXT_SDS,
    view=small_networks.VIEW_SDS,
    mesh_view=small_networks.VIEW_SDS,
    balance="embedded",
    mesh_balance="embedded",
    ratio=1.0,
    text_guidance=small_networks.TEXT_GUIDANCE,
    view_guidance=small_networks.VIEW_GUIDANCE,
    angle_scaling=False,
    bake=small_networks.BAKE,
)

PRESETS = {p.name: p for p in (QUICKSTART, STANDARD, PAPER, PRINTED)}


def stage_prior(
    reference: ReferenceView, models: PriorNetworks, preset: Preset, stage: str, ratio: float | None = None
) -> SumPrior:
    """The preset's prior for ``stage`` "nerf" or "mesh"; ``ratio`` None is the preset's.

    models: None leaves that prior out.  Without a 3D prior the 2D prior keeps its own weight, as in the paper's
    comparison.
    """
    coarse = stage == "nerf"
    text_settings, view_settings = (preset.text, preset.view) if coarse else (preset.mesh_text, preset.mesh_view)
    balance = BALANCES[preset.balance if coarse else preset.mesh_balance]
    ratio = preset.ratio if ratio is None else ratio
    text = view = None
    if models.text is not None and ratio > 0:
        text = text_prior(models.text.with_guidance(preset.text_guidance), reference, text_settings)
    if models.view is not None:
        guided = models.view.with_guidance(preset.view_guidance)
        view = view_prior(guided, reference, view_settings, preset.angle_scaling)
    return trade_off_prior(text, view, ratio, balance)


def run(
    reference: ReferenceView,
    models: PriorNetworks,
    preset: Preset = QUICKSTART,
    *,
    ratio: float | None = None,
    seed: int = 0,
    device: torch.device | str = "cpu",
    on_step: OnStep = ignore_step,
    on_checkpoint: OnCheckpoint | None = None,
) -> Scene:
    """The whole method: a Scene of kind "mesh" from one reference view.

    models: as :func:`stage_prior`; without ``view`` this is RealFusion's kind of prior, without ``text`` (or with
    ``ratio`` 0) Zero-1-to-3's.  ratio: lambda_2D/3D instead of the preset's.
    """
    run_args = {"device": device, "on_step": on_step, "on_checkpoint": on_checkpoint}
    prior = stage_prior(reference, models, preset, "nerf", ratio)
    scene = fit_nerf(reference, prior, preset.nerf, seed=seed, **run_args)
    return refine_mesh(stage_prior(reference, models, preset, "mesh", ratio), scene, preset.mesh, **run_args)
