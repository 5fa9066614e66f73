"""Opposite views: every wrong order of true views that shows is proven, views that are only unsure are not refused."""

from itertools import permutations

import pytest
import torch
from lift123.pipelines.core.character_views import CharacterViews
from lift123.pipelines.core.errors import InputError
from lift123.pipelines.stages.characters.multiview import check_order
from lift123.pipelines.stages.characters.view_order import (
    AGREEMENT,
    disagreeing,
    level_remarks,
    misplaced,
    order_remarks,
    shared,
)
from lift123.pipelines.toybox.characters import render_levels
from lift123.pipelines.toybox.characters.character import heldout_character


@pytest.fixture(scope="module")
def outlines():
    """[6, 48, 48] bool: a toy character's true outlines."""
    return render_levels(heldout_character(2).layers, 48, (0,)).alpha[0] > 0.5


def unsure(masks):
    """The same views, the back with one half of the figure missing: no opposite view mirrors it, nor does any other."""
    changed = masks.clone()
    changed[3, :, 22:] = False
    return changed


def test_shared_by_hand():
    one = torch.tensor([[True, True, False, False]])
    assert shared(one, one.flip(-1)) == 1 and shared(one, one) == 0
    assert shared(one, torch.tensor([[False, False, True, False]])) == 0.5
    assert shared(torch.zeros_like(one), torch.zeros_like(one)) == 0


def test_true_views_agree_and_every_order_that_does_not_is_proven_wrong(outlines):
    assert not disagreeing(outlines) and misplaced(outlines) is None and order_remarks(outlines) == []
    wrong = [outlines[list(order)] for order in permutations(range(6))]
    wrong = [masks for masks in wrong if disagreeing(masks)]
    assert len(wrong) > 400 and all(misplaced(masks) is not None for masks in wrong)


def test_views_that_are_only_unsure_are_remarked_on(outlines):
    masks = unsure(outlines)
    (a, b, overlap), = disagreeing(masks)
    assert (a, b) == (0, 3) and overlap < AGREEMENT and misplaced(masks) is None
    (remark,) = order_remarks(masks)
    assert "front and back" in remark and "%" in remark
    alpha = masks[None].float()
    views = CharacterViews(alpha[..., None].expand(-1, -1, -1, -1, 3), torch.zeros(*alpha.shape, 3), alpha, ("complete",))
    assert check_order(views) == level_remarks(views) == [f"Level 'complete': {remark}"]
    mixed = alpha[:, [0, 2, 1, 3, 4, 5]]
    with pytest.raises(InputError, match="the order front, front_right"):
        check_order(CharacterViews(views.color, views.normal, mixed, views.levels))
