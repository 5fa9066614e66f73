"""What a mask marks, the object or its background, told by its border."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

from ...core.errors import InputError

Marks = Literal["auto", "background", "object"]
MARKS = get_args(Marks)
MOSTLY = 0.5  # of the border's pixels; an object seldom touches as much, and a background seldom less
CORNERS = 0.1  # of the picture; marks in its corners that are smaller say nothing
SPECK = 0.001  # of the picture; several marks that are all smaller say nothing
SURELY = 0.75  # all four sides: no object that can be lifted lies there


def object_mask(mask: Tensor | None, marks: Marks = "auto", close: bool = False) -> tuple[Tensor | None, list[str]]:
    """(coverage of the object, 1 = object, or None where the mask says nothing; remarks for the person).

    mask:  [H, W] or [B, H, W] in [0, 1].
    marks: what is white in it.  "background" is what ComfyUI's Load Image sends (1 = transparent): for pictures without
           transparency nothing is marked, in 64 x 64 pixels whatever the picture's size.  "auto": the background, where
           more than half of the border is marked, else the object.
    close: pictures may be filled by the object, so that a choice other than "auto" is never doubted.
    Raises InputError where what a mask was said to mark makes an object that covers the border: it marks the other.
    """
    if marks not in MARKS:
        raise InputError("mask_marks", f"one of {', '.join(MARKS)}", repr(marks), "Choose one of them.")
    if mask is None:
        return None, []
    top = float(mask.max()) if mask.numel() else 0.0
    if marks != "object" and top <= 0.5:
        return None, [f"the mask marks nothing (at most {top:.1%}) and was left aside"] if top > 0 else []
    if marks != "object" and not close and (corners := corner_share(mask)):
        return None, [f"the mask marks only {corners:.1%} of the picture, in its corners, and was left aside"]
    if marks != "object" and not close and (count := specks(mask)):
        return None, [f"the mask marks only {count} specks and was left aside"]
    share = border_share(mask)
    if marks == "auto":
        marks = "background" if share > MOSTLY else "object"
        return _coverage(mask, marks), [f"{share:.0%} of the mask's border is marked: taken to mark the {marks}"]
    if close:
        return _coverage(mask, marks), []
    covered, other = _coverage(mask, marks), "object" if marks == "background" else "background"
    touching = border_share(covered)
    if touching > SURELY:
        got = f"a mask whose object covers {touching:.0%} of the picture's border"
        remedy = f"Set mask_marks to auto or {other}, or give a mask of the object alone."
        raise InputError("mask", "an object on a background", got, remedy)
    if touching > MOSTLY:
        return covered, [f"warning: the mask's object covers {touching:.0%} of the picture's border; if that is the "
                         f"background, set mask_marks to auto or {other}"]
    return covered, []


def border_share(mask: Tensor) -> float:
    """Share of the outermost pixels of [..., H, W] that are above one half."""
    sides = (mask[..., 0, :], mask[..., -1, :], mask[..., 1:-1, 0], mask[..., 1:-1, -1])
    return float((torch.cat([side.flatten() for side in sides]) > 0.5).float().mean())


def corner_share(mask: Tensor) -> float:
    """Share of the picture that is marked, if all of it hangs on corners of the picture and is little; else 0.

    Rounded corners of screenshots and cards, a logo's place; an object that is cut off at a corner is larger.
    """
    marked, labels = _little(mask)
    if labels is None:
        return 0.0
    hanging = torch.stack([labels[y, x] for y in (0, -1) for x in (0, -1)]).unique()
    return float(marked.float().mean()) if bool(torch.isin(labels[marked], hanging[hanging > 0]).all()) else 0.0


def specks(mask: Tensor) -> int:
    """How many marks there are, if there are several and each of them is a speck (holes of an export, dust); else 0."""
    marked, labels = _little(mask)
    areas = torch.zeros(0) if labels is None else torch.bincount(labels[marked])
    return int((areas > 0).sum()) if int((areas > 0).sum()) > 1 and int(areas.max()) < SPECK * marked.numel() else 0


def _little(mask: Tensor) -> tuple[Tensor, Tensor | None]:
    """(what a mask marks [H, W] bool, numbers of its parts [H, W] from 1 on, or None where that is much)."""
    from scipy import ndimage

    marked = mask.reshape(-1, *mask.shape[-2:])[0] > 0.5
    if len(mask.reshape(-1, *mask.shape[-2:])) > 1 or not 0 < float(marked.float().mean()) < CORNERS:
        return marked, None
    found = ndimage.label(marked.numpy())
    assert isinstance(found, tuple)  # labels and their number: no output array was given
    return marked, torch.from_numpy(found[0]).long()


def _coverage(mask: Tensor, marks: Marks) -> Tensor:
    return 1 - mask if marks == "background" else mask
