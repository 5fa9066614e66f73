"""Finished stages stay on disk until their prompt has ended well, and no longer; whose they are; what damage does."""

import os
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest
import torch
from helpers.comfy_modules import prepare

prepare()
import server
from helpers.fake_server import FakeServer
from lift123.host import endings, finished, journal, runner
from lift123.host.finished import Finished, Packet
from lift123.host.unfinished import FOLDER, Shelf
from lift123.pipelines.core.step import Step

BOX = Packet({"x": torch.arange(6.0).reshape(2, 3)}, {"words": ["a", None, 0.1]})
GRAPH = {"1": {"class_type": "Toy", "inputs": {"seed": 1}}, "2": {"class_type": "Toy", "inputs": {"x": ["1", 0]}},
         "3": {"class_type": "Toy", "inputs": {"x": ["2", 0]}}}


def kept(folder, key="k", stem="toy"):
    return Finished(folder, stem, key, [])


@pytest.fixture
def output(tmp_path, monkeypatch):
    import folder_paths

    monkeypatch.setattr(folder_paths, "get_output_directory", lambda: str(tmp_path))
    return tmp_path / FOLDER


@pytest.fixture
def serving(monkeypatch):
    """A server that runs what a test says."""
    fake = FakeServer()
    monkeypatch.setattr(server.PromptServer, "instance", fake, raising=False)
    monkeypatch.setattr(endings, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(endings, "_left", [])
    monkeypatch.setattr(endings, "_waiting", {})
    yield fake
    fake.close()


def stage(output, seed=1, made=None):
    """A stage of four steps in the node that runs now, with a state after each; (what it gave, whether it worked)."""
    worked = []

    def work(hooks):
        for index in range(1, 5):
            worked.append(index)
            hooks["on_step"](Step("Toy", index, 4))
            hooks["autosave"](lambda: SimpleNamespace(step=1, pack=lambda: ({"x": torch.zeros(1)}, {})))
        return made or BOX

    shelf = Shelf("Toy", seed=seed, every=0.0)
    result = runner.run_stage("Toy", work, None, shelf=shelf, unpack=Packet.unpack)
    if shelf._writer is not None:
        shelf._writer.join()
    return result, bool(worked)


def names(output):
    return sorted(path.name.split("_", 2)[2] for path in output.iterdir()) if output.is_dir() else []


def test_a_result_is_read_back_as_it_was(tmp_path):
    assert kept(tmp_path).write(*BOX.pack())
    found = kept(tmp_path).find(Packet.unpack)
    assert torch.equal(found.tensors["x"], BOX.tensors["x"]) and found.told == BOX.told
    assert kept(tmp_path, stem="other").find(Packet.unpack) is None


@pytest.mark.parametrize("damage", ["flip", "cut", "key"])
def test_a_damaged_result_is_passed_over_and_goes(tmp_path, damage):
    one = kept(tmp_path)
    one.write(*BOX.pack())
    data = bytearray(one.path.read_bytes())
    data[-3] ^= 1
    if damage != "key":
        one.path.write_bytes(data if damage == "flip" else data[:-9])
    again = kept(tmp_path, "another" if damage == "key" else "k")
    assert again.find(Packet.unpack) is None and not one.path.exists()
    assert again.remarks == [f"{one.path.name} is damaged"]


def test_results_of_living_servers_stay_those_of_dead_ones_go(tmp_path, monkeypatch):
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    import psutil

    other = {**journal.who(), "pid": child.pid, "since": psutil.Process(child.pid).create_time()}
    with monkeypatch.context() as patch:
        patch.setattr(journal, "who", lambda: other)
        theirs = kept(tmp_path)
        theirs.write(*BOX.pack())
    mine = kept(tmp_path)
    mine.write(*BOX.pack())
    assert mine.path != theirs.path
    mine.release()
    assert theirs.path.exists() and not mine.path.exists()
    child.communicate(b"\n")
    mine.release()
    assert not theirs.path.exists()


def test_number_bytes_age_and_the_disk_are_bounds(tmp_path, monkeypatch):
    for index in range(4):
        kept(tmp_path, stem=f"toy{index}").write(*BOX.pack())
        os.utime(kept(tmp_path, stem=f"toy{index}").path, (time.time(), time.time() - 100 + index))
    size = kept(tmp_path, stem="toy0").path.stat().st_size

    def there():
        return sorted(path.name[:4] for path in tmp_path.iterdir())

    monkeypatch.setattr(finished, "MOST_FILES", 4)
    kept(tmp_path, stem="toy4").write(*BOX.pack())
    assert there() == ["toy1", "toy2", "toy3", "toy4"]
    monkeypatch.setattr(finished, "MOST_BYTES", 3 * size - 1)
    kept(tmp_path, stem="toy5").write(*BOX.pack())
    assert there() == ["toy3", "toy4", "toy5"], "two, and room for the tensors of one more"
    os.utime(kept(tmp_path, stem="toy4").path, (0, time.time() - 40 * 86400))
    monkeypatch.setattr(finished, "SPARE", 1 << 60)
    assert not kept(tmp_path, stem="toy6").write(*BOX.pack()) and there() == ["toy3", "toy5"]
    monkeypatch.setattr(finished, "MOST_BYTES", 1)
    assert not kept(tmp_path, stem="toy7").write(*BOX.pack())


def test_a_finished_stage_is_not_run_again_until_its_prompt_has_ended_well(output, serving):
    for attempt, ends in enumerate(["error", "error", "success"]):
        with serving.prompt(f"p{attempt}", GRAPH, ends):
            with serving.node("1"):
                made, worked = stage(output)
            assert worked == (attempt == 0) and torch.equal(made.tensors["x"], BOX.tensors["x"]) and made.told == BOX.told
            assert len(names(output)) == 1 and "done" in names(output)[0], "the states are gone"
    assert not names(output)
    with serving.prompt("p3", GRAPH), serving.node("1"):
        assert stage(output)[1], "nothing of a prompt that has ended well is used"


def test_a_later_prompt_with_the_same_nodes_counts_too(output, serving):
    """ComfyUI has the stage in its memory then, so that the node is not asked again."""
    with serving.prompt("p0", GRAPH, "error"), serving.node("2"):
        stage(output)
    changed = {**GRAPH, "1": {"class_type": "Toy", "inputs": {"seed": 2}}}
    with serving.prompt("p1", changed), serving.node("1"):
        stage(output, seed=2)
    assert len(names(output)) == 1, "made of something else"
    with serving.prompt("p2", {**GRAPH, "3": {"class_type": "Other", "inputs": {"x": ["2", 0]}}}), serving.node("3"):
        stage(output, seed=3)
    assert not names(output)


def test_a_stage_that_was_finished_early_keeps_its_states_until_then(output, serving, monkeypatch):
    seen = runner.Monitor.__init__

    def early(self, *args, **more):
        seen(self, *args, **more)
        self.finished_early = True

    monkeypatch.setattr(runner.Monitor, "__init__", early)
    with serving.prompt("p0", GRAPH), serving.node("1"):
        stage(output)
        assert len(names(output)) == 2 and not any("done" in name for name in names(output))
    assert not names(output)


def test_outside_a_server_nothing_stays(output):
    assert stage(output)[1] and not names(output) and stage(output)[1]


def test_a_full_disk_leaves_the_states(output, serving, monkeypatch):
    monkeypatch.setattr(finished, "SPARE", 1 << 60)
    with serving.prompt("p0", GRAPH), serving.node("1"):
        stage(output)
        assert len(names(output)) == 2 and not any("done" in name for name in names(output))
    assert not names(output)
