"""What a batch on Ray costs and survives: overhead, scaling, warm workers, kills, a machine that goes away.

    python benchmarks/bench_cluster.py [overhead] [scaling] [warm] [kills] [many] [node] [--items 10000] [--repeats 20]
                                       [--pictures 500] [--out FOLDER]

overhead  a stand-in for ComfyUI that only publishes a file: driver time an item and memory, against a loop in one process
scaling   a tiny graph over 1 and 2 workers
warm      two quickstarts: a worker's first item, with its start, against its second
kills     24 items, two broken; a ComfyUI, an actor and the driver are killed; repeated
many      500 items over two workers, a kill every 50
node      a cluster of three machines (Ray's test cluster, on this one), one removed in mid-run
Without names: all.  Each part is a page's section of its own and replaces only that.
"""

from __future__ import annotations

import argparse
import json
import re
import resource
import sys
import tempfile
import time
from pathlib import Path

from bench_tools import ROOT, load_pack, table
from PIL import Image

load_pack()
sys.path.append(str(ROOT / "tests"))

from helpers import clusters
from helpers.batches import put_pictures
from lift123.cluster import run
from lift123.launcher.shipped import twin_file

PARTS = ("overhead", "scaling", "warm", "kills", "many", "node")
STUB = '''
import json, os, platform
from pathlib import Path
from lift123.cluster import identity, results
from lift123.launcher.settings import default_paths


class Worker:
    """Publishes a file and says so: what is left is the driver's and Ray's own time."""

    def __init__(self, settings):
        self.root = Path(settings["root"])

    def prepare(self):
        return json.dumps({"code": identity.code(self.root), "commit": "", "weights": {}, "host": platform.node(),
                           "pid": os.getpid()}).encode()

    def run(self, header, picture):
        job = json.loads(header)

        def fill(to):
            (to / "a.txt").write_text(job["name"])
            return {"a.txt": results.described(to / "a.txt")}

        results.publish(Path(job["run"]), job["name"], job["key"], {}, fill)
        return json.dumps({"status": "done", "published": True, "seconds": 0.0, "host": "x"}).encode()

    def piece(self, *arguments):
        return b""

    def forget(self, key):
        return b"{}"

    def close(self):
        return b"{}"
'''


def resident() -> float:
    """MB of this process."""
    text = Path("/proc/self/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", text).group(1)) / 1024


def overhead(args, folder: Path) -> str:
    """Driver time an item, and memory along the way."""
    (folder / "stub.py").write_text(STUB, encoding="utf-8")
    (folder / "t.csv").write_text("name,seed\n" + "".join(f"i{k},{k}\n" for k in range(args.items)), encoding="utf-8")
    graph = json.loads(twin_file("consistent123_quickstart").read_text(encoding="utf-8"))
    rows = []
    for title, options in (("loop in one process", {}), ("Ray, 2 workers", {"cluster": "local", "workers": 2})):
        drivers, memory = [], []

        def watch(driver, drivers=drivers, memory=memory):
            drivers[:] = [driver]
            if driver.counts.worked % (args.items // 10) == 0:
                memory.append((driver.counts.worked, resident()))

        began, used = time.monotonic(), time.process_time()
        found = sum(item.status == "done" for item in run(folder / "t.csv", graph, output=folder / title.split(",")[0],
                                                          stand_in=str(folder / "stub.py"), watch=watch, memory=0, **options))
        wall, cpu = time.monotonic() - began, time.process_time() - used
        assert found == args.items, found
        steps = dict(memory)
        early, late = steps[args.items // 10], steps[args.items // 10 * 9]
        rows.append([title, found, f"{1e3 * drivers[0].counts.spent / found:.2f}", f"{1e3 * cpu / found:.2f}",
                     f"{1e3 * wall / found:.2f}", f"{early:.0f}", f"{late:.0f}"])
    return (f"{args.items} items of consistent123_quickstart's graph with a stand-in for ComfyUI that publishes one file.  "
            "Driver time: preparing graphs, keys, journal (on the disk) and answers, waiting for workers left out.\n\n"
            + table(["way", "items", "driver ms an item", "process CPU ms an item", "wall ms an item",
                     "MB after a tenth", "MB after nine tenths"], rows))


def scaling(args, folder: Path) -> str:
    """A tiny graph over one and two workers; ComfyUI's start is left out."""
    names, rows = [f"p{n:02d}" for n in range(40)], []
    put_pictures(folder / "pictures", names, {})
    for workers in (1, 2):
        times = []
        for item in run(folder / "pictures", clusters.tiny_graph(), output=folder / f"out{workers}", cluster="local",
                        workers=workers, memory=0, arguments=("--disable-api-nodes",)):
            assert item.status == "done", item
            times.append(time.monotonic())
        rows.append([workers, len(times), f"{(times[-1] - times[7]) / (len(times) - 8):.3f}"])
    return "Seconds an item from the eighth on.\n\n" + table(["workers", "items", "seconds an item"], rows)


def warm(args, folder: Path) -> str:
    """First and second item of one worker: from the command on, and what each item itself took."""
    put_pictures(folder / "objects", ["a", "b", "c"], {})
    figures(folder / "figures", ["a", "b", "c"])
    rows = []
    for name, pictures in (("consistent123_quickstart", "objects"), ("stdgen_quickstart", "figures")):
        began, waits, own = time.monotonic(), [], []
        for item in run(folder / pictures, workflow=name, output=folder / name):
            assert item.status == "done", item
            own.append(item.seconds)
            waits.append(time.monotonic() - began)
            began = time.monotonic()
        rows.append([name, *(f"{s:.1f}" for s in waits[:2]), f"{100 * waits[1] / waits[0]:.0f} %",
                     *(f"{s:.1f}" for s in own)])
    head = ["graph", "cold: from the command to the first result, s", "to the second, s", "second of cold",
            "item 1 alone, s", "item 2", "item 3"]
    return "One worker; before its first item a ComfyUI starts, and the item loads networks.\n\n" + table(head, rows)


def figures(folder: Path, names: list[str]) -> None:
    """The sample character, every time another picture by one pixel of its background."""
    folder.mkdir(parents=True)
    for number, name in enumerate(names):
        with Image.open(ROOT / "workflows" / "sample" / "lift123_posed_character.png") as file:
            picture = file.convert("RGBA")
        picture.putpixel((0, 0), (number, 0, 0, 0))
        picture.save(folder / f"{name}.png")


def kills(args, folder: Path) -> str:
    """The test of the suite, again and again; the second driver is on Ray, too."""
    names, broken, rows = [f"p{n:02d}" for n in range(24)], ("p05", "p17"), []
    for turn in range(args.repeats):
        began, place = time.monotonic(), folder / f"kills{turn}"
        found = clusters.killed_run(place, names, broken, [(4, "server"), (8, "actor"), (13, "driver")],
                                    {"workers": 2, "share": ("send", "auto")[turn % 2]}, workers=2,
                                    share=("auto", "send")[turn % 2])
        events = clusters.check(place / "out" / "lift123" / "pictures", found, broken)
        rows.append([turn + 1, 22, 2, sum(e["e"] == "lost" for e in events), f"{time.monotonic() - began:.0f}"])
    return (f"{len(rows)} of {args.repeats} in a row.\n\n"
            + table(["run", "results, each once", "failures", "attempts lost", "seconds"], rows))


def many(args, folder: Path) -> str:
    """A kill every 50 items, ComfyUIs and actors in turn."""
    names = [f"p{n:03d}" for n in range(args.pictures)]
    plan = [(count, ("server", "actor")[k % 2]) for k, count in enumerate(range(50, args.pictures, 50))]
    began = time.monotonic()
    found = clusters.killed_run(folder / "many", names, (), plan, {}, workers=2)
    events = clusters.check(folder / "many" / "out" / "lift123" / "pictures", found, ())
    return (f"{args.pictures} items, {len(plan)} kills, {sum(e['e'] == 'lost' for e in events)} attempts lost, "
            f"{len(found)} results, none twice, {time.monotonic() - began:.0f} s.\n")


def node(args, folder: Path) -> str:
    """Three machines with room for one worker each; the one of a busy worker is removed."""
    from ray.cluster_utils import Cluster

    names = [f"p{n:02d}" for n in range(24)]
    put_pictures(folder / "pictures", names, {})
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    others = [cluster.add_node(num_cpus=1) for _ in range(2)]
    cluster.connect()
    done = {}
    try:
        for item in run(folder / "pictures", clusters.tiny_graph(), output=folder / "out", cluster="auto", memory=0,
                        share="send", arguments=("--disable-api-nodes",)):
            done[item.name] = item.status
            if len(done) == 8:
                cluster.remove_node(others[0], allow_graceful=False)
    finally:
        cluster.shutdown()
    assert done == dict.fromkeys(names, "done"), done
    events = clusters.events(folder / "out" / "lift123" / "pictures")
    lost = [e for e in events if e["e"] == "lost"]
    return f"24 items, a machine removed after 8: 24 results, {len(lost)} attempts lost.\n"


def main() -> None:
    """Runs the parts and replaces their sections of ``cluster.md``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []])
    for name, default in (("items", 10_000), ("repeats", 20), ("pictures", 500)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results")
    args = parser.parse_args()
    page = args.out / "cluster.md"
    for part in args.parts or PARTS:
        with tempfile.TemporaryDirectory(prefix="l-") as folder:
            text = globals()[part](args, Path(folder))
        old = page.read_text(encoding="utf-8") if page.is_file() else "# A batch on Ray\n\nSee benchmarks/bench_cluster.py.\n"
        kept = re.sub(rf"\n## {part}\n.*?(?=\n## |\Z)", "", old, flags=re.DOTALL).rstrip("\n")
        page.write_text(f"{kept}\n\n## {part}\n\n{text}", encoding="utf-8")
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        sys.stdout.write(f"## {part} (this process: {peak:.0f} MB at most)\n\n{text}\n")


if __name__ == "__main__":
    main()
