"""What S-LRM is trained with (StdGEN, Eq. 4, 5, 9, 11; S-C.14, S-C.15), and the direct supervision of the embedded one.

Every term is a scalar mean and differentiable.  Pictures are [B, H, W, C], coverage [B, H, W]; a pixel's class is an
int64, -1 where nothing is.  ``total`` weighs the terms.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

EPS = 1e-6
Perceptual = Callable[[Tensor, Tensor], Tensor]  # two pictures in [0, 1] -> scalar


@dataclass(frozen=True)
class SlrmWeights:
    """The paper's lambdas; ``entropy`` and ``flexibility`` are InstantMesh's regularizers of stage 3."""

    mse: float = 1.0
    lpips: float = 2.0
    mask: float = 1.0
    sem: float = 1.0
    depth: float = 0.5
    normal: float = 0.2
    dev: float = 0.5
    entropy: float = 0.01
    flexibility: float = 0.1

    def total(self, terms: dict[str, Tensor]) -> Tensor:
        """The weighted sum of terms by name."""
        return cast(Tensor, sum(getattr(self, name) * value for name, value in terms.items()))


@dataclass(frozen=True)
class Truth:
    """What one set of classes really looks like: rgb on white [B, H, W, 3], alpha, classes; of meshes depth, normal, too.

    depth:  [B, H, W] scene units.   normal: [B, H, W, 3] unit, 0 outside.
    """

    rgb: Tensor
    alpha: Tensor
    classes: Tensor
    depth: Tensor | None = None
    normal: Tensor | None = None


def semantic_cross_entropy(rendered: Tensor, classes: Tensor) -> Tensor:
    """Mean -log of what a semantic map [..., K] gives the true class, over pixels that have one; 0 without any."""
    known = classes >= 0
    chosen = rendered.gather(-1, classes.clamp_min(0)[..., None])[..., 0]
    loss = -(chosen.clamp(0, 1) + EPS).log() * known
    return loss.sum() / known.sum().clamp_min(1)


def picture_terms(
    rgb: Tensor, alpha: Tensor, semantics: Tensor, truth: Truth, perceptual: Perceptual | None = None
) -> dict:
    """Stages 1 and 2 (Eq. 5, 9): mse (of pictures in [-1, 1]), mask, sem and, with a ``perceptual`` measure, lpips.

    rgb: on white.  For stage 2 everything is rendered under the set of kept classes, and so is the truth.
    """
    terms = {
        "mse": 4 * (rgb - truth.rgb).square().mean(),
        "mask": (alpha - truth.alpha).square().mean(),
        "sem": semantic_cross_entropy(semantics, truth.classes),
    }
    if perceptual is not None:
        terms["lpips"] = perceptual(rgb, truth.rgb)
    return terms


def surface_terms(depth: Tensor, normal: Tensor, deviation: Tensor, truth: Truth) -> dict:
    """What stage 3 adds (Eq. 11): normal and depth inside the true mask, and FlexiCubes' deviation.

    depth: [B, H, W] and normal: [B, H, W, 3], both premultiplied by coverage as renderers give them.
    """
    assert truth.depth is not None and truth.normal is not None, "a mesh's truth has both"
    inside = truth.alpha
    area = inside.sum().clamp_min(1)
    cosine = (torch.nn.functional.normalize(normal, dim=-1, eps=EPS) * truth.normal).sum(-1)
    return {
        "normal": ((1 - cosine) * inside).sum() / area,
        "depth": ((depth - truth.depth).abs() * inside).sum() / area,
        "dev": deviation.mean() if deviation.numel() else depth.sum() * 0,
    }


def sign_entropy(sdf: Tensor, shape: tuple[int, int, int]) -> Tensor:
    """Mean cross-entropy between the ends of crossed grid edges (Munkberg et al. 2022): fewer crossings, less floating dust.

    sdf: [V] on grid points of ``shape``.
    """
    field = sdf.reshape(shape)
    total, count = sdf.sum() * 0, 0
    for axis in range(3):
        a = field.narrow(axis, 0, shape[axis] - 1)
        b = field.narrow(axis, 1, shape[axis] - 1)
        crossed = (a < 0) != (b < 0)
        a, b = a[crossed], b[crossed]
        loss = torch.nn.functional.binary_cross_entropy_with_logits
        total = total + loss(a, (b > 0).to(a), reduction="sum") + loss(b, (a > 0).to(b), reduction="sum")
        count += 2 * int(crossed.sum())
    return total / max(count, 1)


@dataclass(frozen=True)
class PointTargets:
    """How distances become targets: in units of ``width`` scene units, flat beyond ``reach`` such units."""

    width: float = 0.03
    reach: float = 3.0


def point_terms(sdf: Tensor, logits: Tensor, rgb: Tensor, truth: dict, targets: PointTargets = PointTargets()) -> dict:
    """Direct supervision at points: terms sdf, sem, rgb.

    sdf: [B, N] raw.   logits: [B, N, 4].   rgb: [B, N, 3].
    truth: "sdf" [B, N, 4] distances to the whole, body, clothing, hair (large = absent), scene units; "face" [B, N] bool;
           "color" [B, N, 3]; "colored" [B, N] bool: where colors are known.
    The raw distance is taught in units of ``width`` and the classes change over the same width, so that f and the
    differences of p have like slopes (see ``semantic_field``).  Where a distance is beyond reach, being farther is right.
    """
    wanted = (truth["sdf"][..., 0] / targets.width).clamp(-targets.reach, targets.reach)
    right = ((wanted >= targets.reach) & (sdf > wanted)) | ((wanted <= -targets.reach) & (sdf < wanted))
    distance = ((sdf - wanted).abs() * ~right).mean()
    share = semantic_targets(truth, targets.width)
    near = torch.exp(-truth["sdf"][..., 0].clamp_min(0) / targets.width)
    entropy = -(share * torch.log_softmax(logits, -1)).sum(-1)
    known = truth["colored"].to(rgb)
    color = ((rgb - truth["color"]).abs().mean(-1) * known).sum() / known.sum().clamp_min(1)
    return {"sdf": distance, "sem": (entropy * near).sum() / near.sum().clamp_min(EPS), "rgb": color}


def semantic_targets(truth: dict, width: float) -> Tensor:
    """[B, N, 4] hair, face, body, clothing: softmax of minus the distances to the layers, over ``width``.

    Two classes are equal where both layers are equally far, so the surface between them is where it should be.
    """
    layers = -truth["sdf"][..., 1:] / width
    never = torch.full_like(layers[..., 0], -1e4)
    body, clothing, hair = layers.unbind(-1)
    face = truth["face"]
    stacked = torch.stack([hair, torch.where(face, body, never), torch.where(face, never, body), clothing], -1)
    return torch.softmax(stacked, -1)
