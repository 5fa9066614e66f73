"""A seeded fuzzer for everything that is read from files: good files, mutated, in child processes with limits.

Every mutation ends in a valid result or in one clear ``InputError``; never in another exception, a process that ends, more
than five seconds, or more than a gigabyte.  A case is named by its kind and number, and is the same on every machine.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

SECONDS, MEMORY = 5, 1 << 30
WORKER = Path(__file__).with_name("fuzz_worker.py")
BATCH = 400


@dataclass
class Tally:
    """How the mutations of one kind ended.

    counts: "valid", "refused", and what must not be.  seconds, memory: the largest of one mutation (processor time, bytes).
    wrong:  [(number, how, words)] of what must not be.
    """

    kind: str
    counts: Counter = field(default_factory=Counter)
    seconds: float = 0.0
    memory: int = 0
    wrong: list[tuple[int, str, str]] = field(default_factory=list)


def fuzz(kind: str, numbers: Iterable[int]) -> Tally:
    """Reads the mutations ``numbers`` of a kind; each process reads a batch and is replaced when it ends early."""
    tally, left = Tally(kind), list(numbers)
    while left:
        batch, left = left[:BATCH], left[BATCH:]
        done = _run(kind, batch, tally)
        left = batch[done:] + left
    return tally


def _run(kind: str, batch: list[int], tally: Tally) -> int:
    """One process; returns how many of ``batch`` are dealt with."""
    command = [sys.executable, str(WORKER), kind, json.dumps(batch)]
    started = time.monotonic()
    try:
        process = subprocess.run(command, capture_output=True, text=True, timeout=60 + SECONDS * len(batch))
        lines, words, code = process.stdout, process.stderr[-1500:], process.returncode
    except subprocess.TimeoutExpired as error:
        raw = error.stdout or b""
        lines, words, code = raw if isinstance(raw, str) else raw.decode(), "", None
    events = [json.loads(line) for line in lines.splitlines() if line.startswith("[")]
    ends = [event for event in events if event[0] == "end"]
    for _, number, how, said, seconds, memory in ends:
        bad = how not in ("valid", "refused")
        if seconds > SECONDS or memory > MEMORY:
            bad, how = True, f"{how} in {seconds:.1f} s and {memory >> 20} MB"
        tally.counts["wrong" if bad else how] += 1
        tally.seconds, tally.memory = max(tally.seconds, seconds), max(tally.memory, memory)
        if bad:
            tally.wrong.append((number, how, said))
    if len(ends) == len(batch):
        return len(batch)
    if not events:
        raise RuntimeError(f"the process did not start ({time.monotonic() - started:.0f} s): {words}")
    how = "hang" if code in (None, -27) else f"died ({code})"  # 27: the signal of a processor's alarm clock
    tally.counts["wrong"] += 1
    tally.wrong.append((batch[len(ends)], how, words))
    return len(ends) + 1
