"""The way out of the mesh stage at full size: decimation, charts, a large texture.  CPU time and peak memory.

    python benchmarks/bench_way_out.py [--parts decimate,unwrap,bake] [--out FOLDER]

CPU time is that of this process and its children (xatlas works in one), the least of a few calls, so that other work on
the machine does not count; ratios compare calls of the same run.  Distances are means over 5000 places, in thousandths of
the mesh's half side.  Peak memory is read in a process of its own and counts from the moment before the call.
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import subprocess
import sys
import time
from pathlib import Path

import torch
from bench_tools import load_pack, machine, table

load_pack()

from lift123.pipelines.core import pulse
from lift123.pipelines.core.mesh import Mesh
from lift123.pipelines.io.decimate import decimate
from lift123.pipelines.io.unwrap import unwrap
from lift123.pipelines.ops.closest import closest_point
from lift123.pipelines.ops.mesh_edges import mesh_edges
from lift123.pipelines.stages.results import bake as baking

PARTS = ("decimate", "unwrap", "bake")
SIDE = 505  # of the torus: 510,050 faces
BUDGET = 50_000


def torus(rows: int) -> Mesh:
    """A closed torus with bumps, 2 rows^2 faces."""
    u, v = torch.meshgrid(*[torch.arange(rows).double() * (2 * math.pi / rows)] * 2, indexing="ij")
    tube = 0.25 + 0.02 * torch.sin(7 * u) * torch.cos(9 * v)
    reach = 0.6 + tube * v.cos()
    points = torch.stack([reach * u.cos(), tube * v.sin(), reach * u.sin()], -1).reshape(-1, 3).float()
    i, j = torch.meshgrid(torch.arange(rows), torch.arange(rows), indexing="ij")
    a, b, c, d = (((i + k) % rows * rows + (j + l) % rows).reshape(-1) for k, l in ((0, 0), (1, 0), (1, 1), (0, 1)))
    return Mesh(points, torch.cat([torch.stack([a, c, b], -1), torch.stack([a, d, c], -1)]))


def cpu() -> float:
    """CPU seconds of this process and of children that ended."""
    both = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(use.ru_utime + use.ru_stime for use in both)


def clock(run, repeats: int):
    """(least CPU seconds, the result) of ``repeats`` calls."""
    times, result = [], None
    for _ in range(repeats):
        start = cpu()
        result = run()
        times.append(cpu() - start)
    return min(times), result


def distance(mesh: Mesh, made: Mesh) -> str:
    """Mean distance between two surfaces, each way, in thousandths."""
    def one_way(a, b):
        pick = torch.randint(len(a.faces), (5000,), generator=torch.Generator().manual_seed(0))
        return 1e3 * float(closest_point(a.vertices[a.faces[pick]].mean(1), b.vertices, b.faces).distance.mean())

    return f"{one_way(made, mesh):.3f}, {one_way(mesh, made):.3f}"


def odd_edges(mesh: Mesh) -> int:
    return int((mesh_edges(mesh.faces, len(mesh.vertices)).count != 2).sum())


def decimation() -> list[str]:
    """The table of 510,050 to 50,000 faces."""
    mesh, rows = torus(SIDE), []
    jobs = {"ours, fine": (lambda: decimate(mesh, BUDGET, "fine"), 1)}
    try:
        import fast_simplification

        points, faces = mesh.vertices.double().numpy(), mesh.faces.numpy()

        def library():
            made, corners = fast_simplification.simplify(points, faces, target_count=BUDGET)[:2]
            return Mesh(torch.from_numpy(made).float(), torch.from_numpy(corners).long())

        jobs = {"fast-simplification as it comes": (library, 3), "ours, fast": (lambda: decimate(mesh, BUDGET), 3), **jobs}
    except ImportError:
        pass
    decimate(torus(60), 500, "fine")  # compiles nothing, but loads what is loaded once
    first = None
    for name, (job, repeats) in jobs.items():
        seconds, made = clock(job, repeats)
        first = first or seconds
        rows.append([name, len(made.faces), f"{seconds:.2f}", f"{seconds / first:.2f}", distance(mesh, made), odd_edges(made)])
    head = ["decimation", "faces", "CPU s", "to the library", "distance (there, back)", "edges without two faces"]
    return [f"## {len(mesh.faces)} to {BUDGET} faces\n", table(head, rows)]


def unwrapping() -> list[str]:
    """Charts for several numbers of faces, and how soon an interruption ends them."""
    rows, mesh = [], torus(SIDE)
    for faces, method in ((5_000, "xatlas"), (20_000, "xatlas"), (20_000, "boxes"), (74_000, "auto")):
        small = decimate(mesh, faces)
        seconds, made = clock(lambda s=small, m=method: unwrap(s, None, 2048, 4, m), 1)
        rows.append([len(small.faces), method, f"{seconds:.1f}", f"{used(made):.0%}", f"{cancelled(small, method):.1f}"])
    head = ["faces", "charts", "CPU s", "of the texture used", "s until an interruption ends it"]
    return ["## Charts\n", table(head, rows)]


def used(mesh: Mesh) -> float:
    """Share of the texture that faces cover, each counted: above 1 they would have to overlap."""
    assert mesh.uvs is not None and mesh.face_uvs is not None
    a, b, c = mesh.uvs[mesh.face_uvs].double().unbind(1)
    return float(((b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0]).abs().sum() / 2)


class Enough(Exception):
    pass


def cancelled(mesh: Mesh, method: str) -> float:
    """The longest wait between two beats: an interruption waits for the next one."""
    beats = [time.monotonic()]
    with pulse.heard_by(lambda *_: beats.append(time.monotonic())):
        unwrap(mesh, None, 2048, 4, method)
    beats.append(time.monotonic())
    return max(b - a for a, b in zip(beats, beats[1:]))


def bake_once(size: int, at_once: bool) -> dict:
    """Seconds and peak memory of one bake, in this process."""
    mesh = unwrap(decimate(torus(120), 20_000), None, size, 4, "boxes")
    baking.bake(mesh, color, 64)  # compiles
    if at_once:
        baking.SAMPLES = 1 << 40
    before = resident("VmRSS")
    start = time.process_time()
    baking.bake(mesh, color, size)
    return {"seconds": time.process_time() - start, "before": before, "peak": resident("VmHWM")}


def color(points):
    return points * 0.5 + 0.5


def resident(field: str) -> float:
    """GB, from /proc."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1e6 for line in lines if line.startswith(field + ":"))


def bakes() -> list[str]:
    """Textures in bands and at once, each in a process of its own."""
    rows = []
    for size, at_once in ((1024, False), (2048, False), (4096, False), (4096, True)):
        words = [sys.executable, __file__, "--one", str(size), str(int(at_once))]
        found = json.loads(subprocess.run(words, check=True, capture_output=True, text=True).stdout.splitlines()[-1])
        rows.append([size, "at once" if at_once else "in bands", f"{found['seconds']:.1f}",
                     f"{found['peak'] - found['before']:.2f}", f"{found['peak']:.2f}"])
    head = ["texture", "how", "CPU s", "GB beyond what was there", "GB in all"]
    return ["## Bake, 2 x 2 samples, 20,000 faces, color for free\n", table(head, rows)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--parts", default=",".join(PARTS))
    parser.add_argument("--one", nargs=2, type=int, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, default=Path(__file__).resolve().parent / "results")
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.one:
        print(json.dumps(bake_once(args.one[0], bool(args.one[1]))))
        return
    lines = ["# The way out of the mesh stage\n", machine() + "\n", __doc__.split("\n\n")[2].strip() + "\n"]
    for part, run in zip(PARTS, (decimation, unwrapping, bakes)):
        if part in args.parts.split(","):
            lines += run()
    page = "\n".join(lines)
    if set(args.parts.split(",")) == set(PARTS):
        (args.out / "way_out.md").write_text(page, encoding="utf-8")
    print(page)  # a script's output


if __name__ == "__main__":
    main()
