"""Normals by finite differences of depth, on a sphere whose depth is known exactly."""

import torch
from lift123.pipelines.core.cameras import HOME, Rays
from lift123.pipelines.render.depth_normals import depth_normals


def test_a_spheres_depth_gives_its_normals_and_the_gradient_of_its_size():
    cameras = HOME.orbit(torch.tensor([0.0, 2.0]), 0.3, 64)
    rays = cameras.rays()
    lengths = rays.directions.norm(dim=-1)
    unit = rays.directions / lengths[..., None]
    along = (rays.origins * unit).sum(-1)
    root = along.square() - rays.origins.square().sum(-1) + 0.4**2
    hit = root > 0
    depth = torch.where(hit, (-along - root.clamp_min(0).sqrt()) / lengths, 0.0).requires_grad_()
    alpha = hit.float() * 0.8
    found = depth_normals(depth * alpha, alpha, rays)
    points = (rays.origins + rays.directions * depth[..., None]).detach() / 0.4
    known = found.detach().norm(dim=-1) > 0
    facing = -(points * unit).sum(-1)
    middle = known & (facing > 0.5)
    assert 0.8 < float(known[hit].float().mean()) < 1 and not bool(known[~hit].any())
    assert float((found.detach() * points).sum(-1)[middle].min()) > 0.995
    (grad,) = torch.autograd.grad(found[middle].sum(), depth)
    assert bool(grad.isfinite().all()) and bool((grad != 0).any())
    empty = depth_normals(torch.zeros(1, 4, 4), torch.zeros(1, 4, 4), Rays(torch.zeros(1, 4, 4, 3), torch.ones(1, 4, 4, 3)))
    assert not bool(empty.any())
