"""Warp kernels that walk rays through an occupancy grid; one source for CPU and CUDA.

The samples of a ray lie on a fixed lattice ``t = near + (k + shift) * step``; a sample exists where the lattice
point is in an occupied cell.  Empty cells are jumped over, which changes the speed and never the result:
``SLACK`` (in lattice steps) keeps rounding from jumping too far.
"""

from __future__ import annotations

import warp as wp

SLACK = wp.constant(1.0e-2)


@wp.func
def in_cube(p: wp.vec3) -> wp.bool:
    """False for NaN too, which must never become a cell index."""
    return wp.abs(p[0]) <= 1.0 and wp.abs(p[1]) <= 1.0 and wp.abs(p[2]) <= 1.0


@wp.func
def cell_of(x: float, resolution: int) -> int:
    return wp.clamp(int((x + 1.0) * 0.5 * float(resolution)), 0, resolution - 1)


@wp.func
def leave_cell(o: float, d: float, cell: int, resolution: int) -> float:
    """Ray parameter at which one coordinate leaves the cell; never earlier than the true crossing's rounding."""
    if d == 0.0:
        return 1.0e30
    edge = float(cell)
    if d > 0.0:
        edge = float(cell + 1)
    return (edge / float(resolution) * 2.0 - 1.0 - o) / d


@wp.func
def enter_box(o: wp.vec3, d: wp.vec3, low: wp.vec3, high: wp.vec3) -> wp.vec2:
    """Ray parameters (enter, leave) of a box; enter > leave for a miss."""
    enter = float(-1.0e30)
    leave = float(1.0e30)
    for axis in range(3):
        if d[axis] == 0.0:
            if o[axis] < low[axis] or o[axis] > high[axis]:
                enter = 1.0e30
        else:
            a = (low[axis] - o[axis]) / d[axis]
            b = (high[axis] - o[axis]) / d[axis]
            enter = wp.max(enter, wp.min(a, b))
            leave = wp.min(leave, wp.max(a, b))
    return wp.vec2(enter, leave)


@wp.func
def walk(
    o: wp.vec3,
    d: wp.vec3,
    shift: float,
    occupied: wp.array3d(dtype=wp.uint8),
    bounds: wp.array(dtype=wp.vec3),
    step: float,
    near: float,
    limit: int,
    start: int,
    ray: wp.int64,
    write: int,
    positions: wp.array(dtype=wp.vec3),
    t_starts: wp.array(dtype=float),
    t_ends: wp.array(dtype=float),
    ray_indices: wp.array(dtype=wp.int64),
) -> int:
    """Number of samples of one ray; stores them from index ``start`` on if ``write``."""
    found = int(0)
    speed = wp.length(d)
    if not (speed > 0.0 and speed < 1.0e30):  # also NaN
        return found
    stride = step / speed
    box = enter_box(o, d, bounds[0], bounds[1])
    if not (box[0] <= box[1]) or box[1] < near:
        return found
    resolution = occupied.shape[0]
    k = wp.max((wp.max(box[0], near) - near) / stride - shift - SLACK, 0.0)
    k = wp.ceil(k)
    last = box[1] + SLACK * stride
    t = near + (k + shift) * stride
    while t <= last and found < limit:
        p = o + d * t
        k_next = k + 1.0
        if in_cube(p):
            x, y, z = cell_of(p[0], resolution), cell_of(p[1], resolution), cell_of(p[2], resolution)
            if occupied[x, y, z] != wp.uint8(0):
                if write != 0:
                    at = start + found
                    positions[at] = p
                    t_starts[at] = t - 0.5 * stride
                    t_ends[at] = t + 0.5 * stride
                    ray_indices[at] = ray
                found += 1
            else:
                out = wp.min(leave_cell(o[0], d[0], x, resolution), leave_cell(o[1], d[1], y, resolution))
                out = wp.min(out, leave_cell(o[2], d[2], z, resolution))
                k_next = wp.max(k_next, wp.ceil((out - near) / stride - shift - SLACK))
        if k_next <= k:  # a step too small for float32 to count
            return found
        k = k_next
        t = near + (k + shift) * stride
    return found


@wp.kernel(enable_backward=False)
def march(
    first: int,
    origins: wp.array(dtype=wp.vec3),
    directions: wp.array(dtype=wp.vec3),
    shifts: wp.array(dtype=float),
    occupied: wp.array3d(dtype=wp.uint8),
    bounds: wp.array(dtype=wp.vec3),
    step: float,
    near: float,
    limit: int,
    offsets: wp.array(dtype=wp.int32),
    write: int,
    counts: wp.array(dtype=wp.int32),
    positions: wp.array(dtype=wp.vec3),
    t_starts: wp.array(dtype=float),
    t_ends: wp.array(dtype=float),
    ray_indices: wp.array(dtype=wp.int64),
):
    """write = 0 fills ``counts``; write = 1 stores the samples of ray r from ``offsets[r]`` on."""
    ray = wp.tid() + first
    start = int(0)
    if write != 0:
        start = offsets[ray]
    found = walk(
        origins[ray], directions[ray], shifts[ray], occupied, bounds, step, near, limit, start, wp.int64(ray), write,
        positions, t_starts, t_ends, ray_indices,
    )
    if write == 0:
        counts[ray] = found
