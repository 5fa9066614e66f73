"""Pictures of characters: what is refused and why, and where the figure lands on the networks' canvas."""

import pytest
import torch
from lift123.pipelines.core.errors import InputError
from lift123.pipelines.stages.characters.picture import (
    CharacterPicture,
    fit_upright,
    place_in_square,
    place_on_canvas,
    read_character,
)


def figure(height=100, width=80, top=10, bottom=90, left=30, right=50, color=(0.2, 0.4, 0.6)):
    rgba = torch.zeros(height, width, 4)
    rgba[top:bottom, left:right] = torch.tensor([*color, 1.0])
    return rgba


def test_a_transparent_picture_gives_its_figure_and_a_mask_takes_precedence():
    rgba = figure()
    rgba[5, 5, 3] = 0.05  # faint traces are nothing
    read = read_character(rgba)
    assert read.alpha.sum() == 80 * 20 and read.alpha[5, 5] == 0 and not read.report
    mask = torch.zeros(100, 80)
    mask[20:80, 20:60] = 0.95
    assert torch.equal(read_character(rgba, mask).alpha, (mask > 0).float())
    opaque = torch.where(rgba[..., 3:] > 0.5, rgba[..., :3], torch.tensor(0.9))  # fully opaque: a plain background goes
    assert float((read_character(opaque).alpha - read.alpha).abs().mean()) < 0.01


@pytest.mark.parametrize("make, message", [
    (lambda: (torch.zeros(64, 64, 4), None), "got a fully transparent picture"),
    (lambda: (figure()[..., :3], torch.zeros(100, 80)), "got an empty mask"),
    (lambda: (figure(top=10, bottom=12, left=3, right=5), None), "got hardly a pixel"),
    (lambda: (figure(bottom=100), None), "cut off at the bottom"),
    (lambda: (figure(top=0), None), "cut off at the top"),
    (lambda: (figure(left=0, bottom=100), None), "cut off at the bottom and the left"),
    (lambda: (figure(left=60, right=80), None), "cut off at the right"),
    (lambda: (torch.maximum(figure(left=5, right=25), figure(left=50, right=70, top=20)), None), "one figure, got at least two"),
    (lambda: (torch.rand(64, 64, 3, generator=torch.Generator().manual_seed(0)), None), "a plain background"),
])
def test_what_no_network_can_help_with_is_refused(make, message):
    with pytest.raises(InputError, match=message):
        read_character(*make())


def test_what_is_not_cut_off():
    tip = figure()
    tip[90:, 39:40] = tip[50, 40]  # one toe at the rim
    assert not read_character(tip).report
    assert "taken as whole" in read_character(figure(bottom=100), complete=True).report[0]
    assert "all four sides" in read_character(figure(), torch.ones(100, 80)).report[0]
    pet = torch.maximum(figure(left=5, right=25), figure(left=50, right=70, top=70))  # shorter: something held or worn
    assert not read_character(pet).report


def box_of(picture):
    inside = (picture < 0.9).any(-1)
    rows, columns = inside.any(1).nonzero().flatten(), inside.any(0).nonzero().flatten()
    return int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1


def test_the_canvas_is_1_2_times_the_figure():
    """S-A.6: a tall figure fills 1 / 1.2 of the height, centered, its shape unchanged."""
    read = read_character(figure(300, 300, 20, 260, 100, 160))
    placed = place_on_canvas(read, (192, 120))
    top, bottom, left, right = box_of(placed)
    assert abs(bottom - top - 160) <= 2 and abs(right - left - 40) <= 2  # 240 x 60 source pixels at 160 / 240
    assert abs(top + bottom - 192) <= 2 and abs(left + right - 120) <= 2
    assert torch.allclose(placed[96, 60], torch.tensor([0.2, 0.4, 0.6]), atol=1e-3) and placed[0, 0].tolist() == [1, 1, 1]


def test_wide_poses_are_made_smaller_not_cut():
    read = read_character(figure(300, 400, 100, 250, 20, 380))  # arms wide: 360 x 150
    top, bottom, left, right = box_of(place_on_canvas(read, (192, 120)))
    assert abs(right - left - 100) <= 2 and left > 5 and right < 115  # 120 / 1.2
    assert abs((bottom - top) / (right - left) - 150 / 360) < 0.03
    *_, left, right = box_of(place_on_canvas(read, (192, 120), clip_wide=True))
    assert left == 0 and right == 120  # the released code's frame


def test_edges_are_blended_by_coverage():
    """A half covered pixel lies half way to white, whatever color hides under transparency."""
    rgb, alpha = torch.zeros(60, 60, 3), torch.zeros(60, 60)
    rgb[..., 1] = 1.0
    alpha[10:50, 10:50] = 0.5
    placed = place_on_canvas(CharacterPicture(rgb, alpha), (48, 48))
    assert torch.allclose(placed[24, 24], torch.tensor([0.5, 1.0, 0.5]), atol=1e-4)
    assert placed[0, 0].tolist() == [1, 1, 1]


def test_stock_frame_and_upright_fit():
    """S-B.7: longest side 420 of 512; S-B.5: scaled to the height, centered, then cut or padded."""
    top, bottom, left, right = box_of(place_in_square(read_character(figure(300, 300, 20, 260, 100, 160)), (128, 128)))
    assert abs(bottom - top - 105) <= 1 and abs(right - left - 26) <= 2
    wide = torch.rand(64, 80, 3, generator=torch.Generator().manual_seed(0))
    assert torch.equal(fit_upright(wide, (64, 36)), wide[:, 22:58])
    narrow = fit_upright(wide[:, :20], (64, 36))
    assert torch.equal(narrow[:, 8:28], wide[:, :20]) and bool((narrow[:, :8] == 1).all()) and bool((narrow[:, 28:] == 1).all())
    assert fit_upright(wide, (32, 20)).shape == (32, 20, 3)
