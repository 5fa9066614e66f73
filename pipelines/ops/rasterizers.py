"""The plug behind the surface renderer: rasterize, interpolate, antialias.

Implementations: :data:`WARP` (the default), :data:`REFERENCE` (the plain torch specification, for tests), and
``accelerators.nvdiffrast_rasterizer()``.
"""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from . import antialias as _antialias
from . import interpolate as _interpolate
from . import rasterize as _rasterize
from .rasterize import Raster


class Rasterizer(Protocol):
    """Triangles to pixels; shapes and gradients as in the functions of the same names."""

    def rasterize(self, clip: Tensor, faces: Tensor, height: int, width: int) -> Raster:
        """What B views see; differentiable barycentrics and depth."""
        ...

    def interpolate(self, attributes: Tensor, raster: Raster, faces: Tensor) -> Tensor:
        """[B, H, W, C] attributes at the pixels."""
        ...

    def antialias(self, color: Tensor, raster: Raster, clip: Tensor, faces: Tensor) -> Tensor:
        """[B, H, W, C] with silhouettes blended, differentiable with respect to ``clip``."""
        ...


class _Warp:
    rasterize = staticmethod(_rasterize.rasterize)
    interpolate = staticmethod(_interpolate.interpolate)
    antialias = staticmethod(_antialias.antialias)


class _Reference:
    rasterize = staticmethod(_rasterize.rasterize_reference)
    interpolate = staticmethod(_interpolate.interpolate_reference)
    antialias = staticmethod(_antialias.antialias_reference)


WARP: Rasterizer = _Warp()
REFERENCE: Rasterizer = _Reference()
