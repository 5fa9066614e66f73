"""What a mask marks: Load Image's kind and segmentation's kind, told by the border, and forgotten switches."""

import pytest
import torch
from lift123.pipelines.core.errors import InputError
from lift123.pipelines.stages.inputs.marks import MARKS, border_share, object_mask
from lift123.pipelines.stages.inputs.reference import prepare_reference


def box(top=10, left=12, bottom=40, right=30, height=48, width=64):
    """[1, H, W] with a box of ones."""
    mask = torch.zeros(1, height, width)
    mask[:, top:bottom, left:right] = 1
    return mask


def load_image(alpha):
    """(picture, mask) as ComfyUI's Load Image sends them for a picture of this alpha [H, W] (None: it has none)."""
    picture = torch.full((1, 48, 64, 3), 0.2)
    return picture, torch.zeros(1, 64, 64) if alpha is None else 1 - alpha[None]


def test_both_kinds_of_masks_become_the_same_coverage():
    truth = box()
    for given, said in ((truth, "taken to mark the object"), (1 - truth, "taken to mark the background")):
        cover, (remark,) = object_mask(given)
        assert torch.equal(cover, truth) and said in remark
    assert torch.equal(object_mask(truth, "object")[0], truth)
    assert torch.equal(object_mask(1 - truth, "background")[0], truth)
    assert object_mask(truth, "object")[1] == object_mask(1 - truth, "background")[1] == []


def test_objects_at_the_rim_are_still_told_apart():
    """Cut off below, or at two sides: the border is mostly background all the same."""
    for given in (box(10, 12, 48, 40), box(0, 20, 48, 50), box(20, 0, 48, 40)):
        assert 0.1 < border_share(given) < 0.5
        assert torch.equal(object_mask(given)[0], given) and torch.equal(object_mask(1 - given)[0], given)


def test_the_share_counts_every_border_pixel_once():
    mask = torch.zeros(3, 5)
    mask[0] = 1
    assert border_share(mask) == pytest.approx(5 / 12)
    mask[1, 1:4] = 1
    assert border_share(mask) == pytest.approx(5 / 12), "the inside does not count"
    assert border_share(torch.ones(2, 4, 4)) == 1 and border_share(torch.tensor([[0.5]])) == 0


@pytest.mark.parametrize("marks", ["auto", "background"])
def test_a_mask_that_marks_nothing_says_nothing(marks):
    """Load Image's empty mask; an almost opaque alpha (254 of 255, or what CMYK pictures get) says no more than that."""
    assert object_mask(None, marks) == (None, [])
    assert object_mask(torch.zeros(1, 64, 64), marks) == (None, [])
    cover, (remark,) = object_mask(torch.full((1, 48, 64), 1 / 255), marks)
    assert cover is None and "0.4%" in remark


def test_a_switch_that_was_set_the_wrong_way_round_is_refused():
    truth = box()
    for given, marks, other in ((1 - truth, "object", "background"), (truth, "background", "object")):
        with pytest.raises(InputError, match="an object on a background") as error:
            object_mask(given, marks)
        assert "100%" in error.value.got and f"auto or {other}" in error.value.remedy


def test_views_may_be_filled_by_their_object():
    full = torch.ones(3, 8, 8)
    assert torch.equal(object_mask(full, "object", close=True)[0], full)
    assert float(object_mask(full, "background", close=True)[0].max()) == 0


def test_between_the_two_the_choice_counts_and_is_doubted():
    given = box(8, 0, 48, 64)
    assert 0.5 < border_share(given) < 0.75
    cover, (remark,) = object_mask(given, "object")
    assert torch.equal(cover, given) and remark.startswith("warning") and "background" in remark


def test_pictures_go_from_load_image_to_a_reference_view():
    alpha = box()[0]
    picture, mask = load_image(alpha)
    cover, _ = object_mask(mask)
    assert float(prepare_reference(picture, cover, size=64)[0].views.alpha.mean()) > 0.2
    picture[:, 20:30, 20:30] = 0.9
    for opaque in (None, torch.full((48, 64), 254 / 255)):
        cover, _ = object_mask(load_image(opaque)[1])
        view, report = prepare_reference(picture, cover, size=64)
        assert "plain background" in report[0] and "10 x 10 px" in report[-1]


def test_a_picture_of_an_almost_opaque_alpha_has_none():
    image = torch.full((48, 64, 4), 0.9)
    image[20:30, 20:30, :3] = 0.1
    image[..., 3] = 254 / 255
    view, report = prepare_reference(image, size=64)
    assert "plain background" in report[0] and "10 x 10 px" in report[-1]


def test_see_through_objects_are_named():
    cover, _ = object_mask(load_image(0.35 * box()[0])[1])
    with pytest.raises(InputError, match="never exceeds 35%: a see-through object"):
        prepare_reference(torch.rand(1, 48, 64, 3), cover)


def test_unknown_words_are_refused():
    assert MARKS == ("auto", "background", "object")
    with pytest.raises(InputError, match="mask_marks"):
        object_mask(box(), "neither")
