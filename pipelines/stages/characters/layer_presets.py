"""Settings of the multi-layer refinement: the paper's, and small ones for a CPU (StdGEN, S-D.3 to S-D.6)."""

from __future__ import annotations

from dataclasses import dataclass

from ...ops.remesh_optimizer import RemeshConfig
from .layer_fit import FitConfig


@dataclass(frozen=True)
class RefineConfig:
    """How layers are refined.

    size:          pixels of the views' height while fitting; pictures of another size are resampled.
    body, outer:   first fit of the innermost and of the other layers.  detail: the second fit of each.
    masked:        layers with a mask of their visible part; mask_front_only: in the front view only, as released.
    dilate:        layers that are pushed out of the inner ones before and after; push_before, push_after: scene units
                   that every vertex then moves at least; dilate_falloff: see ``ops.dilate.dilate``.
    carry:         scene units within which outer layers follow the inner ones' refinement before theirs; 0 = not.
    follow:        scene units within which hidden places follow the seen surface after the first fit; 0 = not (the paper).
    even:          rounds of remeshing towards the first fit's longest edge before it; 0 = not (the paper).
    least_part, least_part_after: vertices below which a loose part is dropped, before and after.
    smooth:        smoothing passes after the fit; smooth_shrinks: plain umbrella passes as released, else such that keep
                   the volume (Taubin 1995).
    least_area:    scene units squared below which faces are merged away; 0 = not.
    push_out:      vertices left inside an inner layer are moved out of it.  tolerance: scene units that may remain.
    register:      pixels (of 1024) that a view may be shifted sideways to fit the body; 0 = not.
    check_handedness: mirror the layers when their mirror image fits the outlines better.
    preview_every: steps; 0 = never.
    """

    size: int
    body: FitConfig
    outer: FitConfig
    detail: FitConfig
    masked: tuple[str, ...] = ("hair",)
    mask_front_only: bool = True
    dilate: tuple[str, ...] = ("clothing",)
    push_before: float = 0.01
    push_after: float = 0.01
    dilate_falloff: float | None = None
    carry: float = 0.0
    follow: float = 0.0
    even: int = 0
    least_part: int = 300
    least_part_after: int = 200
    smooth: int = 2
    smooth_shrinks: bool = True
    least_area: float = 3e-6
    push_out: bool = False
    tolerance: float = 0.005
    register: int = 200
    check_handedness: bool = True
    preview_every: int = 10


_FIRST = {"shortest": 0.005, "longest": 0.02, "gain": 0.05, "local": False, "decay": 0.995}
PAPER = RefineConfig(
    size=1024,
    body=FitConfig(200, RemeshConfig(rate=0.08, every=1, **_FIRST)),
    outer=FitConfig(200, RemeshConfig(rate=0.01, every=30, **_FIRST)),
    detail=FitConfig(
        100,
        RemeshConfig(rate=0.03, decay=0.99, shortest=0.0002, longest=0.005),
        explicit=True,
        collision=0.0,
        expansion=0.0,
    ),
)

_COARSE = {"shortest": 0.02, "longest": 0.04, "gain": 0.05, "local": False, "decay": 0.985}
QUICKSTART = RefineConfig(
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
