"""What the embedded view prior remembers: the training objects whose reference pictures are nearest, seen again.

A look-up, not a network: a picture is compared with the reference pictures of the objects that the embedded networks
were trained on, outlines first; the nearest few are made again from their seeds, take on the picture's colors, and what
they look like from elsewhere is averaged.  For a toy this is near the mean over all toys that fit the picture (the exact
denoiser of a finite set of objects is such a mean, with such weights); anything else would turn into another object, so
:attr:`Recollection.trust` says how near the nearest one was.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..core.cameras import Cameras
from ..core.mesh import Mesh
from .objects import make_object
from .render import reference_camera, render_toy

SIDE, SMALL = 64, 16  # pixels of a reference picture, and of what is compared
NEIGHBORS = 4
SHARP = 0.5  # a neighbor whose squared distance exceeds the least by this part of it weighs 1 / e
LEAST = 0.05  # a neighbor that weighs less is left out
LIKE, CLOSE, PAIRS = 0.2, 0.08, 500  # how alike colors and places (frames) are that change alike; pixels that tell
OUTLINE = 40.0  # weight of the outline against the colors, which can be changed


@dataclass(frozen=True)
class Recollection:
    """Objects that may be what a picture shows.

    meshes: as seen from HOME in the picture.  weights: [K], their sum is 1.
    trust:  in [0, 1], 1 where the nearest is as near as toys are to each other, 0 where it is far.
    """

    meshes: tuple[Mesh, ...]
    weights: Tensor
    trust: float

    @torch.no_grad()
    def show(self, cameras: Cameras) -> Tensor:
        """[B, H, W, 3] mean of what they look like on white; cameras around the toys' own world."""
        here = cameras.to(self.weights.device)
        shown = torch.stack([render_toy(mesh, here).on_background(1.0) for mesh in self.meshes])
        return torch.einsum("k,kbhwc->bhwc", self.weights, shown)


@dataclass(frozen=True)
class ToyMemory:
    """Training objects by their reference pictures.

    mean: [F], basis: [F, D]: of the principal components of what is compared; codes: [N, D] of the objects.
    seeds, versions: [N] of the toybox.  near, far: distances at which trust is 1 and 0.
    """

    mean: Tensor
    basis: Tensor
    codes: Tensor
    seeds: Tensor
    versions: Tensor
    near: float
    far: float

    @torch.no_grad()
    def recall(self, picture: Tensor) -> Recollection:
        """What the picture [64, 64, 3], sRGB on white, may show."""
        centered = compared(picture[None].cpu()) - self.mean
        code = centered @ self.basis
        unlike = (centered - code @ self.basis.T).square().sum()  # what no remembered object has
        squared = (self.codes - code).square().sum(1)
        found, index = squared.topk(min(NEIGHBORS, len(squared)), largest=False)
        least = found[0].clamp_min(1e-6)
        weights = torch.softmax((found[0] - found) / (SHARP * least), 0)
        index, weights = index[weights >= LEAST], weights[weights >= LEAST]
        meshes = [make_object(int(self.seeds[i]), int(self.versions[i])).mesh for i in index]
        trust = (math.log(self.far) - 0.5 * math.log(float(least + unlike))) / (math.log(self.far) - math.log(self.near))
        meshes = tuple(recolored(mesh, picture.cpu()) for mesh in meshes)
        return Recollection(meshes, weights / weights.sum(), min(max(trust, 0.0), 1.0))


def recolored(mesh: Mesh, picture: Tensor) -> Mesh:
    """The mesh in the picture's colors: each vertex moves by how the colors of pixels like it differ between both.

    picture: [64, 64, 3] of a similar object from the reference camera.  Pixels are alike by color and by place.
    """
    camera, colors = reference_camera(SIDE), mesh.vertex_colors
    assert colors is not None  # toys have them
    seen = render_toy(mesh, camera)
    both = (seen.alpha[0] > 0.9) & (picture.amin(-1) < 0.98)
    if not bool(both.any()):
        return mesh
    y, x = both.nonzero(as_tuple=True)
    every = max(1, len(y) // PAIRS)
    y, x = y[::every], x[::every]
    before, after = seen.rgb[0][y, x], picture[y, x]
    places = torch.stack([(x + 0.5) / SIDE * 2 - 1, 1 - (y + 0.5) / SIDE * 2], -1)
    clip = torch.nn.functional.pad(mesh.vertices, (0, 1), value=1.0) @ camera.world_to_clip()[0].T
    far = torch.cdist(clip[:, :2] / clip[:, 3:], places).square() / CLOSE**2
    weight = torch.exp(-0.5 * (torch.cdist(colors, before).square() / LIKE**2 + far))
    change = (weight @ (after - before)) / (weight.sum(1, keepdim=True) + 0.5)
    return replace(mesh, vertex_colors=(colors + change).clamp(0, 1))


def compared(pictures: Tensor) -> Tensor:
    """[B, 64, 64, 3] sRGB on white -> [B, 1024]: colors and outline at 16 pixels."""
    colors = pictures.permute(0, 3, 1, 2)
    outline = 1 - ((colors.amin(1, keepdim=True) - 0.9) / 0.1).clamp(0, 1)
    both = torch.cat([colors, math.sqrt(OUTLINE) * outline], 1)
    return torch.nn.functional.avg_pool2d(both, SIDE // SMALL).flatten(1)
