"""Letters as strokes of round tubes, to be stuck on toy objects like decals.

Strokes are polylines on a grid of 2 by 4 units with its origin at the lower left.
"""

from __future__ import annotations

import numpy as np

from .shapes import Shape, tube

STROKES = {
    "e": (((2, 0), (0, 0), (0, 4), (2, 4)), ((0, 2), (1.6, 2))),
    "f": (((0, 0), (0, 4), (2, 4)), ((0, 2), (1.6, 2))),
    "h": (((0, 0), (0, 4)), ((2, 0), (2, 4)), ((0, 2), (2, 2))),
    "k": (((0, 0), (0, 4)), ((2, 4), (0, 2), (2, 0))),
    "l": (((0, 4), (0, 0), (2, 0)),),
    "m": (((0, 0), (0, 4), (1, 2), (2, 4), (2, 0)),),
    "n": (((0, 0), (0, 4), (2, 0), (2, 4)),),
    "o": (((0.6, 0), (0, 1), (0, 3), (0.6, 4), (1.4, 4), (2, 3), (2, 1), (1.4, 0), (0.6, 0)),),
    "p": (((0, 0), (0, 4), (1.5, 4), (2, 3.4), (2, 2.6), (1.5, 2), (0, 2)),),
    "t": (((0, 4), (2, 4)), ((1, 4), (1, 0))),
    "u": (((0, 4), (0, 1), (0.6, 0), (1.4, 0), (2, 1), (2, 4)),),
    "v": (((0, 4), (1, 0), (2, 4)),),
    "x": (((0, 0), (2, 4)), ((0, 4), (2, 0))),
    "z": (((0, 4), (2, 4), (0, 0), (2, 0)),),
}


def letter_shapes(letter: str, height: float, radius: float, surface=None) -> list[Shape]:
    """The strokes of a letter, each a closed tube, centered at the origin of the x-y plane and read from +Z.

    letter:  one of ``STROKES``.
    height:  from the lowest to the highest point of the strokes' middle lines; the width is half of it.
    radius:  of the tubes.
    surface: function of x [N] and y [N] giving the z on which the strokes' middle lines run; default 0.
    """
    if letter not in STROKES:
        raise ValueError(f"letter must be one of {''.join(STROKES)}, got {letter!r}")
    shapes = []
    for line in STROKES[letter]:
        points = (np.asarray(line, dtype=np.float64) - [1, 2]) * (height / 4)
        for start, stop in zip(points[:-1], points[1:]):
            t = np.linspace(0, 1, 2 if surface is None else 6)[:, None]
            x, y = (start + (stop - start) * t).T
            z = np.zeros_like(x) if surface is None else surface(x, y)
            shapes.append(tube(np.stack([x, y, z], -1), radius, 8))
    return shapes
