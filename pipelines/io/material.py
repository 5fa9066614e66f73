"""How a surface answers light besides its color: glTF 2.0's metallic-roughness material (section 3.9.2)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..core.errors import InputError

LARGEST_MAP = 8192  # pixels along a side


@dataclass(frozen=True)
class Material:
    """roughness, metallic: one number in [0, 1], or a map [H, W] in [0, 1] by texture coordinates.

    normal: [H, W, 3] (n + 1) / 2 in the tangent frames of ``ops.tangents``, or None.
    Raises InputError for other shapes and values.
    """

    roughness: float | Tensor = 1.0
    metallic: float | Tensor = 0.0
    normal: Tensor | None = None

    def __post_init__(self):
        for name in ("roughness", "metallic"):
            _check_share(name, getattr(self, name))
        if self.normal is not None:
            _check_map("normal map", self.normal, 3)

    @property
    def has_maps(self) -> bool:
        """Whether it needs texture coordinates."""
        return self.normal is not None or isinstance(self.roughness, Tensor) or isinstance(self.metallic, Tensor)

    def packed(self) -> Tensor | None:
        """[H, W, 3] as glTF packs both maps (green: roughness, blue: metallic); None where both are numbers.

        The smaller of two maps of different sizes is enlarged; a number fills its channel with 1, because a reader
        multiplies with the number.
        """
        maps = [m if isinstance(m, Tensor) else None for m in (self.roughness, self.metallic)]
        sizes = [m.shape for m in maps if m is not None]
        if not sizes:
            return None
        height, width = (max(size[k] for size in sizes) for k in (0, 1))
        planes = [torch.ones(height, width) if m is None else _resized(m, height, width) for m in maps]
        return torch.stack([torch.ones(height, width), *planes], dim=-1)

    def factors(self) -> dict:
        """glTF's two numbers: those of the maps are 1."""
        return {"metallicFactor": 1.0 if isinstance(self.metallic, Tensor) else float(self.metallic),
                "roughnessFactor": 1.0 if isinstance(self.roughness, Tensor) else float(self.roughness)}


def _check_share(name: str, value: float | Tensor) -> None:
    if isinstance(value, Tensor):
        _check_map(f"{name} map", value, None)
    elif not 0 <= value <= 1:  # NaN is not, either
        raise InputError(name, "a number from 0 to 1", f"{value}", "Use 1 for a matt surface that is no metal: roughness 1, "
                         "metallic 0.")


def _check_map(name: str, value: Tensor, channels: int | None) -> None:
    wanted = "[H, W]" if channels is None else f"[H, W, {channels}]"
    right = value.ndim == (2 if channels is None else 3) and (channels is None or value.shape[-1] == channels)
    if not right or not value.numel() or max(value.shape[:2]) > LARGEST_MAP:
        raise InputError(name, f"a picture {wanted} of at most {LARGEST_MAP} pixels a side", str(list(value.shape)),
                         "Connect one picture.")
    if not bool(torch.isfinite(value).all()):
        raise InputError(name, "finite numbers", "NaN or infinity", "Check the node that made the picture.")


def _resized(plane: Tensor, height: int, width: int) -> Tensor:
    if plane.shape == (height, width):
        return plane
    return torch.nn.functional.interpolate(plane[None, None], (height, width), mode="bilinear", align_corners=False)[0, 0]
