"""Consistent123 and what it has to be compared with, on the 20 quick objects: an hour on two cores at most.

    python benchmarks/bench_quick.py [--objects 20] [--seeds 1] [--jobs 2] [--only consistent123,oracle] [--real] [--report]

Variants: Consistent123 (quickstart preset, embedded networks); the 3D prior alone; Magic123; the same stages without any
prior; the mask's outline extruded; the exact denoiser of the true view.  Runs are recorded in ``.lift123/bench/quick`` and
never repeated while their settings, networks and objects are the same.  ``--real`` adds the pictures of
``../shared/data/objects``, of which the true shape is unknown: reference view only.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from types import SimpleNamespace

import back_views
import bench_real
import torch
from ablations import Ablation, quick_variants
from bench_runs import Task, default_folder, gather, networks, record_path, run_all, sheet_path, toy, truth_sheet
from bench_tools import machine, table
from lift123.pipelines import consistent123
from papers_report import EXPLAINED, PAIRED_EXPLAINED, figures, incomplete, left_out, means_table, paired_table

WORST = 3


def comparison() -> Ablation:
    """The quick suite as a table whose first row everything is compared with."""
    return Ablation("quick", "Quick benchmark", "How good is Consistent123, and compared with what?", quick_variants())


def per_object(found: dict, names: list[str], seeds: int) -> str:
    """IoU / novel PSNR of every object, averaged over seeds; nothing is left out."""
    indices = sorted({key[0] for records in found.values() for key in records})
    rows = []
    for index in indices:
        cells = []
        for name in names:
            pairs = [[values[index, s] for s in range(seeds) if (index, s) in values]
                     for values in (figures(found[name], m) for m in ("iou", "novel_psnr"))]
            means = [sum(p) / len(p) if p else float("nan") for p in pairs]
            cells.append(f"{means[0]:.3f} / {means[1]:.1f}" if pairs[0] else None)
        rows.append([index, toy(index).caption, *cells])
    return table(["object", "caption", *names], rows)


def worst_pictures(found: dict, args) -> str:
    """The runs of the first variant with the lowest IoU, truth above, as markdown; writes the pictures."""
    from PIL import Image

    name = quick_variants()[0].name
    values, lines = figures(found[name], "iou"), []
    for place, key in enumerate(sorted(values, key=values.get)[:WORST]):
        with Image.open(sheet_path(record_path(args.work, name, *key))) as file:
            mine = file.convert("RGB")
        truth = Image.fromarray((truth_sheet(key[0]) * 255).round().to(torch.uint8).numpy())
        both = Image.new("RGB", (mine.width, mine.height * 2))
        both.paste(truth, (0, 0))
        both.paste(mine, (0, mine.height))
        file = f"quick_worst_{place}.jpg"
        both.save(args.out / file, quality=85)
        lines.append(f"{toy(key[0]).caption} (object {key[0]}, seed {key[1]}, IoU {values[key]:.3f})\n\n![worst]({file})\n")
    return "\n".join(lines)


def real_pictures(args) -> str:
    """Reference view of the real pictures, run where it is not recorded; '' where they are not beside the repository."""
    if not bench_real.DATA.is_dir():
        return ""
    rows = []
    for name, prompt in bench_real.PROMPTS.items():
        told = SimpleNamespace(work=args.work, fresh=args.fresh, seed=0)
        kept = args.work / f"real-{name}.json"
        if args.report and not kept.is_file():
            continue
        made = bench_real.lift_picture(name, consistent123.QUICKSTART, networks()[0], told)
        rows.append([name, prompt, f"{made['reference_psnr']:.1f}", made["switch_step"]])
    head = ["picture", "prompt (toybox words)", "reference PSNR dB, 192 px", "switch step"]
    return "\n## Real pictures: the reference view only\n\n" + table(head, rows) if rows else ""


def page(found: dict, missing: dict[str, str], real: str, args) -> str:
    """The markdown page."""
    told = comparison()
    names = [v.name for v in told.variants]
    parts = [f"# {told.title}: {args.objects} toybox objects, {args.seeds} seed(s)\n",
             f"{machine()} Quickstart presets, embedded networks.\n", __doc__.split("\n\n")[2] + "\n"]
    parts.append(incomplete(missing))
    parts += ["## Means\n", EXPLAINED, means_table(told, found), "\n## Paired differences\n", PAIRED_EXPLAINED,
              paired_table(told, found), "\n## Every object: IoU / novel PSNR dB\n", per_object(found, names, args.seeds),
              back_views.section(found, names, args.work),
              "\n## Worst by IoU (truth above)\n", worst_pictures(found, args), left_out(found), real]
    return "\n".join(parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    known = [v.name for v in quick_variants()]
    parser.add_argument("--objects", type=int, default=20)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=2, help="processes of one thread each")
    parser.add_argument("--only", default="", help="variants, comma-separated: " + ", ".join(known))
    parser.add_argument("--real", action="store_true", help="also the pictures of ../shared/data/objects, where they are")
    parser.add_argument("--report", action="store_true", help="run nothing, write the page")
    parser.add_argument("--work", type=Path, default=default_folder("quick"))
    parser.add_argument("--out", type=Path, default=Path(__file__).resolve().parent / "results")
    parser.add_argument("--fresh", action="store_true", help="ignore kept results")
    args = parser.parse_args()
    chosen = [n for n in args.only.split(",") if n] or known
    if set(chosen) - set(known):
        parser.error(f"no variant {sorted(set(chosen) - set(known))}; there are: {', '.join(known)}")
    args.out.mkdir(parents=True, exist_ok=True)
    if not args.report:
        names = tuple(n for n in known if n in chosen)
        run_all([Task("quick", index, seed, names, args.work, args.fresh)
                 for seed in range(args.seeds) for index in range(args.objects)], args.jobs)
    torch.set_num_threads(1)
    real = real_pictures(args) if args.real else ""
    found, missing = gather("quick", args.work, known, range(args.objects), range(args.seeds))
    (args.out / "quick.md").write_text(page(found, missing, real, args), encoding="utf-8")
    print(f"{args.out / 'quick.md'}; {len(missing)} runs missing", flush=True)  # a script's output


if __name__ == "__main__":
    main()
