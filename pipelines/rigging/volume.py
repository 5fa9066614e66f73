"""A body as voxels and as slices: what its landmarks are read from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from ..core.errors import InputError
from ..core.mesh import Mesh
from ..ops.voxelize import voxelize

ROWS = 96  # voxels along the body's longest side
CRUMB = 0.02  # of the body's voxels: smaller pieces are no part of it
SECOND = 0.3  # of the largest piece: a second one as large is another figure


@dataclass(frozen=True)
class Volume:
    """The filled body.

    solid:  [X, Y, Z] bool.  origin: [3] scene units, center of voxel (0, 0, 0).  cell: scene units.
    """

    solid: np.ndarray
    origin: np.ndarray
    cell: float

    def place(self, index) -> np.ndarray:
        """[..., 3] scene units of voxel coordinates."""
        return self.origin + np.asarray(index, dtype=np.float64) * self.cell

    def index(self, points) -> np.ndarray:
        """[..., 3] (not rounded) voxel coordinates of points in scene units."""
        return (np.asarray(points, dtype=np.float64) - self.origin) / self.cell


@dataclass(frozen=True)
class Blob:
    """One connected piece of one slice, in voxels.

    center: (x, z).  area: voxels.  low, high: first and last x.  label: in its slice.
    """

    center: np.ndarray
    area: int
    low: int
    high: int
    label: int


def body_volume(body: Mesh, rows: int = ROWS) -> Volume:
    """The body's inside, without crumbs.  InputError for a body that encloses nothing and for several figures."""
    points = body.vertices.detach().cpu().double()
    low, high = points.amin(0), points.amax(0)
    side = float((high - low).max()) * (1 + 4 / rows)
    start = (low + high) / 2 - side / 2
    scaled = (points - start) / side * 2 - 1
    solid = voxelize(scaled, body.faces.cpu(), rows).numpy()
    found = ndimage.label(solid, np.ones((3, 3, 3)))
    labels, count = found  # type: ignore[misc]
    if not count:
        raise InputError("body", "a closed surface", "one that encloses nothing", "Check the node that made the layers.")
    sizes = np.bincount(labels.reshape(-1))[1:]
    order = np.argsort(-sizes)
    if count > 1 and sizes[order[1]] > SECOND * sizes[order[0]]:
        spots = ndimage.center_of_mass(solid, labels, order[:2] + 1)
        if abs(spots[0][0] - spots[1][0]) > 0.15 * rows:
            raise InputError("body", "one figure", "several figures side by side", "Cut out one figure and start from it.")
    solid = np.isin(labels, np.flatnonzero(sizes >= CRUMB * sizes.sum()) + 1)
    cell = side / rows
    return Volume(solid, start.numpy() + cell / 2, cell)


def slices(solid: np.ndarray) -> tuple[np.ndarray, list[list[Blob]]]:
    """(labels [X, Y, Z], each horizontal slice's pieces, largest first)."""
    labels, rows = np.zeros(solid.shape, dtype=np.int32), []
    for y in range(solid.shape[1]):
        found, count = ndimage.label(solid[:, y])  # type: ignore[misc]
        labels[:, y] = found
        blobs = []
        for k, box in enumerate(ndimage.find_objects(found), 1):
            x, z = np.nonzero(found == k)
            blobs.append(Blob(np.array([x.mean(), z.mean()]), len(x), box[0].start, box[0].stop - 1, k))
        rows.append(sorted(blobs, key=lambda b: -b.area))
        del count
    return labels, rows


def mirror_axis(solid: np.ndarray) -> float:
    """x, in voxels, of the plane about which the outline from the front is most its own mirror image."""
    outline = np.asarray(np.any(solid, axis=2))
    width = len(outline)
    columns = np.nonzero(outline.sum(1))[0]
    middle = (columns[0] + columns[-1]) / 2
    padded = np.pad(outline, ((width, width), (0, 0)))
    best = (0.0, middle)
    for twice in range(round(2 * middle - 0.3 * width), round(2 * middle + 0.3 * width) + 1):
        mirrored = np.roll(padded[::-1], twice - (width - 1), 0)
        overlap = float((padded & mirrored).sum()) / max(int((padded | mirrored).sum()), 1)
        best = max(best, (overlap, twice / 2))
    return best[1]
