"""How many threads work, and that their number decides nothing."""

import pytest
import torch
from lift123.pipelines.core import threads


@pytest.fixture(params=[1, 2, 4])
def outside(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def test_inside_torch_has_one_thread_and_afterwards_its_own_number(outside):
    with threads.single():
        with threads.single():
            assert torch.get_num_threads() == 1 and threads.allowed() == outside
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == threads.allowed() == outside
    with pytest.raises(ValueError), threads.single():
        raise ValueError
    assert torch.get_num_threads() == outside


def test_a_large_network_gets_all_threads_until_the_end(outside):
    with threads.single():
        threads.widen()
        assert torch.get_num_threads() == outside
    assert torch.get_num_threads() == outside
