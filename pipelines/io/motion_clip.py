"""What every reader of motions gives: a motion as its file has it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..core.rig import BONES

MOST_FRAMES = 3600  # of a motion: more are thinned


@dataclass(frozen=True)
class Clip:
    """A motion as a file has it, bone by bone, in the file's own space.

    bones:  names of VRM, parents first.
    rest:   [B, 3, 3] turns and places [B, 3] of the bones at rest.
    turns:  [T, B, 3, 3] of the bones and hips [T, 3] over time; times: [T] seconds.
    lowest: [T, 3] of each frame the joint that is lowest once the figure stands upright; None: the floor is the rest pose's.
    """

    name: str
    bones: tuple[str, ...]
    rest: np.ndarray
    places: np.ndarray
    turns: np.ndarray
    hips: np.ndarray
    times: np.ndarray
    lowest: np.ndarray | None = None


def thinned(count: int) -> tuple[slice, tuple[str, ...]]:
    """(which of ``count`` frames are kept, remarks)."""
    step = max(1, -(-count // MOST_FRAMES))
    return slice(None, None, step), (f"of {count} frames every {step}th was taken",) if step > 1 else ()


def known(bones) -> tuple[str, ...]:
    """VRM's bones among ``bones``, parents first."""
    return tuple(name for name in BONES if name in bones)
