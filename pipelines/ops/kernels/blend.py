"""Warp kernels that blend pixel pairs across the silhouettes between them, and their adjoint; frames as in ``silhouette.py``."""

import warp as wp

wp.set_module_options({"enable_backward": False})


@wp.struct
class Pair:
    """One pixel pair with a silhouette in between; ``near`` owns the surface, ``far`` lies beyond."""

    view: int
    near_row: int
    near_column: int
    far_row: int
    far_column: int
    axis: int
    way: wp.float64
    a: int
    b: int


@wp.func
def read_pair(slot: int, code: int, faces: wp.array2d(dtype=wp.int64), height: int, width: int):
    pair = Pair()
    pair.axis = slot % 2
    pixel = slot / 2
    column = pixel % width
    line = pixel / width
    pair.view = line / height
    row = line - pair.view * height
    pair.near_row = row
    pair.near_column = column
    pair.far_row = row + pair.axis
    pair.far_column = column + 1 - pair.axis
    pair.way = wp.float64(1.0)
    if code % 2 == 1:
        pair.near_row = pair.far_row
        pair.near_column = pair.far_column
        pair.far_row = row
        pair.far_column = column
        pair.way = wp.float64(-1.0)
    edge = code / 2
    face = edge / 3
    k = edge - 3 * face
    pair.a = int(faces[face, k])
    pair.b = int(faces[face, (k + 1) % 3])
    return pair


@wp.func
def exact_frame(v: wp.vec4, pair: Pair, height: int, width: int):
    """``in_frame`` in double precision: short edges divide by small differences."""
    half = wp.float64(0.5)
    w = wp.float64(v[3])
    x = (wp.float64(v[0]) / w * half + half) * wp.float64(width) - half - wp.float64(pair.near_column)
    y = (half - wp.float64(v[1]) / w * half) * wp.float64(height) - half - wp.float64(pair.near_row)
    ts = wp.vec2d(pair.way * x, y)
    if pair.axis == 1:
        ts = wp.vec2d(pair.way * y, x)
    return ts


@wp.func
def exact_crossing(u: wp.vec2d, v: wp.vec2d):
    return u[0] + (v[0] - u[0]) * (u[1] / (u[1] - v[1]))


@wp.kernel
def blend_forward(
    slots: wp.array(dtype=wp.int64),
    codes: wp.array(dtype=wp.int32),
    clip: wp.array2d(dtype=wp.vec4),
    faces: wp.array2d(dtype=wp.int64),
    color: wp.array4d(dtype=float),
    out: wp.array4d(dtype=float),
):
    """Moves the color boundary of each pair from the pixels' border (t = 1/2) to the silhouette."""
    height = color.shape[1]
    width = color.shape[2]
    slot = int(slots[wp.tid()])
    if codes[slot] < 0:
        return
    pair = read_pair(slot, codes[slot], faces, height, width)
    u = exact_frame(clip[pair.view, pair.a], pair, height, width)
    v = exact_frame(clip[pair.view, pair.b], pair, height, width)
    amount = float(exact_crossing(u, v)) - 0.5
    for k in range(color.shape[3]):
        step = color[pair.view, pair.near_row, pair.near_column, k] - color[pair.view, pair.far_row, pair.far_column, k]
        if amount > 0.0:
            wp.atomic_add(out, pair.view, pair.far_row, pair.far_column, k, amount * step)
        else:
            wp.atomic_add(out, pair.view, pair.near_row, pair.near_column, k, amount * step)


@wp.func
def add_screen(
    grad: wp.array2d(dtype=wp.vec4), v: wp.vec4, pair: Pair, vertex: int, gt: wp.float64, gs: wp.float64, height: int,
    width: int,
):
    """Gradient of a vertex in the pair's frame, carried to clip space."""
    gx = pair.way * gt
    gy = gs
    if pair.axis == 1:
        gx = gs
        gy = pair.way * gt
    half = wp.float64(0.5)
    w = wp.float64(v[3])
    cx = gx * half * wp.float64(width) / w
    cy = -gy * half * wp.float64(height) / w
    cw = -(cx * wp.float64(v[0]) + cy * wp.float64(v[1])) / w
    wp.atomic_add(grad, pair.view, vertex, wp.vec4(float(cx), float(cy), 0.0, float(cw)))


@wp.kernel
def blend_backward(
    slots: wp.array(dtype=wp.int64),
    codes: wp.array(dtype=wp.int32),
    clip: wp.array2d(dtype=wp.vec4),
    faces: wp.array2d(dtype=wp.int64),
    color: wp.array4d(dtype=float),
    grad_out: wp.array4d(dtype=float),
    grad_color: wp.array4d(dtype=float),
    grad_clip: wp.array2d(dtype=wp.vec4),
):
    """Adjoint of ``blend_forward``; ``grad_color`` starts as a copy of ``grad_out``."""
    height = color.shape[1]
    width = color.shape[2]
    slot = int(slots[wp.tid()])
    if codes[slot] < 0:
        return
    pair = read_pair(slot, codes[slot], faces, height, width)
    ca = clip[pair.view, pair.a]
    cb = clip[pair.view, pair.b]
    u = exact_frame(ca, pair, height, width)
    v = exact_frame(cb, pair, height, width)
    amount = float(exact_crossing(u, v)) - 0.5
    row = pair.near_row
    column = pair.near_column
    if amount > 0.0:
        row = pair.far_row
        column = pair.far_column
    total = wp.float64(0.0)
    for k in range(color.shape[3]):
        near = color[pair.view, pair.near_row, pair.near_column, k]
        far = color[pair.view, pair.far_row, pair.far_column, k]
        g = grad_out[pair.view, row, column, k]
        total = total + wp.float64(g) * wp.float64(near - far)
        wp.atomic_add(grad_color, pair.view, pair.near_row, pair.near_column, k, amount * g)
        wp.atomic_add(grad_color, pair.view, pair.far_row, pair.far_column, k, -amount * g)
    if grad_clip.shape[0] > 0:
        span = u[1] - v[1]
        part = u[1] / span
        slope = total * (v[0] - u[0]) / (span * span)
        one = wp.float64(1.0)
        add_screen(grad_clip, ca, pair, pair.a, total * (one - part), -slope * v[1], height, width)
        add_screen(grad_clip, cb, pair, pair.b, total * part, slope * u[1], height, width)
