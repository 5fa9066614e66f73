"""Settings of the multi-layer refinement: the paper's, and small ones for a CPU (StdGEN, S-D.3 to S-D.6)."""

from __future__ import annotations

from dataclasses import dataclass, replace

from .layer_fit import FitConfig


@dataclass(frozen=True)
class RefineConfig:
    """How layers are refined.

    size:          pixels of the views' height while fitting; pictures of another size are resampled.
    body, outer:   first fit of the innermost and of the other layers.  detail: the second fit of each.
    whole:         first fit of a character that was not taken apart (``refine_whole``); None = the body's.
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
    whole: FitConfig | None = None
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


def with_steps(config: RefineConfig, steps: int) -> RefineConfig:
    """``config`` with ``steps`` iterations (>= 1) of each layer's first fit, and of the second in proportion.

    0 = its own; a second fit that it leaves out stays out.
    """
    if not steps:
        return config
    second = max(1, round(config.detail.steps * steps / config.body.steps)) if config.detail.steps else 0
    fits = {"body": steps, "outer": steps, "detail": second} | ({"whole": steps} if config.whole else {})
    return replace(config, **{name: replace(getattr(config, name), steps=count) for name, count in fits.items()})
