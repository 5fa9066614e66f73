"""Warp kernels of attributes at pixels, and their adjoint."""

import warp as wp

from .raster import slab_line

wp.set_module_options({"enable_backward": False})  # written out, as in ``raster.py``


@wp.kernel
def interpolate_forward(
    first: int,
    attributes: wp.array3d(dtype=float),
    faces: wp.array2d(dtype=wp.int64),
    triangle: wp.array3d(dtype=wp.int32),
    barycentric: wp.array3d(dtype=wp.vec3),
    run: int,
    out: wp.array4d(dtype=float),
):
    """One thread per (view and row, run of columns); ``attributes`` has one view or as many as ``triangle``."""
    line, span = wp.tid()
    line = line + first
    height = triangle.shape[1]
    width = triangle.shape[2]
    view = line / height
    row = line - view * height
    channels = out.shape[3]
    source = wp.min(view, attributes.shape[0] - 1)
    last = int(-1)
    ia = int(0)
    ib = int(0)
    ic = int(0)
    for column in range(span * run, wp.min(span * run + run, width)):
        face = triangle[view, row, column]
        if face < 0:
            for k in range(channels):
                out[view, row, column, k] = 0.0
        else:
            if face != last:
                last = face
                ia = int(faces[face, 0])
                ib = int(faces[face, 1])
                ic = int(faces[face, 2])
            beta = barycentric[view, row, column]
            for k in range(channels):
                value = beta[0] * attributes[source, ia, k] + beta[1] * attributes[source, ib, k]
                out[view, row, column, k] = value + beta[2] * attributes[source, ic, k]


@wp.kernel
def interpolate_backward(
    first: int,
    attributes: wp.array3d(dtype=float),
    faces: wp.array2d(dtype=wp.int64),
    triangle: wp.array3d(dtype=wp.int32),
    barycentric: wp.array3d(dtype=wp.vec3),
    grad_out: wp.array4d(dtype=float),
    slabs: int,
    run: int,
    grad_attributes: wp.array3d(dtype=float),
    grad_barycentric: wp.array3d(dtype=wp.vec3),
):
    """Adjoint of ``interpolate_forward``; a gradient with no elements is not wanted and not written."""
    slab, item = wp.tid()
    slab = slab + first
    height = triangle.shape[1]
    width = triangle.shape[2]
    line, span = slab_line(slab, item, slabs, triangle.shape[0] * height, (width + run - 1) / run)
    if line < 0:
        return
    view = line / height
    row = line - view * height
    source = wp.min(view, attributes.shape[0] - 1)
    end = wp.min(span * run + run, width)
    column = span * run
    while column < end:
        face = triangle[view, row, column]
        if face < 0:
            if grad_barycentric.shape[0] > 0:
                grad_barycentric[view, row, column] = wp.vec3(0.0, 0.0, 0.0)
            column = column + 1
            continue
        ia = int(faces[face, 0])
        ib = int(faces[face, 1])
        ic = int(faces[face, 2])
        begin = column
        while column < end and triangle[view, row, column] == face:
            column = column + 1
        if grad_barycentric.shape[0] > 0:
            for j in range(begin, column):
                gb = wp.vec3(0.0, 0.0, 0.0)
                for k in range(grad_out.shape[3]):
                    corners = wp.vec3(attributes[source, ia, k], attributes[source, ib, k], attributes[source, ic, k])
                    gb = gb + grad_out[view, row, j, k] * corners
                grad_barycentric[view, row, j] = gb
        if grad_attributes.shape[0] > 0:
            for k in range(grad_out.shape[3]):
                total = wp.vec3(0.0, 0.0, 0.0)
                for j in range(begin, column):
                    total = total + grad_out[view, row, j, k] * barycentric[view, row, j]
                wp.atomic_add(grad_attributes, slab, ia, k, total[0])
                wp.atomic_add(grad_attributes, slab, ib, k, total[1])
                wp.atomic_add(grad_attributes, slab, ic, k, total[2])
