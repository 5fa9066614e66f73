"""Consistent123 on held-out toybox objects against the truth: shape, novel views, reference view.

    python benchmarks/bench_consistent123.py [--objects 20] [--methods consistent123,oracle,...] [--out FOLDER]

Methods: consistent123 (embedded networks), oracle (same pipeline and preset, the exact denoiser of the true view),
reference (same pipeline without any prior), hull (the mask's outline extruded).  Every result is kept in ``--work``,
so an interrupted run goes on where it stopped; --fresh starts over.  Metrics follow the paper (C-D.7): meshes in the
unit cube, squared Chamfer distance with 2000 points, IoU on 64^3, PSNR over 17 novel views of the 18 on white.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path

import torch
from bench_tools import ROOT, load_pack, machine, table

load_pack()

from lift123.pipelines import consistent123 as paper
from lift123.pipelines.core.mesh import Mesh
from lift123.pipelines.io.color import encode_png
from lift123.pipelines.loaders import embedded
from lift123.pipelines.metrics.geometry import chamfer, volumetric_iou
from lift123.pipelines.metrics.image import psnr
from lift123.pipelines.metrics.protocol import eighteen_views
from lift123.pipelines.priors.view import ViewPrior
from lift123.pipelines.render.surface import render_surface
from lift123.pipelines.stages.inputs.reference import ReferenceView
from lift123.pipelines.stages.objects.fit_nerf import fit_nerf
from lift123.pipelines.stages.objects.refine_mesh import refine_mesh
from lift123.pipelines.stages.results.render_views import contact_sheet, render_scene, scene_mesh
from lift123.pipelines.toybox.objects import ToyObject, heldout_seed, make_object
from lift123.pipelines.toybox.render import reference_camera, render_toy
from lift123.verification.baselines import visual_hull_extrusion
from lift123.verification.oracle import OracleDenoiser

METHODS = ("consistent123", "reference", "hull", "oracle")
VIEW_SIZE = 128  # pixels of the compared pictures
WORST = 3


def reference_of(toy: ToyObject, preset: paper.Preset, models) -> ReferenceView:
    """What a person would give: one picture and a caption; depth is estimated where there is a network."""
    views = render_toy(toy, reference_camera(preset.reference_size))
    reference = ReferenceView(replace(views, depth=None, normal=None), toy.caption)
    return reference if models is None else reference.with_depth(models.depth.depth(views.rgb[0], views.alpha[0]))


def oracle_prior(toy: ToyObject, reference: ReferenceView, settings, size: int, angle_scaling: bool) -> ViewPrior:
    """The exact denoiser of the true view, in pixels."""
    denoiser = OracleDenoiser(lambda cameras: render_toy(toy, cameras.to("cpu")).on_background(1.0), image_size=size)
    return ViewPrior(denoiser, settings, reference.camera, angle_scaling)


def lift(method: str, toy: ToyObject, reference: ReferenceView, preset: paper.Preset, models, seed: int):
    """(mesh with colors, 18 pictures, notes) of one method."""
    cameras = eighteen_views(VIEW_SIZE)
    if method == "hull":
        views = reference.resized(VIEW_SIZE)
        mesh = visual_hull_extrusion(views.alpha[0], views.cameras, views.rgb[0])
        return mesh, render_surface(mesh, cameras, supersample=2, grad=False).composite(1.0), {}
    if method == "consistent123":
        scene = paper.run(reference, models, preset, seed=seed)
    else:
        priors = [None, None]
        if method == "oracle":
            stages = ((preset.view, preset.nerf.size), (preset.mesh_view, preset.mesh.size))
            priors = [oracle_prior(toy, reference, s, size, preset.angle_scaling) for s, size in stages]
        scene = refine_mesh(priors[1], fit_nerf(reference, priors[0], preset.nerf, seed=seed), preset.mesh)
    boundary = scene.boundary or {}
    notes = {"switch_step": scene.switch_step, "boundary": boundary.get("explanation")}
    return scene_mesh(scene), render_scene(scene, cameras, want_normal=False, supersample=2).composite(1.0), notes


def measure(mesh: Mesh, pictures: torch.Tensor, toy: ToyObject) -> dict:
    """All figures of one result; view 0 is the reference view."""
    truth = render_toy(toy, eighteen_views(VIEW_SIZE)).on_background(1.0)
    decibels = psnr(pictures.clamp(0, 1), truth)
    return {
        "iou": volumetric_iou(mesh, toy.mesh),
        "chamfer": chamfer(mesh, toy.mesh).squared,
        "novel_psnr": float(decibels[1:].mean()),
        "reference_psnr": float(decibels[0]),
        "faces": len(mesh.faces),
    }


def run_one(method: str, index: int, preset: paper.Preset, models, args) -> dict:
    """Figures of one object, from disk when already known."""
    stem = args.work / f"{preset.name}-{method}-{index:03d}"
    kept = stem.with_suffix(".json")
    if kept.is_file() and not args.fresh:
        return json.loads(kept.read_text(encoding="utf-8"))
    toy = make_object(heldout_seed(index))
    start, cpu = time.perf_counter(), time.process_time()
    reference = reference_of(toy, preset, models)
    mesh, pictures, notes = lift(method, toy, reference, preset, models, args.seed)
    figures = {"seconds": time.perf_counter() - start, "cpu_seconds": time.process_time() - cpu}
    figures = {"caption": toy.caption, "index": index, **measure(mesh, pictures, toy), **figures, **notes}
    truth = render_toy(toy, eighteen_views(VIEW_SIZE)).on_background(1.0)
    sheet = torch.cat([contact_sheet(truth, 9), contact_sheet(pictures.clamp(0, 1), 9)])
    stem.with_suffix(".png").write_bytes(encode_png(sheet))
    kept.write_text(json.dumps(figures, indent=1), encoding="utf-8")
    return figures


def report(results: dict, preset: paper.Preset, args) -> str:
    """The markdown page."""
    columns = {"iou": 3, "chamfer": 4, "novel_psnr": 2, "reference_psnr": 2, "cpu_seconds": 0}
    rows = []
    for method, figures in results.items():
        means = [sum(f[c] for f in figures) / len(figures) for c in columns]
        rows.append([method, len(figures), *(f"{m:.{d}f}" for m, d in zip(means, columns.values(), strict=True))])
    head = ["method", "objects", "IoU 64^3", "Chamfer (squared)", "novel PSNR dB", "reference PSNR dB", "CPU s"]
    lines = [f"# Consistent123, {preset.name} preset, held-out toybox objects\n", f"{machine()} Seed {args.seed}.\n"]
    lines += [__doc__.split("\n\n")[2] + "\n", table(head, rows)]
    shown = results.get("consistent123") or next(iter(results.values()))
    lines.append("\nPer object (IoU / novel PSNR):\n")
    per = [
        [i, f["caption"], *(f"{r[i]['iou']:.3f} / {r[i]['novel_psnr']:.1f}" for r in results.values())]
        for i, f in enumerate(shown)
    ]
    lines.append(table(["object", "caption", *results], per))
    switches = [f for f in results.get("consistent123", []) if f.get("boundary")]
    if switches:
        lines.append("\nCLIP boundary:\n\n" + "".join(f"- {f['index']}: {f['boundary']}\n" for f in switches))
    worst = sorted(shown, key=lambda f: f["iou"])[:WORST]
    lines.append("\nWorst by IoU (upper two rows: truth):\n\n")
    lines += [f"![{f['caption']}](consistent123-worst-{i}.png)\n" for i, f in enumerate(worst)]
    return "\n".join(lines)


def copy_worst(results: dict, preset: paper.Preset, args) -> None:
    method = "consistent123" if "consistent123" in results else next(iter(results))
    for i, f in enumerate(sorted(results[method], key=lambda f: f["iou"])[:WORST]):
        source = args.work / f"{preset.name}-{method}-{f['index']:03d}.png"
        (args.out / f"consistent123-worst-{i}.png").write_bytes(source.read_bytes())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--objects", type=int, default=20)
    parser.add_argument("--first", type=int, default=0, help="index of the first held-out object")
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--preset", default="quickstart", choices=sorted(paper.PRESETS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--work", type=Path, default=ROOT / ".lift123" / "bench")
    parser.add_argument("--out", type=Path, default=Path(__file__).resolve().parent / "results")
    parser.add_argument("--fresh", action="store_true", help="ignore kept results")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    args.work.mkdir(parents=True, exist_ok=True)
    args.out.mkdir(parents=True, exist_ok=True)
    preset, methods = paper.PRESETS[args.preset], args.methods.split(",")
    unknown = sorted(set(methods) - set(METHODS))
    if unknown:
        parser.error(f"unknown methods {unknown}; there are {METHODS}")
    if "consistent123" in methods or (embedded.FOLDER / "settings.json").is_file():
        models = embedded.load_embedded()
    else:
        models = None  # the other methods then run without estimated depth
    results: dict[str, list] = {method: [] for method in methods}
    for index in range(args.first, args.first + args.objects):
        for method in methods:
            figures = run_one(method, index, preset, models, args)
            results[method].append(figures)
            keys = ("iou", "chamfer", "novel_psnr", "reference_psnr", "seconds")
            shown = " ".join(f"{k} {figures[k]:.4g}" for k in keys)
            print(f"{index:3d} {method:14s} {shown}  {figures['caption']}", flush=True)  # a script's output
    (args.out / "consistent123.md").write_text(report(results, preset, args), encoding="utf-8")
    copy_worst(results, preset, args)


if __name__ == "__main__":
    main()
