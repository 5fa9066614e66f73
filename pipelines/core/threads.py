"""Which threads work: one inside torch's operations, all in the pack's own kernels.

Small networks and renders are made of operations of a millisecond or less.  Cutting each of them into parts for several
threads gains little on an idle machine, and on a busy one every part waits for a thread that the system has put aside;
and sums in parts round otherwise, so that results would depend on the number of cores.  So :func:`single` keeps torch's
operations to one thread; the cores that torch was allowed before do slices of a kernel that share no memory
(``ops/kernels/launch.py``), and whole pieces of work beside each other (:func:`aside`).  Neither changes a byte of the result.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from contextvars import copy_context
from functools import cache
from typing import TypeVar

import torch

from .far import far

Item = TypeVar("Item")
Result = TypeVar("Result")
HELPERS = 3  # threads beside the caller's, at most: nothing here falls into more pieces

_lock = threading.Lock()
_depth, _before = 0, 0  # of nested ``single``, and the number of threads outside of them
_aside = 0  # pieces of work that run on other cores now


@contextmanager
def single() -> Iterator[None]:
    """Inside, torch's operations take one thread, whatever was set; afterwards it is as it was."""
    global _depth, _before
    with _lock:
        _depth += 1
        if _depth == 1:
            _before = torch.get_num_threads()
            torch.set_num_threads(1)
    try:
        yield
    finally:
        with _lock:
            _depth -= 1
            if _depth == 0:
                torch.set_num_threads(_before)


def widen() -> None:
    """Ends the rule of :func:`single` for what follows inside of it: a large network needs every thread it can get.

    Its results then depend on the number of threads in their last digits.
    """
    if _depth:
        torch.set_num_threads(_before)


def allowed() -> int:
    """Threads that may work at once for one operation: torch's own number, inside :func:`single` the one from outside.

    Cores that have work of their own (:func:`aside`) are not counted.
    """
    return max(1, (_before if _depth else torch.get_num_threads()) - _aside)


@contextmanager
def aside(work: Callable[[], Result], device: torch.device | str) -> Iterator[Callable[[], Result]]:
    """``work()`` on another core, while the caller goes on; what is given waits for its result, or for its error.

    device: on which ``work`` computes.  The caller does it itself, when it asks, where no core has begun with it, where torch
    has one thread or may cut its operations (outside of :func:`single`), and for a far device, to which one thread speaks.

    So nobody may tell from the result who did it: ``work`` must share nothing that changes with what the caller does
    meanwhile, and draw from a generator of its own.  It records gradients if the caller does; when the block is left it has
    ended, whatever happened.
    """
    helpers = min(allowed() - 1, HELPERS)
    if helpers < 1 or torch.get_num_threads() != 1 or far(device):
        yield work
        return
    context, modes = copy_context(), (torch.is_inference_mode_enabled(), torch.is_grad_enabled())
    begun = [_helpers(helpers).submit(lambda: context.run(_counted, work, modes))]

    def result() -> Result:
        return work() if begun[0].cancel() else begun[0].result()

    try:
        yield result
    finally:
        if not begun[0].cancel():
            wait(begun)
        begun.clear()  # an error in it, whose frames hold tensors, would hold itself


def spread(work: Callable[[Item], Result], items: Iterable[Item], device: torch.device | str) -> list[Result]:
    """``work(item)`` of all items, in their order, on as many cores as are free; what :func:`aside` asks of work holds."""
    waiting = list(items)
    found: dict[int, Result] = {}
    turns = iter(range(len(waiting)))
    stopped = threading.Event()

    def some() -> None:
        try:
            while not stopped.is_set() and (turn := next(turns, None)) is not None:
                found[turn] = work(waiting[turn])
        except BaseException:
            stopped.set()
            raise

    with ExitStack() as stack:
        done = [stack.enter_context(aside(some, device)) for _ in waiting[1 : HELPERS + 1]]
        some()
        for ended in done:
            ended()
    return [found[turn] for turn in range(len(waiting))]


@cache
def _helpers(count: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(count, thread_name_prefix="lift123-aside", initializer=_keep_to_one)


def _keep_to_one() -> None:
    """One thread for operations of this thread, for good: torch takes its number over when it is first asked for."""
    torch.set_num_threads(1)
    torch.get_num_threads()


def _counted(work: Callable[[], Result], modes: tuple[bool, bool]) -> Result:
    """``work()`` in torch's modes (inference, gradients); meanwhile one core fewer is free for parts of operations."""
    global _aside
    with _lock:
        _aside += 1
    try:
        with torch.inference_mode(modes[0]), torch.set_grad_enabled(modes[1]):
            return work()
    finally:
        with _lock:
            _aside -= 1
