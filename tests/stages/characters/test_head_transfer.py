"""The head of a posed picture: found by a painted ball whose turn is known, laid on with its pixels, or refused."""

import pytest
import torch
from lift123.pipelines.stages.characters import head_transfer
from lift123.pipelines.stages.characters.head_transfer import (
    Ball,
    find_head,
    head_ball,
    likeness,
    settled,
    transfer_head,
)
from lift123.pipelines.stages.characters.picture import CharacterPicture, scale

ROWS, COLUMNS = 320, 200
BALL = Ball(0.3125, 0.2, 0.1, 0.11)
SKIN, HAIR, DARK, RED, SHIRT = ([0.95, 0.8, 0.7], [0.45, 0.25, 0.1], [0.1, 0.1, 0.3], [0.7, 0.2, 0.2], [0.2, 0.3, 0.8])


def head_colors(points):
    """[..., 3] of places [..., 3] of a unit ball: hair above and behind, eyes, a mouth."""
    x, y, z = points.unbind(-1)
    out = torch.tensor(SKIN).expand(*x.shape, 3).clone()
    out[((x.abs() - 0.36) / 0.15).square() + ((y + 0.1) / 0.2).square() < 1] = torch.tensor(DARK)
    out[(x.abs() < 0.15) & ((y + 0.5).abs() < 0.05)] = torch.tensor(RED)
    out[(y > 0.35) | (z < 0.1)] = torch.tensor(HAIR)
    return out


def figure(x=BALL.x, y=BALL.y, size=1.0, turn=(0.0, 0.0, 0.0)):
    """(rgb on white, coverage) of a body with a head at (x, y), turned by degrees of yaw, pitch and roll."""
    rows, columns = torch.meshgrid(torch.arange(ROWS) + 0.5, torch.arange(COLUMNS) + 0.5, indexing="ij")
    down, across = rows / ROWS, columns / ROWS
    rgb, cover = torch.ones(ROWS, COLUMNS, 3), (down > y + 0.14) & (down < 0.92) & ((across - x).abs() < 0.12)
    cover |= (down > y) & (down < 0.9) & ((across - x).abs() < 0.03)
    rgb[cover] = torch.tensor(SHIRT)
    u, v = (across - x) / (BALL.wide * size), (y - down) / (BALL.high * size)
    on = u.square() + v.square() < 1
    turned = torch.stack([u, v, (1 - u.square() - v.square()).clamp(min=0).sqrt()], -1)
    yaw, pitch, roll = (torch.deg2rad(torch.tensor([t])) for t in turn)
    about = head_transfer._about
    back = about(2, roll)[0] @ about(0, pitch)[0] @ about(1, yaw)[0]
    rgb[on] = head_colors(turned[on] @ back)
    return rgb, (cover | on).float()


@pytest.fixture(scope="module")
def front():
    return figure()[0]


def soft(rgb):
    """What a network makes of it: 64 rows."""
    return scale(rgb, (64, 40))


def test_the_ball_is_read_from_the_outline(front):
    ball = head_ball(soft(front))
    for found, want in zip((ball.x, ball.y, ball.wide, ball.high), (BALL.x, BALL.y, BALL.wide, BALL.high), strict=True):
        assert abs(found - want) < 0.03
    assert head_ball(torch.ones(64, 40, 3)) is None


def test_a_tail_of_hair_on_one_side_is_no_part_of_the_ball(front):
    tailed = front.clone()
    rows, columns = torch.meshgrid(torch.arange(ROWS) + 0.5, torch.arange(COLUMNS) + 0.5, indexing="ij")
    tail = ((columns / ROWS - BALL.x - 0.15) / 0.06).square() + ((rows / ROWS - BALL.y) / 0.14).square() < 1
    tailed[tail & (front.amin(-1) == 1)] = torch.tensor(HAIR)
    assert float((tailed - front).abs().max()) > 0.5
    ball = head_ball(soft(tailed))
    for found, want in zip((ball.x, ball.y, ball.wide, ball.high), (BALL.x, BALL.y, BALL.wide, BALL.high), strict=True):
        assert abs(found - want) < 0.03


def test_odd_figures_have_no_head_or_a_sentence(front):
    """A white one, whose outline is known by its coverage alone; a head beside the axis; a figure of one column; long hair."""
    _, cover = figure()
    made, said = transfer_head(CharacterPicture(torch.ones(ROWS, COLUMNS, 3), cover), soft(front))
    assert made is None and "LOOK" in said
    aside = torch.ones(64, 40, 3)
    aside[4:20, 2:12], aside[20:60, 16:24] = 0.5, 0.5
    assert head_ball(aside) is None
    thin = soft(front)[:, 18:21]
    assert "LOOK" in transfer_head(CharacterPicture(*figure()), thin)[1] or head_ball(thin) is not None
    hidden = torch.ones(256, 160, 3)
    hidden[10:240, 40:120] = 0.5
    ball = head_ball(hidden)
    assert ball is not None and 2 * ball.high * 256 <= 0.43 * 230, "the head of a figure without a neck ends where necks do"


def test_a_head_at_the_limits_of_its_turns_is_left_alone(front, monkeypatch):
    rgb, cover = figure(0.33, 0.21, 1.0, (12.0, 0.0, 8.0))
    rolled = torch.tensor([0.33, 0.21, 1, 12, 0, 35.0])
    monkeypatch.setattr(head_transfer, "settled", lambda given, a_pose, ball, head: (rolled, 0.95))
    made, said = transfer_head(CharacterPicture(rgb, cover), soft(front))
    assert made is None and "further than a face can be told" in said


def test_what_has_the_figure_above_it_is_no_head():
    """Upright, turned on its side, and between raised arms."""
    _, cover = figure()
    head = torch.tensor([BALL.x, BALL.y, 1.0, 0.0, 0.0, 0.0])
    assert not head_transfer._below_another(cover, head, BALL)
    assert head_transfer._below_another(cover, head + torch.tensor([0.0, 0.2, 0, 0, 0, 0]), BALL)
    armed = cover.clone()
    rows, columns = torch.meshgrid(torch.arange(ROWS) + 0.5, torch.arange(COLUMNS) + 0.5, indexing="ij")
    armed[((columns / ROWS - BALL.x).abs() - 0.08).abs() < 0.02] = 1.0
    assert not head_transfer._below_another(armed, head, BALL)
    aside = cover.T.flip(1)  # the same lying: the head to the right
    lying = torch.tensor([aside.shape[1] / aside.shape[0] - BALL.y * ROWS / aside.shape[0], BALL.x * ROWS / aside.shape[0],
                          1.0, 0, 0, -90.0])
    wide = Ball(0, 0, BALL.high * ROWS / aside.shape[0], BALL.high * ROWS / aside.shape[0])
    assert not head_transfer._below_another(aside, lying, wide)
    assert head_transfer._below_another(aside, lying - torch.tensor([0.35, 0, 0, 0, 0, 0]), wide)


def test_turns_and_places_are_found(front):
    rgb, _ = figure(0.35, 0.22, 1.1, (25.0, 5.0, -10.0))
    found = find_head(rgb, soft(front), BALL)
    assert float((found[:2] - torch.tensor([0.35, 0.22])).abs().max()) < 0.02 and abs(float(found[2]) - 1.1) < 0.16
    assert float((found[3:] - torch.tensor([25.0, 5.0, -10.0])).abs().max()) < 8
    near = found + torch.tensor([0.01, 0.01, 0, 0, 0, 0])
    (before,), after = likeness(rgb, soft(front), BALL, near[None]), settled(rgb, soft(front), BALL, near)[1]
    assert after > float(before)


def test_the_head_comes_back_with_its_pixels_and_nothing_else_changes(front):
    rgb, cover = figure(0.33, 0.21, 1.0, (12.0, 0.0, 8.0))
    given = soft(front)
    made, said = transfer_head(CharacterPicture(rgb, cover), given)
    assert made is not None and "picture's own" in said and len(made) > 4 * len(given)
    size = made.shape[:2]

    def eyes(picture):
        """[2, 2] (row, column) of the middles of the dark places left and right, canvas heights; how dark they are."""
        dark = (picture.amax(-1) - 0.55).neg().clamp(min=0)
        line, row = torch.arange(size[1]) < size[1] / 2, torch.arange(size[0])[:, None] < 0.3 * size[0]
        sides = [dark * side * row for side in (line, ~line)]
        down, across = ((torch.arange(n) + 0.5) / size[0] for n in size)
        return torch.tensor([[(d.sum(1) @ down) / d.sum(), (d.sum(0) @ across) / d.sum()] for d in sides]), dark.max()

    (found, depth), (want, true_depth) = eyes(made), eyes(scale(front, size))
    assert float((found - want).abs().max()) < 0.015, (found, want)
    assert abs(float(depth - true_depth)) < 0.05, "as dark as drawn"
    below = round(0.34 * size[0])
    assert torch.equal(made[below:], scale(given, size)[below:])


def test_what_is_not_the_same_head_is_left_alone(front):
    rgb, cover = figure()
    for other in (1 - rgb, torch.rand(rgb.shape, generator=torch.Generator().manual_seed(0))):
        made, said = transfer_head(CharacterPicture(other * cover[..., None] + 1 - cover[..., None], cover), soft(front))
        assert made is None and said.startswith("LOOK") and "not found" in said
