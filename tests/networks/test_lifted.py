"""The lifted volume of the embedded view prior: closed forms of its geometry, colors and gradients."""

import json
import math
from dataclasses import replace

import pytest
import torch
from helpers.lift_random import random_net
from lift123.pipelines.core.cameras import HOME, Cameras
from lift123.pipelines.core.errors import InputError
from lift123.pipelines.loaders import embedded
from lift123.pipelines.loaders.embedded_files import TABLE, make_table
from lift123.pipelines.networks import lifted
from lift123.pipelines.networks.lifted import COLUMNS, EMPTY, FIELDS, SIDE, SLICES, Lifted, LiftNet
from lift123.pipelines.networks.lifted_view import SPREAD, LiftedViewDenoiser, decided
from lift123.pipelines.networks.noise import scaled_linear_alphas
from lift123.pipelines.toybox.objects import heldout_seed, make_object
from lift123.pipelines.toybox.render import reference_camera, render_toy

TAN = torch.tensor([math.tan(HOME.fovy / 2)])
FRAME = HOME.radius * float(TAN)


def seeded(seed=0):
    return random_net(seed).eval().requires_grad_(False)


def sheet(picture, slices, color=None):
    """A volume that is opaque in some slices everywhere; it shows the picture's own colors, or one color."""
    voxels = torch.zeros(COLUMNS**2, SLICES, FIELDS)
    voxels[..., 0] = EMPTY
    voxels[:, slices, 0] = 40.0
    voxels[..., 1:4] = 1.0 if color is None else 0.0
    if color is not None:
        voxels[..., 4:] = torch.tensor(color)
    table = torch.cat([torch.zeros(1, FIELDS), voxels.flatten(0, 1)])
    columns = 1 + SLICES * torch.arange(COLUMNS**2).reshape(1, COLUMNS, COLUMNS)
    return Lifted(table, columns, torch.cat([picture[None], torch.zeros(1, SIDE, SIDE, 1)], -1))


def smooth_picture():
    y, x = torch.meshgrid(*[torch.linspace(0, 1, SIDE)] * 2, indexing="ij")
    return torch.stack([x, y, 0.5 + 0.4 * torch.sin(5 * x) * torch.cos(3 * y)], -1)


def shown(volume, camera, samples=200):
    origins, directions = lifted.relative(camera, reference_camera(SIDE))
    out = lifted.render(volume, origins.flatten(1, 2), directions.flatten(1, 2), TAN, samples)
    return out.reshape(SIDE, SIDE, 4)


# ------------------------------------------------------------------------------------------ geometry


@pytest.mark.parametrize("reference", [(0.0, 0.0, 3.2, 0.35), (1.1, 0.3, 2.0, 0.7)])
def test_points_project_as_the_reference_camera_projects_them(reference):
    camera = Cameras.orbit(*reference, SIDE, SIDE)
    points = torch.rand(50, 3, generator=torch.Generator().manual_seed(0)) * 0.6 - 0.3
    clip = torch.cat([points, torch.ones(50, 1)], 1) @ camera.world_to_clip()[0].T
    tan, frame = math.tan(reference[3] / 2), reference[2] * math.tan(reference[3] / 2)
    seen = torch.cat([points, torch.ones(50, 1)], 1) @ camera.w2c()[0].T
    inside = (seen[:, :3] + torch.tensor([0, 0, reference[2]])) / frame
    uvw = lifted.project(inside, torch.tensor(tan))
    assert torch.allclose(uvw[:, :2], clip[:, :2] / clip[:, 3:], atol=1e-5)
    assert torch.allclose(uvw[:, 2] * frame + reference[2], clip[:, 3], atol=1e-5)


def test_rays_in_frames_pass_through_the_same_points():
    there = Cameras.orbit(torch.tensor([0.7, 3.0]), torch.tensor([0.3, -0.2]), 3.2, HOME.fovy, SIDE, SIDE)
    reference = Cameras.orbit(0.4, 0.1, 3.2, HOME.fovy, SIDE, SIDE)
    origins, directions = lifted.relative(there, reference)
    assert torch.allclose(directions.norm(dim=-1), torch.ones(2, SIDE, SIDE), atol=1e-5)
    rays = there.rays()
    world = rays.origins + 3.0 * rays.directions
    moved = torch.einsum("bij,bhwj->bhwi", reference.w2c()[:, :3, :3].expand(2, -1, -1), world) / FRAME
    apart = moved - origins
    assert torch.allclose(torch.linalg.cross(apart, directions), torch.zeros_like(apart), atol=1e-4)


def test_the_cube_is_entered_and_left_where_a_fine_walk_says():
    generator = torch.Generator().manual_seed(1)
    origins = torch.nn.functional.normalize(torch.randn(300, 3, generator=generator), dim=-1) * 4
    directions = torch.nn.functional.normalize(-origins + 1.3 * torch.randn(300, 3, generator=generator), dim=-1)
    near, far = lifted.crossing(origins, directions)
    walk = torch.linspace(0, 8, 8001)
    inside = ((origins[:, None] + walk[:, None] * directions[:, None]).abs() <= lifted.REACH).all(-1)
    hit = inside.any(1)
    assert 50 < int(hit.sum()) < 300 and bool((far[~hit] - near[~hit] < 2e-3).all())
    first, last = walk[inside.float().argmax(1)], walk[8000 - inside.flip(1).float().argmax(1)]
    assert torch.allclose(near[hit], first[hit], atol=2e-3) and torch.allclose(far[hit], last[hit], atol=2e-3)


def test_support_is_what_is_not_white_what_that_encloses_and_two_pixels():
    picture = torch.ones(1, SIDE, SIDE, 3)
    assert not lifted.support(picture).any()
    picture[0, 20:40, 30], picture[0, 20:40, 50], picture[0, 20, 30:51], picture[0, 39, 30:51] = 0.2, 0.2, 0.2, 0.2
    expected = torch.zeros(SIDE, SIDE, dtype=torch.bool)
    expected[18:42, 28:53] = True
    assert torch.equal(lifted.support(picture)[0], expected)


# ------------------------------------------------------------------------------------------ colors


def test_a_sheet_shows_the_picture_from_the_front_and_its_mirror_image_from_behind():
    picture = smooth_picture()
    volume, middle = sheet(picture, [SLICES // 2 - 1, SLICES // 2]), slice(4, -4)
    front, back = (shown(volume, HOME.orbit(a, 0.0, SIDE)) for a in (0.0, math.pi))
    assert torch.allclose(front[middle, middle, 3], torch.ones(SIDE - 8, SIDE - 8), atol=1e-3)
    assert torch.allclose(front[middle, middle, :3], picture[middle, middle], atol=1e-3)
    assert torch.allclose(back[middle, middle, :3], picture.flip(1)[middle, middle], atol=0.02)


def test_a_color_of_its_own_is_shown_and_nothing_is_white():
    volume = sheet(smooth_picture(), [5], (0.2, 0.4, 0.6))
    assert torch.allclose(shown(volume, HOME.orbit(0.0, 0.0, SIDE))[32, 32], torch.tensor([0.2, 0.4, 0.6, 1.0]), atol=1e-3)
    nothing = replace(volume, columns=torch.zeros_like(volume.columns))
    assert torch.equal(shown(nothing, HOME.orbit(0.8, 0.2, SIDE)), torch.tensor([1.0, 1, 1, 0]).expand(SIDE, SIDE, 4))


def test_coverage_of_an_even_fog_is_the_exponential_of_what_a_ray_crosses():
    volume = sheet(smooth_picture(), list(range(SLICES)), (0.0, 0.0, 0.0))
    raw = -3.0
    volume.table[1:, 0] = raw
    origins, directions = (x.flatten(1, 2) for x in lifted.relative(HOME.orbit(0.6, 0.2, SIDE), reference_camera(SIDE)))
    near, far = lifted.crossing(origins, directions)
    inner = lifted.project(origins[..., None, :] + directions[..., None, :] * torch.stack([near, far], -1)[..., None], TAN)
    whole = (inner[..., :2].abs() < 0.98).all(-1).all(-1) & (far - near > 0.1)  # all the way inside what the picture sees
    alpha = lifted.render(volume, origins, directions, TAN, 60)[..., 3]
    expected = 1 - torch.exp(-lifted.DENSITY * math.log1p(math.exp(raw)) * (far - near))
    assert int(whole.sum()) > 500 and torch.allclose(alpha[whole], expected[whole], atol=1e-4)


def test_voxels_are_interpolated_as_grid_sample_does():
    generator = torch.Generator().manual_seed(2)
    volume = sheet(smooth_picture(), [3])
    volume.table[1:] = torch.randn(COLUMNS**2 * SLICES, FIELDS, generator=generator)
    uvw = torch.rand(400, 3, generator=generator) * 1.9 - 0.95
    found = lifted.sum_rows(*lifted._trilinear(volume, torch.zeros(400, dtype=torch.long), uvw))
    grid = volume.table[1:].view(1, COLUMNS, COLUMNS, SLICES, FIELDS).permute(0, 4, 1, 2, 3)
    places = torch.stack([uvw[:, 2], uvw[:, 0], -uvw[:, 1]], -1)[None, None, None]
    expected = torch.nn.functional.grid_sample(grid, places, align_corners=False, padding_mode="border")
    assert torch.allclose(found, expected[0, :, 0, 0].T, atol=1e-4)


# ------------------------------------------------------------------------------------------ network and denoiser


def test_pictures_are_lifted_by_themselves_and_the_same_twice():
    net = seeded()
    pictures = torch.stack([render_toy(make_object(heldout_seed(i)), reference_camera(SIDE)).on_background(1.0)[0]
                            for i in range(2)])
    both, alone = net(pictures), net(pictures[1:])
    assert both.table.shape[1] == FIELDS and both.columns.shape == (2, COLUMNS, COLUMNS) and both.plane.shape[-1] == 4
    assert torch.equal(both.plane, net(pictures).plane) and torch.equal(both.table, net(pictures).table)
    cameras = HOME.orbit([0.5, 2.0], [0.1, 0.3], SIDE)
    origins, directions = (x[:, ::8, ::8].flatten(1, 2) for x in lifted.relative(cameras, reference_camera(SIDE)))
    tan = TAN.expand(2)
    together = lifted.render(both, origins, directions, tan, 16)
    single = lifted.render(alone, origins[1:], directions[1:], tan[1:], 16)
    assert torch.allclose(together[1:], single, atol=1e-4) and not torch.allclose(together[0], together[1], atol=1e-2)


def test_where_the_picture_is_white_nothing_is_seen():
    volume = seeded()(torch.ones(1, SIDE, SIDE, 3))
    assert len(volume.table) == 1 and float(shown(volume, HOME.orbit(0.3, 0.0, SIDE), 8)[..., 3].max()) == 0


def test_every_weight_learns():
    net = random_net()
    rays = lifted.relative(HOME.orbit(0.7, 0.1, SIDE), reference_camera(SIDE))
    origins, directions = (x[:, ::4, ::4].flatten(1, 2) for x in rays)
    volume = net(smooth_picture()[None] * 0.9)
    lifted.render(volume, origins, directions, TAN, 12).square().mean().backward()
    still = [name for name, p in net.named_parameters() if p.grad is None or float(p.grad.abs().max()) == 0]
    assert not still


def test_the_denoiser_is_the_exact_one_of_a_normal_error_around_what_it_shows():
    picture = render_toy(make_object(heldout_seed(3)), reference_camera(SIDE)).on_background(1.0)[0]
    denoiser = LiftedViewDenoiser(seeded(), scaled_linear_alphas()).with_reference(picture, reference_camera(SIDE))
    camera, t = HOME.orbit(0.9, 0.2, SIDE), torch.tensor([400])
    expected = denoiser.encode(denoiser.show(camera))
    noisy = torch.randn(expected.shape, generator=torch.Generator().manual_seed(4))
    abar = denoiser.alphas_cumprod[400]
    gain = SPREAD**2 * abar.sqrt() / (SPREAD**2 * abar + 1 - abar)  # of the linear regression of x_0 on x_t
    clean = expected + gain * (noisy - abar.sqrt() * expected)
    eps = (noisy - abar.sqrt() * clean) / (1 - abar).sqrt()
    assert torch.allclose(denoiser.predict_noise(noisy, t, camera), eps, atol=1e-4)
    drawn = denoiser.sample(camera, 20, torch.Generator().manual_seed(5))
    assert float((drawn - denoiser.show(camera)).abs().mean()) < 2 * SPREAD


def test_outlines_are_decided_and_colors_lose_the_white():
    color, alpha = torch.tensor([0.2, 0.4, 0.6]), torch.linspace(0, 1, 9)[:, None]
    seen = torch.cat([color * alpha + 1 - alpha, alpha], -1)
    assert torch.allclose(decided(seen, 1.0), seen[:, :3], atol=1e-6)
    sure = ((alpha - 0.5) * 4 + 0.5).clamp(0, 1)  # 0 up to 3/8, 1 from 5/8, one half stays
    assert torch.allclose(decided(seen, 4.0), color * sure + 1 - sure, atol=1e-6)
    assert torch.equal(decided(seen, 4.0)[:4], torch.ones(4, 3))


def test_any_distance_and_frame_of_the_reference_is_the_same_picture():
    """Only angles and the frame count: a world twice as large, seen from twice as far, looks the same."""
    picture = render_toy(make_object(heldout_seed(3)), reference_camera(SIDE)).on_background(1.0)[0]
    bare = LiftedViewDenoiser(seeded(), scaled_linear_alphas())
    one, two = (bare.with_reference(picture, Cameras.orbit(0.2, 0.0, r, HOME.fovy, 9, 9)).show(
        Cameras.orbit(1.2, 0.3, r, HOME.fovy, 9, 9)) for r in (3.2, 6.4))
    assert torch.allclose(one, two, atol=1e-3)


def test_weights_are_read_back_and_chosen_by_the_file(tmp_path):
    net = seeded(3)
    embedded.save_module(net, tmp_path / embedded.LIFTED)
    back = embedded.load_module(LiftNet(), tmp_path / embedded.LIFTED)
    assert all(torch.equal(a.half(), b.half()) for a, b in zip(net.state_dict().values(), back.state_dict().values()))
    for path in embedded.FOLDER.glob("*"):
        if path.suffix in (".safetensors", ".json") and not path.name.startswith(("stdgen", "view", "checksums")):
            (tmp_path / path.name).symlink_to(path)
    models = embedded.load_embedded(folder=tmp_path)
    assert torch.equal(models.view.alphas_cumprod, models.text.alphas_cumprod)
    (tmp_path / TABLE).write_text(json.dumps({**make_table(tmp_path), embedded.LIFTED: "0"}))
    (tmp_path / embedded.LIFTED).unlink()
    with pytest.raises(InputError, match="view_lift"):  # it is on the list and not there
        embedded.load_embedded(folder=tmp_path)


def test_looking_in_one_pass_is_rendering():
    net, generator = seeded(3), torch.Generator().manual_seed(4)
    pictures = torch.stack([smooth_picture(), 1 - smooth_picture()])
    pictures[:, :9], pictures[1, :, 40:] = 1.0, 1.0  # white: columns without voxels
    volume = net(pictures)
    volume = replace(volume, table=volume.table + torch.randn(volume.table.shape, generator=generator).where(
        torch.arange(len(volume.table))[:, None] > 0, torch.zeros(())))
    cameras = Cameras.orbit(torch.tensor([0.4, 2.6]), torch.tensor([0.2, -0.4]), 3.0, 0.4, 24, 24)
    origins, directions = (x.flatten(1, 2) for x in lifted.relative(cameras, HOME.orbit(0.0, 0.0, SIDE)))
    tan = torch.tensor([0.2, 0.35])
    want = lifted.render(volume, origins, directions, tan, 24)
    got = lifted.look(volume, origins, directions, tan, 24)
    assert 0.05 < want[..., 3].mean() < 0.95
    assert (got - want).abs().max() < 2e-5
