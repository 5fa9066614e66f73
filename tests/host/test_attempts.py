"""Begun runs: counted over dead servers, claimed once among living ones, withdrawn when a person stops them."""

import json
import multiprocessing
import os
import subprocess
import sys

import psutil
import pytest
from helpers.comfy_modules import prepare

prepare()
import folder_paths
from lift123.host import attempts, journal, runs, turns

PREFIX = "lift123/b/one"


@pytest.fixture(autouse=True)
def output(tmp_path, monkeypatch):
    monkeypatch.setattr(folder_paths, "get_output_directory", lambda: str(tmp_path))
    return tmp_path


def as_if_by(owner: dict) -> None:
    """The started file as another process has left it."""
    path = attempts.path_of(PREFIX)
    data = json.loads(path.read_text()) | {"owner": owner}
    path.write_text(json.dumps(data))
    attempts._mine.clear()


def dead_owner() -> dict:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    return journal.who() | {"pid": gone.pid}


def test_dead_servers_are_counted_and_living_ones_left_alone():
    dead = dead_owner()
    for count in (1, 2, 3):
        assert attempts.begin(PREFIX, "k", "p") and attempts.ended(PREFIX, "k") == count - 1
        as_if_by(dead)
        assert attempts.ended(PREFIX, "k") == count and attempts.ended(PREFIX, "other settings") == 0
    as_if_by(journal.who() | {"since": journal.who()["since"] - 50})
    assert attempts.ended(PREFIX, "k") == 3, "a process of the same number that began at another time"
    as_if_by(journal.who() | {"pid": os.getppid(), "since": psutil.Process(os.getppid()).create_time()})
    assert attempts.busy(PREFIX) and not attempts.begin(PREFIX, "k", "p")
    attempts.clear(PREFIX)
    assert attempts.path_of(PREFIX).exists(), "it belongs to a living server"


def test_an_end_leaves_nothing_and_a_withdrawal_the_count_of_before(output):
    assert attempts.begin(PREFIX, "k", "p") and not attempts.end(PREFIX, "another prompt") and attempts.end(PREFIX, "p")
    assert not attempts.end(PREFIX, "p") and not list(output.rglob("*.json")) + list(output.rglob(".*"))
    attempts.begin(PREFIX, "k", "p")
    as_if_by(dead_owner())
    attempts.begin(PREFIX, "k", "p")
    attempts.withdraw(PREFIX, "p")
    assert attempts.ended(PREFIX, "k") == 1
    attempts.begin(PREFIX, "k", "p")
    attempts._withdraw_all()
    assert attempts.ended(PREFIX, "k") == 1
    attempts.path_of(PREFIX).write_text("{half")
    assert attempts.ended(PREFIX, "k") == 0 and attempts.begin(PREFIX, "k", "q") and attempts.begin(PREFIX, "k", "r")
    assert [p.name for p in output.rglob("*") if p.is_file()] == ["one_started.json"]


def contender(folder: str, gate, won) -> None:
    folder_paths.get_output_directory = lambda: folder
    journal.who.cache_clear()
    gate.wait()
    won.put(attempts.begin(PREFIX, "k", "p"))
    gate.wait()  # alive until all have tried


@pytest.mark.skipif(sys.platform == "win32", reason="forks")
@pytest.mark.parametrize("left", ["nothing", "a dead server's file"])
def test_of_four_servers_one_begins(output, left):
    if left != "nothing":
        attempts.begin(PREFIX, "k", "p")
        as_if_by(dead_owner())
    context = multiprocessing.get_context("fork")
    gate, won = context.Barrier(5), context.Queue()
    others = [context.Process(target=contender, args=(str(output), gate, won)) for _ in range(4)]
    for process in others:
        process.start()
    gate.wait()
    taken = [won.get(timeout=60) for _ in others]
    gate.wait()
    for process in others:
        process.join()
    assert sorted(taken) == [False, False, False, True]
    assert [p.name for p in output.rglob("*") if p.is_file()] == ["one_started.json"]


@pytest.mark.parametrize("left", ["nothing", "a dead server's file"])
def test_who_has_looked_too_early_takes_nothing(output, monkeypatch, left):
    """Between our look and our claim another server begins: its file stays, and we have not begun."""
    if left != "nothing":
        attempts.begin(PREFIX, "k", "p")
        as_if_by(dead_owner())
    stale = attempts._read(attempts.path_of(PREFIX))
    parent = journal.who() | {"pid": os.getppid(), "since": psutil.Process(os.getppid()).create_time()}
    attempts.begin(PREFIX, "k", "theirs")
    as_if_by(parent)
    truth = attempts._read
    for use in (lambda: attempts.begin(PREFIX, "k", "ours"), lambda: attempts.clear(PREFIX)):
        looks = [stale]
        monkeypatch.setattr(attempts, "_read", lambda path, looks=looks: looks.pop() if looks else truth(path))
        assert not use() and not looks
        there = [p for p in output.rglob("*") if p.is_file()]
        assert [p.name for p in there] == ["one_started.json"] and "theirs" in there[0].read_text()


def test_a_claim_whose_server_has_ended_is_in_the_way_once(output):
    attempts.begin(PREFIX, "k", "p")
    as_if_by(dead_owner())
    found = attempts._read(attempts.path_of(PREFIX))
    with attempts._claimed(attempts.path_of(PREFIX), found) as ours:
        assert ours and not attempts.begin(PREFIX, "k", "q")
        (claim,) = output.rglob(".one_started.json.*")
        claim.write_text(json.dumps(dead_owner()))
        assert not attempts.begin(PREFIX, "k", "q")
    assert attempts.begin(PREFIX, "k", "q") and attempts.ended(PREFIX, "k") == 1


def test_how_a_run_ended_decides_what_follows(output, monkeypatch):
    element = runs.Element("one.png", PREFIX, "one.png", "x")
    turn = turns.Turn("1", element, {PREFIX}, [PREFIX, "lift123/b/two"], 1, True)
    monkeypatch.setattr(runs, "tell_browser", lambda *_: None)

    def ended(*messages):
        attempts.begin(PREFIX, "k", "p")
        return turns.settle({"messages": [["execution_start", {}], *messages]}, "p", turn)

    assert ended(["execution_success", {}]) and not list(output.rglob("*.json"))
    assert not ended(["execution_interrupted", {"node_id": "3"}]) and not list(output.rglob("*.json"))
    assert ended(["execution_error", {"node_type": "KSampler", "exception_message": " no room\n", "node_id": "3"}])
    assert [p.name for p in output.rglob("*.json")] == ["one_failed.json"]
    assert json.loads(runs.failure_path(PREFIX).read_text())["error"] == "KSampler: no room"
    assert turns.settle({}, "p", turn), "a cleared history"
    assert turns._summary(turn) == "The batch has come to its end: 1 of 2 were worked on, 1 failed."
    turn.stop = True
    assert "stopped after 1 of 2, 1 failed" in turns._summary(turn)
    assert not ended(["execution_success", {}])
    assert not turns.settle({}, "p", turns.Turn("1", None, set(), [], 2, False))


class Queue:
    """ComfyUI's prompt queue, as far as it is asked."""

    def __init__(self, *waiting):
        self.waiting = [(0, prompt) for prompt in waiting]

    def get_current_queue_volatile(self):
        return [], list(self.waiting)

    def delete_queue_item(self, function):
        self.waiting = [item for item in self.waiting if not function(item)]


def test_a_next_run_that_waits_is_stopped_and_one_that_was_taken_out_forgotten(monkeypatch):
    state = turns._Queue(tried={"next": {PREFIX}, "cleared by hand": {PREFIX}})
    state.running["now"] = turns.Turn("1", None, set(), [PREFIX], 1, True)
    monkeypatch.setattr(turns, "_state", state)
    queue = Queue("other", "next")
    assert turns._waiting(queue) == ["next"] and list(state.tried) == ["next"]
    assert turns.stop(queue) == ["now", "next"] and queue.waiting == [(0, "other")] and state.running["now"].stop
    assert turns._waiting(queue) == []
