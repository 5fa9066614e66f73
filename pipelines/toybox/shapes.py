"""Closed triangle surfaces from which toy objects are assembled.

Every builder returns a :class:`Shape` around the origin; faces are counter-clockwise from outside.
Notation: V vertices, F faces; lengths in the object's own units (normalized later).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np


@dataclass(frozen=True)
class Shape:
    """vertices [V, 3], faces [F, 3] int64, normals [V, 3] unit length."""

    vertices: np.ndarray
    faces: np.ndarray
    normals: np.ndarray

    def moved(self, offset) -> "Shape":
        """Translated by ``offset`` (3)."""
        return replace(self, vertices=self.vertices + np.asarray(offset, dtype=np.float64))

    def turned(self, axis: str, degrees: float) -> "Shape":
        """Rotated about a world axis through the origin, right-handed."""
        matrix = rotation(axis, degrees)
        return replace(self, vertices=self.vertices @ matrix.T, normals=self.normals @ matrix.T)

    def scaled(self, factors) -> "Shape":
        """Scaled per axis by positive ``factors`` (3)."""
        factors = np.asarray(factors, dtype=np.float64)
        normals = self.normals / factors
        return replace(self, vertices=self.vertices * factors, normals=_unit(normals))


def rotation(axis: str, degrees: float) -> np.ndarray:
    """[3, 3] right-handed rotation about 'x', 'y' or 'z'."""
    a = np.deg2rad(degrees)
    c, s = np.cos(a), np.sin(a)
    i, j = {"x": (1, 2), "y": (2, 0), "z": (0, 1)}[axis]
    matrix = np.eye(3)
    matrix[i, i] = matrix[j, j] = c
    matrix[i, j], matrix[j, i] = -s, s
    return matrix


def rounded_box(half, radius: float = 0.05, cells: int = 12) -> Shape:
    """A box with half extents ``half`` (3) whose edges are rounded with ``radius``."""
    half = np.asarray(half, dtype=np.float64)
    radius = min(radius, float(half.min()) * 0.999)
    cube, faces = _cube_grid(cells)
    # Squeeze grid lines towards the edges so that the rounded rim gets vertices of its own.
    surface = np.sign(cube) * (1 - (1 - np.abs(cube)) ** 1.5) * half
    core = np.clip(surface, -(half - radius), half - radius)
    normals = _unit(surface - core + 1e-9 * cube)
    return Shape(core + normals * radius, faces, normals)


def ellipsoid(half, cells: int = 12) -> Shape:
    """An ellipsoid with half axes ``half`` (3)."""
    half = np.asarray(half, dtype=np.float64)
    cube, faces = _cube_grid(cells)
    sphere = _unit(np.tan(cube * (np.pi / 4)))  # equal-angle grid: triangles of similar size
    return Shape(sphere * half, faces, _unit(sphere / half))


def revolve(profile, segments: int = 40, rows: int = 36) -> Shape:
    """A surface of revolution about +Y.

    profile: [(radius, y), ...] from bottom to top; radii >= 0.  The ends are closed on the axis.
    Rows are resampled at equal arc length.
    """
    profile = np.asarray(profile, dtype=np.float64)
    if profile[0, 0] > 0:
        profile = np.vstack([[0.0, profile[0, 1]], profile])
    if profile[-1, 0] > 0:
        profile = np.vstack([profile, [0.0, profile[-1, 1]]])
    radius, y = _resample(profile, rows).T
    angle = np.arange(segments) * (2 * np.pi / segments)
    ring = np.stack([np.sin(angle), np.zeros_like(angle), np.cos(angle)], -1)
    body = ring[None] * radius[1:-1, None, None] + np.array([0, 1, 0]) * y[1:-1, None, None]
    return _capped_rings(body, [0, y[0], 0], [0, y[-1], 0])


def tube(path, radii, segments: int = 16) -> Shape:
    """A tube along ``path`` [N, 3] with ``radii`` (scalar or [N]), closed with round ends."""
    path = np.asarray(path, dtype=np.float64)
    radii = np.broadcast_to(np.asarray(radii, dtype=np.float64), (len(path),))
    tangent, side, up = _frames(path)
    angle = np.arange(segments) * (2 * np.pi / segments)
    circle = np.cos(angle)[None, :, None] * side[:, None] + np.sin(angle)[None, :, None] * up[:, None]
    rings = [path[:, None] + circle * radii[:, None, None]]
    for end, sign, index in ((0, -1, 0), (-1, 1, -1)):
        caps = []
        for a in np.deg2rad([30, 60]):
            center = path[end] + sign * tangent[end] * radii[end] * np.sin(a)
            caps.append(center + circle[end] * radii[end] * np.cos(a))
        caps = np.stack(caps)
        rings = [caps[::-1], *rings] if index == 0 else [*rings, caps]
    start = path[0] - tangent[0] * radii[0]
    stop = path[-1] + tangent[-1] * radii[-1]
    return _outward(_capped_rings(np.concatenate(rings), start, stop))


def torus(major: float, minor: float, segments: int = 48, sides: int = 18) -> Shape:
    """A ring in the x-z plane."""
    a = np.arange(segments) * (2 * np.pi / segments)
    b = np.arange(sides) * (2 * np.pi / sides)
    radial = np.stack([np.sin(a), np.zeros_like(a), np.cos(a)], -1)
    normals = radial[:, None] * np.cos(b)[None, :, None] + np.array([0, 1, 0]) * np.sin(b)[None, :, None]
    vertices = radial[:, None] * major + normals * minor
    return _outward(Shape(vertices.reshape(-1, 3), _ring_faces(segments, sides, True), normals.reshape(-1, 3)))


def blend(centers, radii, cells: int = 14) -> Shape:
    """A smooth union of balls (metaballs) seen as a star-shaped surface about the origin.

    centers [N, 3], radii [N]; the origin must lie inside.  The level set
    sum_i exp(2 - 2 |x - c_i|^2 / r_i^2) = 1 is found along each direction by bisection from outside.
    """
    centers, radii = np.asarray(centers, dtype=np.float64), np.asarray(radii, dtype=np.float64)
    cube, faces = _cube_grid(cells)
    direction = _unit(np.tan(cube * (np.pi / 4)))
    reach = float((np.linalg.norm(centers, axis=1) + 1.6 * radii).max())
    distance = np.linspace(0, reach, 40)
    inside = _metaball(direction[:, None] * distance[None, :, None], centers, radii) > 1
    last = np.where(inside.any(1), inside.shape[1] - 1 - inside[:, ::-1].argmax(1), 0)
    low, high = distance[last], distance[np.minimum(last + 1, len(distance) - 1)]
    for _ in range(12):
        middle = (low + high) / 2
        is_in = _metaball(direction * middle[:, None], centers, radii) > 1
        low, high = np.where(is_in, middle, low), np.where(is_in, high, middle)
    vertices = direction * np.maximum(low, 1e-3)[:, None]
    return Shape(vertices, faces, vertex_normals(vertices, faces))


def prism(polygon, depth: float) -> Shape:
    """A convex polygon [N, 2] (x, y; counter-clockwise) extruded along z, centered, with sharp edges."""
    polygon = np.asarray(polygon, dtype=np.float64)
    n = len(polygon)
    front = np.column_stack([polygon, np.full(n, depth / 2)])
    back = np.column_stack([polygon, np.full(n, -depth / 2)])
    loops = [front, back[::-1]]
    loops += [np.stack([front[i], back[i], back[(i + 1) % n], front[(i + 1) % n]]) for i in range(n)]
    vertices, faces, normals, base = [], [], [], 0
    for loop in loops:
        normal = _unit(np.cross(loop[1] - loop[0], loop[2] - loop[1]))
        vertices.append(loop)
        normals.append(np.tile(normal, (len(loop), 1)))
        faces += [[base, base + i, base + i + 1] for i in range(1, len(loop) - 1)]
        base += len(loop)
    return Shape(np.vstack(vertices), np.asarray(faces, dtype=np.int64), np.vstack(normals))


def vertex_normals(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """[V, 3] area-weighted unit normals."""
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    face_normal = np.cross(b - a, c - a)
    out = np.zeros_like(vertices)
    for k in range(3):
        np.add.at(out, faces[:, k], face_normal)
    return _unit(out)


def smooth_profile(points, count: int = 60) -> np.ndarray:
    """[count, 2] Catmull-Rom curve through profile points; radii are kept >= 0."""
    points = np.asarray(points, dtype=np.float64)
    padded = np.vstack([2 * points[0] - points[1], points, 2 * points[-1] - points[-2]])
    t = np.linspace(0, len(points) - 1 - 1e-9, count)
    i, f = t.astype(int), (t % 1)[:, None]
    p0, p1, p2, p3 = padded[i], padded[i + 1], padded[i + 2], padded[i + 3]
    curve = 0.5 * (2 * p1 + (p2 - p0) * f + (2 * p0 - 5 * p1 + 4 * p2 - p3) * f**2 + (3 * p1 - p0 - 3 * p2 + p3) * f**3)
    curve[:, 0] = np.maximum(curve[:, 0], 0)
    return curve


def _unit(v: np.ndarray) -> np.ndarray:
    return v / np.maximum(np.linalg.norm(v, axis=-1, keepdims=True), 1e-12)


def _metaball(x: np.ndarray, centers: np.ndarray, radii: np.ndarray) -> np.ndarray:
    squared = ((x[..., None, :] - centers) ** 2).sum(-1)
    return np.exp(2 - 2 * squared / radii**2).sum(-1)


_CUBES: dict = {}


def _cube_grid(cells: int) -> tuple[np.ndarray, np.ndarray]:
    """Welded grid on the surface of [-1, 1]^3: vertices [V, 3] and outward faces [F, 3]; memoized."""
    if cells not in _CUBES:
        line = np.linspace(-1, 1, cells + 1)
        u, v = np.meshgrid(line, line, indexing="ij")
        corner = (np.arange(cells)[:, None] * (cells + 1) + np.arange(cells)).ravel()
        quad = np.stack([corner, corner + cells + 1, corner + cells + 2, corner + 1], -1)
        vertices, faces = [], []
        for axis in range(3):
            for sign in (-1, 1):
                grid = np.zeros((*u.shape, 3))
                grid[..., axis] = sign
                grid[..., (axis + 1) % 3], grid[..., (axis + 2) % 3] = u, v
                q = quad if sign > 0 else quad[:, ::-1]
                faces.append(np.concatenate([q[:, [0, 1, 2]], q[:, [0, 2, 3]]]) + len(vertices) * u.size)
                vertices.append(grid.reshape(-1, 3))
        vertices, faces = np.concatenate(vertices), np.concatenate(faces)
        unique, inverse = np.unique(np.round(vertices, 9), axis=0, return_inverse=True)
        _CUBES[cells] = (unique, inverse.ravel()[faces].astype(np.int64))
    return _CUBES[cells]


def _resample(curve: np.ndarray, count: int) -> np.ndarray:
    length = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(curve, axis=0), axis=1))])
    t = np.linspace(0, length[-1], count)
    return np.stack([np.interp(t, length, curve[:, k]) for k in range(curve.shape[1])], -1)


def _ring_faces(rings: int, sides: int, closed: bool) -> np.ndarray:
    i, j = np.meshgrid(np.arange(rings if closed else rings - 1), np.arange(sides), indexing="ij")
    i, j = i.ravel(), j.ravel()
    a, b = i * sides + j, i * sides + (j + 1) % sides
    c, d = ((i + 1) % rings) * sides + j, ((i + 1) % rings) * sides + (j + 1) % sides
    return np.concatenate([np.stack([a, b, d], -1), np.stack([a, d, c], -1)]).astype(np.int64)


def _capped_rings(rings: np.ndarray, start, stop) -> Shape:
    """Rings [R, S, 3] (bottom to top) joined, with a pole at each end."""
    count, sides = rings.shape[:2]
    vertices = np.concatenate([rings.reshape(-1, 3), np.asarray([start, stop], dtype=np.float64)])
    j = np.arange(sides)
    k = (j + 1) % sides
    south, north, top = count * sides, count * sides + 1, (count - 1) * sides
    caps = [np.stack([np.full(sides, south), k, j], -1), np.stack([np.full(sides, north), top + j, top + k], -1)]
    faces = np.concatenate([_ring_faces(count, sides, False), *caps]).astype(np.int64)
    return Shape(vertices, faces, vertex_normals(vertices, faces))


def _outward(shape: Shape) -> Shape:
    """The same closed surface with faces turned outwards (signed volume > 0)."""
    a, b, c = (shape.vertices[shape.faces[:, k]] for k in range(3))
    faces = shape.faces if (a * np.cross(b, c)).sum() > 0 else shape.faces[:, ::-1]
    return Shape(shape.vertices, faces, vertex_normals(shape.vertices, faces))


def _frames(path: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Tangent, side and up [N, 3] along a path by parallel transport (no sudden twist)."""
    tangent = _unit(np.gradient(path, axis=0))
    helper = np.eye(3)[np.abs(tangent[0]).argmin()]
    side = [_unit(np.cross(tangent[0], helper))]
    for t in tangent[1:]:
        side.append(_unit(side[-1] - t * (side[-1] @ t)))
    side = np.asarray(side)
    return tangent, side, np.cross(tangent, side)
