"""Mesh simplification by the library fast-simplification: one sweep after another under a threshold that rises.

The library (C++, MIT) follows Garland and Heckbert's quadrics without a queue.  Its aggressiveness says how fast the
threshold rises: at its own 7 it is done a tenth sooner than at 4 and lies twice to three times as far from the surface.
"""

from __future__ import annotations

import logging
import threading
from functools import cache
from importlib.util import find_spec

import numpy as np
import torch

from ..core.pulse import beat
from ..ops.mesh_edges import mesh_edges

log = logging.getLogger(__name__)
QUICK = 4.0  # aggressiveness: thresholds end at 0.1 of the mesh's half side, squared
CAREFUL = 2.0  # and at 1e-5: what slivers then keep from collapsing is left to ``decimate``'s own rounds
_lock = threading.Lock()  # the library keeps its mesh in global variables


def available() -> bool:
    """Whether the library is installed; says once that it is not."""
    if find_spec("fast_simplification") is not None:
        return True
    _say_missing()
    return False


@cache
def _say_missing() -> None:
    log.warning("fast-simplification is not installed: large meshes are decimated by our own code, 20 to 60 times slower "
                "(pip install fast-simplification)")


def simplified(points: np.ndarray, faces: np.ndarray, budget: int) -> tuple[np.ndarray, np.ndarray] | None:
    """(points [V, 3] double, faces [F, 3] int64) of at most ``budget`` faces, or more where the library got stuck soundly.

    points: [V, 3] double, finite; faces: [F, 3] int64.  Vertices on open edges stay.  Crumbs smaller than the final
    threshold may vanish.  None where what it made has more edges that do not join two faces than the mesh given: it
    knows no link condition.  Deterministic.
    """
    low, high = points.min(0), points.max(0)
    middle, scale = (low + high) / 2, max(float((high - low).max()) / 2, 1e-30)
    unit = (points - middle) / scale
    for haste in (QUICK, CAREFUL):
        beat("decimating", 0, len(faces) - budget)
        made, corners = _run(unit, faces, budget, haste)
        reached = len(corners) <= budget
        if (reached or haste == CAREFUL) and len(corners) and _sound(made, corners, points, faces):
            return made * scale + middle, corners
    return None


def _run(points: np.ndarray, faces: np.ndarray, budget: int, haste: float) -> tuple[np.ndarray, np.ndarray]:
    import fast_simplification

    with _lock:
        made, corners = fast_simplification.simplify(points, faces, target_count=budget, agg=haste, preserve_border=True)[:2]
    return made, corners.astype(np.int64)


def _sound(made: np.ndarray, corners: np.ndarray, points: np.ndarray, faces: np.ndarray) -> bool:
    odd = _odd_edges(made, corners)
    return odd == 0 or odd <= _odd_edges(points, faces)


def _odd_edges(points: np.ndarray, faces: np.ndarray) -> int:
    return int((mesh_edges(torch.from_numpy(faces), len(points)).count != 2).sum())
