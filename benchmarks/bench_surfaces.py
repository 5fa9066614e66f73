"""Times of the surface tools on one thread: extraction, export, metrics.

    python benchmarks/bench_surfaces.py

Marching tets is compared in the same run with a dense form that visits every tet,
and, where scikit-image is installed, with its marching cubes at the same number of vertices.
"""

from __future__ import annotations

import importlib.util
import sys
import time
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parent.parent


def load_pack():
    """The pack as ``lift123``, loaded by file location as ComfyUI does."""
    spec = importlib.util.spec_from_file_location("lift123", ROOT / "__init__.py", submodule_search_locations=[str(ROOT)])
    module = importlib.util.module_from_spec(spec)
    sys.modules["lift123"] = module
    spec.loader.exec_module(module)


def clock(function, repeat=5):
    """Best milliseconds of ``repeat`` calls, and the last result."""
    best = float("inf")
    for _ in range(repeat):
        start = time.perf_counter()
        result = function()
        best = min(best, time.perf_counter() - start)
    return best * 1e3, result


def dense_tets(vertices, sdf, tets):
    """Marching tets without skipping: all edges of all tets are sorted and interpolated, then selected."""
    from lift123.pipelines.ops.marching_tets import LOCAL_EDGES, case_table

    inside = sdf < 0
    ends = torch.stack([tets[:, list(e)] for e in LOCAL_EDGES], dim=1).sort(-1).values.reshape(-1, 2)
    unique, index = torch.unique(ends[:, 0] * len(vertices) + ends[:, 1], return_inverse=True)
    a, b = torch.div(unique, len(vertices), rounding_mode="floor"), unique % len(vertices)
    points = vertices[a] + (sdf[a] / (sdf[a] - sdf[b]))[:, None] * (vertices[b] - vertices[a])
    case = (inside[tets].long() * torch.tensor([1, 2, 4, 8])).sum(-1)
    table, counts = case_table()
    corners = torch.gather(index.reshape(-1, 6), 1, table[case].reshape(-1, 6)).reshape(-1, 2, 3)
    return points, corners[torch.arange(2) < counts[case][:, None]]


def extraction():
    from lift123.pipelines.ops.marching_tets import TetTopology, marching_tets
    from lift123.pipelines.ops.tet_grid import a15_grid

    for n in (16, 24, 32):
        grid, tets = a15_grid(n)
        topology = TetTopology.build(tets, len(grid))
        sdf = (grid.norm(dim=-1) - 0.7).requires_grad_()
        moving = grid.clone().requires_grad_()

        def step(moving=moving, sdf=sdf, topology=topology):
            vertices, faces = marching_tets(moving, sdf, topology)
            vertices.square().sum().backward()
            return faces

        ours, faces = clock(step)
        name = f"extract + backward, A15 n={n} ({len(grid)} vertices, {len(faces)} faces)"
        dense, _ = clock(lambda g=grid, s=sdf.detach(), t=tets: dense_tets(g, s, t), 1)
        print(f"{name}: {ours:.1f} ms; every tet, forward only: {dense:.0f} ms, ratio {dense / ours:.0f}")
        other = cubes(round(len(grid) ** (1 / 3)))
        if other is not None:
            print(f"    scikit-image marching cubes, as many vertices, no gradients: {other:.1f} ms")


def cubes(side):
    try:
        from skimage.measure import marching_cubes
    except ImportError:
        return None
    axis = torch.linspace(-1, 1, side)
    field = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij")).norm(dim=0).sub(0.7).numpy()
    return clock(lambda: marching_cubes(field, 0.0))[0]


def tools():
    from lift123.pipelines.core.mesh import Mesh
    from lift123.pipelines.io.decimate import decimate
    from lift123.pipelines.io.glb import write_glb
    from lift123.pipelines.io.unwrap import unwrap
    from lift123.pipelines.metrics.geometry import chamfer, volumetric_iou
    from lift123.pipelines.ops.closest import closest_point
    from lift123.pipelines.ops.marching_tets import marching_tets
    from lift123.pipelines.ops.mesh_edges import mesh_edges
    from lift123.pipelines.ops.tet_grid import a15_grid
    from lift123.pipelines.stages.bake import bake

    grid, tets = a15_grid(32)
    mesh = Mesh(*marching_tets(grid, grid.norm(dim=-1) - 0.7, tets))

    def row(name, function, repeat=3):
        took, result = clock(function, repeat)
        print(f"{name}: {took:.0f} ms")
        return result

    size = len(mesh.faces)
    row(f"edges and face pairs of {size} faces", lambda: mesh_edges(mesh.faces, len(mesh.vertices)))
    small = row(f"decimate {size} -> 8000 faces", lambda: decimate(mesh, 8000), 1)
    flat = row("unwrap 8000 faces (xatlas)", lambda: unwrap(small, None), 1)
    paint = row("bake 1024 x 1024, 2 x 2 samples, colour for free", lambda: bake(flat, lambda x: x * 0.5 + 0.5), 2)
    row("write GLB", lambda: write_glb(None, paint))
    row(f"IoU at 64^3 of two meshes of {size} faces", lambda: volumetric_iou(mesh, mesh))
    row("chamfer, 2000 points", lambda: chamfer(mesh, mesh))
    points = torch.randn(20_000, 3, generator=torch.Generator().manual_seed(0))
    row(f"closest points, 20000 against {size} faces", lambda: closest_point(points, mesh.vertices, mesh.faces))


if __name__ == "__main__":
    torch.set_num_threads(1)
    load_pack()
    extraction()
    tools()
