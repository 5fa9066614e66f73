"""Warp kernel that looks into a lifted volume (``networks/lifted.py``), one ray a thread; nothing is stored by sample."""

import warp as wp

wp.set_module_options({"enable_backward": False})

vec7 = wp.types.vector(length=7, dtype=float)
OPAQUE = wp.constant(20.0)  # optical depth behind which nothing is seen: exp(-20) is 2e-9


@wp.func
def cell(position: float, size: int) -> int:
    return wp.clamp(int(wp.floor(position)), 0, size - 1)


@wp.func
def softplus(x: float) -> float:
    return wp.where(x > 20.0, x, wp.log(1.0 + wp.exp(wp.min(x, 20.0))))


@wp.func
def pixel(plane: wp.array3d(dtype=wp.vec4), image: int, x: float, y: float) -> wp.vec4:
    """Bilinear between the four pixels around (x, y) in pixels; edges repeat."""
    size = plane.shape[1]
    left, top = wp.floor(x - 0.5), wp.floor(y - 0.5)
    a, b = x - 0.5 - left, y - 0.5 - top
    x0, x1 = cell(left, size), cell(left + 1.0, size)
    y0, y1 = cell(top, size), cell(top + 1.0, size)
    upper = (1.0 - a) * plane[image, y0, x0] + a * plane[image, y0, x1]
    lower = (1.0 - a) * plane[image, y1, x0] + a * plane[image, y1, x1]
    return (1.0 - b) * upper + b * lower


@wp.func
def column(table: wp.array(dtype=vec7), first: int, z0: int, z1: int, c: float) -> vec7:
    """Between two voxels of the column that begins at row ``first``; 0 is none, and row 0 is empty."""
    if first == 0:
        return table[0]
    return (1.0 - c) * table[first + z0] + c * table[first + z1]


@wp.func
def voxel(table: wp.array(dtype=vec7), columns: wp.array3d(dtype=int), image: int, slices: int, x: float, y: float,
          z: float) -> vec7:
    """Trilinear between the eight voxels around (x, y, z) in voxels; edges repeat."""
    size = columns.shape[1]
    left, top, front = wp.floor(x - 0.5), wp.floor(y - 0.5), wp.floor(z - 0.5)
    a, b, c = x - 0.5 - left, y - 0.5 - top, z - 0.5 - front
    x0, x1 = cell(left, size), cell(left + 1.0, size)
    y0, y1 = cell(top, size), cell(top + 1.0, size)
    z0, z1 = cell(front, slices), cell(front + 1.0, slices)
    upper = (1.0 - a) * column(table, columns[image, y0, x0], z0, z1, c)
    upper += a * column(table, columns[image, y0, x1], z0, z1, c)
    lower = (1.0 - a) * column(table, columns[image, y1, x0], z0, z1, c)
    lower += a * column(table, columns[image, y1, x1], z0, z1, c)
    return (1.0 - b) * upper + b * lower


@wp.kernel
def look(
    first: int,
    rays: int,
    samples: int,
    slices: int,
    density: float,
    origins: wp.array(dtype=wp.vec3),
    directions: wp.array(dtype=wp.vec3),
    bounds: wp.array(dtype=wp.vec2),
    tangents: wp.array(dtype=float),
    table: wp.array(dtype=vec7),
    columns: wp.array3d(dtype=int),
    plane: wp.array3d(dtype=wp.vec4),
    out: wp.array(dtype=wp.vec4),
):
    i = first + wp.tid()
    image = i // rays
    tangent = tangents[image]
    step = (bounds[i][1] - bounds[i][0]) / float(samples)
    width, grid = float(plane.shape[1]), float(columns.shape[1])
    depth = float(0.0)
    seen = wp.vec4(0.0, 0.0, 0.0, 0.0)
    if step > 0.0:
        for k in range(samples):
            point = origins[i] + directions[i] * (bounds[i][0] + step * (float(k) + 0.5))
            scale = 1.0 / (1.0 - point[2] * tangent)
            u, v, w = point[0] * scale, point[1] * scale, -point[2]
            x, y = (u + 1.0) / 2.0, (1.0 - v) / 2.0
            if wp.abs(u) < 1.0 and wp.abs(v) < 1.0 and wp.abs(w) < 1.0 and depth < OPAQUE:
                if columns[image, cell(y * grid, columns.shape[1]), cell(x * grid, columns.shape[1])] > 0:
                    own = pixel(plane, image, x * width, y * width)
                    here = voxel(table, columns, image, slices, x * grid, y * grid, (w + 1.0) / 2.0 * float(slices))
                    optical = density * softplus(here[0] + own[3]) * step
                    share = wp.exp(-depth) * (1.0 - wp.exp(-optical))
                    seen += share * wp.vec4(here[1] * own[0] + here[4], here[2] * own[1] + here[5],
                                            here[3] * own[2] + here[6], 1.0)
                    depth += optical
    white = 1.0 - seen[3]
    out[i] = seen + wp.vec4(white, white, white, 0.0)
