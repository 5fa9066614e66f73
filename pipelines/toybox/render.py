"""Ground-truth views of toy objects."""

from __future__ import annotations

from typing import cast

import torch

from ..core.cameras import HOME, Cameras
from ..core.mesh import Mesh
from ..core.ortho import OrthoCameras
from ..core.pulse import beat
from ..core.views import Views
from ..render.surface import render_surface
from .objects import ToyObject

MOST_PIXELS = 1 << 24  # samples at once; more are rendered view by view


def reference_camera(size: int) -> Cameras:
    """The camera of the reference picture: front, horizon, radius 3.2, 20 degrees; ``size`` pixels."""
    return HOME.orbit(0.0, 0.0, size)


def render_toy(toy: ToyObject | Mesh, cameras: Cameras | OrthoCameras, supersample: int = 2) -> Views:
    """Views with rgb, alpha, depth (scene units) and normals.

    ``supersample``: samples per pixel side; box-filtered.  Depth and normals are averaged over the
    covered samples.
    """
    mesh = toy.mesh if isinstance(toy, ToyObject) else toy
    if len(cameras) > 1 and len(cameras) * cameras.height * cameras.width * supersample**2 > MOST_PIXELS:
        return joined([render_toy(mesh, cameras[i], supersample) for i in range(len(cameras))], cameras)
    beat()
    fine = cameras.resized(cameras.height * supersample, cameras.width * supersample)
    buffers = render_surface(mesh, fine, grad=False, antialias=False)
    pooled = {name: _pool(getattr(buffers, name), supersample) for name in ("rgb", "alpha", "depth", "normal")}
    alpha = pooled["alpha"]
    safe = alpha.clamp_min(1e-6)
    normal = pooled["normal"]
    normal = normal / normal.norm(dim=-1, keepdim=True).clamp_min(1e-6) * (alpha > 0)[..., None]
    given = cast(Cameras, cameras)  # a view asks for poses and sizes, which both kinds have
    return Views(given, pooled["rgb"] / safe[..., None], alpha, pooled["depth"] / safe, normal, True)


def joined(parts: list[Views], cameras) -> Views:
    """Views of several cameras, rendered one after the other, as one."""
    fields = {name: torch.cat([getattr(part, name) for part in parts]) for name in ("rgb", "alpha", "depth", "normal")}
    return Views(cameras, **fields, depth_is_metric=True)


def _pool(image, factor: int):
    if factor == 1:
        return image
    b, h, w = image.shape[:3]
    return image.reshape(b, h // factor, factor, w // factor, factor, *image.shape[3:]).mean(dim=(2, 4))
