"""A loss of power at any time: what was not synced may be gone or damaged; states that were said to be kept are there."""

import os

import pytest
from helpers.power import Recorder, outcomes, played
from lift123.pipelines.io.autosave import Autosave
from test_autosave import Count

pytestmark = pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="files are read by their handles")


def recorded(folder, monkeypatch, count, lying=False):
    """(the disk after every change, [place in it at which state 1, 2, ... was said to be kept])."""
    folder.mkdir()
    with monkeypatch.context() as patch:
        disk, kept, places = Recorder(folder, patch, lying), Autosave(folder, "toy", "k", every=0.0), []
        for step in range(1, count + 1):
            kept(lambda step=step: Count(step))
            places.append(len(disk.course))
    return disk.course, places


def found_in(files, folder):
    """(step or 0, remarks) of a stage that is queued again on such a disk."""
    folder.mkdir(exist_ok=True)
    for path in folder.iterdir():
        path.unlink()
    for name, data in files.items():
        (folder / name).write_bytes(data)
    again = Autosave(folder, "toy", "k", every=0.0)
    state = again.find(Count.unpack)
    return 0 if state is None else state.step, again.remarks


def test_what_was_said_to_be_kept_outlives_a_loss_of_power_at_any_time(tmp_path, monkeypatch):
    course, places = recorded(tmp_path / "disk", monkeypatch, 4)
    looked = 0
    for place, disk in enumerate(course, start=1):
        kept = sum(place >= where for where in places)
        for files in outcomes(disk):
            step, _ = found_in(files, tmp_path / "after")
            assert kept <= step <= kept + 1, (place, files.keys())
            looked += 1
    assert looked > 100 and len(course) >= 4 * 4


def test_on_a_disk_that_only_says_to_have_synced_the_state_before_the_last_is_used(tmp_path, monkeypatch):
    course, _ = recorded(tmp_path / "disk", monkeypatch, 3, lying=True)
    whole = {name: course[-1].written[number] for name, number in played({}, course[-1].changes).items()}
    assert sorted(whole) == ["toy_000002.safetensors", "toy_000003.safetensors"]
    for damage in (bytes, lambda size: bytes(size // 2), lambda size: b""):
        files = whole | {"toy_000003.safetensors": damage(len(whole["toy_000003.safetensors"]))}
        step, remarks = found_in(files, tmp_path / "after")
        assert step == 2 and remarks == ["autosave toy_000003.safetensors is damaged", "continued from step 2"]


def test_the_folders_of_the_first_state_are_synced_too(tmp_path, monkeypatch):
    """A new folder whose own name is lost takes all that is in it along."""
    synced, real = [], os.fsync

    def fsync(handle):
        synced.append(os.fstat(handle).st_ino)
        real(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    kept = Autosave(tmp_path / "output" / "lift123" / "unfinished", "toy", "k", every=0.0)
    kept(lambda: Count(1))
    made = [kept.folder, *kept.folder.parents][:4]
    assert all(os.stat(folder).st_ino in synced for folder in made)
