"""Every input of every node against its schema, before the node does anything.

ComfyUI checks widgets when a graph is queued, but lets NaN through, and checks nothing that comes by wire: not ranges, not
choices, not what an output of any type ("*") really carries.
"""

from __future__ import annotations

import math
import numbers

import torch

from ..pipelines.core.errors import InputError
from .plain import BRIGHTEST, DARKEST, check_plain
from .wire_values import WORDS_DO, check_value

LONGEST = 20_000  # characters of a text; a list (LISTS) may be longer
LISTS, LONGEST_LIST = ("values", "also", "metrics"), 1_000_000
LARGEST_SEED = 2**64 - 1  # what generators take; wires bring seeds of other packs' sizes
CHANNELS = (1, 3, 4)  # of pictures; each stage says which of them it can use
WHOLE = {torch.uint8: 255.0, torch.uint16: 65535.0}  # types of pictures that were not divided yet -> what white is in them

_NETWORK = ("load",)
# wire -> (what it carries in words, attributes that it has, the node or kind of node that makes it)
CARRIED = {
    "LIFT123_REFERENCE": ("a reference view", ("views", "prompt", "camera"), "Reference View"),
    "LIFT123_VIEW_NETWORK": ("a view network", _NETWORK, "Load View Network"),
    "LIFT123_TEXT_NETWORK": ("a text network", _NETWORK, "Load Text Network"),
    "LIFT123_CLIP": ("a CLIP scorer", _NETWORK, "Load CLIP Scorer"),
    "LIFT123_DEPTH": ("a depth network", _NETWORK, "Load Depth Network"),
    "LIFT123_DEPTH_TEXT": ("a depth-text network", _NETWORK, "Load Depth-Text Network"),
    "LIFT123_CANONICAL": ("a canonicalizer", ("load",), "Load Canonicalizer"),
    "LIFT123_MULTIVIEW": ("a multi-view network", ("load",), "Load Multi-View Network"),
    "LIFT123_SLRM": ("an S-LRM", ("load",), "Load S-LRM"),
    "LIFT123_PRIOR": ("a prior", ("kinds", "check", "build"), "a prior node"),
    "LIFT123_DISTILLATION": ("a distillation", ("how", "guided"), "Distillation"),
    "LIFT123_LOSSES": ("losses", ("parts", "check", "build"), "a loss node"),
    "LIFT123_SCHEDULE": ("a schedule", ("__call__",), "Prior Schedule"),
    "LIFT123_BOUNDARY": ("a boundary", ("check", "build", "clip"), "CLIP Boundary"),
    "LIFT123_OPTIONS": ("stage options", ("applied",), "Stage Options"),
    "LIFT123_SCENE": ("a scene", ("kind", "tensors", "meta"), "a stage or Load Scene"),
    "LIFT123_CHARACTER_VIEWS": ("character views", ("color", "normal", "alpha", "levels"), "Character Multi-View"),
    "LIFT123_LAYERS": ("a character in layers", ("layers", "finished", "start"), "S-LRM, Join Layers or Load Layers"),
    "LIFT123_RIG": ("a skeleton", ("notes",), "Fit Skeleton"),
    "LIFT123_RIGGED": ("rigged layers", ("layers", "skins", "refused"), "Bind Layers"),
    "LIFT123_MOTION": ("a motion", ("times", "turns", "frame"), "Motion or Pose"),
    "MODEL": ("ComfyUI's MODEL", ("model",), "a model loader"),
    "CLIP": ("ComfyUI's CLIP", ("tokenize",), "a CLIP loader"),
    "VAE": ("ComfyUI's VAE", ("encode", "decode"), "a VAE loader"),
    "CLIP_VISION": ("ComfyUI's CLIP_VISION", ("encode_image",), "Image Only Checkpoint Loader"),
    "LOAD3D_CAMERA": ("a camera", ("get",), "Load 3D"),
    "MESH": ("a mesh", ("vertices", "faces"), "a node with a MESH output"),
    "FILE_3D": ("a 3D file", ("format", "get_bytes"), "Load 3D"),
}
KIND_OF = {"LIFT123_VIEW_NETWORK": "view", "LIFT123_TEXT_NETWORK": "text", "LIFT123_CLIP": "clip", "LIFT123_DEPTH": "depth",
           "LIFT123_DEPTH_TEXT": "depth_text", "LIFT123_CANONICAL": "canonical", "LIFT123_MULTIVIEW": "multiview",
           "LIFT123_SLRM": "slrm"}


def checked(schema, given: dict, free: tuple[str, ...] = (), any_range: tuple[str, ...] = ()) -> dict:
    """``given`` without optional inputs that carry nothing; InputError for the first that a V3 schema does not allow.

    Pictures and masks come back in single precision on the CPU, those of 8 and 16 bits scaled to [0, 1].
    free: choices that may be no longer (or not yet) in the list; the node itself checks them.
    any_range: pictures that may hold any finite numbers.
    """
    absent = {entry.id for entry in schema.inputs if entry.optional and given.get(entry.id) is None}
    kept = {name: value for name, value in given.items() if name not in absent}
    for entry in schema.inputs:
        if entry.id in kept:
            _check(entry, kept[entry.id], entry.id in free, schema.node_id in WORDS_DO)
            if entry.get_io_type() in ("IMAGE", "MASK"):
                kept[entry.id] = pixels(entry.id, kept[entry.id], entry.get_io_type() == "IMAGE", entry.id in any_range)
    return kept


def _check(entry, value, free: bool, words_do: bool = False) -> None:
    kind, name = entry.get_io_type(), entry.id
    if kind in ("INT", "FLOAT"):
        check_number(name, value, entry.min, LARGEST_SEED if getattr(entry, "control_after_generate", None) else entry.max,
                     kind == "INT")
    elif kind == "BOOLEAN":
        if not isinstance(value, bool):
            raise InputError(name, "yes or no", described(value), "Connect a BOOLEAN, or set it on the node.")
    elif kind == "COMBO":
        _check_choice(name, value, None if free else entry.options)
    elif kind == "STRING":
        check_text(name, value, LONGEST_LIST if name in LISTS else LONGEST)
    elif kind in ("IMAGE", "MASK"):
        check_pixels(name, value, kind == "IMAGE")
    elif kind != "*":
        _check_carried(name, value, kind.split(","), words_do)


def _as_float(value, whole: bool) -> float:
    """A number as Python's; nan for anything else, an infinite one for what is beyond floats."""
    kind = numbers.Integral if whole else numbers.Real
    if not isinstance(value, kind) or isinstance(value, bool):
        return math.nan
    try:
        return float(value)
    except OverflowError:
        return math.inf


def check_number(name: str, value, low: float, high: float, whole: bool) -> None:
    """InputError unless ``value`` is a finite number (whole: an integer) from ``low`` to ``high``."""
    number = _as_float(value, whole)
    if not math.isfinite(number) or not low <= number <= high:
        what = "a whole number" if whole else "a number"
        raise InputError(name, f"{what} from {low:g} to {high:g}" if high < 1e15 else f"{what} from {low:g} to 2^64 - 1",
                         described(value), "Choose one in that range.")


def _check_choice(name: str, value, options) -> None:
    if not isinstance(value, str) or (options is not None and value not in options):
        shown = options or []
        raise InputError(name, f"one of: {', '.join(map(str, shown[:20]))}" if 0 < len(shown) <= 20 else "a choice of the list",
                         described(value), "Choose one on the node.")


def check_text(name: str, value, longest: int = LONGEST) -> None:
    """InputError unless ``value`` is a text that can be written to a file: whole characters, none of them NUL."""
    if not isinstance(value, str):
        raise InputError(name, "a text", described(value), "Connect a STRING, or write it on the node.")
    if len(value) > longest:
        raise InputError(name, f"at most {longest} characters", f"{len(value)}", "Shorten it.")
    if "\0" in value or any("\ud800" <= letter <= "\udfff" for letter in value):
        raise InputError(name, "readable characters", "a NUL or half of a character", "Write it again by hand.")


def check_pixels(name: str, value, colored: bool) -> None:
    """InputError unless ``value`` is an IMAGE [B, H, W, C] (``colored``) or a MASK [B, H, W] with something in it, all finite."""
    shape = "[B, H, W, C]" if colored else "[B, H, W]"
    what = "pictures" if colored else "masks"
    if not isinstance(value, torch.Tensor):
        raise InputError(name, f"{what} {shape}", described(value), f"Connect {'an IMAGE' if colored else 'a MASK'}.")
    least = 3 if colored else 2
    check_plain(name, value, f"{what} {shape}")
    if not least <= value.ndim <= 4 or not value.numel() or value.is_complex():
        raise InputError(name, f"{what} {shape}", f"shape {list(value.shape)}", "Connect at least one that is not empty.")
    if colored and value.shape[-1] not in CHANNELS:
        raise InputError(name, f"{what} {shape} with 1, 3 or 4 channels", f"{value.shape[-1]} channels", "Convert them to RGB.")
    if value.is_floating_point() and not bool(torch.isfinite(value).all()):
        raise InputError(name, "finite numbers", "NaN or infinity", "Check the node that made it.")


def pixels(name: str, value: torch.Tensor, colored: bool, any_range: bool = False) -> torch.Tensor:
    """Checked pictures or masks as float32 on the CPU; InputError for those that are clearly not in [0, 1].

    Those of 8 and 16 bits are scaled; a mask of zeros and ones is one in any type.
    """
    found = value.detach().to("cpu", torch.float32)
    low, high = float(found.min()), float(found.max())
    if not value.is_floating_point():
        scale = WHOLE.get(value.dtype, 1.0) if colored or high > 1 else 1.0
        if low < 0 or high > scale:
            raise InputError(name, "numbers in [0, 1]", f"{str(value.dtype)[6:]} from {low:g} to {high:g}",
                             "Divide 8-bit pictures by 255 and 16-bit ones by 65535.")
        return found / scale if scale != 1 else found
    if not any_range and (low < DARKEST or high > BRIGHTEST):
        raise InputError(name, "values in [0, 1]", f"values from {low:.4g} to {high:.4g}",
                         "Divide 8-bit pictures by 255 and 16-bit ones by 65535; bring signed or HDR ones into [0, 1].")
    return found


def _check_carried(name: str, value, kinds: list[str], words_do: bool) -> None:
    known = [CARRIED["FILE_3D" if kind.startswith("FILE_3D") else kind] for kind in kinds]
    if not any(all(hasattr(value, attribute) for attribute in attributes) for _, attributes, _ in known):
        words = " or ".join(dict.fromkeys(what for what, _, _ in known))
        makers = ", or ".join(dict.fromkeys(maker for _, _, maker in known))
        raise InputError(name, words, described(value), f"Connect the output of {makers}.")
    for kind, (_, attributes, _) in zip(kinds, known, strict=True):
        if all(hasattr(value, attribute) for attribute in attributes):
            check_value(name, kind, value, words_do)
    wanted = KIND_OF.get(kinds[0])
    if wanted is not None and getattr(value, "kind", wanted) != wanted:
        raise InputError(name, known[0][0], f"a network of kind {value.kind!r}", f"Connect the output of {known[0][2]}.")


def described(value) -> str:
    """A value in a few words."""
    if value is None:
        return "nothing"
    if isinstance(value, bool | int | float | str):
        text = repr(value)
        return text if len(text) <= 60 else f"{text[:57]}..."
    if isinstance(value, torch.Tensor):
        return f"a tensor of shape {list(value.shape)}"
    return f"a value of type {type(value).__name__}"
