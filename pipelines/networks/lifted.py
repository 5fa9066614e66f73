"""What an object looks like from elsewhere, by one look at a reference picture: a lifted volume, rendered.

A convolutional network turns the picture into a volume that is aligned with its pixels: one column of voxels behind
every second pixel.  A voxel says how dense it is and which color it has: how much of the picture's own color where it
projects, and a mixture of a few colors that attention picks from the picture.  So geometry, poses and colors need not
be learnt by heart; the idea of lifting features of a picture and rendering them is GeNVS's (Chan et al. 2023), the
pixel-aligned query PIFu's (Saito et al. 2019), density behind an activation after interpolation DVGO's (Sun et al. 2022).

Units: the frame h = radius * tan(fovy / 2) of the reference camera, half the side of what it sees at its target.  The
volume has coordinates (u, v, w) in [-1, 1]: u right and v up in the picture, w = (depth - radius) / h away from it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..core.cameras import HOME, Cameras
from ..core.far import send

Conv, Linear, Norm = torch.nn.Conv2d, torch.nn.Linear, torch.nn.GroupNorm  # trained, so no host-patched operations
SIDE, COLUMNS, SLICES = 64, 32, 32  # pixels, columns of voxels per side, voxels per column
DENSITY = 25.0  # of a voxel whose raw density has softplus 1, per frame h; opaque within two voxels
EMPTY = -9.0  # raw density where the picture shows nothing
FRAME = HOME.radius * math.tan(HOME.fovy / 2)  # HOME's, scene units
REACH = 0.97  # the volume's half side, frames
PALETTE = 8  # colors that attention picks
WHITE = 0.985  # a pixel this bright in every channel shows nothing
FIELDS = 7  # of a voxel: raw density, share of the own color by channel (3), color of its own (3)


@dataclass(frozen=True)
class Lifted:
    """Volumes of B pictures.

    table:   [1 + 32 N, 7] voxels of the N columns in which a picture shows something, front to back; row 0 is empty.
    columns: [B, 32, 32] first row of each column in ``table``, 0 for none; top row first.
    plane:   [B, 64, 64, 4] the pictures' own colors and what the pixel adds to the raw density behind it.
    """

    table: Tensor
    columns: Tensor
    plane: Tensor

    def repeat(self, times: int) -> "Lifted":
        """Every picture's volume ``times`` times in a row; the table is shared."""
        columns, plane = (x.repeat_interleave(times, 0) for x in (self.columns, self.plane))
        return Lifted(self.table, columns, plane)


class Residual(torch.nn.Module):
    """Two normalized convolutions around a shortcut."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.first, self.second = Conv(inputs, outputs, 3, padding=1), Conv(outputs, outputs, 3, padding=1)
        self.norms = torch.nn.ModuleList([Norm(8, inputs), Norm(8, outputs)])
        self.shortcut = Conv(inputs, outputs, 1) if inputs != outputs else torch.nn.Identity()
        torch.nn.init.zeros_(self.second.weight)

    def forward(self, x: Tensor) -> Tensor:
        """[B, inputs, H, W] -> [B, outputs, H, W]."""
        silu = torch.nn.functional.silu
        return self.shortcut(x) + self.second(silu(self.norms[1](self.first(silu(self.norms[0](x))))))


class Everywhere(torch.nn.Module):
    """Self-attention over all places of a small picture."""

    def __init__(self, width: int, heads: int = 4):
        super().__init__()
        self.norm, self.heads = Norm(8, width), heads
        self.inward, self.outward = Conv(width, 3 * width, 1), Conv(width, width, 1)
        torch.nn.init.zeros_(self.outward.weight)

    def forward(self, x: Tensor) -> Tensor:
        """[B, width, H, W], unchanged in shape."""
        tokens = self.inward(self.norm(x)).flatten(2).unflatten(1, (3, self.heads, -1)).transpose(-1, -2)
        mixed = torch.nn.functional.scaled_dot_product_attention(*(part.contiguous() for part in tokens.unbind(1)))
        return x + self.outward(mixed.transpose(-1, -2).reshape(x.shape))


class LiftNet(torch.nn.Module):
    """The network.  widths: channels at 32, 16 and 8 pixels."""

    def __init__(self, widths: tuple[int, int, int] = (48, 96, 160)):
        super().__init__()
        a, b, c = widths
        self.stem = Conv(6, a, 4, stride=2, padding=1)
        self.position = torch.nn.Parameter(torch.zeros(1, c, 8, 8))
        self.to16 = Conv(a, b, 2, stride=2)
        self.down16, self.to8 = Residual(b, b), Conv(b, c, 2, stride=2)
        self.middle = torch.nn.ModuleList([Residual(c, c), Everywhere(c), Residual(c, c), Everywhere(c), Residual(c, c)])
        self.from8, self.up16 = Conv(c, b, 1), Residual(2 * b, b)
        self.from16, self.up32 = Conv(b, a, 1), Residual(2 * a, a)
        self.last = Norm(8, a)
        self.attention = Conv(a, PALETTE, 1)
        self.voxels = Linear(a + 3 * PALETTE, 96)
        self.fields = Linear(96, SLICES * (1 + 3 + 1 + PALETTE + 3))
        self.fine = Conv(a, 4 * 13, 1)
        last = Conv(16, 1, 3, padding=1)
        self.pixels = torch.nn.ModuleList([Conv(16, 16, 3, padding=1), last])
        with torch.no_grad():
            self.fields.weight.mul_(0.3)
            last.weight.mul_(0.1)

    def features(self, x: Tensor) -> Tensor:
        """[B, 6, 64, 64] -> [B, a, 32, 32]."""
        first = self.stem(x)
        second = self.down16(self.to16(first))
        third = self.to8(second) + self.position
        for block in self.middle:
            third = block(third)
        second = self.up16(torch.cat([_twice(self.from8(third)), second], 1))
        first = self.up32(torch.cat([_twice(self.from16(second)), first], 1))
        return torch.nn.functional.silu(self.last(first))

    def forward(self, pictures: Tensor) -> Lifted:
        """Pictures [B, 64, 64, 3], sRGB in [0, 1] on white, as volumes."""
        colors = pictures.permute(0, 3, 1, 2)
        shown = support(pictures)
        x = torch.cat([colors * 2 - 1, _grid(pictures), shown[:, None].float()], 1)
        features = self.features(x.contiguous(memory_format=torch.channels_last))
        small = torch.nn.functional.avg_pool2d(colors, 2)
        seen = torch.nn.functional.max_pool2d(shown[:, None].float(), 2)[:, 0] > 0
        logits = self.attention(features).masked_fill(~seen[:, None], -1e4)
        palette = torch.einsum("bkn,bcn->bkc", logits.flatten(2).softmax(-1), small.flatten(2))  # [B, K, 3]
        batch, row, column = seen.nonzero(as_tuple=True)
        table = self._table(features[batch, :, row, column], palette[batch], small[batch, :, row, column])
        first = torch.zeros(seen.shape, dtype=torch.long, device=seen.device)
        first[batch, row, column] = 1 + SLICES * torch.arange(len(batch), device=seen.device)
        fine = torch.nn.functional.pixel_shuffle(self.fine(features), 2)
        detail = torch.nn.functional.silu(self.pixels[0](torch.cat([fine, colors * 2 - 1], 1)))
        plane = torch.cat([colors, self.pixels[1](detail)], 1).permute(0, 2, 3, 1)
        return Lifted(table, first, plane.contiguous())

    def _table(self, features: Tensor, palette: Tensor, own: Tensor) -> Tensor:
        """[N, a], [N, K, 3], [N, 3] -> [1 + 32 N, 7]."""
        hidden = torch.nn.functional.silu(self.voxels(torch.cat([features, palette.flatten(1)], 1)))
        raw = self.fields(hidden).unflatten(1, (SLICES, -1))  # [N, 32, 4 + K + 4]
        density, tint, choice, rest = raw.split([1, 3, PALETTE + 1, 3], -1)
        share = torch.sigmoid(choice[..., :1] + 2.0)
        likely = torch.exp(choice[..., 1:].clamp(-9, 9))
        picked = likely @ palette / likely.sum(-1, keepdim=True)
        voxels = torch.cat([density - 4.0, share * torch.exp(0.5 * tint), (1 - share) * picked + 0.3 * rest], -1)
        empty = voxels.new_tensor([EMPTY] + [0.0] * (FIELDS - 1))[None]
        return torch.cat([empty, voxels.flatten(0, 1)])


def support(pictures: Tensor) -> Tensor:
    """[B, 64, 64] bool: where pictures [B, 64, 64, 3] on white may show something.

    Pixels that are not white, those between two of them in their row and in their column, and two pixels around.
    """
    there = pictures.amin(-1) < WHITE

    def between(x: Tensor, axis: int) -> Tensor:
        return x.cummax(axis).values * x.flip(axis).cummax(axis).values.flip(axis)

    seen = there.float()
    filled = torch.maximum(seen, between(seen, 1) * between(seen, 2))
    return torch.nn.functional.max_pool2d(filled[:, None], 5, stride=1, padding=2)[:, 0] > 0


def at_home(cameras: Cameras, reference: Cameras) -> Cameras:
    """``cameras`` [B] as they would stand if ``reference`` (one camera, or B) stood at HOME and its target at the origin.

    Distances shrink as the frames do, so that what fills the reference's picture fills HOME's.
    """
    moved = reference.w2c().to(cameras.c2w) @ cameras.c2w
    radius, tan = reference.radius.to(moved), torch.tan(reference.fovy.to(moved) / 2)
    backward = send(torch.tensor([0.0, 0.0, 1.0]), moved.device) * radius[:, None]
    moved[:, :3, 3] = (moved[:, :3, 3] + backward) * (FRAME / (radius * tan))[:, None]
    return replace(cameras, c2w=moved)


def relative(cameras: Cameras, reference: Cameras) -> tuple[Tensor, Tensor]:
    """Rays of ``cameras`` [B] in frames of ``reference`` (one camera, or B): origins and unit directions [B, H, W, 3].

    Axes: the reference camera's right, up and backward; origin: its target, taken to be the world's.
    """
    rays = at_home(cameras, reference).rays()
    return rays.origins / FRAME, torch.nn.functional.normalize(rays.directions, dim=-1)


def crossing(origins: Tensor, directions: Tensor) -> tuple[Tensor, Tensor]:
    """Entry and exit [...] of rays [..., 3] through the cube of half side REACH; equal where they miss it."""
    safe = torch.where(directions.abs() < 1e-6, torch.full_like(directions, 1e-6), directions)
    one, two = (-REACH - origins) / safe, (REACH - origins) / safe
    near = torch.minimum(one, two).amax(-1)
    far = torch.maximum(one, two).amin(-1)
    return near, torch.maximum(near, far)


def project(points: Tensor, tan: Tensor) -> Tensor:
    """Points [..., 3] in frames -> (u, v, w) [..., 3]; tan: of half the reference's field of view, broadcastable.

    Closed form: at depth radius + w h a point x lies at u = x / (1 + w tan), for radius = h / tan.
    """
    w = -points[..., 2]
    scale = 1 / (1 + w * tan)
    return torch.stack([points[..., 0] * scale, points[..., 1] * scale, w], -1)


def sum_rows(index: Tensor, table: Tensor, weight: Tensor) -> Tensor:
    """[N, C] weighted sums of the rows ``index`` [N, K] of a table [M, C], weights [N, K]."""
    return torch.nn.functional.embedding_bag(index, table, per_sample_weights=weight, mode="sum")


def render(lifted: Lifted, origins: Tensor, directions: Tensor, tan: Tensor, samples: int, jitter: Tensor | None = None,
           gather=sum_rows) -> Tensor:
    """Colors and coverage [B, R, 4] of rays [B, R, 3] in frames, on white.

    tan: [B] tangent of half the reference's field of view.  samples: per ray, spread evenly over what it crosses.
    jitter: [B, R, samples] in [0, 1), where in its interval a sample lies; the middle without.
    gather: :func:`sum_rows` or the same with a faster gradient.
    """
    near, far = crossing(origins, directions)
    step = (far - near)[..., None] / samples
    place = torch.arange(samples, device=near.device) + (0.5 if jitter is None else jitter)
    points = origins[..., None, :] + directions[..., None, :] * (near[..., None] + step * place)[..., None]
    uvw = project(points, tan[:, None, None])
    row, column = (((s * uvw[..., i] + 1) / 2 * COLUMNS).floor().long() for i, s in ((1, -1), (0, 1)))
    inside = (step > 0) & (uvw[..., :2].abs().amax(-1) < 1) & (uvw[..., 2].abs() < 1)
    batch = torch.arange(len(origins), device=near.device)[:, None, None].expand_as(row)
    inside &= lifted.columns[batch, row.clamp(0, COLUMNS - 1), column.clamp(0, COLUMNS - 1)] > 0
    where = inside.flatten().nonzero()[:, 0]
    owner, uvw = batch.flatten()[where], uvw.reshape(-1, 3)[where]
    plane = gather(*_bilinear(lifted.plane.shape, owner, uvw, lifted.plane))
    voxel = gather(*_trilinear(lifted, owner, uvw))
    optical = DENSITY * torch.nn.functional.softplus(voxel[:, 0] + plane[:, 3])
    color = voxel[:, 1:4] * plane[:, :3] + voxel[:, 4:]
    length = step.expand(*inside.shape).flatten()[where]
    depth = torch.zeros(inside.numel(), device=near.device).index_put((where,), optical * length).view(inside.shape)
    colors = torch.zeros(inside.numel(), 3, device=near.device).index_put((where,), color).view(*inside.shape, 3)
    before = torch.exp(depth - depth.cumsum(-1))
    weight = before * (1 - torch.exp(-depth))
    alpha = weight.sum(-1, keepdim=True)
    return torch.cat([(weight[..., None] * colors).sum(-2) + 1 - alpha, alpha], -1)


@torch.no_grad()
def look(lifted: Lifted, origins: Tensor, directions: Tensor, tan: Tensor, samples: int) -> Tensor:
    """:func:`render` without jitter and gradients, to rounding: one pass over the rays, in a fraction of the time."""
    from ..ops.kernels.launch import launch
    from ..ops.kernels.lifted_kernels import look as kernel

    batch, rays = origins.shape[:2]
    bounds = torch.stack(crossing(origins, directions), -1)
    out = torch.empty(batch, rays, 4, device=origins.device)
    inputs = (rays, samples, SLICES, DENSITY, origins.flatten(0, 1), directions.flatten(0, 1), bounds.flatten(0, 1), tan,
              lifted.table, lifted.columns.int(), lifted.plane)
    launch(kernel, batch * rays, inputs, (out.flatten(0, 1),), origins.device, split=batch * rays)
    return out


def _twice(x: Tensor) -> Tensor:
    return torch.nn.functional.interpolate(x, scale_factor=2, mode="nearest")


def _grid(pictures: Tensor) -> Tensor:
    """[B, 2, 64, 64] pixel coordinates in [-1, 1]."""
    line = (torch.arange(SIDE, device=pictures.device) + 0.5) / SIDE * 2 - 1
    both = torch.stack(torch.meshgrid(line, line, indexing="ij"))
    return both[None].expand(len(pictures), -1, -1, -1)


def _corners(position: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Two neighbors [N, 2] and their weights [N, 2] of a position [N] in cells, cell centers at + 0.5; edges repeat."""
    low = (position - 0.5).floor()
    part = position - 0.5 - low
    both = torch.stack([low, low + 1], -1).clamp(0, size - 1).long()
    return both, torch.stack([1 - part, part], -1)


def _bilinear(shape, owner: Tensor, uvw: Tensor, plane: Tensor):
    """What ``gather`` wants for pixels of ``plane`` at (u, v)."""
    _, height, width, _ = shape
    x, wx = _corners((uvw[:, 0] + 1) / 2 * width, width)
    y, wy = _corners((1 - uvw[:, 1]) / 2 * height, height)
    index = owner[:, None, None] * (height * width) + y[:, :, None] * width + x[:, None, :]
    return index.flatten(1), plane.flatten(0, 2), (wy[:, :, None] * wx[:, None, :]).flatten(1)


def _trilinear(lifted: Lifted, owner: Tensor, uvw: Tensor):
    """What ``gather`` wants for voxels at (u, v, w); columns without voxels give the empty row."""
    x, wx = _corners((uvw[:, 0] + 1) / 2 * COLUMNS, COLUMNS)
    y, wy = _corners((1 - uvw[:, 1]) / 2 * COLUMNS, COLUMNS)
    z, wz = _corners((uvw[:, 2] + 1) / 2 * SLICES, SLICES)
    first = lifted.columns[owner[:, None, None], y[:, :, None], x[:, None, :]].flatten(1)  # [N, 4]
    index = torch.where(first[..., None] > 0, first[..., None] + z[:, None, :], first[..., None])
    weight = (wy[:, :, None] * wx[:, None, :]).flatten(1)[..., None] * wz[:, None, :]
    return index.flatten(1), lifted.table, weight.flatten(1)
