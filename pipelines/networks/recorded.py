"""Calls of frozen networks that a GPU replays by itself: recorded once as CUDA graphs, so that the host only starts them.

A UNet is a thousand small launches; on a fast GPU the host takes longer to ask for them than the GPU to do them.  Shapes of
a stage are fixed, so after :data:`WARM` ordinary calls one is recorded (``torch.cuda.make_graphed_callables``) and replayed
from then on; inputs are copied into the recording's own memory, results out of it.

It steps aside, and the call is an ordinary one, where it would be wrong or useless: on the CPU, for more than
:data:`MOST` shapes, after a recording failed (told once in the log), and where the gradient of the last replay is still
to come (a recording has one memory for what its backward pass needs).  Recordings hold the addresses of the weights: when
ComfyUI has moved these, recordings are dropped with their memory, and made anew.

**Not measured on a GPU, and never run on one**: none was at hand.  ``tests/networks/test_recorded.py`` runs it with a
recorder of the CPU.  ``LIFT123_GRAPHS=0`` in the environment turns it off.
"""

from __future__ import annotations

import logging
import os
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import cast

import torch
from torch import Tensor

log = logging.getLogger(__name__)
Call = Callable[..., Tensor]
Recorder = Callable[[Call, tuple[Tensor, ...]], Call]  # (call, example inputs) -> the same call, replayed
WARM = 3  # ordinary calls of a shape before it is recorded
MOST = 6  # recordings of one network


def cuda_graph(call: Call, examples: tuple[Tensor, ...]) -> Call:
    """The recorder of CUDA devices; its gradients too, where an example requires one."""
    return cast(Call, torch.cuda.make_graphed_callables(call, examples, num_warmup_iters=WARM))


def recorder_for(device: torch.device | str) -> Recorder | None:
    """Who records on ``device``; None = nobody, all calls are ordinary."""
    wanted = torch.device(device).type == "cuda" and os.environ.get("LIFT123_GRAPHS", "1") != "0"
    return cuda_graph if wanted else None


class _Owed:
    """A gradient that a recording still has to give; gone with the graph that wanted it."""

    paid = False


class _Outwards(torch.autograd.Function):
    """A result out of a recording's memory, which notes when its gradient has come by."""

    @staticmethod
    def forward(ctx, result: Tensor, owed: _Owed):
        ctx.owed = owed
        return result.clone()

    @staticmethod
    def backward(ctx, grad):
        ctx.owed.paid = True
        return grad, None


class _Inwards(torch.autograd.Function):
    """An input, whose gradient is taken out of the recording's memory."""

    @staticmethod
    def forward(ctx, x: Tensor):
        return x.view_as(x)

    @staticmethod
    def backward(ctx, grad):
        return grad.clone()


@dataclass
class _Recording:
    replay: Call
    owed: Callable[[], _Owed | None] = field(default=lambda: None)

    @property
    def busy(self) -> bool:
        """Whether a replay now would overwrite what a backward pass needs."""
        owed = self.owed()
        return owed is not None and not owed.paid

    def run(self, inputs: tuple[Tensor, ...]) -> Tensor:
        wants = torch.is_grad_enabled()
        result = self.replay(*(_Inwards.apply(x) if wants and x.requires_grad else x for x in inputs))
        if not result.requires_grad:
            return result.clone()
        owed = _Owed()
        self.owed = weakref.ref(owed)
        return _Outwards.apply(result, owed)


class Recorded:
    """The calls of one frozen network, each name with its shapes.

    name: of the network, for the log; recorder: as :func:`recorder_for`, None = ordinary calls.
    """

    def __init__(self, name: str, recorder: Recorder | None):
        self.name, self.recorder = name, recorder
        self._recordings: dict[tuple, _Recording] = {}
        self._seen: dict[tuple, int] = {}
        self._weights: dict[int, tuple] = {}

    def __call__(self, what: object, call: Call, inputs: tuple[Tensor, ...], network: torch.nn.Module) -> Tensor:
        """``call(*inputs)``; what: hashable, tells apart calls that differ by more than the shapes of their inputs.

        call must be a function of ``inputs`` and of the weights of ``network``, which are on the device, alone.
        """
        if self.recorder is None:
            return call(*inputs)
        self._forget_moved(network)
        wants = torch.is_grad_enabled()
        key = (id(network), what, wants, *((x.shape, x.dtype, wants and x.requires_grad) for x in inputs))
        recording = self._recordings.get(key)
        if recording is None and self._due(key):
            recording = self._record(key, call, inputs)
        if recording is None or recording.busy:
            return call(*inputs)
        return recording.run(inputs)

    def forget(self) -> None:
        """Drops all recordings and their memory."""
        self._recordings.clear()
        self._seen.clear()

    def _forget_moved(self, network: torch.nn.Module) -> None:
        first, last = _ends(network)
        now = (first.data_ptr(), last.data_ptr(), first.dtype)
        if self._weights.get(id(network)) != now:
            self._weights[id(network)] = now
            for kept in (self._recordings, self._seen):
                for key in [key for key in kept if key[0] == id(network)]:
                    del kept[key]

    def _due(self, key: tuple) -> bool:
        self._seen[key] = self._seen.get(key, 0) + 1
        return self._seen[key] > WARM and len(self._recordings) < MOST

    def _record(self, key: tuple, call: Call, inputs: tuple[Tensor, ...]) -> _Recording | None:
        wants = torch.is_grad_enabled()
        examples = tuple(x.detach().clone(memory_format=torch.contiguous_format).requires_grad_(wants and x.requires_grad)
                         for x in inputs)
        assert self.recorder is not None, "asked for by __call__, which has one"
        try:
            recording = _Recording(self.recorder(call, examples))
        except (RuntimeError, TypeError, ValueError) as problem:
            log.warning("%s: not recorded as a CUDA graph (%s); its calls stay ordinary", self.name, problem)
            self.recorder = None
            self.forget()
            return None
        self._recordings[key] = recording
        log.info("%s: replayed as a CUDA graph from now on (%d of %d shapes)", self.name, len(self._recordings), MOST)
        return recording


def _ends(network: torch.nn.Module) -> tuple[Tensor, Tensor]:
    """The first and the last of the weights: who moves a network moves both."""
    if "_lift123_ends" not in network.__dict__:
        holders = [m for m in network.modules() if any(p is not None for p in m._parameters.values())]
        network.__dict__["_lift123_ends"] = (holders[0], holders[-1])
    first, last = ([p for p in m._parameters.values() if p is not None] for m in network.__dict__["_lift123_ends"])
    return first[0], last[-1]
