"""Regularizers of a triangle mesh (M-E.5; Consistent123 and Magic123 use the same two)."""

from __future__ import annotations

import torch
from torch import Tensor

from ..core.mesh import Mesh
from ..ops.mesh_edges import MeshEdges, mesh_edges


def normal_consistency(mesh: Mesh, edges: MeshEdges | None = None) -> Tensor:
    """Scalar in [0, 2]: mean over shared edges of |1 - n0 . n1| of the two faces' unit normals."""
    edges = edges or mesh_edges(mesh.faces, len(mesh.vertices))
    if not len(edges.pairs):
        return mesh.vertices.sum() * 0.0
    # a collapsed triangle has no direction; the tiny floor makes its normal 0 instead of NaN
    normals = torch.nn.functional.normalize(mesh.face_normals(), dim=-1, eps=1e-12)
    cosine = (normals[edges.pairs[:, 0]] * normals[edges.pairs[:, 1]]).sum(-1)
    if edges.pair_weight is not None:
        return ((1 - cosine).abs() * edges.pair_weight).sum() / edges.pair_weight.sum().clamp_min(1)
    return (1 - cosine).abs().mean()


def uniform_laplacian(mesh: Mesh, edges: MeshEdges | None = None) -> Tensor:
    """Scalar, scene units: mean over vertices of |sum_j (v_i - v_j)|, not divided by the valence."""
    edges = edges or mesh_edges(mesh.faces, len(mesh.vertices))
    if not len(edges.ends):
        return mesh.vertices.sum() * 0.0
    first, second = edges.ends.unbind(-1)
    gap = mesh.vertices[first] - mesh.vertices[second]
    if edges.end_weight is not None:
        gap = gap * edges.end_weight[:, None]
    total = torch.zeros_like(mesh.vertices).index_add(0, first, gap).index_add(0, second, -gap)
    return (total.square().sum(-1) + 1e-16).sqrt().mean()  # the floor keeps the gradient finite at 0
