"""Pickled checkpoints: what training left beside the weights is skipped, anything that wants to run is refused."""

import argparse
import dataclasses
import datetime
import decimal
import fractions
import pathlib
import struct
import sys
import types
import uuid
import zipfile
from collections import OrderedDict, defaultdict, deque

import numpy as np
import pytest
import torch
from lift123.pipelines.core.errors import InputError
from lift123.pipelines.loaders.safe_pickle import load_pickle


def text(value: str) -> bytes:
    """Opcode of a string."""
    raw = value.encode()
    return b"X" + struct.pack("<I", len(raw)) + raw


def call(module: str, name: str, argument: str) -> bytes:
    """A pickle (protocol 2, written by hand) whose loading calls ``module.name(argument)``."""
    return b"\x80\x02" + f"c{module}\n{name}\n".encode() + text(argument) + b"\x85R."


def zipped(path, content: bytes):
    """A file in torch's format around ``content``."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as file:
        file.writestr("archive/data.pkl", content)
        file.writestr("archive/byteorder", "little")
        file.writestr("archive/version", "3\n")
    return path


@pytest.fixture
def trap(tmp_path):
    """(shell command, python expression, file that exists once either has run)."""
    file = tmp_path / "ran"
    return f"echo > {file}", f"open({str(file)!r}, 'w')", file


HOSTILE = {
    "os.system": lambda command, code: call("os", "system", command),
    "posix.system": lambda command, code: call("posix", "system", command),
    "builtins.eval": lambda command, code: call("builtins", "eval", code),
    "__builtin__.eval": lambda command, code: call("__builtin__", "eval", code),  # Python 2's name of it
    "subprocess.getoutput": lambda command, code: call("subprocess", "getoutput", command),
    "torch.hub.eval": lambda command, code: call("torch.hub", "eval", code),
    # in a dict beside good names, and as a class that is built instead of called
    "os.popen": lambda command, code: b"\x80\x02}(" + text("state_dict") + b"}" + text("x")
    + call("os", "popen", command)[2:-1] + b"u.",
    "subprocess.Popen": lambda command, code: b"\x80\x02csubprocess\nPopen\n" + text(command) + b"\x85\x81.",
    # protocol 4 names its globals from the stack
    "stack global": lambda command, code: b"\x80\x04\x8c\x02os\x8c\x06system\x93" + text(command) + b"\x85R.",
    # the old opcode that imports and calls in one
    "inst": lambda command, code: b"\x80\x02(" + text(command) + b"ios\nsystem\n.",
    "getattr": lambda command, code: call("builtins", "getattr", "x"),
}


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("wrap", ["zip", "bare"])
def test_a_hostile_pickle_is_refused_and_does_not_run(tmp_path, trap, name, wrap):
    command, code, ran = trap
    content, path = HOSTILE[name](command, code), tmp_path / "model.ckpt"
    if wrap == "zip":
        zipped(path, content)
    else:
        path.write_bytes(content)
    with pytest.raises(InputError, match="model.ckpt") as told:
        load_pickle(path)
    assert not ran.exists()
    assert "only weights" in told.value.expected
    if "." in name and wrap == "zip":
        assert "which wants to run" in told.value.got and name.split(".")[-1] in told.value.got
        assert ".safetensors" in told.value.remedy


def test_the_trap_works(tmp_path, trap):
    """The hostile pickles above do run in an ordinary unpickler: without that, the test above would prove nothing."""
    command, code, ran = trap
    loads = sys.modules["pick" + "le"].loads
    for name in ("os.system", "builtins.eval", "stack global", "inst"):
        loads(HOSTILE[name](command, code))
        assert ran.exists(), name
        ran.unlink()


def test_baggage_is_neither_imported_nor_run(tmp_path, trap):
    """A call under a tolerated framework's name becomes nothing; the weights beside it are there."""
    command, _, ran = trap
    module = types.ModuleType("pytorch_lightning.callbacks.evil")
    module.system = lambda text: ran.write_text(text)
    sys.modules[module.__name__] = module
    try:
        for name in (module.__name__, "pytorch_lightning"):
            with pytest.raises(InputError, match="without any"):
                load_pickle(zipped(tmp_path / "model.ckpt", call(name, "system", command)))
    finally:
        del sys.modules[module.__name__]
    assert not ran.exists() and "pytorch_lightning" not in sys.modules


@pytest.fixture
def lightning():
    """A stand-in of the framework with which checkpoints are written, gone when they are read."""
    names = ("pytorch_lightning", "pytorch_lightning.callbacks", "pytorch_lightning.callbacks.model_checkpoint")
    for name in names:
        sys.modules[name] = types.ModuleType(name)
    made = type("ModelCheckpoint", (), {"__module__": names[-1]})
    sys.modules[names[-1]].ModelCheckpoint = made
    yield made
    for name in names:
        sys.modules.pop(name, None)


def test_a_training_checkpoint_gives_its_weights(tmp_path, lightning):
    """As Lightning wrote them for Zero-1-to-3 and Stable Diffusion: callbacks by class, numpy scalars, optimizer."""
    callback = lightning()
    callback.best = 3.0
    weights = OrderedDict(a=torch.arange(6.0).reshape(2, 3), b=torch.ones(2, dtype=torch.float16))
    content = {
        "epoch": 4, "global_step": 105000, "pytorch-lightning_version": "1.4.2", "state_dict": weights,
        "callbacks": {lightning: {"best_model_score": np.float64(0.5), "monitor": None, "dirpath": "x"}, "object": callback},
        "optimizer_states": [{"state": {0: {"step": 1, "exp_avg": torch.zeros(3)}}, "param_groups": [{"lr": 1e-4}]}],
        "lr_schedulers": [{"base": np.int64(3)}],
    }
    path = tmp_path / "105000.ckpt"
    torch.save(content, path)
    for name in [n for n in sys.modules if n.startswith("pytorch_lightning")]:
        del sys.modules[name]
    state = load_pickle(path)
    assert list(state) == ["a", "b"] and all(torch.equal(state[k], weights[k]) for k in weights)


def test_options_and_paths_beside_the_weights_are_left_aside(tmp_path):
    """As scripts write them: parsed arguments and paths of any system, also nested, also of Python 3.13's module."""
    options = argparse.Namespace(lr=1e-3, out=pathlib.Path("a") / "b", more=argparse.Namespace(x=1))
    paths = [pathlib.PurePosixPath("x"), pathlib.PureWindowsPath("C:/x"), pathlib.Path("y")]
    weights = {"a": torch.arange(3.0)}
    torch.save({"args": options, "paths": paths, "state_dict": weights}, tmp_path / "model.ckpt")
    assert torch.equal(load_pickle(tmp_path / "model.ckpt")["a"], weights["a"])
    for name in ("pathlib._local\nPosixPath", "pathlib\nWindowsPath", "pathlib\nPath", "argparse\nNamespace"):
        module, _, kind = name.partition("\n")
        with pytest.raises(InputError, match="without any"):
            load_pickle(zipped(tmp_path / "other.ckpt", call(module, kind, "x")))
    for module, kind in (("pathlib", "os.system"), ("argparse", "ArgumentParser"), ("argparse", "_os.system")):
        with pytest.raises(InputError, match="wants to run|damaged"):
            load_pickle(zipped(tmp_path / "other.ckpt", call(module, kind, "x")))


class Options(dict):
    """A dictionary of a script's own configuration, as easydict and yacs have them."""

    __module__, __qualname__ = "easydict", "EasyDict"


@dataclasses.dataclass
class Settings:
    rate: float = 0.1
    __module__ = "__main__"


BAGGAGE = [types.SimpleNamespace(a=1), datetime.datetime(2024, 1, 2, tzinfo=datetime.timezone.utc), datetime.timedelta(1),
           uuid.UUID(int=3), decimal.Decimal("1.5"), fractions.Fraction(1, 3), defaultdict(list, {"a": [1]}), deque([1, 2]),
           Options(a=1, b=Options(c=2)), Settings(), frozenset([1]), range(3), ...,
           argparse.Namespace(d=defaultdict(int, {"a": 1}))]


@pytest.mark.parametrize("thing", BAGGAGE, ids=lambda thing: type(thing).__name__)
@pytest.mark.parametrize("zip_format", [True, False])
def test_further_baggage(tmp_path, monkeypatch, thing, zip_format):
    """Times, numbers, containers and a script's own classes; the older format, which lists nothing, has the usual ones."""
    module = types.ModuleType("easydict")
    module.EasyDict = Options
    monkeypatch.setitem(sys.modules, "easydict", module)
    monkeypatch.setattr(sys.modules["__main__"], "Settings", Settings, raising=False)
    path, weights = tmp_path / "model.ckpt", torch.arange(3.0)
    torch.save({"args": thing, "state_dict": {"a": weights}}, path, _use_new_zipfile_serialization=zip_format)
    monkeypatch.delitem(sys.modules, "easydict")
    if zip_format or type(thing) in (types.SimpleNamespace, defaultdict, argparse.Namespace):
        assert torch.equal(load_pickle(path)["a"], weights)
    else:
        with pytest.raises(InputError, match="wants to run"):
            load_pickle(path)


def test_what_others_tolerate_is_not_tolerated_here(tmp_path, trap):
    """A host or another pack may have put a dangerous function on torch's list; it stays there, and is not called."""
    command, code, ran = trap
    path = zipped(tmp_path / "model.ckpt", call("builtins", "eval", code))
    before = set(torch.serialization.get_safe_globals())
    with torch.serialization.safe_globals([eval]):
        with pytest.raises(InputError, match="wants to run builtins.eval"):
            load_pickle(path)
        assert set(torch.serialization.get_safe_globals()) == before | {eval}
    assert not ran.exists()


def test_plain_and_old_files_give_their_weights(tmp_path):
    weights = {"a": torch.arange(6.0)}
    torch.save({**weights, "note": "text beside them"}, tmp_path / "plain.pt")
    torch.save(weights, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    for name in ("plain.pt", "old.pt"):
        state = load_pickle(tmp_path / name)
        assert list(state) == ["a"] and torch.equal(state["a"], weights["a"])


def test_damaged_files_are_named(tmp_path):
    torch.save({"a": torch.zeros(1000)}, tmp_path / "whole.ckpt")
    whole = (tmp_path / "whole.ckpt").read_bytes()
    for content in (b"", b"no pickle at all", whole[: len(whole) // 2], b"<html>not found</html>"):
        (tmp_path / "cut.ckpt").write_bytes(content)
        with pytest.raises(InputError, match="cut.ckpt"):
            load_pickle(tmp_path / "cut.ckpt")
    torch.save({"epoch": 3}, tmp_path / "empty.ckpt")
    with pytest.raises(InputError, match="without any"):
        load_pickle(tmp_path / "empty.ckpt")
