"""Nearest points, against a table of all distances."""

import pytest
import torch
from lift123.pipelines.ops.nearest import nearest


@pytest.mark.parametrize("sides", [2, 3])
def test_nearest_against_brute_force(sides):
    generator = torch.Generator().manual_seed(sides)
    points, among = (torch.rand(n, sides, generator=generator) for n in (40, 300))
    assert torch.equal(nearest(points, among), torch.cdist(points.double(), among.double()).argmin(1))


def test_no_points_are_no_answer_and_nothing_to_choose_from_is_refused():
    assert nearest(torch.zeros(0, 3), torch.zeros(2, 3)).shape == (0,)
    with pytest.raises(ValueError, match="no points"):
        nearest(torch.zeros(1, 3), torch.zeros(0, 3))
