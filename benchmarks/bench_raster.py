"""CPU times of the rasterizer: kernels, torch specification, public alternatives, in the same run.

    OMP_NUM_THREADS=1 python benchmarks/bench_raster.py [--out benchmarks/results/raster.md]

One view of a sphere that covers half the picture, three colors per vertex, a random cotangent.  The alternative is
DEODR (C++, BSD; ``pip install deodr``), which draws front faces only, is given its edges of the outline anew in every
call, as they move, and is left out where it is not installed.  The triangle ids alone are compared with a plain z-buffer
loop compiled by numba (``pip install numba``), which must find the same ones.  Adjacencies are built beforehand.  The
whole run takes less than a minute on a quiet core.
"""

from __future__ import annotations

import argparse
import importlib.util
import math
import time
from pathlib import Path

import numpy as np
import torch
from bench_tools import load_pack

load_pack()

FOVY = math.radians(40)


def sphere(rings: int):
    theta, phi = torch.linspace(0, math.pi, rings + 1), torch.arange(2 * rings) * (math.pi / rings)
    t, p = torch.meshgrid(theta, phi, indexing="ij")
    vertices = torch.stack([t.sin() * p.sin(), t.cos(), t.sin() * p.cos()], -1).reshape(-1, 3) * 0.9
    i, j = torch.meshgrid(torch.arange(rings), torch.arange(2 * rings), indexing="ij")
    after = (j + 1) % (2 * rings)
    a, b, c, d = i * 2 * rings + j, (i + 1) * 2 * rings + j, (i + 1) * 2 * rings + after, i * 2 * rings + after
    faces = torch.cat([torch.stack([a, b, c], -1).reshape(-1, 3), torch.stack([a, c, d], -1).reshape(-1, 3)])
    return vertices, faces


def scene(rings: int, size: int):
    """(clip [1, V, 4], faces, colors [V, 3], cotangent [1, size, size, 3])."""
    from lift123.pipelines.core.cameras import Cameras
    from lift123.pipelines.render.surface import project

    vertices, faces = sphere(rings)
    clip = project(vertices, Cameras.orbit(0.3, 0.2, 3.2, FOVY, size, size))
    cotangent = torch.randn(1, size, size, 3, generator=torch.Generator().manual_seed(0))
    return clip, faces, vertices / 1.8 + 0.5, cotangent


def clock(function, repeat: int) -> float:
    """Best CPU milliseconds of ``repeat`` calls after one to warm up; other work on the machine does not count."""
    function()
    best = float("inf")
    for _ in range(repeat):
        start = time.process_time()
        function()
        best = min(best, time.process_time() - start)
    return best * 1e3


def ours(rasterizer, clip, faces, color, cotangent, size: int) -> dict:
    """Named callables of one rasterizer."""
    raster = rasterizer.rasterize(clip, faces, size, size)
    image = rasterizer.interpolate(color, raster, faces)

    def both():
        points, values = clip.clone().requires_grad_(), color.clone().requires_grad_()
        seen = rasterizer.rasterize(points, faces, size, size)
        out = rasterizer.antialias(rasterizer.interpolate(values, seen, faces), seen, points, faces)
        (out * cotangent).sum().backward()

    return {
        "rasterize": lambda: rasterizer.rasterize(clip, faces, size, size),
        "interpolate": lambda: rasterizer.interpolate(color, raster, faces),
        "antialias": lambda: rasterizer.antialias(image, raster, clip, faces),
        "forward + backward": both,
    }


def deodr_both(clip, faces, color, cotangent, size: int):
    """DEODR's forward + backward of the same picture, or None where it is not installed."""
    if importlib.util.find_spec("deodr") is None:
        return None
    from deodr.differentiable_renderer import Scene2D
    from deodr.triangulated_mesh import TriMeshAdjacencies

    keep = (faces[:, [0, 1, 2]] != faces[:, [1, 2, 0]]).all(1)
    triangles = faces[keep].numpy().astype(np.uint32)
    xy = clip[0, :, :2] / clip[0, :, 3:]
    pixels = torch.stack([xy[:, 0] + 1, 1 - xy[:, 1]], 1).double().numpy() * size / 2 - 0.5
    adjacency = TriMeshAdjacencies(triangles, clockwise=False)
    count = len(pixels)
    none, picture = np.zeros(len(triangles), dtype=bool), cotangent[0].double().numpy()

    def both():
        scene2d = Scene2D(
            faces=triangles,
            faces_uv=triangles,
            ij=pixels,
            depths=clip[0, :, 3].double().numpy(),
            textured=none,
            uv=np.zeros((count, 2)),
            shade=np.zeros(count),
            colors=color.double().numpy(),
            shaded=none,
            edgeflags=adjacency.edge_on_silhouette(pixels),
            height=size,
            width=size,
            nb_colors=3,
            texture=np.zeros((0, 0, 3)),
            background_color=np.zeros(3),
            backface_culling=True,
        )
        image, _ = scene2d.render(sigma=1)
        scene2d.render_backward(picture)
        return image

    return both


def zbuffer():
    """A plain z-buffer: (pixels [V, 2], depths [V], faces, size) -> ids [size, size]; None where numba is not installed."""
    if importlib.util.find_spec("numba") is None:
        return None
    import numba

    @numba.njit
    def ids(pixels, depths, faces, size):
        nearest = np.full((size, size), np.inf)
        found = np.full((size, size), -1, np.int32)
        for face in range(len(faces)):
            a, b, c = faces[face]
            (xa, ya), (xb, yb), (xc, yc) = pixels[a], pixels[b], pixels[c]
            area = (xb - xa) * (yc - ya) - (xc - xa) * (yb - ya)
            if area == 0:
                continue
            rows = max(0, math.ceil(min(ya, yb, yc))), min(size - 1, math.floor(max(ya, yb, yc)))
            columns = max(0, math.ceil(min(xa, xb, xc))), min(size - 1, math.floor(max(xa, xb, xc)))
            for row in range(rows[0], rows[1] + 1):
                for column in range(columns[0], columns[1] + 1):
                    wa = ((xb - column) * (yc - row) - (xc - column) * (yb - row)) / area
                    wb = ((xc - column) * (ya - row) - (xa - column) * (yc - row)) / area
                    wc = 1 - wa - wb
                    if wa >= 0 and wb >= 0 and wc >= 0:
                        depth = wa * depths[a] + wb * depths[b] + wc * depths[c]
                        if depth < nearest[row, column]:
                            nearest[row, column] = depth
                            found[row, column] = face
        return found

    return ids


def ids_table() -> list[str]:
    """Which triangle each pixel sees, ours against :func:`zbuffer`."""
    from lift123.pipelines.ops.rasterize import _keys, rasterize

    plain = zbuffer()
    if plain is None:
        return ["The z-buffer loop was left out: numba is not installed."]
    lines = ["| triangle ids: triangles | pixels | ours | z-buffer loop | ours / loop |", "|---|---|---|---|---|"]
    for rings, size in ((35, 128), (71, 256), (71, 512), (141, 512), (223, 1024)):
        clip, faces, _, _ = scene(rings, size)
        x, y, z, w = clip[0].double().numpy().T
        pixels = np.stack([(x / w + 1) * size / 2 - 0.5, (1 - y / w) * size / 2 - 0.5], 1)
        other = lambda p=pixels, d=z / w, f=faces.numpy(), s=size: plain(p, d, f, s)  # noqa: E731
        same = float((rasterize(clip, faces, size, size).triangle[0].numpy() == other()).mean())
        assert same > 0.9999, f"another picture: {same}"
        mine = clock(lambda c=clip, f=faces, s=size: _keys(c, f, (0, s), s, s), 8)
        theirs = clock(other, 8)
        lines.append(f"| {len(faces)} | {size} | {mine:.2f} | {theirs:.2f} | {mine / theirs:.2f} |")
    return lines


def kernels_table() -> list[str]:
    from lift123.pipelines.ops.rasterizers import WARP

    head = "| triangles | pixels | rasterize | interpolate | antialias | forward + backward | DEODR f. + b. | DEODR / ours |"
    lines = [head, "|---|---|---|---|---|---|---|---|"]
    for rings, size in ((35, 128), (71, 256), (71, 512), (141, 512), (223, 1024)):
        clip, faces, color, cotangent = scene(rings, size)
        times = {k: clock(f, 5) for k, f in ours(WARP, clip, faces, color, cotangent, size).items()}
        other = deodr_both(clip, faces, color, cotangent, size)
        if other:
            seen = WARP.rasterize(clip, faces, size, size)
            ours_image = WARP.antialias(WARP.interpolate(color, seen, faces), seen, clip, faces)[0]
            difference = float((torch.from_numpy(other()) - ours_image).abs().mean())
            assert difference < 0.01, f"DEODR draws another picture: {difference}"
        other = clock(other, 3) if other else None
        tail = f"{other:.1f} | {other / times['forward + backward']:.1f}x" if other else "not installed | "
        lines.append(f"| {len(faces)} | {size} | " + " | ".join(f"{t:.2f}" for t in times.values()) + f" | {tail} |")
    return lines


def specification_table() -> list[str]:
    from lift123.pipelines.ops.rasterizers import REFERENCE, WARP

    clip, faces, color, cotangent = scene(12, 48)
    fast = {k: clock(f, 5) for k, f in ours(WARP, clip, faces, color, cotangent, 48).items()}
    slow = {k: clock(f, 1) for k, f in ours(REFERENCE, clip, faces, color, cotangent, 48).items()}
    lines = [f"| {len(faces)} triangles, 48 px | kernel | specification | ratio |", "|---|---|---|---|"]
    return lines + [f"| {k} | {fast[k]:.2f} | {slow[k]:.1f} | {slow[k] / fast[k]:.0f}x |" for k in fast]


def texture_table() -> list[str]:
    from lift123.pipelines.ops.texture import sample_texture, sample_texture_reference

    texture = torch.rand(1024, 1024, 3, generator=torch.Generator().manual_seed(0))
    axis = torch.linspace(0, 1, 512)
    uv = torch.stack(torch.meshgrid(axis, axis, indexing="xy"), -1).reshape(-1, 2)  # as a picture sees a texture

    def grid(t, x):
        planes = t.permute(2, 0, 1)[None]
        out = torch.nn.functional.grid_sample(planes, x[None, None] * 2 - 1, padding_mode="border", align_corners=False)
        return out[0, :, 0].T

    def both(function):
        a, b = texture.clone().requires_grad_(), uv.clone().requires_grad_()
        function(a, b).square().sum().backward()

    times = [clock(lambda f=f: both(f), 3) for f in (sample_texture, sample_texture_reference, grid)]
    return [
        "| 512 px of a 1024 px texture, forward + backward | ms | to the kernel |",
        "|---|---|---|",
        *[f"| {n} | {t:.1f} | {t / times[0]:.1f}x |" for n, t in zip(("kernel", "specification", "torch grid_sample"), times)],
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", help="Markdown file to write as well")
    out = parser.parse_args().out
    lines = [f"Rasterizer, {torch.get_num_threads()} thread(s), milliseconds of CPU time, best of a few.", ""]
    for table in (kernels_table, ids_table, specification_table, texture_table):
        lines += [*table(), ""]
    print("\n".join(lines))
    if out:
        Path(out).write_text("\n".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
