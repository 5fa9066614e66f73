"""Names in the output folder: one owner each among processes, nothing left of work that failed or of dead servers."""

import errno
import multiprocessing
import os
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from helpers.comfy_modules import prepare

prepare()
import folder_paths
from comfy_api.latest import io
from lift123.host import claims, journal, outputs
from lift123.host.base import Node
from lift123.pipelines.core.errors import InputError
from lift123.pipelines.io.glb import save_bytes

SEAL = ("json", "manifest")


@pytest.fixture(autouse=True)
def output(tmp_path, monkeypatch):
    monkeypatch.setattr(folder_paths, "get_output_directory", lambda: str(tmp_path))
    return tmp_path


def files(folder: Path) -> list:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def busy_server(folder: str, gate, names) -> None:
    folder_paths.get_output_directory = lambda: folder
    journal.who.cache_clear()
    gate.wait()
    for _ in range(40):
        with claims.held():
            slot = outputs.claim("many/x")
            path = slot.path("txt")
            names.put((path.name, path.exists()))
            path.write_text(str(os.getpid()))


@pytest.mark.skipif(sys.platform == "win32", reason="forks")
def test_three_servers_never_write_the_same_name(output):
    context = multiprocessing.get_context("fork")
    gate, names = context.Barrier(3), context.Queue()
    servers = [context.Process(target=busy_server, args=(str(output), gate, names)) for _ in range(3)]
    for server in servers:
        server.start()
    taken = [names.get(timeout=120) for _ in range(120)]
    for server in servers:
        server.join()
    assert len({name for name, _ in taken}) == 120 and not any(existed for _, existed in taken)
    assert files(output) == [f"many/x_{n:05}_.txt" for n in range(1, 121)], "nothing else is left"


def test_a_name_is_taken_while_the_node_works_only(output):
    with claims.held():
        first = outputs.claim("a/b")
        assert files(output) == ["a/b_00001_.claim"] and outputs.claim("a/b").stem == "b_00002_"
        first.path("glb").write_text("x")
    assert files(output) == ["a/b_00001_.glb"]
    with claims.held():
        outputs.claim("empty/b")
    assert not (output / "empty").exists() and outputs.claim("a/b").stem == "b_00002_" and len(files(output)) == 1


def test_failed_work_leaves_nothing_and_finished_work_stays(output):
    (output / "a").mkdir()
    (output / "a" / "b_00001_other_00001_.glb").write_text("of a run with such a name")
    for sealed in (False, True):
        with pytest.raises(ValueError), claims.held():
            slot = outputs.claim("a/b", SEAL)
            slot.path("glb").write_text("x")
            slot.path("png", "sheet").write_text("x")
            if sealed:
                slot.path(*SEAL).write_text("{}")
            raise ValueError
    assert files(output) == ["a/b_00001_other_00001_.glb", "a/b_00002_.glb", "a/b_00002_manifest.json", "a/b_00002_sheet.png"]


def test_what_a_dead_server_left_goes_and_what_a_living_one_has_stays(output):
    (output / "a").mkdir()
    dead = journal.who() | {"since": journal.who()["since"] - 100}
    for number, owner in ((1, dead), (2, journal.who()), (3, dead)):
        journal.write(output / "a" / f"[b]_{number:05}_.claim", owner)
        (output / "a" / f"[b]_{number:05}_.glb").write_text("x")
    (output / "a" / "[b]_00003_manifest.json").write_text("{}")
    (output / "a" / "[b]_00001_.glb.partial").write_text("x")
    with claims.held():
        assert outputs.claim("a/[b]", SEAL).stem == "[b]_00004_"
    assert files(output) == ["a/[b]_00002_.claim", "a/[b]_00002_.glb", "a/[b]_00003_.glb", "a/[b]_00003_manifest.json"]
    with claims.held():
        outputs.claim("a/[b]")
    assert "a/[b]_00003_.glb" in files(output)


class Writes(Node):
    PER_RUN = False
    error: Exception

    @classmethod
    def define_schema(cls):
        return io.Schema("Writes", inputs=[], outputs=[])

    @classmethod
    def run(cls, error):
        slot = outputs.claim("a/b", SEAL)
        save_bytes(slot.path("glb"), b"whole")
        if error is not None:
            raise error
        save_bytes(slot.path("png"), b"not whole")


class SafetensorError(Exception):
    """As the library raises it: the system's number is in its words."""


@pytest.mark.parametrize("error, told", [
    (OSError(errno.ENOSPC, "No space left on device"), "a full disk"),
    (OSError(errno.EROFS, "Read-only file system"), "a disk that is read-only"),
    (SafetensorError("I/O error: No space left on device (os error 28)"), "a full disk"),
])
def test_a_failing_disk_is_a_sentence(output, error, told):
    with pytest.raises(InputError, match=f"output folder: expected a disk that can be written, got {told}") as caught:
        Writes.execute(error=error)
    assert caught.value.__cause__ is error and not files(output)
    with pytest.raises(OSError, match="no such"):  # any other error stays what it is
        Writes.execute(error=OSError(errno.ENOENT, "no such"))


def test_a_disk_that_fills_up_leaves_no_half_file(output, monkeypatch):
    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    (output / "old.bin").write_bytes(b"old")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match="No space left"):
        save_bytes(output / "old.bin", b"new")
    assert files(output) == ["old.bin"] and (output / "old.bin").read_bytes() == b"old"


def test_room_is_asked_for_before_work(output, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=100_000_000))
    assert outputs.check_before_work("a/b") is True
    with claims.held():
        outputs.claim("a/b", need=60_000_000)
        with pytest.raises(InputError, match="expected 134 MB of free space, got 100 MB for 'a/b'. Free space"):
            outputs.claim("a/b", need=100_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1_000_000))
    assert "1 MB for 'a/b'" in outputs.check_before_work("a/b")
    assert not files(output)
