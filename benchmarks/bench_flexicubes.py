"""FlexiCubes at the grid of the S-LRM paper's code (100 x 100 x 150 cubes): time and memory on one CPU thread.

    python benchmarks/bench_flexicubes.py [--out FOLDER]

The field is a bumpy figure of the size of a character.  "surface cubes" makes the 1920 numbers that the weight decoder
wants (80 x 3 features at each of eight corners) for crossed cubes only, as the pipeline does; "all cubes" is what a
plain gather over every cube would take, computed, not run.  Memory is the growth of the process' peak over its size
before the step.
"""

from __future__ import annotations

import argparse
import resource
import time
from pathlib import Path

import torch
from bench_tools import load_pack, machine, table

load_pack()

from lift123.pipelines.ops.flexicubes import WEIGHTS, CubeGrid, CubeWeights, find_patches, place_patches

GRID = CubeGrid((100, 100, 150), (-0.7, -0.7, -1.05), (0.7, 0.7, 1.05))
FEATURES = 240
CHUNK = 8192


def figure(points: torch.Tensor) -> torch.Tensor:
    """[V] an upright bumpy capsule with arms, negative inside."""

    def capsule(a, b, radius):
        a, b = points.new_tensor(a), points.new_tensor(b)
        share = (((points - a) @ (b - a)) / (b - a).square().sum()).clamp(0, 1)
        return (points - a - share[:, None] * (b - a)).norm(dim=-1) - radius

    parts = [capsule((0, 0, -0.6), (0, 0, 0.7), 0.25), capsule((0, -0.6, -0.2), (0, 0.6, -0.2), 0.08)]
    return torch.stack(parts).amin(0) + 0.015 * torch.sin(points * 20).prod(-1)


def peak() -> float:
    """Peak memory of this process so far, MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(gradient: bool) -> list:
    """One row: crossed cubes, faces, milliseconds of each part, peak growth in MB."""
    points = GRID.points()
    sdf = figure(points).requires_grad_(gradient)
    features = torch.randn(len(sdf), FEATURES, dtype=torch.half, generator=torch.Generator().manual_seed(0))
    layer = torch.randn(8 * FEATURES, WEIGHTS, generator=torch.Generator().manual_seed(1)) / 50
    before, start = peak(), time.process_time()
    patches = find_patches(sdf.detach(), GRID)
    found = time.process_time()
    with torch.no_grad():
        rows = [features[c].float().reshape(len(c), -1) @ layer for c in patches.corners.split(CHUNK)]
    raw = torch.cat(rows).requires_grad_(gradient)
    weighed = time.process_time()
    mesh = place_patches(patches, sdf, points, CubeWeights.from_raw(raw), training=gradient)
    if gradient:
        mesh.vertices.square().sum().backward()
    placed = time.process_time()
    times = [f"{(b - a) * 1e3:.0f}" for a, b in ((start, found), (found, weighed), (weighed, placed))]
    name = "with gradients, centers" if gradient else "forward"
    return [name, len(patches.cubes), len(mesh.faces), *times, f"{peak() - before:.0f}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path(__file__).resolve().parent / "results")
    args = parser.parse_args()
    torch.set_num_threads(1)
    rows = [measure(False), measure(True)]
    cubes = GRID.cells[0] * GRID.cells[1] * GRID.cells[2]
    head = ["run", "surface cubes", "faces", "find, ms", "weights, ms", "place, ms", "peak growth, MB"]
    lines = [
        "# FlexiCubes\n",
        machine() + "\n",
        __doc__.split("\n\n")[2].strip() + "\n",
        table(head, rows),
        f"\nAll {cubes} cubes' weight inputs at once: {cubes * 8 * FEATURES * 4 / 2**30:.2f} GiB. "
        f"Peak of the whole process here: {peak() / 1024:.2f} GiB, of which {GRID.points().shape[0] * FEATURES * 2 / 2**30:.2f} "
        "GiB are the stand-in features of all points.\n",
    ]
    page = "\n".join(lines)
    (args.out / "flexicubes.md").write_text(page, encoding="utf-8")
    print(page)  # a script's output


if __name__ == "__main__":
    main()
