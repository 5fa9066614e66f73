"""The launcher's end, with real processes: what runs is interrupted and kept, no server and no temp folder stays."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from lift123.launcher import guard, server, settings, source
from lift123.pipelines.stages.loop.scene import Scene

ROOT = Path(__file__).resolve().parent.parent.parent
pytestmark = pytest.mark.skipif(os.name == "nt", reason="POSIX signals and terminals")


def until(condition, seconds: float = 300.0):
    """The first true value of the condition; fails where there is none in time."""
    last = time.monotonic() + seconds
    while time.monotonic() < last:
        if value := condition():
            return value
        time.sleep(0.1)
    raise AssertionError("not in time")


@pytest.fixture
def home(tmp_path):
    """A launcher's folder of its own with the environment that is there."""
    paths = settings.default_paths()
    if not source.version_of(paths.comfyui):
        pytest.skip("no ComfyUI here: run 'python3 launch.py test'")
    folder = tmp_path / "home"
    folder.mkdir()
    for path in (paths.venv, paths.comfyui, paths.stamp):
        (folder / path.name).symlink_to(path)
    return folder


class Demo:
    """``launch.py demo`` on the quickstart in a terminal of its own, until a stage is at work."""

    def __init__(self, home: Path):
        self.home, self.text = home, ""
        self.terminal, end = os.openpty()
        env = {**os.environ, "LIFT123_HOME": str(home), "COLUMNS": "200"}
        self.process = subprocess.Popen([sys.executable, str(ROOT / "launch.py"), "demo", "--device", "cpu"], env=env, stdin=end,
                                        stdout=end, stderr=end, start_new_session=True, preexec_fn=own_terminal)
        os.close(end)
        until(lambda: " left" in self.read())
        self.servers = [c for c in psutil.Process(self.process.pid).children() if "main.py" in " ".join(c.cmdline())]
        self.all = psutil.Process(self.process.pid).children(recursive=True)
        assert len(self.servers) == 1 and len(list((home / "base").glob("temp-*"))) == 1

    def read(self) -> str:
        """All that was printed so far."""
        os.set_blocking(self.terminal, False)
        try:
            while chunk := os.read(self.terminal, 65536):
                self.text += chunk.decode(errors="replace")
        except OSError:  # nothing more now, or closed
            pass
        return self.text

    def check_all_gone(self) -> Path:
        """Nothing runs, nothing is left but the partial scene, whose file it returns."""
        until(lambda: not [c for c in self.all if c.is_running() and c.status() != psutil.STATUS_ZOMBIE], 120)
        assert not list((self.home / "base").glob("temp-*"))
        partial = list((self.home / "base" / "output" / "lift123").glob("partial_*.safetensors"))
        assert len(partial) == 1 and Scene.load(partial[0]).step > 0
        return partial[0]


def own_terminal() -> None:
    """Makes standard input the controlling terminal, so that closing it is felt; Ctrl-C is heard."""
    import fcntl
    import termios

    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_ctrl_c_keeps_the_partial_result_and_says_where_it_is(home):
    demo = Demo(home)
    os.write(demo.terminal, b"\x03")
    until(lambda: demo.read() and demo.process.poll() is not None, 120)
    partial, text = demo.check_all_gone(), demo.read()
    assert demo.process.returncode == 130 and "stopped" in text and "Traceback" not in text
    told = re.search(r"(?i)what it has so far is in output/(\S+);.*\(output is (\S+)\)", text)
    assert Path(told[2]) / told[1] == partial


def test_a_closed_terminal_leaves_nothing_but_the_partial_result(home):
    demo = Demo(home)
    os.close(demo.terminal)
    until(lambda: demo.process.poll() is not None, 120)
    demo.check_all_gone()


def test_a_killed_launcher_leaves_nothing_but_the_partial_result(home):
    demo = Demo(home)
    demo.process.kill()
    demo.process.wait()
    demo.check_all_gone()


@pytest.mark.parametrize("word, stays", [(b"", False), (guard.DONE, True)])
def test_the_guard_ends_what_it_was_told_of_unless_all_is_done(tmp_path, word, stays):
    (tmp_path / "temp").mkdir()
    sleeper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
    guarding = subprocess.Popen([sys.executable, "-I", guard.__file__, str(sleeper.pid), str(server.free_port()),
                                 str(tmp_path / "temp")], stdin=subprocess.PIPE)
    guarding.communicate(word, timeout=60)
    assert (sleeper.poll() is None) == stays == (tmp_path / "temp").exists()
    sleeper.kill()
    sleeper.wait()


def test_a_number_that_another_process_got_is_left_alone(monkeypatch, tmp_path):
    births = iter(["1", "2", "2"])
    monkeypatch.setattr(guard, "birth", lambda pid: next(births))
    monkeypatch.setattr(guard, "end", lambda pid: pytest.fail("another process"))
    monkeypatch.setattr(sys, "stdin", type("In", (), {"buffer": open(os.devnull, "rb")}))
    guard.main(os.getpid(), server.free_port(), str(tmp_path / "none"))


def test_temp_folders_of_dead_launchers_are_swept(tmp_path):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    for name in (f"temp-{gone.pid}-abc", f"temp-{os.getpid()}-abc", "temp-mine-abc"):
        (tmp_path / name).mkdir()
    server.sweep(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([f"temp-{os.getpid()}-abc", "temp-mine-abc"])


def test_the_queue_is_emptied_before_the_interruption(monkeypatch):
    """Otherwise the next prompt begins and is cut off without a word."""
    asked, answers = [], iter([{"queue_running": [1]}, {"queue_running": [1]}, {"queue_running": []}])

    def ask(port, path, value=None):
        asked.append((path, value))
        return next(answers) if value is None else {}

    monkeypatch.setattr(guard, "ask", ask)
    assert guard.interrupt(1, lambda: True)
    assert asked[1:4] == [("/lift123/batch/stop", {}), ("/queue", {"clear": True}), ("/interrupt", {})]
    assert len(asked) == 6
    assert not guard.interrupt(1, lambda: False)
