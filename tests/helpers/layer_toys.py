"""A nested figure in closed form: a body with a head, a tube of clothing around it, a cap of hair with a side tail."""

import numpy as np
import torch
from lift123.pipelines.core.character_views import CharacterViews
from lift123.pipelines.core.layers import LayeredMesh
from lift123.pipelines.core.mesh import Mesh
from lift123.pipelines.core.ortho import six_views
from lift123.pipelines.ops.remesh import Surface, remesh
from lift123.pipelines.render import normal_maps
from skimage.measure import marching_cubes

COLORS = {"body": (0.9, 0.7, 0.6), "clothing": (0.2, 0.4, 0.8), "hair": (0.3, 0.2, 0.1)}


def _ball(p, center, radii):
    q = (p - np.array(center)) / np.array(radii)
    return (np.linalg.norm(q, axis=-1) - 1) * min(radii)


def _body(p):
    return np.minimum(_ball(p, (0, -0.3, 0), (0.32, 0.68, 0.24)), _ball(p, (0, 0.55, 0), (0.3, 0.34, 0.3)))


def _clothing(p):
    shell = np.maximum(_ball(p, (0, -0.3, 0), (0.42, 0.8, 0.34)), -_ball(p, (0, -0.3, 0), (0.34, 0.70, 0.26)))
    return np.maximum(shell, np.abs(p[..., 1] + 0.35) - 0.35)


def _hair(p):
    shell = np.maximum(_ball(p, (0, 0.57, 0), (0.4, 0.42, 0.4)), -_ball(p, (0, 0.55, 0), (0.315, 0.355, 0.315)))
    cap = np.maximum(shell, 0.5 - p[..., 1] - 0.5 * np.maximum(-p[..., 2], 0))
    return np.minimum(cap, _ball(p, (0.48, 0.6, -0.05), (0.18, 0.12, 0.12)))


SDF = {"body": _body, "clothing": _clothing, "hair": _hair}


def solid(sdf, cells=80) -> Mesh:
    """The zero surface of a function on a grid over [-1.1, 1.1]^3."""
    line = np.linspace(-1.1, 1.1, cells)
    values = sdf(np.stack(np.meshgrid(line, line, line, indexing="ij"), -1)).astype(np.float32)
    v, f, _, _ = marching_cubes(values, 0.0, spacing=(line[1] - line[0],) * 3)
    mesh = Mesh(torch.tensor(v - 1.1, dtype=torch.float32), torch.tensor(f.astype(np.int64)))
    return mesh if float(mesh.signed_volume()) > 0 else Mesh(mesh.vertices, mesh.faces.flip(1))


def figure(names=("body", "clothing", "hair"), cells=80) -> LayeredMesh:
    """The true layers with vertex colors."""
    out = {}
    for name in names:
        mesh = solid(SDF[name], cells)
        out[name] = Mesh(
            mesh.vertices, mesh.faces, torch.tensor(COLORS[name]).expand(len(mesh.vertices), 3).contiguous()
        )
    return LayeredMesh(out)


def views_of(layers: LayeredMesh, size=96) -> CharacterViews:
    """True colors, normals and coverage of all three levels."""
    cameras, parts = six_views(size), []
    for level in range(3):
        shown = layers.level(level)
        if not len(shown):
            parts.append((torch.ones(6, size, size, 3), torch.zeros(6, size, size, 3), torch.zeros(6, size, size)))
            continue
        mesh = shown.merged()
        values = torch.cat([mesh.vertex_colors, mesh.vertex_normals()], 1)
        picture = normal_maps.render_attributes(mesh.vertices, mesh.faces, values, cameras)
        alpha = picture[..., 6].clamp(0, 1)
        normal = torch.nn.functional.normalize(picture[..., 3:6], dim=-1, eps=1e-12) * (alpha > 0)[..., None]
        parts.append((picture[..., :3] + 1 - alpha[..., None], normal, alpha))
    return CharacterViews(*(torch.stack(p) for p in zip(*parts, strict=True)))


def degraded(layers: LayeredMesh, seed=0, edge=0.05, warp=0.03, bumps=0.008) -> LayeredMesh:
    """What a coarse reconstruction might give: fewer vertices, one smooth warp of space for all layers, and bumps."""
    rng = torch.Generator().manual_seed(seed)
    waves = torch.randn(8, 3, generator=rng) * 2.5
    phase, push = torch.rand(8, generator=rng) * 6.28, torch.randn(8, 3, generator=rng)

    def worse(mesh: Mesh) -> Mesh:
        length = torch.full((len(mesh.vertices),), edge)
        surface = Surface(mesh.vertices, mesh.faces, length, mesh.vertices[:, :0])
        for _ in range(25):
            surface = remesh(surface, rng)
        bump = torch.randn(surface.points.shape, generator=rng) * bumps
        moved = surface.points + torch.sin(surface.points @ waves.T + phase) @ push * (warp / 8**0.5) + bump
        return Mesh(moved, surface.faces)

    return layers.map(worse)
