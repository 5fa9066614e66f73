"""The one way kernels are launched: torch tensors in, no copies, the caller's stream, all allowed cores.

On CUDA a kernel runs on torch's current stream.  On the CPU a launch may be cut along its first dimension
into parts for a small thread pool (Warp releases the interpreter lock), one per allowed thread, so
``torch.set_num_threads`` and ``OMP_NUM_THREADS`` rule here too (``core/threads.py``).
"""

from __future__ import annotations

import math
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import torch
import warp as wp
from torch import Tensor

from ...core.pulse import beat
from ...core.threads import allowed

PIECE = 1 << 17  # pixels, points or samples
SMALLEST = 512  # parts of a piece that one thread takes at least: less is not worth waking another
LONGEST_RUN = 4096  # of them in one thread of a core
MOST_SAMPLES = 4096
_samples: dict[tuple, tuple[type, bytes]] = {}  # of array descriptors, see _describe
_loaded: set = set()  # (module, whether for CUDA)
_lock = threading.Lock()
_ready = False


def init_warp() -> None:
    """Starts Warp once, without its banner; called by :func:`launch`."""
    global _ready
    if _ready:
        return
    with _lock:
        if not _ready:
            wp.config.log_level = wp.LOG_ERROR  # the banner and "no CUDA driver" are no news to a ComfyUI user
            wp.init()
            _ready = True


def launch(kernel, dim, inputs, outputs, device, split: int | None = None, piece: int = PIECE) -> None:
    """Runs a Warp kernel on torch tensors.

    kernel:  a ``wp.kernel``; tensors take the element type its signature declares, so a float [N, 3] tensor
             fits both ``wp.array2d(dtype=float)`` and ``wp.array(dtype=wp.vec3)``.
    dim:     an int or a tuple of ints; nothing happens if any is 0.
    inputs:  tensors (made contiguous if need be) and plain numbers, in the order of the signature.
    outputs: contiguous tensors the kernel writes to, in place.
    device:  where all tensors live (``torch.device`` or str).
    split:   None: one launch.  n: the first parameter of the kernel must be ``first: int`` (do not pass it),
             and it must address dimension 0 as ``first + tid``; up to n parts then run at once on the CPU.
             Only for kernels whose parts write disjoint memory: CPU atomics are not promised across threads.
    piece:   items between two beats of a launch that is split on the CPU: a fraction of a second's work.

    No gradients: callers wrap launches in ``torch.autograd.Function``.  ValueError for a non-contiguous output.
    """
    init_warp()
    dim = (dim,) if isinstance(dim, int) else tuple(dim)
    if 0 in dim:
        return
    device = torch.device(device)
    cuda = device.type == "cuda"
    offset = 0 if split is None else 1
    arguments = _pack(kernel, inputs, outputs, offset)
    stream = wp.stream_from_torch(torch.cuda.current_stream(device)) if cuda else None
    where = wp.device_from_torch(device) if cuda else "cpu"
    beat()
    _load(kernel.module, cuda)
    if split is None or cuda:
        head = [0] if offset else []
        wp.launch(kernel, dim, head + arguments, device=where, stream=stream, record_tape=False)
        return
    items = math.prod(dim)
    pieces = min(dim[0], max(1, items // piece))
    parts = min(split, dim[0] // pieces, max(1, items * SMALLEST // piece), allowed())
    cuts = [dim[0] * i // pieces for i in range(pieces + 1)]
    for first, last in zip(cuts, cuts[1:]):
        beat()
        _launch_parts(kernel, first, (last - first, *dim[1:]), arguments, parts)


def runs(device: torch.device, width: int) -> tuple[int, int]:
    """(run, number of runs) of kernels that take several of ``width`` neighbors in one thread.

    A GPU gets a thread for each.  A core gets a line at a time: what neighbors share is worked out once.
    """
    run = 1 if device.type == "cuda" else max(1, min(width, LONGEST_RUN))
    return run, -(-width // run)


def _name_module(module) -> None:
    """Gives a kernel's Warp module a name that can be part of a file name and does not depend on the install path.

    Warp makes cache folders of module names, and ComfyUI names a pack's modules by the pack's path.
    """
    if "pipelines.ops.kernels." in module.name:
        module.name = "lift123_" + module.name.rpartition(".")[2]


def _load(module, cuda: bool) -> None:
    """Names a module and, for the CPU, compiles and loads it, once: two threads must not do that at the same time."""
    if (module, cuda) in _loaded:
        return
    with _lock:
        _name_module(module)
        if not cuda:
            module.load(wp.get_device("cpu"))
        _loaded.add((module, cuda))


def _launch_parts(kernel, first: int, dim: tuple, arguments: list, parts: int) -> None:
    """The launch of ``dim[0]`` lines from ``first`` on, in ``parts`` slices on the pool and the calling thread."""
    if parts <= 1:
        wp.launch(kernel, dim, [first] + arguments, device="cpu", record_tape=False)
        return
    cuts = [dim[0] * i // parts for i in range(parts + 1)]

    def run(part: int) -> None:
        size = (cuts[part + 1] - cuts[part],) + dim[1:]
        wp.launch(kernel, size, [first + cuts[part]] + arguments, device="cpu", record_tape=False)

    pending = [_pool(parts - 1).submit(run, part) for part in range(1, parts)]
    run(0)
    for future in pending:
        future.result()


@cache
def _pool(workers: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(workers, thread_name_prefix="lift123-warp")


def _pack(kernel, inputs, outputs, offset: int) -> list:
    """Arguments as Warp wants them: array descriptors over the tensors' own memory."""
    declared = kernel.adj.args[offset:]
    values = [v.contiguous() if isinstance(v, Tensor) else v for v in inputs]
    for value in outputs:
        if isinstance(value, Tensor) and not value.is_contiguous():
            raise ValueError("a kernel's output tensor must be contiguous")
        values.append(value)
    if len(values) != len(declared):
        raise ValueError(f"kernel {kernel.key} wants {len(declared)} arguments, got {len(values)}")
    return [_describe(v, d.type) if isinstance(v, Tensor) else v for v, d in zip(values, declared)]


def _describe(tensor: Tensor, kind):
    """The array descriptor of a contiguous tensor; it keeps the tensor alive.

    Warp takes longer to write a descriptor than a small kernel runs, and a step has hundreds of them.  Of contiguous
    tensors everything but the address and the first size is the same where the other sizes are, so it is copied.
    """
    if tensor.numel() == 0 or tensor.dim() <= len(getattr(kind.dtype, "_shape_", ())):
        return _described(tensor, kind)
    key = (kind.dtype, tensor.dtype, *tensor.shape[1:])
    sample = _samples.get(key)
    if sample is None:
        made = _described(tensor, kind)
        if tensor.stride(0) == tensor.numel() // tensor.shape[0]:  # one line alone may have any other step
            if len(_samples) >= MOST_SAMPLES:
                _samples.clear()
            _samples[key] = type(made), bytes(made)
        return made
    made = sample[0].from_buffer_copy(sample[1])
    made.data, made.shape[0], made.tensor = tensor.data_ptr(), tensor.shape[0], tensor
    return made


def _described(tensor: Tensor, kind):
    """The array descriptor, by Warp."""
    return wp.from_torch(tensor.detach(), dtype=kind.dtype, requires_grad=False, return_ctype=True)
