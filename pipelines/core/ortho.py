"""Orthographic cameras, and the six views from which characters are rebuilt.

The same interface as :class:`~.cameras.Cameras` (poses, rays, clip matrices), so renderers take either.  Notation:
azimuth and elevation in radians, ``c2w`` camera-to-world, ``B`` cameras; see ``pipelines/__init__.py``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .cameras import Cameras, Rays

WINDOW = 1.2  # scene units, half the height of a character's orthographic picture (the character fits [-1, 1])
STAND_IN_FOVY = math.radians(30)  # the pinhole that S-LRM is told about in place of the orthographic camera
DISTANCE = WINDOW / math.tan(STAND_IN_FOVY / 2)  # 4.4785 scene units: there the stand-in sees the same window
VIEW_NAMES = ("front", "front_right", "right", "back", "left", "front_left")
VIEW_AZIMUTHS = tuple(math.radians(a) for a in (0, 45, 90, 180, 270, 315))  # the camera moves to its own right


@dataclass(frozen=True)
class OrthoCameras:
    """A batch of orthographic cameras that share an image size.

    c2w:         [B, 4, 4] rigid camera-to-world, determinant +1; the camera looks down its -Z.
    half_height: [B] scene units, positive: half of what a picture shows from bottom to top.  Pixels are square, so
                 half the width shown is ``half_height * width / height``.
    height, width: pixels.
    near, far:   clip planes along the camera's -Z, scene units.
    """

    c2w: Tensor
    half_height: Tensor
    height: int
    width: int
    near: float = 0.1
    far: float = 100.0

    is_orthographic = True

    def __post_init__(self):
        if self.c2w.ndim != 3 or tuple(self.c2w.shape[1:]) != (4, 4):
            raise ValueError(f"c2w must be [B, 4, 4], got {tuple(self.c2w.shape)}")
        if tuple(self.half_height.shape) != (len(self.c2w),):
            raise ValueError(f"half_height must be [{len(self.c2w)}], got {tuple(self.half_height.shape)}")
        if bool((self.half_height <= 0).any()):
            raise ValueError("half_height must be positive")
        if self.height < 1 or self.width < 1:
            raise ValueError(f"image size must be positive, got {self.height} x {self.width}")

    @staticmethod
    def orbit(azimuth, elevation, half_height, height: int, width: int, radius=DISTANCE) -> "OrthoCameras":
        """Cameras on a sphere of ``radius`` around the origin, looking at it with +Y up.

        azimuth, elevation: radians, half_height and radius: scene units; floats or [B] tensors (broadcast).
        Elevation must stay inside (-pi/2, pi/2).
        """
        parts = [torch.as_tensor(v, dtype=torch.float32) for v in (azimuth, elevation, half_height, radius)]
        azimuth, elevation, half_height, radius = torch.broadcast_tensors(*[p.reshape(-1) for p in parts])
        posed = Cameras.orbit(azimuth, elevation, radius, 1.0, height, width)
        return OrthoCameras(posed.c2w, half_height.clone(), height, width)

    def __len__(self) -> int:
        return len(self.c2w)

    def __getitem__(self, index) -> "OrthoCameras":
        """A sub-batch; an int gives a batch of one."""
        if isinstance(index, int):
            index = slice(index, index + 1) if index != -1 else slice(-1, None)
        return replace(self, c2w=self.c2w[index], half_height=self.half_height[index])

    def to(self, device) -> "OrthoCameras":
        """The same cameras on another device."""
        return replace(self, c2w=self.c2w.to(device), half_height=self.half_height.to(device))

    def resized(self, height: int, width: int) -> "OrthoCameras":
        """The same poses at another image size (the height shown is kept)."""
        return replace(self, height=height, width=width)

    @staticmethod
    def cat(cameras: list["OrthoCameras"]) -> "OrthoCameras":
        """One batch from several; all must share the image size."""
        sizes = {(c.height, c.width) for c in cameras}
        if len(sizes) != 1:
            raise ValueError(f"cameras of one batch must share the image size, got {sorted(sizes)}")
        c2w, half_height = (torch.cat([getattr(c, name) for c in cameras]) for name in ("c2w", "half_height"))
        return OrthoCameras(c2w, half_height, cameras[0].height, cameras[0].width, cameras[0].near, cameras[0].far)

    def pinhole(self, fovy: float = STAND_IN_FOVY) -> Cameras:
        """Pinhole cameras with the same axes that show the same window of the plane through the origin.

        fovy: radians, in (0, pi).  Each stands at ``half_height / tan(fovy / 2)`` from that plane, on the line of sight
        of this camera's center.
        """
        backward, position = self.c2w[:, :3, 2], self.c2w[:, :3, 3]
        distance = self.half_height / math.tan(fovy / 2)
        c2w = self.c2w.clone()
        c2w[:, :3, 3] = position + backward * (distance - (position * backward).sum(-1))[:, None]
        angles = torch.full_like(self.half_height, fovy)
        return Cameras(c2w, angles, self.height, self.width, self.near, self.far)

    @property
    def positions(self) -> Tensor:
        """[B, 3] camera centers, scene units."""
        return self.c2w[:, :3, 3]

    @property
    def radius(self) -> Tensor:
        """[B] distance from the origin, scene units."""
        return self.positions.norm(dim=-1)

    @property
    def azimuth(self) -> Tensor:
        """[B] radians in (-pi, pi], of the camera's center."""
        return torch.atan2(self.positions[:, 0], self.positions[:, 2])

    @property
    def elevation(self) -> Tensor:
        """[B] radians, of the camera's center."""
        return torch.asin((self.positions[:, 1] / self.radius).clamp(-1, 1))

    def rays(self) -> Rays:
        """Parallel rays through all pixel centers: origins (on the camera's plane) and unit directions [B, H, W, 3]."""
        device = self.c2w.device
        half = self.half_height[:, None, None]
        x = ((torch.arange(self.width, device=device) + 0.5) / self.width * 2 - 1) * (self.width / self.height)
        y = 1 - (torch.arange(self.height, device=device) + 0.5) / self.height * 2
        y, x = torch.meshgrid(y, x, indexing="ij")
        local = torch.stack([x * half, y * half], dim=-1)
        offsets = torch.einsum("bij,bhwj->bhwi", self.c2w[:, :3, :2], local)
        directions = -self.c2w[:, None, None, :3, 2].expand_as(offsets)
        return Rays(self.positions[:, None, None, :] + offsets, directions)

    def world_to_clip(self) -> Tensor:
        """[B, 4, 4] OpenGL clip matrices (w = 1; visible z in [-1, 1]; clip +y is image up)."""
        return self.projection() @ self.w2c()

    def w2c(self) -> Tensor:
        """[B, 4, 4] world-to-camera, the exact inverse of the rigid ``c2w``."""
        rotation = self.c2w[:, :3, :3].transpose(1, 2)
        w2c = torch.zeros_like(self.c2w)
        w2c[:, :3, :3] = rotation
        w2c[:, :3, 3:] = -rotation @ self.c2w[:, :3, 3:]
        w2c[:, 3, 3] = 1.0
        return w2c

    def projection(self) -> Tensor:
        """[B, 4, 4] OpenGL orthographic matrices."""
        p = torch.zeros_like(self.c2w)
        p[:, 0, 0] = self.height / (self.width * self.half_height)
        p[:, 1, 1] = 1 / self.half_height
        p[:, 2, 2] = 2 / (self.near - self.far)
        p[:, 2, 3] = (self.far + self.near) / (self.near - self.far)
        p[:, 3, 3] = 1.0
        return p

    def depth(self, points: Tensor) -> Tensor:
        """[B, N] distances of world points [N, 3] along each camera's -Z, scene units; differentiable."""
        backward = self.c2w[:, :3, 2].to(points)
        return (self.positions.to(points) * backward).sum(-1)[:, None] - backward @ points.T


def six_views(size: int, width: int | None = None, window: float = WINDOW) -> OrthoCameras:
    """The six cameras of a character in the order of :data:`VIEW_NAMES`: elevation 0, orthographic.

    size:   height of a picture in pixels; width: its width, default the same (narrower pictures are cut at the sides,
            never squashed).
    window: scene units, half the height shown.  A character with longest side 2 fills 1 / 1.2 of the height at 1.2.
    """
    return OrthoCameras.orbit(torch.tensor(VIEW_AZIMUTHS), 0.0, window, size, width or size)
