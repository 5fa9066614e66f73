"""What all nodes share: they run outside ComfyUI's inference mode, on private copies of their inputs."""

from __future__ import annotations

import inspect
import logging
import uuid

import torch
from comfy_api.latest import io

from ..pipelines.core import pulse, threads
from . import claims
from .inputs import checked
from .outputs import disk_problem

log = logging.getLogger(__name__)
CATEGORY = "3d/Lift123"


def always_new() -> str:
    """For ``fingerprint_inputs``: never the same, so that the node runs every time.

    NaN would do it, too, but ComfyUI keeps it with the graph, and its page cannot read a history with NaN in it.
    """
    return uuid.uuid4().hex


class Node(io.ComfyNode):
    """A node whose ``run`` may build trainable tensors.

    ComfyUI calls ``execute`` under ``torch.inference_mode()``; tensors made there can never take part
    in a backward pass, not even in later nodes.  So the mode is left first, and every incoming tensor is
    copied once (which also means a node can never change what other nodes see).  Meanwhile torch's operations take one
    thread (``pipelines/core/threads.py``); afterwards, other packs find their number again.

    PER_RUN: behind Batch List, an error ends this element's run only.
    ANY_RANGE: pictures whose numbers may leave [0, 1].
    """

    PER_RUN = True
    ANY_RANGE: tuple[str, ...] = ()

    @classmethod
    def execute(cls, **inputs) -> io.NodeOutput:
        from .pulse import Pulse

        with torch.inference_mode(False), torch.enable_grad(), threads.single(), pulse.heard_by(Pulse(node_key(cls))):
            try:
                given = checked(cls.define_schema(), inputs, checked_by(cls), cls.ANY_RANGE)
                with claims.held():
                    return cls.run(**{name: private(value) for name, value in given.items()})
            except Exception as error:
                problem = disk_problem(error) or error
                skipped = absorbed(cls, problem) if cls.PER_RUN else None
                if skipped is None and problem is error:
                    raise
                if skipped is None:
                    raise problem from error
                return skipped

    @classmethod
    def run(cls, **inputs) -> io.NodeOutput:
        """What the node does; one keyword argument per input of its schema."""
        raise NotImplementedError


def checked_by(cls) -> tuple[str, ...]:
    """Names of the inputs that ``validate_inputs`` of a node looks at itself."""
    return tuple(inspect.signature(cls.validate_inputs).parameters)


def absorbed(cls, problem: Exception) -> io.NodeOutput | None:
    """Blocked outputs where ``problem`` ends one run of a batch; None where it has to be raised."""
    try:
        from . import runs

        return runs.absorb(cls.define_schema(), problem)
    except Exception as trouble:  # the host's internals may change; the first error is the one to show
        log.warning("Lift123: could not tell whether a batch is running: %s", trouble)
        return None


def private(value):
    """A copy of a tensor that later code may differentiate and change; other values as they are."""
    return value.detach().clone() if isinstance(value, torch.Tensor) else value


def comfy_device() -> torch.device:
    """Where ComfyUI wants work done."""
    import comfy.model_management

    return comfy.model_management.get_torch_device()


def device_with_room(gigabytes: float = 4.0) -> torch.device:
    """:func:`comfy_device` after ComfyUI has moved its own models out of the way, where that is needed."""
    import comfy.model_management as mm

    device = mm.get_torch_device()
    if device.type != "cpu":
        mm.free_memory(gigabytes * 2**30 + mm.extra_reserved_memory(), device)
    return device


def node_key(cls) -> str | None:
    """The running node's id, for progress messages (None outside the server)."""
    return getattr(cls.hidden, "unique_id", None) if cls.hidden is not None else None
