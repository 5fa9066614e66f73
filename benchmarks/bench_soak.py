"""Many queued prompts in one server: does memory, or anything else that is open, grow?

    python benchmarks/bench_soak.py [--prompts 300] [--work FOLDER] [--report]

Each prompt is a tiny graph with another seed: a NeRF stage with the embedded 3D prior, whose scene is saved; an asset that is
baked and exported; a toy figure that the embedded network canonicalizes and whose layers are saved.  In every 25th prompt the
toys are others, too, another mesh is imported and a character exported; in between ComfyUI keeps those.
After each prompt the server's process is looked at from outside: resident memory and the part of it that is its own (the
rest is pages of files, which the system may drop and read again), open files and sockets (handles), threads, and files in the
system's temporary folder or half written ones in the output folder.  Pictures that nodes show lie in ComfyUI's own temporary
folder until it is started again, as those of core nodes do; they are counted apart.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil
from bench_tools import ROOT, load_pack, machine, table

load_pack()

from lift123.launcher import environment, jobs, settings
from lift123.launcher.server import ComfyServer

WARM = 100  # prompts after which nothing may grow
WINDOW = 10  # prompts around a place, of which the median counts
LOOKS = (0.05, 0.1, 0.2)  # seconds between looks
BAR = 0.05  # of memory
MEMORY = ("memory", "own")
RENEW = 25  # prompts with the same toys
HALF_WRITTEN = ("*.part", "*.partial")
OUT = ROOT / "benchmarks" / "results" / "soak.md"


@dataclass(frozen=True)
class Sample:
    """The server after a prompt.

    memory: resident, bytes; own: without pages of files, with what was swapped out, bytes; temporary: files; previews: in
    ComfyUI's temporary folder.
    """

    prompt: int
    seconds: float
    memory: int
    own: int
    handles: int
    threads: int
    temporary: int
    previews: int


def node(kind: str, **inputs) -> dict:
    """One entry of a prompt."""
    return {"class_type": f"Lift123_{kind}", "inputs": inputs}


def graph(number: int) -> dict:
    """The prompt of that number."""
    toy = number // RENEW
    prompt = {
        "toy": node("ToyObject", size=32, seed=toy),
        "reference": node("ReferenceView", image=["toy", 0], mask=["toy", 1], prompt="an object", size=64),
        "networks": node("LoadEmbedded"),
        "prior": node("ViewPrior", view_network=["networks", 0]),
        "nerf": node("NerfStage1", reference=["reference", 0], prior=["prior", 0], iterations=2, render_size=16,
                     reference_size=16, preview_every=1, seed=number),
        "save": node("SaveScene", scene=["nerf", 0], filename_prefix="soak/scene"),
        "scene": node("MeshToScene", mesh=["toy", 4], reference=["reference", 0], grid=16, detail=64, seed=toy),
        "export": node("BakeExport", scene=["scene", 0], filename_prefix="soak/object", texture_size=64, face_budget=200,
                       supersample=1, frames=4, turntable_size=64),
        "figure": node("ToyCharacter", size=32, pose=toy % 100, cells=16, seed=toy),
        "characters": node("LoadCharacterEmbedded"),
        "pose": node("Canonicalize", image=["figure", 0], canonical=["characters", 0], mask=["figure", 1],
                     mask_marks="object", complete=True, seed=number),
        "shown": {"class_type": "PreviewImage", "inputs": {"images": ["pose", 0]}},
        "layers": node("SaveLayers", layers=["figure", 4], filename_prefix="soak/layers"),
    }
    if number % RENEW == 0:
        prompt["character"] = node("ExportCharacter", layers=["figure", 4], filename_prefix="soak/character", texture_size=64,
                                   face_budget=100)
    return prompt


def completed(prompt: dict, info: dict) -> dict:
    """The prompt with every widget that it leaves out at its default (``info``: ComfyUI's /object_info)."""
    for entry in prompt.values():
        for name, (kind, *options) in info[entry["class_type"]]["input"]["required"].items():
            default = (options[0] if options else {}).get("default")
            if name not in entry["inputs"]:
                entry["inputs"][name] = kind[0] if default is None and isinstance(kind, list) else default
    return prompt


def look(pid: int, number: int, seconds: float, base: Path, temporary: Path) -> Sample:
    """The process at rest: of a few looks the one with fewest handles, for connections close a little later."""
    process, handles, threads = psutil.Process(pid), [], []
    for pause in LOOKS:
        time.sleep(pause)
        handles.append(process.num_handles() if hasattr(process, "num_handles") else process.num_fds())
        threads.append(process.num_threads())
    half = [path for pattern in HALF_WRITTEN for path in (base / "output").rglob(pattern)]
    previews = sum(path.is_file() for folder in base.glob("temp-*") for path in folder.rglob("*"))
    return Sample(number, round(seconds, 2), process.memory_info().rss, own_memory(process), min(handles), min(threads),
                  sum(path.is_file() for path in temporary.rglob("*")) + len(half), previews)


def own_memory(process: psutil.Process) -> int:
    """Bytes that no other process and no file shares, wherever they are."""
    status = Path(f"/proc/{process.pid}/status")
    if not status.is_file():
        return process.memory_full_info().uss
    found = dict(line.split(":", 1) for line in status.read_text(encoding="utf-8").splitlines())
    return sum(int(found[name].split()[0]) for name in ("RssAnon", "VmSwap")) * 1024


def soak(server: ComfyServer, base: Path, temporary: Path, count: int, first: int = 1) -> Iterator[Sample]:
    """Queues ``count`` prompts one after the other; a sample after each.  PromptFailed as soon as one fails."""
    info = server.client.get("/object_info")
    for number in range(first, first + count):
        began = time.monotonic()
        jobs.run(server.client, completed(graph(number), info), alive=server.alive, timeout=600)
        yield look(server.pid, number, time.monotonic() - began, base, temporary)


def around(samples: list[Sample], place: int, value: Callable[[Sample], float]) -> float:
    """Median over the last WINDOW prompts up to ``place``."""
    return statistics.median(value(s) for s in samples if place - WINDOW < s.prompt <= place)


def verdicts(samples: list[Sample], warm: int = WARM) -> dict[str, tuple[float, float, bool]]:
    """what: (after ``warm`` prompts, at the end, whether it stayed within its bar)."""
    end, found = samples[-1].prompt, {}
    for name in (*MEMORY, "handles", "threads", "temporary"):
        before, after = (around(samples, place, lambda s, name=name: getattr(s, name)) for place in (warm, end))
        found[name] = before, after, after <= before * (1 + BAR) if name in MEMORY else after <= before
    return found


def report(samples: list[Sample], where: str) -> str:
    """The page."""
    found, marks = verdicts(samples), sorted({1, 10, 50, *range(WARM, samples[-1].prompt, 50), samples[-1].prompt})
    named = {"memory": "resident memory MB", "own": "its own memory MB", "temporary": "temporary files"}
    rows = [[named.get(k, k), *(round(v / 2**20 if k in MEMORY else v) for v in (before, after)),
             f"{after / before - 1:+.1%}" if k in MEMORY else f"{after - before:+.0f}", "yes" if ok else "NO"]
            for k, (before, after, ok) in found.items()]
    course = [[s.prompt, round(s.memory / 2**20), round(s.own / 2**20), s.handles, s.threads, s.temporary, s.previews, s.seconds]
              for s in samples if s.prompt in marks]
    head = ["prompt", "memory MB", "its own MB", "handles", "threads", "temporary files", "pictures shown", "seconds"]
    about = __doc__[__doc__.index("Each prompt") :]
    return (f"# Soak: {samples[-1].prompt} prompts in one server\n\n{where}\n\n{about}\nMedians of {WINDOW} prompts. Bars: "
            f"memory at most {BAR:.0%} above what it was after {WARM} prompts, all else no more.\n\n"
            + table(["what", f"after {WARM}", "at the end", "change", "within its bar"], rows) + "\n" + table(head, course))


def kept(file: Path) -> list[Sample]:
    """Samples of an earlier run."""
    return [Sample(**json.loads(line)) for line in file.read_text(encoding="utf-8").splitlines()]


def measure(work: Path, count: int) -> None:
    """Runs the prompts and writes ``work/samples.jsonl`` line by line."""
    paths, base = settings.default_paths(), Path(tempfile.mkdtemp(prefix="soak-", dir=work))
    temporary = base / "system-temporary"
    temporary.mkdir()
    environment.link_pack(paths, base / "custom_nodes", "lift123")
    env = {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", **{name: str(temporary) for name in ("TMPDIR", "TEMP", "TMP")}}
    with ComfyServer(paths, base, env=env) as server, (work / "samples.jsonl").open("w", encoding="utf-8") as file:
        for sample in soak(server, base, temporary, count):
            print(json.dumps(asdict(sample)), file=file, flush=True)
            print(sample, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--prompts", type=int, default=300)
    parser.add_argument("--work", type=Path, default=settings.default_paths().home / "bench" / "soak")
    parser.add_argument("--report", action="store_true", help="write the page of what was measured before")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    if not args.report:
        measure(args.work, args.prompts)
    samples = kept(args.work / "samples.jsonl")
    if samples[-1].prompt > WARM:
        OUT.write_text(report(samples, machine().replace(", CPU time", "")), encoding="utf-8")
    print({name: ok for name, (*_, ok) in verdicts(samples, min(WARM, samples[-1].prompt)).items()})


if __name__ == "__main__":
    main()
