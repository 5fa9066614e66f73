"""Networks that ship with the pack are read only as they were published."""

import json
import random
import shutil
import time

import pytest
import torch
from lift123.pipelines.core.errors import InputError
from lift123.pipelines.loaders import embedded, embedded_files
from lift123.pipelines.loaders.embedded_files import (
    FOLDER,
    SETTINGS,
    TABLE,
    make_table,
    read_settings,
    read_state,
    read_table,
)
from safetensors.torch import load_file, save_file

if not (FOLDER / SETTINGS).is_file():
    pytest.skip("the embedded networks are not here", allow_module_level=True)
WEIGHTS = sorted(path.name for path in FOLDER.glob("*.safetensors"))
FLIPS = 50


@pytest.fixture
def copy(tmp_path):
    """A folder with the list and copies of the files that are asked for."""
    def of(*names):
        for name in (TABLE, *names):
            shutil.copy(FOLDER / name, tmp_path / name)
        return tmp_path / names[0]

    return of


def refused(read, path):
    with pytest.raises(InputError) as caught:
        read(path)
    text = str(caught.value)
    assert text.startswith("embedded weights: expected the file ") and "\n" not in text
    assert text.endswith("Restore it: run 'git checkout -- pipelines/embedded' in the pack's folder, or install the pack again.")
    return text


def test_the_list_is_of_what_is_there():
    """After final weights were put there: ``python training/checksums.py``."""
    assert read_table(FOLDER) == make_table() and set(read_table(FOLDER)) == {*WEIGHTS, SETTINGS}


@pytest.mark.parametrize("name", WEIGHTS)
def test_flipped_bits_are_seen(name, copy):
    path, draw = copy(name), random.Random(name)
    size = path.stat().st_size
    with path.open("r+b", buffering=0) as file:
        for place in (draw.randrange(size) for _ in range(FLIPS)):
            file.seek(place)
            byte = file.read(1)[0]
            for change in (1 << draw.randrange(8), 0):
                file.seek(place)
                file.write(bytes([byte ^ change]))
                if change:
                    assert f"{name}, which is damaged" in refused(read_state, path)
    assert set(read_state(path)) == set(load_file(str(FOLDER / name)))


def test_cut_zeroed_foreign_and_absent_files_are_refused(copy, tmp_path):
    path = copy("depth.safetensors", "vae.safetensors")
    whole = path.read_bytes()
    for data in (b"", whole[:7], whole[:100], whole[:-1], whole + b"\x00", bytes(len(whole)), b"version https://git-lfs"):
        path.write_bytes(data)
        refused(read_state, path)
    save_file({"weight": torch.ones(2)}, str(path))
    refused(read_state, path)
    shutil.copy(path.with_name("vae.safetensors"), path)
    refused(read_state, path)
    path.rename(tmp_path / "unknown.safetensors")
    assert "checksums.json does not list" in refused(read_state, tmp_path / "unknown.safetensors")
    assert "No such file" in refused(read_state, path)


def test_settings_and_the_list_itself_are_checked(copy, tmp_path, monkeypatch):
    path = copy(SETTINGS, "depth.safetensors")
    whole, table = path.read_bytes(), (tmp_path / TABLE).read_bytes()
    path.write_bytes(whole.replace(b"\n", b"\r\n"))
    assert read_settings(tmp_path) == read_settings(FOLDER) == json.loads(whole), "as git writes it on Windows"
    path.write_bytes(whole.replace(b"bear", b"bean"))
    refused(read_settings, tmp_path)
    longer = table.replace(b'.safetensors": "', b'.safetensors": "0')
    for damaged in (b"", b"[]", table[:50], table.replace(b"depth.s", b"dapth.s"), longer):
        (tmp_path / TABLE).write_bytes(damaged)
        refused(read_state, tmp_path / "depth.safetensors")
    (tmp_path / TABLE).unlink()
    assert "bean" in read_settings(tmp_path)["words"], "no list, no check"
    for data in (b"{", b"[]", b"{}"):
        path.write_bytes(data)
        assert "settings.json, which is damaged" in refused(read_settings, tmp_path)
    monkeypatch.setattr(embedded_files, "FOLDER", tmp_path)
    assert "checksums.json, got no such file" in refused(read_state, tmp_path / "depth.safetensors")


def test_a_network_with_other_tensors_is_named_in_one_sentence(tmp_path):
    state = read_state(FOLDER / "depth.safetensors")
    state.pop("out.bias")
    save_file(state, str(tmp_path / "depth.safetensors"))
    with pytest.raises(InputError, match=r"the tensors of depth.safetensors, got Missing key.*out.bias") as caught:
        embedded.load_module(embedded.DepthNet(), tmp_path / "depth.safetensors")
    assert "\n" not in str(caught.value)
    (tmp_path / "depth.safetensors").write_bytes(b"\x00" * 100)
    refused(read_state, tmp_path / "depth.safetensors")


def test_the_check_is_cheap():
    """Well below the second that building and loading the networks takes."""
    began = time.process_time()
    for name in WEIGHTS:
        embedded_files.read_checked(FOLDER / name)
    assert time.process_time() - began < 1.0
