"""A reference view without a picture: text-to-3D, and edits of what is there already."""

from __future__ import annotations

import math

import torch

from ...core.cameras import HOME, Cameras
from ...core.errors import InputError
from ...core.views import Views
from .reference import ReferenceView

SIDE = 64  # pixels of the empty picture, which nothing looks at


def words_only(prompt: str, negative: str = "", radius: float = HOME.radius, fovy: float = HOME.fovy,
               elevation: float = 0.0) -> ReferenceView:
    """A reference view that is only words and the camera of the front.  radius: scene units; others radians.

    InputError without a prompt.
    """
    if not prompt.strip():
        raise InputError("prompt", "a short description of the object", "nothing", "Write it, for example 'a red teapot'.")
    if not math.radians(-89) <= elevation <= math.radians(89):
        raise InputError("elevation", "-89 to 89 degrees", f"{math.degrees(elevation):g}", "Choose a value in that range.")
    camera = Cameras.orbit(0.0, elevation, radius, fovy, SIDE, SIDE)
    nothing = Views(camera, torch.ones(1, SIDE, SIDE, 3), torch.zeros(1, SIDE, SIDE))
    return ReferenceView(nothing, prompt.strip(), negative.strip())
