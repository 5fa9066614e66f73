"""Wavefront OBJ: positions, texture coordinates and one texture; a fallback for tools without glTF."""

from __future__ import annotations

import os
from pathlib import Path

import torch

from ..core.mesh import Mesh
from .color import encode_png
from .glb import save_bytes
from .obj_reader import read_obj

__all__ = ["read_obj", "write_obj"]


def write_obj(path: str | os.PathLike, mesh: Mesh) -> list[Path]:
    """Writes ``path`` and, for a textured mesh, .mtl and .png beside it; returns the files written.

    OBJ counts v upwards, so 1 - v is stored.  Raises InputError when the folder cannot be written.
    """
    path, mesh = Path(path), mesh.detach().to("cpu")
    lines, files = ["# Lift123"], [path]
    if mesh.texture is not None:
        material, picture = path.with_suffix(".mtl"), path.with_suffix(".png")
        save_bytes(picture, encode_png(mesh.texture))
        text = f"newmtl baked\nKd 1 1 1\nKa 0 0 0\nKs 0 0 0\nmap_Kd {picture.name}\n"
        save_bytes(material, text.encode())
        lines += [f"mtllib {material.name}", "usemtl baked"]
        files += [material, picture]
    lines += ["v " + " ".join(f"{x:.9g}" for x in row) for row in _vertex_rows(mesh)]
    if mesh.uvs is not None and mesh.face_uvs is not None:
        lines += [f"vt {u:.9g} {1 - v:.9g}" for u, v in mesh.uvs.tolist()]
        pairs = torch.stack([mesh.faces, mesh.face_uvs], dim=-1) + 1
        lines += ["f " + " ".join(f"{v}/{t}" for v, t in face) for face in pairs.tolist()]
    else:
        lines += [f"f {a} {b} {c}" for a, b, c in (mesh.faces + 1).tolist()]
    save_bytes(path, ("\n".join(lines) + "\n").encode())
    return files


def _vertex_rows(mesh: Mesh) -> list[list[float]]:
    if mesh.vertex_colors is None or mesh.texture is not None:
        return mesh.vertices.tolist()
    return torch.cat([mesh.vertices, mesh.vertex_colors], dim=-1).tolist()
