"""The reference picture's own pixels on the texture: texels that its camera sees take the picture's colors.

The picture is kept in full by the reference view; stages fit it at a smaller size.  How much a place takes from it is
one smooth map over the picture: nothing where the surface is seen edge-on, and nothing at edges of depth and outline, on
either side of them.  What the camera sees thus fades out before it ends, and no seam shows where it hides something.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ...core.mesh import Mesh
from ...ops.rasterize import rasterize
from ...ops.texture import sample_texture
from ...render.surface import project
from ..inputs.reference import ReferenceView

ColorFn = Callable[[Tensor], Tensor]
SOLID = 0.99  # coverage of a pixel whose color is the object's alone


@dataclass(frozen=True)
class PictureSettings:
    """How the picture is laid over the texture.

    facing:    cosines between surface and line of sight: nothing is taken below the first, everything from the second
               on.
    edge, feather: distance from an edge of depth or outline up to which nothing is taken, and over which it fades in,
               as shares of the picture's side.
    jump:      difference of depth between neighboring pixels that is an edge, scene units.
    tolerance: how far behind the nearest surface a point may lie and still count as seen, scene units.
    smallest:  pixels per side at which surface and edges are looked at, at least.
    """

    facing: tuple[float, float] = (0.25, 0.6)
    edge: float = 0.006
    feather: float = 0.025
    jump: float = 0.05
    tolerance: float = 0.015
    smallest: int = 512


class PictureTexels:
    """A reference view's picture, seen from the surface of ``mesh``; everything on the mesh's device."""

    def __init__(self, mesh: Mesh, reference: ReferenceView, settings: PictureSettings = PictureSettings()):
        device = mesh.vertices.device
        self.picture = reference.views.rgb[0].float().to(device)
        size = max(reference.size, settings.smallest)
        self.camera, self.tolerance = reference.camera.to(device).resized(size, size), settings.tolerance
        covered, depth, cosine = _seen(mesh, self.camera)
        # a pixel's depth stands for its neighbors', so that slopes do not hide themselves
        self.depth = pooled(depth)
        solid = _resized(reference.views.alpha[0].float().to(device), size) > SOLID
        self.share = share_map(covered & solid, depth, cosine, settings, size)

    @torch.no_grad()
    def weight(self, points: Tensor) -> Tensor:
        """[N] in [0, 1]: how much of the picture's color the surface points [N, 3] take; 0 where they are hidden."""
        uv, distance = self._where(points)
        size = self.camera.height
        column, row = (uv * size).long().clamp(0, size - 1).unbind(-1)
        inside = ((uv > 0) & (uv < 1)).all(-1) & (distance > 0) & (distance <= self.depth[row, column] + self.tolerance)
        return sample_texture(self.share[..., None], uv)[:, 0] * inside

    @torch.no_grad()
    def over(self, albedo: ColorFn) -> ColorFn:
        """``albedo`` ([N, 3] points -> [N, 3] sRGB) with the picture laid over it, bit for bit where nothing is taken."""

        def colors(points: Tensor) -> Tensor:
            own = albedo(points)
            weight = self.weight(points)[:, None].to(own)
            found = sample_texture(self.picture, self._where(points)[0]).to(own)
            return torch.where(weight > 0, own + weight * (found - own), own)

        return colors

    def _where(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """(places in the picture [N, 2] as texture coordinates, distances along its axis [N])."""
        clip = project(points.to(self.picture), self.camera)[0]
        distance = clip[:, 3]
        flat = clip[:, :2] / distance.clamp_min(1e-6)[:, None]
        return torch.stack([flat[:, 0] / 2 + 0.5, 0.5 - flat[:, 1] / 2], -1), distance


@torch.no_grad()
def _seen(mesh: Mesh, camera) -> tuple[Tensor, Tensor, Tensor]:
    """(covered, depth, cosine of the smooth normal to the line of sight), [S, S] each, of one camera."""
    raster = rasterize(project(mesh.vertices, camera), mesh.faces, camera.height, camera.width)
    covered, corners = raster.covered[0], mesh.faces[raster.triangle[0].clamp_min(0).long()]
    weights = raster.barycentric[0][..., None]
    normal = torch.nn.functional.normalize((mesh.vertex_normals()[corners] * weights).sum(-2), dim=-1, eps=1e-12)
    sight = torch.nn.functional.normalize(camera.positions[0] - (mesh.vertices[corners] * weights).sum(-2), dim=-1)
    return covered, raster.depth[0], (normal * sight).sum(-1) * covered


def share_map(there: Tensor, depth: Tensor, cosine: Tensor, settings: PictureSettings, size: int) -> Tensor:
    """[H, W] in [0, 1]: how much a place takes of a picture, 0 outside of ``there`` (bool) and at edges of ``depth``.

    cosine: between surface and line of sight; size: pixels of the picture's side, in which the settings' shares count.
    """
    from scipy.ndimage import distance_transform_edt

    farthest, nearest = pooled(depth), -pooled(-depth)
    calm = there & (farthest - nearest < settings.jump)  # at a jump neither side is
    framed = torch.nn.functional.pad(calm, (1, 1, 1, 1))  # the picture's border is an edge as well
    distance = torch.as_tensor(distance_transform_edt(framed.cpu().numpy()))[1:-1, 1:-1].to(depth) - 1
    rim = _smooth(distance / size, settings.edge, settings.edge + settings.feather)
    radius = max(1, round(settings.feather * size / 2))
    weight = there.float()
    facing = _blurred(_smooth(cosine, *settings.facing) * weight, radius) / _blurred(weight, radius).clamp_min(1e-6)
    return rim * facing * weight


def pooled(values: Tensor) -> Tensor:
    """Greatest of every pixel of [S, S] and its eight neighbors."""
    return torch.nn.functional.max_pool2d(values[None, None], 3, 1, 1)[0, 0]


def _smooth(values: Tensor, low: float, high: float) -> Tensor:
    """0 below ``low``, 1 above ``high``, with level ends between them (3 x^2 - 2 x^3)."""
    x = ((values - low) / (high - low)).clamp(0, 1)
    return x * x * (3 - 2 * x)


def _blurred(values: Tensor, radius: int) -> Tensor:
    """Mean over squares of [S, S], twice, so that it has no corners."""
    side = 2 * radius + 1
    for _ in range(2):
        values = torch.nn.functional.avg_pool2d(values[None, None], side, 1, radius)[0, 0]
    return values


def _resized(values: Tensor, size: int) -> Tensor:
    """[H, W] -> [size, size], bilinear."""
    return torch.nn.functional.interpolate(values[None, None], (size, size), mode="bilinear", align_corners=False)[0, 0]
