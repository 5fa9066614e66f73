"""Baking: a known color function must come back when the texture is looked up at random surface points."""

import pytest
import torch
from lift123.pipelines.core.errors import InputError
from lift123.pipelines.core.mesh import Mesh
from lift123.pipelines.io.glb import read_glb, write_glb
from lift123.pipelines.io.unwrap import unwrap
from lift123.pipelines.ops.marching_tets import marching_tets
from lift123.pipelines.ops.rasterize import rasterize
from lift123.pipelines.ops.tet_grid import a15_grid
from lift123.pipelines.ops.texels import fill_around
from lift123.pipelines.stages.results import bake as baking
from lift123.pipelines.stages.results.bake import bake, bake_asset


def ball(n=8, radius=0.7):
    grid, tets = a15_grid(n)
    return Mesh(*marching_tets(grid, grid.norm(dim=-1) - radius, tets))


def paint(x):
    """Smooth colors with a wavelength of about a quarter of the ball."""
    return 0.5 + 0.5 * torch.sin(x * torch.tensor([6.0, 9.0, 7.0]) + torch.tensor([0.0, 1.0, 2.0]))


def lookup(texture, uv):
    """Bilinear texture lookup with clamping, glTF's rules written out."""
    height, width = texture.shape[:2]
    x, y = uv[:, 0] * width - 0.5, uv[:, 1] * height - 0.5
    x0, y0 = x.floor(), y.floor()
    total = torch.zeros(len(uv), 3)
    for dx in (0, 1):
        for dy in (0, 1):
            weight = (1 - (x - x0 - dx).abs()) * (1 - (y - y0 - dy).abs())
            column, row = (x0 + dx).long().clamp(0, width - 1), (y0 + dy).long().clamp(0, height - 1)
            total += weight[:, None] * texture[row, column]
    return total


def surface_samples(mesh, count=20_000):
    generator = torch.Generator().manual_seed(0)
    area = mesh.face_normals().norm(dim=-1)
    face = torch.multinomial(area, count, replacement=True, generator=generator)
    weights = torch.empty(count, 3).exponential_(generator=generator)
    weights = (weights / weights.sum(-1, keepdim=True))[..., None]
    points = (mesh.vertices[mesh.faces[face]] * weights).sum(1)
    return points, (mesh.uvs[mesh.face_uvs[face]] * weights).sum(1)


@pytest.mark.parametrize("method", ["xatlas", "grid"])
def test_texture_gives_the_color_of_the_surface_point(method):
    if method == "xatlas":
        pytest.importorskip("xatlas")
    mesh = bake(unwrap(ball(), 2000, 512, method=method), paint, 512)
    points, uv = surface_samples(mesh)
    error = (lookup(mesh.texture, uv) - paint(points)).abs()
    assert error.mean() < 0.01 and error.max() < 0.12
    upside_down = lookup(mesh.texture.flip(0), uv)
    assert (upside_down - paint(points)).abs().mean() > 0.1  # the test can tell


def test_supersampling_averages_and_padding_protects_the_seams():
    def checker(x):
        return ((x * 40).floor().sum(-1, keepdim=True) % 2).expand(-1, 3)

    unwrapped = unwrap(ball(), 1500, 128)
    one, four = (bake(unwrapped, checker, 128, supersample=s) for s in (1, 4))
    inside = (four.texture > 0.05) & (four.texture < 0.95)
    assert inside.float().mean() > 0.2 and set(one.texture[:20].unique().round(decimals=3).tolist()) >= {0.0, 1.0}
    white = bake(unwrapped, lambda x: torch.ones_like(x), 128, padding=4)
    _, uv = surface_samples(white)
    assert bool((lookup(white.texture, uv) > 0.999).all())
    left_right = bake(unwrapped, lambda x: (x[:, :1] > 0).float().expand(-1, 3), 128, padding=0)
    bare = left_right.texture[..., 0]
    assert bool(((bare > 0.3) & (bare < 0.7)).any())  # without padding the gutters hold the mean


def test_asset_is_deterministic_and_survives_a_file():
    files = [write_glb(None, bake_asset(ball(), paint, 1000, 256)) for _ in range(2)]
    assert files[0] == files[1]
    read = read_glb(files[0])
    assert len(read.faces) <= 1000 and read.texture.shape == (256, 256, 3)
    points, uv = surface_samples(read)
    assert (lookup(read.texture, uv) - paint(points)).abs().mean() < 0.02


def test_bad_requests():
    with pytest.raises(InputError, match="without UVs"):
        bake(ball(4), paint)
    with pytest.raises(ValueError, match="positive"):
        bake(unwrap(ball(4), None), paint, 0)
    mesh = unwrap(ball(4), None)
    collapsed = Mesh(mesh.vertices, mesh.faces, None, mesh.uvs * 0, mesh.face_uvs)
    with pytest.raises(InputError, match="at least one texel"):
        bake(collapsed, paint, 64)


@pytest.mark.parametrize("size, supersample, padding", [(90, 2, 6), (64, 3, 0)])
def test_bands_give_the_texels_of_a_bake_at_once(monkeypatch, size, supersample, padding):
    mesh = unwrap(ball(6), 800, size, method="boxes")
    whole = bake(mesh, paint, size, padding, supersample)
    pieces = list(baking.surface_points(mesh, size, supersample))
    monkeypatch.setattr(baking, "SAMPLES", 13 * size * supersample**2)
    assert len(baking._bands(size, supersample)) > 4
    assert torch.equal(bake(mesh, paint, size, padding, supersample).texture, whole.texture)
    texels = [torch.cat([t for t, _ in found]).sort() for found in (pieces, baking.surface_points(mesh, size, supersample))]
    assert torch.equal(texels[0].values, texels[1].values)


def test_samples_lie_where_a_whole_raster_has_them():
    mesh, fine = unwrap(ball(6), 800, 64, method="boxes"), 128
    u, v = mesh.uvs.unbind(-1)
    clip = torch.stack([2 * u - 1, 1 - 2 * v, torch.zeros_like(u), torch.ones_like(u)], -1)
    raster = rasterize(clip[None], mesh.face_uvs, fine, fine)
    expected = (mesh.vertices[mesh.faces[raster.triangle[0].long()]] * raster.barycentric[0][..., None]).sum(2)
    for index, (texel, points) in enumerate(baking.surface_points(mesh, 64, 2)):
        row, column = 2 * (texel // 64) + index // 2, 2 * (texel % 64) + index % 2
        assert len(texel) > 500 and torch.equal(expected[row, column], points)


@pytest.mark.parametrize("reach", [0, 1, 5, 100])
def test_colors_spread_as_scipy_says(reach):
    from scipy.ndimage import distance_transform_edt

    generator = torch.Generator().manual_seed(reach)
    painted, texture = torch.rand(37, 50, generator=generator) < 0.03, torch.rand(37, 50, 3, generator=generator)
    away, (row, column) = distance_transform_edt(~painted.numpy(), return_indices=True)
    rest = torch.tensor([0.1, 0.2, 0.3])
    expected = torch.where(torch.from_numpy(away <= reach)[..., None], texture[row, column], rest)
    fill_around(texture, painted, reach, rest)
    assert torch.equal(texture, expected)
