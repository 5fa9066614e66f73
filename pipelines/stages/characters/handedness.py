"""Is a mesh the mirror image of the pictures it was made from?  (StdGEN, S-C.12, S-K.5)

The released code stores its coarse meshes as OBJ files with one axis mirrored; whether its network's world is mirrored,
too, could not be told without its weights.  Outlines of an asymmetric character tell.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ...core.layers import LayeredMesh
from ...core.mesh import Mesh
from ...core.ortho import six_views
from ...render.normal_maps import orthographic_raster

LEAST_MARGIN = 0.005  # of mean IoU between the two, below which the character is too symmetric to tell


@dataclass(frozen=True)
class Handedness:
    """as_given, mirrored: mean IoU over the six outlines, [0, 1].  decided: whether they differ enough to tell."""

    as_given: float
    mirrored: float

    @property
    def decided(self) -> bool:
        """Whether the outlines are asymmetric enough to tell."""
        return abs(self.as_given - self.mirrored) >= LEAST_MARGIN

    @property
    def is_mirrored(self) -> bool:
        """Whether the mesh should be mirrored to fit the pictures."""
        return self.decided and self.mirrored > self.as_given

    def note(self) -> str:
        """One sentence for people."""
        figures = f"outlines agree by {self.as_given:.3f} as given, {self.mirrored:.3f} mirrored"
        if not self.decided:
            return f"Handedness: {figures}: too symmetric to tell, kept as given."
        return f"Handedness: {figures}: {'the layers were mirrored to fit' if self.is_mirrored else 'kept as given'}."


@torch.no_grad()
def handedness(mesh: Mesh, masks: Tensor) -> Handedness:
    """Compares the outlines of ``mesh`` and of its mirror image (x -> -x) with the six views' ``masks`` [6, H, W]."""
    cameras = six_views(masks.shape[1], masks.shape[2]).to(masks.device)
    return Handedness(*(_agreement(m, masks > 0.5, cameras) for m in (mesh.detach(), mirrored(mesh.detach()))))


def mirrored(mesh: Mesh) -> Mesh:
    """The mirror image at the plane x = 0, with its faces wound so that they still look outwards."""
    flip = mesh.vertices.new_tensor([-1.0, 1.0, 1.0])
    uvs = None if mesh.face_uvs is None else mesh.face_uvs.flip(1)
    return replace(mesh, vertices=mesh.vertices * flip, faces=mesh.faces.flip(1), face_uvs=uvs)


def mirrored_layers(layers: LayeredMesh) -> LayeredMesh:
    """:func:`mirrored` of every layer."""
    return layers.map(mirrored)


def _agreement(mesh: Mesh, masks: Tensor, cameras) -> float:
    shown = orthographic_raster(mesh.vertices.float(), mesh.faces, cameras)[0].covered
    both, either = (shown & masks).sum((1, 2)).float(), (shown | masks).sum((1, 2)).float()
    return float((both / either.clamp(min=1)).mean())
