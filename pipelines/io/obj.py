"""Wavefront OBJ: positions, texture coordinates and one texture; a fallback for tools without glTF."""

from __future__ import annotations

import os
from pathlib import Path

import torch

from ..core.errors import InputError
from ..core.mesh import Mesh
from .color import encode_png
from .glb import save_bytes


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


def read_obj(path: str | os.PathLike) -> Mesh:
    """Positions, vertex colors (the common ``v x y z r g b``) and UVs; polygons become fans; no texture."""
    try:
        lines = Path(path).read_text(errors="replace").splitlines()
    except OSError as error:
        got = f"{path} ({error.strerror})"
        raise InputError("OBJ file", "a file that can be read", got, "Check the path.") from error
    try:
        return _parse(lines)
    except (ValueError, IndexError) as error:
        raise InputError("OBJ file", "a Wavefront OBJ with faces", str(error), "Export the model again.") from error


def _vertex_rows(mesh: Mesh) -> list[list[float]]:
    if mesh.vertex_colors is None or mesh.texture is not None:
        return mesh.vertices.tolist()
    return torch.cat([mesh.vertices, mesh.vertex_colors], dim=-1).tolist()


def _parse(lines: list[str]) -> Mesh:
    points, uvs, faces, face_uvs = [], [], [], []
    for line in lines:
        word, *rest = line.split() or [""]
        if word == "v":
            points.append([float(x) for x in rest])
        elif word == "vt":
            uvs.append([float(rest[0]), 1 - float(rest[1])])
        elif word == "f":
            corners = [[int(i) if i else 0 for i in item.split("/")] + [0] for item in rest]
            position = [_absolute(c[0], len(points)) for c in corners]
            texture = [_absolute(c[1], len(uvs)) for c in corners]
            for k in range(1, len(corners) - 1):
                faces.append([position[0], position[k], position[k + 1]])
                face_uvs.append([texture[0], texture[k], texture[k + 1]])
    if not faces:
        raise ValueError("no faces")
    table = torch.tensor([p[:3] for p in points])
    colored = all(len(p) >= 6 for p in points)
    colors = torch.tensor([p[3:6] for p in points]) if colored else None
    faces, face_uvs = torch.tensor(faces), torch.tensor(face_uvs)
    if not uvs or bool((face_uvs < 0).any()):
        return Mesh(table, faces, colors)
    return Mesh(table, faces, colors, torch.tensor(uvs), face_uvs)


def _absolute(index: int, count: int) -> int:
    """OBJ counts from 1; negative numbers count back from the newest; 0 stands for absent here."""
    return index - 1 if index >= 0 else count + index
