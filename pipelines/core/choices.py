"""Words that settings of several rooms choose from.  Runtime checks read the same lists by ``typing.get_args``."""

from __future__ import annotations

from typing import Literal

Clock = Literal["local", "global"]  # of a dynamic prior, see ``priors.combine.DynamicPrior``
DepthConvention = Literal["distance", "inverse"]  # of a depth map: larger = farther, or larger = nearer
NormalMethod = Literal["central", "tetrahedral", "analytic"]  # see ``fields.hash_nerf.HashNerf.normal``
NovelBackground = Literal["random", "white", "gray"]  # behind novel views, see ``StepConfig.novel_background``
Pose = Literal["zero123", "stable"]  # what a pose vector's last entry is: Zero-1-to-3's, Stable Zero123's
Space = Literal["latents", "pictures"]  # where HiFi-123's guide is applied, see ``RgnvSettings`` and ``RgsdSettings``
