"""Toy objects by seed, framed like a prepared reference picture."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

from ..core.cameras import HOME
from ..core.mesh import Mesh, merge
from .creatures import CREATURES
from .patterns import bake_gloss, bake_light
from .recipes import RECIPES, Workbench
from .things import THINGS
from .vehicles import VEHICLES
from .workbench import SecondWorkbench

FRAME_FILL = 0.8  # the object's longer side over the picture's, as the reference view is prepared
MAX_DEPTH = 1.05  # scene units; keeps side views inside the frame
VERSIONS = {  # version -> (what is added to the seed, workbench, recipes)
    1: ((), Workbench, RECIPES),
    2: ((2,), SecondWorkbench, (*CREATURES, *THINGS, *VEHICLES)),
}
HELD_OUT_OFFSET = 10_000_000  # seeds at or above this are never trained on


@dataclass(frozen=True)
class ToyObject:
    """One object with its ground truth.

    mesh:    union of closed parts with baked vertex colors (may overlap inside).
    parts:   the same parts one by one; each is closed.
    caption: an English noun phrase, e.g. "a red vase striped with white".
    name:    the recipe's noun.
    version: of the toybox.
    """

    mesh: Mesh
    parts: tuple[Mesh, ...]
    caption: str
    name: str
    seed: int
    version: int = 1


def make_object(seed: int, version: int = 1) -> ToyObject:
    """The object of a seed (>= 0), the same on every machine.

    version: 1 (simple shapes) or 2 (thin parts, hollows, letters, gloss, fronts unlike backs; nouns of its own).  A
    seed means another object in each.  Raises ValueError for any other version.
    """
    if version not in VERSIONS:
        raise ValueError(f"version must be one of {tuple(VERSIONS)}, got {version!r}")
    stream, workbench, recipes = VERSIONS[version]
    rng = np.random.Generator(np.random.PCG64([seed, *stream] if stream else seed))
    bench = workbench(rng)
    noun = recipes[int(rng.integers(len(recipes)))](bench)
    light = bake_gloss if getattr(bench, "glossy", False) else bake_light
    scale, offset = _framing([shape.vertices for shape, _ in bench.parts])
    parts = []
    for shape, colors in bench.parts:
        vertices = (shape.vertices - offset) * scale
        parts.append(
            Mesh(
                torch.from_numpy(vertices).float(),
                torch.from_numpy(np.ascontiguousarray(shape.faces)),
                torch.from_numpy(light(colors, shape.normals)).float(),
            )
        )
    return ToyObject(merge(parts), tuple(parts), bench.words(noun), noun, seed, version)


def train_seed(index: int) -> int:
    """Seed of the index-th training object (0 <= index < 10 million)."""
    if not 0 <= index < HELD_OUT_OFFSET:
        raise ValueError(f"training index must lie in 0..{HELD_OUT_OFFSET - 1}, got {index}")
    return index


def heldout_seed(index: int) -> int:
    """Seed of the index-th held-out object (index >= 0)."""
    return HELD_OUT_OFFSET + index


def _framing(vertices: list[np.ndarray]) -> tuple[float, np.ndarray]:
    """Scale and center that fill FRAME_FILL of the reference camera's picture."""
    points = np.concatenate(vertices)
    low, high = points.min(0), points.max(0)
    extent = high - low
    frame = 2 * HOME.radius * math.tan(HOME.fovy / 2)
    # Perspective enlarges the near half, so the silhouette comes out slightly above FRAME_FILL.
    scale = min(FRAME_FILL * frame / max(extent[0], extent[1]), MAX_DEPTH / extent[2])
    return scale * 0.97, (low + high) / 2
