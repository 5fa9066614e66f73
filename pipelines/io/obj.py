"""Wavefront OBJ: positions, texture coordinates, one texture and a material; a fallback for tools without glTF."""

from __future__ import annotations

import os
from pathlib import Path

import torch
from torch import Tensor

from ..core.mesh import Mesh
from .color import encode_png
from .glb import save_bytes
from .material import Material
from .obj_reader import read_obj

__all__ = ["read_obj", "write_obj"]


def write_obj(path: str | os.PathLike, mesh: Mesh, look: Material | None = None) -> list[Path]:
    """Writes ``path`` and, for a textured mesh, .mtl and .png beside it; returns the files written.

    look: adds the extension of MTL that most programs read for such materials (Pr, Pm, their maps, norm).
    OBJ counts v upwards, so 1 - v is stored.  Raises InputError when the folder cannot be written.
    """
    path, mesh = Path(path), mesh.detach().to("cpu")
    lines, files = ["# Lift123"], [path]
    if mesh.texture is not None or look is not None:
        written = _write_material(path, mesh, look)
        lines += [f"mtllib {written[0].name}", "usemtl baked"]
        files += written
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


def _write_material(path: Path, mesh: Mesh, look: Material | None) -> list[Path]:
    """The .mtl beside ``path`` and its pictures."""
    lines, files = ["newmtl baked", "Kd 1 1 1", "Ka 0 0 0", "Ks 0 0 0"], []

    def picture(pixels: Tensor, suffix: str) -> str:
        files.append(path.with_name(f"{path.stem}{suffix}.png"))
        save_bytes(files[-1], encode_png(pixels))
        return files[-1].name

    if mesh.texture is not None:
        lines.append(f"map_Kd {picture(mesh.texture, '')}")
    if look is not None:
        for key, name in (("Pr", "roughness"), ("Pm", "metallic")):
            value = getattr(look, name)
            if isinstance(value, Tensor):
                lines.append(f"map_{key} {picture(value[..., None].expand(*value.shape, 3), '_' + name)}")
            else:
                lines.append(f"{key} {value:g}")
        if look.normal is not None:
            lines.append(f"norm {picture(look.normal, '_normal')}")
    material = path.with_suffix(".mtl")
    save_bytes(material, ("\n".join(lines) + "\n").encode())
    return [material, *files]
