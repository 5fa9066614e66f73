"""Meshes in the formats that other programs want: GLB and OBJ with materials, PLY with colors, STL and 3MF for printing.

PLY, STL and 3MF are trimesh's (MIT); the first two are byte for byte the same again, a 3MF holds new identifiers each time.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, get_args

import torch
from torch import Tensor

from ..core.errors import InputError
from ..core.mesh import Mesh
from .glb import check_mesh, save_bytes, write_glb
from .material import Material
from .obj import write_obj

Format = Literal["glb", "obj", "ply", "stl", "3mf"]
FORMATS = get_args(Format)
PRINTED = ("stl", "3mf")  # hold nothing but the shape
NEEDS = {"ply": ("trimesh",), "stl": ("trimesh",), "3mf": ("trimesh", "lxml", "networkx")}  # those of other people


def write_mesh(
    path: str | os.PathLike, mesh: Mesh, kind: Format, material: Material | None = None, extras: dict | None = None
) -> list[Path]:
    """Writes ``mesh`` as ``kind`` to ``path``; returns the files written, ``path`` first.

    glb keeps texture or vertex colors, material and ``extras``; obj the same in a .mtl and pictures beside it, without
    extras; ply the colors of vertices, taken from the texture where there is one; stl and 3mf the shape alone.
    Raises InputError for an empty or non-finite mesh, a library that is missing, and a folder that cannot be written.
    """
    path = Path(path)
    check_mesh(mesh)
    check_libraries(kind)
    mesh = mesh.detach().to("cpu")
    if kind == "glb":
        write_glb(path, mesh, extras, name=path.stem, material=material)
        return [path]
    if kind == "obj":
        return write_obj(path, mesh, material)
    save_bytes(path, _by_trimesh(mesh, kind))
    return [path]


def check_libraries(kind: Format, there: Callable = find_spec) -> None:
    """InputError where a library that writes ``kind`` is not installed."""
    missing = [name for name in NEEDS.get(kind, ()) if there(name) is None]
    if missing:
        raise InputError("format", f"the Python packages that write {kind}", f"{' and '.join(missing)} missing",
                         f"Install them (pip install {' '.join(missing)}), or choose glb or obj.")


def turned_up(mesh: Mesh, up: Literal["y", "z"] = "y", longest: float = 0.0) -> Mesh:
    """The mesh with ``up`` as its up axis (z: CAD and printing; the front then looks to -y), its longest side ``longest``.

    longest: in the file's units, standing on the ground at the middle; 0 keeps size and place.
    """
    vertices = mesh.vertices
    if longest > 0:
        low, high = vertices.amin(0), vertices.amax(0)
        middle = (low + high) / 2
        ground = torch.stack([middle[0], low[1], middle[2]])
        vertices = (vertices - ground) * (longest / float((high - low).max().clamp_min(1e-12)))
    if up == "z":
        x, y, z = vertices.unbind(-1)
        vertices = torch.stack([x, -z, y], dim=-1)
    return Mesh(**{**{name: value for name, value in vars(mesh).items() if value is not None}, "vertices": vertices})


def vertex_colors(mesh: Mesh) -> Tensor | None:
    """[V, 3] sRGB: the mesh's own, or the mean of its texture at each vertex's corners; None without either.

    Corners weigh by their face's area: faces without any, which unwrapping leaves at the texture's own corner, say nothing.
    """
    if mesh.texture is None or mesh.uvs is None or mesh.face_uvs is None:
        return mesh.vertex_colors
    from ..ops.texture import sample_texture

    seen = sample_texture(mesh.texture.float(), (mesh.uvs.float() % 1.0)[mesh.face_uvs.reshape(-1)])
    a, b, c = mesh.vertices[mesh.faces].unbind(1)
    areas = torch.linalg.cross(b - a, c - a).norm(dim=-1)
    weights = (areas / areas.mean().clamp(min=1e-30) + 1e-9).to(seen).repeat_interleave(3)
    total = torch.zeros(len(mesh.vertices), 4).index_add(
        0, mesh.faces.reshape(-1), torch.cat([seen, torch.ones_like(seen[:, :1])], 1) * weights[:, None])
    return total[:, :3] / total[:, 3:].clamp(min=1e-30)


def _by_trimesh(mesh: Mesh, kind: str) -> bytes:
    import trimesh
    from trimesh.exchange.export import export_mesh

    colors = vertex_colors(mesh) if kind == "ply" else None
    shades = None if colors is None else (colors.clamp(0, 1) * 255).round().to(torch.uint8).numpy()
    made = trimesh.Trimesh(mesh.vertices.numpy(), mesh.faces.numpy(), vertex_colors=shades, process=False)
    data = export_mesh(made, None, file_type=kind)
    assert isinstance(data, bytes)  # text and dictionaries are other formats' answers
    return data
