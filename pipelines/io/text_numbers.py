"""Numbers of a text: plain decimal ones, as C writes them, many at a time where lines are regular.

Python's own ``float`` and ``int`` take "1_0" for ten and read digits of every script, which no mesh file means.
"""

from __future__ import annotations

import io
import re

import numpy as np

_PLAIN = re.compile(r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?|[-+]?(?:nan|inf|infinity)", re.IGNORECASE)
_WHOLE = re.compile(r"[-+]?[0-9]{1,18}")
_SPARE = b"0123456789+-.eE \t\r\n\v\f"


def number(word: str) -> float:
    """A decimal number, NaN or infinity; ValueError for anything else."""
    if not _PLAIN.fullmatch(word):
        raise ValueError(f"{word[:40]!a} is no number")
    return float(word)


def whole(word: str) -> int:
    """A whole number in decimal digits; ValueError for anything else, also for more than 18 of them."""
    if not _WHOLE.fullmatch(word):
        raise ValueError(f"{word[:40]!a} is no whole number")
    return int(word)


def rows(text: bytes) -> np.ndarray:
    """[N, K] float64, a row of each line that is not blank; ValueError for lines of unequal length and for words."""
    if not text.strip():
        return np.zeros((0, 0))
    if not text.translate(None, _SPARE):
        return np.loadtxt(io.BytesIO(text), dtype=np.float64, comments=None, ndmin=2)
    lines = [[number(word) for word in line.split()] for line in text.decode("ascii").splitlines()]
    table = [line for line in lines if line]
    if any(len(line) != len(table[0]) for line in table):
        raise ValueError("lines of unequal length")
    return np.array(table, dtype=np.float64)
