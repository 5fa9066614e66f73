"""How much memory a request takes, told before it is begun: on a CPU nothing can be told afterwards, the system ends the process.

Bytes are counted for what grows with a request's sizes, as sums of what is kept for the backward pass or held at once:

radiance field   pixels x (SIGHT / step) x queries x numbers kept of a query, plus five copies of the table
mesh             pixels x samples x SURFACE_PIXEL, plus cells^3 x GRID_CELL
texture          samples x TEXTURE_SAMPLE, plus texels x TEXEL
pictures         pixels x PICTURE_PIXEL

The constants were measured as the growth of the process's peak (float32, CPU); ``tests/core/test_room.py`` holds the first
against what torch keeps.  They are right within a factor of two or three, which is enough to tell 30 GB from 3.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from .errors import InputError

SIGHT = 0.14  # scene units of each ray that are dense enough to be kept, averaged over a picture
KEPT = 16  # numbers of a sample besides its features and activations
NORMAL_QUERIES = {"tetrahedral": 2, "central": 3}  # half of their points: samples that hardly weigh get no normal
COPIES = 5  # of a hash table: values, gradient, two of Adam, averaged
SURFACE_PIXEL = 600  # bytes
CUBE_WEIGHTS = 4 * 21 * 4  # bytes of a cube of FlexiCubes: its weights, their gradient and two moments
GRID_CELL = 21_000  # bytes: 46 tetrahedra and 54 edges of a cell, sorted once
TEXTURE_SAMPLE, TEXEL = 24, 170  # bytes
PICTURE_PIXEL = 100  # bytes: colors, coverage, depth and normals, joined, composited and shown


def field_bytes(config) -> float:
    """A radiance field's sample (``NerfConfig``): bytes that one pixel keeps for its backward pass."""
    field = config.field
    numbers = 2 * field.grid.levels + 2 * field.hidden * field.layers + KEPT
    lit = config.shading.lambertian + config.shading.textureless + config.shading.normal_until > 0
    normals = [config.normal_tv, config.normal_blur, config.orientation, config.normal]
    around = NORMAL_QUERIES.get(config.volume.normal_method, 0.5)
    queries = 1 + around * (lit or any(map(ever, normals))) + around * ever(config.normal_3d)
    samples = min(SIGHT / config.volume.step, config.volume.max_samples)
    return 4 * numbers * samples * queries


def nerf_bytes(config, novel: bool = True) -> int:
    """The NeRF stage of a ``NerfConfig``; novel: whether a prior asks for new views."""
    grid = config.field.grid
    table = COPIES * 4 * 2 * grid.levels * min(2**grid.log2_table, grid.finest**3)
    return int(pixels_at_once(config, novel) * field_bytes(config) + table)


def mesh_bytes(config, novel: bool = True) -> int:
    """The mesh stage of a ``MeshConfig``."""
    weights = CUBE_WEIGHTS * (2 * config.tets) ** 3 if config.surface == "flexicubes" else 0
    return int(pixels_at_once(config, novel) * config.supersample**2 * SURFACE_PIXEL + grid_bytes(config.tets) + weights)


def grid_bytes(cells: int) -> int:
    """A tetrahedral grid of ``cells`` per side."""
    return cells**3 * GRID_CELL


def pixels_at_once(config, novel: bool = True) -> int:
    """Pixels whose graphs are alive together in one step of a ``StepConfig``."""
    new = max(count * size**2 for count, size in (config.novel_at(0.0), config.novel_at(1.0))) if novel else 0
    seen = config.reference_size**2
    return new + seen if config.mode == "both" else max(new, seen)


def texture_bytes(size: int, supersample: int) -> int:
    """Baking a texture of ``size`` texels per side with ``supersample`` samples along each side of a texel."""
    return size**2 * (supersample**2 * TEXTURE_SAMPLE + TEXEL)


def picture_bytes(count: int, size: int) -> int:
    """``count`` square pictures of ``size`` pixels with everything that is rendered."""
    return count * size**2 * PICTURE_PIXEL


def ever(schedule) -> bool:
    """Whether a weight is above 0 at some time."""
    return any(schedule(progress / 16) > 0 for progress in range(17))


def refuse_too_large(free: int | None, widgets: Iterable[tuple[str, int, int, int, Callable[[int], int]]]) -> None:
    """InputError when a request does not fit into ``free`` bytes (None: nothing is known, nothing refused).

    widgets: (name, value, smallest, step, bytes of a value) in the order in which lowering them hurts least; all describe
    the same request.  The message names the first with a value that fits, and that value; if none does, the last.
    """
    widgets = list(widgets)
    if free is None or widgets[0][4](widgets[0][1]) <= free:
        return
    found = [[v for v in range(least, value, step) if need(v) <= free] for _, value, least, step, need in widgets]
    chosen = next((k for k, values in enumerate(found) if values), -1)
    (name, value, least, _, need), fits = widgets[chosen], found[chosen]
    advice = f"Set {name} to {fits[-1]} or less." if fits else f"Lower {name} to {least}, close other programs, or use a GPU."
    raise InputError(name, f"work that fits into the {in_gigabytes(free)} that are free",
                     f"about {in_gigabytes(need(value))} with {name} at {value}", advice)


def in_gigabytes(count: float) -> str:
    """3221225472 -> "3.0 GB"."""
    return f"{count / 2**30:.1f} GB"
