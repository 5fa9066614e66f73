"""A batch of 90 tiny pictures, 10 of them broken, in a server that is killed three times at random.

    python benchmarks/bench_batch_kill.py [--pictures 90] [--broken 10] [--kills 3] [--seed 0] [--out FOLDER]
                                          [--work FOLDER]

Broken in turn: a file that is no picture, a picture without an object, one that a node of another pack refuses.  In the
end every other picture has been made once, every broken one has one clear line, and no file of an unfinished run is
left.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

from bench_tools import ROOT, load_pack, table

load_pack()
sys.path.append(str(ROOT / "tests"))

from helpers.batches import FAILS, FOREIGN, assets, completed, probe_graph, put_pictures, running
from lift123.launcher import environment, settings
from lift123.launcher.server import ComfyServer
from PIL import Image

NAME = "ninety"


def prepare(base: Path, count: int, broken: int, random_numbers: random.Random) -> list[str]:
    """Pictures, a pack with a node that fails, links; the names of the broken ones."""
    (base / "custom_nodes").mkdir(parents=True, exist_ok=True)
    (base / "custom_nodes" / "probe.py").write_text(FOREIGN, encoding="utf-8")
    environment.link_pack(settings.default_paths(), base / "custom_nodes")
    names = [f"p{n:02d}" for n in range(count)]
    bad = sorted(random_numbers.sample(names, broken))
    put_pictures(base / "input" / NAME, names, dict.fromkeys(bad[2::3], FAILS), tuple(bad[0::3]))
    for name in bad[1::3]:
        Image.new("RGBA", (32, 32)).save(base / "input" / NAME / f"{name}.png")
    return bad


def work_until(server: ComfyServer, output: Path, results: int | None, delay: float) -> bool:
    """Queues the batch; whether it was killed (``delay`` seconds after so many results) before it came to its end."""
    server.client.queue(completed(server.client.get("/object_info"), probe_graph(NAME)))
    while running(server.client):
        if results is not None and len(assets(output, NAME)) >= results:
            time.sleep(delay)
            server.process.send_signal(signal.SIGKILL)
            server.process.wait()
            return True
        time.sleep(0.2)
    return False


def main() -> None:
    """Writes ``batch_kill.md``; fails where something was lost or made twice."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (("pictures", 90), ("broken", 10), ("kills", 3), ("seed", 0)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results")
    parser.add_argument("--work", type=Path, help="where the server's folders go; default: a temporary folder")
    args = parser.parse_args()
    base = args.work or Path(tempfile.mkdtemp(prefix="lift123-batch-"))
    draw = random.Random(args.seed)
    bad = prepare(base, args.pictures, args.broken, draw)
    good = args.pictures - args.broken
    plan = [*((target, 3 * draw.random()) for target in sorted(draw.sample(range(1, good), args.kills))), (None, 0.0)]
    output, rows, began = base / "output", [], time.monotonic()
    for number, (target, delay) in enumerate(plan, 1):
        with ComfyServer(settings.default_paths(), base, env={"OMP_NUM_THREADS": "1"}) as server:
            killed = work_until(server, output, target, delay)
        rows.append([number, "killed" if killed else "came to its end", len(assets(output, NAME)),
                     len(list((output / "lift123" / NAME).glob("*_failed.json"))), f"{time.monotonic() - began:.0f}"])
    report(args, rows, output / "lift123" / NAME, bad)
    if args.work is None:
        shutil.rmtree(base)


def report(args, rows: list[list], folder: Path, bad: list[str]) -> None:
    """The page, after the checks."""
    good = args.pictures - args.broken
    made = [p.name for p in folder.glob("*.glb")]
    records = folder.glob("*_failed.json")
    errors = {p.name.removesuffix("_failed.json"): json.loads(p.read_text())["error"] for p in records}
    left = [p.name for pattern in ("*_started.json", "*.claim", "*.partial", ".*") for p in folder.glob(pattern)]
    assert len(made) == len({name.split("_")[0] for name in made}) == good, sorted(made)
    assert len(list(folder.glob("*_manifest.json"))) == good and not left, left
    assert sorted(errors) == bad and all(errors.values()), errors
    text = (f"# A batch in a server that is killed\n\n{args.pictures} pictures, {args.broken} of them broken, "
            f"{args.kills} kills (SIGKILL) at random moments, seed {args.seed}. Seconds are wall-clock time.\n"
            f"In the end {len(made)} results, each made once, {len(errors)} lines of errors, no file of an unfinished "
            "run.\n\n")
    text += table(["server", "how it ended", "results", "failed", "seconds since the start"], rows)
    text += "\n" + table(["broken picture", "what was said"], [[name, errors[name].replace("|", "/")] for name in bad])
    (args.out / "batch_kill.md").write_text(text, encoding="utf-8")
    sys.stdout.write(text)


if __name__ == "__main__":
    main()
