"""A surface as signed distances, displacements and weights on a grid of cubes (FlexiCubes, Shen et al. 2023).

The same place in a scene as ``TetSdf``, whose paper it follows: distances negative inside, a box around the object, color by
the field it came from.  What is more is freedom: 21 weights in each cube move the vertices inside it.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from ..core.errors import InputError
from ..core.mesh import Mesh
from ..ops.flexicubes import WEIGHTS, CubeGrid, CubeWeights, FlexiMesh, find_patches, place_patches
from .first_surface import RIM_DISTANCE, DensityFn, Init, box_around, first_distances, put_inside
from .tet_sdf import ColorFn

CUBES_PER_TET_CELL = 2  # cubes along a side for each cell of ``TetSdf``: both then have about 8 n^3 points
LOOK = 32  # cubes per side, at least, where the object's box is looked for: the box's margin is then wider than one


class FlexiSdf(torch.nn.Module):
    """A deformable closed surface inside the box |x| <= scale.

    n:       as ``TetSdf``'s; 2 n cubes per side, which are about as many grid points.
    sdf:     [V] parameter, negative inside; in units of roughly one grid edge.
    deform:  [V, 3] parameter; inner grid points move by tanh(deform) * half a cube along each axis, those of the rim stay.
    weights: [(2 n)^3, 21] parameter, 0 = plain dual marching cubes (``CubeWeights.from_raw``).
    scale:   [3] buffer, half extents of the box in scene units.
    color:   as ``TetSdf``'s.
    In training mode quads become four triangles, through which the splitting weights get gradients; else two.
    """

    floor: Tensor
    scale: Tensor

    def __init__(self, n: int, scale: Tensor | None = None, color: ColorFn | None = None):
        super().__init__()
        side = CUBES_PER_TET_CELL * n
        self.n, self.cubes = n, CubeGrid((side, side, side))
        rim = self.cubes.border()
        self.register_buffer("floor", torch.where(rim, RIM_DISTANCE, -torch.inf), persistent=False)
        self.register_buffer("scale", torch.ones(3) if scale is None else scale.detach().clone().float().cpu())
        self.sdf = torch.nn.Parameter(torch.ones(len(rim)))
        self.deform = torch.nn.Parameter(torch.zeros(len(rim), 3))
        self.weights = torch.nn.Parameter(torch.zeros((CUBES_PER_TET_CELL * n) ** 3, WEIGHTS))
        self.color = color
        self.deviation: Tensor | None = None
        self.eval()

    @staticmethod
    def from_density(density: DensityFn, n: int, threshold: float, color: ColorFn | None = None,
                     device: torch.device | str = "cpu", init: Init = "log", keep_parts: float = 0.05,
                     fill_cavities: bool = True, points: Tensor | None = None) -> FlexiSdf:
        """The surface density = threshold of a density function; everything as ``TetSdf.from_density``."""
        side = max(CUBES_PER_TET_CELL * n, LOOK)
        looked = CubeGrid((side, side, side))
        scale = box_around(density, looked.points(device), threshold)
        if points is not None and len(points):
            scale = torch.maximum(scale, (points.abs().amax(0) + 1.5 / n).clamp(max=1.0))
        field = FlexiSdf(n, scale, color).to(device)
        sdf = first_distances(density, field._points() * field.scale, grid_edges(field.cubes.cells[0]).to(device), field.floor,
                              threshold, init, keep_parts, fill_cavities)
        with torch.no_grad():
            field.sdf.copy_(sdf)
        return field

    def extract(self) -> Mesh:
        """The current surface, closed and wound outwards; gradients to ``sdf``, ``deform`` and ``weights``.

        Leaves the paper's regularizer L_dev, the mean deviation in scene units, in ``deviation``.  Raises InputError when the
        surface has vanished.
        """
        sdf = torch.maximum(self.sdf, self.floor)
        patches = find_patches(sdf, self.cubes)
        if not len(patches.quads):
            raise InputError(
                "surface", "a signed distance that changes sign inside the box", "no surface at all",
                "Lower the density threshold, or lower the geometry learning rate.",
            )
        made: FlexiMesh = place_patches(patches, sdf, self._moved(), CubeWeights.from_raw(self.weights[patches.cubes]),
                                        self.training)
        self.deviation = made.deviation.mean()
        return Mesh(made.vertices, made.faces)

    @torch.no_grad()
    def include(self, points: Tensor, distance: float = 0.3) -> None:
        """Puts the grid point nearest to each of the points [N, 3] (scene units) inside, by ``distance``."""
        put_inside(self.sdf, self._points() * self.scale, points, distance)

    def albedo(self, x: Tensor) -> Tensor:
        """[N, 3] -> [N, 3] sRGB in [0, 1]; mid gray without a color function."""
        if self.color is None:
            return torch.full_like(x, 0.7)
        return getattr(self.color, "albedo", self.color)(x)

    def _points(self) -> Tensor:
        return self.cubes.points(self.sdf.device)

    def _moved(self) -> Tensor:
        free = torch.isinf(self.floor)[:, None] / self.cubes.cells[0]  # half a cube of the unit box, 0 on the rim
        return (self._points() + torch.tanh(self.deform) * free) * self.scale


@lru_cache(maxsize=1)
def grid_edges(cells: int) -> Tensor:
    """[E, 2] int64 pairs of neighboring points of a cube grid of ``cells`` per side, numbered as ``CubeGrid``'s."""
    with torch.inference_mode(False):  # cached: they must not become inference tensors of the first caller
        index = torch.arange((cells + 1) ** 3).reshape(cells + 1, cells + 1, cells + 1)
        pairs = [torch.stack([index.narrow(axis, 0, cells).reshape(-1), index.narrow(axis, 1, cells).reshape(-1)], -1)
                 for axis in range(3)]
        return torch.cat(pairs)
