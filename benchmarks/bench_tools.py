"""What the benchmark scripts share: loading the pack by file location, timing, markdown tables."""

from __future__ import annotations

import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

sys.path.append(str(Path(__file__).resolve().parent.parent / "training"))
from pack import ROOT, load_pack

__all__ = ["ROOT", "load_pack", "machine", "table", "timed"]


def timed(run: Callable[[], object], repeats: int = 10) -> float:
    """Milliseconds of CPU time of this process: lower quartile over ``repeats`` after one warm-up."""
    run()
    times = []
    for _ in range(repeats):
        start = time.process_time()
        run()
        times.append(time.process_time() - start)
    return sorted(times)[len(times) // 4] * 1e3


def machine() -> str:
    """One line about where the numbers come from."""
    version = torch.__version__.split("+")[0]
    return f"{platform.machine()}, {torch.get_num_threads()} thread(s), torch {version}, CPU time."


def table(head: list, rows: list[list]) -> str:
    """A markdown table; None becomes '-'."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join("-" if c is None else str(c) for c in line) + " |\n" for line in lines)
