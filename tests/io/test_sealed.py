"""Sealed files: any damage is refused with one sentence, the same content gives the same bytes, old files are read."""

import json
import random
import struct

import pytest
import torch
from lift123.pipelines.core.errors import InputError
from lift123.pipelines.core.layers import LayeredMesh
from lift123.pipelines.core.mesh import Mesh
from lift123.pipelines.io import sealed
from lift123.pipelines.stages.characters import refined_layers
from lift123.pipelines.stages.loop import scene
from safetensors import safe_open
from safetensors.torch import load_file, save_file

KIND = sealed.Kind("note", "lift123-note", 1, ("text",), "this test", "Write it again.", unsealed=True)
TYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16, torch.int8,
         torch.uint8, torch.bool)
FLIPS = 50


def drawn(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def a_scene():
    tensors = {"field/table": drawn(40, 2), "grid/updates": torch.tensor(3), "optim/0/exp_avg": drawn(9, seed=1)}
    return scene.Scene("nerf", tensors, {"step": 3, "total": 9, "seed": 7, "config": {"b": 1, "a": [1.5, "\u00e9"]}})


def some_layers():
    mesh = Mesh(drawn(4, 3), torch.tensor([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]]), drawn(4, 3, seed=1))
    layers = LayeredMesh({"body": mesh, "hair": mesh.transformed(0.5)})
    return refined_layers.RefinedLayers(layers, finished=("body",), notes=("body: done.",), reach={
        "hair in body": {"share": 0.5, "deepest": 0.25}})


SAVED = {  # name: (what is saved, how it is loaded, the file's kind)
    "scene": (a_scene, scene.Scene.load, scene.FILE),
    "layers": (some_layers, refined_layers.load_layers, refined_layers.FILE),
}
EACH = pytest.mark.parametrize("what", SAVED)


def saved(what, path):
    make, load, kind = SAVED[what]
    return make().save(path), load, kind


def refused(load, path, kind):
    """The sentence with which ``path`` is refused."""
    with pytest.raises(InputError) as caught:
        load(path)
    text = str(caught.value)
    assert text.startswith(f"{kind.name}: expected ") and "\n" not in text and text.endswith(".")
    return text


def old_file(path, kind, **entries):
    """``path`` as the pack wrote it before there were seals."""
    with safe_open(str(path), "pt") as file:
        meta = {k: v for k, v in file.metadata().items() if k != sealed.SEAL}
    save_file(load_file(str(path)), str(path), {**meta, **entries})


@EACH
def test_flipped_bits_are_seen(what, tmp_path):
    path, load, kind = saved(what, tmp_path / "a.safetensors")
    whole, draw = path.read_bytes(), random.Random(what)
    head = 8 + struct.unpack("<Q", whole[:8])[0]
    places = [draw.randrange(len(whole)) for _ in range(FLIPS)] + [draw.randrange(head) for _ in range(FLIPS)]
    for place in places:
        broken = bytearray(whole)
        broken[place] ^= 1 << draw.randrange(8)
        path.write_bytes(broken)
        assert refused(load, path, kind), place
    path.write_bytes(whole)
    load(path)


@EACH
def test_no_bit_of_the_header_can_change(what, tmp_path):
    """All of them: names, types, shapes, places, metadata, the seal and its name."""
    path, load, kind = saved(what, tmp_path / "a.safetensors")
    whole = path.read_bytes()
    for place in range(8 + struct.unpack("<Q", whole[:8])[0]):
        broken = bytearray(whole)
        broken[place] ^= 1 << place % 8
        path.write_bytes(broken)
        refused(load, path, kind)


@EACH
def test_cut_zeroed_and_foreign_files_are_refused(what, tmp_path):
    path, load, kind = saved(what, tmp_path / "a.safetensors")
    whole = path.read_bytes()
    broken = [whole[:n] for n in (0, 5, 8, 60, len(whole) // 2, len(whole) - 1)]
    head = 8 + struct.unpack("<Q", whole[:8])[0]
    broken += [bytes(len(whole)), whole[:head] + bytes(len(whole) - head), whole + b"\x00"]
    broken += [b"\x89PNG\r\n\x1a\n" + bytes(100), b"\x02" + bytes(7) + b"[]"]
    for data in broken:
        path.write_bytes(data)
        assert refused(load, path, kind).endswith(kind.remedy) or "another format" in refused(load, path, kind)
    save_file({"weight": torch.ones(2)}, str(path))
    assert "another format" in refused(load, path, kind)
    other = next(name for name in SAVED if name != what)
    saved(other, path)
    assert f"Choose a file that {kind.source} wrote." in refused(load, path, kind)
    assert "no file" in refused(load, tmp_path / "absent.safetensors", kind)


@EACH
def test_same_content_same_bytes(what, tmp_path):
    path, load, _ = saved(what, tmp_path / "a.safetensors")
    whole = path.read_bytes()
    assert saved(what, tmp_path / "b.safetensors")[0].read_bytes() == whole
    assert load(path).save(tmp_path / "c.safetensors").read_bytes() == whole
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.safetensors", "b.safetensors", "c.safetensors"]


@EACH
def test_files_from_before_are_read_with_a_remark(what, tmp_path, caplog):
    path, load, kind = saved(what, tmp_path / "a.safetensors")
    whole = path.read_bytes()
    old_file(path, kind)
    back = load(path)
    assert "a.safetensors was saved before files had checksums" in caplog.text
    assert back.save(path).read_bytes() == whole
    old_file(path, kind, rha256="0" * 64)  # a seal whose name was damaged must not pass for an old file
    assert "no checksum" in refused(load, path, kind)


def test_every_type_and_layout_is_read_back_by_the_library(tmp_path):
    tensors = {str(k): (drawn(3, 5, seed=i) * 2).to(k).T for i, k in enumerate(TYPES)}
    tensors |= {"none": torch.zeros(0, 3), "one": torch.tensor(2.5), "part": drawn(8)[::2], "grad": drawn(2).requires_grad_()}
    path = sealed.write(tmp_path / "a.safetensors", KIND, tensors, {"text": "\u00e9\n\"x\""})
    back, (again, meta) = load_file(str(path)), sealed.read(path, KIND)
    assert set(back) == set(again) == set(tensors) and meta["text"] == "\u00e9\n\"x\""
    for name, value in tensors.items():
        for found in (back[name], again[name]):
            assert found.dtype == value.dtype and found.shape == value.shape and torch.equal(found, value)
    assert sealed.write(path, KIND, dict(reversed(tensors.items())), {"text": "\u00e9\n\"x\""}) == path
    assert sealed.read(path, KIND)[1][sealed.SEAL] == meta[sealed.SEAL]


def test_the_digest_tells_everything_apart():
    base = {"a": torch.zeros(4), "b": torch.zeros(2)}
    others = [({"a": torch.zeros(4), "c": torch.zeros(2)}, {"m": "1"}), ({**base, "a": torch.zeros(2, 2)}, {"m": "1"}),
              ({**base, "a": torch.zeros(4, dtype=torch.int32)}, {"m": "1"}), ({**base, "a": -torch.zeros(4)}, {"m": "1"}),
              (base, {"m": "2"}), (base, {"n": "1"}), (base, {}), ({"a": base["a"]}, {"m": "1"})]
    found = [sealed.digest(tensors, meta) for tensors, meta in [(base, {"m": "1"}), *others]]
    assert len(set(found)) == len(found)
    assert sealed.digest(dict(reversed(base.items())), {sealed.SEAL: "x", "m": "1"}) == found[0]


def test_a_seal_is_demanded_of_files_that_always_had_one(tmp_path):
    from dataclasses import replace

    path = sealed.write(tmp_path / "a.safetensors", KIND, {"a": torch.zeros(2)}, {"text": "x"})
    old_file(path, KIND)
    heard = []
    sealed.read(path, KIND, heard.append)
    assert len(heard) == 1
    assert "no checksum" in refused(lambda p: sealed.read(p, replace(KIND, unsealed=False)), path, KIND)


def test_a_failed_write_leaves_what_was_there(tmp_path, monkeypatch):
    path = sealed.write(tmp_path / "a.safetensors", KIND, {"a": torch.zeros(2)}, {"text": "x"})
    before = path.read_bytes()

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        sealed.write(path, KIND, {"a": torch.ones(2)}, {"text": "y"})
    assert path.read_bytes() == before and [p.name for p in tmp_path.iterdir()] == ["a.safetensors"]


def test_other_versions_and_missing_entries_are_told(tmp_path):
    path = sealed.write(tmp_path / "a.safetensors", KIND, {"a": torch.zeros(2)}, {"text": "x"})
    old_file(path, KIND, version="2")
    assert "version 2. Update the pack" in refused(lambda p: sealed.read(p, KIND), path, KIND)
    save_file({"a": torch.zeros(2)}, str(path), {"format": KIND.format, "version": "1"})
    assert "no entry 'text'" in refused(lambda p: sealed.read(p, KIND), path, KIND)
    header = json.dumps({"__metadata__": {"format": 3}}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header)
    assert "no text" in refused(lambda p: sealed.read(p, KIND), path, KIND)
