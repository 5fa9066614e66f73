"""Radiance fields to begin with: a ball, a figure, a mesh, or a finished scene that is to be edited.

DreamFusion (Poole et al. 2022, Sec. 3.2) begins with a blob of density, Magic3D (Lin et al. 2023) with an ellipsoid; here the
field is fitted to the log density of any shape, k * (distance inside) clamped to what a solid and empty space have.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from ...core.errors import InputError
from ...core.mesh import Mesh
from ...core.pulse import beat
from ...core.randomness import on_device, step_generator
from ...ops.occupancy import OccupancyGrid
from ...ops.voxelize import voxelize
from ..inputs.reference import ReferenceView
from ..loop.scene import Scene, pack_reference, to_cpu
from .fit_nerf import NerfConfig, fit_nerf, load_field

Inside = Callable[[Tensor], Tensor]
SOLID, EMPTY, STEEP = 4.0, -4.0, 40.0  # log density, and its slope per scene unit across the surface
STEPS, POINTS, RATE = 200, 4096, 1e-2
CELLS, DEEP = 64, 0.1  # of a mesh's voxels per side; what counts as far inside, scene units
FIGURE = (  # (from, to, radius) of a person's parts, height 1: feet at -0.5
    ((0.0, 0.38, 0.0), (0.0, 0.40, 0.0), 0.10), ((0.0, 0.0, 0.0), (0.0, 0.22, 0.0), 0.12),
    ((-0.14, 0.22, 0.0), (-0.26, -0.06, 0.03), 0.05), ((0.14, 0.22, 0.0), (0.26, -0.06, 0.03), 0.05),
    ((-0.07, -0.04, 0.0), (-0.09, -0.45, 0.0), 0.06), ((0.07, -0.04, 0.0), (0.09, -0.45, 0.0), 0.06),
)


def ball(size: float) -> Inside:
    """Points [N, 3] -> [N] distance inside a ball of diameter ``size``, scene units (negative outside)."""
    return lambda x: size / 2 - x.norm(dim=-1)


def figure(size: float) -> Inside:
    """Distance inside a standing person of height ``size`` who faces +Z, arms hanging off the body."""
    def inside(x: Tensor) -> Tensor:
        depths = []
        for start, stop, radius in FIGURE:
            a, b = (torch.tensor(end, device=x.device) * size for end in (start, stop))
            along = (((x - a) @ (b - a)) / (b - a).square().sum()).clamp(0, 1)
            depths.append(radius * size - (x - a - along[:, None] * (b - a)).norm(dim=-1))
        return torch.stack(depths).amax(0)

    return inside


def mesh_inside(mesh: Mesh) -> Inside:
    """A step across a mesh's surface, from voxels of 1/32 scene unit: DEEP inside, -DEEP outside."""
    solid = voxelize(mesh.vertices, mesh.faces, CELLS).float()
    if not bool(solid.any()):
        raise InputError("mesh", "a closed mesh inside the cube of side 2", "one that encloses nothing",
                         "Use Mesh to Scene's scale and turn, or another shape.")
    grid = torch.nn.functional.avg_pool3d(solid.permute(2, 1, 0)[None, None], 3, 1, 1)

    def inside(x: Tensor) -> Tensor:
        at = grid.to(x.device)
        value = torch.nn.functional.grid_sample(at, x[None, None, None], align_corners=False, padding_mode="zeros")
        return (value.flatten() - 0.5) * 2 * DEEP

    return inside


def initial_scene(reference: ReferenceView, config: NerfConfig, inside: Inside, *, seed: int = 0,
                  color: tuple[float, float, float] = (0.5, 0.5, 0.5), device: torch.device | str = "cpu") -> Scene:
    """A radiance field at step 0 whose surface is that of ``inside``, of one color; stages go on from it."""
    scene = fit_nerf(reference, None, config, until=0, seed=seed, device=device)
    field = load_field(scene, device).train()
    field.live_levels = None
    adam = torch.optim.Adam(field.parameter_groups(RATE, RATE))
    paint = torch.tensor(color, device=device)
    for step in range(STEPS):
        beat("shape", step, STEPS)
        x = 2 * torch.rand(POINTS, 3, generator=step_generator(seed, "initial shape", step)).to(paint) - 1
        wanted = (STEEP * inside(x)).clamp(EMPTY, SOLID)
        wrong = (field.log_density(x) - wanted).square().mean() + (field.albedo(x) - paint).square().mean()
        adam.zero_grad()
        wrong.backward()
        adam.step()
    grid = OccupancyGrid(config.grid_resolution, device)
    with torch.no_grad():
        grid.update(field.density, on_device(step_generator(seed, "initial grid", 0), torch.device(device)))
    kept = {name: value for name, value in scene.tensors.items() if name.startswith("reference/")}
    tensors = {f"field/{k}": v for k, v in field.state_dict().items()} | {f"grid/{k}": v for k, v in grid.state().items()}
    return replace(scene, tensors={**kept, **to_cpu(tensors)})


def restarted(scene: Scene, reference: ReferenceView) -> Scene:
    """A finished radiance field at step 0 under another reference view: what is there, to be changed.

    InputError for a mesh scene, which its stage refines further as it is.
    """
    if scene.kind != "nerf":
        raise InputError("scene", "a NeRF scene", f"a {scene.kind} scene", "DMTet Refine takes a mesh scene as it is.")
    tensors, meta = pack_reference(reference)
    kept = {n: v for n, v in scene.tensors.items() if not n.startswith(("reference/", "optim/", "prior/", "ema/"))}
    left_out = ("updates", "prior", "boundary", "switch_step")
    told = {k: v for k, v in scene.meta.items() if k not in left_out}
    return Scene("nerf", {**kept, **tensors}, {**told, "step": 0, "switch_step": None, "boundary": None, "reference": meta})
