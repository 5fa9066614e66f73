"""Warp kernels of the antialiasing: find silhouettes between neighboring pixels, blend across them, adjoint.

In a frame with its origin at the center of pixel P, a point has coordinates (t, s): t along the way to the center
of the neighbor Q (at t = 1), s across.  An edge that crosses the way is held as (u, v) with s(u) >= 0 > s(v).
"""

import warp as wp

wp.set_module_options({"enable_backward": False})

W_MIN = wp.constant(1.0e-6)
MAX_STEPS = wp.constant(512)
LONG_EDGE = wp.constant(1.5)  # pixels; shorter edges take their direction from the surface around them
NOTHING = wp.constant(-1)  # the walk cannot go on
ARRIVED = wp.constant(-2)  # the surface reaches the neighboring pixel's center


@wp.func
def in_frame(v: wp.vec4, row: int, column: int, height: int, width: int, axis: int, way: float):
    """(t, s) of a clip-space vertex; axis 0 runs along the row, 1 down the column; way is +1 or -1."""
    x = (v[0] / v[3] * 0.5 + 0.5) * float(width) - 0.5 - float(column)
    y = (0.5 - v[1] / v[3] * 0.5) * float(height) - 0.5 - float(row)
    ts = wp.vec2(way * x, y)
    if axis == 1:
        ts = wp.vec2(way * y, x)
    return ts


@wp.func
def crossing(u: wp.vec2, v: wp.vec2):
    """t where the segment from u to v meets s = 0."""
    return u[0] + (v[0] - u[0]) * (u[1] / (u[1] - v[1]))


@wp.func
def local_edge(faces: wp.array2d(dtype=wp.int64), face: int, u: int, v: int):
    """Which edge (corner k to k + 1) of a face joins vertices u and v."""
    found = int(0)
    for k in range(3):
        a = int(faces[face, k])
        b = int(faces[face, (k + 1) % 3])
        if (a == u and b == v) or (a == v and b == u):
            found = k
    return found


@wp.func
def way_out(
    clip: wp.array2d(dtype=wp.vec4),
    faces: wp.array2d(dtype=wp.int64),
    view: int,
    face: int,
    row: int,
    column: int,
    height: int,
    width: int,
    axis: int,
    way: float,
):
    """(k, iu, iv, u, v): the edge of ``face`` that the way crosses last, its vertices and their places in the frame.

    iu is -1 where there is none, or where a vertex lies behind the camera.
    """
    iu = int(-1)
    iv = int(-1)
    k = int(0)
    best = float(-1.0e30)
    u = wp.vec2(0.0, 0.0)
    v = wp.vec2(0.0, 0.0)
    for corner in range(3):
        ia = int(faces[face, corner])
        ib = int(faces[face, (corner + 1) % 3])
        ca = clip[view, ia]
        cb = clip[view, ib]
        if ca[3] <= W_MIN or cb[3] <= W_MIN:
            return 0, -1, -1, u, v
        a = in_frame(ca, row, column, height, width, axis, way)
        b = in_frame(cb, row, column, height, width, axis, way)
        if (a[1] >= 0.0) != (b[1] >= 0.0):
            t = crossing(a, b)
            if t > best:
                best = t
                k = corner
                if a[1] >= 0.0:
                    iu = ia
                    iv = ib
                    u = a
                    v = b
                else:
                    iu = ib
                    iv = ia
                    u = b
                    v = a
    return k, iu, iv, u, v


@wp.func
def walk(
    clip: wp.array2d(dtype=wp.vec4),
    faces: wp.array2d(dtype=wp.int64),
    neighbor: wp.array2d(dtype=wp.int32),
    view: int,
    start: int,
    row: int,
    column: int,
    height: int,
    width: int,
    axis: int,
    way: float,
):
    """Follows the surface from pixel (row, column) of triangle ``start`` towards its neighbor.

    Returns (edge, face): edge is 3 face + k of the silhouette edge met before the neighbor's center, or NOTHING,
    or ARRIVED with the face that covers the center.
    """
    k, iu, iv, u, v = way_out(clip, faces, view, start, row, column, height, width, axis, way)
    if iu < 0:
        return NOTHING, start
    face = int(start)
    edge = int(NOTHING)
    for _step in range(MAX_STEPS):
        if crossing(u, v) >= 1.0:
            edge = ARRIVED
            break
        beyond = neighbor[face, k]
        if beyond < 0:
            edge = 3 * face + k
            break
        iw = int(faces[beyond, 0]) + int(faces[beyond, 1]) + int(faces[beyond, 2]) - iu - iv
        cw = clip[view, iw]
        if cw[3] <= W_MIN:
            break
        w = in_frame(cw, row, column, height, width, axis, way)
        if (v[0] - u[0]) * (w[1] - u[1]) - (v[1] - u[1]) * (w[0] - u[0]) <= 0.0:  # folds back: seen from behind
            edge = 3 * face + k
            break
        if w[1] >= 0.0:
            iu = iw
            u = w
        else:
            iv = iw
            v = w
        face = beyond
        k = local_edge(faces, face, iu, iv)
    return edge, face


@wp.func
def plane(clip: wp.array2d(dtype=wp.vec4), faces: wp.array2d(dtype=wp.int64), view: int, face: int):
    """Unit homogeneous plane of a face through the eye: its (x, y) is the normal of the contour it would make."""
    a = clip[view, int(faces[face, 0])]
    b = clip[view, int(faces[face, 1])]
    c = clip[view, int(faces[face, 2])]
    ab = wp.vec3(b[0] - a[0], b[1] - a[1], b[3] - a[3])
    ac = wp.vec3(c[0] - a[0], c[1] - a[1], c[3] - a[3])
    return wp.normalize(wp.cross(ab, ac))


@wp.func
def crosses_rows(
    clip: wp.array2d(dtype=wp.vec4),
    faces: wp.array2d(dtype=wp.int64),
    neighbor: wp.array2d(dtype=wp.int32),
    view: int,
    edge: int,
    height: int,
    width: int,
):
    """Whether the contour at an edge is steep, so that pixel pairs along rows (not columns) are to see it.

    Each piece of contour must be seen along one axis only, or its area would count twice.  The direction of an
    edge much shorter than a pixel says little about the contour; the planes on both sides do.
    """
    face = edge / 3
    k = edge - 3 * face
    a = clip[view, int(faces[face, k])]
    b = clip[view, int(faces[face, (k + 1) % 3])]
    dx = (b[0] / b[3] - a[0] / a[3]) * float(width) * 0.5
    dy = (b[1] / b[3] - a[1] / a[3]) * float(height) * 0.5
    beyond = neighbor[face, k]
    steep = wp.abs(dy) >= wp.abs(dx)
    if beyond >= 0 and dx * dx + dy * dy < LONG_EDGE * LONG_EDGE:
        n = plane(clip, faces, view, face) + plane(clip, faces, view, beyond)
        steep = wp.abs(n[0]) * float(height) >= wp.abs(n[1]) * float(width)
    return steep


@wp.func
def silhouette_between(
    clip: wp.array2d(dtype=wp.vec4),
    faces: wp.array2d(dtype=wp.int64),
    neighbor: wp.array2d(dtype=wp.int32),
    depth: wp.array3d(dtype=float),
    view: int,
    row: int,
    column: int,
    here: int,
    there: int,
    axis: int,
):
    """The code of a pixel of triangle ``here`` and its right (0) or lower (1) neighbor of another triangle, or -1."""
    height = depth.shape[1]
    width = depth.shape[2]
    row2 = row + axis
    column2 = column + 1 - axis
    code = int(-1)
    swap = here < 0
    if here >= 0 and there >= 0:
        swap = depth[view, row2, column2] < depth[view, row, column]
    edge = int(NOTHING)
    for attempt in range(2):
        if attempt == 1:
            swap = not swap
        face = here
        if swap:
            face = there
        if edge == NOTHING and face >= 0:
            reached = int(-1)
            if swap:
                edge, reached = walk(clip, faces, neighbor, view, there, row2, column2, height, width, axis, -1.0)
                if edge == ARRIVED and reached != here:
                    edge = NOTHING
            else:
                edge, reached = walk(clip, faces, neighbor, view, here, row, column, height, width, axis, 1.0)
                if edge == ARRIVED and reached != there:
                    edge = NOTHING
            if edge >= 0:
                code = 2 * edge
                if swap:
                    code = code + 1
    if edge >= 0:
        if crosses_rows(clip, faces, neighbor, view, edge, height, width) != (axis == 0):
            code = -1
    return code


@wp.kernel
def find_silhouettes(
    first: int,
    clip: wp.array2d(dtype=wp.vec4),
    faces: wp.array2d(dtype=wp.int64),
    neighbor: wp.array2d(dtype=wp.int32),
    triangle: wp.array3d(dtype=wp.int32),
    depth: wp.array3d(dtype=float),
    run: int,
    codes: wp.array4d(dtype=wp.int32),
):
    """For each pixel and its right (0) and lower (1) neighbor: 2 edge + (1 if the neighbor owns it), or -1."""
    line, span = wp.tid()
    line = line + first
    height = triangle.shape[1]
    width = triangle.shape[2]
    view = line / height
    row = line - view * height
    for column in range(span * run, wp.min(span * run + run, width)):
        here = triangle[view, row, column]
        for axis in range(2):
            code = int(-1)
            there = here
            if row + axis < height and column + 1 - axis < width:
                there = triangle[view, row + axis, column + 1 - axis]
            if here != there:
                joined = here >= 0 and there >= 0
                if joined:
                    joined = neighbor[here, 0] == there or neighbor[here, 1] == there or neighbor[here, 2] == there
                if not joined:
                    code = silhouette_between(clip, faces, neighbor, depth, view, row, column, here, there, axis)
            codes[view, row, column, axis] = code


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
