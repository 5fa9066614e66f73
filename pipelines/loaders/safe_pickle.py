"""Reading ``.ckpt`` files without running anything that is in them.

A pickle is a program.  It is read here by torch's restricted unpickler (``weights_only``), which builds tensors and plain
containers and calls nothing else.  Training frameworks leave other objects beside the weights (callbacks, configurations,
numpy scalars); those known to be harmless baggage are replaced by an inert stand-in: their modules are never imported,
their code never runs.  Any other global is a refusal that names it.
"""

from __future__ import annotations

import re
import threading
from collections import OrderedDict
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor

from ..core.errors import InputError
from ..io.archives import check_archive, check_expansion

# Objects that published checkpoints are known to carry beside their weights; each becomes an ``Inert``.
_BAGGAGE = re.compile(
    r"(pytorch_lightning|lightning|lightning_fabric|lightning_utilities|omegaconf)(\.\w+)+"
    r"|numpy\.dtype|numpy\.dtypes\.\w+|numpy\.(core|_core)\.multiarray\.(scalar|_reconstruct)|numpy\.ndarray"
    r"|argparse\.Namespace|types\.SimpleNamespace|pathlib(\._local)?\.(Pure)?(Posix|Windows)?Path"
    r"|datetime\.(datetime|date|time|timedelta|timezone)|uuid\.UUID|decimal\.Decimal|fractions\.Fraction"
    r"|_codecs\.encode|collections\.(defaultdict|deque)|typing\.(Any|Union|Optional)"
    r"|builtins\.(dict|list|tuple|int|float|complex|str|bytes|bytearray|bool|set|frozenset|slice|range|object|Ellipsis)"
    r"|easydict\.EasyDict|yacs\.config\.CfgNode|addict(\.addict)?\.Dict|ml_collections(\.\w+)+"
    r"|__main__\.\w+"  # classes of the script that trained
)
# The format before torch 1.6 has no table of contents to be compared with the pattern: what it may carry, by name.
_OLD_BAGGAGE = (
    *(f"builtins.{kind}" for kind in ("dict", "list", "tuple", "int", "float", "str", "bool", "set")),
    "argparse.Namespace", "types.SimpleNamespace", "collections.defaultdict", "numpy.dtype",
    "numpy.core.multiarray.scalar",
    *(f"pathlib.{kind}{system}Path" for kind in ("Pure", "") for system in ("Posix", "Windows", "")),
    "pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint")
_REFUSAL = "a file that holds only weights"
_LOCK = threading.Lock()


class Inert:
    """Stands for an object that is not wanted: takes whatever it is given and keeps nothing."""

    def __new__(cls, *_, **__):
        return super().__new__(cls)

    def __init__(self, *_, **__):
        pass

    def __setstate__(self, _):
        pass


class InertDict:
    """Stands for a kind of dictionary: torch fills none but plain and ordered ones."""

    def __new__(cls, *_, **__):
        return OrderedDict()


class InertList:
    """Stands for a kind of list."""

    def __new__(cls, *_, **__):
        return []


_FILLED = {"collections.defaultdict": InertDict, "collections.deque": InertList, "easydict.EasyDict": InertDict,
           "yacs.config.CfgNode": InertDict, "addict.Dict": InertDict, "addict.addict.Dict": InertDict}


def load_pickle(path: Path) -> dict[str, Tensor]:
    """name -> tensor of a pickled checkpoint: its ``state_dict`` if it has one, else the tensors at its top.

    Nothing in the file is executed or imported; tensors stay on the disk until they are used (memory-mapped).
    Raises InputError, naming the offending global, for a file that wants more than that, for one that unpacks to more
    than it holds (``io.archives``), and for a damaged file.
    """
    path = Path(path)
    if not hasattr(torch.serialization, "get_unsafe_globals_in_checkpoint"):
        raise InputError("checkpoint", "torch 2.6 or newer to read pickled checkpoints safely", f"torch {torch.__version__}",
                         "Update torch, or convert the file to .safetensors on another machine.")
    check_archive(path)
    content = _read(path, _stand_ins(path))
    if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        content = content["state_dict"]
    tensors = {k: v for k, v in content.items() if isinstance(v, Tensor)} if isinstance(content, dict) else {}
    if not tensors or not all(isinstance(k, str) for k in tensors):
        raise InputError("checkpoint", "weights by name", f"{path.name} without any", "Choose a model checkpoint.")
    check_expansion(tensors.items(), path.name)
    return tensors


@contextmanager
def _allowing(stand_ins: list):
    """torch's list of tolerated globals holds exactly ``stand_ins``, whatever the host or other packs put there."""
    with _LOCK:
        before = torch.serialization.get_safe_globals()
        torch.serialization.clear_safe_globals()
        torch.serialization.add_safe_globals(stand_ins)
        try:
            yield
        finally:
            torch.serialization.clear_safe_globals()
            torch.serialization.add_safe_globals(before)


def _stand_ins(path: Path) -> list:
    """(stand-in, full name) of the file's baggage; InputError for any other global.  Looks, runs nothing."""
    try:
        with _allowing([]):
            names = torch.serialization.get_unsafe_globals_in_checkpoint(str(path))
    except ValueError:  # the format before torch 1.6
        names = _OLD_BAGGAGE
    except Exception as error:  # whatever a hostile or damaged file makes the parser say
        raise _damaged(path, error) from None
    strange = sorted(name for name in names if not _BAGGAGE.fullmatch(name))
    if strange:
        raise InputError(
            "checkpoint", _REFUSAL, f"{path.name}, which wants to run {', '.join(strange[:5])}",
            "It was not loaded: such a file can do anything on your machine. Get the .safetensors version, or another copy.")
    return [(_FILLED.get(name, Inert), name) for name in names]


def _read(path: Path, stand_ins: list):
    try:
        with _allowing(stand_ins):
            try:
                return torch.load(str(path), map_location="cpu", mmap=True, weights_only=True)
            except RuntimeError as error:
                if "mmap" not in str(error):
                    raise
                return torch.load(str(path), map_location="cpu", weights_only=True)  # the old format cannot be mapped
    except Exception as error:
        raise _damaged(path, error) from None


def _damaged(path: Path, error: Exception) -> InputError:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    wanted = next((m[1] for line in lines if (m := re.search(r"GLOBAL ([\w.]+)", line))), None)
    if wanted:
        return InputError("checkpoint", _REFUSAL, f"{path.name}, which wants to run {wanted}",
                          "It was not loaded: such a file can do anything on your machine. Get the .safetensors version.")
    reason = next((m[1] for line in lines if (m := re.search(r"WeightsUnpickler error: (.+)", line))), lines[0])
    return InputError("checkpoint", _REFUSAL, f"{path.name}, which is damaged or of another kind ({reason[:120]})",
                      "Download it again and compare its size; or get the .safetensors version.")
