"""Numbers of a node's inputs: what is no finite number in its range is refused with one sentence."""

import math
from fractions import Fraction

import pytest
from helpers.comfy_modules import prepare

prepare()
from lift123.host.convert import _number
from lift123.host.inputs import check_number
from lift123.host.outputs import check_prefix
from lift123.pipelines.core.errors import InputError


@pytest.mark.parametrize("value", [10**400, -(10**400), Fraction(10**400), math.nan, math.inf, -math.inf, True, "1", None, 6, -1])
@pytest.mark.parametrize("whole", [True, False])
def test_numbers_out_of_range_are_refused(value, whole):
    with pytest.raises(InputError, match="from 0 to 5"):
        check_number("steps", value, 0, 5, whole)


@pytest.mark.parametrize("value", [0, 3, 5])
def test_numbers_in_range_pass(value):
    check_number("steps", value, 0, 5, True)
    check_number("steps", value / 1, 0, 5, False)
    with pytest.raises(InputError, match="a whole number"):
        check_number("steps", value / 1, 0, 5, True)


@pytest.mark.parametrize("prefix", ["lift123/\ud800", "lift123/a\0b"])
def test_names_that_no_disk_takes_are_refused(prefix):
    with pytest.raises(InputError, match="a name that can be written"):
        check_prefix(prefix)


def test_a_camera_of_numbers_beyond_floats_is_refused():
    with pytest.raises(InputError, match="camera: expected a number for its fov"):
        _number(10**400, "fov")
