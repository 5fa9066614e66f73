"""Stages at sixteen pixels on a colored box, with an exact denoiser."""

from functools import lru_cache

import torch
from lift123.pipelines.core.cameras import HOME, Cameras
from lift123.pipelines.core.mesh import Mesh
from lift123.pipelines.core.schedules import Constant
from lift123.pipelines.core.views import Views
from lift123.pipelines.fields.hash_nerf import HashNerfConfig
from lift123.pipelines.ops.hashgrid import HashGridConfig
from lift123.pipelines.priors.sds import SdsSettings
from lift123.pipelines.priors.view import ViewPrior
from lift123.pipelines.render.shading import PLAIN
from lift123.pipelines.render.surface import render_surface
from lift123.pipelines.render.volume import VolumeSettings
from lift123.pipelines.stages.inputs.reference import ReferenceView
from lift123.pipelines.stages.loop.cameras import NovelViews
from lift123.pipelines.stages.loop.scene import Scene
from lift123.pipelines.stages.objects.fit_nerf import NerfConfig, fit_nerf
from lift123.pipelines.stages.objects.refine_mesh import MeshConfig
from lift123.verification.oracle import OracleDenoiser

SIZE = 16


OFF = {name: Constant(0.0) for name in ("normal_tv", "normal_blur", "normal_3d", "orientation", "entropy", "depth")}


NERF = NerfConfig(
    iterations=24, mesh_iterations=8, size=SIZE, reference_size=SIZE, mode="both", shading=PLAIN,
    novel=NovelViews(), novel_background="white", reference_noise=0.0, rgb=Constant(5.0), mask=Constant(2.0),
    field=HashNerfConfig(HashGridConfig(levels=4, log2_table=11, base=6, finest=24), hidden=16, layers=1),
    volume=VolumeSettings(step=0.08, max_samples=48, normal_method="tetrahedral"), grid_resolution=16, grid_every=4,
    lr_grid=3e-2, lr_mlp=1e-2, level_start=1.0, ema_every=0, preview_every=0, **OFF,
)


MESH = MeshConfig(
    iterations=8, size=SIZE, reference_size=SIZE, mode="both", shading=PLAIN, novel_background="white", tets=6,
    rgb=Constant(5.0), mask=Constant(2.0), mesh_normal=Constant(0.1), mesh_laplacian=Constant(0.1),
    lr_sdf=1e-2, lr_deform=1e-2, preview_every=0,
)


def box() -> Mesh:
    """A box 0.7 x 0.5 x 0.4, colored by position."""
    corners = torch.tensor([[x, y, z] for x in (-1.0, 1.0) for y in (-1.0, 1.0) for z in (-1.0, 1.0)])
    quads = ((0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3))
    faces = [f for a, b, c, d in quads for f in ((a, b, c), (a, c, d))]
    return Mesh(corners * torch.tensor([0.35, 0.25, 0.2]), torch.tensor(faces), corners * 0.3 + 0.5)


def truth(cameras: Cameras) -> torch.Tensor:
    return render_surface(box(), cameras, supersample=2, grad=False).composite(1.0)


@lru_cache
def reference() -> ReferenceView:
    camera = HOME.orbit(0.0, 0.0, SIZE)
    buffers = render_surface(box(), camera, supersample=4, grad=False)
    safe = buffers.alpha.clamp_min(1e-6)
    return ReferenceView(Views(camera, buffers.rgb / safe[..., None], buffers.alpha, buffers.depth / safe), "a box")


def oracle() -> ViewPrior:
    settings = SdsSettings(t_range=(0.2, 0.6), weighting="snr", reduction="mean")
    return ViewPrior(OracleDenoiser(truth, image_size=SIZE), settings, reference().camera, False)


@lru_cache
def nerf() -> Scene:
    return fit_nerf(reference(), oracle(), NERF, seed=3)


def same(a: Scene, b: Scene) -> bool:
    return set(a.tensors) == set(b.tensors) and all(torch.equal(v, b.tensors[k]) for k, v in a.tensors.items())
