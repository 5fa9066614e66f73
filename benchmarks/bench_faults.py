"""The fault table, long form: every long stage killed in ten random moments and ended in every other way, then queued again.

    python benchmarks/bench_faults.py [--moments 10] [--stages "DMTet,RGNV"] [--seed 0] [--out benchmarks/results/faults.md]

Stages are nodes on tiny settings.  Killed: SIGKILL from outside, at a random time between a stage's first step and its end,
whatever it does then, reading and writing states included.  A run is killed, queued again, killed again, and then ends: every
kill counts once, and the result after the second tells of both.  The stages last seconds, so the rhythm of their states is made
faster with them: a tenth of the stage's time in place of 20 s, and half as much again in place of 30 s.  Work lost: from the end
of the step whose state the next attempt went on from (or from the beginning) to the kill.  It may be the longest pause, the
stage's longest step, and half a second for the disk, which does not become faster with the stage.
Terminated: by SIGTERM, after a random state.  Interrupted: by a person.  Full, read-only: no state could be written until then,
and the process is killed two steps later.  Deleted: the folder of states is removed, and the process is killed two steps later.
A cell says how many of the second attempts went on from a state (where there was one) and gave the bytes of a run without a
pause.  Attempts that are done are kept in ``--work``.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench_tools import ROOT, load_pack, machine, table

load_pack()
sys.path.append(str(ROOT / "tests"))

from bench_runs import default_folder
from helpers.faults import CODES, FAULTS, Worker
from lift123.pipelines.io.autosave import EVERY, LONGEST

STAGES = ("NeRF stage 1", "NeRF stage 2", "DMTet", "RGSD", "Textual inversion", "Canonicalize", "Multi-view", "Refine Layers",
          "RGNV")
OTHERS = tuple(fault for fault in FAULTS if fault != "kill")
CHAIN = 2  # kills of one run
PARTS = 10  # of a stage's time between two states


DISK = 0.5  # seconds


@dataclass
class Whole:
    """A stage's run without a pause.

    key: of its result; states: steps of those that it offered; seconds: from the first of them to the stage's end; longest:
    between two of them.
    """

    key: str
    states: list[int]
    seconds: float
    longest: float

    @staticmethod
    def of(result: dict) -> Whole:
        times = result["times"]
        gaps = [after - before for before, after in itertools.pairwise(times)]
        return Whole(result["key"], result["states"], times[-1] - times[1], max(gaps))

    @property
    def every(self) -> float:
        """Seconds between two states in attempts that are killed."""
        return self.seconds / PARTS

    @property
    def allowed(self) -> float:
        """Seconds of work that a kill may cost."""
        return self.every * LONGEST / EVERY + self.longest + DISK

    def place(self, step: int | None) -> int:
        """How many states a run has offered when it offers the one of that step."""
        return 0 if step is None else self.states.index(step) + 1


def chain(worker: Worker, stage: str, whole: Whole, rng: random.Random, folder: Path, kills: int) -> list[dict]:
    """A run that is killed so often (or less, where it was quicker), and then ends: a record of each kill."""
    found, killed, behind = [], None, 0
    for fault in [*["moment"] * kills, ""]:
        left = whole.seconds * (1 - behind / len(whole.states))
        now = worker.run(stage, folder, fault, rng.uniform(0, left), whole.every if fault else EVERY)
        if now["over"] and now["code"]:  # killed in what the node does after the stage
            return found
        place = whole.place(now["found"])
        if killed is not None:
            found.append(kill_record(whole, killed, behind, place))
        if now["code"] not in (0, CODES["kill"]):
            return [*found, {"wrong": f"ended with {now['code']}", "lost": 0.0, "anew": True}]
        if now["code"] == 0:
            break
        killed, behind = now, place
    if found and (now["key"] != whole.key or now["left"]):
        found[-1]["wrong"] = f"another result, left {now['left']}"
    return found


def kill_record(whole: Whole, killed: dict, behind: int, place: int) -> dict:
    """What a kill has cost; behind, place: states behind the killed attempt when it began, and behind the next one."""
    if place < behind:
        return {"wrong": f"went back from state {behind} to {place}", "lost": 0.0, "anew": True}
    lost = killed["ended"] - killed["times"][place - behind]
    wrong = f"{lost:.1f} s of work lost, {whole.allowed:.1f} s allowed" if lost > whole.allowed else ""
    return {"wrong": wrong, "lost": lost, "anew": place == 0}


def kills(worker: Worker, stage: str, whole: Whole, args, known: list[dict], keep: Callable[[], None]) -> None:
    """Adds to the records of kills until there are enough; keep: called after each chain."""
    while len(known) < args.moments:
        rng = random.Random(f"{args.seed} {stage} {len(known)}")
        with tempfile.TemporaryDirectory() as folder:
            known += chain(worker, stage, whole, rng, Path(folder) / "output", min(CHAIN, args.moments - len(known)))
        keep()


def attempt(worker: Worker, stage: str, fault: str, whole: Whole, rng: random.Random) -> dict:
    """A stage that is ended in another way, and queued again."""
    last = len(whole.states) - (3 if FAULTS[fault] else 1)
    at = rng.randint(1, max(1, last))
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "output"
        ended = worker.run(stage, folder, fault, at)
        if ended["code"] != CODES[fault]:
            return {"wrong": f"ended with {ended['code']}"}
        if not all(name.endswith(".safetensors") for name in ended["left"]):
            return {"wrong": f"left {ended['left']}"}
        again = worker.run(stage, folder)
    if again["steps"] + ended["steps"] > len(whole.states) + 1:  # one that was interrupted, or that could not be written
        return {"wrong": f"{ended['steps']} and {again['steps']} steps of {len(whole.states)}"}
    return {"wrong": "" if again["key"] == whole.key and not again["left"] else f"another result after step {at}"}


def stage_row(worker: Worker, stage: str, args) -> dict:
    """{fault: records} of one stage and "whole"; every chain of attempts is written down at once."""
    record = args.work / f"{stage.replace(' ', '_').lower()}-{args.seed}.json"
    known = json.loads(record.read_text(encoding="utf-8")) if record.is_file() else {}

    def keep() -> None:
        record.write_text(json.dumps(known), encoding="utf-8")

    if "whole" not in known:  # the second run, for the first one loads
        with tempfile.TemporaryDirectory() as scratch:
            known["whole"] = [worker.run(stage, Path(scratch) / f"{i}", every=EVERY, states=True) for i in range(2)][1]
    whole = Whole.of(known["whole"])
    kills(worker, stage, whole, args, known.setdefault("kill", []), keep)
    for fault in OTHERS:
        if fault not in known:
            known[fault] = [attempt(worker, stage, fault, whole, random.Random(f"{args.seed} {stage} {fault}"))]
            keep()
    return {**known, "whole": whole}


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
    return int(any(record["wrong"] for row in rows.values() for fault in ("kill", *OTHERS) for record in row[fault]))


def write(args, rows: dict[str, dict]) -> None:
    """The table so far."""
    head = ["stage", "killed", "begun anew", "most work lost, s", "allowed, s", "terminated", "interrupted", "full disk",
            "read-only", "deleted"]
    cells, wrong = [], []
    for stage, row in rows.items():
        parts = {fault: row[fault] for fault in ("kill", *OTHERS)}
        good = {fault: f"{sum(not r['wrong'] for r in part)} of {len(part)}" for fault, part in parts.items()}
        wrong += [f"- {stage}, {fault}: {r['wrong']}" for fault, part in parts.items() for r in part if r["wrong"]]
        cells.append([stage, good.pop("kill"), sum(r["anew"] for r in row["kill"]), f"{max(r['lost'] for r in row['kill']):.2f}",
                      f"{row['whole'].allowed:.2f}", *good.values()])
    about = __doc__[__doc__.index("Stages are") : __doc__.index("Attempts that")].strip()
    end = "\n".join(wrong) if wrong else "Nothing went wrong."
    text = (f"# Fault table\n\n{machine().replace(', CPU time', '')} `launch.py bench faults --moments {args.moments} --seed "
            f"{args.seed}`.\n\n{about}\n\n{table(head, cells)}\n{end}\n\n"
            "Begun anew: killed before the first state was on the disk; the next attempt then has nothing to go on from.\n")
    args.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
