"""Which threads work: one inside torch's operations, others beside it.

Small networks and renders are made of operations of a millisecond or less.  Cutting each of them into parts for several
threads gains little on an idle machine, and on a busy one every part waits for a thread that the system has put aside;
and sums in parts round otherwise, so that results would depend on the number of cores.  So :func:`single` keeps torch's
operations to one thread; the cores that torch was allowed before do whole pieces of work: slices of a kernel that share
no memory (``ops/kernels/launch.py``), and what :func:`aside` is given.  Neither changes a byte of the result.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from typing import Generic, TypeVar

import torch

Result = TypeVar("Result")
_lock = threading.Lock()
_depth, _before = 0, 0  # of nested ``single``, and the number of threads outside of them


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
    """Threads that may work at once: torch's own number, inside :func:`single` the one from outside."""
    return _before if _depth else torch.get_num_threads()


class Aside(Generic[Result]):
    """A piece of work that :meth:`result` gives; see :func:`aside`."""

    def __init__(self, work: Callable[[], Result], future: Future | None):
        self._work, self._future = work, future

    def result(self) -> Result:
        """What ``work`` gave or raised."""
        return self._work() if self._future is None else self._future.result()


def aside(work: Callable[[], Result]) -> Aside[Result]:
    """Begins ``work`` on another thread if one is allowed; otherwise it is done when its result is asked for.

    ``work`` must not depend on what happens meanwhile, draw no random numbers, and set its own grad mode.
    """
    return Aside(work, _pool().submit(_run, work) if allowed() > 1 else None)


def _run(work: Callable[[], Result]) -> Result:
    if _depth:  # the number is kept by thread: one that began outside may still have another
        torch.set_num_threads(1)
    return work()


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(1, thread_name_prefix="lift123-aside")
