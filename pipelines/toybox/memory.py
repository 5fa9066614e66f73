"""What the embedded view prior remembers: the training objects whose reference pictures are nearest, seen again.

A look-up, not a network: a picture is compared with the reference pictures of the objects that the embedded networks
were trained on, the nearest few are made again from their seeds, and what they look like from elsewhere is averaged.
For a toy this is near the mean over all toys that fit the picture (the exact denoiser of a finite set of objects is such
a mean, with the same weights); for anything else it is another object, so :attr:`Recollection.trust` says how near the
nearest one was.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ..core.cameras import Cameras
from ..core.mesh import Mesh
from .objects import make_object
from .render import render_toy

SIDE, SMALL = 64, 16  # pixels of a reference picture, and of what is compared
NEIGHBORS = 6
SHARP = 0.5  # a neighbor whose squared distance exceeds the least by this part of it weighs 1 / e
OUTLINE = 3.0  # weight of the outline against the colors, each of a pixel's three


@dataclass(frozen=True)
class Recollection:
    """Objects that may be what a picture shows.

    meshes: as the toybox makes them, seen from HOME in the picture.  weights: [K], their sum is 1.
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
        toys = [make_object(int(self.seeds[i]), int(self.versions[i])) for i in index]
        trust = (math.log(self.far) - 0.5 * math.log(float(least + unlike))) / (math.log(self.far) - math.log(self.near))
        return Recollection(tuple(toy.mesh for toy in toys), weights, min(max(trust, 0.0), 1.0))


def compared(pictures: Tensor) -> Tensor:
    """[B, 64, 64, 3] sRGB on white -> [B, 1024]: colors and outline at 16 pixels."""
    colors = pictures.permute(0, 3, 1, 2)
    outline = 1 - ((colors.amin(1, keepdim=True) - 0.9) / 0.1).clamp(0, 1)
    both = torch.cat([colors, math.sqrt(OUTLINE) * outline], 1)
    return torch.nn.functional.avg_pool2d(both, SIDE // SMALL).flatten(1)
