"""The triangle mesh that passes between layers."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.utils.weak import WeakIdKeyDictionary

from .far import ask, far


@dataclass(frozen=True)
class Mesh:
    """A triangle mesh with optional texture; faces are counter-clockwise seen from outside.

    vertices:      [V, 3] float, scene units.
    faces:         [F, 3] int64 into ``vertices``.
    vertex_colors: [V, 3] sRGB in [0, 1], or None.
    uvs:           [T, 2] glTF convention (origin top left), or None.
    face_uvs:      [F, 3] int64 into ``uvs`` (per-corner), or None; given exactly when ``uvs`` is.
    texture:       [H, W, 3] sRGB in [0, 1], or None; needs ``uvs``.
    """

    vertices: Tensor
    faces: Tensor
    vertex_colors: Tensor | None = None
    uvs: Tensor | None = None
    face_uvs: Tensor | None = None
    texture: Tensor | None = None

    def __post_init__(self):
        _expect(self.vertices, "vertices", 3)
        _expect(self.faces, "faces", 3)
        if self.faces.dtype != torch.int64:
            raise ValueError(f"faces must be int64, got {self.faces.dtype}")
        if not fits(self.faces, len(self.vertices)):
            raise ValueError(f"faces refer to vertices outside 0..{len(self.vertices) - 1}")
        if self.vertex_colors is not None and self.vertex_colors.shape != self.vertices.shape:
            raise ValueError(f"vertex_colors must be {tuple(self.vertices.shape)}, got {tuple(self.vertex_colors.shape)}")
        if (self.uvs is None) != (self.face_uvs is None):
            raise ValueError("uvs and face_uvs are given together or not at all")
        if self.face_uvs is not None and self.face_uvs.shape != self.faces.shape:
            raise ValueError(f"face_uvs must be {tuple(self.faces.shape)}, got {tuple(self.face_uvs.shape)}")
        if self.uvs is not None and self.face_uvs is not None and self.face_uvs.numel():
            if int(self.face_uvs.min()) < 0 or int(self.face_uvs.max()) >= len(self.uvs):
                raise ValueError(f"face_uvs refer to uvs outside 0..{len(self.uvs) - 1}")
        if self.texture is not None and (self.uvs is None or self.texture.ndim != 3 or self.texture.shape[-1] != 3):
            raise ValueError("texture must be [H, W, 3] and needs uvs")

    def to(self, device) -> "Mesh":
        """The same mesh on another device."""
        moved = {k: v.to(device) for k, v in vars(self).items() if v is not None}
        return Mesh(**moved)

    def detach(self) -> "Mesh":
        """The same mesh without its autograd history."""
        return Mesh(**{k: v.detach() for k, v in vars(self).items() if v is not None})

    def transformed(self, scale: Tensor | float = 1.0, offset: Tensor | float = 0.0) -> "Mesh":
        """vertices * scale + offset; ``scale`` must be positive (a mirror would flip the winding)."""
        return replace(self, vertices=self.vertices * scale + offset)

    def face_normals(self) -> Tensor:
        """[F, 3] unnormalized outward normals; their length is twice the area."""
        a, b, c = self.vertices[self.faces].unbind(1)
        return torch.linalg.cross(b - a, c - a)

    def vertex_normals(self) -> Tensor:
        """[V, 3] unit normals: the normalized sum of normalized face normals (zero where undefined)."""
        normals = torch.nn.functional.normalize(self.face_normals(), dim=-1, eps=1e-12)
        out = torch.zeros_like(self.vertices)
        for corner in range(3):
            out = out.index_add(0, self.faces[:, corner], normals)
        return torch.nn.functional.normalize(out, dim=-1, eps=1e-12)

    def signed_volume(self) -> Tensor:
        """Scalar; positive for a closed mesh whose faces are counter-clockwise from outside."""
        a, b, c = self.vertices[self.faces].unbind(1)
        return (a * torch.linalg.cross(b, c)).sum(-1).sum() / 6


_fitting: WeakIdKeyDictionary = WeakIdKeyDictionary()  # table of faces -> (version, rows that it is known to fit)


def fits(faces: Tensor, rows: int) -> bool:
    """Whether all entries lie in 0..rows - 1.  On far devices remembered, for a look makes the host wait."""
    if not faces.numel():
        return True
    remembers = far(faces.device) and not faces.is_inference()  # inference tensors count no versions
    if remembers and _fitting.get(faces, (-1, 0)) == (faces._version, rows):
        return True
    low, high = ask(*torch.aminmax(faces))
    good = 0 <= low and high < rows
    if good:
        trust(faces, rows)
    return good


def trust(faces: Tensor, rows: int) -> Tensor:
    """``faces``, whose entries lie in 0..rows - 1 by construction: :func:`fits` need not look on far devices."""
    if far(faces.device) and not faces.is_inference():
        _fitting[faces] = (faces._version, rows)
    return faces


def _expect(tensor: Tensor, name: str, columns: int) -> None:
    if tensor.ndim != 2 or tensor.shape[-1] != columns:
        raise ValueError(f"{name} must be [N, {columns}], got {tuple(tensor.shape)}")


def merge(meshes: list[Mesh]) -> Mesh:
    """One mesh from several, keeping vertex colors when all have them (textures are dropped)."""
    offsets, total = [], 0
    for mesh in meshes:
        offsets.append(total)
        total += len(mesh.vertices)
    known = [m.vertex_colors for m in meshes if m.vertex_colors is not None]
    return Mesh(
        torch.cat([m.vertices for m in meshes]),
        torch.cat([m.faces + o for m, o in zip(meshes, offsets, strict=True)]),
        torch.cat(known) if len(known) == len(meshes) else None,
    )


def with_one_texture(meshes: list[Mesh]) -> Mesh:
    """One mesh from several that all have textures of one size [S, S, 3], which lie side by side in the result's."""
    uvs, face_uvs, textures = [], [], []
    for k, mesh in enumerate(meshes):
        assert mesh.uvs is not None and mesh.face_uvs is not None and mesh.texture is not None
        face_uvs.append(mesh.face_uvs + sum(map(len, uvs)))
        uvs.append(torch.stack([(mesh.uvs[:, 0] + k) / len(meshes), mesh.uvs[:, 1]], 1))
        textures.append(mesh.texture)
    return replace(merge(meshes), uvs=torch.cat(uvs), face_uvs=torch.cat(face_uvs), texture=torch.cat(textures, 1))
