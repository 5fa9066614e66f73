"""Two versions of the embedded networks under the same Consistent123, object by object, between no prior and the truth.

    python benchmarks/bench_networks.py --first FOLDER [--second FOLDER] [--objects 20] [--start 0] [--report]

FOLDER: a copy of ``pipelines/embedded``, for example an earlier commit's; --second defaults to the shipped one.  Every
result is kept in ``--work``, so that several processes may share the objects; --report writes the page, which ends with
``benchmarks/notes/networks.md`` where somebody has written one.  No page is kept: one of the two versions does not ship.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import torch
from bench_consistent123 import ROOT, VIEW_SIZE, lift, measure, reference_of
from bench_tools import machine, table
from lift123.pipelines import consistent123 as paper
from lift123.pipelines.io.color import encode_png
from lift123.pipelines.loaders import embedded
from lift123.pipelines.metrics.protocol import eighteen_views
from lift123.pipelines.stages.results.render_views import contact_sheet
from lift123.pipelines.toybox.render import render_toy
from lift123.verification.means import paired
from lift123.verification.toy_sets import QUICK, benchmark_object

METHODS = ("reference", "first", "second", "oracle")
TOLD = {"reference": "no prior", "first": "networks, first", "second": "networks, second", "oracle": "exact denoiser"}
FIGURES = {"iou": 3, "chamfer": 4, "novel_psnr": 2, "reference_psnr": 2, "cpu": 0}
NOTE = Path(__file__).resolve().parent / "notes" / "networks.md"
INTRODUCTION = """The quickstart of Consistent123 on the quick benchmark set, once with each version of the networks. No prior
(the reference view alone) and the exact denoiser of the true view enclose them.
"""
SHOWN = (3, 17)  # places in the set of the objects on the pictures: a misjudged one, and the one whose IoU fell most


def run_one(method: str, index: int, models: dict, work: Path, seed: int) -> None:
    """Computes and keeps one result, unless it is there."""
    kept = work / method / f"{index:02d}.json"
    if kept.is_file():
        return
    toy, preset, used = benchmark_object(QUICK[index]), paper.PRESETS["quickstart"], models[method]
    start = time.process_time()
    name = "consistent123" if method in ("first", "second") else method
    mesh, pictures, notes = lift(name, toy, reference_of(toy, preset, used), preset, used, seed)
    found = {"caption": toy.caption, **measure(mesh, pictures, toy), "cpu": time.process_time() - start, **notes}
    kept.parent.mkdir(parents=True, exist_ok=True)
    kept.with_suffix(".png").write_bytes(encode_png(contact_sheet(pictures.clamp(0, 1), 9)))
    kept.write_text(json.dumps(found), encoding="utf-8")


def read(work: Path, count: int) -> dict[str, dict[int, dict]]:
    """What there is: method -> object -> figures."""
    found = {m: {i: work / m / f"{i:02d}.json" for i in range(count)} for m in METHODS}
    return {
        m: {i: json.loads(p.read_text(encoding="utf-8")) for i, p in files.items() if p.is_file()}
        for m, files in found.items()
    }


def difference(found: dict, first: str, second: str, figure: str, less: bool = False) -> str:
    """second - first over shared objects, in words."""
    a, b = ({(i, 0): float(f[figure]) for i, f in found[m].items()} for m in (second, first))
    found = paired(a, b).difference
    wins, digits = sum((a[k] < b[k]) if less else (a[k] > b[k]) for k in a.keys() & b.keys()), FIGURES[figure]
    error = f"standard error {found.over_objects:.{digits}f}"
    return f"{found.mean:+.{digits}f} ({error}), better on {wins} of {found.objects}"


def closed(found: dict, figure: str) -> str:
    """Share of the way from no prior to the exact denoiser that each version covers, over objects all four have."""
    shared = set.intersection(*(set(found[m]) for m in METHODS))
    if not shared:
        return "not measured"
    mean = {m: sum(found[m][i][figure] for i in shared) / len(shared) for m in METHODS}
    span = mean["oracle"] - mean["reference"]
    first, second = ((mean[m] - mean["reference"]) / span for m in ("first", "second"))
    return f"{first:.0%} by the first, {second:.0%} by the second version ({len(shared)} objects)"


def report(found: dict, seed: int) -> str:
    """The markdown page."""
    rows = []
    for method in METHODS:
        values = list(found[method].values())
        if values:
            means = [f"{sum(v[f] for v in values) / len(values):.{d}f}" for f, d in FIGURES.items()]
            rows.append([TOLD[method], len(values), *means])
    head = ["prior", "objects", "IoU 64^3", "Chamfer (squared)", "novel PSNR dB", "reference PSNR dB", "CPU s"]
    lines = ["# Embedded networks, first and second version\n", f"{machine()} Seed {seed}.\n", INTRODUCTION,
             table(head, rows), "Second minus first, over the objects both have:\n",
             f"- IoU: {difference(found, 'first', 'second', 'iou')}",
             f"- novel PSNR, dB: {difference(found, 'first', 'second', 'novel_psnr')}",
             f"- squared Chamfer: {difference(found, 'first', 'second', 'chamfer', less=True)}\n",
             f"Of the way from no prior to the exact denoiser, IoU: {closed(found, 'iou')}; "
             f"novel PSNR: {closed(found, 'novel_psnr')}.\n",
             "Every object, IoU / novel PSNR:\n"]
    cells = lambda m, i: f"{found[m][i]['iou']:.3f} / {found[m][i]['novel_psnr']:.1f}" if i in found[m] else None  # noqa: E731
    objects = sorted(set(found["first"]) | set(found["second"]))
    body = [
        [i, found["second"].get(i, found["first"].get(i))["caption"], *(cells(m, i) for m in METHODS)] for i in objects
    ]
    note = NOTE.read_text(encoding="utf-8") if NOTE.is_file() else ""
    return "\n".join([*lines, table(["object", "caption", *(TOLD[m] for m in METHODS)], body), note])


def picture(index: int, work: Path, path: Path) -> None:
    """Truth, first and second below each other, where both exist."""
    from PIL import Image

    truth = render_toy(benchmark_object(QUICK[index]), eighteen_views(VIEW_SIZE)).on_background(1.0)
    sheets = [Image.fromarray((contact_sheet(truth, 9) * 255).round().to(torch.uint8).numpy())]
    files = [work / m / f"{index:02d}.png" for m in ("first", "second")]
    if not all(f.is_file() for f in files):
        return
    sheets += [Image.open(f).convert("RGB") for f in files]
    whole = Image.new("RGB", (max(s.width for s in sheets), sum(s.height for s in sheets)), "white")
    for place, sheet in enumerate(sheets):
        whole.paste(sheet, (0, sum(s.height for s in sheets[:place])))
    whole.save(path, quality=85)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--first", type=Path, help="earlier weights")
    parser.add_argument("--second", type=Path, default=embedded.FOLDER, help="later weights")
    parser.add_argument("--methods", default="second,first,reference,oracle")
    parser.add_argument("--start", type=int, default=0)
    parser.add_argument("--objects", type=int, default=len(QUICK))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=Path, default=ROOT / ".lift123" / "bench" / "networks")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results")
    parser.add_argument("--report", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(1)
    methods = [m for m in args.methods.split(",") if m]
    if not args.report:
        folders = {"first": args.first, "second": args.second}
        loaded = {n: embedded.load_embedded(folder=f) for n, f in folders.items() if f is not None and n in methods}
        depth = loaded.get("second") or embedded.load_embedded(folder=args.second)
        models = {**loaded, "reference": depth, "oracle": depth}
        for index in range(args.start, args.objects):
            for method in methods:
                run_one(method, index, models, args.work, args.seed)
    found = read(args.work, args.objects)
    (args.out / "networks.md").write_text(report(found, args.seed), encoding="utf-8")
    for index in SHOWN:
        picture(index, args.work, args.out / f"networks-{index:02d}.jpg")


if __name__ == "__main__":
    main()
