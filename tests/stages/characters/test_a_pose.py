"""Who stands in A-pose already: toy characters in four poses of their arms, their arbitrary poses, and figures of sticks."""

import math

import numpy as np
import pytest
import torch
from lift123.pipelines.core.errors import InputError
from lift123.pipelines.core.ortho import OrthoCameras
from lift123.pipelines.stages.characters.a_pose import LARGEST, kept_pose, needs_canonicalization, stance
from lift123.pipelines.stages.characters.picture import CharacterPicture
from lift123.pipelines.toybox.characters import make_character
from lift123.pipelines.toybox.render import render_toy

CELLS, SIDE = 24, 160
HELD_OUT = 10_000_003  # the thresholds were chosen on characters 0 to 7


def segment(size, a, b, width):
    """[size, size] bool: points (x right, y down, in shares of the side) within ``width`` of the segment a b."""
    at = (torch.arange(size) + 0.5) / size
    y, x = torch.meshgrid(at, at, indexing="ij")
    (ax, ay), (bx, by) = a, b
    t = (((x - ax) * (bx - ax) + (y - ay) * (by - ay)) / ((bx - ax) ** 2 + (by - ay) ** 2)).clamp(0, 1)
    return (x - ax - t * (bx - ax)) ** 2 + (y - ay - t * (by - ay)) ** 2 < width**2


def sticks(left=40.0, right=40.0, size=256):
    """[size, size] coverage of a figure whose arms hang at so many degrees to the vertical."""
    parts = [segment(size, (0.5, 0.15), (0.5, 0.16), 0.08), segment(size, (0.5, 0.25), (0.5, 0.55), 0.07)]
    for sign, angle in ((-1, left), (1, right)):
        reach = (sign * 0.34 * math.sin(math.radians(angle)), 0.34 * math.cos(math.radians(angle)))
        shoulder = (0.5 + sign * 0.06, 0.27)
        parts.append(segment(size, shoulder, (shoulder[0] + reach[0], shoulder[1] + reach[1]), 0.02))
        parts.append(segment(size, (0.5 + sign * 0.04, 0.55), (0.5 + sign * 0.06, 0.95), 0.03))
    return torch.stack(parts).any(0).float()


def arms(degrees):
    return {f"arm_{side}": np.array([0.0, 0.0, sign * math.radians(degrees)]) for side, sign in (("l", 1.0), ("r", -1.0))}


def outline(character, pose):
    layers = character.posed(pose, CELLS)
    return render_toy(layers.merged(), OrthoCameras.orbit(0.0, 0.0, 1.2, SIDE, SIDE)).alpha[0]


@pytest.fixture(scope="module")
def character():
    return make_character(HELD_OUT)


@pytest.mark.parametrize("angle, within", [(25, 3), (35, 3), (45, 3), (55, 5)])  # round hands flatten wide arms
def test_angles_of_arms_are_measured(angle, within):
    found = stance(sticks(angle, angle))
    assert found.is_a_pose and found.mirror > 0.95 and found.uneven < 0.02
    assert found.angles == pytest.approx((angle, angle), abs=within)


@pytest.mark.parametrize("left, right", [(2, 2), (80, 80), (130, 130), (40, 2), (40, 120), (55, 25)])
def test_arms_that_hang_are_raised_or_differ_are_no_a_pose(left, right):
    assert not stance(sticks(left, right)).is_a_pose


def test_size_place_and_mirror_image_play_no_role():
    one = stance(sticks(30, 36))
    wide = torch.nn.functional.pad(sticks(30, 36, 512), (100, 20, 60, 10))
    for other in (stance(wide), stance(sticks(30, 36).flip(1))):
        assert other.is_a_pose and sorted(other.angles) == pytest.approx(sorted(one.angles), abs=2)
    assert not stance(sticks(40, 40).T.contiguous()).is_a_pose, "lying"


def test_a_toy_character_is_told_by_its_arms(character):
    assert stance(outline(character, {})).is_a_pose and stance(outline(character, arms(-15))).is_a_pose
    assert not stance(outline(character, arms(-42))).is_a_pose, "hanging"
    assert not stance(outline(character, arms(45))).is_a_pose, "level"
    assert not any(stance(outline(character, character.pose(i))).is_a_pose for i in range(3)), "arbitrary poses"


def test_the_person_decides_or_the_outline_does():
    standing, waving = (CharacterPicture(torch.rand(256, 256, 3), sticks(*a)) for a in ((40, 40), (40, 140)))
    assert needs_canonicalization(standing, "auto")[0] is False and needs_canonicalization(waving, "auto")[0] is True
    assert "A-pose already" in needs_canonicalization(standing)[1] and "does not stand" in needs_canonicalization(waving)[1]
    assert needs_canonicalization(standing, "always") == (True, "")
    assert needs_canonicalization(waving, "never")[0] is False
    with pytest.raises(InputError, match="when"):
        needs_canonicalization(standing, "sometimes")


def test_what_is_kept_has_the_pictures_own_pixels_on_the_networks_canvas():
    alpha = torch.zeros(400, 300)
    alpha[50:350, 100:200] = 1
    rgb = torch.rand(400, 300, 3, generator=torch.Generator().manual_seed(0))
    kept = kept_pose(CharacterPicture(rgb, alpha), (96, 64))
    assert kept.shape == (360, 240, 3), "1.2 times 300 rows, two thirds as wide"
    assert torch.allclose(kept[30:330, 70:170], rgb[50:350, 100:200], atol=1e-6)
    assert float(kept[:30].min()) == 1 and float(kept[:, :70].min()) == 1 and float(kept[330:].min()) == 1
    large = kept_pose(CharacterPicture(torch.rand(2600, 400, 3), torch.ones(2600, 400)), (96, 64))
    assert large.shape == (LARGEST, round(LARGEST * 2 / 3), 3)
