"""What one step of the loop shows, and how it is judged."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from ...core.choices import NovelBackground
from ...core.schedules import Constant, Schedule
from ...losses import image as losses
from ...losses.depth import DEPTH_FORMS, DepthForm
from ...render.shading import ShadingMix
from .cameras import NovelViews
from .optimizer import METHODS, Method

StepMode = Literal["alternate", "both"]
ReferenceBackground = Literal["noise", "random", "white"]


@dataclass(frozen=True)
class StepConfig:
    """What a step shows and how it is judged; defaults are Consistent123's code's (M-B.4 to M-B.6), but for the optimizer.

    iterations:      of this stage.
    size, reference_size: pixels of novel and reference renders.
    mode:            "alternate" (a reference step every ``reference_every`` steps, the others novel)
                     or "both" in every step (threestudio's way).
    reference_first: so many reference steps come first (Magic123: 100).
    novel_batch:     novel views per novel step.
    reference_noise: deviation of a shift of all ray origins and another of all directions (NeRF only;
                     M-A.4).
    reference_background: "noise" (per pixel; forces opacity), "random" (one color) or "white".
    novel_background: "random", "white" or "gray" (what depth-text networks like behind an object).
    rgb, mask, depth, normal: weights of the reference losses, schedules over progress.
    rgb_inside:      color loss inside the mask only (Magic123).
    rgb_edge:        what of the mask's edge counts then: "keep", "soft" or "erode" (``losses.image``).
    rgb_over:        what its mean divides by then: the "picture" (released) or the "mask" (ours; ``losses.image.rgb_mse``).
    mask_against:    the silhouette as "binary" (released) or as "alpha" (ours; ``losses.image.mask_mse``).
    depth_form:      "correlation" (the papers), or "ranking" (NeuralLift-360's): ``losses.depth``.
    reference_every_2d: instead of ``reference_every`` when no prior knows the picture (Magic123: 2);
                     0 = the same.
    prior:           weight of everything the priors say, a schedule over progress.
    optimizer, lr_factor, clip_norm: "adam" or "adan"; a factor of all rates, a schedule; norm to which all gradients
                     together are cut, 0 = not.
    engine:          who computes the field: "built-in", "fastest" that is available, or "tiny-cuda-nn" (``ops.accelerators``).
    preview_every, checkpoint_every: steps; 0 = never.
    """

    iterations: int = 5000
    size: int = 128
    reference_size: int = 192
    mode: StepMode = "alternate"
    reference_every: int = 4
    reference_every_2d: int = 0
    reference_first: int = 0
    novel_batch: int = 1
    novel: NovelViews = NovelViews()
    shading: ShadingMix = ShadingMix()
    reference_noise: float = 0.0
    reference_background: ReferenceBackground = "noise"
    novel_background: NovelBackground = "random"
    rgb: Schedule = Constant(1000.0)
    mask: Schedule = Constant(500.0)
    depth: Schedule = Constant(0.0)
    normal: Schedule = Constant(0.0)
    rgb_inside: bool = False
    rgb_edge: losses.Edge = "keep"
    rgb_over: losses.ColorMean = "picture"
    mask_against: losses.MaskTarget = "binary"
    depth_form: DepthForm = "correlation"
    prior: Schedule = Constant(1.0)
    optimizer: Method = "adam"
    lr_factor: Schedule = Constant(1.0)
    clip_norm: float = 0.0
    engine: str = "built-in"
    preview_every: int = 20
    checkpoint_every: int = 0

    def __post_init__(self):
        allowed = {
            "mode": get_args(StepMode),
            "reference_background": get_args(ReferenceBackground),
            "novel_background": get_args(NovelBackground),
            "rgb_edge": losses.EDGES,
            "rgb_over": losses.COLOR_MEANS,
            "mask_against": losses.MASK_TARGETS,
            "optimizer": METHODS,
            "depth_form": DEPTH_FORMS,
        }
        for name, values in allowed.items():
            if getattr(self, name) not in values:
                raise ValueError(f"{name} must be one of {values}, got {getattr(self, name)!r}")
        for name in ("iterations", "size", "reference_size", "reference_every", "novel_batch"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")

    def shows(self, step: int, has_prior: bool, knows_reference: bool = True) -> tuple[bool, bool]:
        """(reference view, novel views) in 0-based ``step``; does any prior know the reference picture?"""
        if not has_prior or step < self.reference_first:
            return True, False
        if self.mode == "both":
            return True, True
        every = self.reference_every if knows_reference else self.reference_every_2d or self.reference_every
        is_reference = step % every == 0
        return is_reference, not is_reference

    def novel_at(self, progress: float) -> tuple[int, int]:
        """(number, pixels per side) of the novel views at ``progress``; constant unless a stage lets them grow."""
        return self.novel_batch, self.size
