"""What a stopped sampler leaves behind: latents, steps done and the noise generator, so that the same run goes on.

Samplers of minutes (StdGEN's) are deterministic between two steps, so these three are all that a run is.  Resumed, it ends
bit for bit where it would have ended without a pause.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from ...core.errors import InputError
from ...networks.stdgen.schedule import sample

_FINISHED = "finished/"
_REMEDY = "Delete the file: the run then begins anew."


@dataclass(frozen=True)
class Unfinished:
    """A sampling stage on its way.

    key:       of the run, see :func:`run_key`.
    latents:   as the last step left them, float32, any device; None where a part is about to begin.
    done:      steps of this part that were made.
    generator: state of the noise generator after them, [bytes] uint8; None with the latents.
    part:      which part they belong to, for stages of several (peel levels).
    finished:  part -> its latents in the end.
    before:    steps of all parts before this one.
    """

    key: str
    latents: Tensor | None = None
    done: int = 0
    generator: Tensor | None = None
    part: int = 0
    finished: dict[int, Tensor] = field(default_factory=dict)
    before: int = 0

    @property
    def step(self) -> int:
        """Steps made of all parts."""
        return self.before + self.done

    @property
    def worth_keeping(self) -> bool:
        """Whether anything was computed."""
        return self.latents is not None or bool(self.finished)

    def at(self, part: int, before: int) -> "Unfinished":
        """As it is when ``part`` begins or goes on: without the latents of any other part."""
        same = self.part == part
        return replace(self, before=before) if same else Unfinished(self.key, None, 0, None, part, self.finished, before)

    def pack(self) -> tuple[dict[str, Tensor], dict]:
        """(tensors, JSON); inverse of :meth:`unpack`."""
        tensors = {f"{_FINISHED}{part}": value for part, value in self.finished.items()}
        tensors |= {name: value for name in ("latents", "generator") if (value := getattr(self, name)) is not None}
        state = {"key": self.key, "done": self.done, "part": self.part, "before": self.before}
        return {name: value.detach().cpu() for name, value in tensors.items()}, state

    @staticmethod
    def unpack(tensors: dict[str, Tensor], state: dict) -> "Unfinished":
        """What :meth:`pack` gave."""
        finished = {int(n.removeprefix(_FINISHED)): v for n, v in tensors.items() if n.startswith(_FINISHED)}
        return Unfinished(state["key"], tensors.get("latents"), int(state["done"]), tensors.get("generator"),
                          int(state["part"]), finished, int(state["before"]))


Resume = Callable[[str], Unfinished | None]  # asked by a run's key for what an earlier attempt at the same run has left


def begin_anew(key: str) -> None:
    """A ``Resume`` that knows of no earlier attempt."""
    return None


def run_key(stage: str, shown: Tensor, settings: dict) -> str:
    """32 hexadecimal digits that differ between runs with another picture or another setting.

    shown: what the network is shown, any shape; settings: all else that changes the result, plain numbers and words.
    """
    told = json.dumps([stage, list(shown.shape), settings], sort_keys=True).encode()
    return hashlib.sha256(told + shown.detach().float().cpu().contiguous().numpy().tobytes()).hexdigest()[:32]


def left_over(resume: Resume, key: str, shape: tuple[int, ...], steps: int) -> Unfinished:
    """What an earlier attempt at the run ``key`` has left, else an ``Unfinished`` of nothing.

    shape: of the run's latents; steps: of each part.  InputError for a file that belongs to another run.
    """
    left = resume(key)
    if left is None:
        return Unfinished(key)
    shapes = {tuple(value.shape) for value in (left.latents, *left.finished.values()) if value is not None}
    if left.key != key or not shapes <= {tuple(shape)} or not 0 <= left.done <= steps:
        raise InputError("unfinished run", f"run {key}: latents {list(shape)}, at most {steps} steps",
                         f"run {left.key}: {sorted(map(list, shapes))}, {left.done} steps", _REMEDY)
    return left


def go_on(predict: Callable, start: Tensor, schedule: dict, steps: int, eta: float, generator: torch.Generator,
          watch: Callable, left: Unfinished) -> Tensor:
    """``networks.stdgen.schedule.sample`` from where ``left`` is: at the beginning, on the way, or at the end of its part."""
    if left.part in left.finished:
        return left.finished[left.part].to(start)
    if left.latents is not None:
        assert left.generator is not None, "it is kept with the latents"
        start = left.latents.to(start)
        generator.set_state(left.generator)
    return sample(predict, start, schedule, steps, eta, generator, watch, left.done)
