"""A reference view and a depth-text network for HiFi-123."""

import math
from functools import lru_cache

import torch
from lift123.pipelines.core.cameras import Cameras
from lift123.pipelines.core.views import Views
from lift123.pipelines.render.surface import render_surface
from lift123.pipelines.stages.inputs.reference import ReferenceView

from helpers import depth_tiny
from helpers.tiny_stages import SIZE
from helpers.tiny_stages import box as _box


def camera(azimuth=0.0, elevation=0.0, size=SIZE):
    return Cameras.orbit(azimuth, elevation, 3.8, math.radians(20), size, size)


@lru_cache
def reference() -> ReferenceView:
    buffers = render_surface(_box(), camera(), supersample=4, grad=False)
    safe = buffers.alpha.clamp_min(1e-6)
    normal = torch.tensor([0.0, 0.0, 1.0]) * (buffers.alpha > 0)[..., None]
    return ReferenceView(Views(camera(), buffers.rgb / safe[..., None], buffers.alpha, buffers.depth / safe, normal), "a box")


@lru_cache
def depth_text():
    return depth_tiny.network()
