"""CPU times of the surface tools on one thread: extraction with its gradient, export, metrics.

    python benchmarks/bench_surfaces.py [--out FOLDER]

Marching tets is compared in the same run with a dense form that visits every tet (forward only), and, where
scikit-image is installed, with its marching cubes on as many vertices (forward only, no gradients).

The tables of a grid are made once, each time in a process of its own here, and compared with sorting all edges of all
tetrahedra; memory is what the process holds at most beyond its imports (read on Linux).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

import torch
from bench_tools import load_pack, machine, table, timed

load_pack()

from lift123.pipelines.core.mesh import Mesh
from lift123.pipelines.io.decimate import decimate
from lift123.pipelines.io.glb import write_glb
from lift123.pipelines.io.unwrap import unwrap
from lift123.pipelines.metrics.geometry import chamfer, volumetric_iou
from lift123.pipelines.ops.closest import closest_point
from lift123.pipelines.ops.marching_tets import LOCAL_EDGES, TetTopology, case_table, marching_tets
from lift123.pipelines.ops.mesh_edges import mesh_edges
from lift123.pipelines.ops.tet_grid import a15_grid
from lift123.pipelines.stages.results.bake import bake

SPHERE = 0.7


def dense_tets(vertices, sdf, tets):
    """Marching tets without skipping: all edges of all tets are sorted and interpolated, then selected."""
    inside = sdf < 0
    ends = torch.stack([tets[:, list(e)] for e in LOCAL_EDGES], dim=1).sort(-1).values.reshape(-1, 2)
    unique, index = torch.unique(ends[:, 0] * len(vertices) + ends[:, 1], return_inverse=True)
    a, b = torch.div(unique, len(vertices), rounding_mode="floor"), unique % len(vertices)
    points = vertices[a] + (sdf[a] / (sdf[a] - sdf[b]))[:, None] * (vertices[b] - vertices[a])
    case = (inside[tets].long() * torch.tensor([1, 2, 4, 8])).sum(-1)
    table, counts = case_table()
    corners = torch.gather(index.reshape(-1, 6), 1, table[case].reshape(-1, 6)).reshape(-1, 2, 3)
    return points, corners[torch.arange(2) < counts[case][:, None]]


def extraction() -> list[list]:
    """Rows: grid, vertices, faces, ours with gradient, every tet, marching cubes; milliseconds, and ratios to ours."""
    rows = []
    for n in (16, 24, 32, 40):
        grid, tets = a15_grid(n)
        topology = TetTopology.build(tets, len(grid))
        sdf = (grid.norm(dim=-1) - SPHERE).requires_grad_()
        moving = grid.clone().requires_grad_()
        faces = []

        def step(moving=moving, sdf=sdf, topology=topology, faces=faces):
            vertices, found = marching_tets(moving, sdf, topology)
            vertices.square().sum().backward()
            faces[:] = [len(found)]

        ours = timed(step, 5)
        dense = timed(lambda g=grid, s=sdf.detach(), t=tets: dense_tets(g, s, t), 2)
        other = cubes(round(len(grid) ** (1 / 3)))
        ratio = None if other is None else f"{other:.1f} ({other / ours:.1f} x)"
        rows.append([f"A15 n = {n}", len(grid), faces[0], f"{ours:.1f}", f"{dense:.0f} ({dense / ours:.0f} x)", ratio])
    return rows


def cubes(side: int) -> float | None:
    """Milliseconds of marching cubes on ``side``^3 vertices."""
    try:
        from skimage.measure import marching_cubes
    except ImportError:
        return None
    axis = torch.linspace(-1, 1, side)
    field = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij")).norm(dim=0).sub(SPHERE).numpy()
    return timed(lambda: marching_cubes(field, 0.0), 5)


CHILD = """
import json, sys, time
sys.path[:0] = [{here!r}]
from bench_tools import load_pack
load_pack()
import torch
torch.set_num_threads(1)
from lift123.pipelines.ops.marching_tets import TetTopology
from lift123.pipelines.ops.tet_grid import a15_grid
from lift123.pipelines.ops.tet_lattice import a15_topology
def most():  # MB; what getrusage says of a child begins with its parent's
    lines = open("/proc/self/status", encoding="ascii").read().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))
before, began = most(), time.process_time()
if {sorted}:
    grid, tets = a15_grid({n})
    topology = TetTopology.build(tets, len(grid))
else:
    topology = a15_topology({n})[1]
print(json.dumps([len(topology.tets), time.process_time() - began, most() - before]))
"""


def grids() -> list[list]:
    """Rows: grid, tetrahedra, seconds and MB of its tables, and of sorting (up to 48 cells)."""
    rows = []
    for n in (32, 48, 64, 128):
        found = [_child(n, way) for way in ((False, True) if n <= 48 else (False,))]
        sort = f"{found[1][1]:.1f} s, {found[1][2]:.0f} MB ({found[1][1] / found[0][1]:.1f} x)" if len(found) > 1 else None
        rows.append([f"A15 n = {n}", found[0][0], f"{found[0][1]:.2f}", f"{found[0][2]:.0f}", sort])
    return rows


def _child(n: int, sort: bool) -> list:
    code = CHILD.format(here=str(Path(__file__).resolve().parent), n=n, sorted=sort)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def tools() -> list[list]:
    """Rows: tool, milliseconds."""
    grid, tets = a15_grid(32)
    mesh = Mesh(*marching_tets(grid, grid.norm(dim=-1) - SPHERE, tets))
    size = len(mesh.faces)
    painted = bake(unwrap(decimate(mesh, 8000), None), lambda x: x * 0.5 + 0.5)
    points = torch.randn(20_000, 3, generator=torch.Generator().manual_seed(0))
    jobs = {
        f"edges and face pairs of {size} faces": lambda: mesh_edges(mesh.faces, len(mesh.vertices)),
        "write a GLB of 8000 faces, texture 1024 x 1024": lambda: write_glb(None, painted),
        f"IoU at 64^3 of two meshes of {size} faces": lambda: volumetric_iou(mesh, mesh),
        "Chamfer distance, 2000 points": lambda: chamfer(mesh, mesh),
        f"closest points, 20000 against {size} faces": lambda: closest_point(points, mesh.vertices, mesh.faces),
    }
    return [[name, f"{timed(job, 2):.0f}"] for name, job in jobs.items()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path(__file__).resolve().parent / "results")
    args = parser.parse_args()
    torch.set_num_threads(1)
    head = ["grid", "vertices", "faces", "ours with gradient, ms", "every tet, forward, ms", "marching cubes, forward, ms"]
    said = "\n\n".join(__doc__.split("\n\n")[2:]).strip()
    lines = ["# Surface tools\n", machine() + "\n", said + "\n", table(head, extraction())]
    lines += ["\nA grid's tables:\n", table(["grid", "tetrahedra", "CPU s", "MB", "by sorting"], grids())]
    lines += ["\nOther tools; decimation, unwrapping and baking are on [a page of their own](way_out.md):\n"]
    lines += [table(["tool", "ms"], tools())]
    page = "\n".join(lines)
    (args.out / "surfaces.md").write_text(page, encoding="utf-8")
    print(page)  # a script's output


if __name__ == "__main__":
    main()
