"""States on disk: when they are written, what survives damage, what full and absent folders do, and their keys."""

import errno
import os
import time
from dataclasses import dataclass

import pytest
import torch
from lift123.pipelines.io import autosave, sealed
from lift123.pipelines.io.autosave import Autosave
from lift123.pipelines.io.fingerprint import fingerprint


@dataclass(frozen=True)
class Count:
    """A state of one number."""

    step: int

    def pack(self):
        return {"x": torch.full((4,), float(self.step))}, {"step": self.step}

    @staticmethod
    def unpack(tensors, meta):
        assert tensors["x"].tolist() == [float(meta["step"])] * 4
        return Count(meta["step"])


def saves(folder, key="k", **more):
    return Autosave(folder / "unfinished", "toy_stage", key, **{"every": 0.0, **more})


def after(folder, *steps, **more):
    """The folder's Autosave that has kept these steps."""
    kept = saves(folder, **more)
    for step in steps:
        kept(lambda step=step: Count(step))
    kept.close()
    return kept


def test_the_last_two_stay_and_the_newest_is_found(tmp_path):
    kept = after(tmp_path, 1, 2, 3)
    assert [p.name for p in kept.files()] == ["toy_stage_000002.safetensors", "toy_stage_000003.safetensors"]
    again = saves(tmp_path)
    assert again.find(Count.unpack) == Count(3) and again.remarks == ["continued from step 3"]
    again(lambda: Count(4))
    assert [p.stem[-6:] for p in again.files()] == ["000003", "000004"]
    again.clear()
    assert not list((tmp_path / "unfinished").iterdir()) and saves(tmp_path).find(Count.unpack) is None


@pytest.mark.parametrize("place", [3, 40, 200, -1])
@pytest.mark.parametrize("damage", ["flip", "cut", "zero", "empty"])
def test_a_damaged_state_is_passed_over(tmp_path, damage, place):
    kept = after(tmp_path, 1, 2)
    data = bytearray(kept.files()[-1].read_bytes())
    if damage == "flip":
        data[place] ^= 4
    elif damage == "zero":
        data[place:] = bytes(len(data[place:]))
    kept.files()[-1].write_bytes({"cut": data[:place], "empty": b""}.get(damage, bytes(data)))
    found = saves(tmp_path)
    assert found.find(Count.unpack) == Count(1)
    assert found.remarks == ["autosave toy_stage_000002.safetensors is damaged", "continued from step 1"]


def test_with_all_states_damaged_the_run_begins_anew(tmp_path):
    kept = after(tmp_path, 1, 2)
    for path in kept.files():
        path.write_bytes(b"no")
    again = saves(tmp_path)
    assert again.find(Count.unpack) is None and again.remarks[-1] == "begun anew" and len(again.remarks) == 3


def test_a_state_of_another_key_is_not_used(tmp_path):
    after(tmp_path, 5)
    assert saves(tmp_path, "another").find(Count.unpack) is None


def test_states_are_written_in_time_and_no_more_often(tmp_path):
    """Steps of 4 s, a state every 20 s: before the step that would end after 20 s of unsaved work."""
    now, made = [0.0], []
    kept = saves(tmp_path, every=20.0, clock=lambda: now[0])

    def make(step):
        made.append(step)
        return Count(step)

    for step in range(1, 26):
        now[0] += 4.0
        kept(lambda step=step: make(step))
        kept.close()
    assert made == [4, 8, 12, 16, 20, 24]
    kept(lambda: make(99), now=True)
    assert made[-1] == 99 and kept.count == 7


def test_slow_saving_is_said_and_never_rarer_than_thirty_seconds(tmp_path):
    now, made = [0.0], []
    kept = saves(tmp_path, every=20.0, clock=lambda: now[0])

    def slow(step):
        made.append(now[0])
        now[0] += 1.0
        return Count(step)

    for step in range(200):
        now[0] += 1.0
        kept(lambda step=step: slow(step))
        kept.close()
    gaps = [b - a for a, b in zip(made, made[1:])]
    assert 29 <= max(gaps) <= 30 and kept.remarks == ["saving takes 1.0 s every 30 s"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS])
def test_a_disk_that_refuses_is_said_once_and_leaves_nothing(tmp_path, monkeypatch, number):
    kept = after(tmp_path, 1)

    def refuse(handle):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(sealed.os, "fsync", refuse)
    for step in (2, 3):
        kept(lambda step=step: Count(step))
    assert kept.remarks == [f"autosave not written ({os.strerror(number)}); the stage goes on without"]
    assert [p.name for p in (tmp_path / "unfinished").iterdir()] == ["toy_stage_000001.safetensors"]
    monkeypatch.undo()
    kept(lambda: Count(4))
    assert saves(tmp_path).find(Count.unpack) == Count(4)


def test_a_folder_that_was_deleted_is_made_again(tmp_path):
    kept = after(tmp_path, 1)
    for path in kept.files():
        path.unlink()
    (tmp_path / "unfinished").rmdir()
    kept(lambda: Count(2))
    assert saves(tmp_path).find(Count.unpack) == Count(2)


def test_states_that_nobody_asks_for_are_removed_in_the_end(tmp_path):
    kept = after(tmp_path, 1, 2)
    old, new = kept.files()
    part = kept.folder / ".other_000001.safetensors.9.part"
    part.write_bytes(b"half")
    mine = kept.folder / "notes.txt"
    mine.write_text("a person's")
    for path in (old, part, mine):
        os.utime(path, (0, time.time() - 31 * 86400))
    kept.forget_old()
    assert sorted(kept.folder.iterdir()) == [mine, new]
    saves(tmp_path / "absent").forget_old()


def test_seconds_of_earlier_attempts_add_up(tmp_path):
    now = [0.0]
    first = saves(tmp_path, clock=lambda: now[0])
    now[0] = 7.0
    first(lambda: Count(1))
    second = saves(tmp_path, clock=lambda: now[0])
    second.find(Count.unpack)
    now[0] += 5.0
    second(lambda: Count(2))
    third = saves(tmp_path)
    third.find(Count.unpack)
    assert (second.seconds, third.seconds) == (7.0, 12.0)


def test_the_computation_does_not_wait_for_the_disk(tmp_path, monkeypatch):
    real = sealed.write

    def slow(*given):
        time.sleep(0.5)
        return real(*given)

    monkeypatch.setattr(autosave.sealed, "write", slow)
    kept = saves(tmp_path, every=1e-9)
    kept(lambda: Count(1))
    kept(lambda: Count(2))  # the first is still being written: this one is left out
    assert kept.count == 1 and kept.spent < 0.4
    kept.close()
    assert saves(tmp_path).find(Count.unpack) == Count(1)


class Named:
    def __init__(self, name):
        self.name = name

    def identity(self):
        return self.name


def test_fingerprints_tell_values_apart():
    box = torch.arange(6.0)
    values = [None, 0, 0.0, False, "", "0", [], {}, [0], [[0]], [0, 0], {"a": 1}, {"a": "1"}, {"b": 1}, box, box.reshape(2, 3),
              box.double(), box.flip(0), box.bfloat16(), torch.zeros(0), Count(1), Count(2), Named("x"), Named("y"), ["x"], "x"]
    assert len({fingerprint(v) for v in values}) == len(values)
    assert fingerprint("ab", "c") != fingerprint("a", "bc") and fingerprint([1], 2) != fingerprint([1, 2])
    assert fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1}) and fingerprint((1, 2)) == fingerprint([1, 2])
    assert fingerprint(box.expand(2, 6)) == fingerprint(box.repeat(2, 1)), "layout in memory does not count"
    with pytest.raises(TypeError, match="object"):
        fingerprint([object()])


def test_a_copy_beside_the_states_is_none_of_them(tmp_path):
    """Somebody's copy of a state neither ends the writing nor is resumed."""
    kept = after(tmp_path, 1, 2)
    newest = kept.files()[-1]
    copy = newest.with_name(f"{newest.stem}_old.safetensors")
    copy.write_bytes(newest.read_bytes())
    after(tmp_path, 3)
    assert saves(tmp_path).find(Count.unpack) == Count(3) and copy.is_file()
