"""Pictures as priors: given views of the other sides, and a CLIP network that compares with the reference."""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol

import torch
from torch import Tensor

from ..core.cameras import Cameras
from ..core.errors import InputError
from ..core.prior import Prior
from ..core.schedules import Constant, Schedule
from .sds import resize


class PicturesPrior(Prior):
    """Views that are known: a plain multi-view fit (as SyncDreamer, Zero123++ and Era3D fit what they draw).

    pictures: [N, H, W, 3] sRGB in [0, 1] on white.   cameras: [N], of the same views.
    weight:   schedule over progress, multiplies the mean squared error of a picture's pixels.
    It decides the views of the steps that show novel ones: the given ones in turn.  Next to a prior that has views of its
    own (RGSD) it must come first in a sum; views that it does not know cost nothing.
    """

    backdrop = "white"

    def __init__(self, pictures: Tensor, cameras: Cameras, weight: Schedule = Constant(1000.0), name: str = "views"):
        if len(pictures) != len(cameras) or not len(pictures):
            raise InputError("views", "as many pictures as cameras", f"{len(pictures)} and {len(cameras)}",
                             "Write one azimuth per picture.")
        self.pictures, self.cameras, self.weight, self.name = pictures, cameras.to("cpu"), weight, name
        self._number = {_key(self.cameras[k]): k for k in range(len(pictures))}

    def choose(self, step: int, cameras: Cameras) -> Cameras:
        """The next of the given views, as many as asked for."""
        count, total = len(cameras), len(self.cameras)
        picked = [(step * count + k) % total for k in range(count)]
        return Cameras.cat([self.cameras[k].resized(cameras.height, cameras.width) for k in picked])

    def memory(self) -> tuple[dict[str, Tensor], dict | None]:
        """Where the views are; whose turn it is follows from the step."""
        return {"c2w": self.cameras.c2w.clone()}, {"views": len(self.cameras)}

    def recall(self, tensors: dict[str, Tensor], meta: dict | None) -> bool:
        """Whether :meth:`memory` was of the same views."""
        return bool(meta) and "c2w" in tensors and torch.equal(tensors["c2w"], self.cameras.c2w)

    def loss(self, images: Tensor, cameras: Cameras, progress: float, generator: torch.Generator) -> Tensor:
        """[B]; 0 for views that are not among the given ones."""
        numbers = [self._number.get(_key(cameras[k].to("cpu"))) for k in range(len(cameras))]
        rows = []
        for image, number in zip(images, numbers, strict=True):
            if number is None:
                rows.append(image.sum() * 0)
                continue
            wanted = resize(self.pictures[number : number + 1], image.shape[0], image.shape[1])[0].to(image)
            rows.append((image - wanted).square().mean())
        return self.weight(progress) * torch.stack(rows)


class PictureScorer(Protocol):
    """What is asked of CLIP (``networks.clip.ClipScorer``)."""

    def image_embedding(self, images: Tensor) -> Tensor:
        """[B, H, W, 3] in [0, 1] -> [B, D] of unit length, without gradient."""
        ...

    def picture_features(self, images: Tensor) -> Tensor:
        """The same, differentiable."""
        ...


class ClipImagePrior(Prior):
    """1 - the cosine between CLIP's embeddings of a render and of the reference picture.

    The image term of NeuralLift-360 (Xu et al. 2023) and of Make-It-3D's coarse stage (Tang et al. 2023); the latter
    compares a denoised render, this one the render itself.
    scorer: CLIP on the stage's device.   reference: [H, W, 3] on white.   weight: schedule over progress.
    """

    backdrop = "white"

    def __init__(self, scorer: PictureScorer, reference: Tensor, weight: Schedule = Constant(10.0), name: str = "clip image"):
        self.scorer, self.weight, self.name = scorer, weight, name
        with torch.no_grad():
            self.goal = scorer.image_embedding(reference[None])[0]

    def loss(self, images: Tensor, cameras: Cameras, progress: float, generator: torch.Generator) -> Tensor:
        """[B] in weight times [0, 2]."""
        return self.weight(progress) * (1 - self.scorer.picture_features(images) @ self.goal.to(images))


def views_around(reference: Cameras, azimuths: tuple[float, ...], elevations: tuple[float, ...], radius: float = 0.0,
                 fovy: float = 0.0) -> Cameras:
    """[N] cameras at azimuths (radians from the reference's, positive = its right) and elevations (radians above the horizon).

    elevations: one for all, or one each.  radius (scene units), fovy (radians): 0 = the reference's.
    InputError for another number of elevations.
    """
    count = len(azimuths)
    if len(elevations) not in (1, count):
        raise InputError("elevations", f"one for all views, or {count}", str(len(elevations)), "Separate them by commas.")
    if any(abs(e) > 1.5 for e in elevations):
        raise InputError("elevations", "angles between -85 and 85 degrees", "steeper ones", "Straight up has no azimuth.")
    home = reference.to("cpu")
    made = Cameras.orbit(home.azimuth + torch.tensor(azimuths), torch.tensor(elevations).expand(count),
                         torch.full((count,), radius) if radius else home.radius.expand(count),
                         torch.full((count,), fovy) if fovy else home.fovy.expand(count), home.height, home.width)
    return replace(made, near=home.near, far=home.far)


def _key(camera: Cameras) -> bytes:
    """Names a view, at any size."""
    return camera.c2w.detach().numpy().tobytes() + camera.fovy.detach().numpy().tobytes()
