"""Whether a figure stands in A-pose already, told from its outline: then canonicalization has nothing to do (ours).

Nearly its own mirror image; both hands stand away from the body, below the chest and as far out on the left as on the
right; both arms lead outwards on their way down.  Arms that hang, are raised, or lie in front of the body leave no such
rows in the outline.  What is not sure is no A-pose, for canonicalization copes with everything.  An outline does not
tell front from back.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from ...core.errors import InputError
from ...networks.stdgen.canonical import SIZE
from .picture import FRAME, CharacterPicture, figure_box, place_on_canvas

When = Literal["always", "auto", "never"]
WHEN = get_args(When)
ROWS = (0.36, 0.68)  # share of the figure's height, from the top, in which an A-pose's forearms and hands are
LEAST_ROWS = 0.035  # of the figure's height: rows in which both arms stand apart
LEAST_MIRROR = 0.68  # overlap of the outline with its mirror image: long hair and coats hang unevenly
ANGLES = (6.0, 60.0)  # degrees between arms and the vertical
UNLIKE = 16.0  # degrees by which the arms may differ
UNEVEN = 0.06  # of the figure's height: difference of the arms' distances from the middle
THICK = 0.16  # of the figure's height: no arm is wider
LEAP = 0.05  # of the figure's height: a greater step from row to row is another thing than an arm
STUMP = 0.02  # of the figure's height: fewer rows are a lock of hair or a hem
HEIGHT = 256  # rows at which outlines are looked at
WIDE = 1.0  # width over height; wider figures do not stand
LARGEST = 2048  # pixels of a kept picture's height


@dataclass(frozen=True)
class Stance:
    """What an outline tells.

    mirror: intersection over union with its mirror image about the best axis; arms: share of the height in whose rows
    both arms stand apart; angles: of the left and the right arm to the vertical, degrees (0 without arms); uneven: mean
    difference of their distances, as a share of the height.
    """

    mirror: float
    arms: float
    angles: tuple[float, float]
    uneven: float

    @property
    def is_a_pose(self) -> bool:
        """Whether all of it is an A-pose's."""
        low, high = min(self.angles), max(self.angles)
        return (self.mirror >= LEAST_MIRROR and self.arms >= LEAST_ROWS and self.uneven <= UNEVEN
                and ANGLES[0] <= low and high <= ANGLES[1] and high - low <= UNLIKE)

    def __str__(self) -> str:
        return f"mirror {self.mirror:.0%}, arms at {self.angles[0]:.0f} and {self.angles[1]:.0f} degrees"


def stance(alpha: Tensor) -> Stance:
    """The stance of a figure's coverage [H, W] in [0, 1]: one whole figure, seen from the front or the back."""
    top, bottom, left, right = figure_box((alpha > 0.5).float())
    solid = alpha[top:bottom, left:right].cpu().float()
    width = max(1, round((right - left) * HEIGHT / (bottom - top)))
    if width > WIDE * HEIGHT:
        return Stance(0.0, 0.0, (0.0, 0.0), 1.0)
    small = torch.nn.functional.interpolate(solid[None, None], (HEIGHT, width), mode="area")[0, 0] > 0.5
    mirror, middle = _axis(small)
    rows = _hands_upwards([_arms(small[y], middle) for y in range(round(ROWS[0] * HEIGHT), round(ROWS[1] * HEIGHT))])
    if len(rows) < 3:
        return Stance(mirror, len(rows) / HEIGHT, (0.0, 0.0), 1.0)
    distances = torch.tensor(rows)
    angles = [math.degrees(math.atan(_slope(distances[:, side]))) for side in (0, 1)]
    return Stance(mirror, len(rows) / HEIGHT, (angles[0], angles[1]), float(distances.diff(dim=1).abs().mean()) / HEIGHT)


def _axis(solid: Tensor) -> tuple[float, float]:
    """(overlap, column) of the vertical axis about which the outline [H, W] is most its own mirror image."""
    width = solid.shape[1]
    padded = torch.nn.functional.pad(solid, (width, width))
    best = (0.0, width / 2)
    for twice in range(round(0.7 * width), round(1.3 * width) + 1):
        mirrored = padded.flip(1).roll(twice - width, 1)
        overlap = float((padded & mirrored).sum()) / max(int((padded | mirrored).sum()), 1)
        best = max(best, (overlap, twice / 2))
    return best


def _arms(row: Tensor, middle: float) -> tuple[float, float] | None:
    """Distances from the middle of the outermost runs of a row [W], left and right, if both stand apart from the body."""
    change = torch.nn.functional.pad(row.int(), (1, 1)).diff().nonzero().flatten().tolist()
    runs = list(zip(change[::2], change[1::2], strict=True))
    if not any(start < middle < end for start, end in runs) or len(runs) < 3:
        return None
    first, last = runs[0], runs[-1]
    if first[1] >= middle or last[0] <= middle or max(first[1] - first[0], last[1] - last[0]) > THICK * HEIGHT:
        return None
    return middle - sum(first) / 2, sum(last) / 2 - middle


def _hands_upwards(rows: list) -> list[tuple[float, float]]:
    """The lowest rows with arms, up to where they end or jump: hair that hangs beside them higher up is left out."""
    kept: list = []
    for found in reversed(rows):
        if found is None or (kept and max(abs(a - b) for a, b in zip(found, kept[0], strict=True)) > LEAP * HEIGHT):
            if len(kept) > STUMP * HEIGHT:
                break
            kept = []
        if found is not None:
            kept.insert(0, found)
    return kept


def _slope(values: Tensor) -> float:
    """Of the straight line through values of consecutive rows, in pixels per row."""
    at = torch.arange(len(values), dtype=torch.float32)
    at = at - at.mean()
    return float((at * (values - values.mean())).sum() / at.square().sum())


def kept_pose(picture: CharacterPicture, size: tuple[int, int] = SIZE) -> Tensor:
    """[H, W, 3] on white: the figure as it is, on canonicalization's canvas, with the picture's own pixels.

    size: (height, width) of that canvas; the result has its shape, and as many rows as the picture has there, at most
    LARGEST.
    """
    top, bottom, left, right = figure_box(picture.alpha)
    rows = min(round(FRAME * max(bottom - top, (right - left) * size[0] / size[1])), LARGEST)
    return place_on_canvas(picture, (rows, max(1, round(rows * size[1] / size[0]))))


def needs_canonicalization(picture: CharacterPicture, when: When = "auto") -> tuple[bool, str]:
    """(whether to canonicalize, why not or why, for the person).

    when: "always", "never", or "auto": unless the figure stands in A-pose already.  InputError for other words.
    """
    if when not in WHEN:
        raise InputError("when", f"one of {', '.join(WHEN)}", repr(when), "Choose one of them.")
    if when != "auto":
        return when == "always", "" if when == "always" else "The picture is taken as it is, without canonicalization."
    found = stance(picture.alpha)
    if found.is_a_pose:
        return False, f"The figure stands in A-pose already ({found}): the picture is kept as it is."
    return True, f"The figure does not stand in A-pose ({found}): it is canonicalized."
