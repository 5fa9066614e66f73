"""Warp kernels of bilinear texture lookups and their adjoint."""

import warp as wp

wp.set_module_options({"enable_backward": False})


@wp.func
def place(coordinate: float, size: int):
    """(lower texel, fraction) along one axis, clamped so that the upper texel exists where size > 1."""
    position = wp.clamp(coordinate * float(size) - 0.5, 0.0, float(size - 1))
    if not (position >= 0.0):  # NaN must not become an index
        position = 0.0
    low = wp.min(wp.floor(position), float(wp.max(size - 2, 0)))
    return low, position - low


@wp.kernel
def sample_forward(
    first: int,
    texture: wp.array3d(dtype=float),
    uv: wp.array(dtype=wp.vec2),
    out: wp.array2d(dtype=float),
):
    n = wp.tid() + first
    height = texture.shape[0]
    width = texture.shape[1]
    x, fx = place(uv[n][0], width)
    y, fy = place(uv[n][1], height)
    left = int(x)
    top = int(y)
    right = wp.min(left + 1, width - 1)
    bottom = wp.min(top + 1, height - 1)
    for k in range(texture.shape[2]):
        upper = texture[top, left, k] * (1.0 - fx) + texture[top, right, k] * fx
        lower = texture[bottom, left, k] * (1.0 - fx) + texture[bottom, right, k] * fx
        out[n, k] = upper * (1.0 - fy) + lower * fy


@wp.func
def inside(coordinate: float, size: int):
    """1 where the lookup moves with the coordinate, 0 where it is clamped."""
    position = coordinate * float(size) - 0.5
    moves = float(0.0)
    if position > 0.0 and position < float(size - 1):
        moves = 1.0
    return moves


@wp.kernel
def sample_backward(
    texture: wp.array3d(dtype=float),
    uv: wp.array(dtype=wp.vec2),
    grad_out: wp.array2d(dtype=float),
    grad_texture: wp.array3d(dtype=float),
    grad_uv: wp.array(dtype=wp.vec2),
):
    """A gradient with no elements is not wanted and not written."""
    n = wp.tid()
    height = texture.shape[0]
    width = texture.shape[1]
    x, fx = place(uv[n][0], width)
    y, fy = place(uv[n][1], height)
    left = int(x)
    top = int(y)
    right = wp.min(left + 1, width - 1)
    bottom = wp.min(top + 1, height - 1)
    gx = float(0.0)
    gy = float(0.0)
    for k in range(texture.shape[2]):
        g = grad_out[n, k]
        if grad_texture.shape[0] > 0:
            wp.atomic_add(grad_texture, top, left, k, g * (1.0 - fx) * (1.0 - fy))
            wp.atomic_add(grad_texture, top, right, k, g * fx * (1.0 - fy))
            wp.atomic_add(grad_texture, bottom, left, k, g * (1.0 - fx) * fy)
            wp.atomic_add(grad_texture, bottom, right, k, g * fx * fy)
        if grad_uv.shape[0] > 0:
            a = texture[top, left, k]
            b = texture[top, right, k]
            c = texture[bottom, left, k]
            d = texture[bottom, right, k]
            gx = gx + g * ((b - a) * (1.0 - fy) + (d - c) * fy)
            gy = gy + g * ((c - a) * (1.0 - fx) + (d - b) * fx)
    if grad_uv.shape[0] > 0:
        sx = inside(uv[n][0], width) * float(width)
        sy = inside(uv[n][1], height) * float(height)
        grad_uv[n] = wp.vec2(gx * sx, gy * sy)


@wp.kernel
def add_colors(
    first: int,
    where: wp.array(dtype=wp.int64),
    colors: wp.array(dtype=wp.vec3),
    total: wp.array(dtype=wp.vec3),
):
    """total[where[n]] += colors[n] cut to [0, 1]; no index occurs twice."""
    n = wp.tid() + first
    color = colors[n]
    k = int(where[n])
    total[k] = total[k] + wp.vec3(
        wp.clamp(color[0], 0.0, 1.0), wp.clamp(color[1], 0.0, 1.0), wp.clamp(color[2], 0.0, 1.0)
    )


@wp.kernel
def nearest_in_column(first: int, painted: wp.array2d(dtype=wp.uint8), reach: int, down: wp.array2d(dtype=wp.int32)):
    """Rows from each texel down to the nearest painted one of its column, the upper of two; reach + 1 where none is near."""
    row, column = wp.tid()
    row = row + first
    found = int(reach + 1)
    if painted[row, column] != wp.uint8(0):
        found = int(0)
    step = int(1)
    while found > reach and step <= reach:
        if row >= step and painted[row - step, column] != wp.uint8(0):
            found = -step
        elif row + step < painted.shape[0] and painted[row + step, column] != wp.uint8(0):
            found = step
        step = step + 1
    down[row, column] = found


@wp.kernel
def fill_around(
    first: int,
    painted: wp.array2d(dtype=wp.uint8),
    down: wp.array2d(dtype=wp.int32),
    reach: int,
    rest: wp.vec3,
    texture: wp.array2d(dtype=wp.vec3),
):
    """Texels that are not painted take the nearest painted one's color, the leftmost of several, or ``rest``."""
    row, column = wp.tid()
    row = row + first
    if painted[row, column] != wp.uint8(0):
        return
    best = int(reach * reach + 1)
    there_row = int(-1)
    there_column = int(-1)
    for at in range(wp.max(column - reach, 0), wp.min(column + reach + 1, painted.shape[1])):
        below = down[row, at]
        if below <= reach:
            square = below * below + (at - column) * (at - column)
            if square < best:
                best = square
                there_row = row + below
                there_column = at
    if there_row >= 0:
        texture[row, column] = texture[there_row, there_column]
    else:
        texture[row, column] = rest
