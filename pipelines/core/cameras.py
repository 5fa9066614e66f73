"""Pinhole cameras on an orbit, their rays and their projections.

Notation: azimuth and elevation in radians (see ``pipelines/__init__.py``), ``c2w`` camera-to-world,
``fovy`` vertical field of view in radians, ``B`` cameras.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .far import send


@dataclass(frozen=True)
class Rays:
    """Rays through pixel centers.

    origins:    [..., 3] scene units.
    directions: [..., 3], *not* normalized: their component along the camera's -Z is 1, so the ray
                parameter t equals depth.
    """

    origins: Tensor
    directions: Tensor

    def flat(self) -> "Rays":
        """The same rays as [N, 3] each."""
        return Rays(self.origins.reshape(-1, 3), self.directions.reshape(-1, 3))


@dataclass(frozen=True)
class Cameras:
    """A batch of pinhole cameras that share an image size.

    c2w:    [B, 4, 4] rigid camera-to-world, determinant +1.
    fovy:   [B] radians, in (0, pi).
    height, width: pixels.
    near, far: clip planes, scene units.
    """

    c2w: Tensor
    fovy: Tensor
    height: int
    width: int
    near: float = 0.1
    far: float = 100.0

    is_orthographic = False  # core/ortho.py has the other kind

    def __post_init__(self):
        if self.c2w.ndim != 3 or tuple(self.c2w.shape[1:]) != (4, 4):
            raise ValueError(f"c2w must be [B, 4, 4], got {tuple(self.c2w.shape)}")
        if tuple(self.fovy.shape) != (len(self.c2w),):
            raise ValueError(f"fovy must be [{len(self.c2w)}], got {tuple(self.fovy.shape)}")
        if self.height < 1 or self.width < 1:
            raise ValueError(f"image size must be positive, got {self.height} x {self.width}")

    @staticmethod
    def orbit(azimuth, elevation, radius, fovy, height: int, width: int, target=None) -> "Cameras":
        """Cameras on a sphere, looking at ``target`` with +Y up.

        azimuth, elevation, fovy: radians; radius: scene units; floats or [B] tensors (broadcast).
        target: [3] or [B, 3], default the origin.  Elevation must stay inside (-pi/2, pi/2).
        """
        parts = [torch.as_tensor(v, dtype=torch.float32) for v in (azimuth, elevation, radius, fovy)]
        azimuth, elevation, radius, fovy = torch.broadcast_tensors(*[p.reshape(-1) for p in parts])
        if bool((elevation.abs() >= math.pi / 2).any()):
            raise ValueError("elevation must lie inside (-90, 90) degrees: +Y is the up direction")
        backward = orbit_direction(azimuth, elevation)  # camera +Z points away from the target
        target = torch.zeros(3) if target is None else torch.as_tensor(target, dtype=torch.float32)
        up = torch.tensor([0.0, 1.0, 0.0], device=backward.device).expand_as(backward)
        right = torch.nn.functional.normalize(torch.linalg.cross(up, backward), dim=-1)
        true_up = torch.linalg.cross(backward, right)
        c2w = torch.zeros(len(azimuth), 4, 4, device=backward.device)
        c2w[:, :3, 0], c2w[:, :3, 1], c2w[:, :3, 2] = right, true_up, backward
        c2w[:, :3, 3] = target.to(backward) + backward * radius[:, None]
        c2w[:, 3, 3] = 1.0
        return Cameras(c2w, fovy.clone(), height, width)

    def __len__(self) -> int:
        return len(self.c2w)

    def __getitem__(self, index) -> "Cameras":
        """A sub-batch; an int gives a batch of one."""
        if isinstance(index, int):
            index = slice(index, index + 1) if index != -1 else slice(-1, None)
        return replace(self, c2w=self.c2w[index], fovy=self.fovy[index])

    def to(self, device) -> "Cameras":
        """The same cameras on another device."""
        return replace(self, c2w=send(self.c2w, device), fovy=send(self.fovy, device))

    def resized(self, height: int, width: int) -> "Cameras":
        """The same poses at another image size (the vertical field of view is kept)."""
        return replace(self, height=height, width=width)

    @staticmethod
    def cat(cameras: list["Cameras"]) -> "Cameras":
        """One batch from several; all must share the image size."""
        sizes = {(c.height, c.width) for c in cameras}
        if len(sizes) != 1:
            raise ValueError(f"cameras of one batch must share the image size, got {sorted(sizes)}")
        return replace(cameras[0], c2w=torch.cat([c.c2w for c in cameras]), fovy=torch.cat([c.fovy for c in cameras]))

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
        """Rays through all pixel centers: origins and directions [B, H, W, 3]."""
        device = self.c2w.device
        tan_y = torch.tan(self.fovy / 2)[:, None, None]
        x = ((torch.arange(self.width, device=device) + 0.5) / self.width * 2 - 1) * (self.width / self.height)
        y = 1 - (torch.arange(self.height, device=device) + 0.5) / self.height * 2
        y, x = torch.meshgrid(y, x, indexing="ij")
        local = torch.stack([x * tan_y, y * tan_y, -torch.ones_like(x).expand_as(x * tan_y)], dim=-1)
        directions = torch.einsum("bij,bhwj->bhwi", self.c2w[:, :3, :3], local)
        origins = self.positions[:, None, None, :].expand_as(directions)
        return Rays(origins, directions)

    def world_to_clip(self) -> Tensor:
        """[B, 4, 4] OpenGL clip matrices (w = depth; visible z/w in [-1, 1]; clip +y is image up)."""
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
        """[B, 4, 4] OpenGL perspective matrices."""
        cot = 1 / torch.tan(self.fovy / 2)
        p = torch.zeros_like(self.c2w)
        p[:, 0, 0] = cot * self.height / self.width
        p[:, 1, 1] = cot
        p[:, 2, 2] = (self.far + self.near) / (self.near - self.far)
        p[:, 2, 3] = 2 * self.far * self.near / (self.near - self.far)
        p[:, 3, 2] = -1.0
        return p


@dataclass(frozen=True)
class Lens:
    """How far a camera of an orbit around the origin stands, and how much it sees.

    radius:  scene units.
    degrees: vertical field of view.
    """

    radius: float
    degrees: float

    @property
    def fovy(self) -> float:
        """The vertical field of view in radians."""
        return math.radians(self.degrees)

    def orbit(self, azimuth, elevation, size: int) -> Cameras:
        """Square cameras of ``size`` pixels; radians, floats or [B] tensors."""
        return Cameras.orbit(azimuth, elevation, self.radius, self.fovy, size, size)

    def turntable(self, frames: int, elevation: float, size: int) -> Cameras:
        """``frames`` square cameras at equal azimuth steps starting at the front.  Radians, pixels."""
        return turntable(frames, elevation, self.radius, self.fovy, size)


# The camera of pictures that come without one: Consistent123's reference camera (M-A.4).  It sees 1.13 scene units
# at the origin.  The toybox, and so the embedded networks, and all views for metrics keep to it.
HOME = Lens(3.2, 20.0)


def orbit_direction(azimuth: Tensor, elevation: Tensor) -> Tensor:
    """[B, 3] unit vectors from the target towards the camera.  Radians in."""
    cos_e = torch.cos(elevation)
    return torch.stack([torch.sin(azimuth) * cos_e, torch.sin(elevation), torch.cos(azimuth) * cos_e], dim=-1)


def turntable(frames: int, elevation: float, radius: float, fovy: float, size: int) -> Cameras:
    """``frames`` cameras at equal azimuth steps starting at the front.  Radians, scene units, pixels."""
    azimuth = torch.arange(frames) * (2 * math.pi / frames)
    return Cameras.orbit(azimuth, elevation, radius, fovy, size, size)
