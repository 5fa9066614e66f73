"""Outlines of the small networks' blurred pictures, and of the picture that these were drawn from."""

import numpy as np
import torch
from lift123.pipelines.core.ortho import VIEW_NAMES
from lift123.pipelines.stages.characters.multiview import mask_of_normals, to_views
from lift123.pipelines.stages.characters.soft_outlines import (
    _filled,
    cover_of_normals,
    cover_of_picture,
    cut_out,
    with_picture,
    without_white,
)


def disc(size, radius=0.6, center=(0.0, 0.0), fine=8):
    """[size, size] exact coverage of a disc, [-1, 1] across, by many samples of each pixel."""
    line = (torch.arange(size * fine) + 0.5) / (size * fine) * 2 - 1
    y, x = torch.meshgrid(line, line, indexing="ij")
    inside = ((x - center[0]) ** 2 + (y - center[1]) ** 2 < radius**2).float()
    return torch.nn.functional.avg_pool2d(inside[None, None], fine)[0, 0]


def on_white(cover, color):
    return cover[..., None] * torch.tensor(color) + 1 - cover[..., None]


def test_a_blurred_outline_lies_where_half_of_it_is_left():
    """A ball's normals, blurred as a small network draws them: the mask has the ball's area, the sharp rule's is too large."""
    y, x = torch.meshgrid(torch.linspace(-2, 2, 64), torch.linspace(-2, 2, 64), indexing="ij")
    inside = x**2 + y**2 < 1
    normal = torch.stack([x, -y, (1 - x**2 - y**2).clamp_min(0).sqrt()], -1)
    picture = torch.where(inside[..., None], (normal + 1) / 2, 1.0)[None]
    soft = picture.movedim(-1, 1)
    for _ in range(2):
        soft = torch.nn.functional.avg_pool2d(torch.nn.functional.pad(soft, (1, 1, 1, 1), value=1.0), 3, 1)
    soft, area = soft.movedim(1, -1), float(inside.sum())
    assert abs(float((cover_of_normals(soft) > 0.5).sum()) / area - 1) < 0.05
    assert float(mask_of_normals(soft).sum()) / area > 1.09
    assert cover_of_normals(torch.ones(1, 8, 8, 3)).sum() == 0


def test_coverage_of_a_picture_is_what_its_edge_pixels_are_mixed_of():
    cover = disc(32)
    for color in ((0.1, 0.2, 0.3), (0.9, 0.7, 0.6), (0.95, 0.93, 0.9)):
        faint = 0.05 / (3 - sum(color))  # what is no farther from white is background
        assert (cover_of_picture(on_white(cover, color)) - cover).abs().max() < faint + 0.01, color


def test_white_inside_of_a_picture_belongs_to_the_figure():
    cover, eye = disc(32), disc(32, 0.2)
    picture = on_white(cover, (0.3, 0.2, 0.1)) * (1 - eye[..., None]) + eye[..., None]
    found = cover_of_picture(picture)
    assert bool((found[eye > 0] == 1).all()) and abs(float(found.sum() / cover.sum()) - 1) < 0.01


def test_two_colors_that_meet_at_the_outline_are_told_from_their_own():
    """A light half beside a dark one: the light one's edge is no half covered dark."""
    cover = disc(48)
    colors = torch.where(torch.arange(48)[None, :, None] < 24, torch.tensor([0.95, 0.85, 0.75]), torch.tensor([0.1, 0.1, 0.1]))
    picture = cover[..., None] * colors + 1 - cover[..., None]
    assert ((cover_of_picture(picture) > 0.5) != (cover > 0.5)).sum() <= 4


def test_colors_without_the_white_they_were_mixed_with():
    cover = disc(16)
    picture = on_white(cover, (0.2, 0.5, 0.8))
    found = without_white(picture[None], cover[None])[0]
    assert torch.allclose(found[cover > 0.01], torch.tensor([0.2, 0.5, 0.8]).expand(int((cover > 0.01).sum()), 3), atol=1e-3)
    assert bool((found[cover == 0] == 1).all())


def test_front_and_back_take_the_pictures_outline_where_it_is_believable():
    true, own = disc(32, center=(0.1, 0.0)), disc(32, 0.55, (0.1, 0.0))
    picture, views = on_white(true, (0.2, 0.4, 0.6)), own.expand(6, -1, -1).clone()
    views[3] = own.flip(1)
    found = with_picture(views, picture, complete=True)
    assert (found[0] - true).abs().max() < 0.04 and (found[3] - true.flip(1)).abs().max() < 0.04
    assert all(torch.equal(found[k], own) for k in (1, 2, 4, 5)) and torch.equal(views[0], own)
    assert VIEW_NAMES[0] == "front" and VIEW_NAMES[3] == "back"

    elsewhere = on_white(disc(32, 0.3, (-0.5, 0.5)), (0.2, 0.4, 0.6))
    assert torch.equal(with_picture(views, elsewhere, complete=True), views)

    body = disc(32, 0.5, (0.25, 0.0)).expand(6, -1, -1).clone()
    body[3] = body[3].flip(1)
    inner = with_picture(body, picture, complete=False)
    assert bool((inner <= body).all()) and bool((inner[0] <= true + 0.04).all())
    assert float(inner[0].sum()) > 0.9 * float(body[0].sum())


def test_views_of_soft_pictures_have_unit_normals_up_to_their_outline():
    """A plane seen from the front, its edge half covered: the normal there is the plane's, not half way to white."""
    cover = torch.zeros(16, 16)
    cover[4:12, 4:12] = 1.0
    cover[4:12, 12] = 0.6
    normals = on_white(cover, (0.5, 0.5, 1.0)).expand(6, -1, -1, -1)
    colors = on_white(cover, (0.8, 0.2, 0.2)).expand(6, -1, -1, -1)
    views = to_views(torch.cat([normals, colors]), "complete", soft=True, front=colors[0])
    assert torch.allclose(views.alpha[0, 0], cover, atol=0.02)
    assert torch.allclose(views.normal[0, 1, 6, 12], torch.tensor([0.0, 0.0, 1.0]), atol=0.05)
    assert torch.allclose(views.color[0], colors, atol=0.02)


def test_colors_at_an_outline_are_mixed_anew():
    """A disc whose colors are blurred more than its coverage says gets the edge that the coverage has."""
    cover = disc(32)
    blurred = torch.nn.functional.avg_pool2d(torch.nn.functional.pad(cover[None], (1, 1, 1, 1)), 3, 1)[0]
    found = cut_out(on_white(blurred, (0.2, 0.4, 0.6))[None], cover[None])[0]
    partly = (cover > 0) & (cover < 1)
    before, after = ((p - on_white(cover, (0.2, 0.4, 0.6)))[partly].abs().mean()
                     for p in (on_white(blurred, (0.2, 0.4, 0.6)), found))
    assert float(after) < 0.3 * float(before)
    sharp = on_white(cover, (0.2, 0.4, 0.6))
    assert torch.allclose(cut_out(sharp[None], cover[None])[0], sharp, atol=1e-5)
    assert torch.equal(cut_out(sharp[None], (cover > 0.5).float()[None])[0], sharp), "nothing is mixed where nothing is partial"


def test_what_a_network_left_out_behind_has_the_fronts_color():
    """The picture has a blue tail that the network drew in front and not behind."""
    body, tail = disc(32), disc(32, 0.15, (0.75, -0.5))
    picture = on_white(body, (0.8, 0.2, 0.2)) - tail[..., None] * (1 - torch.tensor([0.1, 0.1, 0.9]))
    normals, colors = (on_white(body, c).expand(6, -1, -1, -1) for c in ((0.5, 0.5, 0.9), (0.8, 0.2, 0.2)))
    views = to_views(torch.cat([normals, colors]), "complete", soft=True, front=picture)
    there = (tail > 0.9).flip(1)
    assert bool((views.alpha[0, 3][there] > 0.9).all())
    assert torch.allclose(views.color[0, 3][there], torch.tensor([0.1, 0.1, 0.9]).expand(int(there.sum()), 3), atol=0.1)
    assert torch.allclose(views.normal[0, 3][there], torch.tensor([0.0, 0.0, -1.0]).expand(int(there.sum()), 3), atol=0.05)
    assert bool((views.color[0, 3][:, -4:] == 1).all()), "nothing else is painted"


def test_holes_are_filled_as_scipy_fills_them():
    from scipy import ndimage

    for seed in range(5):
        mask = np.random.Generator(np.random.PCG64(seed)).uniform(size=(33, 47)) < 0.62
        assert np.array_equal(_filled(torch.from_numpy(mask)).numpy(), ndimage.binary_fill_holes(mask))
