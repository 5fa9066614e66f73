"""A surface that never changes: someone else's mesh, of which only the color is learned."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..core.mesh import Mesh


class FixedSurface(torch.nn.Module):
    """A ``SurfaceField`` around a given mesh.

    vertices, faces, uvs, face_uvs: buffers, the mesh's own; nothing here ever writes to them.
    color: [N, 3] points -> [N, 3] sRGB in [0, 1]; a Module becomes a submodule, so its parameters are trained and
           saved with the surface.
    The mesh's texture and vertex colors are not kept: ``color`` replaces them.
    """

    vertices: Tensor
    faces: Tensor
    uvs: Tensor | None
    face_uvs: Tensor | None

    def __init__(self, mesh: Mesh, color: Callable[[Tensor], Tensor] | None = None):
        super().__init__()
        for name in ("vertices", "faces", "uvs", "face_uvs"):
            value = getattr(mesh, name)
            self.register_buffer(name, None if value is None else value.detach().clone())
        self.color = color

    def extract(self) -> Mesh:
        return Mesh(self.vertices, self.faces, uvs=self.uvs, face_uvs=self.face_uvs)

    def albedo(self, x: Tensor) -> Tensor:
        """[N, 3] -> [N, 3] sRGB in [0, 1]; mid gray without a color function."""
        if self.color is None:
            return torch.full_like(x, 0.7)
        return getattr(self.color, "albedo", self.color)(x)
