"""A sign of life from long work without steps of its own: whoever waits can show progress, or end it by raising.

Loops call :func:`beat` about twice a second or more often; it costs nothing where nobody listens.  What a listener raises
cuts through the work, so nothing may be left half changed between two beats.  Stages have ``on_step`` instead, which ends
them with what they have; while one runs, nobody listens here.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

Listener = Callable[[str, int, int], None]
Result = TypeVar("Result")
_listener: ContextVar[Listener | None] = ContextVar("lift123_pulse", default=None)
POLL = 0.1  # seconds between beats while another thread works


def beat(what: str = "", done: int = 0, total: int = 0) -> None:
    """Tells the listener, if there is one.  what: the part of the work; done, total: how far it is, 0 = unknown."""
    listener = _listener.get()
    if listener is not None:
        listener(what, done, total)


@contextmanager
def heard_by(listener: Listener | None) -> Iterator[None]:
    """Beats inside go to ``listener``; None: to nobody."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


def while_waiting(work: Callable[[], Result], what: str = "") -> Result:
    """``work()`` in a thread of its own, with beats meanwhile, for a library that calls nobody.

    The library has to release Python's lock.  When a listener raises, the thread is left to itself and its result dropped:
    ``work`` must change nothing that others see.
    """
    found: list = []

    def run() -> None:
        try:
            found.append((work(), None))
        except BaseException as problem:  # handed to the thread that waits
            found.append((None, problem))

    if _listener.get() is None:
        return work()
    thread = threading.Thread(target=run, name="lift123-work", daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(POLL)
        beat(what)
    result, problem = found[0]
    if problem is not None:
        raise problem
    return result
