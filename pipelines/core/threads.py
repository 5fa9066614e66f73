"""Which threads work: one inside torch's operations, all in the pack's own kernels.

Small networks and renders are made of operations of a millisecond or less.  Cutting each of them into parts for several
threads gains little on an idle machine, and on a busy one every part waits for a thread that the system has put aside;
and sums in parts round otherwise, so that results would depend on the number of cores.  So :func:`single` keeps torch's
operations to one thread; the cores that torch was allowed before do slices of a kernel that share no memory
(``ops/kernels/launch.py``), which changes no byte of the result.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch

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
