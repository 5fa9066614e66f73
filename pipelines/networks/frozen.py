"""Small networks of diffusers on a CPU without their Python: traced once, frozen, the same bits.

A step of the embedded networks is some thousand operations of a few microseconds, so that half of the time goes into
Python and into reading weights through modules.  ``torch.jit.trace`` records the operations for one shape, and
``torch.jit.freeze`` makes the weights constants of the record; both run the same kernels on the same numbers.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from ..core.far import far
from ..core.modules import AnyModule

log = logging.getLogger(__name__)
LARGEST = 20_000_000  # weights: a record keeps a copy of them, and large networks wait for arithmetic only
PATIENCE = 20  # calls of one shape before it is recorded, which takes about as long as so many more save
RECORDS = 6  # kept of one network


@dataclass
class _Known:
    """What was found out about one network.

    parts: the modules inside (not itself: it could never be forgotten).
    state: their processors and the versions of their weights, while ``records`` hold.
    calls, records: by shapes; a record of None could not be made.
    """

    parts: list
    weights: list
    state: tuple = ()
    calls: dict = field(default_factory=dict)
    records: dict = field(default_factory=dict)


_known: WeakKeyDictionary = WeakKeyDictionary()


def denoised(unet: AnyModule, x: Tensor, t: Tensor, context: Tensor, **more) -> Tensor:
    """``unet(x, t, context, **more).sample``; more: tensors, or dictionaries of them, by diffusers' names."""
    if not all(isinstance(value, Tensor) for value in more.values()):
        return unet(x, t, context, **more).sample

    def ask(network: AnyModule, *given: Tensor) -> Tensor:
        return network(*given[:3], **dict(zip(more, given[3:], strict=True))).sample

    return answer(unet, " ".join(("sample", *more)), ask, (x, t, context, *more.values()))


def answer(network: AnyModule, name: str, ask: Callable[..., Tensor], given: tuple[Tensor, ...]) -> Tensor:
    """``ask(network, *given)``, which depends on nothing else; name: of what is asked, another for another ``ask``.

    Recorded where nothing can be lost: on a CPU, without gradient, as long as nobody hangs hooks on the network, replaces
    its attention or changes its weights.
    """
    record = _record(network, name, ask, given) if _may(network, given[0]) else None
    return ask(network, *given) if record is None else record(*given)


def _may(network: AnyModule, x: Tensor) -> bool:
    return (not far(x.device) and not torch.is_grad_enabled() and not torch.is_inference_mode_enabled()
            and type(network).__module__.startswith("diffusers.") and not network.training)


def _record(network: AnyModule, name: str, ask: Callable[..., Tensor], given: tuple[Tensor, ...]):
    """The record for these shapes, or None."""
    known = _known.get(network)
    if known is None:
        known = _known[network] = _Known(list(network.modules())[1:], list(network.parameters()))
    if sum(p.numel() for p in known.weights) > LARGEST:
        return None
    state = None if network._forward_hooks or network._forward_pre_hooks else _state(known)
    if state is None:
        return None
    if state != known.state:
        known.state, known.calls, known.records = state, {}, {}
    key = (name, *((tuple(v.shape), v.stride(), v.dtype) for v in given))
    if key in known.records:
        return known.records[key]
    known.calls[key] = known.calls.get(key, 0) + 1
    if known.calls[key] <= PATIENCE or len(known.records) >= RECORDS:
        return None
    known.records[key] = _traced(network, ask, given)
    return known.records[key]


def _state(known: _Known) -> tuple | None:
    """Changes with whatever changes the network's answers; None while it is somebody else's."""
    if any(part._forward_hooks or part._forward_pre_hooks for part in known.parts):
        return None
    if any(p.requires_grad or p.is_inference() for p in known.weights):
        return None
    processors = tuple(id(p) for part in known.parts if (p := part.__dict__.get("processor")) is not None)
    return processors, tuple(p._version for p in known.weights), tuple(p.data_ptr() for p in known.weights)


class _Plain(torch.nn.Module):
    """A network with its question, as a module."""

    def __init__(self, network: AnyModule, ask: Callable[..., Tensor]):
        super().__init__()
        self.network, self.ask = network, ask

    def forward(self, *given: Tensor) -> Tensor:
        return self.ask(self.network, *given)


def _traced(network: AnyModule, ask: Callable[..., Tensor], given: tuple[Tensor, ...]):
    """The record, or None where this torch or this network does not allow it."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the shapes are part of the key, so that nothing depends on them
            return torch.jit.freeze(torch.jit.trace(_Plain(network, ask).eval(), given, check_trace=False))
    except Exception as problem:  # slower, and nothing else
        log.info("a network stays as it is: %s", problem)
        return None
