"""S-LRM at full size with random weights on one CPU thread: load, triplane, grid, one layer; time and peak memory.

    python benchmarks/bench_stdgen_slrm.py [--out FOLDER]

A checkpoint with exactly the released file's names, shapes and type (float32, LoRA apart) is generated, written, read back
as any other file, and used once.  Random weights make no figure, so for the surface the distance is that of a ball; the
weights and displacements of its crossed cubes come from the network.  Times are CPU seconds.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import torch
from bench_tools import load_pack, machine, table

load_pack()

from lift123.pipelines.loaders.slrm_files import load_slrm
from lift123.pipelines.networks.stdgen.slrm import Slrm
from lift123.pipelines.networks.stdgen.slrm_config import RELEASED, RELEASED_LORA_RANK
from lift123.pipelines.networks.stdgen.slrm_surface import GridValues, grid_values, layer_surface, point_colors


def write_random(path: Path) -> int:
    """A random checkpoint of the released shape; its number of weights."""
    with torch.device("meta"):
        shapes = {k: v.shape for k, v in Slrm(replace(RELEASED, lora_rank=RELEASED_LORA_RANK)).state_dict().items()}
    generator = torch.Generator().manual_seed(0)
    state = {}
    for name, shape in shapes.items():
        value = torch.empty(shape).normal_(0, 0.02, generator=generator)
        state[name] = value + 1 if "norm" in name and name.endswith("weight") else value
    torch.save(state, path)
    return sum(v.numel() for v in state.values())


def peak() -> float:
    """Peak memory of this process so far, GiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def timed(rows: list, name: str, run):
    """Adds a row (step, seconds, peak so far) and returns the result."""
    start = time.process_time()
    result = run()
    rows.append([name, f"{time.process_time() - start:.1f}", f"{peak():.2f}"])
    return result


@torch.no_grad()
def measure(folder: Path, views: torch.Tensor) -> tuple[list, str]:
    """(rows, a line about the result)."""
    rows: list = []
    path = folder / "random.pth"
    count = timed(rows, "generate and write (not part of use)", lambda: write_random(path))
    loaded = timed(rows, "load, check, merge LoRA", lambda: load_slrm(path))
    network = loaded.network
    planes = timed(rows, "six 1024 px views to triplane", lambda: network.triplane(views))
    values = timed(rows, "distance and semantics, 1.54 M points", lambda: grid_values(network, planes))
    ball = network.config.grid.points().norm(dim=-1) - 0.6
    likeliest = torch.zeros_like(values.probability)
    likeliest[:, 2] = 1.0
    figure = GridValues(ball, likeliest)
    mesh = timed(rows, "surface of one layer", lambda: layer_surface(network, planes, figure, 2))
    timed(rows, "its colors", lambda: point_colors(network, planes, mesh.vertices))
    finite = all(bool(torch.isfinite(t).all()) for t in (planes, values.sdf, mesh.vertices))
    return rows, f"{count} weights, {loaded.report[0]}; {len(mesh.faces)} faces; all outputs finite: {finite}."


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path(__file__).resolve().parent / "results")
    args = parser.parse_args()
    torch.set_num_threads(1)
    views = torch.rand(6, 1024, 1024, 3, generator=torch.Generator().manual_seed(1))
    with tempfile.TemporaryDirectory() as folder:
        rows, line = measure(Path(folder), views)
    page = "\n".join([
        "# S-LRM at full size\n", machine() + "\n", __doc__.split("\n\n")[2].strip() + "\n",
        table(["step", "seconds", "peak so far, GiB"], rows), "\n" + line + "\n",
    ])
    (args.out / "stdgen_slrm.md").write_text(page, encoding="utf-8")
    print(page)  # a script's output


if __name__ == "__main__":
    main()
