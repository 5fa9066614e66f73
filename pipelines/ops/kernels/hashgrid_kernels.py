"""Warp kernels of the multi-resolution hash encoding; one source for CPU and CUDA.

Level-major: a launch walks all points of one level before the next, so that on a CPU one level's table stays
in cache (2 to 3 times faster than one thread per point).  A thread takes ``block`` consecutive points of a level:
many on a CPU (finding one's place in a launch costs as much as a corner), one on CUDA.  ``first`` is the launch
helper's level offset: the parts of a split launch touch different levels, hence different memory.

Per level: ``scale`` (cells along a side of the unit cube) and ``layout`` = (nodes per side, rows, first row, dense).
The geometry of a point is recomputed by every kernel: cheaper than storing it.
Corner c of a cell lies at offsets (c & 1, c >> 1 & 1, c >> 2) along x, y and z.
"""

from __future__ import annotations

import warp as wp

PRIME_Y = wp.constant(wp.uint32(2654435761))
PRIME_Z = wp.constant(wp.uint32(805459861))
ONE = wp.constant(wp.uint32(1))
vec8 = wp.types.vector(length=8, dtype=wp.float32)
vec8i = wp.types.vector(length=8, dtype=wp.int32)


@wp.func
def wrapped(index: wp.uint32, rows: wp.uint32) -> int:
    if index >= rows:
        return int(index % rows)
    return int(index)


@wp.func
def dense_rows(cell: wp.vec3i, layout: wp.vec4i) -> vec8i:
    nodes = wp.uint32(layout[0])
    rows = wp.uint32(layout[1])
    a = wp.uint32(cell[0]) + nodes * (wp.uint32(cell[1]) + nodes * wp.uint32(cell[2]))
    b, c = a + nodes, a + nodes * nodes
    d = c + nodes
    if a >= rows or d + ONE >= rows:  # the far border wraps as in tiny-cuda-nn; NaN must stay inside the level too
        return vec8i(
            wrapped(a, rows), wrapped(a + ONE, rows), wrapped(b, rows), wrapped(b + ONE, rows),
            wrapped(c, rows), wrapped(c + ONE, rows), wrapped(d, rows), wrapped(d + ONE, rows),
        )
    return vec8i(int(a), int(a) + 1, int(b), int(b) + 1, int(c), int(c) + 1, int(d), int(d) + 1)


@wp.func
def hashed_rows(cell: wp.vec3i, layout: wp.vec4i) -> vec8i:
    mask = wp.uint32(layout[1]) - ONE  # a hashed level has a power of two rows
    x0, y0, z0 = wp.uint32(cell[0]), wp.uint32(cell[1]) * PRIME_Y, wp.uint32(cell[2]) * PRIME_Z
    x1, y1, z1 = x0 + ONE, y0 + PRIME_Y, z0 + PRIME_Z
    a, b, c, d = y0 ^ z0, y1 ^ z0, y0 ^ z1, y1 ^ z1
    return vec8i(
        int((x0 ^ a) & mask), int((x1 ^ a) & mask), int((x0 ^ b) & mask), int((x1 ^ b) & mask),
        int((x0 ^ c) & mask), int((x1 ^ c) & mask), int((x0 ^ d) & mask), int((x1 ^ d) & mask),
    )


@wp.func
def corner_rows(cell: wp.vec3i, layout: wp.vec4i) -> vec8i:
    """Rows within the level; the first row of the level is not added."""
    if layout[3] != 0:
        return dense_rows(cell, layout)
    return hashed_rows(cell, layout)


@wp.func
def products(x0: float, x1: float, y0: float, y1: float, z0: float, z1: float) -> vec8:
    """Per corner the product of its factors along x, y and z."""
    a, b, c, d = y0 * z0, y1 * z0, y0 * z1, y1 * z1
    return vec8(x0 * a, x1 * a, x0 * b, x1 * b, x0 * c, x1 * c, x0 * d, x1 * d)


@wp.func
def grid_position(x: wp.vec3, scale: float) -> wp.vec3:
    inside = wp.vec3(wp.clamp(x[0], 0.0, 1.0), wp.clamp(x[1], 0.0, 1.0), wp.clamp(x[2], 0.0, 1.0))
    return inside * scale + wp.vec3(0.5, 0.5, 0.5)


@wp.func
def cell_of(p: wp.vec3) -> wp.vec3i:
    return wp.vec3i(int(p[0]), int(p[1]), int(p[2]))  # p >= 0.5, so truncation is floor


@wp.func
def ease(f: float, smooth: int) -> float:
    if smooth != 0:
        return f * f * (3.0 - 2.0 * f)
    return f


@wp.func
def eased(p: wp.vec3, cell: wp.vec3i, smooth: int) -> wp.vec3:
    return wp.vec3(
        ease(p[0] - float(cell[0]), smooth), ease(p[1] - float(cell[1]), smooth), ease(p[2] - float(cell[2]), smooth)
    )


@wp.func
def slope(x: float, f: float, scale: float, smooth: int) -> float:
    """d ease / d x; zero on the border of the unit cube and outside, where positions are clamped."""
    if x <= 0.0 or x >= 1.0:
        return 0.0
    if smooth != 0:
        return scale * 6.0 * f * (1.0 - f)
    return scale


@wp.func
def slopes(x: wp.vec3, p: wp.vec3, cell: wp.vec3i, scale: float, smooth: int) -> wp.vec3:
    return wp.vec3(
        slope(x[0], p[0] - float(cell[0]), scale, smooth),
        slope(x[1], p[1] - float(cell[1]), scale, smooth),
        slope(x[2], p[2] - float(cell[2]), scale, smooth),
    )


@wp.kernel(enable_backward=False)
def encode_forward(
    first: int,
    block: int,
    x: wp.array(dtype=wp.vec3),
    table: wp.array(dtype=wp.vec2),
    scale: wp.array(dtype=float),
    layout: wp.array(dtype=wp.vec4i),
    smooth: int,
    out: wp.array2d(dtype=wp.vec2),
):
    level, part = wp.tid()
    level = level + first
    spot, size = layout[level], scale[level]
    for point in range(part * block, wp.min(part * block + block, x.shape[0])):
        p = grid_position(x[point], size)
        cell = cell_of(p)
        w = eased(p, cell, smooth)
        rows = corner_rows(cell, spot)
        share = products(1.0 - w[0], w[0], 1.0 - w[1], w[1], 1.0 - w[2], w[2])
        total = wp.vec2(0.0, 0.0)
        for corner in range(8):
            total += table[spot[2] + rows[corner]] * share[corner]
        out[point, level] = total


@wp.kernel(enable_backward=False)
def encode_backward_table(
    first: int,
    block: int,
    x: wp.array(dtype=wp.vec3),
    scale: wp.array(dtype=float),
    layout: wp.array(dtype=wp.vec4i),
    smooth: int,
    grad_out: wp.array2d(dtype=wp.vec2),
    grad_table: wp.array(dtype=wp.vec2),
):
    level, part = wp.tid()
    level = level + first
    spot, size = layout[level], scale[level]
    for point in range(part * block, wp.min(part * block + block, x.shape[0])):
        g = grad_out[point, level]
        if g[0] != 0.0 or g[1] != 0.0:
            p = grid_position(x[point], size)
            cell = cell_of(p)
            w = eased(p, cell, smooth)
            rows = corner_rows(cell, spot)
            share = products(1.0 - w[0], w[0], 1.0 - w[1], w[1], 1.0 - w[2], w[2])
            for corner in range(8):
                wp.atomic_add(grad_table, spot[2] + rows[corner], g * share[corner])


@wp.kernel(enable_backward=False)
def encode_backward_x(
    first: int,
    block: int,
    x: wp.array(dtype=wp.vec3),
    table: wp.array(dtype=wp.vec2),
    scale: wp.array(dtype=float),
    layout: wp.array(dtype=wp.vec4i),
    smooth: int,
    grad_out: wp.array2d(dtype=wp.vec2),
    grad_x: wp.array2d(dtype=wp.vec3),
):
    level, part = wp.tid()
    level = level + first
    spot, size = layout[level], scale[level]
    for point in range(part * block, wp.min(part * block + block, x.shape[0])):
        p = grid_position(x[point], size)
        cell = cell_of(p)
        w = eased(p, cell, smooth)
        d = slopes(x[point], p, cell, size, smooth)
        rows = corner_rows(cell, spot)
        share_x = products(-d[0], d[0], 1.0 - w[1], w[1], 1.0 - w[2], w[2])
        share_y = products(1.0 - w[0], w[0], -d[1], d[1], 1.0 - w[2], w[2])
        share_z = products(1.0 - w[0], w[0], 1.0 - w[1], w[1], -d[2], d[2])
        g = grad_out[point, level]
        total = wp.vec3(0.0, 0.0, 0.0)
        for corner in range(8):
            value = wp.dot(table[spot[2] + rows[corner]], g)
            total += value * wp.vec3(share_x[corner], share_y[corner], share_z[corner])
        grad_x[level, point] = total


@wp.kernel(enable_backward=False)
def jacobian_forward(
    first: int,
    block: int,
    x: wp.array(dtype=wp.vec3),
    table: wp.array(dtype=wp.vec2),
    scale: wp.array(dtype=float),
    layout: wp.array(dtype=wp.vec4i),
    smooth: int,
    out: wp.array3d(dtype=wp.vec2),  # [4, N, L]: value, d/dx, d/dy, d/dz
):
    level, part = wp.tid()
    level = level + first
    spot, size = layout[level], scale[level]
    for point in range(part * block, wp.min(part * block + block, x.shape[0])):
        p = grid_position(x[point], size)
        cell = cell_of(p)
        w = eased(p, cell, smooth)
        d = slopes(x[point], p, cell, size, smooth)
        rows = corner_rows(cell, spot)
        share = products(1.0 - w[0], w[0], 1.0 - w[1], w[1], 1.0 - w[2], w[2])
        share_x = products(-d[0], d[0], 1.0 - w[1], w[1], 1.0 - w[2], w[2])
        share_y = products(1.0 - w[0], w[0], -d[1], d[1], 1.0 - w[2], w[2])
        share_z = products(1.0 - w[0], w[0], 1.0 - w[1], w[1], -d[2], d[2])
        value, along_x, along_y, along_z = wp.vec2(), wp.vec2(), wp.vec2(), wp.vec2()
        for corner in range(8):
            t = table[spot[2] + rows[corner]]
            value += t * share[corner]
            along_x += t * share_x[corner]
            along_y += t * share_y[corner]
            along_z += t * share_z[corner]
        out[0, point, level] = value
        out[1, point, level] = along_x
        out[2, point, level] = along_y
        out[3, point, level] = along_z


@wp.kernel(enable_backward=False)
def jacobian_backward_table(
    first: int,
    block: int,
    x: wp.array(dtype=wp.vec3),
    scale: wp.array(dtype=float),
    layout: wp.array(dtype=wp.vec4i),
    smooth: int,
    grad_out: wp.array3d(dtype=wp.vec2),
    grad_table: wp.array(dtype=wp.vec2),
):
    level, part = wp.tid()
    level = level + first
    spot, size = layout[level], scale[level]
    for point in range(part * block, wp.min(part * block + block, x.shape[0])):
        p = grid_position(x[point], size)
        cell = cell_of(p)
        w = eased(p, cell, smooth)
        d = slopes(x[point], p, cell, size, smooth)
        rows = corner_rows(cell, spot)
        share = products(1.0 - w[0], w[0], 1.0 - w[1], w[1], 1.0 - w[2], w[2])
        share_x = products(-d[0], d[0], 1.0 - w[1], w[1], 1.0 - w[2], w[2])
        share_y = products(1.0 - w[0], w[0], -d[1], d[1], 1.0 - w[2], w[2])
        share_z = products(1.0 - w[0], w[0], 1.0 - w[1], w[1], -d[2], d[2])
        g, gx = grad_out[0, point, level], grad_out[1, point, level]
        gy, gz = grad_out[2, point, level], grad_out[3, point, level]
        for corner in range(8):
            total = g * share[corner] + gx * share_x[corner] + gy * share_y[corner] + gz * share_z[corner]
            wp.atomic_add(grad_table, spot[2] + rows[corner], total)
