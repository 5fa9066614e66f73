"""Warp kernels of the multi-resolution hash encoding; one source for CPU and CUDA.

Level-major: a launch walks all points of one level before the next, so that on a CPU one level's table stays
in cache (2 to 3 times faster than one thread per point).  ``first`` is the launch helper's level offset: the
parts of a split launch touch different levels, hence different memory.

Per level: ``scale`` (cells along a side of the unit cube) and ``layout`` = (resolution, rows, first row, dense).
``Point`` geometry is recomputed by every kernel: cheaper than storing it.
"""

from __future__ import annotations

import warp as wp

PRIME_Y = wp.constant(wp.uint32(2654435761))
PRIME_Z = wp.constant(wp.uint32(805459861))


@wp.func
def table_row(x: wp.uint32, y: wp.uint32, z: wp.uint32, layout: wp.vec4i) -> wp.int32:
    resolution = wp.uint32(layout[0])
    rows = wp.uint32(layout[1])
    index = x + resolution * (y + resolution * z)
    if layout[3] == 0:
        index = (x ^ (y * PRIME_Y) ^ (z * PRIME_Z)) & (rows - wp.uint32(1))
    if index >= rows:  # only at the far border of a dense level, or for NaN: always stays inside the level
        index = index % rows
    return layout[2] + wp.int32(index)


@wp.func
def grid_position(x: wp.vec3, scale: float) -> wp.vec3:
    inside = wp.vec3(wp.clamp(x[0], 0.0, 1.0), wp.clamp(x[1], 0.0, 1.0), wp.clamp(x[2], 0.0, 1.0))
    return inside * scale + wp.vec3(0.5, 0.5, 0.5)


@wp.func
def ease(f: float, smooth: int) -> float:
    if smooth != 0:
        return f * f * (3.0 - 2.0 * f)
    return f


@wp.func
def slope(x: float, f: float, scale: float, smooth: int) -> float:
    """d ease / d x; zero on the border of the unit cube and outside, where positions are clamped."""
    if x <= 0.0 or x >= 1.0:
        return 0.0
    if smooth != 0:
        return scale * 6.0 * f * (1.0 - f)
    return scale


@wp.func
def pick(bit: int, w: float) -> float:
    return wp.where(bit != 0, w, 1.0 - w)


@wp.func
def pick_slope(bit: int, d: float) -> float:
    return wp.where(bit != 0, d, -d)


@wp.kernel(enable_backward=False)
def encode_forward(
    first: int,
    x: wp.array(dtype=wp.vec3),
    table: wp.array(dtype=wp.vec2),
    scale: wp.array(dtype=float),
    layout: wp.array(dtype=wp.vec4i),
    smooth: int,
    out: wp.array2d(dtype=wp.vec2),
):
    level, point = wp.tid()
    level = level + first
    spot = layout[level]
    p = grid_position(x[point], scale[level])
    cx, cy, cz = wp.floor(p[0]), wp.floor(p[1]), wp.floor(p[2])
    wx, wy, wz = ease(p[0] - cx, smooth), ease(p[1] - cy, smooth), ease(p[2] - cz, smooth)
    total = wp.vec2(0.0, 0.0)
    for corner in range(8):
        i, j, k = corner & 1, (corner >> 1) & 1, corner >> 2
        row = table_row(wp.uint32(cx) + wp.uint32(i), wp.uint32(cy) + wp.uint32(j), wp.uint32(cz) + wp.uint32(k), spot)
        total += table[row] * (pick(i, wx) * pick(j, wy) * pick(k, wz))
    out[point, level] = total


@wp.kernel(enable_backward=False)
def encode_backward_table(
    first: int,
    x: wp.array(dtype=wp.vec3),
    scale: wp.array(dtype=float),
    layout: wp.array(dtype=wp.vec4i),
    smooth: int,
    grad_out: wp.array2d(dtype=wp.vec2),
    grad_table: wp.array(dtype=wp.vec2),
):
    level, point = wp.tid()
    level = level + first
    spot = layout[level]
    p = grid_position(x[point], scale[level])
    cx, cy, cz = wp.floor(p[0]), wp.floor(p[1]), wp.floor(p[2])
    wx, wy, wz = ease(p[0] - cx, smooth), ease(p[1] - cy, smooth), ease(p[2] - cz, smooth)
    g = grad_out[point, level]
    if g[0] == 0.0 and g[1] == 0.0:
        return
    for corner in range(8):
        i, j, k = corner & 1, (corner >> 1) & 1, corner >> 2
        row = table_row(wp.uint32(cx) + wp.uint32(i), wp.uint32(cy) + wp.uint32(j), wp.uint32(cz) + wp.uint32(k), spot)
        wp.atomic_add(grad_table, row, g * (pick(i, wx) * pick(j, wy) * pick(k, wz)))


@wp.kernel(enable_backward=False)
def encode_backward_x(
    first: int,
    x: wp.array(dtype=wp.vec3),
    table: wp.array(dtype=wp.vec2),
    scale: wp.array(dtype=float),
    layout: wp.array(dtype=wp.vec4i),
    smooth: int,
    grad_out: wp.array2d(dtype=wp.vec2),
    grad_x: wp.array2d(dtype=wp.vec3),
):
    level, point = wp.tid()
    level = level + first
    spot = layout[level]
    q = x[point]
    s = scale[level]
    p = grid_position(q, s)
    cx, cy, cz = wp.floor(p[0]), wp.floor(p[1]), wp.floor(p[2])
    fx, fy, fz = p[0] - cx, p[1] - cy, p[2] - cz
    wx, wy, wz = ease(fx, smooth), ease(fy, smooth), ease(fz, smooth)
    dx, dy, dz = slope(q[0], fx, s, smooth), slope(q[1], fy, s, smooth), slope(q[2], fz, s, smooth)
    g = grad_out[point, level]
    total = wp.vec3(0.0, 0.0, 0.0)
    for corner in range(8):
        i, j, k = corner & 1, (corner >> 1) & 1, corner >> 2
        row = table_row(wp.uint32(cx) + wp.uint32(i), wp.uint32(cy) + wp.uint32(j), wp.uint32(cz) + wp.uint32(k), spot)
        value = wp.dot(table[row], g)
        a, b, c = pick(i, wx), pick(j, wy), pick(k, wz)
        total += value * wp.vec3(pick_slope(i, dx) * b * c, a * pick_slope(j, dy) * c, a * b * pick_slope(k, dz))
    grad_x[level, point] = total


@wp.kernel(enable_backward=False)
def jacobian_forward(
    first: int,
    x: wp.array(dtype=wp.vec3),
    table: wp.array(dtype=wp.vec2),
    scale: wp.array(dtype=float),
    layout: wp.array(dtype=wp.vec4i),
    smooth: int,
    out: wp.array3d(dtype=wp.vec2),  # [4, N, L]: value, d/dx, d/dy, d/dz
):
    level, point = wp.tid()
    level = level + first
    spot = layout[level]
    q = x[point]
    s = scale[level]
    p = grid_position(q, s)
    cx, cy, cz = wp.floor(p[0]), wp.floor(p[1]), wp.floor(p[2])
    fx, fy, fz = p[0] - cx, p[1] - cy, p[2] - cz
    wx, wy, wz = ease(fx, smooth), ease(fy, smooth), ease(fz, smooth)
    dx, dy, dz = slope(q[0], fx, s, smooth), slope(q[1], fy, s, smooth), slope(q[2], fz, s, smooth)
    value, along_x, along_y, along_z = wp.vec2(), wp.vec2(), wp.vec2(), wp.vec2()
    for corner in range(8):
        i, j, k = corner & 1, (corner >> 1) & 1, corner >> 2
        row = table_row(wp.uint32(cx) + wp.uint32(i), wp.uint32(cy) + wp.uint32(j), wp.uint32(cz) + wp.uint32(k), spot)
        t = table[row]
        a, b, c = pick(i, wx), pick(j, wy), pick(k, wz)
        value += t * (a * b * c)
        along_x += t * (pick_slope(i, dx) * b * c)
        along_y += t * (a * pick_slope(j, dy) * c)
        along_z += t * (a * b * pick_slope(k, dz))
    out[0, point, level] = value
    out[1, point, level] = along_x
    out[2, point, level] = along_y
    out[3, point, level] = along_z


@wp.kernel(enable_backward=False)
def jacobian_backward_table(
    first: int,
    x: wp.array(dtype=wp.vec3),
    scale: wp.array(dtype=float),
    layout: wp.array(dtype=wp.vec4i),
    smooth: int,
    grad_out: wp.array3d(dtype=wp.vec2),
    grad_table: wp.array(dtype=wp.vec2),
):
    level, point = wp.tid()
    level = level + first
    spot = layout[level]
    q = x[point]
    s = scale[level]
    p = grid_position(q, s)
    cx, cy, cz = wp.floor(p[0]), wp.floor(p[1]), wp.floor(p[2])
    fx, fy, fz = p[0] - cx, p[1] - cy, p[2] - cz
    wx, wy, wz = ease(fx, smooth), ease(fy, smooth), ease(fz, smooth)
    dx, dy, dz = slope(q[0], fx, s, smooth), slope(q[1], fy, s, smooth), slope(q[2], fz, s, smooth)
    g, gx = grad_out[0, point, level], grad_out[1, point, level]
    gy, gz = grad_out[2, point, level], grad_out[3, point, level]
    for corner in range(8):
        i, j, k = corner & 1, (corner >> 1) & 1, corner >> 2
        row = table_row(wp.uint32(cx) + wp.uint32(i), wp.uint32(cy) + wp.uint32(j), wp.uint32(cz) + wp.uint32(k), spot)
        a, b, c = pick(i, wx), pick(j, wy), pick(k, wz)
        total = g * (a * b * c) + gx * (pick_slope(i, dx) * b * c)
        total += gy * (a * pick_slope(j, dy) * c) + gz * (a * b * pick_slope(k, dz))
        wp.atomic_add(grad_table, row, total)
