"""RGSD on a ball, with a guide whose answers are known."""

from types import SimpleNamespace

import torch
from lift123.pipelines.core.cameras import Cameras
from lift123.pipelines.core.schedules import Constant
from lift123.pipelines.core.views import RenderBuffers
from lift123.pipelines.methods.inversion import RungGrid
from lift123.pipelines.methods.rgnv import Evaluations
from lift123.pipelines.networks.noise import scaled_linear_alphas
from lift123.pipelines.priors.rgsd import RgsdPrior, RgsdSettings

HOME = Cameras.orbit(0.2, 0.1, 3.8, 0.35, 32, 32)


PAPER = RgsdSettings(Constant(1.0), "sum", reuse=1, masked=False)


def ball(cameras):
    """A ball of radius 0.5 at the origin, as a drawing of its coverage and depth."""
    rays = cameras.rays()
    o, d = rays.origins, rays.directions
    a, b, c = (d * d).sum(-1), (o * d).sum(-1), (o * o).sum(-1) - 0.25
    root = b * b - a * c
    hit = (root > 0).float()
    depth = (-b - root.clamp_min(0).sqrt()) / a * hit
    return RenderBuffers(torch.zeros(*hit.shape, 3), hit, depth)


class ToyGuide:
    """Pixels are latents; at rung j the reference suggests the constant j, and the end of the descent is -1."""

    image_size, settings = 8, SimpleNamespace(inject=True)

    def __init__(self, rungs=12):
        self.grid, self.spent, self.asked = RungGrid.of(scaled_linear_alphas(), 20, rungs), Evaluations(), []

    def prepare(self):
        self.spent.pictures += 1000  # must not be booked on any view

    def encode(self, images):
        return images.movedim(-1, 1)

    def perceive(self, depth, alpha):
        return depth[:, None], alpha[:, None]

    def targets(self, latents, depth, cameras, stop=0):
        self.asked.append((len(latents), stop))
        self.spent.pictures += len(latents) * (self.grid.rungs + 2 * (self.grid.rungs - stop))
        self.spent.calls += self.grid.rungs + self.grid.rungs - stop
        clean = [torch.full_like(latents, float(j)) for j in range(self.grid.rungs, stop, -1)]
        return torch.full_like(latents, -1.0), torch.stack(clean)


def prior(settings=PAPER, guide=None, **options):
    prior = RgsdPrior(guide or ToyGuide(), HOME, settings, **options)
    prior.on_surface(ball, True)
    return prior


def random_cameras(step, count=1):
    g = torch.Generator().manual_seed(100 + step)
    return Cameras.orbit(torch.rand(count, generator=g) * 6 - 3, 0.2, 3.8, 0.35, 8, 8)


def run(prior, steps, count=1):
    """The losses of white pictures over steps, and the views that were shown."""
    losses, views = [], []
    for step in range(steps):
        cameras = prior.choose(step, random_cameras(step, count))
        views.append(cameras)
        images = torch.ones(count, 8, 8, 3, requires_grad=True)
        losses.append(prior.loss(images, cameras, step / steps, torch.Generator().manual_seed(step)))
    return losses, views


class LossyGuide(ToyGuide):
    """An autoencoder that forgets: latents are a quarter of the picture, and come back dimmed and shifted."""

    def encode(self, images):
        return images.movedim(-1, 1) / 4

    def decode(self, latents):
        return 3 * latents.movedim(1, -1) + 0.1

    def targets(self, latents, depth, cameras, stop=0):
        state, clean = super().targets(latents, depth, cameras, stop)
        return latents + 0.02, torch.stack([latents + 0.01 * j for j in range(self.grid.rungs, stop, -1)])
