"""A surface as signed distances and small displacements on a tetrahedral grid (DMTet).

Shen et al., "Deep Marching Tetrahedra" (2021), as used by Magic123 and Consistent123 (M-E),
with this project's sign: negative inside.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..core.errors import InputError
from ..core.mesh import Mesh
from ..ops.marching_tets import TetTopology, place
from ..ops.tet_band import Band
from ..ops.tet_grid import rim
from ..ops.tet_lattice import a15_topology
from .first_surface import RIM_DISTANCE, DensityFn, Init, box_around, first_distances, put_inside

ColorFn = Callable[[Tensor], Tensor]


class TetSdf(torch.nn.Module):
    """A deformable closed surface inside the box |x| <= scale.

    sdf:    [V] parameter, negative inside; in units of roughly one grid edge, any value is legal.
    deform: [V, 3] parameter; grid vertices move by tanh(deform) * ``reach`` along each axis.
    scale:  [3] buffer, half extents of the box in scene units.
    reach:  float, scene units; 1 / (4 n) is the published "tanh(d) / resolution" (M-E.3).
    color:  [N, 3] points -> [N, 3] sRGB in [0, 1], usually the NeRF the surface came from; a Module
            becomes a submodule, so its parameters are trained and saved with the surface.
    """

    grid: Tensor
    floor: Tensor
    scale: Tensor

    def __init__(self, n: int, scale: Tensor | None = None, color: ColorFn | None = None):
        super().__init__()
        self.n = n
        self.reach = 1.0 / (4 * n)
        grid, _ = a15_topology(n)
        self.register_buffer("grid", grid, persistent=False)
        self.register_buffer("floor", torch.where(rim(grid), RIM_DISTANCE, -torch.inf), persistent=False)
        self.register_buffer("scale", torch.ones(3) if scale is None else scale.detach().clone().float().cpu())
        self.sdf = torch.nn.Parameter(torch.ones(len(grid)))
        self.deform = torch.nn.Parameter(torch.zeros(len(grid), 3))
        self.color = color
        self._moved_topology = a15_topology(n)[1]
        self._band = Band(self._moved_topology)

    @staticmethod
    def from_density(
        density: DensityFn,
        n: int,
        threshold: float,
        color: ColorFn | None = None,
        device: torch.device | str = "cpu",
        init: Init = "log",
        keep_parts: float = 0.05,
        fill_cavities: bool = True,
        points: Tensor | None = None,
    ) -> TetSdf:
        """The surface density = threshold of a density function (M-E.3).

        density:   [N, 3] scene units -> [N] >= 0.
        threshold: the occupancy grid's min(mean density, 10) in the papers; must be positive.
        init:      "clamp" is the papers' clamp(threshold - density, -1, 1); "log" interpolates the logarithm of
                   the density, in which a NeRF is close to linear, and so starts without staircase.
        keep_parts: connected parts with fewer grid vertices than this fraction of the largest are dropped.
        fill_cavities: enclosed hollows become solid (the inside of a NeRF is not observed).
        points: [N, 3] scene units; the grid's box reaches beyond all of them too.
        Raises InputError when nothing lies above the threshold.
        """
        scale = box_around(density, a15_topology(n)[0].to(device), threshold)
        if points is not None and len(points):
            scale = torch.maximum(scale, (points.abs().amax(0) + 1.5 / n).clamp(max=1.0))
        field = TetSdf(n, scale, color).to(device)
        sdf = first_distances(density, field.grid * field.scale, field._topology().edges, field.floor, threshold, init,
                              keep_parts, fill_cavities)
        with torch.no_grad():
            field.sdf.copy_(sdf)
        return field

    def extract(self) -> Mesh:
        """The current surface, closed and wound outwards; gradients to ``sdf`` and ``deform``.

        Raises InputError when the surface has vanished.
        """
        sdf = torch.maximum(self.sdf, self.floor)
        topology = self._topology()
        if self._band.whole is not topology:
            self._band = Band(topology)
        crossing = self._band.crossing(sdf)
        if not len(crossing.faces):
            raise InputError(
                "surface", "a signed distance that changes sign inside the box", "no surface at all",
                "Lower the density threshold, or lower the geometry learning rate.",
            )
        inside, outside = crossing.inside, crossing.outside
        vertices = place(self._position(inside), self._position(outside), sdf[inside], sdf[outside])
        return Mesh(vertices, crossing.faces)

    @torch.no_grad()
    def include(self, points: Tensor, distance: float = 0.3) -> None:
        """Puts the grid vertex nearest to each of the points [N, 3] (scene units) inside, by ``distance``.

        The surface then encloses a little volume there: room for parts thinner than a tetrahedron.
        """
        put_inside(self.sdf, self.grid * self.scale, points, distance)

    def albedo(self, x: Tensor) -> Tensor:
        """[N, 3] -> [N, 3] sRGB in [0, 1]; mid gray without a color function."""
        if self.color is None:
            return torch.full_like(x, 0.7)
        return getattr(self.color, "albedo", self.color)(x)  # a radiance field, or a plain function

    def _position(self, index: Tensor) -> Tensor:
        return self.grid[index] * self.scale + torch.tanh(self.deform[index]) * self.reach

    def _topology(self) -> TetTopology:
        if self._moved_topology.tets.device != self.sdf.device:
            self._moved_topology = a15_topology(self.n)[1].to(self.sdf.device)
        return self._moved_topology
