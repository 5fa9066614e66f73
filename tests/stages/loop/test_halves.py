"""The gradients of a step's two halves, against those of one backward pass over their sum."""

import torch
from lift123.pipelines.ops.hashgrid import HashGridConfig, encode, new_table
from lift123.pipelines.stages.loop.halves import Half, sums

GRID = HashGridConfig(levels=3, log2_table=9, base=4, finest=16)


def terms(table, weight, seed):
    """Two losses of an encoding, of other points for every seed."""
    points = torch.rand(50, 3, generator=torch.Generator().manual_seed(seed))
    out = encode(points, table, GRID, in_place=True) @ weight
    return {"size": out.square().sum(), "mean": out.mean()}


def leaves():
    generator = torch.Generator().manual_seed(0)
    table = new_table(GRID, generator).mul_(1e4).requires_grad_()
    return table, torch.rand(GRID.width, 2, generator=generator).requires_grad_(), torch.ones(1, requires_grad=True)


def test_halves_give_the_gradient_of_their_sum():
    table, weight, unused = leaves()
    one, other = Half([table, weight, unused]), Half([table, weight, unused])
    with other.apart():
        other.learn(terms(table, weight, 1), {"size": (weight * 2).sum()})
    assert table.grad is None  # not before it is lent
    one.learn(terms(table, weight, 2), {})
    one.lend()
    other.lend()
    assert one.learns and other.learns and unused.grad is None
    there = leaves()
    total = sum(sum(terms(there[0], there[1], seed).values()) for seed in (1, 2)) + (there[1] * 2).sum()
    total.backward()
    for mine, true in zip((table, weight), there[:2], strict=True):
        assert float(true.grad.abs().max()) > 0
        assert torch.allclose(mine.grad, true.grad, rtol=1e-5, atol=1e-6 * float(true.grad.abs().max()))


def test_an_earlier_part_is_added_and_gradients_add_up_in_the_leaves():
    weight = torch.ones(2, requires_grad=True)
    half = Half([weight])
    half.follow((3 * weight).sum())
    half.learn({"square": weight.square().sum()}, {})
    half.lend()
    half.lend()
    assert weight.grad.tolist() == [10.0, 10.0]


def test_what_has_no_gradient_learns_nothing():
    weight = torch.ones(2, requires_grad=True)
    half = Half([weight])
    half.learn({"fixed": torch.ones(())}, {})
    half.lend()
    assert not half.learns and weight.grad is None and half.terms == {"fixed": torch.ones(())}


def test_terms_of_one_name_are_added():
    assert sums({"a": 1, "b": 2}, {"b": 3, "c": 4}) == {"a": 1, "b": 5, "c": 4}
