"""Small networks of diffusers on a CPU without their Python: traced once, frozen, the same bits.

A step of the embedded networks is some thousand operations of a few microseconds, so that half of the time goes into
Python and into reading weights through modules.  ``torch.jit.trace`` records the operations for one shape, and
``torch.jit.freeze`` makes the weights constants of the record; both run the same kernels on the same numbers.
"""

from __future__ import annotations

import logging
import warnings
from dataclasses import dataclass, field
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from ..core.far import far
from ..core.modules import AnyModule

log = logging.getLogger(__name__)
LARGEST = 20_000_000  # weights: a record keeps a copy of them, and large networks wait for arithmetic only
PATIENCE = 6  # calls of one shape before it is recorded, which takes as long as a few of them
RECORDS = 4  # kept of one network


@dataclass
class _Known:
    """What was found out about one network.

    parts: the modules inside (not itself: it could never be forgotten); state: their hooks, replaced processors and versions of weights while ``records`` hold.
    calls, records: by shapes; a record of None could not be made.
    """

    parts: list
    weights: list
    state: tuple = ()
    calls: dict = field(default_factory=dict)
    records: dict = field(default_factory=dict)


_known: WeakKeyDictionary = WeakKeyDictionary()


def denoised(unet: AnyModule, x: Tensor, t: Tensor, context: Tensor, **more) -> Tensor:
    """``unet(x, t, context, **more).sample``; more: tensors, or dictionaries of them, by diffusers' names.

    Recorded where nothing can be lost: on a CPU, without gradient, as long as nobody hangs hooks on the network, replaces
    its attention or changes its weights.
    """
    record = _record(unet, x, t, context, more) if _may(unet, x, more) else None
    return unet(x, t, context, **more).sample if record is None else record(x, t, context, *more.values())


def _may(unet: AnyModule, x: Tensor, more: dict) -> bool:
    return (not far(x.device) and not torch.is_grad_enabled() and not torch.is_inference_mode_enabled()
            and type(unet).__module__.startswith("diffusers.") and not unet.training
            and all(isinstance(value, Tensor) for value in more.values()))


def _record(unet: AnyModule, x: Tensor, t: Tensor, context: Tensor, more: dict):
    """The record for these shapes, or None."""
    known = _known.get(unet)
    if known is None:
        known = _known[unet] = _Known(list(unet.modules())[1:], list(unet.parameters()))
    if sum(p.numel() for p in known.weights) > LARGEST:
        return None
    state = None if unet._forward_hooks or unet._forward_pre_hooks else _state(known)
    if state is None:
        return None
    if state != known.state:
        known.state, known.calls, known.records = state, {}, {}
    given = (x, t, context, *more.values())
    key = (tuple(more), *((tuple(v.shape), v.dtype, v.is_contiguous()) for v in given))
    if key in known.records:
        return known.records[key]
    known.calls[key] = known.calls.get(key, 0) + 1
    if known.calls[key] <= PATIENCE or len(known.records) >= RECORDS:
        return None
    known.records[key] = _traced(unet, tuple(more), given)
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
    """A network whose answer is a tensor and whose inputs have places."""

    def __init__(self, unet: AnyModule, names: tuple[str, ...]):
        super().__init__()
        self.unet, self.names = unet, names

    def forward(self, x: Tensor, t: Tensor, context: Tensor, *more: Tensor) -> Tensor:
        return self.unet(x, t, context, **dict(zip(self.names, more, strict=True))).sample


def _traced(unet: AnyModule, names: tuple[str, ...], given: tuple[Tensor, ...]):
    """The record, or None where this torch or this network does not allow it."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the shapes are part of the key, so that nothing depends on them
            return torch.jit.freeze(torch.jit.trace(_Plain(unet, names).eval(), given, check_trace=False))
    except Exception as problem:  # slower, and nothing else
        log.info("a network stays as it is: %s", problem)
        return None
