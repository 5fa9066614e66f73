"""StdGEN (He et al., CVPR 2025, arXiv 2411.05738): one picture of a character -> body, clothing and hair as meshes.

Five acts.  A network turns the figure, in whatever pose, into an A-pose seen from the front; a second one draws six
views of colors and normals at three peel levels: complete, without hair, body alone.  S-LRM, a reconstruction network
whose field knows semantic classes, cuts the complete views into layers that are closed where others cover them.  Each
layer is then fitted to the normals and outlines of the level that shows it outermost, from inside out, and painted with
that level's colors.  Start reading at :func:`run`.

Where paper and released code differ, PAPER follows the code; ``docs/method/stdgen.md`` says where, and what is ours.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .core.character_views import CharacterViews
from .core.errors import StopStage
from .core.layers import LayeredMesh
from .core.step import OnStep, Step, ignore_step
from .ops.remesh_optimizer import RemeshConfig
from .stages.characters.canonicalize import CanonicalSettings, canonicalize
from .stages.characters.layer_fit import FitConfig
from .stages.characters.lift_layers import LiftConfig, lift_layers
from .stages.characters.multiview import MultiViewSettings, draw_views
from .stages.characters.picture import CharacterPicture
from .stages.characters.project_colors import ColorConfig, project_colors
from .stages.characters.refine_config import RefineConfig, with_steps
from .stages.characters.refine_layers import refine_layers
from .stages.characters.refined_layers import RefinedLayers

SEED = 42  # of the released scripts' noise (S-A.4, S-B.5)


@dataclass(frozen=True)
class Preset:
    """Everything :func:`run` needs besides the picture and the networks.

    canonical, views: sampling of the two diffusion networks; their seeds are replaced by the run's.
    lift:             how S-LRM's field is cut into layers.
    refine, colors:   fitting to the views, and painting with them.
    """

    name: str
    description: str
    canonical: CanonicalSettings
    views: MultiViewSettings
    lift: LiftConfig
    refine: RefineConfig
    colors: ColorConfig


# S-D.4, S-D.5
_FIRST = {"shortest": 0.005, "longest": 0.02, "gain": 0.05, "local": False, "decay": 0.995, "decay_first": True, "ramp": 1.0}
_SELDOM = {"every": 30, "early": True}
_CODE = {"expansion_over": "all", "area_normals": True}
PAPER = Preset(
    name="stdgen paper",
    description="StdGEN as released; for a GPU and public checkpoints.",
    canonical=CanonicalSettings(steps=40, guidance=5.0),  # S-A.5, S-A.4
    views=MultiViewSettings(steps=40, guidance=3.0, eta=1.0),  # S-B.5
    lift=LiftConfig(dilate=True),  # the released code's extraction; pieces below 300 vertices are dropped (S-C.11)
    refine=RefineConfig(  # the remaining numbers are RefineConfig's defaults: S-D.3, S-D.6 to S-D.8
        size=1024,  # S-D.1
        body=FitConfig(200, RemeshConfig(rate=0.08, every=1, **_FIRST), **_CODE),  # S-D.4
        outer=FitConfig(200, RemeshConfig(rate=0.01, **_SELDOM, **_FIRST), **_CODE),  # S-D.4
        whole=FitConfig(200, RemeshConfig(rate=0.03, **_SELDOM, **_FIRST), expansion=0.0, **_CODE),  # S-D.2
        detail=FitConfig(  # S-D.5
            100,
            RemeshConfig(rate=0.03, decay=0.99, decay_first=True, shortest=0.0002, longest=0.005, local=False),
            explicit=True,
            collision=0.0,
            expansion=0.0,
            **_CODE,
        ),
    ),
    colors=ColorConfig(),  # S-D.8
)

# By the paper's words (S-H): Eq. 12 compares the whole mask and has no expansion, Eq. 13 has no gate, distant points stay.
_WORDS = {"expansion": 0.0, "whole_mask": True, "gate": math.inf}
PRINTED = replace(
    PAPER,
    name="stdgen printed",
    description="StdGEN by the paper's words where its released code does otherwise.",
    refine=replace(
        PAPER.refine,
        body=replace(PAPER.refine.body, **_WORDS),
        outer=replace(PAPER.refine.outer, **_WORDS),
        whole=replace(PAPER.refine.body, **_WORDS),
        detail=replace(PAPER.refine.detail, **_WORDS),
        dilate_falloff=0.06,  # ours: no number is printed; the code's reach of its averages (S-D.6)
    ),
)

_COARSE = {"shortest": 0.02, "longest": 0.04, "gain": 0.05, "local": False, "decay": 0.985}
_SMALL_REFINE = RefineConfig(  # all ours: pictures of 128 pixels, a CPU's time (benchmarks/results/refine_layers.md)
    size=128,
    body=FitConfig(80, RemeshConfig(rate=0.1, every=2, **_COARSE), expansion=0.0, whole_mask=True),
    outer=FitConfig(80, RemeshConfig(rate=0.1, every=2, **_COARSE), expansion=0.0, whole_mask=True),
    detail=FitConfig(
        30, RemeshConfig(rate=0.05, decay=0.97, shortest=0.02, longest=0.04, every=2),
        explicit=True, expansion=0.0, whole_mask=True,
    ),
    masked=("clothing", "hair"),
    mask_front_only=False,
    dilate=("clothing", "hair"),
    push_before=0.0,
    push_after=0.0,
    carry=0.2,
    follow=0.15,
    even=40,
    least_part=30,
    least_part_after=20,
    smooth=1,
    smooth_shrinks=False,
    least_area=0.0,
    push_out=True,
    register=0,
)

# Their views are soft: more steps would follow the blur, and the second fit, to their normals, brings nothing.
_QUICK_REFINE = with_steps(_SMALL_REFINE, 10)
_QUICK_REFINE = replace(_QUICK_REFINE, detail=replace(_QUICK_REFINE.detail, steps=0), even=4)

QUICKSTART = Preset(
    name="stdgen quickstart",
    description="StdGEN with small embedded networks on a CPU: a quarter of a minute on two cores.",
    canonical=CanonicalSettings(steps=1, guidance=1.0),  # the small networks are regressions: more steps add grain
    views=MultiViewSettings(steps=1, guidance=1.0, eta=0.0),
    lift=LiftConfig(dilate=False),  # the small network's cells are too large for it (SMALL_SLRM)
    refine=_QUICK_REFINE,
    colors=ColorConfig(),
)

TOY = replace(
    QUICKSTART,
    name="stdgen toy",
    description="StdGEN's small refinement at its full length, for sharp views: a toy character's true ones.",
    refine=_SMALL_REFINE,
)

PRESETS = {p.name: p for p in (QUICKSTART, TOY, PAPER, PRINTED)}


@dataclass(frozen=True)
class Character:
    """What :func:`run` has made; None from where it was stopped.

    a_pose: [H, W, 3] sRGB in [0, 1], the figure in A-pose from the front, on white.
    views:  six views of each level.
    coarse: the layers as S-LRM gives them, with vertex colors.
    refined: the layers that follow the views, with the views' colors, and what was noted on the way.
    """

    a_pose: Tensor
    views: CharacterViews | None = None
    coarse: LayeredMesh | None = None
    refined: RefinedLayers | None = None


class _Heard:
    """Passes steps on, and remembers that the listener wanted to stop."""

    def __init__(self, on_step: OnStep):
        self.on_step, self.stopped = on_step, False

    def __call__(self, step: Step) -> None:
        try:
            self.on_step(step)
        except StopStage:
            self.stopped = True
            raise


def run(
    picture: CharacterPicture | None,
    models,
    preset: Preset = QUICKSTART,
    *,
    a_pose: Tensor | None = None,
    seed: int = SEED,
    device: torch.device | str = "cpu",
    on_step: OnStep = ignore_step,
) -> Character:
    """The whole method: canonicalize, views, lift, refine, paint.

    picture: the figure cut out of its background (``stages.characters.picture.read_character``).
    models:  anything with ``canonical``, ``multiview`` and ``slrm`` on ``device`` (see
             ``loaders.embedded_characters.load_embedded_characters``).
    a_pose:  [H, W, 3] on white instead of ``picture``: the first act is left out and ``canonical`` never asked for.
    A stage that ``on_step`` stops (StopStage) ends the run with what there is.
    Raises InputError for what a stage refuses.
    """
    heard = _Heard(on_step)
    if a_pose is None:
        assert picture is not None, "one of the two is given"
        settings = replace(preset.canonical, seed=seed)
        a_pose = canonicalize(models.canonical, picture, settings, device=device, on_step=heard).picture
        if heard.stopped:
            return Character(a_pose)
    views = draw_views(models.multiview, a_pose, replace(preset.views, seed=seed), device=device, on_step=heard)
    if heard.stopped:
        return Character(a_pose, views)
    coarse = lift_layers(views.to(device), models.slrm, preset.lift, on_step=heard).to("cpu")
    if heard.stopped:
        return Character(a_pose, views, coarse)
    refined = finish(coarse, views, preset, seed=seed, device=device, on_step=on_step)
    return Character(a_pose, views, coarse, refined)


def finish(
    coarse: LayeredMesh,
    views: CharacterViews,
    preset: Preset = QUICKSTART,
    *,
    hair_segments: Tensor | None = None,
    seed: int = SEED,
    device: torch.device | str = "cpu",
    on_step: OnStep = ignore_step,
) -> RefinedLayers:
    """The last two acts, which need no network: refine and paint.

    coarse, views: from anywhere, in the frame of ``core.ortho``.  hair_segments: see ``refine_layers``.
    A refinement that ``on_step`` stops comes back as it is, unpainted.
    """
    heard = _Heard(on_step)
    views = views.to(device)
    refined = refine_layers(
        coarse.to(device), views, preset.refine, hair_segments=hair_segments, seed=seed, on_step=heard
    )
    if not heard.stopped:
        painted = project_colors(refined.layers, views, preset.colors, heard)
        refined = replace(refined, layers=painted.layers, notes=(*refined.notes, *painted.notes))
    return refined.to("cpu")
