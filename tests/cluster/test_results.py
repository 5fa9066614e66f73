"""A result is published whole and once; the journal outlives its driver, and one driver has a run."""

import json
import os
import threading

import pytest
from lift123.cluster import identity, journal, results
from lift123.launcher.settings import LaunchError

KEY = "ab" * 32


def files(to, text=b"glb"):
    (to / "a.glb").write_bytes(text)
    return {"a.glb": results.described(to / "a.glb")}


def test_of_many_publishers_one_wins(tmp_path):
    fresh, barrier = [], threading.Barrier(8)

    def one(number):
        barrier.wait()
        fresh.append(results.publish(tmp_path, "cup", KEY, {}, lambda to: files(to, b"%d" % number)))

    threads = [threading.Thread(target=one, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(fresh) == [False] * 7 + [True]
    assert [p.name for p in tmp_path.iterdir()] == [f"cup-{KEY[:12]}"], "nothing else is left"
    assert [p.name for p in results.done(tmp_path, "cup", KEY)] == ["a.glb"]
    assert results.done(tmp_path, "cup", "cd" * 32) is None
    (tmp_path / f"cup-{KEY[:12]}" / "a.glb").write_bytes(b"")  # damaged by hand: made again
    assert results.done(tmp_path, "cup", KEY) is None
    assert results.publish(tmp_path, "cup", KEY, {}, files) and results.done(tmp_path, "cup", KEY)


def test_a_publisher_that_fails_leaves_nothing(tmp_path):
    def broken(to):
        files(to)
        raise OSError("disk full")

    with pytest.raises(OSError):
        results.publish(tmp_path, "cup", KEY, {}, broken)
    assert not list(tmp_path.iterdir())


def test_results_come_in_pieces_and_are_checked(tmp_path, monkeypatch):
    monkeypatch.setattr(results, "PIECE", 5)
    far = {"x.glb": b"0123456789ab", "../../evil.png": b"png", "empty": b"", "item.json": b"{}"}
    (tmp_path / "far").mkdir()
    told = {}
    for number, (name, data) in enumerate(far.items()):
        (tmp_path / "far" / str(number)).write_bytes(data)
        told[name] = results.described(tmp_path / "far" / str(number))
    run = tmp_path / "run"
    incoming = results.Incoming(run, KEY, told)
    while (piece := incoming.next()) is not None:
        incoming.take(far[piece[0]][piece[1]: piece[1] + piece[2]])
    assert results.publish(run, "cup", KEY, {}, incoming.fill)
    incoming.drop()
    got = {p.name: p.read_bytes() for p in results.done(run, "cup", KEY)}
    assert got == {"x.glb": far["x.glb"], "evil.png": b"png", "empty": b"", "2-item.json": b"{}"}
    assert not (tmp_path.parent / "evil.png").exists() and [p.name for p in run.iterdir()] == [f"cup-{KEY[:12]}"]

    incoming = results.Incoming(run, "cd" * 32, {"a": {"bytes": 3, "sha256": "0" * 64}})
    with pytest.raises(LaunchError, match="not asked for"):
        incoming.take(b"four")
    incoming.take(b"abc")
    with pytest.raises(LaunchError, match="damaged"):
        results.publish(run, "cup", "cd" * 32, {}, incoming.fill)


def test_manifests_learn_their_item(tmp_path):
    (tmp_path / "a_manifest.json").write_text(json.dumps({"manifest": 1, "batch": {}}))
    (tmp_path / "out").mkdir()
    results.copied([tmp_path / "a_manifest.json"], tmp_path / "out", {"item": "cup", "key": KEY})
    assert json.loads((tmp_path / "out" / "a_manifest.json").read_text())["batch"] == {"item": "cup", "key": KEY}
    assert results.with_batch(b"[1", {}) == b"[1"


def test_a_journal_is_taken_over_where_its_driver_is_gone(tmp_path):
    first = journal.Journal(tmp_path, 3)
    first.add("lost", k="x", counts=True)
    first.add("lost", k="y", counts=False)
    first.add("aside", k="z")
    first.commit()
    with open(tmp_path / journal.FILE, "ab") as file:
        file.write(b'{"e": "done", "k": "to')  # killed in the middle of a line
    second = journal.Journal(tmp_path, 3)  # of this very process: nobody else's
    assert second.lost == {"x": 1} and second.aside == {"z"} and second.epoch == 2
    second.add("retry", k="z")
    second.close("finished")
    assert [e["e"] for e in journal.read(tmp_path / journal.FILE)] == [
        "begin", "lost", "lost", "aside", "begin", "retry", "end"]
    first._beaten -= 100
    with pytest.raises(LaunchError, match="taken this run over"):
        first.beat()
    assert not journal.Journal(tmp_path, 3).aside


def test_a_living_driver_keeps_its_run(tmp_path):
    parent = {"host": journal.platform.node(), "pid": os.getppid(), "born": journal.guard.birth(os.getppid())}
    (tmp_path / ".driver-000004").write_text(json.dumps(parent))
    with pytest.raises(LaunchError, match=f"process {os.getppid()} works on this run"):
        journal.Journal(tmp_path, 1)
    assert journal.Journal(tmp_path, 1, take_over=True).epoch == 5
    far = tmp_path / "far"
    far.mkdir()
    (far / ".driver-000001").write_text(json.dumps({"host": "elsewhere", "pid": 1, "born": ""}))
    with pytest.raises(LaunchError, match="elsewhere"):
        journal.Journal(far, 1)
    os.utime(far / ".driver-000001", (0, 0))
    assert journal.Journal(far, 1).epoch == 2


def test_machines_are_compared_by_code_and_weights(tmp_path):
    for machine in "ab":
        (tmp_path / machine / "models" / "checkpoints").mkdir(parents=True)
        (tmp_path / machine / "models" / "checkpoints" / "x.ckpt").write_bytes(b"1" * (2 << 20))
    told = {m: {"code": "1", "commit": "c", "weights": identity.weights(
        tmp_path / m / "models", ["x.ckpt", "../x.ckpt", "none.ckpt"], tmp_path / "cache.json")} for m in "ab"}
    assert list(told["a"]["weights"]) == ["checkpoints/x.ckpt"] and identity.difference(told["a"], told["b"]) == ""
    (tmp_path / "b" / "models" / "checkpoints" / "x.ckpt").write_bytes(b"2" * (2 << 20))
    told["b"]["weights"] = identity.weights(tmp_path / "b" / "models", ["x.ckpt"], tmp_path / "cache.json")
    assert "has another checkpoints/x.ckpt" in identity.difference(told["a"], told["b"])
    assert "lacks checkpoints/x.ckpt" in identity.difference(told["a"], {**told["a"], "weights": {}})
    assert "other code (d, here c)" in identity.difference(told["a"], {**told["a"], "code": "2", "commit": "d"})
