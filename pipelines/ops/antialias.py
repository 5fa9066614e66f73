"""Silhouettes that move smoothly: coverage between pixel centers, with gradients to the vertices.

The idea of blending neighboring pixels by where a silhouette edge crosses the line between their centers is of
Laine et al., "Modular Primitives for High-Performance Differentiable Rendering", 2020.  There only the edges of the
two pixels' own triangles are candidates, which loses the silhouette on triangles smaller than a pixel.  Here the
surface is followed, triangle by triangle, from the nearer pixel towards the farther until it folds or ends.
"""

from __future__ import annotations

import weakref
from dataclasses import dataclass

import torch
from torch import Tensor

from ..core.far import far
from .kernels import blend as blends
from .kernels import silhouette as kernels
from .kernels.launch import PIECE, launch, runs
from .mesh_edges import face_edges
from .rasterize import Raster


@dataclass(frozen=True)
class Topology:
    """Who is next to whom.

    neighbor: [F, 3] int32, the face across the edge from corner k to corner k + 1, -1 where the edge belongs to
               one face only or to more than two.
    """

    neighbor: Tensor


def edge_topology(faces: Tensor) -> Topology:
    """The face adjacency of [F, 3] int64 faces; O(F log F)."""
    count = len(faces)
    ordered, order, stride = face_edges(faces)
    # An edge from a vertex to itself joins nobody; its key is a multiple of stride + 1, and no other's is.
    same = (ordered[1:] == ordered[:-1]) & (ordered[1:] % (stride + 1) != 0)
    ends = torch.zeros(1, dtype=torch.bool, device=faces.device)
    alone = same & ~torch.cat([ends, same[:-1]]) & ~torch.cat([same[1:], ends]) if len(same) else same
    neighbor = torch.full((3 * count,), -1, dtype=torch.int32, device=faces.device)
    if far(faces.device):  # places that nobody counts: edges that are not alone are written behind the end
        first, second = order[:-1], order[1:]
        for here, there in ((first, second), (second, first)):
            whole = torch.cat([neighbor, neighbor.new_zeros(1)])
            neighbor = whole.scatter_(0, torch.where(alone, here, 3 * count), (there // 3).int())[:-1]
        return Topology(neighbor.reshape(count, 3))
    first, second = order[:-1][alone], order[1:][alone]
    neighbor[first] = (second // 3).int()
    neighbor[second] = (first // 3).int()
    return Topology(neighbor.reshape(count, 3))


_recent: tuple | None = None  # (weak reference to faces, version, Topology): a fixed mesh is rendered many times


def cached_topology(faces: Tensor) -> Topology:
    """:func:`edge_topology`, remembered for the most recent ``faces`` tensor."""
    global _recent
    if faces.is_inference():  # no version counter: changes in place would go unseen
        return edge_topology(faces)
    recent = _recent
    if recent is not None and recent[0]() is faces and recent[1] == faces._version:
        return recent[2]
    topology = edge_topology(faces)
    _recent = (weakref.ref(faces), faces._version, topology)
    return topology


def antialias(color: Tensor, raster: Raster, clip: Tensor, faces: Tensor, topology: Topology | None = None) -> Tensor:
    """[B, H, W, C] with silhouettes blended; differentiable with respect to ``color`` and ``clip``.

    color: [B, H, W, C] of the same pixels as ``raster``, which must come from ``clip`` and ``faces``.
    Where a silhouette crosses the way between two pixel centers at t in [0, 1] from the nearer surface's pixel, the
    nearer color is extended into the other pixel by t - 1/2 (or cut back by 1/2 - t), so the covered area moves
    with the edge at the right rate.  A piece of contour is seen along rows if it is steep, else along columns.
    On the CPU the result is the same to the last bit every time; on CUDA atomic sums may differ in rounding.
    """
    topology = cached_topology(faces) if topology is None else topology
    slots, codes = silhouette_pairs(raster, clip, faces, topology)
    if not len(slots):
        return color
    return _Blend.apply(color, clip, faces, slots, codes)


def silhouette_pairs(raster: Raster, clip: Tensor, faces: Tensor, topology: Topology) -> tuple[Tensor, Tensor]:
    """(slots [K] int64, codes [B*H*W*2] int32) of the pixel pairs with a silhouette in between; on far devices all slots.

    Slot 2 p + axis is the pair of flat pixel p and its right (0) or lower (1) neighbor; its code is
    2 (3 face + edge) + (1 where that neighbor owns the edge), -1 elsewhere.
    """
    views, height, width = raster.triangle.shape
    codes = torch.empty((views, height, width, 2), dtype=torch.int32, device=clip.device)
    run, spans = runs(clip.device, width)
    inputs = [clip, faces, topology.neighbor, raster.triangle, raster.depth, run]
    launch(kernels.find_silhouettes, (views * height, spans), inputs, [codes], clip.device, split=64, piece=PIECE // run)
    codes = codes.reshape(-1)
    if far(codes.device):  # the kernels skip pairs without one
        return torch.arange(len(codes), device=codes.device), codes
    return (codes >= 0).nonzero().reshape(-1), codes


class _Blend(torch.autograd.Function):
    @staticmethod
    def forward(ctx, color, clip, faces, slots, codes):
        color, clip = color.contiguous(), clip.contiguous()
        ctx.save_for_backward(color, clip, faces, slots, codes)
        out = color.clone()
        launch(blends.blend_forward, len(slots), [slots, codes, clip, faces, color], [out], color.device)
        return out

    @staticmethod
    def backward(ctx, grad):
        color, clip, faces, slots, codes = ctx.saved_tensors
        grad = grad.contiguous()
        grad_color = grad.clone()
        shape = clip.shape if ctx.needs_input_grad[1] else (0, 0, 4)
        grad_clip = torch.zeros(shape, device=clip.device)
        inputs = [slots, codes, clip, faces, color, grad]
        launch(blends.blend_backward, len(slots), inputs, [grad_color, grad_clip], color.device)
        return grad_color, grad_clip if ctx.needs_input_grad[1] else None, None, None, None


def antialias_reference(color: Tensor, raster: Raster, clip: Tensor, faces: Tensor) -> Tensor:
    """The specification of :func:`antialias` in plain Python and torch, pair by pair; autograd differentiates it."""
    views, height, width, _ = color.shape
    scale = torch.tensor([width / 2, -height / 2], dtype=torch.float64, device=clip.device)
    middle = torch.tensor([(width - 1) / 2, (height - 1) / 2], dtype=torch.float64, device=clip.device)
    screen = clip.double()[..., :2] / clip.double()[..., 3:] * scale + middle  # [B, V, (column, row)]
    out = color.clone()
    for view in range(views):
        surface = _Surface(screen[view], clip[view, :, 3], faces, clip[view].detach().double(), (height, width))
        for axis in (0, 1):
            for row in range(height - axis):
                for column in range(width - 1 + axis):
                    here, there = (row, column), (row + axis, column + 1 - axis)
                    _blend_pair(out, color, raster, surface, view, here, there, axis)
    return out


def _blend_pair(out, color, raster, surface: "_Surface", view: int, here: tuple, there: tuple, axis: int) -> None:
    """Adds what one pixel pair contributes to ``out``."""
    ids = [int(raster.triangle[view][p]) for p in (here, there)]
    if ids[0] == ids[1] or (min(ids) >= 0 and surface.joined(*ids)):
        return
    depths = [float(raster.depth.detach()[view][p]) for p in (here, there)]
    swapped = ids[0] < 0 or (ids[1] >= 0 and depths[1] < depths[0])
    ways = [((here, there), ids[0], ids[1]), ((there, here), ids[1], ids[0])]
    for (near, beyond), start, goal in ways[::-1] if swapped else ways:
        if start < 0:
            continue
        state, edge = surface.walk(start, near, beyond, goal)
        if state == "arrived":
            return
        if state == "silhouette" and edge is not None:
            if surface.steep(*edge) == (axis == 0):
                t = surface.crossing(edge[1], near, beyond)
                step = (color[view][near] - color[view][beyond]) * (t - 0.5)
                target = beyond if t > 0.5 else near
                out[view, target[0], target[1]] = out[view, target[0], target[1]] + step.float()
            return


class _Surface:
    """One view of a mesh, walked in Python."""

    def __init__(self, screen: Tensor, w: Tensor, faces: Tensor, clip: Tensor, size: tuple[int, int]):
        self.screen, self.clip, self.size = screen, clip, size
        self.points, self.w, self.faces = screen.detach().tolist(), w.detach().tolist(), faces.tolist()
        self.owners: dict = {}
        for index, face in enumerate(self.faces):
            for k in range(3):
                if face[k] != face[(k + 1) % 3]:
                    self.owners.setdefault(frozenset((face[k], face[(k + 1) % 3])), []).append(index)

    def beyond(self, face: int, edge: frozenset) -> int:
        """The one other face at an edge, -1 for none or several."""
        owners = self.owners[edge]
        return sum(owners) - face if len(owners) == 2 else -1

    def joined(self, first: int, second: int) -> bool:
        corners = self.faces[first]
        edges = [frozenset((corners[k], corners[(k + 1) % 3])) for k in range(3)]
        return any(len(e) == 2 and self.beyond(first, e) == second for e in edges)

    def frame(self, vertex: int, near: tuple, far: tuple) -> tuple[float, float]:
        """(t along the way, s across)."""
        column, row = self.points[vertex]
        along_row, along_column = far[0] - near[0], far[1] - near[1]
        t = (row - near[0]) * along_row + (column - near[1]) * along_column
        return t, (row - near[0]) if along_row == 0 else (column - near[1])

    def cut(self, a: int, b: int, near: tuple, far: tuple) -> float:
        (ta, sa), (tb, sb) = self.frame(a, near, far), self.frame(b, near, far)
        return ta + (tb - ta) * sa / (sa - sb)

    def walk(self, start: int, near: tuple, far: tuple, goal: int):
        """("silhouette", (face, edge)), ("arrived", None) at the face ``goal``, or ("nothing", None)."""
        face, entered = start, None
        for _ in range(512):
            corners = self.faces[face]
            if min(self.w[v] for v in corners) <= 1e-6:
                return "nothing", None
            above = {v: self.frame(v, near, far)[1] >= 0 for v in corners}
            edges = [(corners[k], corners[(k + 1) % 3]) for k in range(3)]
            exits = [e for e in edges if above[e[0]] != above[e[1]] and frozenset(e) != entered]
            if not exits:
                return "nothing", None
            edge = max(exits, key=lambda e: self.cut(*e, near, far))
            if self.cut(*edge, near, far) >= 1:
                return ("arrived" if face == goal else "nothing"), None
            beyond = self.beyond(face, frozenset(edge))
            if beyond < 0 or self.folds(edge, beyond, near, far):
                return "silhouette", (face, edge)
            face, entered = beyond, frozenset(edge)
        return "nothing", None

    def folds(self, edge: tuple, beyond: int, near: tuple, far: tuple) -> bool:
        """Whether the face beyond an edge turns back under the way."""
        u, v = sorted(edge, key=lambda x: -(self.frame(x, near, far)[1] >= 0))
        (third,) = set(self.faces[beyond]) - set(edge)
        (tu, su), (tv, sv), (tw, sw) = (self.frame(x, near, far) for x in (u, v, third))
        return (tv - tu) * (sw - su) - (sv - su) * (tw - tu) <= 0

    def steep(self, face: int, edge: tuple) -> bool:
        """Whether the contour at an edge is to be seen along rows."""
        (xa, ya), (xb, yb) = self.points[edge[0]], self.points[edge[1]]
        beyond = self.beyond(face, frozenset(edge))
        if beyond < 0 or (xa - xb) ** 2 + (ya - yb) ** 2 >= 1.5**2:
            return abs(ya - yb) >= abs(xa - xb)
        corners = self.clip[torch.tensor([self.faces[face], self.faces[beyond]])][..., [0, 1, 3]]
        normals = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        x, y, _ = torch.nn.functional.normalize(normals, dim=-1).sum(0).abs().tolist()
        return x * self.size[0] >= y * self.size[1]

    def crossing(self, edge: tuple, near: tuple, far: tuple) -> Tensor:
        """t of an edge on the way, differentiable with respect to the clip positions."""
        (xa, ya), (xb, yb) = self.screen[edge[0]], self.screen[edge[1]]
        if near[0] == far[0]:
            return ((xa + (xb - xa) * (near[0] - ya) / (yb - ya)) - near[1]) * (far[1] - near[1])
        return ((ya + (yb - ya) * (near[1] - xa) / (xb - xa)) - near[0]) * (far[0] - near[0])
