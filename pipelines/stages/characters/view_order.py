"""Whether six pictures can be the standard views in the standard order.

The cameras are orthographic at elevation 0, so the outlines of front and back, and of right and left, are each other's
mirror images.  True views share 99 % of them, pictures in a wrong order mostly less than 75 %, and a network that is unsure
of a figure may draw views that agree no better than that: what tells the two apart is whether a missing partner lies in
another place.  Right and left exchanged cannot be told from outlines.
"""

from __future__ import annotations

from torch import Tensor

from ...core.character_views import CharacterViews
from ...core.ortho import VIEW_NAMES

OPPOSITE = ((0, 3), (2, 4))  # front and back, right and left
AGREEMENT = 0.75  # overlap of mirrored outlines below which two views are no opposite views (front and side: 0.67)
PROOF = 0.9  # overlap from which a view elsewhere is the partner of one that lacks it


def shared(one: Tensor, other: Tensor) -> float:
    """Intersection over union of mask [H, W] and the mirror image of another; 0 where both are empty."""
    mirrored = other.flip(-1)
    return float((one & mirrored).sum() / (one | mirrored).sum().clamp_min(1))


def disagreeing(masks: Tensor) -> list[tuple[int, int, float]]:
    """(a, b, overlap) of the opposite views of masks [6, H, W] (bool) whose outlines do not mirror each other."""
    found = [(a, b, shared(masks[a], masks[b])) for a, b in OPPOSITE]
    return [entry for entry in found if entry[2] < AGREEMENT]


def misplaced(masks: Tensor) -> tuple[int, int, float] | None:
    """(a, b, overlap) of a view that lacks its partner, and of the one elsewhere that mirrors it; None without such."""
    doubtful = {i for a, b, _ in disagreeing(masks) for i in (a, b)}
    settled = {i for pair in OPPOSITE for i in pair} - doubtful
    given = {frozenset(pair) for pair in OPPOSITE}
    found = [(a, b, shared(masks[a], masks[b])) for a in doubtful for b in range(len(masks))
             if b != a and b not in settled and frozenset((a, b)) not in given]
    best = max(found, key=lambda entry: entry[2], default=None)
    return best if best is not None and best[2] >= PROOF else None


def order_remarks(masks: Tensor) -> list[str]:
    """What to tell a person of opposite views that disagree, in masks [6, H, W] (bool)."""
    words = [f"{VIEW_NAMES[a]} and {VIEW_NAMES[b]} ({overlap:.0%})" for a, b, overlap in disagreeing(masks)]
    if not words:
        return []
    return [f"The outlines of {' and of '.join(words)} hardly mirror each other: the views are unsure of the figure, or not in "
            f"the order {', '.join(VIEW_NAMES)}."]


def level_remarks(views: CharacterViews) -> list[str]:
    """The same for every level of a character's views."""
    return [f"Level '{name}': {remark}" for name, alpha in zip(views.levels, views.alpha, strict=True)
            for remark in order_remarks(alpha > 0.5)]
