"""Pictures and meshes of finished or half finished scenes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from ...core.cameras import HOME, Cameras, turntable
from ...core.mesh import Mesh
from ...core.pulse import beat
from ...core.views import RenderBuffers
from ...fields.tet_sdf import TetSdf
from ...render.shading import MODES, Mode, Shading, headlight
from ...render.surface import render_surface
from ...render.volume import VolumeSettings, render_volume
from ..loop.scene import Scene
from ..objects.fit_nerf import load_field, load_grid, nerf_threshold
from ..objects.refine_mesh import load_surface

AMBIENT = 0.4  # share of light without direction in lit pictures for people
CHUNK = 1 << 17  # color queries at once
BATCH = 4  # views rendered at once


@torch.no_grad()
def render_scene(
    scene: Scene,
    cameras: Cameras,
    *,
    shading: Mode = "albedo",
    want_normal: bool = True,
    device: torch.device | str = "cpu",
    supersample: int = 1,
) -> RenderBuffers:
    """Pictures [B, H, W] of a scene, on the CPU, without gradients.

    shading: "albedo", "lambertian" or "textureless" (lit from the camera) or "normal".
    supersample: samples per pixel side, surfaces only.
    """
    if shading not in MODES:
        raise ValueError(f"shading must be one of {MODES}, got {shading!r}")
    cameras = cameras.to(device)
    draw = _surface_drawer if scene.kind == "mesh" else _volume_drawer
    view = draw(scene, want_normal, device, supersample)
    size = 1 if shading in ("lambertian", "textureless") else BATCH
    parts = [cameras[i : i + size] for i in range(0, len(cameras), size)]
    done = []
    for index, part in enumerate(parts):
        beat("rendering", index, len(parts))
        done.append(view(part, Shading(shading, AMBIENT, headlight(part))))
    return _join(done)


@torch.no_grad()
def render_mesh(mesh: Mesh, cameras: Cameras, *, want_normal: bool = True, supersample: int = 1) -> RenderBuffers:
    """Pictures [B, H, W] of a mesh, a few views at a time, without gradients."""
    done = []
    for index in range(0, len(cameras), BATCH):
        beat("rendering", index, len(cameras))
        done.append(render_surface(mesh, cameras[index : index + BATCH], supersample=supersample, want_normal=want_normal))
    return _join(done)


def scene_albedo(scene: Scene, device: torch.device | str = "cpu") -> Callable[[Tensor], Tensor]:
    """[N, 3] points (scene units) -> [N, 3] sRGB on the CPU; any N in bounded memory."""
    field = load_field(scene, device)

    @torch.no_grad()
    def albedo(x: Tensor) -> Tensor:
        return torch.cat([field.albedo(part.to(device)) for part in x.split(CHUNK)]).cpu()

    return albedo


@torch.no_grad()
def scene_mesh(scene: Scene, device: torch.device | str = "cpu", resolution: int = 24) -> Mesh:
    """The surface with vertex colors; of a NeRF scene, its density at the occupancy threshold.

    resolution: A15 cells per side for NeRF scenes (a mesh scene has its own).
    """
    if scene.kind == "mesh":
        surface = load_surface(scene, device)
    else:
        field = load_field(scene, device)
        surface = TetSdf.from_density(field.density, resolution, nerf_threshold(scene), field, device)
    mesh = surface.extract().detach()
    colors = torch.cat([surface.albedo(part) for part in mesh.vertices.split(CHUNK)])
    return replace(mesh, vertex_colors=colors.detach()).to("cpu")


@torch.no_grad()
def turntable_pictures(mesh: Mesh, cameras: Cameras) -> Tensor:
    """[B, H, W, 3] of a mesh on white, one view at a time."""
    pictures = []
    for index in range(len(cameras)):
        beat("rendering", index, len(cameras))
        pictures.append(render_surface(mesh, cameras[index]).composite(1.0))
    return torch.cat(pictures)


def turntable_views(
    scene: Scene,
    frames: int = 24,
    size: int = 256,
    elevation: float = 0.0,
    *,
    radius: float = HOME.radius,
    fovy: float = HOME.fovy,
    shading: Mode = "albedo",
    device: torch.device | str = "cpu",
) -> Tensor:
    """[F, size, size, 3] on white, once around from the front; angles in radians."""
    cameras = turntable(frames, elevation, radius, fovy, size)
    buffers = render_scene(
        scene, cameras, shading=shading, want_normal=False, device=device, supersample=2 if size <= 512 else 1
    )
    return buffers.composite(1.0).clamp(0, 1)


def contact_sheet(frames: Tensor, columns: int = 6) -> Tensor:
    """[F, H, W, 3] -> one picture, row by row; missing places are white."""
    count, height, width = frames.shape[:3]
    columns = min(columns, count)
    rows = -(-count // columns)
    sheet = torch.ones(rows * columns, height, width, 3)
    sheet[:count] = frames
    sheet = sheet.view(rows, columns, height, width, 3)
    return sheet.permute(0, 2, 1, 3, 4).reshape(rows * height, columns * width, 3)


def _surface_drawer(scene: Scene, want_normal: bool, device, supersample: int):
    surface = load_surface(scene, device)
    mesh = surface.extract().detach()

    def draw(cameras: Cameras, shading: Shading) -> RenderBuffers:
        lit = shading if shading.needs_normal else None
        return render_surface(
            mesh, cameras, surface.albedo, lit, supersample=supersample, want_normal=want_normal, grad=False
        )

    return draw


def _volume_drawer(scene: Scene, want_normal: bool, device, supersample: int):
    field, grid = load_field(scene, device), load_grid(scene, device)
    settings = VolumeSettings(**scene.entry("volume"))

    def draw(cameras: Cameras, shading: Shading) -> RenderBuffers:
        return render_volume(field, cameras, grid, settings, shading, want_normal=want_normal)

    return draw


def _join(parts: list[RenderBuffers]) -> RenderBuffers:
    rgb, alpha, depth = (torch.cat([getattr(p, name) for p in parts]).cpu() for name in ("rgb", "alpha", "depth"))
    normals = [p.normal for p in parts if p.normal is not None]
    return RenderBuffers(rgb, alpha, depth, torch.cat(normals).cpu() if normals else None)
