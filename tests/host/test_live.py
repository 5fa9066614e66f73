"""What the page is sent while a stage runs: when, what, and that it never costs the work."""

import json

import pytest
import torch
from helpers.comfy_modules import prepare

prepare()
import folder_paths
from lift123.host import live, open_folder
from lift123.pipelines.core.mesh import Mesh
from lift123.pipelines.core.step import Step
from lift123.pipelines.io.glb import read_glb

CORNER = Mesh(torch.eye(3), torch.tensor([[0, 1, 2]]), vertex_colors=torch.eye(3))


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def page(tmp_path, monkeypatch):
    """What a page that listens is sent: [(event, data)]."""
    sent = []
    monkeypatch.setattr(live, "heard", lambda: True)
    monkeypatch.setattr(live, "send", lambda event, data: sent.append((event, json.loads(json.dumps(data)))))
    monkeypatch.setattr(folder_paths, "temp_directory", str(tmp_path))
    return sent


def test_curves_come_once_a_second_and_at_the_end(page):
    clock = Clock()
    shown = live.Live("7", clock)
    for index in range(1, 26):
        clock.now += 0.125
        shown(Step("toy", index, 25, {"rgb": 1.0 / index}, scores={"CLIP score": 0.3} if index == 20 else {}))
    assert [len(data["steps"]) for _, data in page] == [8, 16, 24, 25] and {event for event, _ in page} == {live.CURVE}
    assert page[-1][1]["node"] == "7" and page[-1][1]["total"] == 25 and page[-1][1]["scores"] == {"CLIP score": [[20, 0.3]]}


def test_a_surface_that_takes_long_comes_rarely(page, tmp_path):
    """One that costs two seconds: not again before two hundred have gone."""
    clock = Clock()
    shown = live.Live("4:7", clock)

    def surface():
        clock.now += 2.0
        return CORNER

    for index in range(1, 301):
        clock.now += 1.0
        shown(Step("toy", index, 1000, {}, surface=surface))
    told = [data for event, data in page if event == live.SURFACE]
    assert [data["step"] for data in told] == [5, 205] and told[0]["node"] == "4:7"
    assert len({data["file"]["filename"] for data in told}) == 2, "the page may still read the one before"
    mesh = read_glb(tmp_path / told[1]["file"]["filename"])
    assert told[1]["file"]["type"] == "temp" and torch.equal(mesh.vertices.sort(0).values, CORNER.vertices.sort(0).values)


@pytest.mark.parametrize("surface", [lambda: None, lambda: 1 / 0])
def test_no_surface_and_a_broken_one_stop_nothing(page, surface):
    clock = Clock()
    shown = live.Live("7", clock)
    for index in range(1, 12):
        clock.now += 6.0
        shown(Step("toy", index, 100, {}, surface=surface))
    assert not [event for event, _ in page if event == live.SURFACE]


def test_seconds_between_surfaces_are_the_environments(monkeypatch):
    given = {"0": float("inf"), "2.5": 2.5, "often": live.SURFACE_SECONDS}
    for text, seconds in given.items():
        monkeypatch.setenv(live.VARIABLE, text)
        assert live.surface_seconds() == seconds


@pytest.mark.parametrize(("body", "remote", "status"), [
    ({"subfolder": "here"}, "127.0.0.1", 200), ({"subfolder": "here"}, "::1", 200), ({}, "127.0.0.1", 200),
    ({"subfolder": "here"}, "192.168.0.9", 403), ({"subfolder": "here"}, None, 403), ({"subfolder": "here"}, "nonsense", 403),
    ({"subfolder": ".."}, "127.0.0.1", 400), ({"subfolder": "/etc"}, "127.0.0.1", 400), ({"subfolder": 3}, "127.0.0.1", 400),
    ({"subfolder": "absent"}, "127.0.0.1", 400), ([], "127.0.0.1", 400), (None, "127.0.0.1", 400)])
def test_folders_open_for_whoever_sits_here(tmp_path, monkeypatch, body, remote, status):
    opened = []
    monkeypatch.setattr(folder_paths, "output_directory", str(tmp_path))
    monkeypatch.setattr(open_folder, "show", lambda path: opened.append(path) or True)
    (tmp_path / "here").mkdir()
    assert open_folder.answer(body, remote)[0] == status and bool(opened) == (status == 200)


def test_a_machine_without_a_file_manager_says_where_the_folder_is(tmp_path, monkeypatch):
    monkeypatch.setattr(folder_paths, "output_directory", str(tmp_path))
    monkeypatch.setattr(open_folder.shutil, "which", lambda name: None)
    monkeypatch.setattr(open_folder.sys, "platform", "linux")
    assert open_folder.answer({"subfolder": ""}, "127.0.0.1") == (501, "The folder is output; this machine has no file manager.")
