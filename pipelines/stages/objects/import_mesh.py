"""A mesh from elsewhere as a Scene, so that the mesh stage can refine it under a reference picture and priors.

Two ways: the surface stays exactly as it is and only its colors are learned ("untouched"), or it becomes a signed
distance on a tetrahedral grid whose shape may change, too ("refinable").  In both the color field first learns the
mesh's own colors, so that refinement starts from what is there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Literal, get_args

import torch
from torch import Tensor

from ...core.errors import InputError, StopStage
from ...core.mesh import Mesh
from ...core.randomness import step_generator
from ...core.settings import describe
from ...core.step import OnStep, Step, ignore_step
from ...core.views import Views
from ...fields.fixed_surface import FixedSurface
from ...fields.hash_nerf import HashNerf, HashNerfConfig
from ...fields.tet_sdf import TetSdf
from ...io.unwrap import ATLAS_FACES, is_large
from ...ops.closest import closest_point
from ...ops.hashgrid import HashGridConfig
from ...ops.rasterize import rasterize
from ...ops.texture import sample_texture
from ...ops.voxelize import voxelize
from ..inputs.reference import ReferenceView
from ..loop.optimizer import optimizer_of
from ..loop.scene import Scene, pack_reference, to_cpu
from .fit_nerf import new_field
from .place_mesh import Placement, coverage, place_mesh
from .surfaces import pack_surface

Surface = Literal["untouched", "refinable"]
SURFACES = get_args(Surface)
Colors = Literal["mesh", "picture"]
COLORS = get_args(Colors)
NAME = "Mesh import"
CHUNK = 1 << 18
UV_TEST_SIDE = 512  # texels per side of the overlap test
UV_OVERLAP = 1.05  # covered area counted once per triangle over counted once per texel; above, charts overlap


@dataclass(frozen=True)
class ImportConfig:
    """How a mesh becomes a scene.

    surface:    "untouched" (vertices and faces stay, only colors are learned) or "refinable".
    colors:     "mesh" starts from its texture or vertex colors; "picture" ignores them and starts from the
                reference object's mean color, as a mesh without colors does.
    tets:       A15 cells per side of a refinable surface.
    color_field: of the colors; finer than a NeRF's, because texture detail is all it has to hold.
    iterations, samples: of the color fit, and surface points in each.
    reach:      deviation of the color samples off the surface, scene units: colors still mean something when the
                surface moves a little.
    """

    placement: Placement = Placement()
    surface: Surface = "untouched"
    colors: Colors = "mesh"
    tets: int = 40
    color_field: HashNerfConfig = field(
        default_factory=lambda: HashNerfConfig(
            HashGridConfig(levels=10, log2_table=18, base=8, finest=512), hidden=32, layers=1
        )
    )
    iterations: int = 200
    samples: int = 1 << 13
    reach: float = 4e-3
    lr_grid: float = 2e-2
    lr_mlp: float = 5e-3

    def __post_init__(self):
        for name, allowed in (("surface", SURFACES), ("colors", COLORS)):
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} must be one of {allowed}, got {getattr(self, name)!r}")

    def with_detail(self, finest: int) -> "ImportConfig":
        """With so many cells per scene side in the finest level of the colors."""
        grid = replace(self.color_field.grid, finest=finest)
        return replace(self, color_field=replace(self.color_field, grid=grid))


def import_mesh(
    mesh: Mesh,
    reference: ReferenceView,
    config: ImportConfig = ImportConfig(),
    *,
    seed: int = 0,
    device: torch.device | str = "cpu",
    on_step: OnStep = ignore_step,
    told: Sequence[str] = (),
) -> Scene:
    """A Scene of kind "mesh" with 0 iterations done, ready for ``refine_mesh``, rendering or export.

    ``scene.meta["imported"]`` holds the placement, the coverage and a ``report`` for people.
    on_step: hears of the color fit; StopStage ends it with the colors so far.
    told: what reading the mesh changed or left out; the report begins with it.
    Raises InputError for a mesh that is empty, not finite, outside the scene, or without a volume where one is
    needed.
    """
    _check(mesh)
    target, device = reference.views, torch.device(device)
    placed, report = place_mesh(mesh.detach().to("cpu"), target, config.placement)
    seen = coverage(placed, target)
    report = [*told, *report, str(seen)]
    if seen.covered < 0.9 or seen.inside < 0.9:
        report.append("warning: the outlines differ; check the up axis and the turn, or import as 'refinable'")
    color = new_field(config.color_field, seed, device)
    source = _color_source(placed, target, config, report)
    fit_color(color, placed.to(device), source, config, seed, on_step)
    surface = _fixed(placed, color, report) if config.surface == "untouched" else tet_surface(placed, config.tets, color)
    tensors, surface_meta = pack_surface(surface)
    reference_tensors, reference_meta = pack_reference(reference)
    meta = {
        "step": 0, "total": 0, "nerf_total": 0, "switch_step": None, "boundary": None, "seed": seed,
        "field": config.color_field.to_json(), "live_levels": None, "reference": reference_meta, "config": describe(config),
        **surface_meta,
        "imported": {"placement": asdict(config.placement), "coverage": asdict(seen), "report": report},
    }
    return Scene("mesh", {**to_cpu(tensors), **reference_tensors}, meta)


def fit_color(
    color: HashNerf, mesh: Mesh, source, config: ImportConfig, seed: int, on_step: OnStep = ignore_step
) -> None:
    """Teaches ``color`` the colors ``source(face [N], barycentric [N, 3]) -> [N, 3]`` of points on ``mesh``."""
    device = mesh.vertices.device
    optimizer = optimizer_of("adam", color.parameter_groups(config.lr_grid, config.lr_mlp), device)
    base = [group["lr"] for group in optimizer.param_groups]
    area = mesh.face_normals().norm(dim=-1).double().cumsum(0)
    corners = mesh.vertices[mesh.faces]
    try:
        for step in range(config.iterations):
            generator = step_generator(seed, NAME, step)
            for group, rate in zip(optimizer.param_groups, base, strict=True):
                group["lr"] = rate * (1 - 0.9 * step / config.iterations)
            face, weights = _sample(area, config.samples, generator)
            points = (corners[face] * weights[..., None]).sum(1)
            points = points + config.reach * torch.randn(points.shape, generator=generator).to(points)
            loss = (color.albedo(points) - source(face, weights)).square().mean()
            loss.backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=False)
            on_step(Step(NAME, step + 1, config.iterations, {"color": float(loss.detach())}))
    except StopStage:
        pass
    color.requires_grad_(False)


@torch.no_grad()
def tet_surface(mesh: Mesh, n: int, color=None) -> TetSdf:
    """The mesh as signed distances on the A15 grid with ``n`` cells per side; its box follows the mesh.

    Inside is where the winding number, measured along the axes, is not zero; so overlapping parts become one solid,
    reversed faces do not matter and small holes are closed.  Raises InputError when nothing lies inside (a sheet,
    or walls thinner than a tetrahedron).
    """
    device = next(color.parameters()).device if isinstance(color, torch.nn.Module) else mesh.vertices.device
    scale = (mesh.vertices.abs().amax(0) + 0.1).clamp(max=1.0)
    surface = TetSdf(n, scale, color).to(device)
    grid = surface.grid.cpu()
    # Every vertex of the lattice is a multiple of a quarter cell, so a voxel grid of that pitch hits all of them.
    half = 1 / (4 * n)
    solid = voxelize(mesh.vertices / scale, mesh.faces, 4 * n + 1, -1 - half, 1 + half)
    i, j, k = ((grid + 1) * 2 * n).round().long().unbind(-1)
    inside = solid[i, j, k]
    if not bool(inside.any()):
        raise InputError(
            "mesh", "a solid, or walls thicker than a tetrahedron", f"nothing inside it at {n} cells per side",
            "Import it as 'untouched', or enlarge the grid.",
        )
    points = (grid * scale).to(device)
    vertices, faces = mesh.vertices.to(device), mesh.faces.to(device)
    distance = torch.cat([closest_point(part, vertices, faces).distance for part in points.split(CHUNK)])
    edge = float(scale.mean()) / n  # half a cell: the shortest edge of the lattice
    sdf = torch.where(inside.to(device), -distance, distance) / edge
    surface.sdf.copy_(torch.maximum(sdf.clamp(-1, 1), surface.floor))
    return surface


def _check(mesh: Mesh) -> None:
    if not len(mesh.faces) or not float(mesh.face_normals().norm(dim=-1).sum()) > 0:
        raise InputError("mesh", "a mesh with faces that have an area", "none", "Check where it comes from.")
    if not bool(torch.isfinite(mesh.vertices).all()):
        raise InputError("mesh", "finite vertices", "NaN or infinite coordinates", "Repair the mesh first.")


def _color_source(mesh: Mesh, target: Views, config: ImportConfig, report: list[str]):
    """(face, barycentric) -> [N, 3] sRGB: what the color field is taught."""
    if config.colors == "mesh" and mesh.texture is not None:
        report.append("colors start from the mesh's texture")
        assert mesh.uvs is not None and mesh.face_uvs is not None, "a mesh with a texture has both"
        corners, texture = mesh.uvs[mesh.face_uvs], mesh.texture
        return lambda face, weights: _textured(texture, corners, face, weights)
    if config.colors == "mesh" and mesh.vertex_colors is not None:
        report.append("colors start from the mesh's vertex colors")
        colors = mesh.vertex_colors[mesh.faces]
        return lambda face, weights: (colors.to(weights)[face] * weights[..., None]).sum(1)
    weight = target.alpha[..., None]
    mean = ((target.rgb * weight).sum((0, 1, 2)) / weight.sum().clamp_min(1e-6))
    report.append("colors start from the mean color of the picture's object")
    return lambda face, weights: mean.to(weights).expand(len(face), 3)


def _textured(texture: Tensor, corners: Tensor, face: Tensor, weights: Tensor) -> Tensor:
    uv = (corners.to(weights)[face] * weights[..., None]).sum(1)
    return sample_texture(texture.to(weights), uv % 1.0 if bool((uv < 0).any() | (uv > 1).any()) else uv)


def _sample(area: Tensor, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """(face [N], barycentric [N, 3]) of points uniform in area; ``area``: cumulative, any unit."""
    draws = torch.rand(3, count, generator=generator).to(area.device)
    face = torch.searchsorted(area, draws[0].double() * area[-1]).clamp(max=len(area) - 1)
    root, v = draws[1].sqrt(), draws[2]
    return face, torch.stack([1 - root, root * (1 - v), root * v], -1)


def _fixed(mesh: Mesh, color: HashNerf, report: list[str]) -> FixedSurface:
    """The mesh as it is; its UVs only where a new texture can be baked into them."""
    if mesh.uvs is not None and not bakeable(mesh):
        report.append("its texture coordinates tile or overlap, so export makes new ones")
        mesh = replace(mesh, uvs=None, face_uvs=None, texture=None)
    if mesh.uvs is None and is_large(mesh):
        report.append(f"{len(mesh.faces)} faces without texture coordinates: above {ATLAS_FACES} export makes quick ones, charts "
                      "by direction with more seams; decimate the mesh before for better ones")
    return FixedSurface(mesh, color)


def bakeable(mesh: Mesh) -> bool:
    """Whether every face of ``mesh`` has its own texels: UVs inside [0, 1] that do not overlap."""
    if mesh.uvs is None or mesh.face_uvs is None or bool((mesh.uvs < -1e-4).any() | (mesh.uvs > 1 + 1e-4).any()):
        return False
    a, b, c = mesh.uvs[mesh.face_uvs].unbind(1)
    areas = ((b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0]).abs() / 2
    size = mesh.face_normals().norm(dim=-1)
    if float(size[areas == 0].sum()) > 1e-3 * float(size.sum()):
        return False
    u, v = mesh.uvs.float().unbind(-1)
    clip = torch.stack([2 * u - 1, 1 - 2 * v, torch.zeros_like(u), torch.ones_like(u)], dim=-1)
    covered = (rasterize(clip[None], mesh.face_uvs, UV_TEST_SIDE, UV_TEST_SIDE).triangle >= 0).float().mean()
    return 0 < float(areas.sum()) <= UV_OVERLAP * float(covered) + 1e-3
