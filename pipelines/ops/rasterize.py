"""Triangles to pixels: which triangle a pixel sees, where in it, and how far away."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..core.mesh import fits
from ..core.threads import allowed
from .kernels import raster as kernels
from .kernels.launch import PIECE, launch, runs

EMPTY = torch.iinfo(torch.int64).max  # key of a pixel no triangle covers
FACE_BITS = 0xFFFFFFFF  # of a key: its face's index, below its depth


@dataclass(frozen=True)
class Raster:
    """What B views of F triangles show at H x W pixel centers.

    triangle:    [B, H, W] int32 face index, -1 where nothing is seen.
    barycentric: [B, H, W, 3] perspective-correct weights of the face's corners, sum 1 (0 where nothing is seen);
                 differentiable with respect to the clip positions.
    depth:       [B, H, W] clip w at the pixel: the distance along the view axis for a perspective camera, 0 where
                 nothing is seen; differentiable with respect to the clip positions.
    """

    triangle: Tensor
    barycentric: Tensor
    depth: Tensor

    @property
    def covered(self) -> Tensor:
        """[B, H, W] bool."""
        return self.triangle >= 0


def rasterize(clip: Tensor, faces: Tensor, height: int, width: int) -> Raster:
    """Visible surfaces of B views in one launch.

    clip:  [B, V, 4] float32 OpenGL clip coordinates (visible where -w <= z <= w and w > 0; +y is up, row 0 the top).
    faces: [F, 3] int64; both sides are drawn.
    A pixel belongs to a triangle that contains its center, borders included; of several the one with least z/w
    (31 bits) is seen, of equal ones that with the lowest id.  Triangles that cross the camera plane are cut per
    pixel.  Degenerate and non-finite triangles are skipped.  ValueError for other shapes or types.
    """
    _check(clip, height, width)
    check_faces(faces, clip.shape[1])
    triangle, barycentric, depth = _Rasterize.apply(clip.contiguous(), faces, height, width)
    return Raster(triangle, barycentric, depth)


@torch.no_grad()
def nearest_faces(clip: Tensor, faces: Tensor, height: int, width: int) -> Tensor:
    """[B, H, W] int64 index of the face seen at each pixel, -1 where none is: ``rasterize(...).triangle``, without the rest.

    clip: [B, V, 4] float32 OpenGL clip coordinates; faces: [F, 3] int64; ValueError for other shapes or types.
    """
    _check(clip, height, width)
    check_faces(faces, clip.shape[1])
    keys = _keys(clip.contiguous(), faces, (0, height), height, width)
    return torch.where(keys == EMPTY, -1, keys & FACE_BITS)


class _Rasterize(torch.autograd.Function):
    @staticmethod
    def forward(ctx, clip, faces, height, width):
        out = _forward(clip, faces, height, width)
        ctx.save_for_backward(clip, faces, out[0])
        ctx.mark_non_differentiable(out[0])
        return out

    @staticmethod
    def backward(ctx, _, grad_barycentric, grad_depth):
        clip, faces, triangle = ctx.saved_tensors
        views, height, width = triangle.shape
        slabs, grad_clip = slab_gradient(views, views * height, clip.shape[1:], clip.device)
        run, spans = runs(clip.device, width)
        inputs = [clip, faces, triangle, grad_barycentric, grad_depth, slabs, run]
        items = -(-views * height // max(slabs, 1)) * spans
        launch(kernels.rasterize_backward, (slabs, items), inputs, [grad_clip], clip.device, split=slabs, piece=PIECE // run)
        return sum_slabs(grad_clip, views), None, None, None


def _forward(clip: Tensor, faces: Tensor, height: int, width: int) -> tuple[Tensor, Tensor, Tensor]:
    """(triangle, barycentric, depth) of :class:`Raster`."""
    views, device = len(clip), clip.device
    keys = _keys(clip, faces, (0, height), height, width)
    triangle = torch.empty(keys.shape, dtype=torch.int32, device=device)
    depth = torch.empty(keys.shape, device=device)
    barycentric = torch.empty((*keys.shape, 3), device=device)
    outputs, (run, spans) = [triangle, barycentric, depth], runs(device, width)
    inputs = [keys, clip, faces, run]
    launch(kernels.resolve, (views * height, spans), inputs, outputs, device, split=64, piece=PIECE // run)
    return triangle, barycentric, depth


def _keys(clip: Tensor, faces: Tensor, rows: tuple[int, int], height: int, width: int) -> Tensor:
    """[B, rows, W] int64 visibility keys of the rows from rows[0] up to rows[1] of pictures H x W."""
    views, tall, device = len(clip), rows[1] - rows[0], clip.device
    keys = torch.full((views, tall, width), EMPTY, dtype=torch.int64, device=device)
    bands = _bands(views, tall, device)
    slabs = views * bands
    run, spans = runs(device, len(faces))
    inputs = [clip, faces, bands, rows[0], height, run]
    launch(kernels.visibility, (slabs, spans), inputs, [keys], device, split=slabs, piece=PIECE // run)
    return keys


class PictureRows:
    """Some rows of what one view shows, for pictures too large to be rasterized at once; without gradients.

    clip: [V, 4] and faces as for :func:`rasterize`; rows: (first, end) of the picture height x width.  The faces seen are
    those of :func:`rasterize`, bit for bit.
    """

    def __init__(self, clip: Tensor, faces: Tensor, rows: tuple[int, int], height: int, width: int):
        _check(clip[None], height, width)
        check_faces(faces, len(clip))
        if not 0 <= rows[0] < rows[1] <= height:
            raise ValueError(f"rows {rows} must lie in 0..{height}")
        self._clip, self._faces, self._first, self._height = clip.contiguous(), faces.contiguous(), rows[0], height
        self._keys = _keys(self._clip[None], self._faces, rows, height, width)[0]

    @property
    def covered(self) -> Tensor:
        """[rows, W] bool."""
        return self._keys != EMPTY

    def points(self, cells: Tensor, step: int, at: tuple[int, int], vertices: Tensor, corners: Tensor) -> Tensor:
        """[N, 3] mixtures of ``vertices`` [V', 3] at one pixel each of ``cells``.

        cells: [N] int64 index into the flat grid of squares of ``step`` pixels; at: (row, column) of the pixel in its cell,
        which must be covered.  corners: [F, 3] int64, the faces' corners in ``vertices``.
        """
        check_faces(corners, len(vertices))
        points = torch.empty((len(cells), 3), device=self._clip.device)
        inputs = [cells, step, *at, self._keys, self._clip[None], self._faces, corners, vertices.float()]
        launch(kernels.points_of_keys, len(cells), [*inputs, self._first, self._height], [points], points.device, split=64)
        return points


def slab_gradient(groups: int, lines: int, shape, device: torch.device) -> tuple[int, Tensor]:
    """(slabs, zeros [slabs, *shape]): private sums for runs of lines, so that CPU threads never share memory.

    The number of slabs does not depend on the number of threads: neither does the order of any sum.
    """
    parts = 2 if groups == 1 and lines > 1 and device.type == "cpu" else 1
    return groups * parts, torch.zeros((groups * parts, *shape), device=device)


def sum_slabs(gradient: Tensor, groups: int) -> Tensor:
    """[groups, ...] from the private sums of :func:`slab_gradient`."""
    if len(gradient) == groups:
        return gradient
    return gradient.reshape(groups, len(gradient) // groups, *gradient.shape[1:]).sum(1)


def _bands(views: int, height: int, device: torch.device) -> int:
    """Bands of rows a view is cut into: parts for CPU threads, shorter loops over big triangles on a GPU."""
    if device.type == "cuda":
        return max(1, height // 64)
    threads = allowed()
    return 1 if views >= threads else min(-(-threads // max(views, 1)), height)


def check_faces(faces: Tensor, count: int) -> None:
    """ValueError unless faces are [F, 3] int64 into ``count`` rows: a kernel would read anywhere."""
    if faces.ndim != 2 or faces.shape[-1] != 3 or faces.dtype != torch.int64:
        raise ValueError(f"faces must be [F, 3] int64, got {tuple(faces.shape)} {faces.dtype}")
    if not fits(faces, count):
        low, high = torch.aminmax(faces)
        raise ValueError(f"faces must lie in 0..{count - 1}, got {int(low)}..{int(high)}")


def _check(clip: Tensor, height: int, width: int) -> None:
    if clip.ndim != 3 or clip.shape[-1] != 4 or clip.dtype != torch.float32:
        raise ValueError(f"clip must be [B, V, 4] float32, got {tuple(clip.shape)} {clip.dtype}")
    if height < 1 or width < 1:
        raise ValueError(f"image size must be positive, got {height} x {width}")


def rasterize_reference(clip: Tensor, faces: Tensor, height: int, width: int) -> Raster:
    """The plain torch specification of :func:`rasterize`: every triangle at every pixel, O(B H W F) memory.

    Differentiable by autograd, in double precision.
    """
    points = clip.double()[..., [0, 1, 3]][:, faces]  # [B, F, corner, (x, y, w)]
    a, b, c = points.unbind(2)
    normals = torch.stack([torch.linalg.cross(b, c), torch.linalg.cross(c, a), torch.linalg.cross(a, b)], dim=2)
    det = (a * normals[:, :, 0]).sum(-1)
    edges = torch.einsum("bfkc,hwc->bhwfk", normals, _pixel_points(height, width, clip.device))
    signed = edges * det.sign()[:, None, None, :, None]
    z = (edges.detach() * clip.double()[..., 2][:, faces][:, None, None]).sum(-1) / det.detach()[:, None, None]
    inside = (signed >= 0).all(-1) & (signed.sum(-1) > 0) & (z.abs() <= 1) & (det.abs() > 0)[:, None, None]
    inside &= torch.isfinite(points).all(-1).all(-1)[:, None, None]
    steps = ((torch.nan_to_num(z).clamp(-1, 1) + 1) * 0.5 * (2**31 - 2)).long()
    keys = torch.where(inside, steps * 2**32 + torch.arange(len(faces), device=clip.device), EMPTY)
    best = keys.amin(-1) if len(faces) else torch.full((len(clip), height, width), EMPTY, device=clip.device)
    seen = best != EMPTY
    triangle = torch.where(seen, best & 0xFFFFFFFF, -1)
    b, i, j = seen.nonzero(as_tuple=True)
    chosen = edges[b, i, j, triangle[b, i, j]]
    weights = chosen / chosen.sum(-1, keepdim=True)
    view_depth = (weights * clip.double()[b[:, None], faces[triangle[b, i, j]], 3]).sum(-1)
    barycentric = torch.zeros(*seen.shape, 3, dtype=torch.float64, device=clip.device).index_put((b, i, j), weights)
    depth = torch.zeros(seen.shape, dtype=torch.float64, device=clip.device).index_put((b, i, j), view_depth)
    return Raster(triangle.int(), barycentric.float(), depth.float())


def _pixel_points(height: int, width: int, device) -> Tensor:
    """[H, W, 3] homogeneous NDC points of the pixel centers, double."""
    x = (torch.arange(width, device=device, dtype=torch.float64) + 0.5) * (2 / width) - 1
    y = 1 - (torch.arange(height, device=device, dtype=torch.float64) + 0.5) * (2 / height)
    y, x = torch.meshgrid(y, x, indexing="ij")
    return torch.stack([x, y, torch.ones_like(x)], dim=-1)
