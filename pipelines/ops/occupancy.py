"""Occupancy grid and ray marching to packed samples (Mueller et al. 2022, appendices C and E.1; M-B.2).

Samples of all rays lie one after the other; ``offsets`` says which belong to which ray.  :func:`march` runs the
Warp kernel, :func:`march_reference` is the plain-torch specification that looks at every lattice point.
No gradients flow through positions or steps.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..core.cameras import Rays
from ..core.far import far
from .kernels import march_kernels as kernels
from .kernels.launch import launch

DECAY = 0.95
DENSITY_THRESHOLD = 10.0  # per scene unit; a grid that is thinner on average uses its mean instead
CHUNK = 2**17  # cells per density query: bounds the memory of an update


@dataclass(frozen=True)
class RaySamples:
    """Packed samples of R rays, near to far within each ray.

    positions:   [S, 3] scene units, the middles of the intervals.
    t_starts, t_ends: [S] ray parameters of the intervals (depth, for camera rays).
    ray_indices: [S] int64, ascending.
    offsets:     [R + 1] int32; samples of ray r are offsets[r] .. offsets[r + 1] - 1.
    lengths:     [S] lengths of the intervals, scene units.
    """

    positions: Tensor
    t_starts: Tensor
    t_ends: Tensor
    ray_indices: Tensor
    offsets: Tensor
    lengths: Tensor

    def __len__(self) -> int:
        return len(self.t_starts)

    @property
    def rays(self) -> int:
        """R, also counting rays without samples."""
        return len(self.offsets) - 1

    @property
    def t(self) -> Tensor:
        """[S] ray parameter of the middles."""
        return (self.t_starts + self.t_ends) * 0.5

    def offsets_of(self, mask: Tensor) -> Tensor:
        """[R + 1] int32 ``offsets`` of the samples where ``mask`` [S] is true."""
        before = torch.nn.functional.pad(mask.cumsum(0, dtype=torch.int32), (1, 0))
        return before[self.offsets]

    def keep(self, mask: Tensor, picked: Tensor | None = None) -> "RaySamples":
        """The samples where ``mask`` [S] is true, in the same order; picked: their places, where these are known."""
        picked = mask.nonzero()[:, 0] if picked is None else picked
        fields = {k: v[picked] for k, v in vars(self).items() if k != "offsets"}
        return RaySamples(**fields, offsets=self.offsets_of(mask))


class OccupancyGrid:
    """Which cells of [-1, 1]^3 may hold matter.  Everything is occupied until the first update.

    density:  [n, n, n] running maximum of the density per scene unit, indexed [x, y, z].
    occupied: [n, n, n] uint8.
    bounds:   [2, 3] corners of the box around the occupied cells (low > high when there are none).
    updates:  number of updates so far.
    """

    def __init__(self, resolution: int = 128, device: torch.device | str = "cpu", threshold: float = DENSITY_THRESHOLD):
        if not 1 <= resolution <= 512:
            raise ValueError(f"grid resolution must be in 1..512, got {resolution}")
        self.resolution, self.threshold, self.updates = resolution, threshold, 0
        self.density = torch.zeros((resolution,) * 3, device=device)
        self.occupied = torch.ones((resolution,) * 3, dtype=torch.uint8, device=device)
        self.bounds = torch.tensor([[-1.0] * 3, [1.0] * 3], device=device)

    @torch.no_grad()
    def update(
        self, density: Callable[[Tensor], Tensor], generator: torch.Generator, share: float = 1.0, decay: float = DECAY
    ) -> None:
        """Queries one jittered point per visited cell; new = max(old * decay, density).

        density:   [N, 3] -> [N] per scene unit.
        generator: on the grid's device; jitters the points within their cells.
        share:     1 visits all cells (the papers); 1/n visits every n-th and moves on each time, decaying visited
                   cells by decay^n.  The first update always visits all.
        A cell is occupied if it exceeds min(mean over cells, threshold).
        """
        stride = 1 if self.updates == 0 else max(1, round(1 / share))
        flat = self.density.view(-1)
        cells = torch.arange(self.updates % stride, flat.numel(), stride, device=flat.device)
        for chunk in cells.split(CHUNK):
            now = density(self._jittered(chunk, generator)).nan_to_num(0.0)
            flat[chunk] = torch.maximum(flat[chunk] * decay**stride, now)
        self.updates += 1
        self._binarize()

    def state(self) -> dict[str, Tensor]:
        """Tensors that :meth:`load_state` restores exactly."""
        return {"density": self.density.clone(), "updates": torch.tensor(self.updates)}

    def load_state(self, state: dict[str, Tensor]) -> None:
        """ValueError if the resolution differs."""
        if state["density"].shape != self.density.shape:
            got, want = tuple(state["density"].shape), tuple(self.density.shape)
            raise ValueError(f"occupancy state must be {want}, got {got}")
        self.density.copy_(state["density"])
        self.updates = int(state["updates"])
        if self.updates:
            self._binarize()

    def contains(self, x: Tensor) -> Tensor:
        """[N] bool: points [N, 3] that lie in an occupied cell; false outside the cube."""
        n = self.resolution
        cell = ((x + 1) * 0.5 * n).long().clamp(0, n - 1)
        return (x.abs().amax(-1) <= 1) & (self.occupied[cell[:, 0], cell[:, 1], cell[:, 2]] != 0)

    def _jittered(self, cells: Tensor, generator: torch.Generator) -> Tensor:
        n = self.resolution
        corner = torch.stack([cells // (n * n), cells // n % n, cells % n], dim=-1)
        noise = torch.rand(len(cells), 3, generator=generator, device=cells.device)
        return (corner + noise) * (2 / n) - 1

    def _binarize(self) -> None:
        limit = self.density.mean().clamp(max=self.threshold)
        mask = self.density > limit
        self.occupied = mask.to(torch.uint8)
        if far(mask.device):
            self.bounds = _bounds(mask)
            return
        n, low, high = self.resolution, [], []
        for axis in range(3):
            others = [a for a in range(3) if a != axis]
            used = mask.any(others[1]).any(others[0]).nonzero()[:, 0]
            low.append(float(used[0]) / n * 2 - 1 if len(used) else 1.0)
            high.append(float(used[-1] + 1) / n * 2 - 1 if len(used) else -1.0)
        self.bounds = torch.tensor([low, high], device=self.density.device)


def _bounds(mask: Tensor) -> Tensor:
    """[2, 3] corners of the box around the true cells of [n, n, n], without asking their device; low > high for none."""
    n = len(mask)
    used = torch.stack([mask.any(2).any(1), mask.any(2).any(0), mask.any(1).any(0)])  # [3, n]
    place = torch.arange(n, device=mask.device).expand(3, n)
    first, last = torch.where(used, place, n).amin(1), torch.where(used, place, -1).amax(1) + 1
    return torch.stack([first, last]) / n * 2 - 1


def march(
    rays: Rays, grid: OccupancyGrid, step: float, near: float = 0.2, max_samples: int = 1024,
    generator: torch.Generator | None = None,
) -> RaySamples:
    """Packed samples of R rays inside the occupied cells.

    rays:        origins and directions [..., 3] (flattened); directions need not be unit.
    step:        spacing of the samples, scene units (the papers: 2 sqrt(3) / 1024).
    near:        smallest ray parameter.
    max_samples: per ray; the nearest are kept.
    generator:   shifts each ray's lattice by a uniform part of a step (training); None = by half a step.
    Samples sit at ``near + (k + shift) * step / |direction|``, k = 0, 1, ...
    """
    rays = rays.flat()
    count, device = len(rays.origins), rays.origins.device
    if step <= 0 or max_samples < 1:
        raise ValueError(f"need step > 0 and max_samples >= 1, got {step} and {max_samples}")
    shifts = lattice_shifts(count, device, generator)
    inputs = (rays.origins, rays.directions, shifts, grid.occupied, grid.bounds, step, near, max_samples)
    counts = torch.zeros(count, dtype=torch.int32, device=device)
    offsets = torch.zeros(count + 1, dtype=torch.int32, device=device)
    nothing = _storage(0, device)
    launch(kernels.march, count, (*inputs, offsets, 0), (counts, *nothing), device, split=count)
    torch.cumsum(counts, 0, dtype=torch.int32, out=offsets[1:])
    total = int(offsets[-1])
    stored = _storage(total, device)
    launch(kernels.march, count, (*inputs, offsets, 1), (counts, *stored), device, split=count)
    return RaySamples(*stored, offsets=offsets, lengths=torch.full((total,), float(step), device=device))


def _storage(total: int, device) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Positions, starts, ends and ray indices to be filled."""
    starts, ends = torch.empty(total, device=device), torch.empty(total, device=device)
    return torch.empty(total, 3, device=device), starts, ends, torch.empty(total, dtype=torch.int64, device=device)


def lattice_shifts(count: int, device, generator: torch.Generator | None) -> Tensor:
    """[R] parts of a step in [0, 1) by which each ray's samples are shifted; 0.5 without a generator."""
    if generator is None:
        return torch.full((count,), 0.5, device=device)
    return torch.rand(count, generator=generator, device=device)


def march_reference(
    rays: Rays, grid: OccupancyGrid, step: float, near: float = 0.2, max_samples: int = 1024,
    generator: torch.Generator | None = None,
) -> RaySamples:
    """The specification of :func:`march`: tests every lattice point of every ray (slow)."""
    rays = rays.flat()
    o, d, count = rays.origins, rays.directions, len(rays.origins)
    shifts = lattice_shifts(count, o.device, generator)
    stride = step / d.norm(dim=-1)
    reach = (o.norm(dim=-1) + math.sqrt(3)) / d.norm(dim=-1)
    k = torch.arange(int((reach / stride).max()) + 2, device=o.device)
    t = near + (k + shifts[:, None]) * stride[:, None]
    p = o[:, None] + d[:, None] * t[..., None]
    inside = grid.contains(p.view(-1, 3)).view(count, -1)
    inside &= inside.cumsum(1) <= max_samples
    ray, slot = inside.nonzero(as_tuple=True)
    offsets = torch.nn.functional.pad(inside.sum(1).cumsum(0), (1, 0)).int()
    half, t = 0.5 * stride[ray], t[ray, slot]
    return RaySamples(p[ray, slot], t - half, t + half, ray, offsets, torch.full_like(t, step))
