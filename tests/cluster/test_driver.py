"""The driver's loop against workers that die by a script: no Ray, no ComfyUI."""

import json
from collections import deque
from pathlib import Path

import pytest
from lift123.cluster import driver, journal, results
from lift123.cluster.items import Item
from lift123.cluster.pools import Event
from lift123.launcher.settings import LaunchError

PROMPT = {"1": {"class_type": "LoadImage", "inputs": {"image": "none.png"}}}
MINE = {"code": "c", "commit": "", "weights": {}}


class ScriptedPool:
    """script: (item name, attempt) -> "dies", "node", "lost", "fails", "send", "dies in fetch"; else the item is done."""

    def __init__(self, script, workers=2, code="c"):
        self.script, self.workers, self.code = script, workers, code
        self.events, self.log, self.tries, self.kept = deque(), [], {}, {}
        self.most_at_once = self.started = self.closed = 0

    def start(self):
        self.started = 1
        return list(range(self.workers))

    def more(self):
        return []

    def renew(self, worker):
        pass

    def ask(self, worker, call, *arguments):
        self.log.append((worker, call))
        if call == "prepare":
            told = {**MINE, "code": self.code, "host": "h", "pid": worker}
            self.events.append(Event(worker, call, json.dumps(told).encode()))
        elif call == "run":
            self.events.append(self.work(worker, json.loads(arguments[0])))
        elif call == "piece":
            key, name, offset, size = arguments
            dies = self.kept[key] == "dies in fetch"
            data = b"x" * (1 if self.kept[key] == "short" else size)
            self.events.append(Event(worker, call, data) if not dies else Event(worker, call, died="gone"))
        else:
            self.events.append(Event(worker, call, b"{}"))

    def work(self, worker, job):
        name, key = job["name"], job["key"]
        self.tries[name] = self.tries.get(name, 0) + 1
        what = self.script.get((name, self.tries[name]), "")
        if what in ("dies", "node"):
            (Path(job["run"]) / f".staging-{name}-{self.tries[name]}").mkdir(exist_ok=True)  # killed while it published
            return Event(worker, "run", died="killed", preempted=what == "node")
        told = {"status": what, "error": "no object", "seconds": 1.0, "host": "h", "counts": True}
        told["status"] = {"lost": "lost", "fails": "failed"}.get(what, "done")
        told["published"] = what not in ("send", "dies in fetch", "short")
        if told["status"] == "done" and told["published"]:
            results.publish(Path(job["run"]), name, key, {}, made)
        else:
            self.kept[key] = what
            told["files"] = {"a": {"bytes": 3, "sha256": results.hashlib.sha256(b"xxx").hexdigest()}}
        return Event(worker, "run", json.dumps(told).encode())

    def wait(self, seconds):
        self.most_at_once = max(self.most_at_once, len(self.events))
        return [self.events.popleft()] if self.events else []

    def close(self):
        self.closed += 1


def made(to):
    (to / "a").write_bytes(b"xxx")
    return {"a": results.described(to / "a")}


def listed(folder, names):
    found = []
    for name in names:
        (folder / f"{name[0]}.png").write_bytes(name[0].encode())  # "a2" is the same picture as "a"
        found.append(Item(name, name, picture=folder / f"{name[0]}.png"))
    return found


def run(tmp_path, names, script, retry=False, mark=".mark-1", **more):
    pool = ScriptedPool(script, **more)
    made_driver = driver.Driver(listed(tmp_path, names), PROMPT, "", tmp_path / "run", pool, dict(MINE), mark, retry)
    found = [item for item in made_driver.run() if item is not None]
    assert pool.closed == 1 and not [*(tmp_path / "run").glob(".staging*"), *(tmp_path / "run").glob(".mark*")]
    return {item.name: item for item in found}, pool, made_driver


def test_a_result_whose_line_is_missing_gets_it_from_the_next_driver(tmp_path):
    """The driver was killed between a result's folder and the journal's line about it."""
    run(tmp_path, list("ab"), {})
    path = tmp_path / "run" / journal.FILE
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(line for line in lines if not (b'"done"' in line and b'"b"' in line)))
    found, pool, _ = run(tmp_path, list("ab"), {})
    assert not pool.started and {item.status for item in found.values()} == {"already done"}
    ends = [event["n"] for event in journal.read(path) if event["e"] == "done"]
    assert ends == ["a", "b"]


def test_a_driver_clears_away_what_killed_ones_left(tmp_path):
    """At its start, but for its own mark; what its own workers leave is cleared at the end (``run``)."""
    folder = tmp_path / "run"
    (folder / ".staging-old").mkdir(parents=True)
    (folder / ".staging-old" / "a").touch()
    for name in (".mark-1", ".mark-2"):
        (folder / name).touch()
    driver.Driver(listed(tmp_path, "a"), PROMPT, "", folder, ScriptedPool({}), dict(MINE), ".mark-1")
    assert sorted(p.name for p in folder.glob(".[ms]*")) == [".mark-1"]


def test_a_driver_whose_run_was_taken_over_leaves_the_others_work_alone(tmp_path):
    folder = tmp_path / "run"
    first = driver.Driver(listed(tmp_path, "abcdef"), PROMPT, "", folder, ScriptedPool({}), dict(MINE), ".mark-1")
    going = first.run()
    while next(going) is None:
        pass
    driver.Driver(listed(tmp_path, "abcdef"), PROMPT, "", folder, ScriptedPool({}), dict(MINE), ".mark-2", take_over=True)
    for name in (".mark-1", ".mark-2"):
        (folder / name).touch()
    (folder / ".staging-theirs").mkdir()
    first.journal._beaten -= 100
    with pytest.raises(LaunchError, match="taken this run over"):
        list(going)
    assert sorted(p.name for p in folder.glob(".[ms]*")) == [".mark-2", ".staging-theirs"]


def test_every_way_to_lose_an_item(tmp_path):
    script = {("a", 1): "dies", ("b", 1): "lost", ("b", 2): "dies", ("c", 1): "fails", ("d", 1): "send",
              ("e", 1): "dies in fetch", ("f", 1): "short", **{("g", n): "node" for n in range(1, 5)}}
    found, pool, made_driver = run(tmp_path, [*"abcdefgh", "a2", "c2"], script)
    status = {name: item.status for name, item in found.items()}
    assert status == {"a": "done", "b": "set aside", "c": "failed", "d": "done", "e": "done", "f": "done", "g": "done",
                      "h": "done", "a2": "already done", "c2": "failed"}
    assert "2 workers ended" in found["b"].error and found["a2"].files == found["a"].files
    assert pool.tries == {"a": 2, "b": 2, "c": 1, "d": 1, "e": 2, "f": 2, "g": 5, "h": 1}
    assert made_driver.counts.done == 7 and made_driver.counts.failed == 3
    folders = [p.name for p in (tmp_path / "run").iterdir() if p.is_dir()]
    assert sorted(name[0] for name in folders) == list("adefgh"), "one result for each key"
    events = journal.read(tmp_path / "run" / journal.FILE)
    for letter in "adefgh":
        assert [e["e"] for e in events if e.get("n") == letter].count("done") == 1
    last = {event["n"]: event["e"] for event in events if "n" in event}
    assert last == dict.fromkeys("adefgh", "done") | {"b": "aside", "c": "failed"} and events[-1]["why"] == "finished"
    errors = {p.name[0]: json.loads(p.read_text())["error"] for p in (tmp_path / "run").glob("*_failed.json")}
    assert sorted(errors) == ["b", "c"] and errors["c"] == "no object"

    again, pool, _ = run(tmp_path, list("abcd"), {("c", 1): "fails"})
    assert {n: i.status for n, i in again.items()} == {"a": "already done", "b": "set aside", "c": "failed",
                                                       "d": "already done"}
    assert pool.tries == {"c": 1}, "done ones and the deadly one are left alone"
    again, pool, _ = run(tmp_path, list("abc"), {}, retry=True)
    assert pool.tries == {"b": 1, "c": 1} and {i.status for i in again.values()} == {"done", "already done"}
    assert not list((tmp_path / "run").glob("*_failed.json"))
    again, pool, _ = run(tmp_path, list("abcdefgh"), {})
    assert not pool.started, "a finished run starts no worker"


def test_items_wait_outside_of_memory(tmp_path):
    found, pool, _ = run(tmp_path, [chr(n) for n in range(200, 240)], {}, workers=3)
    assert len(found) == 40 and pool.most_at_once <= 3 + 3  # one call each, and its farewell


def test_a_stopped_run_says_what_it_gave_back(tmp_path):
    pool = ScriptedPool({})
    going = driver.Driver(listed(tmp_path, "abcdef"), PROMPT, "", tmp_path / "run", pool, dict(MINE), ".mark-1").run()
    while next(going) is None:
        pass
    going.close()
    events = journal.read(tmp_path / "run" / journal.FILE)
    assert events[-1]["why"] == "stopped" and pool.closed == 1
    sent, ended = ({e["n"] for e in events if e["e"] in kinds} for kinds in (("sent",), ("done", "withdrawn")))
    assert sent == ended
    found, _, _ = run(tmp_path, list("abcdef"), {})
    assert len(found) == 6 and all(item.files for item in found.values())


def test_other_code_and_workers_that_only_die_end_the_run(tmp_path):
    with pytest.raises(LaunchError, match="no worker is left.*other code"):
        run(tmp_path, ["a"], {}, code="other")
    assert not list((tmp_path / "run").glob(".mark*"))
    with pytest.raises(LaunchError, match="no worker is left.*given up after"):
        run(tmp_path, [chr(n) for n in range(200, 260)], {(chr(n), 1): "dies" for n in range(200, 260)}, workers=1)
    events = journal.read(tmp_path / "run" / journal.FILE)
    assert events[-1]["why"] == "error"


def test_a_missing_picture_is_one_failed_item(tmp_path):
    items = [*listed(tmp_path, "ab"), Item("x", "x", picture=tmp_path / "none.png")]
    made_driver = driver.Driver(items, PROMPT, "", tmp_path / "run", ScriptedPool({}), dict(MINE), "mark")
    found = {item.name: item for item in made_driver.run() if item}
    assert found["x"].error == "there is no picture none.png" and found["a"].status == "done"
