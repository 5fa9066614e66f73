"""What a deterministic computation has already worked out, so that a second attempt looks it up instead."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from torch import Tensor

from .step import KeepState, keep_no_state


@dataclass
class Journal:
    """Parts by name, written down as they come; a ``State``.

    parts:    tensors on any device, which nobody changes.
    step:     evaluations that were made, as people are told.
    autosave: told of the journal after every part.
    """

    parts: dict[str, Tensor] = field(default_factory=dict)
    step: int = 0
    autosave: KeepState = keep_no_state

    def keep(self, name: str, make: Callable[[], Tensor], steps: int = 0,
             also: Callable[[], dict[str, Tensor]] = dict) -> Tensor:
        """The part ``name``, made now if it is not known; ``also``: further parts that came with it.

        steps: evaluations that it costs.
        """
        if name not in self.parts:
            self.add({name: make(), **also()}, steps)
        return self.parts[name]

    def add(self, parts: dict[str, Tensor], steps: int = 0) -> None:
        """Writes down several parts at once: whoever finds one of them finds all."""
        self.parts.update(parts)
        self.step += steps
        self.autosave(self.now)

    def forget(self, prefix: str) -> None:
        """Drops the parts whose names begin with ``prefix``: something made of them is known."""
        self.parts = {name: value for name, value in self.parts.items() if not name.startswith(prefix)}

    def part(self, prefix: str) -> dict[str, Tensor]:
        """Parts whose names begin with ``prefix``, without it."""
        return {name.removeprefix(prefix): value for name, value in self.parts.items() if name.startswith(prefix)}

    def now(self) -> Journal:
        """A copy that further parts do not change."""
        return replace(self, parts=dict(self.parts))

    def pack(self) -> tuple[dict[str, Tensor], dict]:
        """(tensors on the CPU, JSON); inverse of :meth:`unpack`."""
        return {name: value.detach().cpu() for name, value in self.parts.items()}, {"step": self.step}

    @staticmethod
    def unpack(tensors: dict[str, Tensor], state: dict) -> Journal:
        """What :meth:`pack` gave."""
        return Journal(tensors, int(state["step"]))
