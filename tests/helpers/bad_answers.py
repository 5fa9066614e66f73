"""How a node answers an input of ``bad_inputs``: clear, unclear, accepted wrongly, or with a result of finite numbers."""

from __future__ import annotations

import torch
from lift123.host import specs
from lift123.pipelines.core.errors import InputError

from helpers.bad_inputs_more import CASES
from helpers.good_inputs import NODES, good

LONGEST = 1000  # letters of an answer
KINDS = ("refused", "worked", "unclear", "accepted wrongly", "wrong numbers")


class Working(Exception):
    """A network was asked for: all checks have passed."""


def stand_in(self, device):
    """For ``specs.Network.load``."""
    raise Working(self.kind)


def folders(root) -> None:
    """ComfyUI's folders below ``root``."""
    import folder_paths

    for name in ("output_directory", "input_directory", "temp_directory"):
        (root / name).mkdir(exist_ok=True)
        setattr(folder_paths, name, str(root / name))


def answer(name: str) -> tuple[str, str]:
    """(one of ``KINDS``, words) for a case; ``specs.Network.load`` has to be :func:`stand_in`."""
    case = CASES[name]
    node = NODES[f"Lift123_{case.node}"]
    assert specs.Network.load is stand_in
    try:
        given = good(node, **case.given())
        if case.node in ("ReferenceView", "DepthPicture"):
            given = {key: value for key, value in given.items() if value is not None}
        result = node.execute(**given)
    except InputError as error:
        return ("refused", str(error)) if is_clear(error) else ("unclear", f"not clear: {error!r:.300}")
    except Working:
        return ("accepted wrongly", "a network was asked for") if case.must else ("worked", "up to the network")
    except Exception as error:
        return "unclear", f"{type(error).__name__}: {error}"[:300]
    if case.must:
        return "accepted wrongly", "a result"
    return ("worked", "a result") if finite(result.result) else ("wrong numbers", "NaN or infinity")


def is_clear(error: InputError) -> bool:
    """Whether an answer names the input, what was expected, what came and what to do, in a sentence that can be read."""
    parts = (error.name, error.expected, error.got, error.remedy)
    text = str(error)
    return (
        all(part.strip() for part in parts)
        and len(text) <= LONGEST
        and error.remedy.endswith(".")
        and "Traceback" not in text
        and " object at 0x" not in text
        and all(letter.isprintable() or letter == "\n" for letter in text)
    )


def finite(value) -> bool:
    """Whether no tensor in a result holds NaN or infinity."""
    if isinstance(value, torch.Tensor):
        return not value.is_floating_point() or bool(torch.isfinite(value).all())
    if isinstance(value, list | tuple):
        return all(map(finite, value))
    if isinstance(value, dict):
        return all(map(finite, value.values()))
    return (
        all(map(finite, vars(value).values()))
        if type(value).__module__.startswith(("lift123", "comfy_api")) and hasattr(value, "__dict__")
        else True
    )
