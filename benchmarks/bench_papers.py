"""All ablations of the papers with the embedded networks: resumable, in parallel, one page per ablation.

    python benchmarks/bench_papers.py [--objects 4] [--seeds 2] [--jobs 2] [--only NAME] [--variants a,b] [--report]

Presets: the quickstarts, shortened (see ``ablations.shortened``); no texture is baked, results are judged as surfaces.
Objects are the first of the quick benchmark set.  Runs are recorded in ``.lift123/bench/papers`` and never repeated while
their settings, networks and objects are the same; --report writes the pages from what there is.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from ablations import SHORT_MESH, SHORT_MESH_SIZE, SHORT_NERF, Ablation, short_ablations, variants_of
from bench_runs import Task, default_folder, gather, record_path, run_all, sheet_path, truth_sheet
from bench_tools import machine, table
from papers_report import against_paper, page, tally, worst

RESULTS = Path(__file__).resolve().parent / "results"
NOTES = Path(__file__).resolve().parent / "notes"


def selected(only: str) -> dict[str, Ablation]:
    """The ablations of a comma-separated list; all for an empty one.  ValueError names those that there are."""
    known = short_ablations()
    names = [n for n in only.split(",") if n] or list(known)
    unknown = sorted(set(names) - set(known))
    if unknown:
        raise ValueError(f"no ablation {unknown}; there are: {', '.join(known)}")
    return {name: known[name] for name in names}


def worst_picture(ablation: Ablation, found: dict, args) -> str | None:
    """Truth and all variants of the first variant's worst run as a JPEG; its file name."""
    import numpy as np
    from lift123.pipelines.io.table_picture import labeled
    from PIL import Image

    key = worst(found, ablation.variants[0].name)
    if key is None:
        return None
    rows = [labeled(truth_sheet(key[0]), "truth")]
    for variant in ablation.variants:
        path = sheet_path(record_path(args.work, variant.name, *key))
        if key in found[variant.name] and path.is_file():
            with Image.open(path) as file:
                pixels = torch.from_numpy(np.array(file.convert("RGB"))).float() / 255
            rows.append(labeled(pixels, f"{variant.name}: {variant.told}"))
    name = f"papers_{ablation.name}_worst.jpg"
    pixels = (torch.cat(rows) * 255).round().to(torch.uint8).numpy()
    Image.fromarray(pixels).save(args.out / name, quality=85)
    return name


def head_of(args) -> str:
    """How the numbers came about."""
    return (
        f"{machine()} Embedded networks; {args.objects} objects of the quick set, {args.seeds} seeds; shortened quickstart "
        f"presets ({SHORT_NERF} + {SHORT_MESH} iterations, mesh renders at {SHORT_MESH_SIZE} px, no texture baked). CLIP is the "
        "embedded one, so its values compare with nothing outside this page. The papers measured photographs with Stable "
        "Diffusion and Zero-1-to-3; what can be compared is the sign of a difference.\n\n"
        f"Again: `python3 launch.py bench papers --objects {args.objects} --seeds {args.seeds}`\n"
    )


def write_pages(chosen: dict[str, Ablation], args) -> list[str]:
    """One page per ablation and the summary; what is missing."""
    every, lines = {}, []
    for name, ablation in chosen.items():
        names = [v.name for v in ablation.variants]
        found, missing = gather("papers", args.work, names, range(args.objects), range(args.seeds))
        every |= missing
        note = NOTES / f"papers_{name}.md"
        text = page(ablation, found, missing, head_of(args), worst_picture(ablation, found, args),
                    note.read_text(encoding="utf-8") if note.is_file() else "")
        (args.out / f"papers_{name}.md").write_text(text, encoding="utf-8")
        runs = sum(len(records) for records in found.values())
        lines.append([f"[{ablation.title}](papers_{name}.md)", f"{runs} of {runs + len(missing)}",
                      tally(against_paper(ablation, found))])
    if len(chosen) == len(short_ablations()):
        text = f"# The papers' ablations\n\n{head_of(args)}\n" + table(["ablation", "runs", "orderings"], lines)
        (args.out / "papers.md").write_text(text, encoding="utf-8")
    return sorted(every)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--objects", type=int, default=4)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--jobs", type=int, default=2, help="processes of one thread each")
    parser.add_argument("--only", default="", help="ablations, comma-separated: " + ", ".join(short_ablations()))
    parser.add_argument("--variants", default="", help="only these variants, comma-separated")
    parser.add_argument("--report", action="store_true", help="run nothing, write the pages")
    parser.add_argument("--work", type=Path, default=default_folder("papers"))
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--fresh", action="store_true", help="ignore kept results")
    args = parser.parse_args()
    try:
        chosen = selected(args.only)
    except ValueError as problem:
        parser.error(str(problem))
    wanted = {v.name for ablation in chosen.values() for v in ablation.variants}
    if args.variants:
        wanted &= set(args.variants.split(","))
    names = tuple(name for name in variants_of("papers") if name in wanted)
    args.out.mkdir(parents=True, exist_ok=True)
    if not args.report:
        tasks = [Task("papers", index, seed, names, args.work, args.fresh)
                 for seed in range(args.seeds) for index in range(args.objects)]
        run_all(tasks, args.jobs)
    torch.set_num_threads(1)
    missing = write_pages(chosen, args)
    print(f"pages in {args.out}; {len(missing)} runs missing", flush=True)  # a script's output


if __name__ == "__main__":
    main()
