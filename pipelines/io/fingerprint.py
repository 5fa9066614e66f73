"""One key for everything that goes into a computation: settings, pictures, scenes, networks."""

from __future__ import annotations

import hashlib
from dataclasses import fields, is_dataclass
from pathlib import PurePath

import torch
from torch import Tensor

DIGITS = 32


def fingerprint(*values) -> str:
    """32 hexadecimal digits that differ whenever any value does, and stay from one process to the next.

    values: numbers, words, None, paths, devices, tensors (by type, shape and bytes), lists, dictionaries, dataclasses (by
    their fields), and objects with a method ``identity()``, which says what stands for them.  TypeError for anything else,
    because a key that leaves something out would make two computations one.
    """
    digest = hashlib.sha256()
    _feed(digest, values)
    return digest.hexdigest()[:DIGITS]


def _feed(digest, value) -> None:
    if callable(getattr(value, "identity", None)) and not isinstance(value, type):
        _begin(digest, f"identity of {type(value).__name__}", 1)
        _feed(digest, value.identity())
    elif isinstance(value, Tensor):
        plain = value.detach().cpu().contiguous()
        _begin(digest, f"{plain.dtype} {tuple(plain.shape)}", plain.nbytes)
        digest.update(plain.reshape(-1).view(torch.uint8).numpy().data)
    elif is_dataclass(value) and not isinstance(value, type):
        known = fields(value)
        _begin(digest, type(value).__name__, len(known))
        for field in known:
            _feed(digest, field.name)
            _feed(digest, getattr(value, field.name))
    elif isinstance(value, dict):
        _begin(digest, "dict", len(value))
        for key in sorted(value, key=repr):
            _feed(digest, key)
            _feed(digest, value[key])
    elif isinstance(value, (list, tuple)):
        _begin(digest, "list", len(value))
        for part in value:
            _feed(digest, part)
    elif value is None or isinstance(value, (bool, int, float, str, PurePath, torch.device)):
        text = repr(value)
        _begin(digest, type(value).__name__, len(text))
        digest.update(text.encode())
    else:
        raise TypeError(f"no key for a {type(value).__name__}: it needs a method identity()")


def _begin(digest, kind: str, size: int) -> None:
    """Kind and size first, so that no two structures give the same bytes."""
    digest.update(f"<{kind} {size}>".encode())
