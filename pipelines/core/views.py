"""Posed pictures and render results."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from .cameras import Cameras

NEUTRAL = (126 / 255, 129 / 255, 127 / 255)  # sRGB gray that HiFi-123's code puts behind novel views


@dataclass(frozen=True)
class Views:
    """Pictures with known cameras.

    cameras: B cameras of the pictures' size.
    rgb:     [B, H, W, 3] straight (not premultiplied) sRGB in [0, 1].
    alpha:   [B, H, W] coverage in [0, 1].
    depth:   [B, H, W] or None.  Positive, larger = farther, 0 outside; ``depth_is_metric`` says
             whether the unit is the scene's or only known up to an affine map.
    normal:  [B, H, W, 3] world space, unit length, or None.
    """

    cameras: Cameras
    rgb: Tensor
    alpha: Tensor
    depth: Tensor | None = None
    normal: Tensor | None = None
    depth_is_metric: bool = False

    def __post_init__(self):
        size = (len(self.cameras), self.cameras.height, self.cameras.width)
        for name, tail in (("rgb", (3,)), ("alpha", ()), ("depth", ()), ("normal", (3,))):
            value = getattr(self, name)
            if value is not None and tuple(value.shape) != size + tail:
                raise ValueError(f"{name} must be {size + tail}, got {tuple(value.shape)}")

    def on_background(self, background: Tensor | float = 1.0) -> Tensor:
        """[B, H, W, 3] composited on a color (scalar or broadcastable to [B, H, W, 3])."""
        alpha = self.alpha[..., None]
        return self.rgb * alpha + background * (1 - alpha)

    def to(self, device) -> "Views":
        """The same views on another device (cameras included)."""
        fields = {k: v.to(device) if hasattr(v, "to") else v for k, v in vars(self).items()}
        return Views(**fields)


@dataclass(frozen=True)
class RenderBuffers:
    """What every renderer returns for B cameras; all differentiable.

    rgb:    [B, H, W, 3] sRGB **premultiplied** by alpha: ``rgb + (1 - alpha) * background``.
    alpha:  [B, H, W] in [0, 1].
    depth:  [B, H, W] accumulated sum(w * t), not divided by alpha; scene units.
    normal: [B, H, W, 3] world space, premultiplied by alpha, or None when not asked for.
    extras: further named tensors of one renderer (per-sample weights and the like).
    """

    rgb: Tensor
    alpha: Tensor
    depth: Tensor
    normal: Tensor | None = None
    extras: dict | None = None

    def composite(self, background: Tensor | float = 1.0) -> Tensor:
        """[B, H, W, 3] on a background color (scalar or broadcastable)."""
        return self.rgb + (1 - self.alpha[..., None]) * background
