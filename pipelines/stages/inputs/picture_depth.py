"""Relative depth of one picture by an estimator: of a whole photograph, or of a framed reference view."""

from __future__ import annotations

import torch
from torch import Tensor

from .picture import find_plain_background, read_image, read_mask
from .reference import MAX_SIDE, MIN_SIDE, ReferenceView


def depth_of_picture(image: Tensor, network, mask: Tensor | None = None,
                     device: torch.device | str = "cpu") -> tuple[Tensor, Tensor]:
    """(depth [H, W] in [1, 2], larger = farther, 0 outside; coverage [H, W]) of a picture as ``read_image`` takes it.

    network: ``networks.depth.DepthEstimator`` or ``PublicDepth``; known up to an affine map.  mask: [H, W], 1 = object; it
    bounds the result.  Public estimators see the whole picture (as Magic123 does), transparent parts on white; the
    embedded one needs the object alone: without mask and transparency a plain background is removed.
    """
    rgb, alpha = read_image(image, MIN_SIDE, MAX_SIDE)
    cover = alpha if mask is None else read_mask(mask, *rgb.shape[:2])
    if network.needs_mask and (cover is None or bool((cover > 0.999).all())):
        cover = find_plain_background(rgb)
    if alpha is not None and not network.needs_mask:
        rgb = rgb * alpha[..., None] + (1 - alpha[..., None])
    cover = torch.ones(rgb.shape[:2]) if cover is None else cover
    return _positive(network.depth(rgb.to(device), cover.to(device)), cover), cover


def check_picture(image: Tensor, mask: Tensor | None = None) -> None:
    """InputError, before any network is read, for a picture or mask that :func:`depth_of_picture` would refuse."""
    rgb, _ = read_image(image, MIN_SIDE, MAX_SIDE)
    if mask is not None:
        read_mask(mask, *rgb.shape[:2])


def depth_of_reference(reference: ReferenceView, network, device: torch.device | str = "cpu") -> Tensor:
    """[S, S] depth in [1, 2] of a reference view's object, larger = farther, 0 outside; known up to an affine map."""
    views = reference.views
    rgb = views.rgb[0] if network.needs_mask else views.on_background(1.0)[0]
    return _positive(network.depth(rgb.to(device), views.alpha[0].to(device)), views.alpha[0])


def _positive(estimate: Tensor, cover: Tensor) -> Tensor:
    return torch.where(cover > 0.5, 1 + estimate.detach().float().cpu(), torch.zeros(()))
