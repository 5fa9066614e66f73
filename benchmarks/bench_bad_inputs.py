"""Inputs that a clumsy or hostile person gives, over all nodes: how each is answered.

    python benchmarks/bench_bad_inputs.py [--only NODE] [--out benchmarks/results/bad_inputs.md]

The table is ``tests/helpers/bad_inputs.py`` and ``bad_inputs_more.py``: swapped wires, wrong pairings, absurd numbers, odd
files, names, cameras, knots.  Each is given to the real node, whose other inputs are good, in a child process that ends after
20 seconds of one input and may take 4 GB.  Refused: an InputError that names the input, what was expected, what came and what
to do.  Unclear: any other exception.  Accepted wrongly: a result, or a network that is asked for, where no result can be right.
"""

from __future__ import annotations

import argparse
import json
import logging
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from bench_tools import ROOT, load_pack, machine, table

SECONDS, MEMORY = 20, 4 << 30
WRONG = ("unclear", "accepted wrongly", "wrong numbers", "hang", "crash")


def work(names: list[str]) -> None:
    """The child: answers each of ``names`` and prints what came."""
    import resource

    load_pack()
    sys.path.append(str(ROOT / "tests"))
    from helpers import bad_answers
    from helpers.bad_inputs_more import CASES

    logging.disable(logging.WARNING)
    bad_answers.specs.Network.load = bad_answers.stand_in
    limit = (
        resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 + MEMORY + (8 << 30)
    )  # address space holds libraries, too
    resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))
    with tempfile.TemporaryDirectory() as folder:
        bad_answers.folders(Path(folder))
        for name in names or CASES:
            print(json.dumps(["begin", name]), flush=True)
            signal.setitimer(signal.ITIMER_REAL, SECONDS)
            begin = time.process_time()
            kind, said = bad_answers.answer(name)
            signal.setitimer(signal.ITIMER_REAL, 0)
            print(json.dumps(["end", name, kind, said, time.process_time() - begin]), flush=True)


def answers(names: list[str]) -> list[tuple]:
    """[(name, kind, words, seconds)] of all cases, each child replaced when it ends early."""
    found, left = [], names
    while left:
        child = subprocess.run([sys.executable, __file__, "--work", json.dumps(left)], capture_output=True, text=True)
        events = [json.loads(line) for line in child.stdout.splitlines() if line.startswith('["')]
        found += [tuple(event[1:]) for event in events if event[0] == "end"]
        left = names[len(found) :]
        if left:
            if not events or events[-1][0] != "begin":
                raise RuntimeError(f"the child did not start: {child.stderr[-2000:]}")
            how = "hang" if child.returncode == -signal.SIGALRM else "crash"
            found.append((left[0], how, child.stderr[-300:], float(SECONDS)))
            left = names[len(found) :]
    return found


def page(found: list[tuple]) -> str:
    """The result as markdown."""
    nodes: dict[str, Counter] = {}
    for name, kind, _, _ in found:
        nodes.setdefault(name.partition(":")[0], Counter())[kind] += 1
    head = ["node", "inputs", "refused", "worked", *WRONG]
    rows = [[node, sum(c.values()), *(c[kind] for kind in head[2:])] for node, c in sorted(nodes.items())]
    total = ["all", *(sum(row[k] for row in rows) for k in range(1, len(head)))]
    slow = max(found, key=lambda row: row[3])
    wrong = [
        f"- {name!a}: {kind} (`{said.splitlines()[0][:160] if said else ''}`)"
        for name, kind, said, _ in found
        if kind in WRONG
    ]
    examples = [f"- {name!a}: {said}" for name, kind, said, _ in found if kind == "refused"][
        :: max(len(found) // 12, 1)
    ]
    return (
        "# Inputs that cannot be right, thought of by hand\n\n" + __doc__.split("\n\n")[2].replace("\n", " ") + "\n"
        "Worked: odd but allowed, with a result of finite numbers, or up to the point where a network is asked for.\n\n"
        + table(head, [*rows, total])
        + f"\nSlowest: {slow[0]!a}, {slow[3]:.1f} s. {machine()}\n"
        + ("\nWrong:\n\n" + "\n".join(wrong) + "\n" if wrong else "")
        + "\nSome of the answers:\n\n"
        + "\n".join(examples)
        + "\n"
    )


def ascii_only(text: str) -> str:
    """The page without the letters that the cases play with."""
    return "".join(
        c if c == "\n" or " " <= c <= "~" else c.encode("unicode_escape", "backslashreplace").decode() for c in text
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="begin of the cases' names")
    parser.add_argument("--out", type=Path, help="Markdown file to write as well")
    parser.add_argument("--work", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.work is not None:
        work(json.loads(args.work))
        return 0
    load_pack()
    sys.path.append(str(ROOT / "tests"))
    from helpers.bad_inputs_more import CASES

    found = answers([name for name in CASES if name.startswith(args.only)])
    text = page(found)
    print(ascii_only(text))
    if args.out:
        args.out.write_text(ascii_only(text), encoding="ascii")
    return 1 if any(kind in WRONG for _, kind, *_ in found) else 0


if __name__ == "__main__":
    sys.exit(main())
