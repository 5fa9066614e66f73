"""FlexiCubes: a signed distance on a regular grid becomes a triangle mesh that can move to fit (Shen et al. 2023).

Dual marching cubes with freedom: eight weights alpha per cube scale the distances at its corners before crossings are
interpolated, twelve weights beta average the crossings into the dual vertex, one weight gamma says how quads are split,
and grid points may be displaced.  All of them, and the distance, receive gradients.

Only cubes that the surface crosses take part: ``find_patches`` sees nothing but signs; the caller then makes weights for
``patches.cubes`` (a few per cent of the grid) and ``place_patches`` turns them into a mesh.

Negative is inside (exactly 0 counts as outside); faces are counter-clockwise seen from outside.  The surface is a closed
manifold wherever it stays off the border of the grid (``closed_border``).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .flexicubes_tables import EDGES, cube_tables

CORNERS = 8
WEIGHTS = 21  # 12 beta, 8 alpha, 1 gamma


@dataclass(frozen=True)
class CubeGrid:
    """A box of equal cubes.

    cells: cubes along x, y, z.   low, high: opposite corners of the box.
    Points and cubes are numbered with x slowest and z fastest.
    """

    cells: tuple[int, int, int]
    low: tuple[float, float, float] = (-1.0, -1.0, -1.0)
    high: tuple[float, float, float] = (1.0, 1.0, 1.0)

    def __post_init__(self):
        if min(self.cells) < 1 or any(a >= b for a, b in zip(self.low, self.high, strict=True)):
            raise ValueError(f"a grid needs a cube along each axis and low < high, got {self}")

    @property
    def shape(self) -> tuple[int, int, int]:
        """Points along x, y, z."""
        nx, ny, nz = self.cells
        return nx + 1, ny + 1, nz + 1

    @property
    def cell(self) -> tuple[float, float, float]:
        """Lengths of a cube's sides."""
        x, y, z = ((b - a) / n for a, b, n in zip(self.low, self.high, self.cells, strict=True))
        return x, y, z

    def axes(self, device: torch.device | str = "cpu") -> list[Tensor]:
        """Coordinates of the points along x, y and z."""
        return [
            torch.linspace(a, b, n + 1, device=device) for a, b, n in zip(self.low, self.high, self.cells, strict=True)
        ]

    def points(self, device: torch.device | str = "cpu") -> Tensor:
        """[V, 3] all grid points."""
        return torch.stack(torch.meshgrid(*self.axes(device), indexing="ij"), -1).reshape(-1, 3)

    def corners(self, cubes: Tensor) -> Tensor:
        """[M, 8] int64 grid points at the corners of cubes [M]."""
        _, ny, nz = self.cells
        x, rest = torch.div(cubes, ny * nz, rounding_mode="floor"), cubes % (ny * nz)
        y, z = torch.div(rest, nz, rounding_mode="floor"), rest % nz
        bits = torch.arange(CORNERS, device=cubes.device)
        x, y, z = x[:, None] + (bits & 1), y[:, None] + (bits >> 1 & 1), z[:, None] + (bits >> 2 & 1)
        return (x * (ny + 1) + y) * (nz + 1) + z

    def border(self, device: torch.device | str = "cpu") -> Tensor:
        """[V] bool: the points on the surface of the box."""
        edge = torch.ones(self.shape, dtype=torch.bool, device=device)
        edge[1:-1, 1:-1, 1:-1] = False
        return edge.reshape(-1)


@dataclass(frozen=True)
class CubeWeights:
    """The free weights of M cubes, all positive: beta [M, 12], alpha [M, 8], gamma [M]."""

    beta: Tensor
    alpha: Tensor
    gamma: Tensor

    @staticmethod
    def from_raw(raw: Tensor, scale: float = 0.5) -> "CubeWeights":
        """From unbounded values [M, 21] (12 beta, 8 alpha, gamma; S-C.9).

        beta and alpha become 1 + scale tanh, gamma becomes (1 - scale) / 2 + scale sigmoid.
        """
        beta, alpha, gamma = raw.split((12, 8, 1), dim=-1)
        gamma = torch.sigmoid(gamma[:, 0]) * scale + (1 - scale) / 2
        return CubeWeights(1 + scale * torch.tanh(beta), 1 + scale * torch.tanh(alpha), gamma)


@dataclass(frozen=True)
class Patches:
    """Where the surface runs, without positions (so without gradients).

    cubes:   [M] int64 crossed cubes, ascending.
    corners: [M, 8] int64 grid points.
    slots:   [K] int64, cube (row of ``cubes``) * 12 + edge of every crossing in a cube.
    owner:   [K] int64 dual vertex that a crossing belongs to.
    home:    [N] int64 row of ``cubes`` of each dual vertex.
    quads:   [Q, 4] int64 dual vertices, counter-clockwise seen from outside.
    """

    cubes: Tensor
    corners: Tensor
    slots: Tensor
    owner: Tensor
    home: Tensor
    quads: Tensor


@dataclass(frozen=True)
class FlexiMesh:
    """vertices [N, 3] (N may exceed the vertices in use at an open border), faces [F, 3] int64, and the deviation [D].

    deviation: per dual vertex, mean absolute deviation of its distances to its crossings; their mean is the
               regularizer L_dev of the paper.
    """

    vertices: Tensor
    faces: Tensor
    deviation: Tensor


def closed_border(sdf: Tensor, grid: CubeGrid) -> Tensor:
    """``sdf`` [V] with the grid's border outside, so that a surface that would leave the box is closed there."""
    least = torch.finfo(sdf.dtype).eps
    return torch.where(grid.border(sdf.device), sdf.clamp_min(least), sdf)


def flexicubes(
    sdf: Tensor,
    grid: CubeGrid,
    weights: CubeWeights | None = None,
    points: Tensor | None = None,
    training: bool = False,
) -> FlexiMesh:
    """The zero set of ``sdf`` [V] as a mesh; weights for all cubes [C, ...], or None for plain dual marching cubes.

    points: [V, 3] grid points, displaced where wanted.  For big grids use ``find_patches`` and ``place_patches``.
    """
    patches = find_patches(sdf, grid)
    if weights is not None:
        weights = CubeWeights(*(w[patches.cubes] for w in (weights.beta, weights.alpha, weights.gamma)))
    points = grid.points(sdf.device).to(sdf.dtype) if points is None else points
    return place_patches(patches, sdf, points, weights, training)


@torch.no_grad()
def find_patches(sdf: Tensor, grid: CubeGrid) -> Patches:
    """Crossed cubes, their dual vertices and the quads between them; not differentiable, deterministic."""
    nx, ny, nz = grid.shape
    if sdf.shape != (nx * ny * nz,):
        raise ValueError(f"sdf must be [{nx * ny * nz}], got {tuple(sdf.shape)}")
    if not bool(torch.isfinite(sdf).all()):
        raise ValueError("the signed distance holds NaN or infinite values")
    inside = (sdf < 0).reshape(grid.shape)
    tables = cube_tables().to(sdf.device)
    patterns = _patterns(inside)
    cubes = torch.nonzero((patterns != 0) & (patterns != 255)).reshape(-1)
    pattern = patterns[cubes].long()
    other = _paired_otherwise(cubes, pattern, patterns, tables.trouble, grid)
    ring, count = tables.ring[pattern, other], tables.count[pattern, other]
    first = count.cumsum(0) - count
    vertex = torch.where(ring >= 0, ring + first[:, None], ring)  # [M, 12] dual vertex of each crossing
    slots = torch.nonzero(vertex.reshape(-1) >= 0).reshape(-1)
    home = torch.repeat_interleave(torch.arange(len(cubes), device=sdf.device), count)
    quads = _quads(inside, cubes, vertex, grid)
    return Patches(cubes, grid.corners(cubes), slots, vertex.reshape(-1)[slots], home, quads)


def place_patches(
    patches: Patches, sdf: Tensor, points: Tensor, weights: CubeWeights | None = None, training: bool = False
) -> FlexiMesh:
    """Positions, and triangles from quads.  Differentiable in all of ``sdf`` [V], ``points`` [V, 3] and ``weights``.

    weights:  of ``patches.cubes``, in that order.
    training: a quad becomes four triangles around a center that leans to the diagonal of larger gamma; otherwise two
              along that diagonal.
    """
    cube = torch.div(patches.slots, 12, rounding_mode="floor")
    edge = patches.slots - cube * 12
    corner = torch.tensor(EDGES, device=sdf.device)[edge]  # [K, 2]
    ends = patches.corners[cube[:, None], corner]
    value = sdf[ends]
    if weights is not None:
        value = value * weights.alpha[cube[:, None], corner]
    share = (value[:, 0] / (value[:, 0] - value[:, 1]))[:, None]
    start, end = points[ends[:, 0]], points[ends[:, 1]]
    crossing = start + share * (end - start)
    count = len(patches.home)
    beta = torch.ones_like(share) if weights is None else weights.beta[cube, edge][:, None]
    summed = torch.zeros(count, 4, dtype=crossing.dtype, device=crossing.device)
    summed = summed.index_add(0, patches.owner, torch.cat([crossing * beta, beta], 1))
    vertices = summed[:, :3] / summed[:, 3:]
    gamma = vertices.new_ones(count) if weights is None else weights.gamma[patches.home]
    deviation = _deviation(vertices, crossing, patches.owner)
    if training:
        vertices, faces = _fans(vertices, patches.quads, gamma)
    else:
        faces = _halves(patches.quads, gamma)
    return FlexiMesh(vertices, faces, deviation)


def _patterns(inside: Tensor) -> Tensor:
    """[C] uint8 pattern of every cube from flags [nx, ny, nz] of its corners."""
    flags = inside.to(torch.uint8)
    size = [n - 1 for n in flags.shape]
    out = torch.zeros(size, dtype=torch.uint8, device=flags.device)
    for c in range(CORNERS):
        x, y, z = c & 1, c >> 1 & 1, c >> 2 & 1
        out += flags[x : x + size[0], y : y + size[1], z : z + size[2]] << c
    return out.reshape(-1)


def _paired_otherwise(cubes: Tensor, pattern: Tensor, patterns: Tensor, trouble: Tensor, grid: CubeGrid) -> Tensor:
    """[M] 0 or 1: cubes whose trouble face is their neighbor's trouble face, too."""
    other = torch.zeros_like(cubes)
    face = trouble[pattern]
    rows = torch.nonzero(face >= 0).reshape(-1)
    face = face[rows]
    axis, side = torch.div(face, 2, rounding_mode="floor"), face % 2
    _, ny, nz = grid.cells
    strides = torch.tensor([ny * nz, nz, 1], device=cubes.device)[axis]
    size = torch.tensor(grid.cells, device=cubes.device)[axis]
    place = torch.div(cubes[rows], strides, rounding_mode="floor") % size + 2 * side - 1
    exists = (place >= 0) & (place < size)
    neighbor = torch.where(exists, cubes[rows] + (2 * side - 1) * strides, cubes[rows])
    same = trouble[patterns[neighbor].long()] == axis * 2 + 1 - side
    other[rows] = (exists & same).to(other.dtype)
    return other


def _quads(inside: Tensor, cubes: Tensor, vertex: Tensor, grid: CubeGrid) -> Tensor:
    """[Q, 4] dual vertices of the cubes around every crossed grid edge that has four cubes."""
    edge_of = {frozenset(pair): i for i, pair in enumerate(EDGES)}
    _, ny, nz = grid.cells
    strides = (ny * nz, nz, 1)
    row = torch.full((grid.cells[0] * ny * nz,), -1, dtype=torch.int32, device=cubes.device)
    row[cubes] = torch.arange(len(cubes), dtype=torch.int32, device=cubes.device)
    found = []
    for axis in range(3):
        across, up = (axis + 1) % 3, (axis + 2) % 3
        start = inside.narrow(axis, 0, inside.shape[axis] - 1)
        crossed = start != inside.narrow(axis, 1, inside.shape[axis] - 1)
        for other in (across, up):  # edges on the border have fewer than four cubes
            crossed = crossed.narrow(other, 1, inside.shape[other] - 2)
            start = start.narrow(other, 1, inside.shape[other] - 2)
        place = torch.nonzero(crossed)
        cube = (place * torch.tensor(strides, device=cubes.device)).sum(-1)  # the one with the smallest coordinates
        ring = []
        for a, b in ((0, 0), (1, 0), (1, 1), (0, 1)):  # counter-clockwise seen from the axis' positive end
            low = (1 - a) << across | (1 - b) << up  # where the edge lies in this cube
            edge = edge_of[frozenset((low, low | 1 << axis))]
            ring.append(vertex[row[cube + a * strides[across] + b * strides[up]].long(), edge])
        quad = torch.stack(ring, -1)
        outwards = start[crossed]  # inside at the start: the surface faces the positive end
        found.append(torch.where(outwards[:, None], quad, quad.flip(-1)))
    return torch.cat(found)


def _deviation(vertices: Tensor, crossing: Tensor, owner: Tensor) -> Tensor:
    """[N] mean absolute deviation of the distances from each dual vertex to its crossings."""
    apart = (crossing - vertices[owner]).square().sum(-1)
    distance = torch.where(apart > 0, apart, torch.ones_like(apart)).sqrt() * (apart > 0)
    ones = torch.zeros(len(vertices), dtype=distance.dtype, device=distance.device)
    number = ones.index_add(0, owner, torch.ones_like(distance)).clamp_min(1)
    mean = ones.index_add(0, owner, distance) / number
    return ones.index_add(0, owner, (distance - mean[owner]).abs()) / number


def _halves(quads: Tensor, gamma: Tensor) -> Tensor:
    """[2 Q, 3] each quad cut along the diagonal with the larger product of gamma."""
    a, b, c, d = quads.unbind(-1)
    first = (gamma[a] * gamma[c] > gamma[b] * gamma[d])[:, None, None]
    ac = torch.stack([torch.stack([a, b, c], -1), torch.stack([a, c, d], -1)], 1)
    bd = torch.stack([torch.stack([a, b, d], -1), torch.stack([b, c, d], -1)], 1)
    return torch.where(first, ac, bd).reshape(-1, 3)


def _fans(vertices: Tensor, quads: Tensor, gamma: Tensor) -> tuple[Tensor, Tensor]:
    """Each quad as four triangles around a center between the middles of its diagonals, weighed by gamma."""
    a, b, c, d = vertices[quads].unbind(1)
    g = gamma[quads]
    one, two = (g[:, 0] * g[:, 2])[:, None], (g[:, 1] * g[:, 3])[:, None]
    center = (one * (a + c) + two * (b + d)) / (2 * (one + two))
    middle = torch.arange(len(quads), device=quads.device) + len(vertices)
    faces = torch.stack([quads, quads.roll(-1, -1), middle[:, None].expand(-1, 4)], -1)
    return torch.cat([vertices, center]), faces.reshape(-1, 3)
