"""Marching, compositing and a whole NeRF step on one thread: kernels, torch specification, nerfacc, in one run.

    python benchmarks/bench_volume.py [--size 64] [--step 0.03] [--out benchmarks/results/volume.md]

CPU time of the process, lower quartile.  nerfacc (``pip install nerfacc``) is the public alternative for
compositing; without CUDA it works on padded [rays, samples] tensors only.  It is skipped if missing.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch
from bench_tools import load_pack, machine, table, timed

load_pack()

from lift123.pipelines.core.cameras import HOME, Cameras
from lift123.pipelines.fields.hash_nerf import NORMAL_METHODS, HashNerf, HashNerfConfig
from lift123.pipelines.ops.hashgrid import HashGridConfig
from lift123.pipelines.ops.occupancy import OccupancyGrid, march, march_reference
from lift123.pipelines.ops.volrend import composite, composite_reference
from lift123.pipelines.render.volume import VolumeSettings, render_volume


def front(size: int) -> Cameras:
    return HOME.orbit(0.7, 0.3, size)


def ball_grid(radius: float) -> OccupancyGrid:
    grid = OccupancyGrid(64)
    grid.update(lambda x: 100.0 * (x.norm(dim=-1) < radius), torch.Generator().manual_seed(0))
    return grid


def nerfacc_time(samples, density, repeats: int) -> float | None:
    """Milliseconds of nerfacc's weights and gradient on the same samples, padded; None without it."""
    try:
        from nerfacc import render_weight_from_density
    except ImportError:
        return None
    counts = samples.offsets.diff().long()
    slot = torch.arange(len(samples)) - samples.offsets[samples.ray_indices]
    place = (samples.ray_indices, slot)
    shape = (samples.rays, int(counts.max()))
    near, far, padded = torch.zeros(shape), torch.zeros(shape), torch.zeros(shape)
    near[place], far[place], padded[place] = samples.t_starts, samples.t_ends, density
    padded.requires_grad_()
    return timed(lambda: torch.autograd.grad(render_weight_from_density(near, far, padded)[0].sum(), padded), repeats)


def kernels(size: int, step: float, repeats: int) -> list[list]:
    rays, grid = front(size).rays(), ball_grid(0.5)
    samples = march(rays, grid, step)
    density = (torch.rand(len(samples), generator=torch.Generator().manual_seed(1)) * 20).requires_grad_()
    rows = []
    ours, spec = timed(lambda: march(rays, grid, step), repeats), timed(lambda: march_reference(rays, grid, step), 2)
    rows.append([f"march, {len(samples)} samples", f"{ours:.1f}", f"{spec:.0f}", f"{spec / ours:.0f}", None, None])
    runs = [
        lambda f=f: torch.autograd.grad(f(density, samples.lengths, samples.offsets)[0].sum(), density)
        for f in (composite, composite_reference)
    ]
    ours, spec, other = timed(runs[0], repeats), timed(runs[1], 2), nerfacc_time(samples, density.detach(), repeats)
    public = [None, None] if other is None else [f"{other:.1f}", f"{other / ours:.1f}"]
    rows.append(["composite + backward", f"{ours:.1f}", f"{spec:.0f}", f"{spec / ours:.0f}", *public])
    return rows


def nerf_step(size: int, step: float, log2: int, hidden: int, blob: float, normals: str | None, repeats: int) -> list:
    """One optimization step: march, field, composite, backward, fused Adam."""
    generator = torch.Generator().manual_seed(0)
    config = HashNerfConfig(HashGridConfig(8, 2, log2, 16, 256), hidden=hidden, blob_density=blob)
    field, grid, view = HashNerf(config, generator), OccupancyGrid(64), front(size)
    grid.update(field.density, generator)
    adam = torch.optim.Adam(field.parameter_groups(1e-5, 1e-6), betas=(0.9, 0.99), eps=1e-15, fused=True)
    settings = VolumeSettings(step, normal_method=normals or "central", normal_min_weight=0.01)
    counts = []

    def run():
        out = render_volume(field, view, grid, settings, want_normal=normals is not None, generator=generator)
        loss = (out.composite(1.0) - 0.5).square().mean()
        loss = loss if out.normal is None else loss + out.normal.square().mean() * 1e-3
        loss.backward()
        adam.step()
        adam.zero_grad(set_to_none=False)
        counts.append(len(out.extras["samples"]))

    time = timed(run, repeats)
    return [f"2^{log2}", hidden, blob, normals, counts[-1], f"{counts[-1] / size**2:.1f}", f"{time:.1f}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--step", type=float, default=0.03)
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    size, step, repeats = options.size, options.step, options.repeats
    head = ["kernel", "ms", "specification, ms", "ratio", "nerfacc (padded), ms", "ratio"]
    text = f"# Volume rendering, {size} x {size} rays, step {step}\n\n{machine()}\n\n"
    text += table(head, kernels(size, step, repeats)) + "\nWhole steps, 8 levels, forward + backward + fused Adam:\n\n"
    cases = [(15, 32, 5.0, None), (15, 32, 10.0, None), (17, 64, 5.0, None), (17, 64, 7.0, None), (17, 64, 10.0, None)]
    cases += [(15, 32, 10.0, method) for method in NORMAL_METHODS]
    rows = [nerf_step(size, step, *case, repeats) for case in cases]
    text += table(["table", "hidden", "blob", "normals", "samples", "per ray", "ms"], rows)
    sys.stdout.write(text)
    if options.out:
        options.out.write_text(text)


if __name__ == "__main__":
    main()
