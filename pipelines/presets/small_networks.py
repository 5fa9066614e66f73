"""Settings that the embedded networks bear: what all quickstarts share.

They are small: 64 pixel pictures on white, seen from one distance, a CPU's time.  Measured in
``benchmarks/results/quick.md``.
"""

from __future__ import annotations

from dataclasses import replace

from ..core.cameras import HOME
from ..core.schedules import Constant, Linear
from ..fields.hash_nerf import HashNerfConfig
from ..ops.hashgrid import HashGridConfig
from ..priors.sds import SdsSettings
from ..render.shading import PLAIN
from ..render.volume import VolumeSettings
from ..stages.loop.cameras import NovelViews
from ..stages.objects.fit_nerf import NerfConfig
from ..stages.objects.refine_mesh import MeshConfig
from ..stages.results.asset import BakeSettings

REFERENCE_SIZE = 256  # pixels
VIEW_GUIDANCE = 1.0  # the small prior knows one answer; guidance only changes how hard it pulls
TEXT_GUIDANCE = 3.0
RGB = 40.0  # of the reference's colors, against the view prior's pull on neighboring views
BAKE = BakeSettings(faces=20000, size=1024, picture=True)

_STEPS = {"mode": "both", "novel_background": "white", "shading": PLAIN, "preview_every": 10,
          "rgb_over": "mask", "mask_against": "alpha"}  # the weights below were chosen with these
# What the embedded view prior was trained on.
VIEWS = NovelViews(radius=(HOME.radius, HOME.radius), elevation=(-30.0, 45.0))
SDS = SdsSettings(t_range=(Linear(0.3, 0.02), Linear(0.95, 0.3)), weighting="snr", reduction="mean", space="pixels")
VIEW_SDS = replace(SDS, pixel_weight=Constant(20.0))  # it shows what it expects at once, whatever the time
TEXT_SDS = replace(SDS, pixel_weight=Constant(2.0))  # more puts grain on what the view prior has decided

NERF = NerfConfig(
    **_STEPS,
    iterations=200,
    mesh_iterations=100,
    size=64,
    reference_size=64,
    rgb=Constant(RGB),
    mask=Constant(2.0),
    depth=Constant(0.02),
    reference_noise=0.0,
    novel=VIEWS,
    field=HashNerfConfig(
        HashGridConfig(levels=8, log2_table=15, base=8, finest=128), hidden=32, layers=1, blob_density=10.0
    ),
    volume=VolumeSettings(step=0.03, max_samples=128, normal_method="tetrahedral", normal_min_weight=0.01),
    grid_resolution=48,
    grid_every=10,
    lr_grid=2e-2,
    lr_mlp=5e-3,
    normal_tv=Constant(0.0),
    normal_blur=Constant(0.0),
    normal_3d=Constant(0.0),
    orientation=Constant(0.0),
    entropy=Linear(0.0, 0.02),
    averages="visible",
    level_start=1.0,
    level_rate=0.0,
    ema_every=0,
)

MESH = MeshConfig(
    **_STEPS,
    iterations=100,
    size=128,
    reference_size=192,
    rgb=Constant(RGB),
    mask=Constant(2.0),
    tets=40,
    cover_reference=True,
    lr_factor=Linear(4.0, 1.0),  # a hundred steps: quick at first, so that the sides are as smooth as after many
    lr_sdf=2e-2,
    lr_deform=2e-2,
    lr_grid=1e-2,
    lr_mlp=2e-3,
    mesh_normal=Constant(0.1),
    mesh_laplacian=Constant(0.2),
    novel=VIEWS,
)
