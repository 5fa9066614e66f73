"""Warp kernel of the gradient of weighted sums of a table's rows."""

import warp as wp

wp.set_module_options({"enable_backward": False})


@wp.kernel
def add_rows(
    index: wp.array2d(dtype=wp.int64),
    weight: wp.array2d(dtype=wp.float32),
    rows: wp.array2d(dtype=wp.float32),
    corners: int,
    width: int,
    out: wp.array2d(dtype=wp.float32),
):
    """out[index[n, k]] += weight[n, k] rows[n], for all k < corners."""
    n = wp.tid()
    for k in range(corners):
        row, w = int(index[n, k]), weight[n, k]
        for c in range(width):
            wp.atomic_add(out, row, c, w * rows[n, c])
