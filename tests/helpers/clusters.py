"""Runs on a cluster: a tiny graph, a driver in a process of its own, the processes behind it."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from lift123.launcher import settings

from helpers.batches import node, put_pictures

ROOT = Path(__file__).resolve().parents[2]


def tiny_graph() -> dict:
    """Picture -> its object -> PNG, and a toy's mesh -> GLB: a fraction of a second in a warm ComfyUI."""
    seen = {"image": ["picture", 0], "mask": ["picture", 1], "prompt": "a thing", "negative": "", "size": 32, "border": 0.2,
            "recenter": True, "elevation": 0.0, "radius": 3.2, "fovy": 20.0, "mask_marks": "auto",
            "depth_convention": "inverse-depth"}
    return {"picture": node("LoadImage", image="none.png"),
            "toy": node("Lift123_ToyObject", size=32, azimuth=0.0, elevation=0.0, seed=12),
            "reference": node("Lift123_ReferenceView", **seen),
            "seen": node("SaveImage", images=["reference", 1], filename_prefix="lift123/seen"),
            "mesh": node("SaveGLB", mesh=["toy", 4], filename_prefix="lift123/mesh")}


def killed_run(folder: Path, names: list, broken: tuple, plan: list, again: dict, **first) -> dict:
    """A run whose processes are killed when so many items are through; then the same command to its end.

    plan: (items, "server" | "actor" | "driver") in order; first, again: options of the first drivers and of those after
    a driver was killed.  Returns item name -> list of result folders; asserts that nothing of a killed driver lives on.
    """
    put_pictures(folder / "pictures", names, {}, ())
    for number, name in enumerate(broken):
        (folder / "pictures" / f"{name}.png").write_bytes(b"no picture %d" % number)
    (folder / "graph.json").write_text(json.dumps(tiny_graph()), encoding="utf-8")
    run, hit = folder / "out" / "lift123" / "pictures", set()
    arguments = (folder / "pictures", folder / "graph.json", folder / "out")
    driver = begin(*arguments, **first)
    try:
        driver = _with_kills(driver, run, plan, hit, lambda: begin(*arguments, **again))
        said, _ = driver.communicate(timeout=600)
    finally:
        if driver.poll() is None:
            driver.terminate()
    assert driver.returncode == (1 if broken else 0), said
    found: dict = {name: [] for name in names}
    for place in run.iterdir():
        if place.is_dir():
            found[place.name.rpartition("-")[0]].append(place)
    return found


def _with_kills(driver, run: Path, plan: list, hit: set, restart):
    """Kills as planned; the driver that lives in the end."""
    for count, victim in plan:
        _reach(driver, run, count)
        if victim == "driver":
            family = [*servers(driver), *actors(driver)]
            assert family
            kill(driver)
            driver.wait()
            assert wait_for(lambda family=family: not [p for p in family if alive(p)], 60), family
            driver = restart()
        else:
            _kill_one(driver, servers if victim == "server" else actors, hit)
    return driver


def _reach(driver, run: Path, count: int) -> None:
    """Waits for so many items, as long as another one comes through every few minutes."""
    reached, before = False, -1
    while not reached and finished(run) > before:
        before = finished(run)
        reached = wait_for(lambda: finished(run) >= count or driver.poll() is not None, every=0.02)
    said = driver.stdout.read() if driver.poll() is not None else ""
    assert reached and driver.poll() is None, f"{count}: {said}"


def _kill_one(driver, find, hit: set) -> None:
    """SIGKILL for one that was not hit before."""
    wait_for(lambda: [p for p in find(driver) if p.pid not in hit])
    chosen = [p for p in find(driver) if p.pid not in hit][-1]
    hit.add(chosen.pid)
    kill(chosen)


def alive(process) -> bool:
    """Whether a psutil process still runs."""
    import psutil

    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def check(run: Path, found: dict, broken: tuple) -> list:
    """Every item has one whole result, the broken ones one clear line instead; the journal is complete.  Its events."""
    from lift123.cluster import journal

    good = [name for name in found if name not in broken]
    assert {name: len(places) for name, places in found.items()} == {n: int(n in good) for n in found}
    for name in good:
        files = sorted(p.name for p in found[name][0].iterdir())
        assert files == ["item.json", "mesh_00001_.glb", "seen_00001_.png"], (name, files)
    failures = {p.name.rpartition("-")[0]: json.loads(p.read_text()) for p in run.glob("*_failed.json")}
    assert sorted(failures) == sorted(broken) and all("cannot identify" in f["error"] for f in failures.values()), failures
    lines = events(run)
    assert lines[-1]["e"] == "end" and lines[-1]["why"] == "finished"
    last = {event["n"]: event["e"] for event in lines if "n" in event}
    assert last == {name: "done" if name in good else "failed" for name in found}
    assert [path.name for path in run.glob(".staging*")] == [] and not list(run.glob(".mark*"))
    text = (run / journal.FILE).read_text()
    assert text.endswith("\n") and all(text.splitlines())
    return lines


def begin(source: Path, graph: Path, output: Path, **more) -> subprocess.Popen:
    """``cluster/drive.py`` on a source, in a process group of its own."""
    paths = settings.default_paths()
    told = {"source": str(source), "workflow": str(graph), "output": str(output), "arguments": ["--disable-api-nodes"],
            "memory": 0, **more}
    env = {**os.environ, "LIFT123_HOME": str(paths.home), "PYTHONUNBUFFERED": "1"}
    return subprocess.Popen([sys.executable, str(ROOT / "cluster" / "drive.py"), json.dumps(told)], env=env,
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True)


def events(run: Path) -> list:
    """The journal, as far as it is written."""
    from lift123.cluster import journal

    return journal.read(run / journal.FILE)


def finished(run: Path) -> int:
    """Items that are through."""
    return sum(event["e"] in ("done", "failed", "aside") for event in events(run))


def wait_for(condition, seconds: float = 240.0, every: float = 0.1) -> bool:
    """Whether it came true in time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(every)
    return False


def children(process: subprocess.Popen, words: str) -> list:
    """Living descendants of a process whose command line has these words (psutil processes)."""
    import psutil

    found = []
    for child in psutil.Process(process.pid).children(recursive=True):
        try:
            if words in " ".join(child.cmdline()) or words in child.name():
                found.append(child)
        except psutil.Error:
            continue
    return found


def servers(process: subprocess.Popen) -> list:
    """The ComfyUIs of a run."""
    return children(process, "--base-directory")  # Ray has a main.py, too


def actors(process: subprocess.Popen) -> list:
    """The actors of a run."""
    return children(process, "ray::Lift123Worker")


def kill(process) -> None:
    """SIGKILL; a process that has just ended is fine."""
    try:
        os.kill(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
