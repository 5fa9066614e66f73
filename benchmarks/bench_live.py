"""What drawing costs while a stage runs: the curves, and the surface for the 3D view.

    python benchmarks/bench_live.py [--seconds 60] [--out benchmarks/results/live.md]

Every stage runs for some seconds with ``host.live`` listening as in the server; encoding what is sent counts, sending does
not.  The share is the processor time of the listener of that of the whole stage, the first surface's preparations
included; the bar is 3 %.  Every stage runs for at least so many seconds of processor time.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from bench_tools import load_pack, machine, table

load_pack()
from bench_autosave import STAGES
from lift123.host import live
from lift123.pipelines.core.errors import StopStage
from lift123.pipelines.core.step import Step
from lift123.pipelines.io.glb import write_glb

LIMIT = 0.03


def measure(name: str, make: Callable[[], Callable], seconds: float, folder: Path) -> list:
    """A row: stage, seconds, iterations, curves, surfaces, per cent of the time."""
    stage, shown, spent, sent = make(), live.Live("1"), 0.0, {live.CURVE: 0, live.SURFACE: 0}
    began, iterations = time.process_time(), 0

    def send(event: str, data: dict) -> None:
        sent[event] += 1
        json.dumps(data)

    def write(mesh, label: str) -> dict:
        (folder / "surface.glb").write_bytes(write_glb(None, mesh))
        return {"filename": label}

    def on_step(step: Step) -> None:
        nonlocal spent, iterations
        iterations += 1
        start = time.process_time()
        shown(step)
        spent += time.process_time() - start
        if start - began > seconds:
            raise StopStage()

    live.heard, live.send, live.write_surface = lambda: True, send, write
    stage({"on_step": on_step})
    whole = time.process_time() - began
    return [name, f"{whole:.0f}", iterations, sent[live.CURVE], sent[live.SURFACE], f"{100 * spent / whole:.2f}"]


def main() -> None:
    """Measures all stages, or those named; ends with an error above the limit."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0, help="of each stage")
    parser.add_argument("--stages", nargs="*", default=list(STAGES), help="some of them")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rows = [measure(name, STAGES[name], args.seconds, Path(folder)) for name in args.stages]
    head = ["stage", "seconds", "iterations", "curves sent", "surfaces sent", "drawing, % of the time"]
    text = f"# Live curves and surfaces\n\n{machine()} Bar: {LIMIT:.0%}.\n\n{table(head, rows)}"
    print(text)
    if args.out:
        args.out.write_text(text, encoding="ascii")
    assert all(float(row[-1]) < 100 * LIMIT for row in rows), "drawing costs too much"


if __name__ == "__main__":
    main()
