"""Warp kernels of the rasterizer: visibility, barycentrics, and their adjoint.

Homogeneous edge functions (Olano and Greer, "Triangle scan conversion using 2D homogeneous coordinates", 1997):
with v = (x, y, w) of a clip-space vertex and p = (ndc x, ndc y, 1), e_i = (v_j x v_k) . p is the barycentric
coordinate of vertex i up to one common factor, already perspective-correct, and no triangle has to be clipped.
In double precision the products of two floats are exact, so two triangles see exactly opposite values along a
shared edge: no cracks.
"""

import warp as wp

wp.set_module_options({"enable_backward": False})  # the adjoints are written out: shorter, faster, testable

DEPTH_STEPS = wp.constant(wp.float64(2147483646.0))  # z/w in [-1, 1] becomes 31 bits of the visibility key
W_MIN = wp.constant(1.0e-6)  # vertices nearer to the camera plane than this are not projected


@wp.func
def homogeneous(v: wp.vec4):
    return wp.vec3d(wp.float64(v[0]), wp.float64(v[1]), wp.float64(v[3]))


@wp.func
def pixel_x(column: int, width: int):
    return (wp.float64(column) + wp.float64(0.5)) * (wp.float64(2.0) / wp.float64(width)) - wp.float64(1.0)


@wp.func
def pixel_y(row: int, height: int):
    return wp.float64(1.0) - (wp.float64(row) + wp.float64(0.5)) * (wp.float64(2.0) / wp.float64(height))


@wp.func
def to_pixel(v: wp.vec4, half: wp.vec2):
    """(column, row) of a projected vertex, minus the half pixel of the center; half: of the picture's width and height."""
    inverse = 1.0 / v[3]
    return wp.vec2((v[0] * inverse + 1.0) * half[0] - 0.5, (1.0 - v[1] * inverse) * half[1] - 0.5)


@wp.func
def clamp_index(x: float, low: int, high: int):
    safe = wp.clamp(x, float(low), float(high))
    if not (safe >= float(low)):  # NaN
        safe = float(low)
    return int(safe)


@wp.func
def pixel_box(a: wp.vec4, b: wp.vec4, c: wp.vec4, height: int, width: int, row0: int, row1: int):
    """Columns and rows (first, end) whose pixel centers may lie in the triangle; empty where first >= end."""
    box = wp.vec4i(0, width, row0, row1)
    nearest = wp.min(a[3], wp.min(b[3], c[3]))
    if nearest > W_MIN:
        half = wp.vec2(0.5 * float(width), 0.5 * float(height))
        pa = to_pixel(a, half)
        pb = to_pixel(b, half)
        pc = to_pixel(c, half)
        low = wp.min(pa, wp.min(pb, pc))
        high = wp.max(pa, wp.max(pb, pc))
        slack = 1.0e-3  # float rounding of the projection; the edge functions decide
        box = wp.vec4i(
            clamp_index(wp.ceil(low[0] - slack), 0, width),
            clamp_index(wp.floor(high[0] + slack) + 1.0, 0, width),
            clamp_index(wp.ceil(low[1] - slack), row0, row1),
            clamp_index(wp.floor(high[1] + slack) + 1.0, row0, row1),
        )
    elif wp.max(a[3], wp.max(b[3], c[3])) <= 0.0:
        box = wp.vec4i(0, 0, 0, 0)
    return box


@wp.func
def lower_keys(
    clip: wp.array2d(dtype=wp.vec4),
    faces: wp.array2d(dtype=wp.int64),
    view: int,
    face: int,
    above: int,
    whole: int,
    begin: int,
    end: int,
    keys: wp.array3d(dtype=wp.int64),
):
    """Lowers the keys of what a triangle shows in the rows from ``begin`` up to ``end`` of the picture."""
    width = keys.shape[2]
    a = clip[view, int(faces[face, 0])]
    b = clip[view, int(faces[face, 1])]
    c = clip[view, int(faces[face, 2])]
    box = pixel_box(a, b, c, whole, width, begin, end)
    if box[0] >= box[1] or box[2] >= box[3]:
        return
    va = homogeneous(a)
    vb = homogeneous(b)
    vc = homogeneous(c)
    na = wp.cross(vb, vc)
    nb = wp.cross(vc, va)
    nc = wp.cross(va, vb)
    det = wp.dot(va, na)
    if not (wp.abs(det) > wp.float64(0.0)) or not (wp.abs(det) < wp.float64(1.0e30)):  # degenerate, infinite or NaN
        return
    zero = wp.float64(0.0)
    one = wp.float64(1.0)
    plane = (na * wp.float64(a[2]) + nb * wp.float64(b[2]) + nc * wp.float64(c[2])) / det  # z/w over the image
    flip = one
    if det < zero:
        flip = -one
    fa = flip * na[0]
    fb = flip * nb[0]
    fc = flip * nc[0]
    for row in range(box[2], box[3]):
        y = pixel_y(row, whole)
        ra = flip * (na[1] * y + na[2])
        rb = flip * (nb[1] * y + nb[2])
        rc = flip * (nc[1] * y + nc[2])
        within = int(0)
        for column in range(box[0], box[1]):
            x = pixel_x(column, width)
            ea = fa * x + ra
            eb = fb * x + rb
            ec = fc * x + rc
            if ea >= zero and eb >= zero and ec >= zero:
                within = 1
                if ea + eb + ec > zero:
                    z = plane[0] * x + (plane[1] * y + plane[2])
                    if z >= -one and z <= one:
                        depth = wp.int64((z + one) * wp.float64(0.5) * DEPTH_STEPS)
                        wp.atomic_min(keys, view, row - above, column, depth * wp.int64(4294967296) + wp.int64(face))
            elif within == 1:
                break  # each edge function rises or falls along a row, to the last bit: what is left is outside


@wp.kernel
def visibility(
    first: int,
    clip: wp.array2d(dtype=wp.vec4),
    faces: wp.array2d(dtype=wp.int64),
    bands: int,
    above: int,
    whole: int,
    run: int,
    keys: wp.array3d(dtype=wp.int64),
):
    """One thread per (view and band of rows, run of triangles): lowers the pixels' keys (depth above, id below).

    ``keys`` holds the rows from ``above`` on of a picture of ``whole`` rows.
    """
    slab, span = wp.tid()
    slab = slab + first
    view = slab / bands
    band = slab - view * bands
    height = keys.shape[1]
    begin = above + height * band / bands
    end = above + height * (band + 1) / bands
    for face in range(span * run, wp.min(span * run + run, faces.shape[0])):
        lower_keys(clip, faces, view, face, above, whole, begin, end, keys)


@wp.func
def edge_values(a: wp.vec4, b: wp.vec4, c: wp.vec4, row: int, column: int, height: int, width: int):
    p = wp.vec3d(pixel_x(column, width), pixel_y(row, height), wp.float64(1.0))
    va = homogeneous(a)
    vb = homogeneous(b)
    vc = homogeneous(c)
    return wp.vec3d(wp.dot(wp.cross(vb, vc), p), wp.dot(wp.cross(vc, va), p), wp.dot(wp.cross(va, vb), p))


@wp.kernel
def resolve(
    first: int,
    keys: wp.array3d(dtype=wp.int64),
    clip: wp.array2d(dtype=wp.vec4),
    faces: wp.array2d(dtype=wp.int64),
    run: int,
    triangle: wp.array3d(dtype=wp.int32),
    barycentric: wp.array3d(dtype=wp.vec3),
    depth: wp.array3d(dtype=float),
):
    """One thread per (view and row, run of columns): triangle id, barycentrics and view depth from the winning key."""
    line, span = wp.tid()
    line = line + first
    height = keys.shape[1]
    width = keys.shape[2]
    view = line / height
    row = line - view * height
    y = pixel_y(row, height)
    last = int(-1)
    w = wp.vec3(0.0, 0.0, 0.0)
    na = wp.vec3d()
    nb = wp.vec3d()
    nc = wp.vec3d()
    for column in range(span * run, wp.min(span * run + run, width)):
        key = keys[view, row, column]
        if key == wp.int64(9223372036854775807):
            triangle[view, row, column] = -1
            barycentric[view, row, column] = wp.vec3(0.0, 0.0, 0.0)
            depth[view, row, column] = 0.0
        else:
            face = int(key & wp.int64(4294967295))
            if face != last:  # neighbors in a row mostly see the same triangle
                last = face
                a = clip[view, int(faces[face, 0])]
                b = clip[view, int(faces[face, 1])]
                c = clip[view, int(faces[face, 2])]
                va = homogeneous(a)
                vb = homogeneous(b)
                vc = homogeneous(c)
                na = wp.cross(vb, vc)
                nb = wp.cross(vc, va)
                nc = wp.cross(va, vb)
                w = wp.vec3(a[3], b[3], c[3])
            p = wp.vec3d(pixel_x(column, width), y, wp.float64(1.0))
            ea = wp.dot(na, p)
            eb = wp.dot(nb, p)
            ec = wp.dot(nc, p)
            scale = wp.float64(1.0) / (ea + eb + ec)
            beta = wp.vec3(float(ea * scale), float(eb * scale), float(ec * scale))
            triangle[view, row, column] = face
            barycentric[view, row, column] = beta
            depth[view, row, column] = beta[0] * w[0] + beta[1] * w[1] + beta[2] * w[2]


@wp.kernel
def points_of_keys(
    first: int,
    cells: wp.array(dtype=wp.int64),
    step: int,
    row0: int,
    column0: int,
    keys: wp.array2d(dtype=wp.int64),
    clip: wp.array2d(dtype=wp.vec4),
    faces: wp.array2d(dtype=wp.int64),
    corners: wp.array2d(dtype=wp.int64),
    vertices: wp.array(dtype=wp.vec3),
    above: int,
    whole: int,
    points: wp.array(dtype=wp.vec3),
):
    """One thread per cell of ``step`` pixels a side: the mixture of ``vertices`` at ``corners`` [F, 3] that its pixel sees."""
    n = wp.tid() + first
    width = keys.shape[1]
    cell = int(cells[n])
    line = cell / (width / step)
    row = line * step + row0
    column = (cell - line * (width / step)) * step + column0
    face = int(keys[row, column] & wp.int64(4294967295))
    a = clip[0, int(faces[face, 0])]
    b = clip[0, int(faces[face, 1])]
    c = clip[0, int(faces[face, 2])]
    e = edge_values(a, b, c, row + above, column, whole, width)
    scale = wp.float64(1.0) / (e[0] + e[1] + e[2])
    mixed = float(e[0] * scale) * vertices[int(corners[face, 0])] + float(e[1] * scale) * vertices[int(corners[face, 1])]
    points[n] = mixed + float(e[2] * scale) * vertices[int(corners[face, 2])]


@wp.func
def slab_line(slab: int, item: int, slabs: int, lines: int, spans: int):
    """(line, span) of a slab's item; a slab is a run of whole lines, so slabs of one view never mix views."""
    line = lines * slab / slabs + item / spans
    if line >= lines * (slab + 1) / slabs:
        line = -1
    return line, item % spans


@wp.func
def add_vertex(grad: wp.array2d(dtype=wp.vec4), slab: int, vertex: int, g: wp.vec3d):
    wp.atomic_add(grad, slab, vertex, wp.vec4(float(g[0]), float(g[1]), 0.0, float(g[2])))


@wp.kernel
def rasterize_backward(
    first: int,
    clip: wp.array2d(dtype=wp.vec4),
    faces: wp.array2d(dtype=wp.int64),
    triangle: wp.array3d(dtype=wp.int32),
    grad_barycentric: wp.array3d(dtype=wp.vec3),
    grad_depth: wp.array3d(dtype=float),
    slabs: int,
    run: int,
    grad_clip: wp.array2d(dtype=wp.vec4),
):
    """Adjoint of ``resolve``: b_i = e_i / S and depth = D / S with S = sum e_i, D = v_0 . (v_1 x v_2).

    With e_a = p . (v_b x v_c) and so on, what pixels of one triangle have to sum is p times the gradients of e.
    """
    slab, item = wp.tid()
    slab = slab + first
    height = triangle.shape[1]
    width = triangle.shape[2]
    line, span = slab_line(slab, item, slabs, triangle.shape[0] * height, (width + run - 1) / run)
    if line < 0:
        return
    view = line / height
    row = line - view * height
    end = wp.min(span * run + run, width)
    y = pixel_y(row, height)
    column = span * run
    while column < end:
        face = triangle[view, row, column]
        if face < 0:
            column = column + 1
            continue
        ia = int(faces[face, 0])
        ib = int(faces[face, 1])
        ic = int(faces[face, 2])
        va = homogeneous(clip[view, ia])
        vb = homogeneous(clip[view, ib])
        vc = homogeneous(clip[view, ic])
        na = wp.cross(vb, vc)
        nb = wp.cross(vc, va)
        nc = wp.cross(va, vb)
        pa = wp.vec3d()  # sums of p times the gradient of e_a, e_b, e_c, and of D's gradient
        pb = wp.vec3d()
        pc = wp.vec3d()
        gdet = wp.float64(0.0)
        while column < end and triangle[view, row, column] == face:
            gb = wp.vec3d(grad_barycentric[view, row, column])
            gd = wp.float64(grad_depth[view, row, column])
            p = wp.vec3d(pixel_x(column, width), y, wp.float64(1.0))
            e = wp.vec3d(wp.dot(na, p), wp.dot(nb, p), wp.dot(nc, p))
            inverse = wp.float64(1.0) / (e[0] + e[1] + e[2])
            mean = (wp.dot(gb, e) + gd * wp.dot(va, na)) * inverse
            pa = pa + p * ((gb[0] - mean) * inverse)
            pb = pb + p * ((gb[1] - mean) * inverse)
            pc = pc + p * ((gb[2] - mean) * inverse)
            gdet = gdet + gd * inverse
            column = column + 1
        add_vertex(grad_clip, slab, ia, wp.cross(pb, vc) + wp.cross(vb, pc) + na * gdet)
        add_vertex(grad_clip, slab, ib, wp.cross(vc, pa) + wp.cross(pc, va) + nb * gdet)
        add_vertex(grad_clip, slab, ic, wp.cross(pa, vb) + wp.cross(va, pb) + nc * gdet)
