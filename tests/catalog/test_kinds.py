"""Records of kinds: each is complete, what it names exists, and a kind that is added in one place works everywhere."""

import inspect
import sys
from dataclasses import fields
from types import ModuleType

import pytest
import torch
from helpers.comfy_modules import prepare

prepare()
import folder_paths
from lift123.host import checkpoints, specs
from lift123.nodes.networks import choice
from lift123.pipelines.catalog import registry
from lift123.pipelines.catalog.kinds import CHECKPOINTS, KINDS, Kind, resolve
from lift123.pipelines.core.errors import InputError
from lift123.verification import weights

CPU = torch.device("cpu")
FUNCTIONS = ("loader", "checker", "file_loader", "file_checker", "options", "embedded")


@pytest.mark.parametrize("name", KINDS)
def test_records_are_complete(name):
    kind = KINDS[name]
    assert kind.name == name and kind.folder and kind.layouts and kind.loader and registry.known(kind.default).kind == name
    assert kind.marks or kind.single, "neither folders nor files would ever be found"
    assert bool(kind.single) == bool(kind.file_loader), "single files need a place and a loader"
    assert all(registry.licenses(name)) and (registry.licenses(name) or kind.embedded)
    assert {f.name for f in fields(Kind) if ":" in str(getattr(kind, f.name))} <= set(FUNCTIONS)
    for field in FUNCTIONS:
        if function := getattr(kind, field):
            assert function.split(".")[0] in ("loaders", "catalog") and callable(resolve(function)), function


@pytest.mark.parametrize("name", [name for name, kind in KINDS.items() if not kind.pair])
def test_loaders_take_what_the_records_hand_them(name):
    kind = KINDS[name]
    for function, is_file in ((kind.loader, False), (kind.file_loader, True)):
        if function:
            known = next(w.name for w in registry.of_kind(name) if not is_file or w.single)
            given = resolve(kind.options)(known, "auto", is_file) if kind.options else {}
            inspect.signature(resolve(function)).bind("path", CPU, **given)


def test_all_embedded_kinds_load_and_differ():
    loaded = {name: specs.Network(name).load(CPU) for name, kind in KINDS.items() if kind.embedded}
    assert len({id(network) for network in loaded.values()}) == len(loaded) == len(KINDS) - 1
    assert loaded["text"].encoder is loaded["clip"], "a set is loaded once"
    with pytest.raises(InputError, match="None ships"):
        specs.Network("depth_control").check()


def test_all_folders_are_comfyuis(monkeypatch):
    monkeypatch.setattr(folder_paths, "folder_names_and_paths", dict(folder_paths.folder_names_and_paths))
    checkpoints.register_folders()
    for kind in KINDS.values():
        assert kind.folder in folder_paths.folder_names_and_paths
        assert not kind.single or kind.single in folder_paths.folder_names_and_paths


def test_a_checkpoints_kind_is_told_by_its_word():
    here = [kind for kind in KINDS.values() if kind.single == CHECKPOINTS]
    for file, wanted in (("my-Zero123.ckpt", "view"), ("anime.safetensors", "text")):
        assert [kind.name for kind in here if kind.owns(file)] == [wanted]


class Tiny(torch.nn.Linear):
    """A network of the added kind, which remembers how it was loaded."""

    def __init__(self, path, device, scale):
        super().__init__(2, 2, device=device)
        self.path, self.scale = path, scale


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """A kind that only this test knows, in an empty models folder."""

    def check(folder, name):
        if (folder / "other").exists():
            raise InputError("checkpoint", f"a {name} network", "another", "Choose another folder.")

    functions = {"load": Tiny, "check": check, "count": lambda path, name: {"layer": 2},
                 "options": lambda name, option, is_file: {"scale": (option, is_file)}}
    module = ModuleType("lift123.pipelines.loaders.tiny_kind")
    module.__dict__.update(functions)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    here = "loaders.tiny_kind:"
    monkeypatch.setitem(KINDS, "tiny", Kind(
        "tiny", "lift123_tiny", "any layout", "mine", here + "load", ("tiny.json",), checker=here + "check",
        single=CHECKPOINTS, file_loader=here + "load", file_checker=here + "count", word="tiny", options=here + "options",
        takes_turns=False))
    models = tmp_path / "models"
    (models / CHECKPOINTS).mkdir(parents=True)
    paths = {**folder_paths.folder_names_and_paths, CHECKPOINTS: ([str(models / CHECKPOINTS)], {".ckpt"})}
    monkeypatch.setattr(folder_paths, "folder_names_and_paths", paths)
    monkeypatch.setattr(folder_paths, "models_dir", str(models))
    monkeypatch.setattr(folder_paths, "filename_list_cache", {})
    for name in ("mine", "wrong", "foreign"):
        (models / "lift123_tiny" / name).mkdir(parents=True)
    for name in ("mine/tiny.json", "wrong/tiny.json", "wrong/other"):
        (models / "lift123_tiny" / name).touch()
    (models / CHECKPOINTS / "tiny-one.ckpt").touch()
    specs._from_disk.cache_clear()
    yield models
    specs._from_disk.cache_clear()


def test_an_added_kind_is_listed_checked_loaded_and_verified(tiny):
    checkpoints.register_folders()
    assert checkpoints.roots("lift123_tiny") == [tiny / "lift123_tiny"]
    assert checkpoints.names("tiny") == ["mine", "wrong", "tiny-one.ckpt"]
    assert "tiny-one.ckpt" not in checkpoints.names("text"), "a kind's word takes its files from the others"
    combo = choice("tiny")[0]
    assert combo.options == ["mine", "wrong", "tiny-one.ckpt"]
    assert "models/lift123_tiny/ (any layout), or a file of models/checkpoints/" in combo.tooltip
    with pytest.raises(InputError, match="expected a tiny network, got another"):
        specs.Network("tiny", "wrong").check()
    with pytest.raises(InputError, match="None ships"):
        specs.Network("tiny").check()
    network = specs.Network("tiny", "mine", "big").load(CPU)
    assert network.path == tiny / "lift123_tiny" / "mine" and network.scale == ("big", False)
    assert specs.Network("tiny", "mine", "big").load(CPU) is network, "read once"
    assert specs.Network("tiny", "tiny-one.ckpt").load(CPU).scale == ("auto", True)
    path = tiny / CHECKPOINTS / "tiny-one.ckpt"
    report = weights.verify("tiny", path.name, path, CPU, 1, tiny / "picture.png")
    assert report["tensors"] == {"layer": 2} and "nothing here looks at a tiny network" in report["doubts"][0]
