"""Total variation against patterns of which it is known."""

import math

import back_views
import numpy as np
import pytest


def _white(side=64):
    return np.ones((side, side, 3))


def test_stripes_count_their_steps_and_the_outline_does_not():
    picture = _white()
    picture[8:56, 8:56] = 0.25
    assert back_views.variation(picture) == 0, "one color: the step to the background is left out"
    picture[8:56, 8:56:2] = 0.75
    inside = 48 - 2 * back_views.RIM
    expected = 0.5 * inside * (inside - 1) / (2 * inside * (inside - 1))  # every pair across, none down
    assert back_views.variation(picture) == pytest.approx(expected)


def test_luminance_weighs_green_most_and_poles_are_left_out():
    picture = _white()
    picture[8:56, 8:56] = 0.2
    picture[8:56, 8:56:2, 1] = 0.7
    red = _white()
    red[8:56, 8:56] = 0.2
    red[8:56, 8:56:2, 0] = 0.7
    assert back_views.variation(picture) / back_views.variation(red) == pytest.approx(0.7152 / 0.2126)
    thin = _white()
    thin[:, 30:34] = 0.5
    assert math.isnan(back_views.variation(thin))


def test_only_the_back_of_a_sheet_counts():
    sheet = np.full((128, 768, 3), 0.5)
    sheet[::2, :256] = 0.1
    sheet[::2, 640:] = 0.9
    assert back_views.of_sheet(sheet) == 0
    sheet[:, 384:512] = 1.0
    sheet[::2, 256:384] = 0.7
    assert back_views.of_sheet(sheet) == pytest.approx(np.mean([back_views.variation(sheet[:, 256:384]), 0.0]))
