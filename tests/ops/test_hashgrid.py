"""The hash-grid kernels against their specification, finite differences and closed forms; the field on top of them."""

import json
import math

import pytest
import torch
from lift123.pipelines.fields.hash_nerf import NORMAL_METHODS, HashNerf, HashNerfConfig, truncated_exp
from lift123.pipelines.ops.hashgrid import HashGridConfig, encode, encode_reference, encode_with_jacobian, new_table

DEVICES = ["cpu"] + (["cuda"] if torch.cuda.is_available() else [])
MIXED = HashGridConfig(levels=5, log2_table=10, base=4, finest=40)  # dense and hashed levels
LINEAR = HashGridConfig(levels=3, log2_table=14, base=8, finest=64, smoothstep=False)


def seeded(seed: int = 0, device: str = "cpu") -> torch.Generator:
    return torch.Generator(device).manual_seed(seed)


def points(count: int, device: str = "cpu", seed: int = 0) -> torch.Tensor:
    """Random points, with the corners of the unit cube and points outside it in front."""
    x = torch.rand(count, 3, generator=seeded(seed))
    special = torch.tensor([[0.0, 0, 0], [1, 1, 1], [1, 0, 0.5], [-0.3, 0.5, 1.7]])
    return torch.cat([special, x])[:count].to(device)


def random_table(config: HashGridConfig, device: str = "cpu") -> torch.Tensor:
    return torch.randn(config.rows, 2, generator=seeded(1)).to(device)


def close(got: torch.Tensor, want: torch.Tensor, tolerance: float = 1e-5) -> None:
    assert got.shape == want.shape
    assert (got - want).abs().max() <= tolerance * want.abs().max().clamp_min(1e-6)


def test_layout_is_the_published_one():
    config = HashGridConfig()
    nodes = [spot[0] for spot in config.layout]
    assert nodes == [16, 23, 31, 43, 59, 81, 112, 154, 213, 295, 407, 562, 777, 1073, 1483, 2048]
    assert config.rows == 6_098_120
    assert [spot[3] for spot in config.layout] == [1] * 5 + [0] * 11


@pytest.mark.parametrize("change", [{"features": 4}, {"levels": 0}, {"base": 1}, {"finest": 8}, {"log2_table": 30}])
def test_impossible_grids_are_refused(change):
    with pytest.raises(ValueError):
        HashGridConfig(**change)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("live", [None, 3, 1])
@pytest.mark.parametrize("config", [MIXED, LINEAR])
def test_encode_matches_its_specification(config, live, device):
    x, table = points(400, device).requires_grad_(), random_table(config, device).requires_grad_()
    got, want = encode(x, table, config, live), encode_reference(x, table, config, live)
    close(got, want, 1e-6)
    cotangent = torch.randn(got.shape, generator=seeded(2)).to(device)
    for a, b in zip(torch.autograd.grad(got, (x, table), cotangent), torch.autograd.grad(want, (x, table), cotangent)):
        close(a, b)


def test_dead_levels_are_zero():
    got = encode(points(50), random_table(MIXED), MIXED, 2)
    assert (got[:, 4:] == 0).all() and (got[:, :4] != 0).any()
    assert (encode(points(50), random_table(MIXED), MIXED, 0) == 0).all()


def test_dense_level_interpolates_a_linear_function_exactly():
    config = HashGridConfig(levels=1, log2_table=14, base=16, finest=16, smoothstep=False)
    nodes = torch.arange(config.rows)
    place = torch.stack([nodes % 16, nodes // 16 % 16, nodes // 256], dim=1).float()
    slopes = torch.tensor([[1.0, -2.0], [0.5, 3.0], [-0.25, 1.0]])
    x = points(300)[4:] * 0.95  # the far border wraps, as in tiny-cuda-nn
    assert torch.allclose(encode(x, place @ slopes, config), (x * 15 + 0.5) @ slopes, atol=1e-4)


def test_position_gradient_matches_finite_differences():
    config = HashGridConfig(levels=2, log2_table=14, base=4, finest=6)
    x = (points(200)[4:] * 0.9 + 0.05).requires_grad_()
    table = random_table(config)
    gradient = torch.autograd.grad(encode(x, table, config).sum(), x)[0]
    for axis in range(3):
        step = torch.eye(3)[axis] * 1e-3
        with torch.no_grad():
            slope = (encode(x + step, table, config) - encode(x - step, table, config)).sum(1) / 2e-3
        assert (slope - gradient[:, axis]).abs().median() < 2e-3 * gradient.abs().mean()


@pytest.mark.parametrize("device", DEVICES)
def test_jacobian_and_its_table_gradient_match_the_specification(device):
    x, table = points(60, device).requires_grad_(), random_table(MIXED, device).requires_grad_()
    got, value = encode_with_jacobian(x, table, MIXED, 4), encode_reference(x, table, MIXED, 4)
    close(got[0], value, 1e-6)
    for column in range(MIXED.width):
        close(got[1:, :, column].T, torch.autograd.grad(value[:, column].sum(), x, retain_graph=True)[0])
    cotangent = torch.randn(got.shape, generator=seeded(3)).to(device)
    total = (value * cotangent[0]).sum()
    for axis in range(3):  # the directional derivative of the specification, differentiated once more
        total = total + torch.autograd.grad(value, x, cotangent[1 + axis], create_graph=True)[0][:, axis].sum()
    close(torch.autograd.grad(got, table, cotangent)[0], torch.autograd.grad(total, table)[0])


def test_in_place_gradients_add_up_in_the_parameter():
    table = torch.nn.Parameter(random_table(MIXED))
    x = points(100)
    want = 2 * torch.autograd.grad(encode(x, table, MIXED).square().sum(), table)[0]
    encode(x, table, MIXED, in_place=True).square().sum().backward()
    buffer = table.grad
    encode(x, table, MIXED, in_place=True).square().sum().backward()
    assert table.grad is buffer
    close(table.grad, want)


def test_encoding_is_bitwise_the_same_again_and_on_more_threads():
    table, x = random_table(MIXED).requires_grad_(), points(3000)
    threads = torch.get_num_threads()
    results = []
    try:
        for count in (1, 1, 2):
            torch.set_num_threads(count)
            out = encode(x, table, MIXED)
            results.append((out.detach(), torch.autograd.grad(out.sin().sum(), table)[0]))
    finally:
        torch.set_num_threads(threads)
    for out, gradient in results[1:]:
        assert torch.equal(out, results[0][0]) and torch.equal(gradient, results[0][1])


def test_no_points_and_nan_points_are_harmless():
    table = random_table(MIXED).requires_grad_()
    empty = encode(torch.zeros(0, 3), table, MIXED)
    assert empty.shape == (0, 10) and torch.autograd.grad(empty.sum(), table)[0].abs().sum() == 0
    bad = torch.full((5, 3), math.nan)
    assert encode(bad, table, MIXED).shape == (5, 10)


def test_wrong_shapes_are_refused():
    with pytest.raises(ValueError, match="points"):
        encode(torch.zeros(3), random_table(MIXED), MIXED)
    with pytest.raises(ValueError, match="table"):
        encode(points(5), torch.zeros(7, 2), MIXED)
    with pytest.raises(ValueError, match="float32"):
        encode(points(5).double(), random_table(MIXED), MIXED)


def test_new_table_is_small_and_seeded():
    a, b = new_table(MIXED, seeded(5)), new_table(MIXED, seeded(5))
    assert torch.equal(a, b) and 0.9e-4 < a.abs().max() <= 1e-4


# The field


def small_field(seed: int = 0, **changes) -> HashNerf:
    return HashNerf(HashNerfConfig(MIXED, hidden=16, **changes), seeded(seed))


def test_field_is_seeded_and_leaves_the_global_generator_alone():
    before = torch.random.get_rng_state()
    a, b, c = small_field(1).state_dict(), small_field(1).state_dict(), small_field(2).state_dict()
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(torch.equal(a[k], b[k]) for k in a)
    assert not any(torch.equal(a[k], c[k]) for k in a)


def test_field_config_survives_json():
    config = HashNerfConfig(MIXED, hidden=8, blob_density=3.0)
    assert HashNerfConfig.from_json(json.loads(json.dumps(config.to_json()))) == config


def test_density_and_albedo_agree_with_their_parts():
    field, x = small_field(), points(100) * 2 - 1
    density, albedo = field.density_and_albedo(x)
    assert torch.equal(density, field.density(x)) and torch.equal(albedo, field.albedo(x))
    assert (density > 0).all() and (albedo > 0).all() and (albedo < 1).all()


def test_blob_gives_the_published_starting_density():
    field = small_field(blob_density=10.0, blob_sigma=0.2)
    x = torch.tensor([[0.0, 0, 0], [0.343, 0, 0]])
    assert torch.allclose(torch.exp(field.blob(x)), torch.tensor([22026.0, 10.0]), rtol=2e-2)


@pytest.mark.parametrize("method", NORMAL_METHODS)
def test_normals_of_a_radial_density_point_outwards(method):
    field = small_field()
    with torch.no_grad():
        field.table.zero_()  # the logit is constant: only the blob has a slope
    x = torch.randn(200, 3, generator=seeded(7)) * 0.2
    cosine = (field.normal(x, method) * torch.nn.functional.normalize(x, dim=-1)).sum(-1)
    assert cosine.min() > (0.99 if method == "tetrahedral" else 0.9999)


def test_analytic_normal_is_the_gradient_of_the_log_density():
    field = small_field()
    with torch.no_grad():
        field.table.normal_(0, 0.3, generator=seeded(8))
    x = (torch.rand(100, 3, generator=seeded(9)) * 1.8 - 0.9).requires_grad_()
    gradient = torch.autograd.grad(field.log_density(x).sum(), x)[0]
    assert torch.allclose(field.normal(x, "analytic"), -torch.nn.functional.normalize(gradient, dim=-1), atol=1e-5)


@pytest.mark.parametrize("method", NORMAL_METHODS)
def test_normal_gradients_to_parameters_match_finite_differences(method):
    field = small_field()
    field.accumulate_in_place = False
    with torch.no_grad():
        field.table.normal_(0, 0.3, generator=seeded(8))
    x = torch.rand(40, 3, generator=seeded(9)) * 1.6 - 0.8
    weight = torch.randn(40, 3, generator=seeded(10))
    names = dict(field.named_parameters())
    direction = {k: torch.randn(p.shape, generator=seeded(11)) for k, p in names.items()}
    loss = (field.normal(x, method) * weight).sum()
    gradients = torch.autograd.grad(loss, list(names.values()), allow_unused=True)
    slope = sum((g * direction[k]).sum() for k, g in zip(names, gradients) if g is not None)
    values = []
    for sign in (1, -1):
        with torch.no_grad():
            for k, p in names.items():
                p.add_(direction[k], alpha=sign * 2e-4)
            values.append((field.normal(x, method) * weight).sum().double())
            for k, p in names.items():
                p.sub_(direction[k], alpha=sign * 2e-4)
    assert abs(float((values[0] - values[1]) / 4e-4 - slope)) < 0.03 * abs(float(slope)) + 0.05


def test_flat_density_has_no_normal():
    field = small_field(blob_density=0.0)
    with torch.no_grad():
        field.table.zero_()
    assert all((field.normal(points(20), m) == 0).all() for m in NORMAL_METHODS)


def test_unknown_normal_method_is_refused():
    with pytest.raises(ValueError, match="normal method"):
        small_field().normal(points(5), "sobel")


def test_truncated_exp():
    x = torch.tensor([-2.0, 3.0, 20.0], requires_grad=True)
    y = truncated_exp(x)
    y.sum().backward()
    assert torch.allclose(y, torch.exp(x))
    assert torch.allclose(x.grad, torch.exp(torch.tensor([-2.0, 3.0, 15.0])))


def test_live_levels_change_what_the_field_sees():
    field, x = small_field(), points(50)
    with torch.no_grad():
        field.table.normal_(0, 0.3, generator=seeded(8))
        full = field.density(x)
        field.live_levels = 2
        coarse = field.density(x)
        field.table[MIXED.layout[2][2] :] = 7.0  # rows of the dead levels
        assert torch.equal(field.density(x), coarse) and not torch.equal(full, coarse)
