"""How many threads work, and that their number decides nothing."""

import contextvars
import gc
import threading
import time
import weakref

import pytest
import torch
from lift123.pipelines.core import threads
from lift123.pipelines.core.far import pretending


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


@pytest.fixture
def two_cores():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    with threads.single():
        yield
    torch.set_num_threads(before)


def test_work_aside_runs_beside_the_caller(two_cores):
    begun, go_on = threading.Event(), threading.Event()

    def work():
        begun.set()
        assert go_on.wait(10)
        return threading.get_ident(), threads.allowed()

    with threads.aside(work, "cpu") as result:
        assert begun.wait(10)  # while the caller is here
        assert threads.allowed() == 1  # the other core is taken
        go_on.set()
        who, free = result()
    assert who != threading.get_ident() and free == 1 and threads.allowed() == 2


def test_what_nobody_has_begun_the_caller_does(two_cores):
    go_on = threading.Event()
    with threads.aside(lambda: go_on.wait(10), "cpu") as busy, threads.aside(threading.get_ident, "cpu") as result:
        assert result() == threading.get_ident()
        go_on.set()
        assert busy()


@pytest.mark.parametrize("count", [1, 2])
def test_outside_and_with_one_thread_the_caller_does_it_when_it_asks(count):
    before, asked = torch.get_num_threads(), []
    torch.set_num_threads(count)
    try:
        with threads.aside(lambda: asked.append(threading.get_ident()), "cpu") as result:
            assert asked == []
            result()
        with threads.aside(lambda: asked.append("nobody asked"), "cpu"):
            pass
    finally:
        torch.set_num_threads(before)
    assert asked == [threading.get_ident()]


def test_errors_come_when_asked_and_nothing_goes_on_behind_the_callers_back(two_cores):
    ended, begun = [], threading.Event()

    def slow():
        begun.set()
        time.sleep(0.2)
        ended.append(True)
        raise ValueError("in the helper")

    with pytest.raises(ValueError, match="in the helper"), threads.aside(slow, "cpu") as result:
        begun.wait(10)
        result()
    begun.clear()
    with pytest.raises(KeyError), threads.aside(slow, "cpu"):
        begun.wait(10)
        raise KeyError("the caller's own")
    assert ended == [True, True]


@pytest.mark.parametrize("gradients", [False, True])
def test_the_callers_gradient_mode_and_context_hold_aside(two_cores, gradients):
    variable = contextvars.ContextVar("variable", default="nothing")
    variable.set("the caller's")
    begun = threading.Event()

    def work():
        begun.set()
        return torch.is_grad_enabled(), torch.is_inference_mode_enabled(), variable.get()

    with torch.set_grad_enabled(gradients), threads.aside(work, "cpu") as result:
        begun.wait(10)
        assert result() == (gradients, False, "the caller's")


def test_spread_work_keeps_its_order_and_stops_at_an_error(outside):
    with threads.single():
        assert threads.spread(lambda x: x * x, range(40), "cpu") == [x * x for x in range(40)]
        assert threads.spread(str, [], "cpu") == []
        done = []

        def until_five(x):
            if x == 5:
                raise ValueError("five")
            time.sleep(0.001)
            done.append(x)

        with pytest.raises(ValueError, match="five"):
            threads.spread(until_five, range(1000), "cpu")
        assert len(done) < 100


def test_one_thread_speaks_to_a_far_device(two_cores):
    here = threading.get_ident()
    with pretending(), threads.aside(threading.get_ident, "cpu") as result:
        assert result() == here
    assert threads.spread(lambda _: threading.get_ident(), range(50), "cuda") == [here] * 50


def test_helpers_have_one_thread_whatever_torch_is_told_meanwhile(two_cores):
    begun, go_on = threading.Event(), threading.Event()

    def work():
        begun.set()
        assert go_on.wait(10)
        return torch.get_num_threads()

    with threads.aside(work, "cpu") as result:
        assert begun.wait(10)
        threads.widen()
        go_on.set()
        assert result() == 1
    assert torch.get_num_threads() == 2


def test_an_error_aside_holds_nothing_once_it_is_handled(two_cores):
    kept, begun = [], threading.Event()

    def work():
        large = torch.zeros(10)
        kept.append(weakref.ref(large))
        begun.set()
        raise MemoryError("no room")

    gc.disable()
    try:
        try:
            with threads.aside(work, "cpu") as result:
                assert begun.wait(10)
                result()
        except MemoryError:
            pass
        assert kept[0]() is None
    finally:
        gc.enable()
