"""Pictures of radiance fields: march, query front to back, shade, composite (M-B.2 to M-B.4)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..core.cameras import Cameras, Rays
from ..core.choices import NormalMethod
from ..core.far import ask, far, select
from ..core.protocols import RadianceField
from ..core.views import RenderBuffers
from ..ops.occupancy import OccupancyGrid, RaySamples, march
from ..ops.volrend import accumulate, composite, transmittance
from .shading import ALBEDO, Shading

RAY_CHUNK = 4096  # rays at once without gradients
POINT_CHUNK = 2**17  # field queries at once without gradients
FIRST_BLOCK = 8  # samples per ray in the first front-to-back round; later rounds double the reach
Query = Callable[[Tensor], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class VolumeSettings:
    """How densely and how carefully a field is looked at; defaults are the papers' (M-B.2, M-B.3).

    step:         spacing of the samples, scene units.
    near:         smallest ray parameter.
    max_samples:  per ray.
    stop:         samples reached by less light than this are not queried; 0 queries all.
    normal_method: see ``HashNerf.normal``.
    normal_min_weight: samples that weigh less get no normal (zero); 0 computes all the visible ones.
    """

    step: float = 2 * math.sqrt(3) / 1024
    near: float = 0.2
    max_samples: int = 1024
    stop: float = 1e-4
    normal_method: NormalMethod = "central"
    normal_min_weight: float = 0.0


def render_volume(
    field: RadianceField,
    cameras: Cameras,
    grid: OccupancyGrid,
    settings: VolumeSettings | None = None,
    shading: Shading = ALBEDO,
    want_normal: bool = False,
    generator: torch.Generator | None = None,
    rays: Rays | None = None,
) -> RenderBuffers:
    """Renders B views [B, H, W] of a field; differentiable to its parameters where gradients are enabled.

    field:     density and albedo; ``density_and_albedo`` and ``normal`` are used when it has them.
    grid:      where the field may be dense (nothing else is looked at).
    generator: shifts the samples along each ray (training); None puts them at fixed places.
    rays:      [B, H, W, 3] instead of the cameras' own (jittered poses).
    normal of the result: sum of **detached** weights times unit normals, so that picture losses on normals move the
    surface's orientation only (M-B.3); None unless ``want_normal``.
    extras, with gradients enabled only: ``marched`` (RaySamples), ``samples`` (those of them that were queried),
    ``weights`` [S], ``normals`` [S, 3] or None (zero where not computed), ``directions`` [S, 3] (unit viewing
    directions) or None, and ``rays``.
    Without gradients any size is rendered in chunks of bounded memory.
    """
    settings = settings or VolumeSettings()
    size = (len(cameras), cameras.height, cameras.width)
    rays = cameras.rays() if rays is None else rays
    flat = rays.flat()
    image = torch.arange(size[0], device=flat.origins.device).repeat_interleave(size[1] * size[2])
    look = _Look(field, grid, settings, shading, want_normal, generator)
    if torch.is_grad_enabled():
        layers, extras = look.render(flat, image)
        extras["rays"] = rays
    else:
        parts = zip(flat.origins.split(RAY_CHUNK), flat.directions.split(RAY_CHUNK), image.split(RAY_CHUNK))
        layers, extras = torch.cat([look.render(Rays(o, d), i)[0] for o, d, i in parts]), None
    layers = layers.view(*size, -1)
    normal = layers[..., 5:8] if want_normal else None
    return RenderBuffers(layers[..., :3], layers[..., 4], layers[..., 3], normal, extras)


def visible_samples(query: Query, samples: RaySamples, stop: float) -> tuple[RaySamples, Tensor, Tensor]:
    """Queries a field front to back: (visible samples, density [S], albedo [S, 3]).

    A sample is visible if more than ``stop`` of the light reaches its round; rounds reach 8, 16, 32, ... samples
    into each ray, so that the opaque inside of an object is hardly queried.  Everything queried is returned.
    """
    if stop <= 0:
        return samples, *query(samples.positions)
    rank = torch.arange(len(samples), device=samples.offsets.device) - samples.offsets[samples.ray_indices]
    light = torch.ones(samples.rays, device=samples.lengths.device)
    seen, parts, places = torch.zeros_like(rank, dtype=torch.bool), [], []
    start, end = 0, FIRST_BLOCK
    while True:
        mask = (rank >= start) & (rank < end) & (light > stop)[samples.ray_indices]
        place = mask.nonzero()[:, 0]
        if len(place) == 0 and start:
            break
        density, albedo = query(samples.positions[place])
        parts.append(torch.cat([density[:, None], albedo], dim=1))
        places.append(place)
        seen |= mask
        light = light * composite(density.detach(), samples.lengths[place], samples.offsets_of(mask))[1]
        start, end = end, 2 * end
    values = parts[0] if len(parts) == 1 else _interleave(parts, places, seen)
    kept = samples if len(values) == len(samples) else samples.keep(seen)
    return kept, values[:, 0], values[:, 1:]


def _interleave(parts: list[Tensor], places: list[Tensor], seen: Tensor) -> Tensor:
    """The rounds' rows in the order of the samples."""
    target = (seen.cumsum(0) - 1)[torch.cat(places)]
    source = torch.empty_like(target)
    source[target] = torch.arange(len(target), device=target.device)
    return _Permute.apply(torch.cat(parts), source, target)


class _Permute(torch.autograd.Function):
    """values[order] whose backward pass is a gather too (torch's would be a slow accumulating scatter)."""

    @staticmethod
    def forward(ctx, values, order, inverse):
        ctx.save_for_backward(inverse)
        return values[order]

    @staticmethod
    def backward(ctx, grad):
        return grad[ctx.saved_tensors[0]], None, None


class _Look:
    """One rendering request, applied to any bundle of rays."""

    def __init__(self, field, grid, settings, shading, want_normal, generator):
        self.field, self.grid, self.settings, self.shading = field, grid, settings, shading
        self.want_normal, self.generator = want_normal, generator
        lit = shading.mode in ("lambertian", "textureless") and shading.ambient >= 1  # light needs no normal then
        self.needs_normal = want_normal or (shading.needs_normal and not lit)

    def render(self, rays: Rays, image: Tensor) -> tuple[Tensor, dict]:
        """[R, 5 or 8] color, depth, alpha and normal of rays, and the extras; image: [R] which picture."""
        s = self.settings
        marched = march(rays, self.grid, s.step, s.near, s.max_samples, self.generator)
        picked = None
        if far(rays.origins.device):
            samples, picked = self.seen(marched)
            density, albedo = self.query(samples.positions)
        else:
            samples, density, albedo = visible_samples(self.query, marched, s.stop)
        weights, through = composite(density, samples.lengths, samples.offsets)
        normals = self.normals(samples.positions, weights, picked) if self.needs_normal else None
        color = self.color(albedo, normals, image[samples.ray_indices])
        sums = accumulate(weights, torch.cat([color, samples.t[:, None]], dim=1), samples.offsets)
        layers, directions = [sums, 1 - through[:, None]], None
        if normals is not None:
            directions = torch.nn.functional.normalize(rays.directions, dim=-1)[samples.ray_indices]
        if self.want_normal and normals is not None:
            layers.append(accumulate(weights.detach(), normals, samples.offsets))
        extras = {"marched": marched, "samples": samples, "weights": weights, "normals": normals, "directions": directions}
        return torch.cat(layers, dim=1), extras

    @torch.no_grad()
    def seen(self, marched: RaySamples) -> tuple[RaySamples, Tensor]:
        """On a far device: the visible samples, and the places of those among them that get a normal.

        In place of :func:`visible_samples`, whose every round would wait: one look at all densities without a graph, then
        one wait for both numbers.  Visible is here what light reaches itself, not its round, so a few samples of no weight
        are left out that are queried on the CPU.
        """
        s = self.settings
        density = torch.cat([self.field.density(x) for x in marched.positions.split(POINT_CHUNK)])
        light = transmittance(density, marched.lengths, marched.offsets)
        weights = light * (1 - torch.exp(-density * marched.lengths))
        mask = light > s.stop if s.stop > 0 else torch.ones_like(light, dtype=torch.bool)
        heavy = mask & (weights > self.least_weight)
        visible, heavies = ask(mask.sum(), heavy.sum())
        place = select(mask, visible)
        return marched.keep(mask, place), select(heavy[place], heavies)

    @property
    def least_weight(self) -> float:
        """Samples that weigh no more get no normal."""
        return max(self.settings.normal_min_weight, self.settings.stop)

    def query(self, x: Tensor) -> tuple[Tensor, Tensor]:
        field = self.field
        both = getattr(field, "density_and_albedo", None) or (lambda p: (field.density(p), field.albedo(p)))
        if torch.is_grad_enabled() or len(x) <= POINT_CHUNK:
            return both(x)
        densities, colors = zip(*(both(chunk) for chunk in x.split(POINT_CHUNK)))
        return torch.cat(densities), torch.cat(colors)

    def normals(self, positions: Tensor, weights: Tensor, picked: Tensor | None = None) -> Tensor:
        """[S, 3] unit normals, zero where the weight is too small to matter; picked: the others, where they are known."""
        s = self.settings
        picked = (weights.detach() > self.least_weight).nonzero()[:, 0] if picked is None else picked
        own = getattr(self.field, "normal", None)
        find = (lambda p: own(p, s.normal_method)) if own else (lambda p: density_normal(self.field, p))
        chunk = len(picked) if torch.is_grad_enabled() else POINT_CHUNK
        found = torch.cat([find(positions[part]) for part in picked.split(max(chunk, 1))])
        return torch.zeros_like(positions).index_copy(0, picked, found)

    def color(self, albedo: Tensor, normals: Tensor | None, image: Tensor) -> Tensor:
        if normals is None:
            return albedo if self.shading.mode != "textureless" else torch.ones_like(albedo)
        return self.shading.apply(albedo, normals, image)


def density_normal(field: RadianceField, x: Tensor, epsilon: float = 1e-2) -> Tensor:
    """[N, 3] unit vectors along -grad density by central differences, for fields without ``normal``; zero if flat."""
    steps = torch.eye(3, device=x.device) * epsilon
    slope = torch.stack([field.density(x + s) - field.density(x - s) for s in steps], dim=-1).nan_to_num()
    length = slope.norm(dim=-1, keepdim=True)
    return torch.where(length > 0, -slope / length.clamp_min(1e-20), torch.zeros_like(slope))
