"""Magic123 on held-out toybox objects: both priors together against each alone.

    python benchmarks/bench_magic123.py [--objects 20] [--methods both,3d,2d] [--ratios 0.1,1] [--out FOLDER]

Methods: both (the preset's lambda_2D/3D), 3d (the view prior alone), 2d (the text prior alone, weight 1), all with the
embedded networks, the same picture, seed, iterations and stages; ``--ratios`` adds further values of the slider.  Every
result is kept in ``--work``, so an interrupted run goes on where it stopped; --fresh starts over.  Metrics as in
``bench_consistent123.py``: IoU on 64^3 and squared Chamfer distance in the unit cube, PSNR over 17 novel views of the 18.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path
from types import SimpleNamespace

import torch
from bench_consistent123 import VIEW_SIZE, measure, reference_of  # loads the pack
from bench_tools import ROOT, machine, table
from lift123.pipelines import magic123
from lift123.pipelines.io.color import encode_png
from lift123.pipelines.loaders import embedded
from lift123.pipelines.metrics.protocol import eighteen_views
from lift123.pipelines.stages.results.render_views import contact_sheet, render_scene, scene_mesh
from lift123.pipelines.toybox.objects import heldout_seed, make_object
from lift123.pipelines.toybox.render import render_toy

METHODS = ("both", "3d", "2d")
COLUMNS = {"iou": 3, "chamfer": 4, "novel_psnr": 2, "reference_psnr": 2, "cpu_seconds": 0}
HEAD = ["method", "lambda_2D/3D", "objects", "IoU 64^3", "Chamfer (squared)", "novel PSNR dB", "reference PSNR dB", "CPU s"]


def ratio_of(method: str, preset: magic123.Preset) -> float:
    """lambda_2D/3D of a method; the 2D prior alone is the paper's infinity."""
    named = {"both": preset.ratio, "3d": 0.0, "2d": math.inf}
    return named[method] if method in named else float(method)


def lift(method: str, reference, models, preset: magic123.Preset, seed: int):
    """The finished scene of one method."""
    ratio = ratio_of(method, preset)
    if math.isinf(ratio):
        alone = SimpleNamespace(text=models.text, view=None)
        return magic123.run(reference, alone, preset, ratio=1 / magic123.BALANCES[preset.balance].text, seed=seed)
    return magic123.run(reference, models, preset, ratio=ratio, seed=seed)


def run_one(method: str, index: int, preset: magic123.Preset, models, args) -> dict:
    """Figures of one object, from disk when already known."""
    stem = args.work / f"{preset.name.replace(' ', '-')}-{ratio_of(method, preset):g}-{index:03d}"
    kept = stem.with_suffix(stem.suffix + ".json")
    if kept.is_file() and not args.fresh:
        return json.loads(kept.read_text(encoding="utf-8"))
    toy = make_object(heldout_seed(index))
    start, cpu = time.perf_counter(), time.process_time()
    scene = lift(method, reference_of(toy, preset, models), models, preset, args.seed)
    spent = {"seconds": time.perf_counter() - start, "cpu_seconds": time.process_time() - cpu}
    views = eighteen_views(VIEW_SIZE)
    pictures = render_scene(scene, views, want_normal=False, supersample=2).composite(1.0).clamp(0, 1)
    figures = {"caption": toy.caption, "index": index, **measure(scene_mesh(scene), pictures, toy), **spent}
    truth = render_toy(toy, views).on_background(1.0)
    sheet = torch.cat([contact_sheet(truth, 9), contact_sheet(pictures, 9)])
    stem.with_suffix(stem.suffix + ".png").write_bytes(encode_png(sheet))
    kept.write_text(json.dumps(figures, indent=1), encoding="utf-8")
    return figures


def verdict(results: dict) -> str:
    """Whether both priors beat each alone, in words, with the spread over the objects."""
    lines = []
    for other in ("3d", "2d"):
        if not {"both", other} <= set(results):
            continue
        for key, name, digits in (("iou", "IoU", 3), ("novel_psnr", "novel PSNR", 2)):
            gaps = torch.tensor([a[key] - b[key] for a, b in zip(results["both"], results[other], strict=True)])
            error = float(gaps.std() / len(gaps) ** 0.5) if len(gaps) > 1 else math.nan
            wins = int((gaps > 0).sum())
            lines.append(f"- both minus {other}, {name}: {float(gaps.mean()):+.{digits}f} (standard error {error:.{digits}f}), "
                         f"better on {wins} of {len(gaps)} objects")
    return "\n".join(lines) + "\n" if lines else ""


def report(results: dict, preset: magic123.Preset, args) -> str:
    """The markdown page."""
    rows = []
    for method, figures in results.items():
        means = [sum(f[c] for f in figures) / len(figures) for c in COLUMNS]
        told = "infinite" if math.isinf(ratio_of(method, preset)) else f"{ratio_of(method, preset):g}"
        rows.append([method, told, len(figures), *(f"{m:.{d}f}" for m, d in zip(means, COLUMNS.values(), strict=True))])
    lines = [f"# {preset.name}, held-out toybox objects\n", f"{machine()} Seed {args.seed}.\n"]
    lines += [__doc__.split("\n\n")[2] + "\n", table(HEAD, rows), "\n" + verdict(results)]
    lines.append("\nPer object (IoU / novel PSNR):\n")
    first = next(iter(results.values()))
    per = [[f["index"], f["caption"], *(f"{r[i]['iou']:.3f} / {r[i]['novel_psnr']:.1f}" for r in results.values())]
           for i, f in enumerate(first)]
    lines.append(table(["object", "caption", *results], per))
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--objects", type=int, default=20)
    parser.add_argument("--first", type=int, default=0, help="index of the first held-out object")
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--ratios", default="", help="further values of lambda_2D/3D, for example 0.1,1")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--work", type=Path, default=ROOT / ".lift123" / "bench_magic123")
    parser.add_argument("--out", type=Path, default=Path(__file__).resolve().parent / "results")
    parser.add_argument("--fresh", action="store_true", help="ignore kept results")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    args.work.mkdir(parents=True, exist_ok=True)
    args.out.mkdir(parents=True, exist_ok=True)
    preset = magic123.QUICKSTART
    methods = [m for m in [*args.methods.split(","), *args.ratios.split(",")] if m]
    unknown = [m for m in args.methods.split(",") if m and m not in METHODS]
    if unknown:
        parser.error(f"unknown methods {unknown}; there are {METHODS}")
    models = embedded.load_embedded()
    results: dict[str, list] = {method: [] for method in methods}
    for index in range(args.first, args.first + args.objects):
        for method in methods:
            figures = run_one(method, index, preset, models, args)
            results[method].append(figures)
            shown = " ".join(f"{k} {figures[k]:.4g}" for k in ("iou", "chamfer", "novel_psnr", "seconds"))
            print(f"{index:3d} {method:5s} {shown}  {figures['caption']}", flush=True)  # a script's output
    (args.out / "magic123.md").write_text(report(results, preset, args), encoding="utf-8")


if __name__ == "__main__":
    main()
