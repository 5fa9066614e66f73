"""Mutated files of every kind that is read: how they end, the slowest and the largest.

    nice -n 19 python benchmarks/bench_fuzz.py [--mutations 10000] [--first 0] [--out benchmarks/results/fuzz.md]

A good file is damaged (bits, slices, numbers of its format, values of its JSON, entries with their checksums made right
again) and read in a child process that can take one gigabyte more and six seconds.  Every mutation must end in a valid
result or in one clear InputError.  The same number is the same damage on every machine.  About ten minutes of one core.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from bench_tools import load_pack, table

load_pack()
from lift123.verification.fuzz import MEMORY, SECONDS, fuzz
from lift123.verification.fuzz_seeds import SEEDS

STEP = 1000  # mutations between two lines of progress


def page(tallies: dict) -> str:
    """The result as markdown."""
    head = ["kind", "mutations", "valid", "refused", "wrong", "slowest, ms", "largest, MB"]
    rows = [[kind, sum(t.counts.values()), t.counts["valid"], t.counts["refused"], t.counts["wrong"], f"{1e3 * t.seconds:.0f}",
             t.memory >> 20] for kind, t in tallies.items()]
    total = ["all", *(sum(int(row[k]) for row in rows) for k in range(1, 5)), max(int(row[5]) for row in rows),
             max(int(row[6]) for row in rows)]
    wrong = [f"- {kind} {number}: {how}: `{(said.strip().splitlines() or ['no words'])[-1][:160]}`"
             for kind, t in tallies.items() for number, how, said in t.wrong]
    return ("# Mutated files\n\nValid: a result that a renderer or a loader can use. Refused: one InputError with a remedy.\n"
            f"Wrong: another exception, a process that ended, more than {SECONDS} s of processor time or {MEMORY >> 30} GB\n"
            "beyond the start.\n\n"
            + table(head, [*rows, total]) + ("\nWrong:\n\n" + "\n".join(wrong) + "\n" if wrong else ""))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mutations", type=int, default=10_000)
    parser.add_argument("--first", type=int, default=0, help="number of the first mutation of each kind")
    parser.add_argument("--out", type=Path, help="Markdown file to write as well")
    args = parser.parse_args()
    each = -(-args.mutations // len(SEEDS))
    cases = [(kind, args.first + number) for number in range(each) for kind in SEEDS][: args.mutations]
    tallies, begin = {}, time.monotonic()
    for start in range(0, len(cases), STEP):
        for kind, tally in fuzz(cases[start : start + STEP], STEP).items():
            for number, how, said in tally.wrong:
                print(f"{kind} {number}: {how}: {said}", flush=True)
            kept = tallies.setdefault(kind, tally)
            if kept is not tally:
                kept.merge(tally)
        wrong = sum(t.counts["wrong"] for t in tallies.values())
        print(f"{min(start + STEP, len(cases))} of {len(cases)}, {wrong} wrong, {time.monotonic() - begin:.0f} s", flush=True)
    text = page(tallies)
    print(text)
    if args.out:
        args.out.write_text(text, encoding="utf-8")
    return 1 if any(t.wrong for t in tallies.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
