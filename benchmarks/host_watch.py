"""Counts, on a CPU, what would make the host wait for a GPU.

The device ``torch.device("cpu", 0)`` plays the GPU: what is put there or computed from there is marked, every tensor else
belongs to the host.  Counted are questions to marked tensors (``item``, ``tolist``, ``nonzero``, boolean indices, ...) and
copies between the two that wait, those to the device included: torch waits for every copy that is not ``non_blocking``.
Operations that mix both sides, which a GPU refuses, are listed as ``mixed``.

What torch does below its Python functions is seen as operators (a dispatch mode); a backward pass as a whole is taken to be
on the device.
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

GPU = torch.device("cpu", 0)  # plays it; the host's own tensors are on torch.device("cpu")
ASKS = {"item", "tolist", "numpy", "__bool__", "__int__", "__float__", "__index__", "__array__", "__contains__", "is_nonzero",
        "equal", "allclose"}
OPERATORS = {"nonzero", "masked_select", "unique_dim", "unique_consecutive", "_unique", "_unique2", "bincount", "equal",
             "_local_scalar_dense", "_linalg_check_errors", "multinomial"}
MIXED_FINE = {"to", "copy_", "__getitem__", "__setitem__", "__set__", "__get__", "type_as", "new_tensor", "is_set_to"}
ROOT = Path(__file__).resolve().parent.parent


class Watch:
    """Used as a context; ``waits`` and ``mixed`` count by (what, where in the pack)."""

    def __init__(self):
        self.waits: Counter = Counter()
        self.mixed: Counter = Counter()
        self.there = False  # whether what runs now is on the device
        self._modes = (_Operators(self), _Functions(self))

    def __enter__(self) -> "Watch":
        for mode in self._modes:
            mode.__enter__()
        return self

    def __exit__(self, *problem) -> None:
        for mode in reversed(self._modes):
            mode.__exit__(*problem)

    def wait(self, what: str) -> None:
        """One more wait here."""
        self.waits[what, _place()] += 1

    @property
    def total(self) -> int:
        """Waits so far."""
        return sum(self.waits.values())

    def forget(self) -> None:
        """Counts from zero again."""
        self.waits.clear()
        self.mixed.clear()


def put(thing) -> None:
    """Marks tensors, parameters and buffers of modules as lying on the device."""
    tensors = [*thing.parameters(), *thing.buffers()] if isinstance(thing, torch.nn.Module) else [thing]
    for tensor in tensors:
        tensor._there = True


def _there(value) -> bool:
    return isinstance(value, Tensor) and getattr(value, "_there", False)


def _marked(value):
    for leaf in tree_leaves(value):
        if isinstance(leaf, Tensor):
            leaf._there = True
    return value


def _place() -> str:
    """The innermost line of the pack (or of a benchmark) that is being run."""
    frame, found = sys._getframe(2), ""
    while frame is not None:
        name = frame.f_code.co_filename
        if "pipelines" in name or name.startswith(str(ROOT / "host")):
            return f"{Path(name).name}:{frame.f_lineno}"
        frame = frame.f_back
    return found


class _Functions(TorchFunctionMode):
    """torch's Python functions, methods and properties."""

    def __init__(self, watch: Watch):
        super().__init__()
        self.watch = watch

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        if name == "__get__" and getattr(func, "__self__", None) is torch._C.TensorBase.device:
            return GPU if _there(args[0]) else func(*args, **kwargs)
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        there = any(_there(t) for t in tensors)
        if name in ("to", "cpu") and tensors:
            return self._moved(name, func, args, kwargs)
        self._look(name, there, tensors, args, kwargs)
        before, self.watch.there = self.watch.there, there
        try:
            out = func(*args, **kwargs)
        finally:
            self.watch.there = before
        if name == "__set__" and there:
            _marked(args[0])
        goes = there and name not in ("numpy", "tolist")
        return _marked(out) if goes or kwargs.get("device") == GPU else out

    def _look(self, name: str, there: bool, tensors: list, args, kwargs) -> None:
        watch = self.watch
        if name in ("tensor", "as_tensor", "new_tensor") and not there and kwargs.get("device") == GPU:
            watch.wait("numbers to the device")
        if name == "new_tensor" and there:
            watch.wait("numbers to the device")
        if not there:
            return
        if name in ASKS and name not in ("item", "__bool__", "__int__", "__float__", "__index__", "is_nonzero", "equal"):
            watch.wait(name)  # the others are operators, too
        if name == "copy_" and _there(args[0]) != _there(args[1]) and not kwargs.get("non_blocking", False):
            watch.wait("copy_")
        if name in ("__getitem__", "__setitem__"):
            index = args[1] if isinstance(args[1], tuple) else (args[1],)
            if any(isinstance(i, list) or (isinstance(i, Tensor) and i.ndim and not _there(i)) for i in index):
                watch.wait("index of the host")
        foreign = [t for t in tensors if not _there(t) and t.ndim]
        if foreign and name not in MIXED_FINE and name not in ("backward", "grad"):
            watch.mixed[name, _place()] += 1

    def _moved(self, name: str, func, args, kwargs):
        """``to`` and ``cpu``: another tensor object for every move, so that only one side is marked."""
        tensor, wanted = args[0], None
        for value in (*args[1:], *kwargs.values()):
            if isinstance(value, Tensor):
                wanted = GPU if _there(value) else torch.device("cpu")
            elif isinstance(value, (str, torch.device)):
                wanted = torch.device(value)
        if name == "cpu":
            wanted = torch.device("cpu")
        if sys._getframe(2).f_code.co_filename.endswith("clip_grad.py"):
            wanted = None  # moves norms to the devices of the gradients, which torch found below Python
        was, out = _there(tensor), func(*args, **kwargs)
        goes = was if wanted is None else wanted == GPU
        if was != goes and not kwargs.get("non_blocking", False):
            self.watch.wait("copy to the device" if goes else "copy to the host")
        if out is tensor and was != goes:
            out = out.view(out.shape)
        if goes:
            return _marked(out)
        if was:
            out._there = False
        return out


class _Operators(TorchDispatchMode):
    """Operators, also those inside of torch's own functions and backward passes."""

    def __init__(self, watch: Watch):
        super().__init__()
        self.watch = watch

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if self.watch.there and func.namespace == "aten":
            name = func._schema.name.split("::")[1]
            if name in OPERATORS or self._by_mask(name, args) or (name == "repeat_interleave" and not kwargs.get("output_size")):
                self.watch.wait(name)
        return func(*args, **kwargs)

    def _by_mask(self, name: str, args) -> bool:
        if name not in ("index", "index_put", "index_put_", "_index_put_impl_"):
            return False
        masks = [i for i in args[1] if i is not None and i.dtype in (torch.bool, torch.uint8)]
        filled = name != "index" and args[2].numel() == 1 and len(masks) == 1  # torch fills then, without looking
        return bool(masks) and not filled
