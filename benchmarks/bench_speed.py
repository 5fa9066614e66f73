"""How much faster the quickstarts are than those of an earlier commit: both in turn, ratio by pair.

    python benchmarks/bench_speed.py [--base COMMIT] [--rounds 3] [--methods consistent123,magic123,hifi123,stdgen]
                                     [--threads 2] [--share 1.0] [--busy 0] [--out FOLDER]

Each run is a process of its own: networks are loaded, a picture becomes a textured mesh as bytes of a GLB.  Not counted are
imports and the drawing of the toy, whose picture is what a person comes with.  Wall and CPU seconds (of all threads) are the
process's own clocks; ratios are this tree over the base, and the page gives their least, median and greatest.  ``--share``
shortens the iterations (for machines with little time, and the page says so); ``--busy`` has as many processes beside them
that never rest.  The base is checked out below ``.lift123/bench``.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

HERE = Path(__file__).resolve().parent
BASE = "dce42f3"
METHODS = ("consistent123", "magic123", "hifi123", "stdgen")
BUSY = "while True: pass"
LIBRARIES = ("diffusers.models.unets.unet_2d_condition", "diffusers.models.autoencoders.autoencoder_kl",
             "transformers.models.clip.modeling_clip", "scipy.stats", "xatlas")


# ------------------------------------------------------------------------------------------- one run, in its own process


def child(root: Path, method: str, share: float) -> None:
    """One run with the pack at ``root``; prints its figures as JSON."""
    sys.path.insert(0, str(root / "benchmarks"))
    from bench_tools import load_pack

    load_pack()
    import bench_stdgen  # noqa: F401  imports most of the pack before the clock starts

    for name in LIBRARIES:
        import_module(name)
    try:
        from lift123.pipelines.core.threads import single
    except ImportError:  # a commit without a rule of threads
        from contextlib import nullcontext as single
    work = character() if method == "stdgen" else lifted(method, share)
    wall, cpu = time.perf_counter(), time.process_time()
    with single():  # as the nodes do
        size = work()
    print(json.dumps({"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu, "bytes": size}))


def lifted(method: str, share: float) -> Callable[[], int]:
    """Makes, when called, a GLB of one object of the quick set; its bytes."""
    from dataclasses import replace

    from lift123.pipelines.io.glb import write_glb
    from lift123.pipelines.loaders.embedded import load_embedded
    from lift123.pipelines.stages.inputs.reference import ReferenceView
    from lift123.pipelines.stages.results.asset import textured_mesh
    from lift123.pipelines.toybox.render import reference_camera, render_toy
    from lift123.verification.toy_sets import QUICK, benchmark_object

    paper = import_module(f"lift123.pipelines.{method}")
    preset, toy = paper.QUICKSTART, benchmark_object(QUICK[0])
    stages = {name: getattr(preset, name) for name in ("nerf", "mesh")}
    preset = replace(preset, **{k: replace(v, iterations=max(4, round(v.iterations * share))) for k, v in stages.items()})
    views = render_toy(toy, reference_camera(preset.reference_size))
    reference = ReferenceView(replace(views, depth=None, normal=None), toy.caption)

    def work() -> int:
        models = load_embedded()
        seen = reference.with_depth(models.depth.depth(views.rgb[0], views.alpha[0]))
        scene = paper.run(seen, models, preset, seed=0)
        return len(write_glb(None, textured_mesh(scene, preset.bake)))

    return work


def character() -> Callable[[], int]:
    """Makes, when called, the painted layers of one held-out figure; their vertices.  Its iterations are never shortened."""
    from lift123.pipelines import stdgen
    from lift123.pipelines.loaders.embedded_characters import load_embedded_characters
    from lift123.pipelines.stages.characters.picture import CharacterPicture
    from lift123.pipelines.toybox.characters import heldout_character, input_picture

    rgba = input_picture(heldout_character(10), 0, 256)

    def work() -> int:
        made = stdgen.run(CharacterPicture(rgba[..., :3], rgba[..., 3]), load_embedded_characters(), stdgen.QUICKSTART)
        return len(made.refined.layers.merged().vertices)

    return work


# ------------------------------------------------------------------------------------------- both trees in turn


def run(root: Path, method: str, args, share: float) -> dict:
    """Figures of one run."""
    command = [sys.executable, str(HERE / "bench_speed.py"), "--child", method, "--root", str(root), "--share", str(share)]
    environment = {**os.environ, **{f"{name}_NUM_THREADS": str(args.threads) for name in ("OMP", "MKL", "OPENBLAS")}}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def base_tree(commit: str) -> Path:
    """The base's files, checked out once."""
    place = HERE.parent / ".lift123" / "bench" / f"speed-{commit}"
    if not place.is_dir():
        subprocess.run(["git", "-C", str(HERE.parent), "worktree", "add", "--detach", str(place), commit], check=True)
    return place


def spread(values: list[float]) -> str:
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def measure(args) -> list[list[str]]:
    """Rows of the table, one per method; every finished pair is printed."""
    trees, rows = (HERE.parent, base_tree(args.base)), []
    for method in args.methods.split(","):
        for root in trees:  # not counted: kernels are compiled
            run(root, method, args, 0.02)
        pairs = []
        for _ in range(args.rounds):
            pairs.append([run(root, method, args, args.share) for root in trees])
            print(method, *(f"{figures['wall']:.1f} s, CPU {figures['cpu']:.1f} s;" for figures in pairs[-1]), flush=True)
        ratios = {clock: [new[clock] / old[clock] for new, old in pairs] for clock in ("wall", "cpu")}
        seconds = [statistics.median(figures[i]["cpu"] for figures in pairs) for i in (0, 1)]
        rows.append([method, spread(ratios["wall"]), spread(ratios["cpu"]), f"{seconds[0]:.1f}", f"{seconds[1]:.1f}"])
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", default=BASE)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--share", type=float, default=1.0)
    parser.add_argument("--busy", type=int, default=0)
    parser.add_argument("--out", type=Path, default=HERE / "results")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--root", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        return child(args.root, args.child, args.share)
    busy = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(args.busy)]
    try:
        rows = measure(args)
    finally:
        for process in busy:
            process.kill()
    sys.path.insert(0, str(HERE))
    from bench_tools import machine, table

    text = (f"# Quickstarts against commit {args.base}\n\n{machine()} {args.rounds} pairs each, {args.threads} threads allowed, "
            f"{args.busy} busy processes beside them, {args.share:.0%} of the iterations. Ratios: this tree over the base, "
            "median (least to greatest).\n\n"
            + table(["quickstart", "wall", "CPU", "CPU s", "CPU s before"], rows)
            + f"\nAgain: `python3 launch.py bench speed --rounds {args.rounds} --share {args.share:g}`\n")
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "speed.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
