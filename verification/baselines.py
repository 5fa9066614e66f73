"""What one can do without any learned prior, as a bar for methods to clear."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor

from ..pipelines.core.cameras import Cameras
from ..pipelines.core.errors import InputError
from ..pipelines.core.mesh import Mesh
from ..pipelines.ops.marching_tets import TetTopology, marching_tets
from ..pipelines.ops.tet_grid import a15_grid, rim


def visual_hull_extrusion(
    mask: Tensor, camera: Cameras, rgb: Tensor | None = None, thickness: float | None = None, n: int = 24
) -> Mesh:
    """The cone of sight of the object's outline, cut to a slab through the origin, facing the camera.

    mask:      [H, W] coverage in [0, 1]; camera: one camera of that size; rgb: [H, W, 3] sRGB, projected along the
               line of sight onto ``vertex_colors``.
    thickness: of the slab along the view axis, scene units; default: the smaller side of the outline's bounding
               box at the origin, the best guess for objects that are about as deep as they are wide or high.
    n:         cells per side of the tet grid.  Raises InputError for an empty mask.
    """
    if tuple(mask.shape) != (camera.height, camera.width) or len(camera) != 1:
        raise ValueError(f"mask {tuple(mask.shape)} does not fit the camera's {camera.height} x {camera.width}")
    solid = mask > 0.5
    if not bool(solid.any()):
        raise InputError("mask", "an object", "an empty mask", "Give a picture with alpha or a mask of the object.")
    pixel = float(2 * torch.tan(camera.fovy[0] / 2) * camera.radius[0] / camera.height)
    if thickness is None:
        rows, columns = torch.nonzero(solid.any(1)), torch.nonzero(solid.any(0))
        sides = (rows[-1] - rows[0] + 1, columns[-1] - columns[0] + 1)
        thickness = float(min(sides)) * pixel
    grid, tets = a15_grid(n)
    device = mask.device
    grid, tets = grid.to(device), tets.to(device)
    outline = _sample(_signed_distance(solid)[..., None] * pixel, _project(grid, camera))[:, 0]
    along = grid @ camera.c2w[0, :3, 2].to(device)
    sdf = torch.maximum(outline, along.abs() - thickness / 2)
    sdf = torch.where(rim(grid), sdf.clamp(min=1e-3), sdf)
    vertices, faces = marching_tets(grid, sdf, TetTopology.build(tets, len(grid)))
    if not len(faces):
        raise InputError("mask", "an object larger than a grid cell", "a speck", "Use a larger object or a finer grid.")
    colors = None
    if rgb is not None:
        colors = _sample(_spread(rgb, solid), _project(vertices, camera)).clamp(0, 1)
    return Mesh(vertices, faces, colors)


def _project(points: Tensor, camera: Cameras) -> Tensor:
    """[N, 2] picture coordinates in [-1, 1], y downwards."""
    homogeneous = torch.cat([points, torch.ones_like(points[:, :1])], dim=-1)
    clip = homogeneous @ camera.world_to_clip()[0].to(points).T
    return clip[:, :2] / clip[:, 3:].clamp(min=1e-6) * torch.tensor([1.0, -1.0], device=points.device)


def _sample(picture: Tensor, spots: Tensor) -> Tensor:
    """[N, C] bilinear lookups of [H, W, C]; outside the picture its border continues."""
    values = torch.nn.functional.grid_sample(
        picture.permute(2, 0, 1)[None], spots[None, None], padding_mode="border", align_corners=False
    )
    return values[0, :, 0].T


def _signed_distance(solid: Tensor) -> Tensor:
    """[H, W] pixels to the outline, negative inside.  A picture without background has it at its border."""
    import numpy as np
    from scipy.ndimage import distance_transform_edt

    framed = np.pad(solid.cpu().numpy(), 1)
    # pixel centers next to the outline are half a pixel away from it
    inside, outside = (cast(np.ndarray, distance_transform_edt(where)) - 0.5 for where in (framed, ~framed))
    distance = np.where(framed, -inside, outside)[1:-1, 1:-1]
    return torch.from_numpy(distance.astype(np.float32)).to(solid.device)


def _spread(rgb: Tensor, solid: Tensor) -> Tensor:
    """Background pixels take the color of the nearest object pixel, a pixel inside the outline."""
    import numpy as np
    from scipy.ndimage import binary_erosion, distance_transform_edt

    core = cast(np.ndarray, binary_erosion(solid.cpu().numpy()))
    core = core if core.any() else solid.cpu().numpy()
    row, column = cast(np.ndarray, distance_transform_edt(~core, return_distances=False, return_indices=True))
    return rgb[torch.from_numpy(row).long(), torch.from_numpy(column).long()]
