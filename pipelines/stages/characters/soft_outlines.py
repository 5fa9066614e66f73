"""Outlines of figures in the small networks' pictures, which are blurred, and of the picture that these were drawn from.

A pixel's distance to white over that of the figure's own color next to it is the share of it that the figure covers.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, max_pool2d

WHITE_TOLERANCE = 80 / 255  # summed distance to white up to which a normal map's pixel is background (S-B.5)
PLAIN = 0.5 * WHITE_TOLERANCE  # the same where half of an outline is left
FAINT = 0.05  # summed distance to white from which a color picture shows something: white clothes have shades
ALIKE, INSIDE = 0.8, 0.9  # overlap, and share inside, from which a picture's outline is believed


def cover_of_normals(normals: Tensor) -> Tensor:
    """[N, H, W] coverage in [0, 1] of normal pictures [N, H, W, 3] on white whose outlines are blurred.

    The distance to white over the farthest one next to it, at the outline, which is where half is left: no unit normal comes
    near white, but inside of a figure some are nearer than others.
    """
    distance = (1 - normals).abs().sum(-1)
    share = torch.where(distance > PLAIN, distance / max_pool2d(distance[:, None], 3, 1, 1)[:, 0].clamp(min=PLAIN), 0.0)
    solid = (share > 0.5).float()
    most, least = (sign * max_pool2d(sign * solid[:, None], 3, 1, 1)[:, 0] for sign in (1, -1))
    return torch.where(most > least, share, solid)


def without_white(pictures: Tensor, cover: Tensor) -> Tensor:
    """Colors [N, H, W, 3] of what covers a share [N, H, W] of each pixel of pictures on white; elsewhere white."""
    share = cover[..., None]
    return torch.where(share > 0, 1 - (1 - pictures) / share.clamp(min=1e-3), 1.0).clamp(0, 1)


def cut_out(pictures: Tensor, cover: Tensor) -> Tensor:
    """Color pictures [N, H, W, 3] on white with pixels at outlines mixed anew, for coverage [N, H, W].

    Their own mixture is that of a blurred outline, and not that of the coverage: taken for it, edges would become dark or
    pale.  Pixels well inside, two away, tell their color, or where a figure is thin those next to them.
    """
    inner = (cover == 1).float()[:, None]
    deep, planes = -max_pool2d(-inner, 3, 1, 1), pictures.movedim(-1, 1)
    means = [[avg_pool2d(x, size, 1, size // 2) for x in (planes * w, w)] for w, size in ((deep, 5), (inner, 3))]
    (far, is_far), (near, is_near) = means
    own = torch.where(is_far > 0, far / is_far.clamp(min=1e-6), near / is_near.clamp(min=1e-6)).movedim(1, -1)
    share, known = cover[..., None], (torch.maximum(is_far, is_near) > 0).movedim(1, -1)
    partly = (share > 0) & (share < 1)
    return torch.where(partly & known, own * share + 1 - share, pictures)


def cover_of_picture(picture: Tensor) -> Tensor:
    """[H, W] coverage in [0, 1] of the figure in a color picture [H, W, 3] on white.

    Background is what is white and reaches the rim.  Pixels next to it are compared with those behind them.
    """
    distance = (1 - picture).abs().sum(-1)
    solid = _filled(distance > FAINT)
    rim = _pool(max_pool2d, (~solid).float()) > 0
    inner = (~rim).float()
    behind, known = _pool(avg_pool2d, distance * inner), _pool(avg_pool2d, inner)
    own = torch.where(known > 0, behind / known.clamp(min=1e-6), _pool(max_pool2d, distance))
    return torch.where(rim, (distance / own.clamp(min=FAINT)).clamp(0, 1) * solid, 1.0)


def _filled(mask: Tensor) -> Tensor:
    """[H, W] bool: what the outside cannot reach from the rim, going up, down and sideways."""
    open_, before = torch.nn.functional.pad((~mask).float(), (1, 1, 1, 1), value=1.0)[None, None], -1
    reached = torch.zeros_like(open_)
    reached[..., 0, :] = 1.0
    while int(reached.sum()) != before:
        before = int(reached.sum())
        for _ in range(8):
            reached = torch.maximum(max_pool2d(reached, (3, 1), 1, (1, 0)), max_pool2d(reached, (1, 3), 1, (0, 1))) * open_
    return reached[0, 0, 1:-1, 1:-1] == 0


def _pool(pool, values: Tensor) -> Tensor:
    """Of 3 x 3 pixels around each of [H, W]."""
    return pool(values[None, None], 3, 1, 1)[0, 0]


def with_picture(cover: Tensor, picture: Tensor, complete: bool, front: int = 0, behind: int = 3) -> Tensor:
    """Coverage [V, H, W] of one level's soft views, those from the front and from behind with the picture's own outline.

    picture: [H, W, 3] on white, what the views were drawn from: the complete figure from the front.  Orthographic cameras see
    its mirror image from behind.  complete: the level is the picture's; others lie inside of it.  An outline that is far from
    the views' own (white clothes on white) is not believed.
    """
    found, cover = cover_of_picture(picture), cover.clone()
    for view, outline in ((front, found), (behind, found.flip(1))):
        own, given = cover[view] > 0.5, outline > 0.5
        both = (own & given).sum()
        if complete and both > ALIKE * (own | given).sum():
            cover[view] = outline
        elif not complete and both > INSIDE * own.sum():
            cover[view] = torch.minimum(cover[view], outline)
    return cover


def with_missing(colors: Tensor, normals: Tensor, missing: Tensor, picture: Tensor, front: int = 0,
                 behind: int = 3) -> tuple[Tensor, Tensor]:
    """Colors and encoded normals [V, H, W, 3] where an outline of :func:`with_picture` has what a network left white.

    missing: [V, H, W] bool.  Behind, the front's color is taken (a tail of hair is of one color); normals face the camera.
    """
    colors, normals = colors.clone(), normals.clone()
    colors[behind] = torch.where(missing[behind][..., None], picture.flip(1), colors[behind])
    for view, depth in ((front, 1.0), (behind, 0.0)):
        normals[view] = torch.where(missing[view][..., None], normals.new_tensor([0.5, 0.5, depth]), normals[view])
    return colors, normals
