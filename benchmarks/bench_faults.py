"""The fault table, long form: every long stage ended in ten random moments and in every other way, then queued again.

    python benchmarks/bench_faults.py [--moments 10] [--stages "DMTet,RGNV"] [--seed 0] [--out benchmarks/results/faults.md]

Stages are nodes on tiny settings that keep a state after every step.  Killed: by SIGKILL after a random state.  Terminated: by
SIGTERM.  Interrupted: by a person.  Full, read-only: no state could be written until then, and the process is killed two
steps later.  Deleted: the folder of states is removed, and the process is killed two steps later.  A cell says how many of the
second attempts went on from a state and gave the bytes of a run without a pause.  Attempts that are done are kept in ``--work``.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
from pathlib import Path

from bench_tools import ROOT, load_pack, machine, table

load_pack()
sys.path.append(str(ROOT / "tests"))

from bench_runs import default_folder
from helpers.faults import CODES, FAULTS, Worker

STAGES = ("NeRF stage 1", "NeRF stage 2", "DMTet", "RGSD", "Textual inversion", "Canonicalize", "Multi-view", "Refine Layers",
          "RGNV")


def moments(fault: str, kept: int, count: int, rng: random.Random) -> list[int]:
    """After which states a stage that keeps so many is ended."""
    last = kept - (3 if FAULTS[fault] else 1)
    return [rng.randint(1, max(1, last)) for _ in range(count if fault == "kill" else 1)]


def attempt(worker: Worker, stage: str, fault: str, at: int, key: str, folder: Path) -> str:
    """"" if the second attempt went on and ended in ``key``; otherwise what was wrong."""
    ended = worker.run(stage, folder, fault, at)
    if ended["code"] != CODES[fault]:
        return f"ended with {ended['code']}"
    if not ended["left"] or not all(name.endswith(".safetensors") for name in ended["left"]):
        return f"left {ended['left']}"
    again = worker.run(stage, folder)
    if "continued from step" not in " ".join(again["said"]):
        return "begun anew"
    return "" if again["key"] == key and not again["left"] else f"another result after step {at}"


def stage_row(worker: Worker, stage: str, args) -> dict:
    """{fault: [what was wrong or "" for each attempt]} of one stage; every attempt is recorded at once."""
    record = args.work / f"{stage.replace(' ', '_').lower()}-{args.seed}-{args.moments}.json"
    known = json.loads(record.read_text(encoding="utf-8")) if record.is_file() else {}
    with tempfile.TemporaryDirectory() as scratch:
        if "whole" not in known:
            known["whole"] = worker.run(stage, Path(scratch) / "whole", every=20.0)
        for fault in FAULTS:
            rng = random.Random(f"{args.seed} {stage} {fault}")
            done = known.setdefault(fault, [])
            for i, at in enumerate(moments(fault, known["whole"]["steps"], args.moments, rng)):
                if i >= len(done):
                    done.append(attempt(worker, stage, fault, at, known["whole"]["key"], Path(scratch) / f"{fault}{i}"))
                    record.write_text(json.dumps(known), encoding="utf-8")
    return {fault: known[fault] for fault in FAULTS}


def main() -> int:
    """Runs the table and writes it after every stage; 1 if any cell is not full."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--moments", type=int, default=10)
    parser.add_argument("--stages", default=",".join(STAGES))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=Path, default=default_folder("faults"))
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "faults.md")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    worker, rows = Worker(), {}
    for stage in args.stages.split(","):
        rows[stage] = stage_row(worker, stage, args)
        print(stage, rows[stage], flush=True)
        write(args, rows)
    worker.close()
    return int(any(text for row in rows.values() for found in row.values() for text in found))


def write(args, rows: dict[str, dict]) -> None:
    """The table so far."""
    head = ["stage", "killed", "terminated", "interrupted", "full disk", "read-only", "deleted"]
    cells = [[stage, *(f"{row[fault].count('')} of {len(row[fault])}" for fault in FAULTS)] for stage, row in rows.items()]
    wrong = [f"- {stage}, {fault}: {text}" for stage, row in rows.items() for fault in FAULTS for text in row[fault] if text]
    text = (f"# Fault table\n\n{machine()} `launch.py bench faults --moments {args.moments} --seed {args.seed}`. How many of the "
            "second attempts went on from a\nstate and gave, bit for bit, what a run without a pause gives.\n\n"
            + table(head, cells) + "\n" + ("\n".join(wrong) if wrong else "Nothing went wrong.") + "\n")
    args.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
