"""A wedge that somebody else made, placed under a picture."""

from dataclasses import replace
from functools import lru_cache

import torch
from lift123.pipelines.core.cameras import HOME
from lift123.pipelines.core.mesh import Mesh, merge
from lift123.pipelines.core.schedules import Constant
from lift123.pipelines.core.views import Views
from lift123.pipelines.fields.hash_nerf import HashNerfConfig
from lift123.pipelines.metrics.image import psnr
from lift123.pipelines.ops.hashgrid import HashGridConfig
from lift123.pipelines.render.shading import PLAIN
from lift123.pipelines.stages.inputs.reference import ReferenceView
from lift123.pipelines.stages.loop.scene import Scene
from lift123.pipelines.stages.objects import import_mesh as importing
from lift123.pipelines.stages.objects.import_mesh import ImportConfig
from lift123.pipelines.stages.objects.refine_mesh import MeshConfig
from lift123.pipelines.stages.results.render_views import render_scene
from lift123.pipelines.toybox.render import render_toy

SIZE = 48


FIELD = HashNerfConfig(HashGridConfig(levels=6, log2_table=13, base=6, finest=96), hidden=16, layers=1)


IMPORT = ImportConfig(color_field=FIELD, iterations=120, samples=1500, tets=10)


MESH = MeshConfig(
    iterations=80, size=SIZE, reference_size=SIZE, mode="both", shading=PLAIN, rgb=Constant(5.0), mask=Constant(2.0),
    mesh_normal=Constant(0.05), mesh_laplacian=Constant(0.05), lr_sdf=2e-2, lr_deform=2e-2, preview_every=0,
    optimize="texture",
)


def wedge() -> Mesh:
    """An object without any symmetry: a box with a nose to its front right; colored by position."""
    corners = torch.tensor([[x, y, z] for x in (-1.0, 1.0) for y in (-1.0, 1.0) for z in (-1.0, 1.0)])
    quads = ((0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3))
    faces = torch.tensor([f for a, b, c, d in quads for f in ((a, b, c), (a, c, d))])
    half = torch.tensor([0.3, 0.4, 0.2])
    body = Mesh(corners * half, faces)
    nose = Mesh(corners * torch.tensor([0.08, 0.05, 0.1]) + torch.tensor([0.2, 0.25, 0.25]), faces)
    mesh = merge([body, nose])
    middle = (mesh.vertices.amin(0) + mesh.vertices.amax(0)) / 2
    vertices = mesh.vertices - middle
    return Mesh(vertices, mesh.faces, (vertices + 0.5).clamp(0, 1))


def short_imports(monkeypatch) -> None:
    """Imports fit their colors in 20 steps, for tests that do not look at colors."""
    full = importing.import_mesh
    monkeypatch.setattr(importing, "import_mesh", lambda mesh, reference, config, **more: full(
        mesh, reference, replace(config, iterations=20), **more))


@lru_cache
def views(size=SIZE, azimuth=0.0, elevation=0.0) -> Views:
    return render_toy(wedge(), HOME.orbit(azimuth, elevation, size), 4)


@lru_cache
def reference() -> ReferenceView:
    return ReferenceView(views(), "a wedge")


def likeness(scene: Scene, views: Views = None) -> float:
    """PSNR in dB of the scene against true views on white."""
    views = views or reference().views
    return float(psnr(render_scene(scene, views.cameras, supersample=4).composite(1.0), views.on_background(1.0)).mean())
