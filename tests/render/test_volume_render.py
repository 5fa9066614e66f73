"""Pictures of radiance fields: closed forms, handedness, gradients, and the same picture by different routes."""

import math

import pytest
import torch
from lift123.pipelines.core.cameras import HOME, Cameras, Rays
from lift123.pipelines.fields.hash_nerf import HashNerf, HashNerfConfig
from lift123.pipelines.ops.hashgrid import HashGridConfig
from lift123.pipelines.ops.occupancy import OccupancyGrid, march
from lift123.pipelines.render.shading import Shading
from lift123.pipelines.render.volume import VolumeSettings, render_volume, visible_samples

DEVICES = ["cpu"] + (["cuda"] if torch.cuda.is_available() else [])
FINE = VolumeSettings(step=0.01)


def seeded(seed: int = 0, device: str = "cpu") -> torch.Generator:
    return torch.Generator(device).manual_seed(seed)


class Ball:
    """A ball of constant density; red, its +x half blue."""

    def __init__(self, radius=0.4, density=200.0, center=(0.0, 0.0, 0.0)):
        self.radius, self.strength, self.center = radius, torch.as_tensor(density), torch.tensor(center)

    def density(self, x):
        return self.strength * ((x - self.center).norm(dim=-1) < self.radius)

    def albedo(self, x):
        blue = (x[:, :1] > 0).float()
        return torch.cat([1 - blue, torch.zeros_like(blue), blue], dim=1)


class SoftBall(Ball):
    """Density falls off smoothly, so that it has normals everywhere."""

    def density(self, x):
        return self.strength * torch.sigmoid((self.radius - (x - self.center).norm(dim=-1)) * 40)


def camera(azimuth=0.0, elevation=0.0, size=33) -> Cameras:
    return HOME.orbit(azimuth, elevation, size)


def fitted_grid(field, resolution=32) -> OccupancyGrid:
    grid = OccupancyGrid(resolution, threshold=1e-3)
    grid.update(field.density, seeded())
    return grid


def textured_field(device: str = "cpu") -> tuple[HashNerf, OccupancyGrid]:
    """A hash-grid field with structure, fuzzy outside and opaque inside, and its grid."""
    config = HashNerfConfig(HashGridConfig(levels=4, log2_table=12, base=8, finest=48), hidden=16, blob_density=8.0)
    field = HashNerf(config, seeded(1, device))
    with torch.no_grad():
        field.table.normal_(0, 0.5, generator=seeded(2, device))
    grid = OccupancyGrid(32, device)
    grid.update(field.density, seeded(3, device))
    return field, grid


def test_a_ball_of_constant_density_has_the_closed_form():
    ball = Ball(0.4, 2.0)
    with torch.no_grad():
        out = render_volume(ball, camera(), OccupancyGrid(8), FINE)
    rays = camera().rays()
    towards = torch.nn.functional.normalize(rays.directions, dim=-1)
    closest = torch.linalg.cross(rays.origins, towards).norm(dim=-1)
    chord = 2 * (0.4**2 - closest**2).clamp_min(0).sqrt()
    assert (out.alpha - (1 - torch.exp(-2.0 * chord))).abs().max() < 2.0 * 0.01 + 1e-3  # a sample more or less
    assert (out.alpha - (1 - torch.exp(-2.0 * chord))).abs().mean() < 3e-3


def test_depth_is_distance_along_the_view_axis():
    with torch.no_grad():
        out = render_volume(Ball(0.4, 1e4), camera(), OccupancyGrid(8), FINE)
    assert abs(float(out.depth[0, 16, 16]) - 2.8) < 0.02
    assert out.depth[0, 0, 0] == 0 and out.alpha[0, 0, 0] == 0


def test_plus_x_is_on_the_right_and_plus_y_on_top_of_the_front_view():
    field = Ball(0.4, 200.0)
    with torch.no_grad():
        front = render_volume(field, camera(), OccupancyGrid(8), FINE).composite(1.0)[0]
        back = render_volume(field, camera(math.pi), OccupancyGrid(8), FINE).composite(1.0)[0]
        high = render_volume(Ball(0.1, 200.0, (0.0, 0.3, 0.0)), camera(), OccupancyGrid(16), FINE).alpha[0]
    assert front[16, 20, 2] > 0.9 > 0.1 > front[16, 12, 2]
    assert back[16, 12, 2] > 0.9 > 0.1 > back[16, 20, 2]
    assert high[:16].sum() > 10 and high[17:].sum() == 0


def test_opacity_gradient_has_the_closed_form():
    strength = torch.tensor(2.0, requires_grad=True)
    pixel = Rays(torch.tensor([[[[0.0, 0, 3]]]]), torch.tensor([[[[0.0, 0, -1]]]]))
    out = render_volume(Ball(0.4, strength), camera(size=1), OccupancyGrid(4), FINE, rays=pixel)
    gradient = torch.autograd.grad(out.alpha.sum(), strength)[0]
    assert abs(float(gradient) - 0.8 * math.exp(-1.6)) < 0.01


@pytest.mark.parametrize("device", DEVICES)
def test_parameter_gradients_match_finite_differences(device):
    field, grid = textured_field(device)
    field.accumulate_in_place = False
    view = camera(0.5, 0.2, 12).to(device)
    settings = VolumeSettings(step=0.04, stop=0.0)

    def loss():
        out = render_volume(field, view, grid, settings)
        return (out.composite(0.3).square().sum() + out.depth.sum()).double()

    parameters = list(field.parameters())
    gradients = torch.autograd.grad(loss(), parameters)
    for parameter, gradient in zip(parameters, gradients):
        direction = torch.randn(parameter.shape, generator=seeded(5)).to(device)
        values = []
        with torch.no_grad():
            for sign in (1, -2):
                parameter.add_(direction, alpha=sign * 1e-3)
                values.append(loss())
            parameter.add_(direction, alpha=1e-3)
        slope, want = float((gradient * direction).sum()), float((values[0] - values[1]) / 2e-3)
        assert abs(slope - want) < 0.02 * abs(want) + 0.05


def test_skipping_hidden_samples_changes_neither_picture_nor_gradient():
    field, grid = textured_field()
    field.accumulate_in_place = False
    results, counts = [], []
    for stop in (0.0, 1e-4):
        out = render_volume(field, camera(), grid, VolumeSettings(step=0.01, stop=stop), generator=seeded(6))
        results.append((out.rgb, *torch.autograd.grad(out.rgb.sin().sum(), list(field.parameters()))))
        counts.append(len(out.extras["samples"]))
    assert counts[1] < 0.8 * counts[0]
    for full, skipped in zip(*results):
        assert (full - skipped).abs().max() < 2e-3 * full.abs().max()


def test_visible_samples_keeps_the_order_and_the_values():
    field, grid = textured_field()
    samples = march(camera().rays(), grid, 0.01)
    with torch.no_grad():
        kept, density, albedo = visible_samples(field.density_and_albedo, samples, 1e-4)
        assert torch.allclose(density, field.density(kept.positions), rtol=1e-4)
        assert torch.allclose(albedo, field.albedo(kept.positions), atol=1e-5)
    assert (kept.ray_indices.diff() >= 0).all()
    assert torch.equal(kept.ray_indices, torch.arange(kept.rays).repeat_interleave(kept.offsets.diff().long()))
    inside = kept.t.diff()[kept.ray_indices.diff() == 0]
    assert (inside > 0).all()


def test_chunks_without_gradients_are_the_same_picture(monkeypatch):
    field, grid = textured_field()
    with_gradient = render_volume(field, camera(), grid, FINE, want_normal=True)
    module = __import__("sys").modules[render_volume.__module__]
    monkeypatch.setattr(module, "RAY_CHUNK", 100)
    monkeypatch.setattr(module, "POINT_CHUNK", 333)
    with torch.no_grad():
        without = render_volume(field, camera(), grid, FINE, want_normal=True)
    assert without.extras is None
    for name in ("rgb", "alpha", "depth", "normal"):
        assert torch.allclose(getattr(with_gradient, name).detach(), getattr(without, name), atol=1e-4), name


def test_normals_of_a_ball_face_outwards_and_move_no_weights():
    field = SoftBall(0.4, 400.0)
    with torch.no_grad():
        out = render_volume(field, camera(), OccupancyGrid(8), FINE, want_normal=True)
    normal, covered = out.normal[0], out.alpha[0] > 0.99
    assert normal[16, 16, 2] > 0.98
    towards = torch.nn.functional.normalize(camera().rays().directions[0], dim=-1)
    hit = camera().rays().origins[0] + camera().rays().directions[0] * out.depth[0, ..., None]
    expected = torch.nn.functional.normalize(hit, dim=-1)
    assert ((normal * expected).sum(-1)[covered] > 0.95).all() and ((normal * towards).sum(-1)[covered] < 0).all()
    field, grid = textured_field()
    out = render_volume(field, camera(), grid, FINE, want_normal=True)
    assert (torch.autograd.grad(out.normal.sum(), out.extras["weights"], retain_graph=True)[0] == 0).all()
    out.normal.sum().backward()
    assert field.table.grad.abs().max() > 0


def test_small_weights_can_go_without_normals():
    field, grid = textured_field()
    view, settings = camera(), VolumeSettings(step=0.02, normal_method="tetrahedral", normal_min_weight=0.05)
    out = render_volume(field, view, grid, settings, want_normal=True)
    some = out.extras["normals"].norm(dim=-1) > 0
    assert torch.equal(some, out.extras["weights"] > 0.05)


def test_shading_modes():
    field, view, grid = SoftBall(0.4, 400.0), camera(), OccupancyGrid(8)
    light = torch.tensor([[1.0, 0.0, 0.0]])
    with torch.no_grad():
        modes = ("albedo", "lambertian", "textureless", "normal")
        pictures = {m: render_volume(field, view, grid, FINE, Shading(m, 0.1, light)).rgb[0] for m in modes}
        plain = render_volume(field, view, grid, FINE, Shading("lambertian", 1.0, light))
    assert torch.allclose(plain.rgb[0], pictures["albedo"]) and plain.normal is None
    assert pictures["textureless"][16, 24].min() > pictures["textureless"][16, 8].max() + 0.3  # lit from +x
    assert torch.allclose(pictures["normal"][16, 16], torch.tensor([0.5, 0.5, 1.0]), atol=0.03)
    assert (pictures["lambertian"] <= pictures["albedo"] + 1e-5).all()


def test_batches_shade_each_image_with_its_own_light():
    field, grid = SoftBall(0.4, 400.0), OccupancyGrid(8)
    both = Cameras.cat([camera(), camera(0.4)])
    light = torch.nn.functional.normalize(torch.tensor([[1.0, 0, 1], [-1, 1, 0]]), dim=-1)
    with torch.no_grad():
        batch = render_volume(field, both, grid, FINE, Shading("lambertian", 0.2, light))
        for i in range(2):
            single = render_volume(field, both[i], grid, FINE, Shading("lambertian", 0.2, light[i : i + 1]))
            assert torch.allclose(batch.rgb[i], single.rgb[0], atol=1e-5)


def test_an_empty_scene_is_transparent_and_differentiable():
    field, _ = textured_field()
    grid = OccupancyGrid(8)
    grid.update(lambda x: torch.zeros(len(x)), seeded())
    out = render_volume(field, camera(), grid, FINE, want_normal=True)
    assert out.alpha.abs().sum() == 0 and (out.composite(1.0) == 1).all()
    out.rgb.sum().backward()


def fit(steps: int) -> tuple[list[torch.Tensor], list[float]]:
    """Fits a small field to pictures of the ball; final parameters and losses."""
    truth, views = Ball(0.35), Cameras.cat([camera(a, 0.2, 20) for a in (0.0, 2.1, 4.2)])
    with torch.no_grad():
        target = render_volume(truth, views, OccupancyGrid(8), FINE)
    generator = seeded(4)
    config = HashNerfConfig(HashGridConfig(levels=4, log2_table=12, base=8, finest=48), hidden=16, blob_density=5.0)
    field, grid = HashNerf(config, generator), OccupancyGrid(16)
    optimizer = torch.optim.Adam(field.parameter_groups(3e-2, 1e-2), betas=(0.9, 0.99), eps=1e-15, fused=True)
    losses = []
    for step in range(steps):
        if step % 8 == 0:
            grid.update(field.density, generator)
        out = render_volume(field, views, grid, VolumeSettings(step=0.05), generator=generator)
        loss = (out.composite(0.5) - target.composite(0.5)).square().mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=False)
        losses.append(float(loss.detach()))
    return [p.detach().clone() for p in field.parameters()], losses


def test_fitting_works_and_is_bitwise_repeatable():
    first, losses = fit(60)
    second, _ = fit(60)
    assert losses[-1] < 0.2 * losses[0]
    assert all(torch.equal(a, b) for a, b in zip(first, second))
