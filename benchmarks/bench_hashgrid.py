"""Hash-grid encoding, forward + backward to the table: kernels, torch specification, Dr.Jit, in one run.

    python benchmarks/bench_hashgrid.py [--points 65536] [--out benchmarks/results/hashgrid.md]

One thread; the time is the process's CPU time (lower quartile of the repeats), so that other work on the machine
disturbs it little.  Dr.Jit (``pip install drjit``, needs LLVM) is the public alternative; it is skipped if missing.
It interpolates linearly where this encoding is smooth, and both get the same points.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch
from bench_tools import load_pack, machine, table, timed

load_pack()

from lift123.pipelines.ops.hashgrid import HashGridConfig, encode, encode_reference, encode_with_jacobian, new_table

CASES = {"8 levels, 2^15": (8, 15, 256), "8 levels, 2^17": (8, 17, 256), "16 levels, 2^19": (16, 19, 2048)}


def ray_points(count: int) -> torch.Tensor:
    """[count, 3] points in the unit cube, 16 in a row along random short rays: what a renderer asks for."""
    generator = torch.Generator().manual_seed(0)
    origins = torch.rand(count // 16, 1, 3, generator=generator) * 0.6 + 0.2
    directions = torch.randn(count // 16, 1, 3, generator=generator) * 0.01
    return (origins + directions * torch.arange(16)[None, :, None]).clamp(0, 1).reshape(-1, 3).contiguous()


def drjit_time(x: torch.Tensor, levels: int, log2: int, finest: int, repeats: int) -> float | None:
    """Milliseconds of Dr.Jit's HashGridEncoding, or None without it."""
    try:
        import drjit as dr
        from drjit.llvm.ad import Array3f, ArrayXf, Float32
        from drjit.nn import HashGridEncoding
    except ImportError:
        return None
    dr.set_thread_count(1)
    growth = (finest / 16) ** (1 / (levels - 1))
    shape = {"n_levels": levels, "hashmap_size": 2**log2, "base_resolution": 16, "per_level_scale": growth}
    encoding = HashGridEncoding(Float32, 3, **shape, rng=dr.rng(0))
    points = Array3f(x.T.contiguous().numpy())
    cotangent = ArrayXf(torch.randn(levels * 2, len(x)).numpy())
    dr.make_opaque(points, cotangent)

    def run():
        dr.enable_grad(encoding.params)
        out = encoding(points)
        dr.eval(out)
        dr.backward(dr.sum(sum(out[i] * cotangent[i] for i in range(levels * 2))))
        dr.eval(dr.grad(encoding.params))
        dr.sync_thread()
        dr.set_grad(encoding.params, 0)

    return timed(run, repeats)


def measure(name: str, count: int, repeats: int) -> list:
    """One row of the table."""
    levels, log2, finest = CASES[name]
    config, x = HashGridConfig(levels, 2, log2, 16, finest), ray_points(count)
    parameter = torch.nn.Parameter(new_table(config, torch.Generator().manual_seed(1)))
    cotangent = torch.randn(len(x), config.width)
    four = torch.randn(4, len(x), config.width)
    kernel = timed(lambda: encode(x, parameter, config, in_place=True).backward(cotangent), repeats)
    jacobian = timed(lambda: encode_with_jacobian(x, parameter, config, in_place=True).backward(four), repeats)
    plain = timed(lambda: torch.autograd.grad(encode_reference(x, parameter, config), parameter, cotangent), 3)
    other = drjit_time(x, levels, log2, finest, repeats)
    public = [None, None] if other is None else [f"{other:.1f}", f"{other / kernel:.2f}"]
    return [name, f"{kernel:.1f}", f"{jacobian:.1f}", f"{plain:.0f}", f"{plain / kernel:.1f}", *public]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--points", type=int, default=65536)
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    head = ["case", "kernels, ms", "with Jacobian, ms", "specification, ms", "ratio", "Dr.Jit, ms", "ratio"]
    rows = [measure(name, options.points, options.repeats) for name in CASES]
    text = f"# Hash grid, {options.points} points, forward + backward\n\n{machine()}\n\n{table(head, rows)}"
    sys.stdout.write(text)
    if options.out:
        options.out.write_text(text)


if __name__ == "__main__":
    main()
