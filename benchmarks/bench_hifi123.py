"""HiFi-123 on held-out toybox objects against the truth: the paper's Tables 1 and 3, Supplementary Table 2 and Fig. 7.

    python benchmarks/bench_hifi123.py [--objects 0-9] [--parts refine,targets,views,trip] [--jobs 1] [--out FOLDER]

All with the embedded networks and the quickstart preset.  refine: one coarse stage per object, then its surface, whose
shape stays, is painted by RGSD, by SDS of the text prior, of the view prior, of both, or by the reference view alone
("reference"), each for the preset's iterations; "coarse" has the coarse stage's colors.  targets: where RGSD pulls
renders of the coarse surface, against the truth, next to what the network's autoencoder makes of the truth itself.
views: RGNV on the view prior's samples, inverted to the paper's level (600 of 1000), and Fig. 7's ablations; results as
pictures.  trip: inversion to that level and reconstruction of the reference picture.
Every result is kept in ``--work``, so an interrupted run goes on where it stopped; --fresh starts over.

The preset's RGSD settings (space, guidance, rungs) were chosen by looking at objects 0, 3 and 5 of the first toybox; the
others had no part in it.

PSNR and SSIM on white, at 128 pixels over the 17 novel views of the 18 (refine) or at the network's size over 7 views
around the object (targets, views); "inside" is PSNR where result and truth both have the object.  LPIPS is not reported: its
published weights are not at hand, and random ones say nothing.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import os
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import torch
from bench_consistent123 import reference_of  # loads the pack
from bench_tools import ROOT, machine, table
from lift123.pipelines import hifi123
from lift123.pipelines.core.cameras import Cameras
from lift123.pipelines.io.color import encode_png
from lift123.pipelines.loaders import embedded
from lift123.pipelines.metrics.image import psnr, ssim
from lift123.pipelines.metrics.protocol import eighteen_views
from lift123.pipelines.priors.rgsd import expected_depth
from lift123.pipelines.stages.loop.scene import Scene
from lift123.pipelines.stages.objects import enhance_views as tools
from lift123.pipelines.stages.objects.fit_nerf import fit_nerf
from lift123.pipelines.stages.objects.refine_mesh import refine_mesh
from lift123.pipelines.stages.results.render_views import contact_sheet, render_scene
from lift123.pipelines.toybox.objects import heldout_seed, make_object
from lift123.pipelines.toybox.render import render_toy
from lift123.verification.means import paired, summary

PARTS = ("refine", "targets", "views", "trip")
PAINTED = ("rgsd", "text", "view", "both", "reference")  # after "coarse"
FIG7 = {"all": {}, "SDEdit": {"start": "noise"}, "no depth": {"depth": False}, "no injection": {"inject": False}}
TARGETS = {"12 rungs": {"rungs": 12}, "12 rungs, words": {"rungs": 12, "guidance": 1.0},
           "12 rungs, guidance 3": {"rungs": 12, "guidance": 3.0}}  # beside the preset's
NOTE = Path(__file__).resolve().parent / "notes" / "hifi123.md"  # written by hand
LEVEL = {"steps": 20, "rungs": 12}  # (paper) 0.6 of the schedule
VIEW_SIZE, AROUND, SAMPLER_STEPS = 128, 8, 25
FIGURES = {"novel_psnr": 2, "novel_ssim": 3, "inside_psnr": 2, "reference_psnr": 2, "reference_inside": 2, "cpu_seconds": 0}
VIEW_FIGURES = {"psnr": 2, "ssim": 3, "inside_psnr": 2}
HEADS = {"novel_psnr": "novel PSNR dB", "novel_ssim": "novel SSIM", "inside_psnr": "inside PSNR dB",
         "reference_psnr": "reference PSNR dB", "reference_inside": "reference, inside, dB",
         "cpu_seconds": "CPU s", "psnr": "PSNR dB", "ssim": "SSIM"}


class Shelf:
    """Results of one object on disk; ``kept`` gives a figure that is there already."""

    def __init__(self, work: Path, index: int, fresh: bool):
        self.work, self.index, self.fresh = work, index, fresh

    def path(self, name: str, suffix: str) -> Path:
        """Of one result."""
        return self.work / f"{self.index:03d}-{name.replace(' ', '-')}.{suffix}"

    def kept(self, name: str) -> dict | None:
        """Figures of an earlier run."""
        path = self.path(name, "json")
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() and not self.fresh else None

    def keep(self, name: str, figures: dict, picture: torch.Tensor | None = None) -> dict:
        """Writes figures, and a picture [H, W, 3]."""
        if picture is not None:
            self.path(name, "png").write_bytes(encode_png(picture.clamp(0, 1)))
        self.path(name, "json").write_text(json.dumps(figures, indent=1), encoding="utf-8")
        return figures


# ------------------------------------------------------------------------------------------ refine


def coarse_scene(shelf: Shelf, reference, models, preset, seed: int) -> Scene:
    """The coarse stage's radiance field, from disk when it is there."""
    path = shelf.path("coarse", "safetensors")
    if path.is_file() and not shelf.fresh:
        return Scene.load(path)
    scene = fit_nerf(reference, hifi123.coarse_prior(reference, models, preset), preset.nerf, seed=seed)
    scene.without_optimizer().save(path)
    return scene


def painter(method: str, reference, models, preset):
    """(prior, mesh configuration) of one way to paint."""
    plain = replace(preset.mesh, novel_background="white")  # what the text and view networks have seen
    if method == "rgsd":
        return hifi123.refine_prior(reference, models, preset), preset.mesh
    if method == "reference":
        return None, plain
    chosen = SimpleNamespace(text=models.text if method in ("text", "both") else None,
                             view=models.view if method in ("view", "both") else None)
    return hifi123.coarse_prior(reference, chosen, preset), plain


def measure(scene: Scene, truth, cameras) -> tuple[dict, torch.Tensor]:
    """(figures, pictures) of a scene; view 0 is the reference view."""
    drawn = render_scene(scene, cameras, want_normal=False, supersample=2)
    pictures, wanted = drawn.composite(1.0).clamp(0, 1), truth.on_background(1.0)
    decibels = psnr(pictures, wanted)
    inside = (drawn.alpha > 0.99) & (truth.alpha > 0.99)
    return {
        "novel_psnr": float(decibels[1:].mean()), "novel_ssim": float(ssim(pictures, wanted)[1:].mean()),
        "inside_psnr": inside_psnr(pictures[1:], wanted[1:], inside[1:]), "reference_psnr": float(decibels[0]),
        "reference_inside": inside_psnr(pictures[:1], wanted[:1], inside[:1]),
    }, pictures


def inside_psnr(a: torch.Tensor, b: torch.Tensor, inside: torch.Tensor) -> float:
    """dB of all pixels where both have the object."""
    return float(-10 * torch.log10((a - b).square()[inside].mean().clamp_min(1e-10)))


def run_refine(shelf: Shelf, toy, reference, models, preset, seed: int, methods=PAINTED) -> dict:
    """method -> figures."""
    cameras = eighteen_views(VIEW_SIZE)
    truth, found = render_toy(toy, cameras), {}
    for method in ("coarse", *methods):
        name = f"refine-{method}"
        figures = shelf.kept(name)
        if figures is None:
            coarse, start = coarse_scene(shelf, reference, models, preset, seed), time.process_time()
            prior, config = (None, preset.mesh) if method == "coarse" else painter(method, reference, models, preset)
            scene = refine_mesh(prior, coarse, config, reference=reference, until=0 if method == "coarse" else None)
            spent = time.process_time() - start
            figures, pictures = measure(scene, truth, cameras)
            shelf.keep(name, {**figures, "cpu_seconds": spent}, contact_sheet(pictures, 9))
        found[method] = shelf.kept(name) or figures
    path = shelf.path("refine-truth", "png")
    if not path.is_file():
        path.write_bytes(encode_png(contact_sheet(truth.on_background(1.0), 9)))
    return found


# ------------------------------------------------------------------------------------------ targets, views


@torch.no_grad()
def run_targets(shelf: Shelf, toy, reference, models, preset, seed: int) -> dict:
    """name -> figures: what RGSD's targets (tau = 0, as pictures) are worth, made from the coarse surface."""
    network, names = models.depth_text, ("coarse", "truth through autoencoder", "preset", *TARGETS)
    kept = {name: shelf.kept(f"targets-{name}") for name in names}
    if all(kept.values()):
        return kept
    scene = refine_mesh(None, coarse_scene(shelf, reference, models, preset, seed), preset.mesh, until=0)
    cameras = around(reference, network.image_size)
    drawn, truth = render_scene(scene, cameras, want_normal=False, supersample=2), render_toy(toy, cameras)
    shown, wanted = drawn.composite(1.0).clamp(0, 1), truth.on_background(1.0)
    latents, inside = network.encode(shown).float(), (drawn.alpha > 0.99) & (truth.alpha > 0.99)
    decode, before = network.runtime.decode, network.runtime.decode(latents)
    pictures = {"coarse": shown, "truth through autoencoder": decode(network.encode(wanted).float())}
    for name, changes in {"preset": {}, **TARGETS}.items():
        guide = tools.reference_guide(network, reference, replace(preset.guide, **changes))
        depth, _ = guide.perceive(expected_depth(drawn), drawn.alpha)
        pictures[name] = (shown + decode(guide.targets(latents, depth, cameras)[0]) - before).clamp(0, 1)
    return {name: shelf.keep(f"targets-{name}", {"inside_psnr": inside_psnr(p, wanted, inside)}) for name, p in pictures.items()}


def around(reference, size: int) -> Cameras:
    """The novel cameras of Table 1: evenly around the object at its own elevation, without the reference's."""
    home = reference.camera
    azimuth = home.azimuth + torch.arange(1, AROUND) * (2 * math.pi / AROUND)
    return Cameras.orbit(azimuth, home.elevation, home.radius, home.fovy, size, size)


def run_views(shelf: Shelf, toy, reference, models, preset, seed: int) -> dict:
    """variant of RGNV (and "before", and "autoencoder", which shows what any of them can reach) -> figures."""
    network, names = models.depth_text, ("before", "autoencoder", *FIG7)
    kept = {name: shelf.kept(f"views-{name}") for name in names}
    if all(kept.values()):
        return kept
    cameras = around(reference, network.image_size)
    guided = models.view.with_guidance(preset.view_guidance)
    conditioned = guided.with_reference(reference.on_background(), reference.camera)
    with torch.no_grad():
        views = conditioned.sample(cameras, SAMPLER_STEPS, torch.Generator().manual_seed(seed))
    truth = render_toy(toy, cameras)
    results = {"before": views, "autoencoder": network.runtime.decode(network.encode(truth.on_background(1.0)))}
    for name, changes in FIG7.items():
        settings = replace(preset.views, **changes)
        results[name] = tools.enhance_views(network, reference, views, cameras=cameras, settings=settings,
                                            estimator=models.depth)[1]
    wanted, found = truth.on_background(1.0), {}
    object_there = truth.alpha > 0.99
    for name, pictures in results.items():
        both = object_there & ((1 - views).abs().amax(-1) > 0.1)  # the same pixels for all of them
        found[name] = {"psnr": float(psnr(pictures, wanted).mean()), "ssim": float(ssim(pictures, wanted).mean()),
                       "inside_psnr": inside_psnr(pictures, wanted, both)}
        shelf.keep(f"views-{name}", found[name])
    rows = [wanted, *(results[name] for name in names)]
    shelf.path("views", "png").write_bytes(encode_png(contact_sheet(torch.cat(rows), AROUND - 1).clamp(0, 1)))
    return found


# ------------------------------------------------------------------------------------------ trip


def run_trip(shelf: Shelf, toy, reference, models, preset, seed: int) -> dict:
    """way -> figures of the inversion round trip."""
    kept = shelf.kept("trip")
    if kept is None:
        trip = tools.reconstruct(models.depth_text, reference, replace(preset.guide, **LEVEL))
        kept = shelf.keep("trip", trip.errors, torch.cat(list(trip.pictures.values()), 1))
    return kept


# ------------------------------------------------------------------------------------------ all


def run_object(index: int, options: dict) -> tuple[int, str, dict]:
    """(index, caption, part -> results) of one object; in a process of its own where there are several jobs."""
    torch.set_num_threads(1)
    preset, models = hifi123.QUICKSTART, embedded.load_embedded()
    toy, found = make_object(heldout_seed(index)), {}
    reference = reference_of(toy, preset, models)
    shelf = Shelf(Path(options["work"]), index, options["fresh"])
    refine = partial(run_refine, methods=options["methods"])
    run = {"refine": refine, "targets": run_targets, "views": run_views, "trip": run_trip}
    for part in options["parts"]:
        found[part] = run[part](shelf, toy, reference, models, preset, options["seed"])
    return index, toy.caption, found


def gathered(results: list, part: str) -> dict[str, list[dict]]:
    """name -> figures of every object."""
    return {name: [found[part][name] for _, _, found in results] for name in results[0][2][part]}


def rows_of(figures: dict[str, list[dict]], columns: dict[str, int]) -> list[list]:
    """One row per name, means and standard errors over objects."""
    rows = []
    for name, each in figures.items():
        cells = []
        for column, digits in columns.items():
            if column not in each[0]:
                cells.append(None)
                continue
            mean = summary({(i, 0): f[column] for i, f in enumerate(each)})
            cells.append(f"{mean.mean:.{digits}f}" + ("" if column == "cpu_seconds" else f" +- {mean.over_objects:.{digits}f}"))
        rows.append([name, *cells])
    return rows


def gaps(figures: dict[str, list[dict]], one: str, others: list[str], columns: dict[str, int]) -> str:
    """``one`` minus each of ``others``, object by object."""
    lines = []
    for other in others:
        for column, digits in columns.items():
            if column not in figures[one][0]:
                continue
            a, b = ({(i, 0): f[column] for i, f in enumerate(figures[name])} for name in (one, other))
            gap = paired(a, b)
            mean, error = gap.difference.mean, gap.difference.over_objects
            lines.append(f"- {one} minus {other}, {HEADS[column]}: {mean:+.{digits}f} (standard error {error:.{digits}f}), "
                         f"better on {gap.wins} of {gap.difference.objects}")
    return "\n".join(lines) + "\n"


def report(results: list, parts: list[str], seed: int) -> str:
    """The markdown page."""
    preset = hifi123.QUICKSTART
    lines = [f"# {preset.name}, held-out toybox objects\n", f"{machine()} Seed {seed}; {len(results)} objects.\n",
             "\n\n".join(__doc__.split("\n\n")[2:]).strip() + "\n",
             NOTE.read_text(encoding="utf-8") if NOTE.is_file() else ""]
    if "refine" in parts:
        figures, columns = gathered(results, "refine"), {k: v for k, v in FIGURES.items() if k != "cpu_seconds"}
        lines += [f"## Refinement of one coarse mesh ({preset.mesh.iterations} iterations)\n",
                  table(["painted by", *(HEADS[c] for c in FIGURES)], rows_of(figures, FIGURES)),
                  gaps(figures, "rgsd", [m for m in figures if m != "rgsd"], columns)]
        per = [[i, caption, *(f"{found['refine'][m]['novel_psnr']:.1f} / {found['refine'][m]['inside_psnr']:.1f}"
                              for m in figures)] for i, caption, found in results]
        lines += ["Per object, novel / inside PSNR:\n", table(["object", "caption", *figures], per)]
    if "targets" in parts:
        columns = {"inside_psnr": 2}
        lines += ["## Where RGSD pulls the coarse surface\n",
                  table(["", HEADS["inside_psnr"]], rows_of(gathered(results, "targets"), columns))]
    if "views" in parts:
        figures = gathered(results, "views")
        lines += ["## RGNV on the view prior's samples\n", table(["", *(HEADS[c] for c in VIEW_FIGURES)],
                                                                rows_of(figures, VIEW_FIGURES)),
                  gaps(figures, "all", ["before", *list(FIG7)[1:]], VIEW_FIGURES)]
    if "trip" in parts:
        columns = {"PSNR": 2, "SSIM": 3, "L2": 2, "latent": 3}
        lines += ["## Inversion and reconstruction of the reference\n",
                  table(["", *columns], rows_of(gathered(results, "trip"), columns))]
    return "\n".join(lines)


def worst(results: list, part: str, one: str, other: str) -> int:
    """The object that ``one`` serves worst compared with ``other``, inside."""
    return min(results, key=lambda r: r[2][part][one]["inside_psnr"] - r[2][part][other]["inside_psnr"])[0]


def show_worst(results: list, parts: list[str], work: Path, out: Path) -> str:
    """Copies sheets of the objects with the largest losses; markdown that shows them."""
    from PIL import Image

    text = ""
    if "refine" in parts:
        index = worst(results, "refine", "rgsd", "coarse")
        names = ["truth", "coarse", "rgsd", "text", "reference"]
        sheets = [Image.open(Shelf(work, index, False).path(f"refine-{n}", "png")) for n in names]
        size, shown = VIEW_SIZE, range(0, 9, 2)  # every other view of the first half
        joined = Image.new("RGB", (len(shown) * size, len(sheets) * size))
        for row, sheet in enumerate(sheets):
            for column, view in enumerate(shown):
                joined.paste(sheet.crop((view * size, 0, (view + 1) * size, size)), (column * size, row * size))
        joined.save(out / "hifi123-worst-refine.png", optimize=True)
        text += (f"\nObject {index}, where RGSD loses most (or gains least) inside; from above {', '.join(names)}; the reference "
                 "view first, then on around to the back:\n\n![refinement](hifi123-worst-refine.png)\n")
    if "views" in parts:
        index = worst(results, "views", "all", "before")
        Image.open(Shelf(work, index, False).path("views", "png")).save(out / "hifi123-worst-views.png", optimize=True)
        text += (f"\nObject {index}, where RGNV loses most inside; from above truth, before, truth through the autoencoder, "
                 f"{', '.join(FIG7)}:\n\n![views](hifi123-worst-views.png)\n")
    return text


def main() -> None:
    """Runs what is not kept yet and writes the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--objects", default="0-9", help="held-out objects, for example 0-4,7")
    parser.add_argument("--parts", default=",".join(PARTS))
    parser.add_argument("--methods", default=",".join(PAINTED), help="ways to paint, beside the coarse colors")
    parser.add_argument("--jobs", type=int, default=1, help="processes of one thread each")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=Path, default=ROOT / ".lift123" / "bench_hifi123")
    parser.add_argument("--out", type=Path, default=Path(__file__).resolve().parent / "results")
    parser.add_argument("--fresh", action="store_true", help="ignore kept results")
    args = parser.parse_args()
    parts = args.parts.split(",")
    if not set(parts) <= set(PARTS):
        parser.error(f"unknown parts in {args.parts}; there are {PARTS}")
    if not {"rgsd"} <= set(args.methods.split(",")) <= set(PAINTED):
        parser.error(f"methods must be of {PAINTED}, rgsd among them, got {args.methods}")
    for folder in (args.work, args.out):
        folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1")
    options = {"work": str(args.work), "fresh": args.fresh, "parts": parts, "seed": args.seed,
               "methods": [m for m in args.methods.split(",") if m]}
    ranges = [part.split("-") for part in args.objects.split(",")]
    indices = [i for part in ranges for i in range(int(part[0]), int(part[-1]) + 1)]
    with ProcessPoolExecutor(args.jobs, multiprocessing.get_context("spawn")) as pool:
        results = []
        for result in pool.map(run_object, indices, [options] * len(indices)):
            results.append(result)
            shown = " ".join(f"{m} {f['novel_psnr']:.2f}" for m, f in result[2].get("refine", {}).items())
            print(f"{result[0]:3d} {result[1]}  {shown}", flush=True)  # a script's output
    page = report(results, parts, args.seed) + show_worst(results, parts, args.work, args.out)
    (args.out / "hifi123.md").write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
