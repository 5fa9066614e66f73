"""A seeded fuzzer for everything that is read from files: good files, mutated, in child processes with limits.

Every mutation ends in a valid result or in one clear ``InputError``; never in another exception, a process that ends, more
than five seconds, or more than a gigabyte.  A case is named by its kind and number, and is the same on every machine.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
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

    def add(self, number: int, how: str, said: str, seconds: float = 0.0, memory: int = 0) -> None:
        """Counts one mutation."""
        bad = how not in ("valid", "refused")
        if seconds > SECONDS or memory > MEMORY:
            bad, how = True, f"{how} in {seconds:.1f} s and {memory >> 20} MB"
        self.counts["wrong" if bad else how] += 1
        self.seconds, self.memory = max(self.seconds, seconds), max(self.memory, memory)
        if bad:
            self.wrong.append((number, how, said))

    def merge(self, other: Tally) -> None:
        """Adds the mutations of another tally of the same kind."""
        self.counts.update(other.counts)
        self.seconds, self.memory = max(self.seconds, other.seconds), max(self.memory, other.memory)
        self.wrong += other.wrong


def fuzz(cases: Sequence[tuple[str, int]], batch: int = BATCH) -> dict[str, Tally]:
    """Reads the mutations ``cases`` ((kind, number), ...) and tells by kind how they ended.

    Each process reads a ``batch`` and is replaced when it ends early.
    """
    tallies = {kind: Tally(kind) for kind, _ in cases}
    left = list(cases)
    while left:
        done = _run(left[:batch], tallies)
        left = left[done:]
    return tallies


def _run(cases: list[tuple[str, int]], tallies: dict[str, Tally]) -> int:
    """One process; returns how many of ``cases`` are dealt with."""
    command = [sys.executable, str(WORKER), json.dumps(cases)]
    try:
        process = subprocess.run(command, capture_output=True, text=True, timeout=120 + SECONDS * len(cases))
        lines, words, code = process.stdout, process.stderr[-1500:], process.returncode
    except subprocess.TimeoutExpired as error:
        raw = error.stdout or b""
        lines, words, code = str(raw, "utf-8") if isinstance(raw, bytes) else str(raw), "", None
    events = [json.loads(line) for line in lines.splitlines() if line.startswith("[")]
    ends = [event for event in events if event[0] == "end"]
    for _, kind, number, how, said, seconds, memory in ends:
        tallies[kind].add(number, how, said, seconds, memory)
    if len(ends) == len(cases):
        return len(cases)
    if not events:
        raise RuntimeError(f"the process did not start: {words}")
    kind, number = cases[len(ends)]
    how = "hang" if code in (None, -signal.SIGPROF) else f"died ({code})"
    tallies[kind].add(number, how, words)
    return len(ends) + 1
