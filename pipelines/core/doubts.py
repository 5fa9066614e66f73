"""Checks that nobody waits for: whether numbers on a far device are finite, asked now and answered a step later.

:func:`doubt` decides at once where nobody collects.  The loop collects on devices that are ``core.far.far``: an answer then
comes with the numbers of its step, without a wait (:class:`Mail`), and meanwhile the optimizer's step is undone on the device
(``RateScaler.step``), so that nothing wrong reaches what is trained.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

import torch
from torch import Tensor

Problem = Callable[[], Exception]
_open: ContextVar[list | None] = ContextVar("lift123_doubts", default=None)


def doubt(fine: Tensor, problem: Problem) -> None:
    """Raises ``problem()`` unless the scalar ``fine`` is true: now, or later where doubts are collected."""
    collected = _open.get()
    if collected is not None:
        collected.append((fine, problem))
    elif not bool(fine):
        raise problem()


def collects() -> bool:
    """Whether doubts are put off here: then the caller goes on with something harmless."""
    return _open.get() is not None


def all_fine() -> Tensor | None:
    """Whether all that was collected so far is fine, a scalar on the device; None where doubts are not collected."""
    collected = _open.get()
    return torch.stack([fine.reshape(()) for fine, _ in collected]).all() if collected else None


@contextmanager
def collected() -> Iterator[list[tuple[Tensor, Problem]]]:
    """Inside, doubts are put on the list and not decided."""
    found: list[tuple[Tensor, Problem]] = []
    token = _open.set(found)
    try:
        yield found
    finally:
        _open.reset(token)


@dataclass
class _Letter:
    step: int
    names: list[str]
    problems: list[Problem]
    values: Tensor  # on the host: the losses, then 1 or 0 for every doubt; not yet there while ``arrives`` is to come
    arrives: object


@dataclass
class Mail:
    """Numbers of steps on their way from a far device to the host.

    :meth:`send` starts a copy that nobody waits for; :meth:`open` reads what the step before sent, which has long arrived.
    """

    waiting: list[_Letter] = field(default_factory=list)

    def send(self, step: int, losses: dict[str, Tensor], doubts: list[tuple[Tensor, Problem]]) -> None:
        """step: 0-based, for messages."""
        parts = [value.detach().float() for value in losses.values()] + [fine.float() for fine, _ in doubts]
        if parts:
            values, arrives = _on_its_way(torch.stack([part.reshape(()) for part in parts]))
            self.waiting.append(_Letter(step, list(losses), [problem for _, problem in doubts], values, arrives))

    def open(self, all_of_it: bool = False) -> Iterator[tuple[int, dict[str, float], Exception | None]]:
        """(step, its losses, its first problem) of every letter but the last; ``all_of_it``: of the last one, too."""
        while len(self.waiting) > (0 if all_of_it else 1):
            letter = self.waiting.pop(0)
            if isinstance(letter.arrives, torch.cuda.Event):
                letter.arrives.synchronize()
            values = letter.values.tolist()
            count = len(letter.names)
            bad = [problem for fine, problem in zip(values[count:], letter.problems, strict=True) if not fine]
            yield letter.step, dict(zip(letter.names, values)), bad[0]() if bad else None


def _on_its_way(values: Tensor) -> tuple[Tensor, object]:
    """(host copy, event after which it is complete)."""
    if values.device.type != "cuda":
        return values.to("cpu", non_blocking=True), None
    kept = torch.empty(values.shape, dtype=values.dtype, pin_memory=True).copy_(values, non_blocking=True)
    event = torch.cuda.Event()
    event.record()
    return kept, event
