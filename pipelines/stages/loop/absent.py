"""Losses that a stage is set to but cannot compute, because the reference view lacks what they compare with."""

from __future__ import annotations

from ..inputs.reference import ReferenceView
from .step_config import StepConfig

# loss -> (what it compares with, what to do about it)
_INPUTS = {
    "depth": ("depth map", "put Estimate Depth behind Reference View, or give it a depth picture"),
    "normal": ("normal map", "give Reference View a normal picture"),
}


def absent_losses(config: StepConfig, reference: ReferenceView) -> tuple[str, ...]:
    """A sentence for each loss with a weight, at any time of the stage, whose input is missing; it counts as 0."""
    out = []
    for name, (what, remedy) in _INPUTS.items():
        weight = max(getattr(config, name)(x / 8) for x in range(9))
        if weight > 0 and getattr(reference.views, name) is None:
            out.append(f"No {name} loss (weight {weight:g}): the reference view has no {what}; {remedy}, or set the weight to 0.")
    return tuple(out)
