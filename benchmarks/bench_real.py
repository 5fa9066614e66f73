"""Consistent123 on real pictures: is the reference view reproduced, and what does the rest look like?

    python benchmarks/bench_real.py [--objects teddy_bear,banana] [--out FOLDER]

Reads ``../shared/data/objects/<name>/rgba.png`` and ``depth.png`` (inverse depth) and runs the quickstart preset with
the embedded networks.  Writes a table; contact sheets go to ``--work`` (they show other people's pictures, so they are
looked at, not published).  PSNR of the reference view at 192 px on white.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
from bench_tools import ROOT, load_pack, machine, table

load_pack()

from lift123.pipelines import consistent123 as paper
from lift123.pipelines.io.color import encode_png
from lift123.pipelines.loaders import embedded
from lift123.pipelines.metrics.image import psnr
from lift123.pipelines.stages.inputs.reference import prepare_reference
from lift123.pipelines.stages.results.render_views import contact_sheet, render_scene, turntable_views

DATA = ROOT.parent / "shared" / "data" / "objects"
PROMPTS = {
    "teddy_bear": "a brown bear", "banana": "a yellow banana", "colorful_teapot": "a blue mug checkered with orange",
    "two_donuts": "a pink ring", "cactus": "a green cactus", "cat_statue": "a gray animal upright striped with orange",
    "fish_real_nemo": "an orange fish striped with white", "metal_dragon_statue": "a gray animal",
    "nerf4_chair": "a green chair", "nerf4_mic": "a gray lamp",
}
SIZE = 192


def lift_picture(name: str, preset: paper.Preset, models, args) -> dict:
    """Figures and contact sheet of one picture, from disk when already known."""
    kept = args.work / f"real-{name}.json"
    if kept.is_file() and not args.fresh:
        return json.loads(kept.read_text(encoding="utf-8"))
    start = time.process_time()
    reference, notes = prepare_reference(
        _picture(name, "rgba"), depth=_picture(name, "depth"), prompt=PROMPTS[name],
        size=preset.reference_size, depth_convention="inverse",
    )
    scene = paper.run(reference, models, preset, seed=args.seed)
    seconds = time.process_time() - start
    target = reference.resized(SIZE)
    shown = render_scene(scene, target.cameras, want_normal=False, supersample=2).composite(1.0).clamp(0, 1)
    sheet = contact_sheet(turntable_views(scene, 12, SIZE, 0.26), 6)
    figures = {
        "name": name, "reference_psnr": float(psnr(shown, target.on_background(1.0))), "seconds": seconds,
        "switch_step": scene.switch_step, "notes": notes,
    }
    pair = torch.cat([target.on_background(1.0)[0], shown[0]])
    padded = torch.nn.functional.pad(pair, (0, 0, 0, 0, 0, max(0, len(sheet) - len(pair))), value=1.0)
    (args.work / f"real-{name}.png").write_bytes(encode_png(torch.cat([padded[: len(sheet)], sheet], 1)))
    kept.write_text(json.dumps(figures, indent=1), encoding="utf-8")
    return figures


def _picture(name: str, kind: str) -> torch.Tensor:
    from PIL import Image

    return torch.from_numpy(np.array(Image.open(DATA / name / f"{kind}.png"))).float() / 255


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--objects", default=",".join(PROMPTS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--work", type=Path, default=ROOT / ".lift123" / "bench")
    parser.add_argument("--out", type=Path, default=Path(__file__).resolve().parent / "results")
    parser.add_argument("--fresh", action="store_true", help="ignore kept results")
    args = parser.parse_args()
    if not DATA.is_dir():
        parser.error("needs the pictures of ../shared/data/objects beside the repository")
    torch.set_num_threads(args.threads)
    args.work.mkdir(parents=True, exist_ok=True)
    args.out.mkdir(parents=True, exist_ok=True)
    models, rows = embedded.load_embedded(), []
    for name in args.objects.split(","):
        figures = lift_picture(name, paper.QUICKSTART, models, args)
        psnr_db, seconds = f"{figures['reference_psnr']:.1f}", f"{figures['seconds']:.0f}"
        rows.append([name, PROMPTS[name], psnr_db, figures["switch_step"], seconds])
        print(*rows[-1], flush=True)
    head = ["picture", "prompt (toybox words)", "reference PSNR dB", "switch at iteration", "seconds"]
    page = f"# Consistent123, quickstart preset, real pictures\n\n{machine()} Seed {args.seed}.\n\n{table(head, rows)}"
    (args.out / "real_pictures.md").write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
