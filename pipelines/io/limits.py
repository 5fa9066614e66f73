"""How large a file of somebody else may be: checked before memory is taken, and named where it is refused.

A file of two kilobytes can ask for a terabyte, so what a file says about itself is never believed.
"""

from __future__ import annotations

from ..core.errors import InputError

BYTES = 1 << 30  # of one file
TEXT_BYTES = 1 << 29  # of one file of text: it takes several times as much while it is read
LINES = 20_000_000  # of a text
JSON_VALUES = 2_000_000  # values in a file's JSON text
NODES = 65_536  # visited while the node tree of a scene is walked; a node that hangs twice counts twice
PARTS = 20_000  # primitives, once for every place where they stand
VERTICES = 15_000_000  # of all parts together
FACES = 5_000_000  # of all parts together, after polygons are cut into triangles
MATERIALS = 4096  # in use, where some have textures
PIXELS = 8192 * 8192  # of one picture
ALL_PIXELS = 2 * PIXELS  # of all pictures of a file
PICTURE_SIDE = 16_384  # pixels along one side of a picture
ARCHIVE_ENTRIES = 100_000  # of a pickled checkpoint
ARCHIVE_GROWTH, ARCHIVE_SLACK = 4, 1 << 26  # it may unpack to so many times its size, and so many bytes more
PICKLE_BYTES = 1 << 24  # of the part of a checkpoint that names its tensors


def within(name: str, count: int, limit: int, unit: str, remedy: str = "Simplify the file in another program.") -> int:
    """``count`` where it is at most ``limit``; else an InputError that names both and the ``unit``."""
    if count > limit:
        raise InputError(name, f"at most {limit:,} {unit}", f"{count:,} {unit}", remedy)
    return count
