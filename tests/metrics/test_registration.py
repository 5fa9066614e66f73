"""Registration by masks: known shifts, scales and shears are undone; Evaluate's pixel metrics see it, its outline does not."""

import pytest
import torch
from lift123.pipelines.metrics.image import psnr
from lift123.pipelines.metrics.registration import best_shift, moment_map, registered

SIZE = 64


def blob(matrix=((1.0, 0.0), (0.0, 1.0)), shift=(0.0, 0.0), size=SIZE):
    """(picture on white, mask) of a smooth colored shape without symmetry, drawn under x -> A x + b (pixels)."""
    rows, columns = torch.meshgrid(*[torch.arange(size, dtype=torch.float64) + 0.5] * 2, indexing="ij")
    there = torch.stack([columns, rows], -1) - size / 2 - torch.tensor(shift, dtype=torch.float64)
    x, y = (there @ torch.linalg.inv(torch.tensor(matrix, dtype=torch.float64)).T).unbind(-1)
    inside = torch.sigmoid(3 * (9 - (x**2 + (1.6 * y - 0.04 * x * x) ** 2).sqrt()))
    color = torch.stack([0.5 + 0.4 * torch.sin(x / 4), 0.5 + 0.4 * torch.cos(y / 3), 0.5 + 0.02 * x], -1)
    return (1 - inside[..., None] * (1 - color)).float(), inside.float()


CASES = {
    "horizontal": (((1.0, 0.0), (0.0, 1.0)), (-9.0, 0.0), 60.0),
    "similarity": (((1.2, 0.0), (0.0, 1.2)), (6.0, -4.0), 32.0),
    "affine": (((1.2, 0.15), (0.15, 0.8)), (-5.0, 3.0), 32.0),
}


@pytest.mark.parametrize("how", CASES)
def test_a_known_motion_is_undone(how):
    matrix, shift, decibels = CASES[how]
    (wanted, target), (moved, mask) = blob(), blob(matrix, shift)
    back = registered(moved[None], mask[None], target[None], how)
    assert float(psnr(back, wanted[None])) > decibels > float(psnr(moved[None], wanted[None])) + 10
    if how != "horizontal":  # the map from the target's points to the moved ones
        found, at = moment_map(target.double(), mask.double(), how)
        assert torch.allclose(found, torch.tensor(matrix, dtype=torch.float64), atol=0.02)
        middle = torch.full((2,), SIZE / 2, dtype=torch.float64)
        assert torch.allclose(found @ middle + at, middle + torch.tensor(shift, dtype=torch.float64), atol=0.3)


def test_the_shift_is_the_brute_force_one_and_the_shortest_of_equals():
    g = torch.Generator().manual_seed(0)
    for _ in range(5):
        mask, target = (torch.rand(6, 9, generator=g) > 0.6).double(), (torch.rand(6, 9, generator=g) > 0.6).double()
        padded = torch.nn.functional.pad(target, (9, 9))
        shared = {s: float((padded[:, 9 + s : 18 + s] * mask).sum()) for s in range(-8, 9)}
        best = max(shared.values())
        assert best_shift(mask, target) == min((s for s, v in shared.items() if v == best), key=abs) or \
            shared[best_shift(mask, target)] == best
    assert best_shift(torch.ones(2, 5).double(), torch.ones(2, 5).double()) == 0


def test_equal_masks_move_nothing_and_empty_ones_are_left_alone():
    picture, mask = blob()
    for how in ("off", "horizontal"):
        assert torch.equal(registered(picture[None], mask[None], mask[None], how)[0], picture)
    for how in ("similarity", "affine"):
        assert torch.allclose(registered(picture[None], mask[None], mask[None], how)[0], picture, atol=1e-4)
        assert torch.equal(registered(picture[None], 0 * mask[None], mask[None], how)[0], picture)
    with pytest.raises(ValueError, match="registration"):
        registered(picture[None], mask[None], mask[None], "rigid")
