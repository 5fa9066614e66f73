"""Warp kernels of the antialiasing: silhouettes between neighboring pixels.

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
