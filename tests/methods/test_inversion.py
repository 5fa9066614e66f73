"""DDIM inversion against distributions whose every noise prediction is known in closed form."""

import pytest
import torch
from lift123.pipelines.methods.inversion import RungGrid, invert, sample
from lift123.pipelines.networks.noise import scaled_linear_alphas

ALPHAS = scaled_linear_alphas()


def _gaussian(deviation, grid):
    """eps_hat for data ~ N(0, deviation^2), at the network's time (what a real network knows)."""

    def noise(state, rung, level):
        a = grid.alphas[rung]
        return state * (1 - a).sqrt() / (a * deviation**2 + 1 - a)

    return noise


def _mixture(grid):
    """eps_hat for data at -1 or +1 (equally likely) with deviation 0.3: bent trajectories, unlike a Gaussian's."""
    spread = 0.3

    def noise(state, rung, level):
        a = grid.alphas[rung]
        variance = a * spread**2 + 1 - a
        mean = torch.tanh(a.sqrt() * state / variance)
        posterior = mean + a.sqrt() * spread**2 / variance * (state - a.sqrt() * mean)
        return (state - a.sqrt() * posterior) / (1 - a).sqrt()

    return noise


@pytest.mark.parametrize(("steps", "rungs", "third"), [(50, 30, 20), (20, 12, 50)])
def test_both_published_settings_end_at_the_same_level(steps, rungs, third):
    grid = RungGrid.of(ALPHAS, steps, rungs)
    assert grid.rungs == rungs and grid.times[0] == 0 and grid.times[1] == third and grid.times[-1] == 600
    assert float(grid.alphas[-1]) == pytest.approx(0.1608, abs=1e-4) and float(grid.alphas[0]) == pytest.approx(0.99915, abs=1e-5)
    assert grid.alphas.dtype == torch.float32


def test_the_alphas_of_the_spec():
    want = [0.9991, 0.9516, 0.8942, 0.8278, 0.7537, 0.6738, 0.5905, 0.5065, 0.4245, 0.3470, 0.2763, 0.2139, 0.1608]
    assert torch.allclose(RungGrid.of(ALPHAS, 20, 12).alphas, torch.tensor(want), atol=6e-5)


def test_moves_with_the_same_noise_are_inverse_and_keep_the_clean_latent():
    grid, g = RungGrid.of(ALPHAS, 20, 12), torch.Generator().manual_seed(0)
    x, eps = torch.randn(2, 2, 4, 8, 8, generator=g)
    up = grid.move(x, eps, 3, 9)
    assert torch.allclose(grid.move(up, eps, 9, 3), x, atol=1e-5)
    assert torch.allclose(grid.clean(up, eps, 9), grid.clean(x, eps, 3), atol=1e-5)


def test_a_known_noise_gives_the_noised_state_exactly():
    """Data at one point: the states are sqrt(a) x + sqrt(1 - a) eps, and sampling returns to the point."""
    grid, g = RungGrid.of(ALPHAS, 20, 12), torch.Generator().manual_seed(1)
    clean, eps = torch.randn(2, 1, 4, 8, 8, generator=g)
    a = grid.alphas
    start = a[0].sqrt() * clean + (1 - a[0]).sqrt() * eps
    states = invert(lambda x, rung, level: eps, start, grid)
    want = a[:, None, None, None, None].sqrt() * clean + (1 - a)[:, None, None, None, None].sqrt() * eps
    assert torch.allclose(states, want, atol=1e-5)
    down = sample(lambda x, rung, level: eps, states[-1], grid)
    assert torch.allclose(down.last, start, atol=1e-5) and torch.allclose(down.clean, clean.expand_as(down.clean), atol=1e-5)


def test_inversion_reaches_the_probability_flow_of_a_gaussian():
    """x_t / x_0 = sqrt((a s^2 + 1 - a) / (a_0 s^2 + 1 - a_0)) in the limit of small steps; the error falls with them."""
    deviation, errors, clean = 0.5, [], torch.ones(1, 1, 1, 1)
    for steps in (20, 50, 500):
        grid = RungGrid.of(ALPHAS, steps, steps * 3 // 5)
        got = invert(_gaussian(deviation, grid), clean, grid)[-1]
        a = grid.alphas
        exact = ((a[-1] * deviation**2 + 1 - a[-1]) / (a[0] * deviation**2 + 1 - a[0])).sqrt()
        errors.append(abs(float(got) - float(exact)) / float(exact))
    assert errors[0] > errors[1] > errors[2] and errors[2] < 0.02


@pytest.mark.parametrize(("steps", "rungs", "bounds"), [(50, 30, (0.040, 0.010, 0.001)), (20, 12, (0.078, 0.039, 0.02))])
def test_round_trip_is_close_and_corrections_make_it_closer(steps, rungs, bounds):
    """Bounds of H-A.3's analytic score: 0.040, 0.010 and 0.001 with 50 steps; 0.078, 0.039 (and 0.013) with 20."""
    grid = RungGrid.of(ALPHAS, steps, rungs)
    clean = torch.randn(1, 1, 16, 16, generator=torch.Generator().manual_seed(2)) * 0.3
    clean = clean + torch.where(torch.arange(16) % 2 == 0, 1.0, -1.0)
    noise, errors = _mixture(grid), []
    for corrections in (0, 1, 3):
        back = sample(noise, invert(noise, clean, grid, corrections)[-1], grid).last
        errors.append(float((back - clean).square().mean().sqrt()))
    assert errors[0] > 1.5 * errors[1] > 1.5 * errors[2]
    assert all(e < b for e, b in zip(errors, bounds)), errors


def test_evaluations_times_and_levels():
    """l calls up, told the rung they climb to; l calls down; corrections ask at the state they arrived at."""
    grid, seen = RungGrid.of(ALPHAS, 20, 3), []

    def noise(state, rung, level):
        seen.append((rung, level))
        return torch.zeros_like(state)

    x = torch.zeros(1, 1, 2, 2)
    invert(noise, x, grid)
    assert seen == [(1, 0), (2, 1), (3, 2)]
    seen.clear()
    sample(noise, x, grid, stop=1)
    assert seen == [(3, 3), (2, 2)]
    seen.clear()
    invert(noise, x, grid, corrections=1)
    assert seen == [(1, 0), (1, 1), (2, 1), (2, 2), (3, 2), (3, 3)]


def test_states_stay_in_float32_and_keep_can_hold_them():
    grid = RungGrid.of(ALPHAS, 20, 4)
    states = invert(lambda x, rung, level: x.half(), torch.ones(1, 1, 2, 2).half(), grid)
    assert states.dtype == torch.float32
    held = sample(lambda x, rung, level: x, states[-1], grid, keep=lambda x, rung: torch.full_like(x, float(rung)))
    assert held.states[1:].mean((1, 2, 3, 4)).tolist() == [3.0, 2.0, 1.0, 0.0]


@pytest.mark.parametrize(("steps", "rungs"), [(20, 0), (20, 21), (2000, 5)])
def test_impossible_grids_are_refused(steps, rungs):
    with pytest.raises(ValueError, match="rungs"):
        RungGrid.of(ALPHAS, steps, rungs)
    with pytest.raises(ValueError, match="stop"):
        sample(lambda x, rung, level: x, torch.zeros(1, 1, 1, 1), RungGrid.of(ALPHAS, 20, 4), stop=4)
