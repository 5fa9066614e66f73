"""What autosaves cost: the share of a stage's time, measured inside one run of it.

    python benchmarks/bench_autosave.py [--seconds 60] [--out benchmarks/results/autosave.md]

Every stage works for so many seconds after its first step, and for two states at least, with autosaves as in a graph.  Blocked:
share of that time in which the stage waited for its state to be copied.  Copied, written: processor time per state in the
stage's thread and in the thread that seals and writes it meanwhile.  Cost: both together, over the processor time that the
stage's own work took in the same run.  On a machine that does other work, too, less of the stage is done between two states, so
that both shares are larger than on an idle one.  Priors are left out and NeRF's pictures are small: more would lengthen the
steps but not the saving.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from bench_tools import load_pack, machine, table

load_pack()

from bench_runs import toy
from lift123.pipelines import consistent123, stdgen
from lift123.pipelines.core.errors import StopStage
from lift123.pipelines.io.autosave import EVERY, LONGEST, Autosave
from lift123.pipelines.stages.characters.refine_config import with_steps
from lift123.pipelines.stages.characters.refine_layers import refine_layers
from lift123.pipelines.stages.inputs.reference import ReferenceView
from lift123.pipelines.stages.objects.fit_nerf import fit_nerf
from lift123.pipelines.stages.objects.refine_mesh import refine_mesh
from lift123.pipelines.toybox.characters import A_POSE, heldout_character, render_levels
from lift123.pipelines.toybox.render import reference_camera, render_toy

LIMIT = 0.02


def reference() -> ReferenceView:
    """A toy object."""
    return ReferenceView(render_toy(toy(0), reference_camera(128)), toy(0).caption)


def nerf(preset: str) -> Callable:
    """NeRF stage 1 with a preset's field."""
    config = replace(consistent123.PRESETS[preset].nerf, iterations=100_000, size=32, reference_size=32)
    return lambda hooks: fit_nerf(reference(), None, config, **hooks)


def dmtet() -> Callable:
    """DMTet refinement of a short NeRF."""
    preset = consistent123.PRESETS["quickstart"]
    scene = fit_nerf(reference(), None, replace(preset.nerf, iterations=60))
    config = replace(preset.mesh, iterations=100_000)
    return lambda hooks: refine_mesh(None, scene, config, **hooks)


def refinement() -> Callable:
    """Refinement of a toy character's layers."""
    layers = heldout_character(0).posed(A_POSE, 16)
    config = with_steps(stdgen.PRESETS["stdgen quickstart"].refine, 2000)
    views = render_levels(layers, 64)
    return lambda hooks: refine_layers(layers, views, config, **hooks)


STAGES = {
    "NeRF, quickstart": lambda: nerf("quickstart"), "NeRF, paper": lambda: nerf("paper"), "DMTet, quickstart": dmtet,
    "Refine Layers, quickstart": refinement,
}


def measure(stage: Callable, seconds: float, folder: Path) -> list:
    """[states, MB each, longest pause, blocked %, copied s, written s, cost %] of a stage that works so long."""
    saves, times, busy = Autosave(folder, "bench", "bench"), [], []

    def on_step(step) -> None:
        times[:] = times or [time.monotonic()]  # the first step loads and compiles
        busy[:] = [*busy[:1], time.thread_time()]
        if time.monotonic() - times[0] > seconds and saves.count >= 2:
            raise StopStage

    def keep(make, now=False) -> None:
        before = saves.count
        if not now:
            saves(make)
        if saves.count > before:
            times.append(time.monotonic())

    stage({"on_step": on_step, "autosave": keep})
    total = time.monotonic() - times[0]
    newest = saves.close()
    size = newest.stat().st_size / 1e6 if newest else 0.0
    pause = max(b - a for a, b in zip(times, times[1:]))
    copied, written = saves.copied / saves.count, saves.written / saves.count
    saves.clear()
    cost = (saves.copied + saves.written) / (busy[-1] - busy[0] - saves.copied)
    return [saves.count, f"{size:.1f}", f"{pause:.0f}", f"{100 * saves.spent / total:.2f}", f"{copied:.3f}", f"{written:.3f}",
            f"{100 * cost:.2f}"]


def main() -> int:
    """Measures, writes the table; 1 if a stage pays more than the limit."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "autosave.md")
    args = parser.parse_args()
    rows = []
    for name, make in STAGES.items():
        with tempfile.TemporaryDirectory() as folder:
            rows.append([name, *measure(make(), args.seconds, Path(folder))])
        print(rows[-1], flush=True)
    head = ["stage", "states", "MB each", "longest pause, s", "blocked %", "copied, s", "written, s", "cost %"]
    text = (f"# Autosave\n\n{machine()} A state every {EVERY:g} s of work, {LONGEST:g} s where saving is slow, or after every "
            f"step where one takes longer.\n`launch.py bench autosave`; each stage worked {args.seconds:g} s. The bar: below "
            f"{100 * LIMIT:g} %.\n\n{table(head, rows)}")
    args.out.write_text(text, encoding="utf-8")
    return int(any(float(row[-1]) >= 100 * LIMIT for row in rows))


if __name__ == "__main__":
    sys.exit(main())
