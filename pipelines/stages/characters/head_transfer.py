"""The head of a posed picture, with all of its pixels, on the A-pose that a network made of it (ours).

The network's A-pose says what the head looks like from the front, if only roughly; the picture has its pixels, turned and
elsewhere.  The head counts as an ellipsoid: its place, size and turn in the picture are those with which the picture's colors,
seen from afar, are the A-pose's.  A turn of zero is a similarity transform of the head.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from .a_pose import LARGEST
from .picture import FRAME, CharacterPicture, figure_box, place_on_canvas, scale

ROWS, FINE_ROWS = 96, 160  # at which the two pictures are compared, and the head with its mirror image
MIRROR = 0.5  # weight of that comparison
NECK = (0.08, 0.42)  # of the figure's height from the top: where a neck can be
BODY = 0.4  # of the figure's height from the top: below it a figure in A-pose is even on either side
WIDEST = 1.0  # of the height: what is wider is hair
NARROWEST = 0.3  # of the height: a head beside the body's axis, or none
ABOVE = 0.5  # of the place above a head that the figure may cover: raised arms, horns, a hat
NARROW = 0.85  # of the head's width: a neck is narrower, or hidden by hair
SPREAD = 0.55  # of the ball's radius: a place's weight falls with its distance from the middle
MOST = 0.3  # difference of colors that counts at most, mean of three channels
UNSEEN = 0.25  # difference that a place on the far side counts
SCALES, TURNS, ROLLS = (0.85, 1.0, 1.15), (-40.0, -20.0, 0.0, 20.0, 40.0), (-15.0, 0.0, 15.0)
LIMITS = (0.5, 1.8), 50.0, 25.0, 35.0  # scale, degrees of yaw, pitch and roll
STEPS = (0.03, 0.03, 0.08, 10.0, 8.0, 8.0)  # first steps of the search: x, y (canvas heights), scale, degrees
BEST, HALVINGS, ROUNDS = 4, 6, 12
LIKELY = 0.15  # of the logarithm of its size over the figures' ratio of heights
BLUR = 1.8  # pixels of ROWS: the network's pictures are soft
CALM = 0.01  # cost of the largest turns: of equals the calmer one is taken
SETTLING = (0.06, 0.02)  # of the ball's half axes: steps of the last search, by the face alone
LEAST_LIKENESS = 0.78  # correlation of the face with the A-pose's, seen from afar, from which the head counts as found
FACE = 0.6, -0.2  # of the ball's half axes: the face's half size, and its middle above the ball's
FEATHER = (0.85, 1.0)  # of the ball's radius: from where on less is taken, and nothing
GRAZING = (0.15, 0.4)  # cosine to the picture's line of sight: nothing, all


@dataclass(frozen=True)
class Ball:
    """A head as an ellipsoid seen from the front: middle and half axes in canvas heights, y downwards."""

    x: float
    y: float
    wide: float
    high: float


def transfer_head(picture: CharacterPicture, a_pose: Tensor) -> tuple[Tensor | None, str]:
    """(the A-pose with the picture's head, as many rows as the picture has there, or None; a sentence for people).

    picture: the figure in its pose.  a_pose: [H, W, 3] sRGB on white, the whole figure from the front, from a network that saw
    the picture.
    """
    height, width = a_pose.shape[:2]
    rows = _rows(picture, width / height)
    size = rows, max(1, round(rows * width / height))
    given, cover = place_on_canvas(picture, size), _cover(picture, size)
    ball = head_ball(a_pose)
    if ball is None:
        return None, "LOOK the head's own pixels are not taken over: no head stands out in the A-pose."
    placed, alike = settled(given, a_pose, ball, find_head(given, a_pose, ball))
    if alike < LEAST_LIKENESS:
        return None, f"LOOK the head's own pixels are not taken over: its face was not found again (likeness {alike:.2f})."
    if bool((placed[3:].abs() > torch.tensor(LIMITS[1:]) - 0.5).any()):
        return None, "LOOK the head's own pixels are not taken over: it is turned further than a face can be told."
    if _below_another(cover, placed, ball):
        return None, "LOOK the head's own pixels are not taken over: what is likest to its face has more of the figure above it."
    made = scale(a_pose, size)
    at = torch.stack(torch.meshgrid(*[(torch.arange(n, dtype=torch.float32) + 0.5) / rows for n in size], indexing="ij"), -1)
    local = torch.stack([(at[..., 1] - ball.x) / ball.wide, (ball.y - at[..., 0]) / ball.high], -1).flatten(0, 1)
    spots, facing = _seen(local, placed[None], ball)
    far = local.norm(dim=-1)
    share = 1 - _smooth((far - FEATHER[0]) / (FEATHER[1] - FEATHER[0]))
    share = share * _smooth((facing[0] - GRAZING[0]) / (GRAZING[1] - GRAZING[0])) * (far < 1)
    found = _sample(torch.cat([given, cover[..., None]], -1), spots)[0]
    share = (share * found[:, 3]).reshape(*size, 1)
    turn = ", ".join(f"{float(v):.0f}" for v in placed[3:])
    said = f"The head is the picture's own, turned by {turn} degrees (yaw, pitch, roll; likeness {alike:.2f})."
    return made + share * (found[:, :3].reshape(*size, 3) - made), said


def head_ball(a_pose: Tensor) -> Ball | None:
    """The head of a figure in A-pose [H, W, 3] on white, from its outline: down to the neck, or as high as wide under long
    hair that hides it.

    Widths are twice the lesser half on either side of the body's axis: a tail of hair on one side is no part of the ball.
    """
    solid = (scale(a_pose, (256, max(1, round(256 * a_pose.shape[1] / a_pose.shape[0])))) < 0.9).any(-1)
    if not bool(solid.any()):
        return None
    top, bottom, _, _ = figure_box(solid.float())
    tall = bottom - top
    if tall < 32:
        return None
    axis, half = _halves(solid, top + round(BODY * tall), bottom)
    low, high = top + round(NECK[0] * tall), top + round(NECK[1] * tall)
    most = half.cummax(0).values
    share = (half / most.clamp(min=1))[low:high]
    neck = low + int(share.argmin())
    widest = float(most[neck])
    if float(share.min()) > NARROW:
        widest = float(half[low : top + tall // 4].median())
        neck = top + round(2 * widest)
    neck = min(neck, high)
    widest = min(widest, WIDEST * (neck - top) / 2)
    if widest < NARROWEST * (neck - top) / 2:
        return None
    return Ball(axis / 256, (top + neck) / 512, widest / 256, (neck - top) / 512)


def _halves(solid: Tensor, first: int, last: int) -> tuple[float, Tensor]:
    """(column of the axis, by rows first to last; [H] of each row the lesser extent on either side of it)."""
    columns = torch.arange(solid.shape[1]) + 0.5
    left, right = (torch.where(solid, columns, edge) for edge in (math.inf, -math.inf))
    left, right = left.amin(1) - 0.5, right.amax(1) + 0.5
    rows = solid.any(1)
    axis = float(((left + right) / 2)[first:last][rows[first:last]].median())
    return axis, torch.where(rows, torch.minimum(axis - left, right - axis).clamp(min=0), 0.0)


def _below_another(cover: Tensor, head: Tensor, ball: Ball) -> bool:
    """Whether the figure goes on above the head [6]: a bust that looks like one."""
    x, y = ((line - line.mean()) for line in (torch.linspace(0, 1.0, 16), torch.linspace(0, 0.8, 16)))
    v, u = torch.meshgrid(1.6 + y, x, indexing="ij")
    roll = torch.deg2rad(head[5])
    u, v = u * roll.cos() - v * roll.sin(), u * roll.sin() + v * roll.cos()
    spots = torch.stack([head[0] + head[2] * ball.wide * u, head[1] - head[2] * ball.high * v], -1).flatten(0, 1)
    inside = (spots >= 0).all(-1) & (spots[:, 1] < 1)
    return float((_sample(cover[..., None], spots[None])[0, :, 0] * inside).mean()) > ABOVE


def likeness(given: Tensor, a_pose: Tensor, ball: Ball, heads: Tensor) -> Tensor:
    """[P] correlations of the face in ``given``, at heads [P, 6] of :func:`find_head`, with the A-pose's, seen from afar."""
    line = torch.linspace(-FACE[0], FACE[0], 25)
    v, u = torch.meshgrid(line, line, indexing="ij")
    local = torch.stack([u, v + FACE[1]], -1).flatten(0, 1)
    local = local[local.norm(dim=-1) < FACE[0] - FACE[1]]
    size = ROWS, max(1, round(ROWS * given.shape[1] / given.shape[0]))
    front = torch.stack([ball.x + local[:, 0] * ball.wide, ball.y - local[:, 1] * ball.high], -1)
    found = _sample(_blurred(scale(given, size), BLUR), _seen(local, heads, ball)[0])
    wanted = _sample(scale(a_pose, size), front[None])
    a, b = (x - x.mean(1, keepdim=True) for x in (found, wanted))
    return (a * b).sum((1, 2)) / (a.norm(dim=(1, 2)) * b.norm(dim=(1, 2))).clamp(min=1e-9)


def settled(given: Tensor, a_pose: Tensor, ball: Ball, head: Tensor) -> tuple[Tensor, float]:
    """(a head [6] moved and scaled a little to where its face is likest, that likeness)."""
    for step in SETTLING:
        line = torch.arange(-2, 3) * step
        moves = torch.cartesian_prod(line, line, 3 * line)
        near = head + torch.cat([moves * torch.tensor([ball.wide, ball.high, 1.0]), torch.zeros(len(moves), 3)], 1)
        values = likeness(given, a_pose, ball, near)
        head = near[int(values.argmax())]
    return head, float(values.max())


def find_head(given: Tensor, a_pose: Tensor, ball: Ball) -> Tensor:
    """[6] x, y in canvas heights, scale, yaw, pitch, roll in degrees of the head in ``given``.

    given, a_pose: [., ., 3] on white, of the same shape of canvas.
    """
    aspect = given.shape[1] / given.shape[0]
    size, finer = ((rows, max(1, round(rows * aspect))) for rows in (ROWS, FINE_ROWS))
    seen, wanted, sharp = _blurred(scale(given, size), BLUR), scale(a_pose, size), _blurred(scale(given, finer), 1.0)
    usual = _standing(given) / _standing(a_pose)
    line = torch.linspace(-0.95, 0.95, 15)
    v, u = torch.meshgrid(line, line, indexing="ij")
    local = torch.stack([u, v], -1).flatten(0, 1)
    local = local[local.norm(dim=-1) < 0.95]
    weight = torch.exp(-local.square().sum(-1) / (2 * SPREAD**2))
    front = torch.stack([ball.x + local[:, 0] * ball.wide, ball.y - local[:, 1] * ball.high], -1)
    colors = _sample(wanted, front[None])[0]

    def cost(heads: Tensor) -> Tensor:
        spots, facing = _seen(local, heads, ball)
        apart = (_sample(seen, spots) - colors).abs().mean(-1).clamp(max=MOST)
        apart = torch.where(facing > GRAZING[0], apart, UNSEEN)
        apart = apart + MIRROR * _uneven(sharp, local, heads, ball)
        unlikely = (heads[:, 3:] / torch.tensor(LIMITS[1:])).square().sum(-1)
        unlikely = unlikely + ((heads[:, 2] / usual).log() / LIKELY).square()
        return (apart * weight).sum(-1) / weight.sum() + CALM * unlikely

    starts = _starts(ball, aspect, usual)
    rough = torch.cat([cost(part) for part in starts.split(2048)])
    groups = rough.reshape(-1, len(SCALES) * len(TURNS) * len(ROLLS))  # places, then sizes and turns: the best of each turn
    turns = groups.reshape(len(groups), len(SCALES), len(TURNS), len(ROLLS)).permute(2, 0, 1, 3).flatten(1)
    index = torch.arange(len(starts)).reshape(len(groups), len(SCALES), len(TURNS), len(ROLLS)).permute(2, 0, 1, 3).flatten(1)
    heads = starts[index.gather(1, turns.topk(BEST, 1, largest=False).indices).flatten()]
    steps = torch.tensor(STEPS)
    for _ in range(HALVINGS):
        for _ in range(ROUNDS):
            heads, moved = _descended(heads, steps, ball, cost)
            if not moved:
                break
        steps = steps / 2
    return heads[int(cost(heads).argmin())]


def _descended(heads: Tensor, steps: Tensor, ball: Ball, cost) -> tuple[Tensor, bool]:
    """(each head moved to the best of its neighbors, or left; whether any moved).

    Neighbors differ in one number, or turn while the face stays where it is.
    """
    turns, none = torch.diag(steps[3:5]), torch.zeros(2, 1)
    still = torch.cat([-torch.deg2rad(turns) * torch.tensor([ball.wide, ball.high]), none, turns, none], 1)
    moves = torch.cat([torch.zeros(1, 6), *(sign * m for m in (torch.diag(steps), still) for sign in (1, -1))])
    near = (heads[:, None] + moves).flatten(0, 1)
    low, high = torch.tensor([[-9.0, -9.0, LIMITS[0][0], *(-v for v in LIMITS[1:])], [9.0, 9.0, LIMITS[0][1], *LIMITS[1:]]])
    near = near.clamp(low, high)
    values = cost(near).reshape(len(heads), -1)
    chosen = values.argmin(1)
    return near.reshape(len(heads), -1, 6)[torch.arange(len(heads)), chosen], bool((chosen > 0).any())


def _uneven(sharp: Tensor, local: Tensor, heads: Tensor, ball: Ball) -> Tensor:
    """[P, N] how far colors at places are from those at their mirror images: a head is its own mirror image, roughly."""
    ours, facing = _seen(local, heads, ball)
    theirs, other = _seen(local * torch.tensor([-1.0, 1.0]), heads, ball)
    apart = (_sample(sharp, ours) - _sample(sharp, theirs)).abs().mean(-1).clamp(max=MOST)
    return torch.where(torch.minimum(facing, other) > GRAZING[0], apart, UNSEEN)


def _starts(ball: Ball, aspect: float, usual: float) -> Tensor:
    """[N, 6] places half a head apart, times a few sizes and turns."""
    x, y = (torch.arange(0.05, max(end, 0.06), 0.6 * ball.wide) for end in (aspect - 0.05, 0.8))
    parts = [x, y, usual * torch.tensor(SCALES), torch.tensor(TURNS), torch.zeros(1), torch.tensor(ROLLS)]
    return torch.cartesian_prod(*parts)


def _seen(local: Tensor, heads: Tensor, ball: Ball) -> tuple[Tensor, Tensor]:
    """(where places of the ball [N, 2] lie in the picture, [P, N, 2] canvas heights; [P, N] cosines to the line of sight)."""
    depth = (1 - local.square().sum(-1)).clamp(min=0).sqrt()
    points = torch.cat([local, depth[:, None]], -1)
    yaw, pitch, roll = torch.deg2rad(heads[:, 3:]).unbind(-1)
    turned = torch.einsum("pij,nj->pni", _about(2, roll) @ _about(0, pitch) @ _about(1, yaw), points)
    across = heads[:, None, 0] + heads[:, None, 2] * ball.wide * turned[..., 0]
    down = heads[:, None, 1] - heads[:, None, 2] * ball.high * turned[..., 1]
    return torch.stack([across, down], -1), turned[..., 2]


def _about(axis: int, angle: Tensor) -> Tensor:
    """[P, 3, 3] rotations."""
    a, b = (axis + 1) % 3, (axis + 2) % 3
    out = torch.eye(3).repeat(len(angle), 1, 1)
    out[:, a, a] = out[:, b, b] = angle.cos()
    out[:, b, a], out[:, a, b] = angle.sin(), -angle.sin()
    return out


def _sample(maps: Tensor, spots: Tensor) -> Tensor:
    """[P, N, C] of [H, W, C] at spots [P, N, 2] in canvas heights; beyond the rim the rim's."""
    aspect = maps.shape[1] / maps.shape[0]
    grid = spots * 2 / torch.tensor([aspect, 1.0]) - 1
    planes = maps.movedim(-1, 0)[None].float()
    return torch.nn.functional.grid_sample(planes, grid[None], padding_mode="border", align_corners=False)[0].movedim(0, -1)


def _blurred(maps: Tensor, sigma: float) -> Tensor:
    """[H, W, C] under a Gaussian of ``sigma`` pixels, white beyond the rim."""
    reach = max(1, round(2.5 * sigma))
    line = torch.exp(-torch.arange(-reach, reach + 1).float().square() / (2 * sigma**2))
    planes = torch.nn.functional.pad(maps.movedim(-1, 0)[:, None], (reach,) * 4, value=1.0)
    for shape in ((1, 1, 1, -1), (1, 1, -1, 1)):
        planes = torch.nn.functional.conv2d(planes, (line / line.sum()).reshape(shape))
    return planes[:, 0].movedim(0, -1)


def _standing(shown: Tensor) -> float:
    """Canvas heights that the figure [H, W, 3] on white is high; what is as white as the canvas fills its frame."""
    solid = (shown < 0.9).any(-1)
    if not bool(solid.any()):
        return 1 / FRAME
    top, bottom, _, _ = figure_box(solid.float())
    return (bottom - top) / len(shown)


def _smooth(x: Tensor) -> Tensor:
    x = x.clamp(0, 1)
    return x * x * (3 - 2 * x)


def _rows(picture: CharacterPicture, aspect: float) -> int:
    """Rows of a canvas that keeps the picture's pixels."""
    top, bottom, left, right = figure_box(picture.alpha)
    return min(round(FRAME * max(bottom - top, (right - left) / aspect)), LARGEST)


def _cover(picture: CharacterPicture, size: tuple[int, int]) -> Tensor:
    """[*size] the figure's coverage on the canvas."""
    return 1 - place_on_canvas(CharacterPicture(torch.zeros_like(picture.rgb), picture.alpha), size)[..., 0]
