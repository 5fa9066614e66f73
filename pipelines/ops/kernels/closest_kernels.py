"""Warp kernel of the closest point on a triangle mesh (a bounding volume hierarchy that Warp builds)."""

import warp as wp

wp.set_module_options({"enable_backward": False})


@wp.kernel
def nearest(
    first: int,
    mesh: wp.uint64,
    points: wp.array(dtype=wp.vec3),
    limit: float,
    face: wp.array(dtype=wp.int32),
    weights: wp.array(dtype=wp.vec3),
):
    i = first + wp.tid()
    query = wp.mesh_query_point_no_sign(mesh, points[i], limit)
    if query.result:
        face[i] = query.face
        weights[i] = wp.vec3(query.u, query.v, 1.0 - query.u - query.v)
