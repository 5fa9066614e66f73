"""Removes what nobody wants in an exported asset: crumbs that float around it and hollows nobody sees."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from ..core.mesh import Mesh
from ..ops.mesh_edges import compact, connected_parts, mesh_edges


def drop_small_parts(mesh: Mesh, least_diameter: float = 0.05, least_faces: int = 8, keep_hollows: bool = False) -> Mesh:
    """``mesh`` without connected parts that are small against the whole; the largest part always stays.

    least_diameter: of a part's bounding box, as a fraction of the whole mesh's (Consistent123's export: 0.05, 8 faces).
    keep_hollows:   False also drops closed parts wound inwards, the walls of enclosed hollows.
    Vertex colors are kept; UVs and texture are dropped when anything changes.
    """
    if not len(mesh.faces):
        return mesh
    edges = mesh_edges(mesh.faces, len(mesh.vertices))
    labels = connected_parts(edges.ends, len(mesh.vertices))
    part = labels[mesh.faces[:, 0]]
    count = int(labels.max()) + 1
    diameter = _diameters(mesh.vertices.detach(), labels, count)
    faces = torch.bincount(part, minlength=count)
    keep = (diameter >= least_diameter * _diameters(mesh.vertices.detach(), labels * 0, 1)) & (faces >= least_faces)
    if not keep_hollows:
        closed = torch.ones(count, dtype=torch.bool, device=labels.device)
        closed[labels[edges.ends[edges.count != 2][:, 0]]] = False
        keep &= ~(closed & (_volumes(mesh, part, count) < 0))
    keep[torch.where(faces > 0, diameter, -1.0).argmax()] = True
    if bool(keep[part].all()):
        return mesh
    vertices, triangles, kept = compact(mesh.vertices, mesh.faces[keep[part]])
    colors = None if mesh.vertex_colors is None else mesh.vertex_colors[kept]
    return replace(
        mesh, vertices=vertices, faces=triangles, vertex_colors=colors, uvs=None, face_uvs=None, texture=None
    )


def _diameters(vertices: Tensor, labels: Tensor, count: int) -> Tensor:
    index = labels[:, None].expand(-1, 3)
    high = vertices.new_full((count, 3), -torch.inf).scatter_reduce(0, index, vertices, "amax")
    low = vertices.new_full((count, 3), torch.inf).scatter_reduce(0, index, vertices, "amin")
    return (high - low).norm(dim=-1)


def _volumes(mesh: Mesh, part: Tensor, count: int) -> Tensor:
    a, b, c = mesh.vertices.detach().double()[mesh.faces].unbind(1)
    each = (a * torch.linalg.cross(b, c)).sum(-1) / 6
    return torch.bincount(part, weights=each, minlength=count)
