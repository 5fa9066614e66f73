"""``launch.py batch`` with machines, tables and sweeps; ``worker-setup``; without them nothing changes."""

import json
import subprocess
from pathlib import Path

import pytest
from lift123.launcher import cluster, commands, environment, settings


def arguments(*words):
    return commands.parser().parse_args(["batch", *words])


def test_the_plain_batch_stays_as_it_was(tmp_path, monkeypatch):
    assert not cluster.wanted(arguments("pictures")) and not cluster.wanted(arguments("pictures", "--workers", "1"))
    for more in (["--workers", "2"], ["--cluster", "auto"], ["--sweep", "seed=0:2"], ["--name", "x"]):
        assert cluster.wanted(arguments("pictures", *more))
    assert cluster.wanted(arguments("table.csv")) and not cluster.needs_ray(arguments("table.csv"))
    called = []
    monkeypatch.setattr(environment, "ensure", lambda *_, **__: called.append("ensure"))
    monkeypatch.setattr(commands, "run_batch", lambda *_: called.append("plain") or 0)
    (tmp_path / "a.png").touch()
    paths = settings.Paths(settings.ROOT, tmp_path)
    assert commands.command_batch(arguments(str(tmp_path), "--workers", "1"), paths) == 0
    assert called == ["ensure", "plain"], "no Ray"


def test_the_driver_gets_what_was_asked_for(tmp_path):
    from lift123.cluster.api import Options

    paths = settings.Paths(settings.ROOT, tmp_path)
    args = arguments("t.csv", "--cluster", "ray://head:10001", "--gpus-per-worker", "0.5", "--memory-per-worker", "12",
                     "--sweep", "seed=0:3", "--take-over")
    program, script, text = cluster.command_of(args, paths)
    told = json.loads(text)
    assert Path(script).is_file() and Path(told["source"]).is_absolute()
    assert (told["cluster"], told["gpus"], told["memory"], told["sweep"], told["take_over"]) == (
        "ray://head:10001", 0.5, 12.0, ["seed=0:3"], True)
    options = {name: told[name] for name in told if name in Options.__dataclass_fields__}
    assert Options(**options).gpus == 0.5
    for words in (["--workers", "0"], ["--workers", "-2"], ["--gpus-per-worker", "nan"]):
        with pytest.raises(settings.LaunchError, match="above 0"):
            cluster.command_of(arguments("t.csv", *words), paths)


def test_ray_is_an_addition_only(tmp_path, monkeypatch):
    """Every version that is there is a constraint; the second time nothing is asked; offline comes from the folder."""
    done = []
    monkeypatch.setattr(environment, "pip", lambda paths, title, *words: done.append(words))
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: subprocess.CompletedProcess([], 0, "torch==2.14.1\n"))
    paths = settings.Paths(settings.ROOT, tmp_path)
    cluster.ensure(paths, "wheels")
    cluster.ensure(paths)
    assert len(done) == 1 and done[0][:3] == ("--no-index", "--find-links", "wheels")
    kept = Path(done[0][done[0].index("--constraint") + 1])
    assert kept.read_text() == "torch==2.14.1\n"
    assert json.loads((tmp_path / cluster.NODE).read_text())["root"] == str(settings.ROOT)


def test_workers_fit_where_there_is_room(monkeypatch):
    from lift123.cluster import placement

    nodes = [{"Alive": True, "Resources": {"CPU": 8.0, "GPU": 2.0, "memory": 16e9}},
             {"Alive": True, "Resources": {"CPU": 4.0, "memory": 7e9}}, {"Alive": False, "Resources": {"CPU": 99.0}}]
    assert placement.room(nodes, placement.Sizes(1, 1, 0)) == 2, "one worker per GPU"
    assert placement.room(nodes, placement.Sizes(0, 1, 0)) == 12
    assert placement.room(nodes, placement.Sizes(0, 1, int(3e9))) == 5 + 2
    assert placement.room(nodes, placement.Sizes(4, 1, 0)) == 0
    assert placement.sizes(None, None, None, True, 5) == placement.Sizes(1.0, 1.0, 0)
    assert placement.sizes(None, None, None, False, 5) == placement.Sizes(0.0, 1.0, 5)
    assert placement.sizes(0, 2, 1.5, True, 5).memory == int(1.5 * 2**30)
    prompt = {"1": {"class_type": "Lift123_NerfStage1", "inputs": {"preset": "paper"}}}
    assert placement.need_of(prompt) > placement.need_of({}) == placement.BASE_BYTES
