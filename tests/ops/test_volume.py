"""Occupancy, marching and compositing against brute force, specifications and closed forms."""

import math

import pytest
import torch
from lift123.pipelines.core.cameras import HOME, Rays
from lift123.pipelines.ops.occupancy import OccupancyGrid, march, march_reference
from lift123.pipelines.ops.volrend import (
    accumulate,
    accumulate_reference,
    composite,
    composite_reference,
    transmittance,
)

DEVICES = ["cpu"] + (["cuda"] if torch.cuda.is_available() else [])


def seeded(seed: int = 0, device: str = "cpu") -> torch.Generator:
    return torch.Generator(device).manual_seed(seed)


def ball(radius: float, value: float = 50.0):
    return lambda x: value * (x.norm(dim=-1) < radius).float()


def random_grid(resolution: int, share: float, device: str = "cpu") -> OccupancyGrid:
    """Cells occupied at random, salt and pepper: the worst case for jumping over empty cells."""
    grid = OccupancyGrid(resolution, device)
    noise = torch.rand((resolution,) * 3, generator=seeded(3)).to(device)
    grid.load_state({"density": (noise < share) * 100.0, "updates": torch.tensor(1)})
    return grid


def odd_rays(device: str = "cpu") -> Rays:
    """A camera's rays plus: along axes, inside the cube, missing it, pointing away, of zero and of odd length."""
    camera = HOME.orbit(0.7, 0.3, 24).rays().flat()
    o = torch.tensor([[0.01, 0.02, 3], [0, 0, 0], [0.3, 0.2, -0.9], [5, 5, 5], [0, 0, 3], [0, 0, 3], [2, 0.1, 0.1]])
    d = torch.tensor([[0.0, 0, -1], [1, 0, 0], [0.2, -3, 0.4], [1, 0, 0], [0, 0, 1], [0, 0, 0], [-0.1, 0, 0]])
    return Rays(torch.cat([o, camera.origins]).to(device), torch.cat([d, camera.directions]).to(device))


def usable(rays: Rays) -> Rays:
    """Without the ray of zero length, which the specification cannot march."""
    good = rays.directions.norm(dim=-1) > 0
    return Rays(rays.origins[good], rays.directions[good])


def same_samples(a, b) -> None:
    assert torch.equal(a.offsets, b.offsets) and torch.equal(a.ray_indices, b.ray_indices)
    for name in ("positions", "t_starts", "t_ends", "lengths"):
        assert torch.allclose(getattr(a, name), getattr(b, name), atol=2e-6), name


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("resolution, share", [(1, 2.0), (8, 0.3), (32, 0.05), (32, 0.9), (64, 0.0)])
@pytest.mark.parametrize("step, near, limit, jitter", [(0.03, 0.2, 99, 1), (0.11, 2.9, 5, 1), (0.02, 0.2, 999, 0)])
def test_march_equals_looking_at_every_lattice_point(resolution, share, step, near, limit, jitter, device):
    grid, rays = random_grid(resolution, share, device), usable(odd_rays(device))
    generators = [seeded(4, device) if jitter else None for _ in range(2)]
    got = march(rays, grid, step, near, limit, generators[0])
    want = march_reference(rays, grid, step, near, limit, generators[1])
    assert (len(got) > 0) == (share > 0)
    if device == "cpu":
        same_samples(got, want)
    else:  # another rounding of o + d t may move a lattice point across a cell border
        assert abs(len(got) - len(want)) <= 1e-3 * len(want) + 2


def test_march_of_hopeless_rays_is_empty():
    origins = torch.tensor([[0.0, 0, 3], [math.nan, 0, 0], [5, 5, 5], [0, 0, 3], [0, 0, 3]])
    directions = torch.tensor([[0.0, 0, 0], [0, 0, 1], [1, 0, 0], [0, math.nan, -1], [0, 0, -math.inf]])
    rays = Rays(origins, directions)
    samples = march(rays, OccupancyGrid(8), 0.1)
    assert len(samples) == 0 and samples.offsets.tolist() == [0] * 6
    assert len(march(Rays(origins[3:4], torch.tensor([[0.0, 0, -1]])), OccupancyGrid(8), 1e-12)) <= 1024
    with pytest.raises(ValueError):
        march(rays, OccupancyGrid(8), 0.0)


def test_samples_fill_the_chord():
    rays = Rays(torch.tensor([[0.1, 0.2, 3.0]]), torch.tensor([[0.0, 0.0, -2.0]]))
    samples = march(rays, OccupancyGrid(16), 0.01)
    assert abs(float(samples.lengths.sum()) - 2) < 0.011
    assert torch.allclose((samples.t_ends - samples.t_starts) * 2, samples.lengths, atol=1e-6)
    assert torch.allclose(samples.positions[:, 2], 3 - 2 * samples.t, atol=1e-6)


def test_keep_is_a_filtered_list():
    samples = march(odd_rays(), random_grid(16, 0.2), 0.05)
    mask = torch.rand(len(samples), generator=seeded(5)) < 0.4
    kept = samples.keep(mask)
    assert torch.equal(kept.positions, samples.positions[mask])
    counts = torch.bincount(samples.ray_indices[mask], minlength=samples.rays)
    assert torch.equal(kept.offsets.diff().long(), counts)


def test_update_finds_exactly_the_dense_cells():
    grid = OccupancyGrid(32)
    grid.update(ball(0.5), seeded())
    centers = (torch.arange(32) + 0.5) / 16 - 1
    far = torch.stack(torch.meshgrid(centers, centers, centers, indexing="ij"), -1).norm(dim=-1)
    reach = math.sqrt(3) / 32
    assert (grid.occupied[far < 0.5 - reach] == 1).all() and (grid.occupied[far > 0.5 + reach] == 0).all()
    assert torch.allclose(grid.bounds, torch.tensor([[-0.5] * 3, [0.5] * 3]), atol=1 / 16 + 1e-6)
    x = torch.tensor([[0.0, 0, 0], [0.9, 0, 0], [1.2, 0, 0]])
    assert grid.contains(x).tolist() == [True, False, False]


def test_threshold_is_the_mean_of_a_thin_grid():
    grid = OccupancyGrid(16)
    grid.update(lambda x: torch.where(x[:, 0] > 0, 1.0, 0.2), seeded())  # mean .6, below the threshold of 10
    assert (grid.occupied[8:] == 1).all() and (grid.occupied[:8] == 0).all()


def test_old_density_decays_and_partial_updates_visit_every_cell():
    grid = OccupancyGrid(8)
    grid.update(ball(9, 100.0), seeded())
    for _ in range(4):
        grid.update(ball(0), seeded(), share=0.25)
    assert torch.allclose(grid.density, torch.full_like(grid.density, 100 * 0.95**4), rtol=1e-5)


def test_nan_density_counts_as_empty_and_an_empty_grid_gives_no_samples():
    grid = OccupancyGrid(8)
    grid.update(lambda x: torch.full((len(x),), math.nan), seeded())
    assert grid.occupied.sum() == 0 and len(march(odd_rays(), grid, 0.05)) == 0


def test_occupancy_state_restores():
    a, b = OccupancyGrid(16), OccupancyGrid(16)
    a.update(ball(0.4), seeded())
    b.load_state(a.state())
    assert torch.equal(a.occupied, b.occupied) and torch.equal(a.bounds, b.bounds) and a.updates == b.updates
    with pytest.raises(ValueError, match="occupancy"):
        OccupancyGrid(8).load_state(a.state())
    with pytest.raises(ValueError, match="resolution"):
        OccupancyGrid(0)


def ragged(device: str = "cpu"):
    """Density, lengths, values and offsets of rays with 0 to 60 samples."""
    counts = torch.tensor([0, 3, 1, 0, 17, 60, 0])
    offsets = torch.nn.functional.pad(counts.cumsum(0), (1, 0)).int()
    total = int(counts.sum())
    density = torch.rand(total, generator=seeded(1)) * 30
    lengths = torch.rand(total, generator=seeded(2)) * 0.1 + 0.01
    values = torch.randn(total, 5, generator=seeded(3))
    return [v.to(device) for v in (density, lengths, values, offsets)]


@pytest.mark.parametrize("device", DEVICES)
def test_compositing_matches_its_specification(device):
    density, lengths, values, offsets = ragged(device)
    results = []
    for double, run, add in ((False, composite, accumulate), (True, composite_reference, accumulate_reference)):
        parts = [v.double() if double else v for v in (density, lengths, values)]
        inputs = (parts[0].requires_grad_(), parts[2].requires_grad_())
        weights, through = run(parts[0], parts[1], offsets)
        out = (weights, through, add(weights, parts[2], offsets))
        cotangents = [torch.randn(v.shape, generator=seeded(7)).to(v) for v in out]
        results.append([*out, *torch.autograd.grad(out, inputs, cotangents)])
    for got, want in zip(*results):
        assert torch.allclose(got.double(), want, atol=3e-6)


def test_weights_and_transmittance_share_the_light():
    density, lengths, _, offsets = ragged()
    weights, through = composite(density, lengths, offsets)
    sums = accumulate(weights, torch.ones(len(weights), 1), offsets)[:, 0]
    assert torch.allclose(sums, 1 - through, atol=1e-6)
    arriving = transmittance(density, lengths, offsets)
    assert torch.allclose(arriving * (1 - torch.exp(-density * lengths)), weights, atol=1e-6)


def test_constant_slab_has_the_closed_form():
    sigma, depth, n = 3.0, 0.8, 400
    lengths = torch.full((n,), depth / n)
    offsets = torch.tensor([0, n], dtype=torch.int32)
    density = torch.full((n,), sigma, requires_grad=True)
    weights, through = composite(density, lengths, offsets)
    t = (torch.arange(n) + 0.5) * depth / n
    mean = accumulate(weights, t[:, None], offsets)[0, 0]
    e = math.exp(-sigma * depth)
    assert abs(float(through.detach()) - e) < 1e-5
    assert abs(float(mean.detach()) - ((1 - e) / sigma - depth * e)) < 1e-4  # integral of sigma t exp(-sigma t)
    gradient = torch.autograd.grad(1 - through[0], density)[0].sum()
    assert abs(float(gradient) - depth * e) < 1e-5


def test_gradients_do_not_blow_up_behind_opaque_samples():
    density = torch.tensor([1e6, 5.0, 1e30], requires_grad=True)
    offsets = torch.tensor([0, 3], dtype=torch.int32)
    weights, through = composite(density, torch.full((3,), 0.1), offsets)
    (weights.sum() + through.sum()).backward()
    assert weights.tolist() == [1, 0, 0] and torch.isfinite(density.grad).all()
